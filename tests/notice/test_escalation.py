"""Until a person takes it on: level by level, again and again, at night and over restarts, and never silent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from govsec.notice.escalation import Call, Escalation, Matter
from govsec.notice.escalationfile import EscalationFile
from govsec.notice.rota import Rota
from govsec.notice.workdays import shipped_workdays
from govsec.notifyentry import NotifyConfig
from govsec.records import Severity

CHINA = timezone(timedelta(hours=8))
#: Sunday, 22 November 2026, 22:00 in China.
NOW = datetime(2026, 11, 22, 14, 0, tzinfo=UTC)
CHANNEL = {"kind": "file", "path": "/nowhere"}
PLAN: dict[str, Any] = {
    "channels": {"sms-zhang": CHANNEL, "sms-li": CHANNEL, "sms-wang": CHANNEL, "group": CHANNEL},
    "people": {
        "zhang": {"name": "张三", "channels": ["sms-zhang"]},
        "li": {"name": "李处", "channels": ["sms-li", "group"]},
        "wang": {"name": "王局", "channels": ["sms-wang"]},
        "mute": {"name": "无机", "channels": []},
    },
    "rotas": {"duty": [{"people": ["zhang"]}]},
    "escalation": [
        {
            "steps": [
                {"rota": "duty", "repeat_min": 5, "wait_min": 12},
                {"people": ["li"], "repeat_min": 10, "wait_min": 30},
                {"people": ["wang"], "repeat_min": 20},
            ]
        }
    ],
}


def minutes(count: float) -> datetime:
    return NOW + timedelta(minutes=count)


def matter(key: str = "c1", level: int = 1, severity: Severity = Severity.HIGH, **more: Any) -> Matter:
    said: dict[str, Any] = {"system": "portal", "subject": key, "summary": "门户打不开", **more}
    return Matter(key, f"{level}{severity}", severity, level, **said)


def taken(who: str, count: int = 1, key: str = "c1", level: int = 1, severity: Severity = Severity.HIGH) -> Matter:
    return matter(key, level, severity, acknowledged_count=count, acknowledged_by=who)


class Site:
    """Escalation over a file, and what it called."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file = EscalationFile(path)
        self.plan: dict[str, Any] = dict(PLAN)

    def open(self) -> Escalation:
        notify = NotifyConfig.model_validate(self.plan)

        def rotas(moment: datetime) -> Mapping[str, Rota]:
            changes = self.file.changes(moment)
            return {
                name: Rota(name, shifts, shipped_workdays(), CHINA, changes) for name, shifts in notify.rotas.items()
            }

        return Escalation(self.file, notify.escalation, notify.people, rotas, tuple(notify.channels), CHINA)

    def restart(self) -> Escalation:
        self.file.close()
        self.file = EscalationFile(self.path)
        return self.open()

    def walk(self, escalation: Escalation, until_min: int) -> list[tuple[int, tuple[str, ...]]]:
        """Minute by minute: when who was called."""
        found = []
        for minute in range(until_min + 1):
            calls = escalation.step(minutes(minute))
            found += [(minute, call.channels) for call in calls]
            escalation.told(calls)
        return found


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path / "escalation.db")
    yield site
    site.file.close()


def test_levels_are_called_one_after_the_other_and_the_last_goes_on(site: Site) -> None:
    escalation = site.open()
    escalation.watch([matter()], NOW)

    assert site.walk(escalation, 100) == [
        (0, ("sms-zhang",)),
        (5, ("sms-zhang",)),
        (10, ("sms-zhang",)),
        (12, ("sms-li", "group")),
        (22, ("sms-li", "group")),
        (32, ("sms-li", "group")),
        (42, ("sms-wang",)),
        (62, ("sms-wang",)),
        (82, ("sms-wang",)),
    ]


def test_who_takes_it_on_ends_it(site: Site) -> None:
    escalation = site.open()
    escalation.watch([matter()], NOW)
    site.walk(escalation, 6)
    escalation.watch([taken("张三")], minutes(7))
    escalation.watch([taken("张三")], minutes(8))

    assert escalation.step(minutes(2000)) == ()


def test_what_becomes_worse_looks_for_somebody_anew_and_an_older_word_does_not_count(site: Site) -> None:
    escalation = site.open()
    escalation.watch([matter()], NOW)
    (first,) = escalation.step(NOW)
    escalation.told([first])
    escalation.watch([taken("张三")], minutes(1))
    escalation.watch([taken("张三", level=3)], minutes(60))

    (again,) = escalation.step(minutes(60))
    assert (again.notice.facts["step"], again.notice.facts["level"]) == (1, "major")
    assert again.notice.key != first.notice.key
    escalation.watch([taken("张三", level=3)], minutes(60))
    assert escalation.step(minutes(60)) == (again,)
    escalation.watch([taken("李处", 2, level=3)], minutes(30))  # also when the clock was set back meanwhile
    assert escalation.step(minutes(90)) == ()
    escalation.watch([taken("李处", 2, level=2)], minutes(95))  # milder is no news
    assert escalation.step(minutes(95)) == ()


def test_a_call_is_the_same_until_it_is_noted_and_every_restart_goes_on_where_it_was(site: Site) -> None:
    escalation = site.open()
    escalation.watch([matter()], NOW)
    found: list[Call] = []
    for minute in range(0, 60):
        before = escalation.step(minutes(minute))
        escalation = site.restart()  # died before it was noted
        calls = escalation.step(minutes(minute))
        assert [call.notice for call in calls] == [call.notice for call in before]
        escalation.told(calls)
        found += calls
    assert [call.notice.facts["step"] for call in found] == [1, 1, 1, 2, 2, 2, 3]
    assert len({call.notice.key for call in found}) == len(found)


def test_after_a_long_standstill_the_next_level_has_its_turn_and_none_is_left_out(site: Site) -> None:
    escalation = site.open()
    escalation.watch([matter()], NOW)
    escalation.told(escalation.step(NOW))

    calls = [escalation.step(minutes(600))[0]]
    escalation.told(calls)
    assert calls[0].notice.facts["step"] == 2
    assert escalation.step(minutes(601)) == ()


@pytest.mark.parametrize(
    ("rota", "gap"),
    [
        ([], {"who": "duty", "why": "empty"}),
        ([{"people": ["zhang"], "start": "09:00", "end": "17:00"}], {"who": "duty", "why": "empty"}),
        ([{"people": ["mute"]}], {"who": "无机", "why": "no_channel"}),
    ],
)
def test_nobody_on_duty_at_night_is_told_to_the_next_level_at_once(
    rota: list[Any], gap: dict[str, str], site: Site
) -> None:
    site.plan["rotas"] = {"duty": rota}
    escalation = site.open()
    escalation.watch([matter()], NOW)

    (call,) = escalation.step(NOW)
    assert call.channels == ("sms-li", "group")
    assert call.notice.facts["gaps"] == [gap]
    assert call.notice.facts["step"] == 2


def test_when_nobody_is_left_every_channel_is_used(site: Site) -> None:
    site.plan["rotas"] = {"duty": []}
    site.plan["people"] = {name: {**PLAN["people"][name], "channels": []} for name in PLAN["people"]}
    escalation = site.open()
    escalation.watch([matter()], NOW)

    (call,) = escalation.step(NOW)
    assert call.channels == ("sms-zhang", "sms-li", "sms-wang", "group")
    assert len(call.notice.facts["gaps"]) == 3  # type: ignore[arg-type]  # a list


def test_a_call_that_no_channel_took_is_the_next_levels_within_a_minute_and_at_the_end_everybodys(site: Site) -> None:
    escalation = site.open()
    escalation.watch([matter()], NOW)
    found = []
    for minute in range(8):
        calls = escalation.step(minutes(minute))
        escalation.told(calls)
        found += [(minute, call.channels, call.notice.facts["gaps"]) for call in calls]
        assert escalation.unreached(lambda _: bool(calls), minutes(minute)) == len(calls)  # noqa: B023 - asked at once
    everybody = ("sms-zhang", "sms-li", "sms-wang", "group")

    assert [(minute, channels) for minute, channels, _ in found[:4]] == [
        (0, ("sms-zhang",)),
        (1, ("sms-li", "group")),
        (2, ("sms-wang",)),
        (3, everybody),
    ]
    assert [gaps for _, _, gaps in found[:2]] == [[], [{"who": "1", "why": "undelivered"}]]
    assert len(found) == 8  # one a minute and no more


def test_the_last_level_without_anybody_falls_back_on_those_before_it(site: Site) -> None:
    site.plan["people"] = {**PLAN["people"], "wang": {"name": "王局"}}
    escalation = site.open()
    escalation.watch([matter()], NOW)

    assert site.walk(escalation, 62)[-2:] == [(42, ("sms-li", "group")), (62, ("sms-li", "group"))]


def test_how_bad_it_is_chooses_the_chain(site: Site) -> None:
    site.plan["escalation"] = [
        {"severity_min": "high", "steps": [{"people": ["zhang"]}]},
        {"severity_min": "critical", "steps": [{"people": ["li"]}]},
        {"level_min": "major", "steps": [{"people": ["wang"]}]},
        {"severity_min": "high", "systems": ["water"], "steps": [{"people": ["li", "wang"]}]},
    ]
    escalation = site.open()
    escalation.watch(
        [
            matter("low", severity=Severity.MEDIUM),
            matter("high"),
            matter("critical", severity=Severity.CRITICAL),
            matter("major", level=3),
            matter("water", system="water"),
        ],
        NOW,
    )
    called = {call.notice.subject: call.channels for call in escalation.step(NOW)}

    assert called == {
        "high": ("sms-zhang",),
        "critical": ("sms-li", "group"),
        "major": ("sms-wang",),
        "water": ("sms-li", "group", "sms-wang"),
    }


def test_what_can_wait_waits_for_its_hours_and_what_is_reportable_has_none(site: Site) -> None:
    steps = [{"people": ["zhang"], "repeat_min": 30}]
    site.plan["escalation"] = [
        {"hours": ["08:30", "21:00"], "steps": steps},
        {"level_min": "relatively_major", "steps": [{"people": ["li"]}]},
    ]
    escalation = site.open()
    escalation.watch([matter(), matter("bad", level=2)], NOW)  # 22:00

    assert [call.notice.subject for call in escalation.step(NOW)] == ["bad"]
    escalation.watch([taken("李处", key="bad", level=2)], NOW)
    assert escalation.step(minutes(10 * 60 + 29)) == ()
    assert [call.notice.subject for call in escalation.step(minutes(10 * 60 + 30))] == ["c1"]
    with pytest.raises(ValueError, match="any hour"):
        NotifyConfig.model_validate(
            {**PLAN, "escalation": [{"level_min": "major", "hours": ["08:00", "20:00"], "steps": steps}]}
        )


def test_many_at_once_are_one_call_that_all_of_them_are_noted_by(site: Site) -> None:
    escalation = site.open()
    escalation.watch([matter(f"c{number}") for number in range(40)], NOW)

    (call,) = escalation.step(NOW)
    assert (call.notice.kind, call.notice.facts["matters_count"]) == ("escalation.calls", 40)
    assert escalation.step(NOW) == (call,)
    escalation.told([call])
    assert escalation.step(minutes(4)) == ()
    assert escalation.step(minutes(5))[0].notice.key != call.notice.key


def test_an_exercise_is_called_as_one_and_apart_from_the_rest(site: Site) -> None:
    escalation = site.open()
    escalation.watch([matter(), matter("drill", is_exercise=True)], NOW)

    assert {call.notice.kind for call in escalation.step(NOW)} == {"escalation.call", "escalation.exercise"}


def test_a_clock_that_was_days_ahead_keeps_nobody_from_being_called(site: Site) -> None:
    escalation = site.open()
    escalation.watch([matter()], minutes(60 * 24 * 30))
    escalation.told(escalation.step(minutes(60 * 24 * 30)))

    assert [call.channels for call in escalation.step(minutes(1))] == [("sms-zhang",)]
    assert len(site.walk(escalation, 30)) >= 3


def test_what_was_taken_on_while_a_call_was_on_its_way_stays_so(site: Site) -> None:
    escalation = site.open()
    escalation.watch([matter()], NOW)
    calls = escalation.step(NOW)
    escalation.watch([taken("张三")], NOW)
    escalation.told(calls)

    assert escalation.step(minutes(100)) == ()


def test_what_is_over_is_forgotten(site: Site) -> None:
    escalation = site.open()
    escalation.watch([matter()], NOW)
    escalation.ended(["c1"])

    assert escalation.step(minutes(10)) == ()
    assert escalation.waiting_count() == 0


@pytest.mark.parametrize(
    "change",
    [
        {"people": {"zhang": {"name": "张三", "channels": ["fax"]}}},
        {"rotas": {"duty": [{"people": ["nobody"]}]}},
        {"escalation": [{"steps": [{"people": ["nobody"]}]}]},
        {"escalation": [{"steps": [{"rota": "none"}]}]},
        {"escalation": [{"steps": [{}]}]},
        {"zone": "Asia/Shanghai"},
    ],
)
def test_names_that_lead_nowhere_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        NotifyConfig.model_validate({**PLAN, **change})


def test_what_comes_back_after_it_was_over_is_called_for_anew_with_keys_of_its_own(tmp_path: Path) -> None:
    site = Site(tmp_path / "escalation.db")
    escalation = site.open()
    escalation.watch([matter()], NOW)
    first = escalation.step(NOW)
    escalation.told(first)
    escalation.watch([taken("张三")], minutes(1))
    escalation.ended(["c1"])
    assert escalation.marks() == {}
    assert escalation.step(minutes(60)) == ()

    # Opened again: the acknowledgement of the first time is still in the case, and counts for nothing.
    escalation.watch([taken("张三")], minutes(61))
    again = escalation.step(minutes(61))
    assert [call.channels for call in again] == [first[0].channels]
    assert {call.notice.key for call in again}.isdisjoint(call.notice.key for call in first)
    escalation.told(again)
    escalation.watch([taken("李处", count=2)], minutes(62))
    assert escalation.step(minutes(200)) == ()
