"""Collecting from this machine under three shells, and from liars."""

from __future__ import annotations

import grp
import json
import os
import pwd
import re
import shutil
import socket
import subprocess
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from govsec.canonical import loads
from govsec.clock import SystemClock
from govsec.collect.byhand import line_of
from govsec.collect.collect import collect, import_output
from govsec.collect.facts import Facts, load_facts
from govsec.collect.probes import (
    AnyProbe,
    FileProbe,
    GroupsProbe,
    ListenersProbe,
    LoginDefsProbe,
    PackagesProbe,
    SshdProbe,
    SysctlProbe,
    UsersProbe,
    WalkProbe,
)
from govsec.collect.script import Script, compile_script
from govsec.collect.shapes import fact_shapes
from govsec.collect.transport import ContainerTransport, FileTransport, LocalTransport
from govsec.errors import ConfigurationError, GovsecError, HostUnreachableError, IntegrityError, LimitError
from govsec.testing.clock import FakeClock
from tests.collect.probesets import every_probe, quick_probes
from tests.support.require import require, require_root

CLOCK = SystemClock()
#: Servers of other tests come and go meanwhile: only root can be without them.
ALONE = ("unshare", "--pid", "--fork", "--mount-proc", "--net") if os.geteuid() == 0 else ()
SHELLS = {"dash": ("dash",), "bash": ("bash", "--posix"), "busybox": ("busybox", "sh")}


def ask(probes: Sequence[AnyProbe], interpreter: Sequence[str] = ("/bin/sh",)) -> Facts:
    return collect("here", probes, LocalTransport(CLOCK, interpreter=interpreter), CLOCK)


def value(facts: Facts, probe: AnyProbe) -> Any:
    outcome = facts.outcomes[probe.identity]
    assert outcome.status == "ok", outcome.reason
    return outcome.value


# --- the script ---------------------------------------------------------------------------------------------------


def test_equal_probes_give_equal_scripts_and_are_asked_once() -> None:
    one = compile_script(every_probe(), host="h", token="a" * 32)
    assert compile_script([*every_probe(), *every_probe()], host="h", token="a" * 32).text == one.text
    assert len(one.sources) < len(every_probe()) * 2  # many probes, shared questions


def test_the_script_writes_nowhere_and_names_no_command_that_changes_a_host() -> None:
    text = compile_script(every_probe(), host="h", token="a" * 32).text
    code = "\n".join(line for line in text.split("\n") if not line.lstrip().startswith("#"))
    shell_only = re.sub(r"'(?:[^']|'\\'')*'", "''", code)  # programs of awk and sed, statements of SQL
    targets = set(re.findall(r"(?<![<>0-9-])[0-9]?>{1,2}\s*(\S+)", shell_only))
    assert {target.rstrip(";)}\"'") for target in targets} <= {"/dev/null", "&1"}
    words = {
        "rm",
        "mv",
        "cp",
        "tee",
        "touch",
        "mkdir",
        "chmod",
        "chown",
        "ln",
        "dd",
        "install",
        "kill",
        "mktemp",
        "systemctl start",
    }
    used = {
        word
        for word in words
        if re.search(rf"(?m)(?:^|[;&|(]\s*|\bthen\s+|\bdo\s+|lim\s+){re.escape(word)}\b", shell_only)
    }
    assert used <= {"kill"}  # the watchdog's own child


def test_a_script_that_arrives_in_part_does_nothing() -> None:
    text = compile_script(quick_probes(), host="h", token="a" * 32).text
    for share in (0.3, 0.7, 0.99):
        done = subprocess.run(
            ["sh", "-s"], input=text[: int(len(text) * share)].encode(), capture_output=True, check=False
        )
        assert done.stdout == b""


@pytest.mark.parametrize("name", SHELLS)
def test_three_shells_find_the_same(name: str) -> None:
    require(name)
    ours, theirs = ask(quick_probes(), (*ALONE, "/bin/sh")), ask(quick_probes(), (*ALONE, *SHELLS[name]))

    assert ours.platform == theirs.platform
    stable = {
        "sysctl",
        "users",
        "groups",
        "sudoers",
        "pam",
        "login_defs",
        "pwquality",
        "faillock",
        "sshd",
        "nginx",
        "file",
    }
    compared = 0
    for probe in quick_probes():
        a, b = ours.outcomes[probe.identity], theirs.outcomes[probe.identity]
        assert a.status == b.status, (probe.kind, a.reason, b.reason)
        assert list(fact_shapes()[probe.kind].misfits(a.value)) == [], probe.kind
        if probe.kind in stable and a.status == "ok":  # a server that nobody started is not looked at
            assert _without_acl(a.value) == _without_acl(b.value), probe.kind
            compared += 1
    assert compared > len(stable) - 2  # without sshd and nginx


def _without_acl(fact: Any) -> Any:
    """busybox' own ls does not show whether there is an extended list."""
    return {key: item for key, item in fact.items() if key != "acl"}


def test_every_outcome_says_how_a_person_sees_the_same() -> None:
    assert all(line_of(probe) for probe in every_probe())
    probe = SysctlProbe(keys=("kernel.ostype",))
    assert ask([probe]).outcomes[probe.identity].command == "sysctl kernel.ostype"


def test_facts_have_one_canonical_form_and_are_read_back() -> None:
    facts = ask([UsersProbe(), LoginDefsProbe()])
    assert load_facts(facts.dump()) == facts
    assert loads(facts.dump()) == facts.canonical()
    with pytest.raises(IntegrityError):
        load_facts(facts.dump()[:-2])


# --- what is found is true ------------------------------------------------------------------------------------------


def test_accounts_groups_and_parameters_agree_with_this_machine() -> None:
    users, groups, keys = UsersProbe(), GroupsProbe(), SysctlProbe(keys=("kernel.ostype", "kernel.pid_max"))
    facts = ask([users, groups, keys])
    require_root()

    told = {user["name"]: user for user in value(facts, users)["users"]}
    assert {name: (user["uid"], user["shell"]) for name, user in told.items()} == {
        entry.pw_name: (entry.pw_uid, entry.pw_shell) for entry in pwd.getpwall() if entry.pw_name in told
    }
    assert len(told) == len({entry.pw_name for entry in pwd.getpwall()})
    assert {group["name"]: group["members"] for group in value(facts, groups)["groups"]} == {
        entry.gr_name: entry.gr_mem for entry in grp.getgrall()
    }
    assert value(facts, keys)["values"] == {
        "kernel.ostype": "Linux",
        "kernel.pid_max": int(Path("/proc/sys/kernel/pid_max").read_text(encoding="ascii")),
    }


def test_a_socket_that_a_test_opens_is_found() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        found = value(ask([probe := ListenersProbe()]), probe)
    one = next(one for one in found["sockets"] if one["port"] == port)
    assert one["loopback"] and port in found["tcp_ports"] and port not in found["exposed_tcp_ports"]


def test_packages_agree_with_the_package_manager() -> None:
    if shutil.which("dpkg-query") is None:
        pytest.skip("not a Debian")
    listing = subprocess.run(
        ["dpkg-query", "-W", "-f", "${db:Status-Status}\n"], capture_output=True, text=True, check=True
    ).stdout.split()
    found = value(ask([probe := PackagesProbe(names=("dpkg", "telnetd-none"))]), probe)
    assert 0 <= listing.count("installed") - found["count"] < 60  # one name, two architectures
    assert "dpkg" in found["installed"] and found["missing"] == ["telnetd-none"]


def test_a_file_is_told_with_a_hostile_name_and_only_its_declared_fields(tmp_path: Path) -> None:
    path = tmp_path / 'it\'s $(touch oops) "x" `id`.conf'
    path.write_text("key = one\nother = hidden\n key = two\n", encoding="utf-8")
    path.chmod(0o2640)
    link = tmp_path / "link.conf"
    link.symlink_to(path)
    probes = [FileProbe(path=str(place), fields={"key": "^ *key = (.*)$"}) for place in (path, link)]

    facts = ask(probes)

    first, second = (value(facts, probe) for probe in probes)
    assert first["fields"] == {"key": ["one", "two"]} == second["fields"]
    assert first["mode"] == "2640" and first["setgid"] and not first["link"]
    assert second["link"] and second["target"] == str(path) and second["mode"] == "2640"
    assert "hidden" not in facts.dump().decode()
    assert sorted(os.listdir(tmp_path)) == sorted([path.name, link.name])


def test_a_link_to_a_secret_gives_no_fields(tmp_path: Path) -> None:
    link = tmp_path / "harmless.conf"
    link.symlink_to("/etc/shadow")
    probe = FileProbe(path=str(link), fields={"line": "(.*)"})
    outcome = ask([probe]).outcomes[probe.identity]
    assert outcome.status == "denied" and "root:" not in outcome.raw_excerpt


def test_contents_of_secret_paths_may_not_even_be_asked() -> None:
    from govsec.collect.probes import parse_probe

    for path in (
        "/etc/shadow",
        "/root/.ssh/id_ed25519",
        "/etc/ssl/private/site.key",
        "/proc/1/environ",
        "/home/a/.pgpass",
    ):
        with pytest.raises(ConfigurationError, match="secret"):
            parse_probe({"kind": "file", "path": path, "fields": {"line": "(.*)"}})
        parse_probe({"kind": "file", "path": path})


# --- hosts that do not play by the rules ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("program", "code"),
    [
        ("exit 0", 4),
        ("cat >/dev/null", 4),
        ("cat", 6),
        ("head -c 300000 /dev/urandom", 6),
        ("while :; do echo garbage; done", 6),
        ("yes 0123456789012345678901234567890123456789", 6),
    ],
)
def test_a_host_that_says_nothing_or_garbage_without_end_is_an_error(program: str, code: int) -> None:
    transport = LocalTransport(CLOCK, interpreter=("sh", "-c", program, "--"))
    with pytest.raises(GovsecError) as caught:
        collect("liar", [LoginDefsProbe()], transport, CLOCK)
    assert caught.value.exit_code == code and "liar" in str(caught.value)


def test_a_host_that_stops_in_the_middle_is_an_error() -> None:
    transport = LocalTransport(CLOCK, interpreter=("sh", "-c", 'sh "$@" | head -c 600', "--"))
    with pytest.raises(HostUnreachableError):
        collect("half", [LoginDefsProbe()], transport, CLOCK)


def test_a_program_that_is_not_there_is_an_unreachable_host() -> None:
    with pytest.raises(HostUnreachableError):
        collect("none", [LoginDefsProbe()], LocalTransport(CLOCK, interpreter=("/no/such/shell",)), CLOCK)
    with pytest.raises(HostUnreachableError):
        collect("none", [LoginDefsProbe()], ContainerTransport("no-such-container-here", CLOCK), CLOCK)
    with pytest.raises(ConfigurationError):
        collect("none", [LoginDefsProbe()], ContainerTransport("-v/:/host", CLOCK), CLOCK)


class _Replay:
    name = "replay"

    def __init__(self, change: Any) -> None:
        self.change = change

    def run(self, script: Script) -> bytes:
        data: bytes = self.change(LocalTransport(CLOCK).run(script), script)
        return data


def test_a_forged_better_answer_is_refused() -> None:
    def double(data: bytes, script: Script) -> bytes:
        first = data.index(f"@{script.token} 1 ".encode())
        return data[:first] + data[first:].replace(
            f"@{script.token} end".encode(), data[first : data.rindex(b"@")] + f"@{script.token} end".encode()
        )

    with pytest.raises(IntegrityError):
        collect("forger", [LoginDefsProbe()], _Replay(double), CLOCK)


def test_an_answer_left_out_is_no_better_than_an_error() -> None:
    def without(data: bytes, script: Script) -> bytes:
        return data[: data.index(f"@{script.token} 1 ".encode())] + data[data.rindex(b"@") :]

    facts = collect("leaver", [probe := LoginDefsProbe()], _Replay(without), CLOCK)
    assert facts.outcomes[probe.identity].status == "error"


def test_one_answer_over_its_limit_is_an_error_of_that_probe_alone(tmp_path: Path) -> None:
    path = tmp_path / "large.conf"
    path.write_text("key = " + "x" * 90 + "\n", encoding="utf-8")
    path.write_text("key = " + "x" * 4000 + "\n" + ("key = " + "y" * 4000 + "\n") * 500, encoding="utf-8")
    large, small = FileProbe(path=str(path), fields={"key": "^key = (.*)$"}), LoginDefsProbe()
    facts = ask([large, small])
    assert facts.outcomes[large.identity].status == "error" and "cut" in facts.outcomes[large.identity].reason
    assert facts.outcomes[small.identity].status == "ok"


def test_a_command_that_hangs_is_a_time_out_of_that_probe_alone(tmp_path: Path) -> None:
    hang = tmp_path / "sshd"
    hang.write_text("#!/bin/sh\nexec sleep 60\n", encoding="ascii")
    hang.chmod(0o755)
    slow = SshdProbe(timeout_s=1)
    script = compile_script([slow, LoginDefsProbe()], host="h")
    text = script.text.replace("PATH=/usr/sbin", f"PATH={tmp_path}:/usr/sbin")
    done = subprocess.run(["sh", "-s"], input=text.encode(), capture_output=True, timeout=60, check=True)
    facts = import_output(script, done.stdout, CLOCK)
    assert facts.outcomes[slow.identity].status != "ok"
    assert facts.outcomes[LoginDefsProbe().identity].status == "ok"


# --- a host without a network ------------------------------------------------------------------------------------


def test_an_exported_script_is_bound_to_its_output_and_its_host(tmp_path: Path) -> None:
    probes = [LoginDefsProbe(), UsersProbe()]
    script = compile_script(probes, host="vault")
    (tmp_path / "script.sh").write_text(script.text, encoding="utf-8")
    done = subprocess.run(["sh", str(tmp_path / "script.sh")], capture_output=True, check=True)
    (tmp_path / "out").write_bytes(done.stdout)

    facts = import_output(script, done.stdout, CLOCK, hostname=os.uname().nodename)
    assert value(facts, probes[0])["values"] and facts.clock_offset_s is None and facts.host == "vault"
    assert FileTransport(tmp_path / "out").run(script) == done.stdout

    with pytest.raises(IntegrityError, match="token"):
        import_output(compile_script(probes, host="vault"), done.stdout, CLOCK)
    with pytest.raises(IntegrityError, match="other-host"):
        import_output(script, done.stdout, CLOCK, hostname="other-host")
    with pytest.raises(HostUnreachableError):
        import_output(script, done.stdout[: len(done.stdout) // 2], CLOCK)
    with pytest.raises(LimitError):
        import_output(script, done.stdout + b" " * script.output_size_max, CLOCK)


def test_an_output_that_is_carried_in_late_is_as_old_as_it_is() -> None:
    script = compile_script([LoginDefsProbe()], host="vault")
    done = subprocess.run(["sh", "-c", script.text], capture_output=True, check=True)
    before = CLOCK.now()

    facts = import_output(script, done.stdout, FakeClock(before + timedelta(days=400)))

    assert abs(facts.collected - before) < timedelta(minutes=1)


def test_a_walk_is_used_again_until_it_is_too_old() -> None:
    walk = WalkProbe(roots=("/etc",), age_max_h=24)
    clock = FakeClock()
    first = collect("here", [walk], LocalTransport(CLOCK), clock)
    assert value(first, walk)["age_h"] == 0

    clock.advance(3600 * 5)
    second = collect("here", [walk], _Replay(_nothing_asked), clock, previous=first)
    assert value(second, walk)["age_h"] == 5
    clock.advance(3600 * 5)
    third = collect("here", [walk], _Replay(_nothing_asked), clock, previous=second)
    assert value(third, walk)["age_h"] == 10 and third.outcomes[walk.identity].found == first.collected

    clock.advance(3600 * 24)
    fourth = collect("here", [walk], LocalTransport(CLOCK), clock, previous=third)
    assert value(fourth, walk)["age_h"] == 0


def _nothing_asked(data: bytes, script: Script) -> bytes:
    assert script.probes == ()
    return data


def test_a_walk_finds_what_it_looks_for(tmp_path: Path) -> None:
    for name, mode in (("suid", 0o4755), ("open", 0o666), ("fine", 0o644)):
        (tmp_path / name).touch()
        (tmp_path / name).chmod(mode)
    (tmp_path / "sticky").mkdir()
    (tmp_path / "sticky").chmod(0o1777)
    walk = WalkProbe(roots=(str(tmp_path),))
    found = value(ask([walk]), walk)
    assert {Path(entry["path"]).name: entry["why"] for entry in found["entries"]} == {
        "suid": ["setuid"],
        "open": ["world_writable"],
    }
    assert found["complete"]


def test_without_root_privileged_probes_are_denied_not_guessed() -> None:
    require_root()
    probes = [UsersProbe(), LoginDefsProbe()]
    interpreter = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "sh")
    facts = ask(probes, interpreter)
    assert facts.outcomes[probes[0].identity].status == "denied" and not facts.platform.root
    assert facts.outcomes[probes[1].identity].status == "ok"
    with_sudo = collect("here", probes, LocalTransport(CLOCK, sudo=True, interpreter=interpreter), CLOCK)
    assert with_sudo.outcomes[probes[0].identity].status == "denied"


def test_the_two_parts_of_a_run_with_sudo_are_read_as_one() -> None:
    require_root()
    probes = [UsersProbe(), LoginDefsProbe()]
    script = compile_script(probes, host="here")
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    parts = [
        subprocess.run([*prefix, "sh", "-s", mode], input=script.text.encode(), capture_output=True, check=True).stdout
        for prefix, mode in ((nobody, "plain"), ([], "privileged"))
    ]
    facts = import_output(script, b"".join(parts), CLOCK)
    assert facts.platform.root and all(outcome.status == "ok" for outcome in facts.outcomes.values())
    for alone in parts:
        with pytest.raises(HostUnreachableError):
            import_output(script, alone, CLOCK)


def test_json_of_a_fact_holds_no_tokens_of_the_run() -> None:
    first, second = (ask([LoginDefsProbe()]) for _ in range(2))
    assert [outcome.raw_sha256 for outcome in first.outcomes.values()] == [
        outcome.raw_sha256 for outcome in second.outcomes.values()
    ]
    assert json.loads(first.dump())["format"] == 1


def test_age_of_a_host_clock_is_told() -> None:
    facts = ask([LoginDefsProbe()])
    assert facts.clock_offset_s is not None and abs(facts.clock_offset_s) < 60
    assert abs(facts.collected - CLOCK.now()) < timedelta(minutes=5)
