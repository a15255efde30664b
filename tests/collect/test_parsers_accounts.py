"""Accounts, sudo, PAM, shells and sshd of several distributions become the facts that the probes promise."""

from __future__ import annotations

import pytest

from govsec.collect.kinds import parse
from govsec.collect.probes import (
    FaillockProbe,
    GroupsProbe,
    LoginDefsProbe,
    PamProbe,
    PwqualityProbe,
    ShellDefaultsProbe,
    SshdProbe,
    SudoersProbe,
    UsersProbe,
)
from govsec.collect.sources import Answer, NoFactError
from tests.collect.samples import fact, reading, sample


def test_accounts_are_told_by_derived_facts() -> None:
    value = fact("openeuler-22.03", UsersProbe())
    users = {user["name"]: user for user in value["users"]}

    assert value["uid_zero"] == ["root", "toor"]
    assert value["duplicate_uids"] == [0]
    assert value["without_shadow"] == ["old"]
    assert users["guest"]["empty"] and not users["guest"]["has_password"]
    assert (
        users["oper"]["algorithm"] == "sm3" and users["oper"]["max_days"] == 90 and users["oper"]["inactive_days"] == 30
    )
    assert users["oper"]["last_change"] == "2026-10-24" and users["oper"]["password_age_days"] == 29
    assert users["oper"]["last_login"] == "2026-11-01T15:59:59Z" and users["oper"]["last_login_days"] == 20
    assert users["oper"]["authorized_keys"] == 2
    assert users["toor"]["must_change"] and users["toor"]["last_change"] is None
    assert users["leaver"]["locked"] and users["leaver"]["algorithm"] == "sha512" and users["leaver"]["expired"]
    assert users["old"]["has_password"] and users["old"]["algorithm"] == "other"
    assert users["sync"]["login"] is False and users["bin"]["system"] and users["nobody"]["system"]


def test_a_host_whose_shadow_is_missing_tells_nothing_about_its_users() -> None:
    answers = {**sample("openeuler-22.03"), "shadow": Answer(b"", 91)}
    with pytest.raises(NoFactError) as caught:
        parse(UsersProbe(), reading(UsersProbe(), answers))
    assert caught.value.status == "denied"


def test_groups_hold_listed_and_primary_members() -> None:
    value = fact("openeuler-22.03", GroupsProbe())
    assert value["members"]["wheel"] == ["leaver", "oper"]
    assert value["members"]["root"] == ["root", "sync", "toor"]
    assert value["duplicate_gids"] == [990]


def test_sudo_rules_are_written_out_and_disabled_files_left_out() -> None:
    value = fact("openeuler-22.03", SudoersProbe())
    ours = [rule for rule in value["rules"] if rule["users"] == ["oper", "guest"]]

    assert [rule["no_password"] for rule in ours] == [True, False]
    assert ours[0]["commands"] == ["/usr/bin/systemctl start", "/usr/bin/systemctl stop"]
    assert value["use_pty"] and value["log_file"] == "/var/log/sudo.log" and value["timestamp_timeout"] == 5
    assert "authenticate" not in value["defaults"]  # bound to one user
    assert value["no_password_count"] == 2 and value["all_rules_count"] == 2
    assert not any(rule["users"] == ["guest"] for rule in value["rules"])
    assert {file["path"]: file["mode"] for file in value["files"]}["/etc/sudoers.d/backup"] == "0644"


def test_pam_includes_are_resolved_and_a_circle_ends() -> None:
    value = fact("openeuler-22.03", PamProbe(service="sshd"))
    assert value["modules"]["auth"] == ["pam_faillock.so", "pam_unix.so"]
    assert value["modules"]["password"] == ["pam_pwquality.so", "pam_unix.so"]
    assert value["unresolved"] == ["postlogin"]
    assert value["stack"][0]["options"] == {"preauth": True, "deny": 3}
    assert fact("openeuler-22.03", PamProbe(service="loop"))["unresolved"] == ["loop"]
    with pytest.raises(NoFactError) as caught:
        fact("openeuler-22.03", PamProbe(service="vsftpd"))
    assert caught.value.status == "absent"


@pytest.mark.parametrize(
    ("distribution", "module", "minlen", "classes", "remember", "algorithm"),
    [
        ("openeuler-22.03", "pam_pwquality.so", 8, 3, 5, "sm3"),  # the argument wins over the file's 12
        ("kylin-v10", "pam_cracklib.so", 10, 4, 3, "sha512"),  # cracklib does not read pwquality.conf
        ("centos-7", "pam_pwquality.so", 8, 0, None, "md5"),
        ("uos-20", None, 8, 0, None, "yescrypt"),
        ("debian-12", None, 8, 0, None, "yescrypt"),
    ],
)
def test_password_rules_are_put_together(
    distribution: str, module: str | None, minlen: int, classes: int, remember: int | None, algorithm: str
) -> None:
    value = fact(distribution, PwqualityProbe())
    assert value["active"] is (module is not None) and value["module"] == module
    assert value["effective"]["minlen"] == minlen
    assert value["required_classes"] == classes
    assert value["history_remember"] == remember
    assert value["hash"] == algorithm


@pytest.mark.parametrize(
    ("distribution", "module", "deny", "unlock", "root"),
    [
        ("openeuler-22.03", "pam_faillock.so", 3, 60, True),
        ("kylin-v10", "pam_tally2.so", 5, 300, False),
        ("uos-20", "pam_faillock.so", 5, 900, False),
        ("centos-7", "pam_tally.so", 0, 0, False),
        ("debian-12", None, 3, 600, False),
    ],
)
def test_locking_is_put_together(distribution: str, module: str | None, deny: int, unlock: int, root: bool) -> None:
    value = fact(distribution, FaillockProbe())
    assert value["active"] is (module is not None) and value["module"] == module
    effective = value["effective"]
    assert (effective["deny"], effective["unlock_time"], effective["even_deny_root"]) == (deny, unlock, root)


def test_login_defs_keep_modes_as_text() -> None:
    values = fact("openeuler-22.03", LoginDefsProbe())["values"]
    assert values["PASS_MAX_DAYS"] == 90 and values["UMASK"] == "077" and values["ENCRYPT_METHOD"] == "SM3"


def test_the_laxest_shell_setting_is_told() -> None:
    value = fact("openeuler-22.03", ShellDefaultsProbe())
    assert value["tmout_s"] == 300 and value["tmout_readonly"] and value["umask"] == "022"
    assert value["histsize"] == 1000 and value["histtimeformat"]


def test_sshd_is_told_for_every_context() -> None:
    value = fact("openeuler-22.03", SshdProbe())
    assert value["settings"]["port"] == [22] and value["settings"]["maxauthtries"] == 3
    assert value["settings"]["allowgroups"] == ["wheel", "sshusers"] and value["settings"]["denyusers"] == []
    assert value["settings"]["acceptenv"] == ["LANG", "LC_*", "XMODIFIERS"]
    assert value["settings"]["listenaddress"] == ["0.0.0.0:22", "[::]:22"]
    assert "chacha20-poly1305@openssh.com" in value["settings"]["ciphers"]
    assert [one["permitrootlogin"] for one in value["all"]] == ["no", "yes"]
    assert value["unresolved"] == 1 and len(value["match_lines"]) == 2


def test_the_real_debian_sshd_is_read() -> None:
    value = fact("debian-12", SshdProbe())
    assert value["version"] == "OpenSSH_9.2" and value["settings"]["permitrootlogin"] == "without-password"
    assert value["unresolved"] == 0


def test_sshd_that_printed_nothing_is_an_error() -> None:
    with pytest.raises(NoFactError) as caught:
        parse(SshdProbe(), reading(SshdProbe(), {"sshd": Answer(b"@T version OpenSSH_9\n@T settings\n", 0)}))
    assert caught.value.status == "error"
