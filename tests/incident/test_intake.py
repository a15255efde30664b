"""Findings become cases: which belong together, how many there may be, what happens when a case cannot take more."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from govsec.errors import IntegrityError
from govsec.incident import intake
from govsec.incident.api import Query
from govsec.incident.deadlinetable import shipped_deadlines
from govsec.incident.desk import Desk, View
from govsec.incident.entries import FactsSaid, FindingJoined, Moved, RecoveryProved, Stage
from govsec.incident.intake import Intake, IntakeSettings, Taken, TakenIn
from govsec.incident.intakefacts import MACHINE
from govsec.incident.intakefile import IntakeFile
from govsec.incident.placing import DRILL_PASSED, PlacingRules
from govsec.incident.rulepack import shipped_packs
from govsec.records import Finding, Severity
from govsec.testing.cases import MemoryCases
from govsec.testing.clock import FakeClock
from tests.incident.samples import NOW


def finding(kind: str = "net.scan.vertical", subject: str = "10.0.0.8", **more: Any) -> Finding:
    said = {"severity": Severity.HIGH, "time": NOW, "summary": f"{kind} of {subject}", "facts": {}, **more}
    return Finding(kind=kind, subject=subject, **said)


class Room:
    """An intake over cases in memory."""

    def __init__(self, folder: Path, cases_per_hour: int = 30) -> None:
        self.clock = FakeClock(NOW)
        self.store = MemoryCases()
        self.desk = Desk(self.store, shipped_packs(), shipped_deadlines(), self.clock)
        self.file = IntakeFile(folder / "intake.db")
        settings = IntakeSettings(("other_operator",), cases_per_hour)
        title = lambda one: one.summary  # noqa: E731
        self.intake = Intake(self.desk, self.file, PlacingRules(), settings, self.clock, title_of=title)
        self.count = 0

    def take(self, *findings: Finding, system: str = "portal") -> TakenIn:
        taken = []
        for one in findings:
            self.count += 1
            taken.append(Taken(one, system, f"record {self.count}"))
        return self.intake.take(taken)

    def views(self) -> list[View]:
        return [self.desk.view(line.id) for line in reversed(self.store.find(Query()))]


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    room = Room(tmp_path)
    yield room
    room.file.close()


def test_one_system_and_one_class_of_rule_are_one_case(room: Room) -> None:
    room.take(finding(), finding("net.scan.slow", "10.0.0.9"), finding("host.login.guess", "alice"))
    room.take(finding(), system="oa")
    assert [(view.case.opened.system, view.case.findings_count) for view in room.views()] == [
        ("portal", 2),
        ("portal", 1),
        ("oa", 1),
    ]
    assert room.views()[0].case.opened.event_class == "network_attack"
    assert room.views()[0].case.opened.by == MACHINE


def test_when_a_case_is_closed_the_next_finding_opens_another(room: Room) -> None:
    room.take(finding())
    (view,) = room.views()
    line = view.summary()
    entries = room.store.entries(line.id)
    # As if people had carried it to its end: the guards of stages are another test's matter.
    closed = Moved.model_validate({"time": NOW, "by": "张三", "to": "closed", "reason": "x"})
    room.store.append(line.id, len(entries), [closed], replace(line, stage=Stage.CLOSED))
    room.take(finding())
    assert [view.case.findings_count for view in room.views()] == [1, 1]


def test_beyond_so_many_an_hour_findings_of_a_system_share_a_case(tmp_path: Path) -> None:
    room = Room(tmp_path, cases_per_hour=2)
    room.take(*(finding(f"net.kind{number}.x") for number in range(6)))
    assert [view.case.findings_count for view in room.views()] == [1, 1, 4]
    room.take(finding("net.kind9.x"), system="oa")
    assert len(room.views()) == 4
    room.clock.advance(3601)
    room.take(finding("net.kind10.x"))
    assert [view.case.findings_count for view in room.views()] == [1, 1, 4, 1, 1]


def test_what_a_full_case_cannot_hold_is_counted(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "FINDINGS_MAX", 3)  # the real limit is 20,000
    taken = room.take(*(finding(subject=f"10.0.0.{number}") for number in range(10)))
    assert taken.beyond_count == 7
    again = finding(subject="10.0.0.0"), finding(subject="10.0.0.3"), finding(subject="10.0.0.99")
    assert room.take(*again).beyond_count == 2
    (view,) = room.views()
    assert (view.case.findings_count, room.file.beyond()) == (3, {view.case.id: 9})


def test_a_damaged_case_keeps_no_finding_from_being_kept(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    room.take(finding())
    (first,) = room.views()
    read = room.store.entries

    def entries(case_id: str) -> object:
        if case_id == first.case.id:
            raise IntegrityError(f"case {case_id}: entry 2 is missing or was changed")
        return read(case_id)

    monkeypatch.setattr(room.store, "entries", entries)  # a store in memory cannot be damaged otherwise
    room.intake._known.clear()
    room.take(finding(subject="10.0.0.9"))
    second = next(line.id for line in room.store.find(Query()) if line.id != first.case.id)
    assert [entry.subject for entry in read(second) if isinstance(entry, FindingJoined)] == ["10.0.0.9"]


def test_moments_that_cannot_be_are_not_believed(room: Room) -> None:
    for year in (1970, 2099):
        room.take(finding(f"net.year{year}.x", time=NOW.replace(year=year)))
    assert [view.case.opened.aware_at for view in room.views()] == [NOW, NOW]
    room.take(finding("net.spooled.x", time=NOW - timedelta(hours=3)))
    assert room.views()[-1].case.opened.aware_at == NOW - timedelta(hours=3)


def test_a_drill_that_fails_is_a_case_and_a_later_pass_its_recovery(room: Room) -> None:
    plan = {"plan": "whole", "drill": "d1"}
    room.take(finding("drill.stale", "oa", severity=Severity.MEDIUM, facts=plan), system="oa")
    room.take(finding("drill.failing", "oa", facts=plan), system="oa")
    room.take(finding("drill.plan_changed", "oa", severity=Severity.LOW, facts={"plan": "other"}), system="oa")
    (view,) = room.views()
    assert (view.case.findings_count, view.case.opened.event_class) == (2, "hidden_danger")
    room.clock.advance(86_400)
    passed = finding(
        DRILL_PASSED, "oa", severity=Severity.INFO, time=room.clock.now(), facts={**plan, "digest": "ab" * 32}
    )
    room.take(passed, system="oa")
    room.take(passed, system="oa")
    proved = [entry for entry in room.store.entries(view.case.id) if isinstance(entry, RecoveryProved)]
    assert [entry.digest for entry in proved] == [f"sha256:{'ab' * 32}"]


def test_a_drill_that_passes_without_a_case_opens_none(room: Room) -> None:
    room.take(finding(DRILL_PASSED, "oa", severity=Severity.INFO, facts={"plan": "whole"}))
    assert room.views() == []


def test_a_finding_that_only_comes_again_asks_no_case(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    room.take(finding())
    calls: list[str] = []
    read = room.store.entries
    monkeypatch.setattr(room.store, "entries", lambda case_id: (calls.append(case_id), read(case_id))[1])
    for _ in range(5):
        room.take(*[finding()] * 100)
    assert calls == []


def test_a_fact_of_nobodys_rules_breaks_nothing(room: Room) -> None:
    room.take(finding())
    (view,) = room.views()
    room.desk.add(view.case.id, FactsSaid(time=NOW, by=MACHINE, facts={"portal_down_h": "3"}))
    assert room.views()[0].case.facts_by == {"portal_down_h": MACHINE}
