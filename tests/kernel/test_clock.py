from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from govsec.clock import SystemClock, format_time, parse_time


@given(st.datetimes(timezones=st.just(UTC)))
def test_a_moment_is_written_and_read_again_unchanged(moment: datetime) -> None:
    assert parse_time(format_time(moment)) == moment


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-22T00:00:00Z", datetime(2026, 11, 22, tzinfo=UTC)),
        ("2026-11-22T08:00:00+08:00", datetime(2026, 11, 22, tzinfo=UTC)),
        ("2026-11-22T00:00:00.5Z", datetime(2026, 11, 22, microsecond=500_000, tzinfo=UTC)),
        # restic writes nanoseconds and the local zone.
        ("2026-11-22T08:00:00.123456789+08:00", datetime(2026, 11, 22, microsecond=123_456, tzinfo=UTC)),
    ],
)
def test_times_of_other_programs_are_read_as_utc(text: str, expected: datetime) -> None:
    assert parse_time(text) == expected
    assert parse_time(text).tzinfo is UTC


@pytest.mark.parametrize(
    "text", ["", "yesterday", "2026-11-22T00:00:00", "2026-11-22T00:00:00.Z", "2026-13-01T00:00:00Z"]
)
def test_what_is_no_time_with_a_zone_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_time(text)


def test_a_time_without_a_zone_is_not_written_down() -> None:
    with pytest.raises(ValueError, match="zone"):
        format_time(datetime(2026, 1, 1))


def test_a_time_of_another_zone_is_written_in_utc() -> None:
    beijing = timezone(timedelta(hours=8))

    assert format_time(datetime(2026, 1, 1, 8, tzinfo=beijing)) == "2026-01-01T00:00:00Z"


def test_the_clock_of_this_machine_carries_utc_and_never_goes_back() -> None:
    clock = SystemClock()
    before = clock.monotonic()
    clock.sleep(-1)

    assert clock.now().tzinfo is UTC
    assert clock.monotonic() >= before


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"])
def test_a_time_that_is_in_no_year_of_utc_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="outside the years"):
        parse_time(text)
