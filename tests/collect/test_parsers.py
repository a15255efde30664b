"""Answers of several distributions become the facts that the probes' docstrings promise; noise becomes no fact."""

from __future__ import annotations

import shutil
import subprocess
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from govsec.canonical import dumps
from govsec.collect.kinds import KINDS, parse, sources_of
from govsec.collect.parse_updates import compare_versions
from govsec.collect.probes import (
    AccessControlProbe,
    AnyProbe,
    AuditProbe,
    DockerProbe,
    EncryptionProbe,
    FileProbe,
    FirewallProbe,
    ListenersProbe,
    LoggingProbe,
    LoginDefsProbe,
    ModulesProbe,
    MountsProbe,
    MysqlProbe,
    NetworkProbe,
    NginxProbe,
    PackagesProbe,
    PostgresqlProbe,
    ServicesProbe,
    SysctlProbe,
    TimeProbe,
    TrustProbe,
    UpdatesProbe,
)
from govsec.collect.sources import Answer, NoFactError
from tests.collect.probesets import every_probe
from tests.collect.samples import RAW, fact, reading, sample

DISTRIBUTIONS = sorted(path.stem for path in RAW.glob("*.txt"))


def test_samples_of_six_distributions_are_here() -> None:
    assert len(DISTRIBUTIONS) == 6


def test_packages_of_rpm_and_dpkg() -> None:
    rpm = fact("openeuler-22.03", PackagesProbe(names=("bind", "kernel", "telnet-server")))
    assert rpm["manager"] == "rpm" and rpm["missing"] == ["telnet-server"]
    assert rpm["installed"]["bind"]["version"] == "32:9.16.23-10.oe2203"
    assert rpm["installed"]["kernel"]["version"] == "5.10.0-60.18.0.50.oe2203"
    # What dpkg removed but kept settings of is not installed.
    assert fact("uos-20", PackagesProbe(names=("telnetd",)))["missing"] == ["telnetd"]


def test_updates_tell_security_apart_only_where_the_lists_do() -> None:
    apt = fact("ubuntu-22.04", UpdatesProbe())
    assert (apt["pending"], apt["security"], apt["security_names"]) == (2, 1, ["libssl3"])
    assert apt["lists_age_days"] == 0.04 and apt["automatic"] and not apt["reboot_needed"]
    assert apt["names"] == ["libssl3", "vim"]
    dnf = fact("openeuler-22.03", UpdatesProbe())
    assert (dnf["pending"], dnf["security"], dnf["lists_age_days"]) == (2, 1, 2.0)
    yum = fact("kylin-v10", UpdatesProbe())
    assert yum["pending"] == 1 and yum["security"] is None and yum["lists_age_days"] is None


_PIECE = st.text(st.sampled_from("0019abz.+~"), min_size=1, max_size=8)
VERSIONS = st.builds(
    lambda epoch, upstream, revision: epoch + "1" + upstream + revision,
    st.sampled_from(["", "", "0:", "2:"]), _PIECE, st.one_of(st.just(""), _PIECE.map(lambda text: "-" + text)),
)  # fmt: skip


@settings(max_examples=60)
@given(a=VERSIONS, b=VERSIONS)
def test_versions_are_ordered_as_dpkg_orders_them(a: str, b: str) -> None:
    if shutil.which("dpkg") is None:
        pytest.skip("not a Debian")
    says = subprocess.run(["dpkg", "--compare-versions", a, "gt", b], capture_output=True, check=False).returncode == 0
    assert (compare_versions(a, b) > 0) is says
    assert compare_versions(a, b) == -compare_versions(b, a)


def test_services_of_systemd_and_of_scripts() -> None:
    names = ("sshd", "telnet.socket", "crond", "getty@tty1", "dbus", "rc-local", "nothing")
    value = fact("openeuler-22.03", ServicesProbe(names=names))
    told = {name: (one["present"], one["active"], one["enabled"]) for name, one in value["services"].items()}
    assert told == {
        "sshd": (True, True, True),
        "telnet.socket": (True, False, False),
        "crond": (False, False, False),
        "getty@tty1": (True, True, True),
        "dbus": (True, True, True),
        "rc-local": (True, False, False),
        "nothing": (False, False, False),
    }
    assert value["services"]["rc-local"]["state"] == "masked"
    sysv = fact("kylin-v10", ServicesProbe(names=("sshd", "network")))
    assert sysv["init"] == "sysv" and sysv["enabled"] == ["sshd"]
    assert sysv["services"]["network"] == {
        "present": True, "active": False, "enabled": False, "state": None, "unit": None,
    }  # fmt: skip


def test_listeners_of_ss_netstat_and_the_kernel() -> None:
    ss = fact("openeuler-22.03", ListenersProbe())
    assert ss["exposed_tcp_ports"] == [22, 8080] and ss["exposed_udp_ports"] == [] and ss["udp_ports"] == [323]
    java = next(one for one in ss["sockets"] if one["port"] == 8080)
    assert java["process"] == "java" and java["user"] == "oper" and java["any"]
    netstat = fact("kylin-v10", ListenersProbe())
    assert netstat["exposed_tcp_ports"] == [22, 3306] and netstat["processes_known"]
    kernel = fact("uos-20", ListenersProbe())
    assert [(one["address"], one["port"], one["family"], one["user"]) for one in kernel["sockets"]] == [
        ("::", 22, 6, "root"), ("127.0.0.1", 5432, 4, "postgres"),
    ]  # fmt: skip
    assert kernel["processes_known"] is False and kernel["exposed_tcp_ports"] == [22]


def test_audit_rules_say_what_is_watched() -> None:
    value = fact("openeuler-22.03", AuditProbe())
    assert value["daemon_active"] and value["enabled"] == 2 and value["rules_known"] and value["boot_enabled"]
    assert value["watches"] == {"/etc/passwd": "rwa"}
    assert value["syscalls"] == ["adjtimex", "settimeofday"] and value["keys"] == ["identity", "time-change"]
    assert value["conf"]["max_log_file_action"] == "ROTATE" and value["file_rules"] == [
        "-w /etc/passwd -p wa -k identity"
    ]


def test_logs_say_where_they_go_and_how_far_back_they_reach() -> None:
    value = fact("openeuler-22.03", LoggingProbe())
    assert value["journald"]["storage"] == "persistent" and value["journald"]["persistent"]
    assert value["journald"]["max_retention_s"] == 6 * 2_629_800
    assert value["remote"] and {one["target"] for one in value["rsyslog"]["remote"]} == {
        "log.example.cn:6514", "siem.example.cn",
    }  # fmt: skip
    assert all(one["tls"] for one in value["rsyslog"]["remote"]) and value["rsyslog"]["file_mode"] == "0600"
    assert value["logrotate"]["rules"][0]["keep_days"] == 190
    assert value["logrotate"]["rules"][0]["paths"] == ["/var/log/messages", "/var/log/secure"]
    assert 180 < value["oldest_days"] < 190
    assert fact("kylin-v10", LoggingProbe())["rsyslog"]["remote"][0]["protocol"] == "udp"


def test_time_says_offset_and_servers() -> None:
    chrony = fact("openeuler-22.03", TimeProbe())
    assert chrony["synchronized"] and chrony["offset_s"] == -0.000123 and chrony["stratum"] == 3
    assert chrony["servers"] == ["ntp.example.cn", "10.1.2.3"] and chrony["timezone"] == "Asia/Shanghai"
    ntp = fact("centos-7", TimeProbe())
    assert ntp["services"] == ["ntpd"] and ntp["offset_s"] == -0.00125 and ntp["synchronized"]


def test_a_last_rule_that_rejects_is_a_denial() -> None:
    nft = fact("openeuler-22.03", FirewallProbe())
    assert nft["nft"]["input_policy"] == "accept" and nft["default_deny_input"] and nft["rules_count"] == 2
    assert nft["firewalld"] == {"present": True, "active": True, "default_zone": "public"}
    tables = fact("kylin-v10", FirewallProbe())
    assert tables["iptables"]["input_policy"] == "accept" and tables["default_deny_input"]
    assert tables["iptables"]["forward_policy"] == "drop"


def test_a_firewall_that_nobody_could_ask_is_an_error_not_an_open_door() -> None:
    answers = {"firewall": Answer(b"@T nft\n\nrc=1\n@T iptables\n", 0)}
    with pytest.raises(NoFactError) as caught:
        parse(FirewallProbe(), reading(FirewallProbe(), answers))
    assert caught.value.status == "error"


def test_access_control_modes() -> None:
    assert fact("openeuler-22.03", AccessControlProbe())["enforcing"] is True
    off = fact("uos-20", AccessControlProbe())
    assert off["selinux"]["mode"] == "disabled" and off["enforcing"] is False


def test_mounts_swap_and_encryption() -> None:
    mounts = fact("openeuler-22.03", MountsProbe())
    assert mounts["mounts"]["/tmp"]["source"] == "/dev/sdc1"  # the upper of two
    assert "noexec" in mounts["mounts"]["/data/with space"]["options"]
    assert mounts["swap"] == [{"name": "/dev/dm-1", "type": "partition", "encrypted": True}]
    disks = fact("openeuler-22.03", EncryptionProbe())
    assert disks["root_encrypted"] is True and disks["encrypted_mounts"] == ["/"] and disks["plain_mounts"] == ["/boot"]
    assert disks["crypttab"] == [{"name": "luks-1", "source": "UUID=1234"}]


def test_trusted_start() -> None:
    value = fact("openeuler-22.03", TrustProbe())
    assert value["secure_boot"] == "enabled" and value["setup_mode"] is False
    assert value["tpm"] == {"present": True, "version": "2.0"} and value["lockdown"] == "integrity"
    assert value["ima"] == {
        "present": True, "measurements": 1200, "violations": 3, "policy_set": True, "appraise": "fix",
    }  # fmt: skip


def test_modules_and_sysctl() -> None:
    modules = fact("openeuler-22.03", ModulesProbe(names=("cramfs", "usb-storage", "squashfs", "dccp")))["modules"]
    assert modules["cramfs"] == {
        "loaded": False, "builtin": False, "available": True, "blacklisted": False, "disabled": True,
    }  # fmt: skip
    assert modules["usb-storage"]["loaded"] and modules["usb-storage"]["blacklisted"]
    assert modules["squashfs"]["builtin"] and not any(modules["dccp"].values())
    sysctl = fact("openeuler-22.03", SysctlProbe(keys=("net.ipv4.ip_forward", "net.ipv4.tcp_rmem", "no.such")))
    assert sysctl == {
        "values": {"net.ipv4.ip_forward": 0, "net.ipv4.tcp_rmem": "4096 131072 6291456"}, "missing": ["no.such"],
    }  # fmt: skip


def test_a_star_among_kernel_parameters_asks_for_every_name() -> None:
    probe = SysctlProbe(keys=("net.ipv4.conf.*.rp_filter", "net.ipv6.conf.*.forwarding"))
    place = "@T /proc/sys/net/ipv4/conf/"
    text = f"{place}all/rp_filter\n 0\n{place}eth0.100/rp_filter\n 2\n{place}lo/log_martians\n 1\n"

    assert parse(probe, reading(probe, {"sysctl": Answer(text.encode(), 0)})) == {
        "values": {"net.ipv4.conf.all.rp_filter": 0, "net.ipv4.conf.eth0/100.rp_filter": 2},
        "missing": ["net.ipv6.conf.*.forwarding"],
    }
    for key in ("net.*x.y", "net.ipv4.$(id)", "net.ipv4.**", "*.a"):
        with pytest.raises(ValidationError):
            SysctlProbe(keys=(key,))


def test_network() -> None:
    value = fact("openeuler-22.03", NetworkProbe())
    assert value["interfaces"][1] == {
        "name": "eth0", "up": True, "promiscuous": True, "addresses": ["10.0.0.5/24", "fe80::1/64"],
    }  # fmt: skip
    assert value["ipv6_enabled"] and value["default_gateways"] == ["10.0.0.1"] and value["resolvers"] == ["10.0.0.2"]


def test_nginx_includes_and_inheritance() -> None:
    value = fact("ubuntu-22.04", NginxProbe())
    first, second = value["servers"]
    assert value["version"] == "1.18.0" and value["running"] and value["main"] == {"user": ["www-data"]}
    assert first["ssl"] and first["names"] == ["example.gov.cn", "www.example.gov.cn"]
    assert first["effective"]["server_tokens"] == ["off"] and first["effective"]["ssl_protocols"] == ["TLSv1.2 TLSv1.3"]
    assert first["locations"][0] == {
        "path": "/status", "directives": {"stub_status": [""], "allow": ["127.0.0.1"], "deny": ["all"]},
    }  # fmt: skip
    assert second["directives"]["return"] == ["301 https://$host$request_uri"]
    assert "hunter2" not in str(value) and value["unresolved"] == ["/etc/nginx/missing.conf"]
    assert "/etc/nginx/conf.d/unused.bak" not in value["files"]


def test_postgresql_files_and_server() -> None:
    value = fact("ubuntu-22.04", PostgresqlProbe())
    (instance,) = value["instances"]
    assert instance["settings"]["password_encryption"] == "scram-sha-256"  # what ALTER SYSTEM wrote wins
    assert instance["settings"]["listen_addresses"] == "*" and instance["settings"]["log_connections"] == "on"
    assert [rule["method"] for rule in instance["hba"]] == ["peer", "trust", "md5", "ldap"]
    assert instance["hba"][2]["address"] == "10.0.0.0 255.0.0.0" and instance["hba"][2]["users"] == ["app user"]
    assert value["live"]["settings"] == {"ssl": "on"} and value["live"]["extensions"] == ["plpgsql", "pgaudit"]
    assert value["live"]["roles"][0]["connection_limit"] == -1


def test_mysql_files_and_server() -> None:
    value = fact("centos-7", MysqlProbe())
    assert value["settings"]["skip_networking"] is True and value["settings"]["validate_password_length"] == "8"
    live = value["live"]
    assert live["variables"] == {"require_secure_transport": "OFF", "local_infile": "ON"}  # init_connect is not listed
    told = {(one["user"], one["host"]): one for one in live["accounts"]}
    assert live["anonymous"] == 1 and told["", "%"]["empty"] and told["", "%"]["any_host"]
    assert told["app", "10.0.%"]["tls"] and told["app", "10.0.%"]["lifetime_days"] == 90
    assert not told["sock", "localhost"]["empty"]  # let in by the operating system, not by an empty password


UNITS = b"init systemd\n@T files\nnginx.service disabled disabled\n@T units\n"


@pytest.mark.parametrize(
    ("running", "unit", "status"),
    [
        (b"root nginx\n", b"postgresql.service disabled enabled\n", "absent"),
        (b"root nginx\n", b"postgresql@15-main.service enabled enabled\n", "error"),
        (b"postgres postgres\n", b"postgresql.service disabled enabled\n", "error"),
    ],
)
def test_a_database_that_says_nothing_is_absent_only_when_nothing_runs_or_starts_it(
    running: bytes, unit: bytes, status: str
) -> None:
    files = {name: answer for name, answer in sample("ubuntu-22.04").items() if name != "live"}
    answers = {**files, "running": Answer(running, 0), "units": Answer(UNITS.replace(b"@T units\n", unit), 0)}

    with pytest.raises(NoFactError) as caught:
        parse(PostgresqlProbe(), reading(PostgresqlProbe(), answers))

    assert caught.value.status == status


def test_a_database_of_which_nobody_knows_whether_it_runs_is_an_error() -> None:
    with pytest.raises(NoFactError) as caught:
        parse(MysqlProbe(), reading(MysqlProbe(), {"running": Answer(b"", 92), "live": Answer(b"", 90)}))
    assert caught.value.status == "error"  # nobody knows what runs


def test_docker_without_environment() -> None:
    value = fact("uos-20", DockerProbe())
    (container,) = value["containers"]
    assert container["privileged"] and container["socket_mounted"] and container["added"] == ["SYS_ADMIN"]
    assert container["ports"] == ["0.0.0.0:8080->80/tcp"] and container["network"] == "host"
    assert value["daemon"]["hosts"] == ["tcp://0.0.0.0:2375"] and "unknown-key" not in value["daemon"]
    assert "p4ssw0rd" not in str(value) and value["group_members"] == ["oper", "dev"]


def test_file_fields_are_the_declared_ones() -> None:
    probe = FileProbe(path="/etc/issue", fields={"word": "([a-z]+)"})
    raw = b"@T 644|0|0|5|1763000000|root|root|regular file|/etc/issue\n@T mode -rw-r--r--+\n@T field word\nabc\ndef\n"
    value: Any = parse(probe, reading(probe, {"file": Answer(raw, 0)}))
    assert value["fields"] == {"word": ["abc", "def"]} and value["acl"] is True and value["permissions"] == 0o644
    half = raw[: raw.index(b"@T field")]
    with pytest.raises(NoFactError):
        parse(probe, reading(probe, {"file": Answer(half, 0)}))


@pytest.mark.parametrize(
    ("code", "status"),
    [(90, "absent"), (91, "denied"), (92, "error"), (124, "timeout"), (137, "timeout"), (1, "error"), (None, "error")],
)
def test_an_answer_that_is_none_says_why(code: int | None, status: str) -> None:
    probe = LoginDefsProbe()
    with pytest.raises(NoFactError) as caught:
        parse(probe, reading(probe, {"login_defs": Answer(b"@T /etc/login.defs\n PASS_MAX_DAYS 90\n", code)}))
    assert caught.value.status == status


PROBES = every_probe()


def test_every_kind_is_fuzzed() -> None:
    assert {probe.kind for probe in PROBES} == KINDS


def _samples_of(name: str) -> list[bytes]:
    return [answers[name].data for distribution in DISTRIBUTIONS if name in (answers := sample(distribution))]


CORPUS = {name: _samples_of(name) for name in sorted({source.name for probe in PROBES for source in sources_of(probe)})}


@settings(max_examples=400)
@given(data=st.data(), probe=st.sampled_from(PROBES))
def test_any_bytes_give_a_bounded_fact_or_no_fact(data: st.DataObject, probe: AnyProbe) -> None:
    answers = {}
    for source in sources_of(probe):
        raw = data.draw(_hostile(CORPUS[source.name]))
        answers[source.name] = Answer(raw, data.draw(st.sampled_from([0, 0, 0, 0, 1, 90, 92, None])))
    try:
        value = parse(probe, reading(probe, answers))
    except NoFactError:
        return
    assert value is not None and len(dumps(value)) < 4 << 20


def _hostile(corpus: list[bytes]) -> st.SearchStrategy[bytes]:
    noise = st.binary(max_size=200)
    digits = st.integers(min_value=-(10**20), max_value=10**20).map(lambda number: str(number).encode())
    pieces = st.sampled_from(
        [b"@T ", b"@T files\n", b"\n", b" ", b":", b"|", b"=", b"\t", b'{"', b"}", b"[", b"rc=0\n"]
    )
    parts = st.lists(st.one_of(noise, digits, pieces), max_size=12).map(b"".join)
    if not corpus:
        return parts
    whole = st.sampled_from(corpus)
    cut = st.builds(lambda text, start, length, middle: text[:start] + middle + text[start + length :],
                    whole, st.integers(0, 3000), st.integers(0, 400), parts)  # fmt: skip
    return st.one_of(parts, cut, cut)
