"""The duty daemon: what an agent found is told, kept in a case and let go, wherever the daemon dies."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from govsec.agent.spoolrecord import Entry, Priority
from govsec.assemble.duty import Duty
from govsec.assemble.incident import build_desk
from govsec.cli import frame
from govsec.cli.main import build_parser
from govsec.crypto.signing import Purpose, Signer, TrustedKeys
from govsec.database import Database
from govsec.incident.api import Query
from govsec.incident.placing import SERVICE_RECOVERED
from govsec.incident.triage import fingerprint
from govsec.incident.triagefile import TriageFile
from govsec.records import Severity
from govsec.testing.clock import FakeClock
from tests.assemble.dutysite import NOW, Machine, finding, joined, told


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path, FakeClock(NOW))


def run(duty: Duty, turns_max: int = 50) -> None:
    """Turns until there is nothing to do."""
    for _ in range(turns_max):
        if not duty.step():
            return
    raise AssertionError("it never comes to rest")


def test_a_finding_in_an_agents_spool_becomes_a_notice_and_a_case_and_is_let_go(machine: Machine) -> None:
    machine.spool([finding()])
    with machine.duty() as duty:
        run(duty)
        assert duty.troubles == {}
        assert told(duty.outbox) == {("incident.opened", "/srv/share"): 1, ("incident.case_opened", "20261122-0001"): 1}
        assert joined(duty) == [("20261122-0001", "host.ransomware.canary", "/srv/share")]
        (line,) = duty.store.find(Query())
        assert "/srv/share" in line.title
    assert machine.behind() == 0


def test_mild_findings_are_told_and_join_a_case_that_is_open_and_open_none(machine: Machine) -> None:
    mild = finding("host.ransomware.rename", "/srv/a", Severity.LOW)
    machine.spool([mild, finding("host.login.slow", severity=Severity.MEDIUM)])
    with machine.duty() as duty:
        run(duty)
        assert duty.store.find(Query()) == ()
        machine.spool([finding(), mild])
        run(duty)
        assert [subject for _, _, subject in joined(duty)] == ["/srv/share", "/srv/a"]


def test_a_finding_that_comes_again_is_counted_and_joins_again_only_when_it_is_worse(machine: Machine) -> None:
    machine.spool([finding()] * 3 + [finding(severity=Severity.CRITICAL)] + [finding()])
    with machine.duty() as duty:
        run(duty)
        assert len(joined(duty)) == 2
        machine.spool([finding(severity=Severity.CRITICAL)])
        run(duty)
        assert len(joined(duty)) == 2
        assert duty.counters()["findings"] == 6


def test_what_is_no_finding_is_counted_and_holds_up_nothing(machine: Machine) -> None:
    machine.append([Entry(Priority.FINDING, {"finding": {"kind": "nonsense"}}), Entry(Priority.RAW, {"other": 1})])
    machine.spool([finding()])
    with machine.duty() as duty:
        run(duty)
        assert duty.counters()["records_unreadable"] == 2
        assert len(joined(duty)) == 1
    assert machine.behind() == 0


def test_records_that_an_agent_lost_are_told(machine: Machine) -> None:
    machine.append([Entry(Priority.LOST, {"lost": {"finding quota": 7}, "time": "2026-11-22T01:41:00Z"})])
    with machine.duty() as duty:
        run(duty)
        assert isinstance(machine.clock, FakeClock)
        machine.clock.advance(60)
        run(duty)
        assert told(duty.outbox) == {("incident.opened", "host"): 1}


def test_what_fits_no_route_is_counted_and_shown(machine: Machine) -> None:
    machine.write({}, notify={"channels": {}, "routes": []})
    machine.spool([finding()])
    with machine.duty() as duty:
        run(duty)
        assert duty.counters()["notices_for_nobody"] == 2
        assert len(joined(duty)) == 1


def test_a_source_that_is_damaged_is_told_and_the_others_go_on(machine: Machine) -> None:
    machine.spool([finding(subject="/srv/host")])
    machine.spool([finding("net.scan.vertical", "10.0.0.8")], "network")
    path = machine.folder / "state" / "agent" / "host" / "spool.db"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE record SET body = replace(body, 'host', 'toast')")
        connection.commit()
    with machine.duty() as duty:
        run(duty)
        assert "digest" in duty.troubles["source host"]
        assert [kind for _, kind, _ in joined(duty)] == ["net.scan.vertical"]


def test_a_spool_that_began_anew_is_read_from_its_begin(machine: Machine) -> None:
    machine.spool([finding(subject=f"/srv/{number}") for number in range(3)])
    with machine.duty() as duty:
        run(duty)
        path = machine.folder / "state" / "agent" / "host" / "spool.db"
        path.rename(path.with_name("old.db"))
        for name in ("spool.db-wal", "spool.db-shm"):
            path.with_name(name).unlink(missing_ok=True)
        machine.spool([finding(subject="/srv/new")])
        run(duty)
        assert [subject for _, _, subject in joined(duty)] == ["/srv/0", "/srv/1", "/srv/2", "/srv/new"]


def test_a_file_of_cases_that_somebody_holds_delays_cases_and_no_notice(machine: Machine) -> None:
    machine.spool([finding()])
    with machine.duty() as duty:
        run(duty)
        machine.spool([finding("net.scan.vertical", "10.0.0.8")])
        path = machine.folder / "state" / "incidents" / "cases.db"
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            duty.step()
            assert "locked" in duty.troubles["source host"]
            assert told(duty.outbox)[("incident.opened", "10.0.0.8")] == 1
            assert machine.behind() == 1
            other.execute("ROLLBACK")
        run(duty)
        assert [kind for _, kind, _ in joined(duty)] == ["host.ransomware.canary", "net.scan.vertical"]
        assert told(duty.outbox)[("incident.opened", "10.0.0.8")] == 1
        assert duty.troubles == {}


def test_a_file_of_responses_that_somebody_holds_delays_playbooks_and_nothing_else(machine: Machine) -> None:
    roots = machine.folder / "roots.yaml"
    TrustedKeys([Signer.generate(Purpose.RESPONSE).public("li")]).save(roots)
    machine.write({}, signing={"roots_file": str(roots)})
    with machine.duty() as duty:
        run(duty)
        path = machine.folder / "state" / "incidents" / "response.db"
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            machine.spool([finding(), finding("net.scan.vertical", "10.0.0.8")])
            duty.step()
            assert "locked" in duty.troubles["responses"]
            assert len(joined(duty)) == 2
            assert machine.behind() == 0
            assert duty.counts["responses_planned"] == 0
            other.execute("ROLLBACK")
        run(duty)
        assert duty.counts["responses_planned"] > 0
        assert duty.troubles == {}


class _Killed(BaseException):
    """The process is gone."""


@contextlib.contextmanager
def _killed_at(monkeypatch: pytest.MonkeyPatch, number: int) -> Iterator[None]:
    """The process dies just before the commit of that number, counted from one, whichever file it is of.

    To die just after it is to die before the next one.
    """
    count = 0
    plain = Database.transaction

    @contextlib.contextmanager
    def transaction(self: Database) -> Iterator[sqlite3.Connection]:
        nonlocal count
        count += 1
        mine = count
        with plain(self) as work:
            yield work
            if mine == number:
                raise _Killed

    # Every durable step of the daemon goes through this one method, and nothing else can stand in for a death there.
    with monkeypatch.context() as patched:
        patched.setattr(Database, "transaction", transaction)
        yield


_STORY = (
    finding("service.down", "portal", service="portal", since="2026-11-22T01:20:00Z"),
    finding(),
    finding("host.ransomware.rate", "/srv/share", Severity.CRITICAL),
    finding(),
    finding("net.scan.vertical", "10.0.0.8", Severity.LOW),
    finding(SERVICE_RECOVERED, "portal", Severity.INFO, service="portal"),
    finding("net.exfiltration.volume", "10.0.0.9"),
)  # fmt: skip


def _outcome(machine: Machine) -> tuple[Any, ...]:
    assert isinstance(machine.clock, FakeClock)
    triage = machine.folder / "state" / "incidents" / "triage.db"
    with machine.duty() as duty, contextlib.closing(TriageFile(triage)) as file:
        run(duty)
        counts = {}
        for one in _STORY:
            incident = file.incident(fingerprint(one.kind, one.subject, "portal" if "service" in one.facts else ""))
            counts[one.kind, one.subject] = None if incident is None else incident.count
        desk = build_desk(machine.config, duty.store, machine.clock)
        cases = [(line.id, line.system, dict(desk.view(line.id).case.facts)) for line in duty.store.find(Query())]
        return machine.behind(), counts, joined(duty), cases, told(duty.outbox), duty.troubles


def _machine(folder: Path) -> Machine:
    folder.mkdir()
    machine = Machine(folder, FakeClock(NOW), duty={"services": {"portal": {"down": "portal_down_h"}}})
    machine.spool(_STORY)
    return machine


def test_wherever_the_daemon_dies_nothing_is_lost_and_nothing_is_told_or_opened_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = _outcome(_machine(tmp_path / "whole"))
    assert whole[0] == 0 and whole[1]["host.ransomware.canary", "/srv/share"] == 2
    for number in range(1, 200):
        machine = _machine(tmp_path / str(number))
        has_died = True
        with _killed_at(monkeypatch, number), contextlib.suppress(_Killed), machine.duty() as duty:
            run(duty)
            has_died = False
        assert _outcome(machine) == whole, number
        if not has_died:
            break
    # Triage, the outbox, cases, what was told, the spool: each has its commits.
    assert number > 12


def test_a_silence_by_command_holds_findings_back_and_its_end_is_told(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    def incident(*argv: str) -> int:
        line = ["incident", *argv, "--config", str(machine.path)]
        return frame.run(build_parser(), line, stdout=sys.stdout, stderr=sys.stderr, clock=machine.clock)

    said = ["--kind", "net.scan", "--hours", "1", "--reason", "网络扫描演练", "--by", "张三"]
    assert incident("silence", "scan-7", *said) == 0
    assert incident("silence", "scan-7", *said) == 5
    assert incident("silence", "all", "--hours", "1", "--reason", "x") == 5
    assert incident("silence", "long", "--kind", "net", "--hours", "800", "--reason", "x") == 2
    capsys.readouterr()
    assert incident("silences", "--json") == 0
    assert [one["by"] for one in json.loads(capsys.readouterr().out)["silences"]] == ["张三"]
    machine.spool([finding("net.scan.vertical", "10.0.0.8", Severity.MEDIUM)] * 3)
    assert isinstance(machine.clock, FakeClock)
    with machine.duty() as duty:
        run(duty)
        machine.clock.advance(60)
        run(duty)
        assert told(duty.outbox) == {}
        assert incident("unsilence", "scan-7") == 0
        run(duty)
        assert [kind for kind, _ in told(duty.outbox)] == ["incident.silence_ended"]


def test_announced_work_and_what_a_host_takes_with_it_are_told_to_nobody(machine: Machine) -> None:
    window = {"kind": "host.login", "reason": "升级", "starts": "2026-11-22T01:00:00Z", "ends": "2026-11-22T02:00:00Z"}
    machine.write({"duty": {"maintenance": [window], "depends": {"portal": ["www1"]}}})
    severe = [
        finding("service.host_down", "www1"),
        finding("service.down", "portal"),
        finding("host.login.guess", "alice"),
    ]
    machine.spool(severe)
    with machine.duty() as duty:
        run(duty)
        assert [subject for kind, subject in told(duty.outbox) if kind == "incident.opened"] == ["www1"]
        assert len(joined(duty)) == 3, "what is not told is kept all the same"
