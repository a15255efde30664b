"""Who is on duty: the official calendar, nights that last into the next day, turns, and what people change by hand."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from govsec.errors import ConfigurationError
from govsec.notice.rota import Change, Rota
from govsec.notice.workdays import read_workdays, shipped_workdays
from govsec.rotaentry import ShiftConfig

CHINA = timezone(timedelta(hours=8))


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=CHINA).astimezone(UTC)


def shift(*people: str, **more: object) -> ShiftConfig:
    return ShiftConfig.model_validate({"people": people, **more})


def rota(*shifts: ShiftConfig, changes: tuple[Change, ...] = ()) -> Rota:
    return Rota("duty", shifts, shipped_workdays(), CHINA, changes)


def change(takes: str, gives: str, start: str, end: str, number: int = 1) -> Change:
    return Change(number, "duty", gives, (takes,), at(start), at(end), "王处", "出差", at(start))


#: Days that differ from the plain week, by the State Council's notice for 2026; dates checked by hand.
@pytest.mark.parametrize(
    ("day", "is_workday"),
    [
        ("2026-02-13", True),
        ("2026-02-14", True),  # a Saturday that is worked
        ("2026-02-15", False),
        ("2026-02-23", False),  # a Monday
        ("2026-02-24", True),
        ("2026-02-28", True),
        ("2026-09-20", True),  # a Sunday that is worked
        ("2026-10-01", False),
        ("2026-10-07", False),
        ("2026-10-08", True),
        ("2026-10-10", True),
        ("2026-10-11", False),
        ("2025-10-08", False),
    ],
)
def test_days_are_worked_as_the_state_council_says(day: str, is_workday: bool) -> None:
    assert shipped_workdays().is_workday(date.fromisoformat(day)) is is_workday


def test_a_year_that_nobody_has_set_yet_has_its_weekends_and_says_that_it_is_not_known() -> None:
    days = shipped_workdays()

    assert (days.knows(2026), days.knows(2031)) == (True, False)
    assert [days.is_workday(date(2031, 10, day)) for day in (1, 4, 5)] == [True, False, False]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (('"2026-01-04"', '"2026-01-05"'), "no Saturday or Sunday"),
        (('"2026-01-04"', '"2027-01-03"'), "not in 2026"),
        (('"2026-01-04"', '"2026-01-03"'), "off and worked"),
        (('to: "2026-01-03"', 'to: "2025-12-30"'), "ends on"),
        (("year: 2026", "year: 2025"), "2025"),
    ],
)
def test_a_calendar_that_cannot_be_is_refused_with_its_line(
    change: tuple[str, str], words: str, tmp_path: Path
) -> None:
    shipped = Path(__file__).parents[2] / "policies" / "rota" / "workdays-cn.yaml"
    own = tmp_path / "own.yaml"
    own.write_text(shipped.read_text(encoding="utf-8").replace(*change), encoding="utf-8")

    with pytest.raises(ConfigurationError, match=words) as raised:
        read_workdays(own)
    assert "own.yaml:" in str(raised.value)


def test_a_night_belongs_to_the_day_on_which_it_begins() -> None:
    plan = rota(
        shift("day", days="workday", start="09:00", end="17:30"),
        shift("night", days="workday", start="17:30", end="09:00"),
        shift("rest", days="restday", start="09:00", end="09:00"),
    )

    # Friday 13 and the worked Saturday 14 February, then nine days of Spring Festival.
    assert plan.on_duty(at("2026-02-13T08:59:59")) == ("night",)
    assert plan.on_duty(at("2026-02-13T09:00")) == ("day",)
    assert plan.on_duty(at("2026-02-15T08:59")) == ("night",)
    assert plan.on_duty(at("2026-02-15T09:00")) == ("rest",)
    assert plan.on_duty(at("2026-02-24T08:59")) == ("rest",)
    assert plan.on_duty(at("2026-02-24T09:00")) == ("day",)


def test_a_time_without_anybody_is_a_watch_of_nobody() -> None:
    plan = rota(shift("day", days="workday", start="09:00", end="17:30"))
    watches = list(plan.watches(at("2026-11-20T09:00"), at("2026-11-23T12:00")))

    assert [(watch.people, watch.starts_at) for watch in watches] == [
        (("day",), at("2026-11-20T09:00")),
        ((), at("2026-11-20T17:30")),
        (("day",), at("2026-11-23T09:00")),
    ]


def test_turns_go_round_by_the_shifts_that_there_are_or_by_weeks() -> None:
    by_shift = rota(shift("a", "b", "c", days="restday", turn="shift", since="2026-11-21"))
    days = ["2026-11-21", "2026-11-22", "2026-11-28", "2026-11-29", "2026-12-05", "2026-11-15"]
    assert [by_shift.on_duty(at(f"{day}T12:00"))[0] for day in days] == ["a", "b", "c", "a", "b", "c"]

    by_week = rota(shift("a", "b", turn="week", since="2026-11-25"))  # a Wednesday: its week begins on the 23rd
    days = ["2026-11-22", "2026-11-23", "2026-11-29", "2026-11-30", "2026-12-07"]
    assert [by_week.on_duty(at(f"{day}T12:00"))[0] for day in days] == ["b", "a", "a", "b", "a"]
    with pytest.raises(ValidationError, match="since"):
        shift("a", "b", turn="week")


def test_a_hand_over_puts_one_in_anothers_place_and_an_override_all() -> None:
    both = shift("zhang", "wang")
    handed = rota(both, changes=(change("li", "zhang", "2026-11-22T10:00", "2026-11-22T12:00"),))
    assert handed.on_duty(at("2026-11-22T09:59")) == ("zhang", "wang")
    assert handed.on_duty(at("2026-11-22T10:00")) == ("li", "wang")
    assert handed.on_duty(at("2026-11-22T12:00")) == ("zhang", "wang")

    overridden = rota(both, changes=(change("li", "", "2026-11-22T10:00", "2026-11-22T12:00"),))
    assert overridden.on_duty(at("2026-11-22T10:00")) == ("li",)
    again = rota(
        both,
        changes=(
            change("li", "zhang", "2026-11-22T10:00", "2026-11-22T12:00"),
            change("zhao", "li", "2026-11-22T11:00", "2026-11-22T12:00", 2),
        ),
    )
    assert again.on_duty(at("2026-11-22T11:30")) == ("zhao", "wang")


_TIMES = st.builds("{:02d}:{:02d}".format, st.integers(0, 23), st.integers(0, 59))
_SHIFTS = st.lists(
    st.builds(
        lambda person, days, start, end: shift(person, days=days, start=start, end=end),
        st.sampled_from("abc"), st.sampled_from(["every", "workday", "restday"]), _TIMES, _TIMES,
    ),
    min_size=1, max_size=3,
)  # fmt: skip


@given(_SHIFTS, st.integers(0, 3 * 1440 - 1))
def test_watches_say_of_every_minute_what_is_asked_of_it_alone(shifts: list[ShiftConfig], minute: int) -> None:
    plan, start = rota(*shifts), at("2026-09-30T00:00")
    moment = start + timedelta(minutes=minute)
    watches = list(plan.watches(start, start + timedelta(days=3)))

    (held,) = [watch for watch in watches if watch.starts_at <= moment < watch.ends_at]
    assert held.people == plan.on_duty(moment)
    assert all(one.ends_at == after.starts_at for one, after in pairwise(watches))
