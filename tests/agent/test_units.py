"""The shipped units on a machine of their own: systemd starts, confines, reloads and restarts what they name.

One machine and one story in one test, so that whoever spreads tests over workers keeps it whole.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.machine import ROOT, Machine, booted

AGENT = """
version: 1
state_dir: /var/lib/govsec-agent
agent: {interfaces: [lo], modules: {guard: {settings: {watched: [/srv], snapshot_every_s: 5}}}}
guard: {roots: [/etc/ssh, /usr/local], look_every_s: 2}
signing: {roots_file: /etc/govsec/roots.yaml, baseline_key_file: /etc/govsec/baseline.key}
"""
NOTICES = "/var/lib/govsec-agent/notices.jsonl"
DUTY = """
version: 1
organization: 某市大数据管理局
state_dir: /var/lib/govsec-agent
notify:
  channels: {file: {kind: file, path: NOTICES}}
  routes: [{channels: [file]}]
signing: {roots_file: /etc/govsec/roots.yaml}
response: {host: web1, live: [process.suspend]}
""".replace("NOTICES", NOTICES)
HELPER = """
host = "web1"
roots_file = "/etc/govsec/roots.yaml"
state_dir = "/var/lib/govsec-helper"
socket = "/run/govsec-helper/socket"
peers = [0]
dry_run = false
management = ["192.0.2.0/24"]
"""
#: How the host's unit sees its machine, where somebody can wait for what it says.
SANDBOX = """
[Service]
Type=oneshot
NoNewPrivileges=yes
ProtectSystem=strict
StandardOutput=append:/run/sandbox
SuccessExitStatus=1
ExecStart=findmnt --noheadings --output OPTIONS /
ExecStart=/opt/govsec/bin/govsec monitor baseline drift --json --config /etc/govsec/agent.yaml
"""
AS_AGENT, AS_DUTY = "--config /etc/govsec/agent.yaml", "--config /etc/govsec/duty.yaml"
SITE = """
version: 1
state_dir: /var/lib/govsec
centers:
  main: {role: production, store: {kind: local, path: /srv/backup}}
  near: {role: same_city, store: {kind: local, path: /mnt/near}}
  far: {role: remote, store: {kind: local, path: /mnt/far}}
signing:
  commit_key_file: ${CREDENTIALS_DIRECTORY}/commit.key
  evidence_key_file: ${CREDENTIALS_DIRECTORY}/evidence.key
  roots_file: /etc/govsec/roots.yaml
systems:
  - name: office
    password_file: ${CREDENTIALS_DIRECTORY}/office.password
    backups: [{name: files, source: {kind: files, paths: [/srv/office]}, watch: {}}]
    plans: [plans/office.yaml]
"""
GUIDE = ROOT / "docs/guides/first-day.md"
BOTH = ("host", "network")
ALL = (*BOTH, "duty", "helper")


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    with booted(tmp_path_factory.mktemp("units")) as machine:
        machine.write("/etc/govsec/agent.yaml", AGENT)
        machine.write("/etc/govsec/duty.yaml", DUTY)
        machine.write("/etc/govsec/helper.toml", HELPER)
        machine.run(
            "mkdir -p /srv /usr/local/bin && cp /bin/true /usr/local/bin/known && chmod u+s /usr/local/bin/known"
            f" && govsec assess key --for baseline --name ops --output /etc/govsec/baseline.key"
            f" --pin /etc/govsec/roots.yaml {AS_AGENT}"
            f" && govsec assess key --for response --name zhang --output /etc/govsec/zhang.key"
            f" --pin /etc/govsec/roots.yaml {AS_AGENT}"
            f" && govsec monitor baseline accept --by ops --quiet {AS_AGENT}"
            " && systemctl start govsec-host govsec-network"
        )
        yield machine


def _shown(machine: Machine, unit: str, name: str) -> str:
    return machine.run(f"systemctl show --value -p {name} {unit}").strip()


def _findings(machine: Machine, agent: str = "host") -> list[dict[str, Any]]:
    said = machine.run(f"govsec agent findings {agent} --limit 500 --json {AS_AGENT}", codes=(0, 1))
    return [record["finding"] for record in json.loads(said)["records"]]


def _an_agent_under_its_unit_runs_all_its_modules_and_nothing_is_forbidden_that_it_needs(
    machine: Machine, agent: str
) -> None:
    machine.wait_for(f"govsec agent status {agent} {AS_AGENT}")
    said = machine.run(f"govsec agent selftest {agent} --lang en {AS_AGENT}")

    assert "ok  " in said
    assert _shown(machine, f"govsec-{agent}", "NRestarts") == "0"
    assert "agent.module" not in {finding["kind"].rpartition(".")[0] for finding in _findings(machine, agent)}


def _no_process_of_a_unit_has_more_than_the_unit_names(machine: Machine, unit: str, users: set[str]) -> None:
    bound = int(machine.run(f"grep CapBnd /proc/{_shown(machine, f'govsec-{unit}', 'MainPID')}/status").split()[1], 16)
    pids = machine.run(f"cat /sys/fs/cgroup/system.slice/govsec-{unit}.service/cgroup.procs").split()
    seen = set()
    for pid in pids:
        status = machine.run(f"cat /proc/{pid}/status || true")
        if "Seccomp:" not in status:
            continue  # gone since
        fields = dict(re.findall(r"^(\w+):\t(.*)$", status, re.M))
        seen.add(fields["Uid"].split()[1])
        assert (fields["NoNewPrivs"], fields["Seccomp"]) == ("1", "2"), status
        assert int(fields["CapBnd"], 16) & ~bound == 0, status
        assert fields["Uid"].split()[1] == "0" or int(fields["CapEff"], 16) == 0, status
    assert seen == users


def _what_was_there_at_the_baseline_is_not_told_because_the_unit_may_not_use_it(machine: Machine) -> None:
    """The sandbox mounts everything ``nosuid``; the set-id programs of the machine are no less there."""
    machine.write("/etc/systemd/system/sandbox.service", SANDBOX)
    machine.run("systemctl daemon-reload && systemctl start sandbox")
    seen = machine.run("cat /run/sandbox")

    assert "nosuid" in seen.splitlines()[0], "the sandbox is one"
    assert "/usr/local/bin/known" not in seen
    assert json.loads(seen.partition("\n")[2])["baseline"]["number"] == 1, seen


def _an_attack_on_the_machine_is_found_and_told_by_units_alone(machine: Machine) -> None:
    machine.run(
        # Who is gone before anybody asks is named by the process connector, which this machine does not have.
        'python3 -c \'import shutil, time; shutil.copy("/bin/true", "/usr/local/bin/implant"); time.sleep(10)\''
        " && chmod u+s /usr/local/bin/implant && echo 'evil:x:0:0::/root:/bin/sh' >> /etc/passwd"
    )
    for kind in ("host.drift.file", "host.tamper.root_account"):
        machine.wait_for(f"govsec agent findings host --json --limit 500 {AS_AGENT} | grep -q {kind}", timeout_s=240)
    found = {finding["kind"]: finding for finding in _findings(machine)}
    machine.run("systemctl start govsec-duty")
    for kind in ("host.drift.file", "host.tamper.root_account"):
        machine.wait_for(f"test -f {NOTICES} && grep -q {kind} {NOTICES}")

    assert found["host.drift.file"]["subject"] == "/usr/local/bin/implant"
    assert "/python3" in found["host.drift.file"]["summary"], "and who did it"
    assert found["host.tamper.root_account"]["subject"] == "evil"


def _a_response_under_its_unit_is_done_and_undone(machine: Machine) -> None:
    machine.run("systemctl start govsec-helper.socket")
    started = machine.run(
        "setsid setpriv --reuid=65534 --clear-groups sleep 3000 </dev/null >/dev/null 2>&1 & sleep 1;"
        "pid=$(pgrep -u 65534 -x sleep); echo $pid $(cut -d' ' -f22 /proc/$pid/stat)"
    )
    pid, ticks = started.split()
    asked = f"--verb process.suspend --argument pid={pid} --argument started={ticks} --argument ttl_s=600"
    planned = json.loads(machine.run(f"govsec response plan {asked} --json {AS_DUTY}"))
    deed = planned["runs"][0]["deeds"][0]["deed"]
    machine.wait_for(
        f"govsec response run {AS_DUTY} && govsec response approve {deed} --key /etc/govsec/zhang.key {AS_DUTY}"
    )
    machine.wait_for(f"govsec response run {AS_DUTY} && grep -q 'State:.T' /proc/{pid}/status")

    assert _shown(machine, "govsec-helper", "NRestarts") == "0"
    machine.run(f"govsec response undo {deed} --by zhang {AS_DUTY}")
    machine.wait_for(f"govsec response run {AS_DUTY} && grep -q 'State:.S' /proc/{pid}/status")
    assert machine.run(f"ls /var/lib/govsec-helper/forensics/{deed}.json")


def _backup_watch_shipping_verification_and_a_drill_run_under_their_units(machine: Machine) -> None:
    """With centers that are directories, let in as the guide says; credentials come from systemd."""
    (let_in,) = re.findall(r"^```ini\n(.*?)^```$", GUIDE.read_text(encoding="utf-8"), re.M | re.S)
    machine.write("/etc/govsec/govsec.yaml", SITE)
    for unit in ("govsec-ship", "govsec-verify@", "govsec-drill@"):
        machine.write(f"/etc/systemd/system/{unit}.service.d/directories.conf", let_in)
    machine.run(
        "umask 077 && mkdir -p /etc/govsec/plans /etc/govsec/credentials /srv/backup /mnt/near /mnt/far /srv/office"
        " && cp /opt/source/agents/config/plans/office.yaml /etc/govsec/plans && echo first > /srv/office/letter"
        " && cd /etc/govsec/credentials && touch main-write near-write near-read far-write far-owner far-read"
        " && head -c 30 /dev/urandom | base64 > office.password && CREDENTIALS_DIRECTORY=. govsec center init"
        " && systemctl daemon-reload && systemctl start govsec-backup@office && systemctl start govsec-watch@office"
    )
    listed = "CREDENTIALS_DIRECTORY=/etc/govsec/credentials govsec backup list --json"
    machine.wait_for(f"date > /srv/office/answer && sleep 1 && {listed} | grep -q continuous")
    machine.run("systemctl start govsec-ship")
    machine.wait_for("find /mnt/far -path '*snapshots*' -type f | grep -q .")

    machine.run("systemctl start govsec-verify@office && systemctl start govsec-drill@office")
    assert "office" in machine.run("ls /var/lib/govsec-drill/reports")
    machine.run("systemctl stop govsec-watch@office govsec-ship")
    assert _shown(machine, "govsec-watch@office", "Result") == "success"
    assert _shown(machine, "govsec-ship", "Result") == "success"


def _a_bad_configuration_is_refused_and_the_one_before_goes_on(machine: Machine) -> None:
    machine.write("/etc/govsec/agent.yaml", AGENT.replace("version: 1", "version: 1\nnonsense: 2"))
    machine.run("systemctl reload govsec-host")
    machine.wait_for("systemctl show --value -p StatusText govsec-host | grep -q modules")
    assert "nonsense" in machine.run(f"govsec config check {AS_AGENT}", codes=(3,))
    machine.write("/etc/govsec/agent.yaml", AGENT)

    assert _shown(machine, "govsec-host", "NRestarts") == "0"
    assert "modules run" in _shown(machine, "govsec-host", "StatusText")


def _who_is_killed_is_started_again_and_leaves_nobody_behind(machine: Machine) -> None:
    before = {unit: _shown(machine, f"govsec-{unit}", "MainPID") for unit in ALL}
    assert "0" not in before.values(), before
    machine.run(f"kill -9 {' '.join(before.values())}")
    for unit, pid in before.items():
        is_new = f"test $(systemctl show --value -p MainPID govsec-{unit}) -gt {pid}"
        machine.wait_for(f"systemctl is-active -q govsec-{unit} && {is_new}")
        assert pid not in machine.run(f"cat /sys/fs/cgroup/system.slice/govsec-{unit}.service/cgroup.procs").split()

    for agent in BOTH:
        machine.wait_for(f"govsec agent status {agent} {AS_AGENT}")


def _units_end_when_they_are_told_to(machine: Machine) -> None:
    machine.run("systemctl stop govsec-host govsec-network govsec-duty govsec-helper.socket govsec-helper")

    for unit in ALL:
        assert _shown(machine, f"govsec-{unit}", "Result") == "success", unit


def test_the_shipped_units_do_their_work_under_systemd(machine: Machine) -> None:
    for agent in BOTH:
        _an_agent_under_its_unit_runs_all_its_modules_and_nothing_is_forbidden_that_it_needs(machine, agent)
    _no_process_of_a_unit_has_more_than_the_unit_names(machine, "host", {"0"})
    _no_process_of_a_unit_has_more_than_the_unit_names(machine, "network", {"0", "65534"})
    _what_was_there_at_the_baseline_is_not_told_because_the_unit_may_not_use_it(machine)
    _an_attack_on_the_machine_is_found_and_told_by_units_alone(machine)
    _a_response_under_its_unit_is_done_and_undone(machine)
    _backup_watch_shipping_verification_and_a_drill_run_under_their_units(machine)
    _a_bad_configuration_is_refused_and_the_one_before_goes_on(machine)
    _who_is_killed_is_started_again_and_leaves_nobody_behind(machine)
    _units_end_when_they_are_told_to(machine)
