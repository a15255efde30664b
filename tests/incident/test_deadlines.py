"""Deadlines on a clock of the test's own: who owes what, from when, warnings, receipts, lateness, 0 to 30 days."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from govsec.incident.deadlines import (
    Duty,
    DutyState,
    LateReason,
    Receipt,
    Restart,
    Situation,
    duties,
    next_change,
)
from govsec.incident.deadlinetable import Circumstance, shipped_deadlines
from govsec.incident.levels import EventLevel

TABLE = shipped_deadlines()
AWARE = datetime(2026, 11, 22, 1, 41, tzinfo=UTC)
LARGE, MAJOR = EventLevel.RELATIVELY_MAJOR, EventLevel.MAJOR


def _situation(role: str, level: EventLevel = LARGE, **more: object) -> Situation:
    base = Situation(frozenset({role}), level, level, AWARE)
    return replace(base, **more)  # type: ignore[arg-type]  # fields of Situation, by name


def _receipt(duty: str, after: timedelta) -> Receipt:
    return Receipt(duty, AWARE + after, "值班员李四", "2026-0017", "张三", "12387")


def _by_id(found: tuple[Duty, ...]) -> dict[str, Duty]:
    return {duty.id: duty for duty in found}


@pytest.mark.parametrize(
    ("role", "level", "more", "expected"),
    [
        ("cii_operator", LARGE, {}, {"R1/protection_department": 60, "R1/public_security": 60}),
        (
            "protection_department",
            MAJOR,
            {"received_at": AWARE},
            {"R2/national_cyberspace": 30, "R2/national_public_security": 30},
        ),
        ("central_department", LARGE, {}, {"R3/own_cyberspace_office": 120}),
        ("central_cyberspace_office", MAJOR, {"received_at": AWARE}, {"R4/national_cyberspace": 60}),
        ("other_operator", LARGE, {}, {"R5/provincial_cyberspace": 240}),
        ("provincial_cyberspace_office", MAJOR, {"received_at": AWARE}, {"R6/national_cyberspace": 60, "R6/peers": 60}),
        ("county_government", LARGE, {}, {"R14/government_above": 60, "R5/provincial_cyberspace": 240}),
    ],
)
def test_every_role_owes_its_first_report_in_its_own_time(
    role: str, level: EventLevel, more: dict[str, object], expected: dict[str, int]
) -> None:
    found = duties(TABLE, _situation(role, level, **more), AWARE)
    first = {duty.id: duty for duty in found if duty.rule.report.value in ("first", "relay")}

    assert {name: duty.due_at for name, duty in first.items()} == {
        name: AWARE + timedelta(minutes=minutes) for name, minutes in expected.items()
    }


@pytest.mark.parametrize("role", ["protection_department", "central_cyberspace_office", "provincial_cyberspace_office"])
def test_who_passes_reports_on_owes_nothing_below_major(role: str) -> None:
    assert duties(TABLE, _situation(role, LARGE, received_at=AWARE), AWARE) == ()


def test_a_general_event_brings_no_report_but_a_crime_or_a_leak_does() -> None:
    general = _situation("other_operator", EventLevel.GENERAL)
    crime = replace(general, circumstances=frozenset({Circumstance.CRIME, Circumstance.PERSONAL_DATA}))

    assert duties(TABLE, general, AWARE) == ()
    assert {duty.id for duty in duties(TABLE, crime, AWARE)} == {
        "R7/public_security",
        "R13-authority/personal_information_authority",
        "R13-individuals/individuals",
    }


def test_a_county_government_tells_the_one_above_of_any_event_and_owes_what_an_operator_owes() -> None:
    every = frozenset(Circumstance)
    general = duties(TABLE, _situation("county_government", EventLevel.GENERAL), AWARE)
    operator = duties(
        TABLE, _situation("other_operator", new_facts_at=(AWARE,), handling_ended_at=AWARE, circumstances=every), AWARE
    )
    county = duties(
        TABLE,
        _situation("county_government", new_facts_at=(AWARE,), handling_ended_at=AWARE, circumstances=every),
        AWARE,
    )

    assert [(duty.id, duty.rule.is_ours) for duty in general] == [("R14/government_above", True)]
    assert set(_by_id(county)) == {*_by_id(operator), "R14/government_above"}
    assert {duty.rule.id for duty in operator} == {"R5", "R7", "R9", "R10", "R12", "R13-authority", "R13-individuals"}


@pytest.mark.parametrize("role", sorted(TABLE.roles))
def test_whoever_suspects_a_crime_reports_it(role: str) -> None:
    crime = _situation(role, EventLevel.GENERAL, circumstances=frozenset({Circumstance.CRIME}))

    assert "R7/public_security" in _by_id(duties(TABLE, crime, AWARE))


def test_the_clock_of_who_passes_on_starts_with_the_receipt_from_below() -> None:
    waiting = duties(TABLE, _situation("protection_department", MAJOR), AWARE)
    started = duties(
        TABLE, _situation("protection_department", MAJOR, received_at=AWARE + timedelta(minutes=50)), AWARE
    )

    assert {duty.state for duty in waiting} == {DutyState.WAITING}
    assert {duty.due_at for duty in started} == {AWARE + timedelta(minutes=80)}


def test_warnings_come_at_half_three_quarters_and_nine_tenths_and_the_last_moment_is_in_time() -> None:
    situation = _situation("other_operator")
    seen: list[tuple[int, float, DutyState]] = []
    now = AWARE
    while True:
        found = duties(TABLE, situation, now)
        duty = _by_id(found)["R5/provincial_cyberspace"]
        seen.append((int((now - AWARE) / timedelta(minutes=1)), duty.warning, duty.state))
        following = next_change(found, now)
        if following is None:
            break
        now = following

    assert seen == [
        (0, 0.0, DutyState.OPEN),
        (120, 0.5, DutyState.OPEN),
        (180, 0.75, DutyState.OPEN),
        (216, 0.9, DutyState.OPEN),
        (240, 0.9, DutyState.OPEN),
    ]
    late = _by_id(duties(TABLE, situation, now + timedelta(microseconds=1)))["R5/provincial_cyberspace"]
    assert (late.state, late.needs_reason, late.is_open) == (DutyState.LATE, True, True)


def test_only_a_receipt_meets_a_duty_and_late_stays_late() -> None:
    situation = _situation("cii_operator")
    in_time = _receipt("R1/public_security", timedelta(minutes=59))
    too_late = _receipt("R1/protection_department", timedelta(minutes=61))
    now = AWARE + timedelta(days=2)
    found = _by_id(duties(TABLE, situation, now, [in_time, too_late]))
    police, department = found["R1/public_security"], found["R1/protection_department"]

    assert (police.state, police.needs_reason, police.is_open) == (DutyState.MET, False, False)
    assert (department.state, department.needs_reason, department.is_open) == (DutyState.MET_LATE, True, False)
    reason = LateReason("R1/protection_department", now, "张三", "机房断电，无法核实")
    said = _by_id(duties(TABLE, situation, now, [in_time, too_late], [reason]))
    assert not said["R1/protection_department"].needs_reason
    assert said["R1/protection_department"].state is DutyState.MET_LATE


def test_a_second_receipt_never_makes_an_early_one_late() -> None:
    early, again = (
        _receipt("R1/public_security", timedelta(minutes=5)),
        _receipt("R1/public_security", timedelta(hours=9)),
    )

    found = _by_id(duties(TABLE, _situation("cii_operator"), AWARE + timedelta(days=1), [again, early]))

    assert found["R1/public_security"].state is DutyState.MET


@pytest.mark.parametrize("before", [timedelta(days=900), timedelta(minutes=5, seconds=1)])
def test_a_receipt_or_a_reason_from_before_the_clock_belongs_to_something_else(before: timedelta) -> None:
    name = "R1/public_security"
    early, slack = _receipt(name, -before), _receipt(name, -timedelta(minutes=5))
    reason = LateReason(name, AWARE - before, "张三", "x")
    now = AWARE + timedelta(hours=2)

    ignored = _by_id(duties(TABLE, _situation("cii_operator"), now, [early], [reason]))[name]
    assert (ignored.state, ignored.receipt, ignored.needs_reason) == (DutyState.LATE, None, True)
    met = _by_id(duties(TABLE, _situation("cii_operator"), now, [early, slack]))[name]
    assert (met.state, met.receipt) == (DutyState.MET, slack)


def test_a_receipt_for_what_waits_does_not_meet_it_when_its_clock_starts() -> None:
    early = _receipt("R10/original_channel", timedelta(hours=1))
    ended = _situation("other_operator", handling_ended_at=AWARE + timedelta(days=3))

    waiting = _by_id(duties(TABLE, _situation("other_operator"), AWARE, [early]))["R10/original_channel"]
    assert (waiting.state, waiting.receipt) == (DutyState.WAITING, None)
    started = _by_id(duties(TABLE, ended, AWARE + timedelta(days=4), [early]))["R10/original_channel"]
    assert started.state is DutyState.OPEN


def test_what_was_handed_in_before_a_level_restarted_the_clock_is_handed_in() -> None:
    situation = _situation("other_operator", LARGE, level_reached_at={LARGE: AWARE + timedelta(hours=3)})
    receipt = _receipt("R5/provincial_cyberspace", timedelta(hours=1))
    found = _by_id(duties(TABLE, situation, AWARE + timedelta(days=1), [receipt], restart=Restart.LEVEL_REACHED))

    assert found["R5/provincial_cyberspace"].state is DutyState.MET


def test_a_higher_level_does_not_restart_the_clock_unless_the_site_says_so() -> None:
    reached = {LARGE: AWARE + timedelta(hours=3)}
    situation = _situation("other_operator", LARGE, level_reached_at=reached)
    strict = _by_id(duties(TABLE, situation, AWARE))["R5/provincial_cyberspace"]
    lenient = _by_id(duties(TABLE, situation, AWARE, restart=Restart.LEVEL_REACHED))["R5/provincial_cyberspace"]

    assert strict.due_at == AWARE + timedelta(hours=4)
    assert lenient.due_at == AWARE + timedelta(hours=7)


def test_what_only_the_highest_possible_level_would_bring_runs_already_and_says_so() -> None:
    situation = _situation("other_operator", EventLevel.GENERAL, highest_possible=MAJOR)
    found = _by_id(duties(TABLE, situation, AWARE + timedelta(hours=5)))

    assert found["R5/provincial_cyberspace"].is_certain is False
    assert found["R5/provincial_cyberspace"].state is DutyState.LATE


def test_new_facts_are_asked_for_each_time() -> None:
    moments = (AWARE + timedelta(hours=6), AWARE + timedelta(days=2))
    found = duties(TABLE, _situation("other_operator", new_facts_at=moments), AWARE + timedelta(days=2))
    due = {duty.id: (duty.state, duty.due_at) for duty in found if duty.rule.id == "R9"}

    assert due == {
        "R9/original_channel#1": (DutyState.LATE, AWARE + timedelta(hours=30)),
        "R9/original_channel#2": (DutyState.OPEN, AWARE + timedelta(days=3)),
    }


def test_thirty_days_of_an_event_from_awareness_to_the_final_report() -> None:
    situation = _situation("other_operator")
    first = _receipt("R5/provincial_cyberspace", timedelta(hours=2))
    receipts = [first]
    states: list[tuple[int, str, str]] = []
    ended = AWARE + timedelta(days=3)
    for day in range(35):
        now = AWARE + timedelta(days=day)
        if now >= ended:
            situation = replace(situation, handling_ended_at=ended)
        for duty in duties(TABLE, situation, now, receipts):
            if duty.rule.id == "R10":
                states.append((day, duty.state.value, str(duty.warning)))

    assert [state for _, state, _ in states[:3]] == ["waiting"] * 3
    assert {state for day, state, _ in states if 3 <= day <= 33} == {"open"}
    assert next(day for day, _, warning in states if warning == "0.5") == 18
    assert next(day for day, _, warning in states if warning == "0.75") == 26
    assert next(day for day, _, warning in states if warning == "0.9") == 30
    assert states[-1] == (34, "late", "0.0")
    final = Receipt("R10/original_channel", ended + timedelta(days=30), "李四", "2026-0020", "张三", "12387")
    met = _by_id(duties(TABLE, situation, AWARE + timedelta(days=40), [*receipts, final]))
    assert {duty.state for duty in met.values()} == {DutyState.MET}


def test_late_ones_come_first_and_then_what_is_due_first() -> None:
    situation = _situation(
        "other_operator",
        circumstances=frozenset({Circumstance.CRIME, Circumstance.PERSONAL_DATA}),
        handling_ended_at=None,
    )
    found = duties(TABLE, situation, AWARE + timedelta(hours=2))

    assert [(duty.rule.id, duty.state.value) for duty in found] == [
        ("R13-authority", "late"),
        ("R7", "late"),
        ("R5", "open"),
        ("R13-individuals", "open"),
        ("R10", "waiting"),
    ]
