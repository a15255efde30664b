"""How many things are done at once: found by trying, on lines that are made of arithmetic."""

from __future__ import annotations

import threading

import pytest

from govsec.runtime.lanes import for_each
from govsec.runtime.pace import Pace
from govsec.testing.clock import FakeClock

_BLOCK = 16.0


def _run(pace: Pace, clock: FakeClock, *, one_s: float, full_per_s: float, windows: int) -> list[int]:
    """Work over a line on which one thing alone takes ``one_s`` and that carries ``full_per_s`` in all; the limits."""
    seen = []
    for _ in range(windows):
        limit = pace.limit
        seen.append(limit)
        # So many at once take as long as one alone, or as the line takes for all of them.
        clock.advance(max(one_s, limit * _BLOCK / full_per_s))
        for _ in range(limit):
            pace.done(_BLOCK)
    return seen


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def test_a_line_with_a_long_delay_gets_as_many_as_fill_it(clock: FakeClock) -> None:
    pace = Pace(clock, start=4, most=32)
    # Sixteen at once fill it: one takes two seconds, and the line carries eight a second.
    _run(pace, clock, one_s=2.0, full_per_s=8 * _BLOCK, windows=6)
    assert 16 <= pace.limit <= 18


def test_a_line_that_is_full_already_is_not_given_more(clock: FakeClock) -> None:
    pace = Pace(clock, start=4, most=32)
    seen = _run(pace, clock, one_s=0.6, full_per_s=4 * _BLOCK, windows=60)
    assert seen[0] == 4
    assert seen[1] == 8  # tried once
    assert set(seen[2:]) == {4, 6}  # and two more from time to time
    assert seen[2:].count(6) <= 8


def test_a_line_that_gets_longer_gets_more_in_time(clock: FakeClock) -> None:
    pace = Pace(clock, start=4, most=32)
    _run(pace, clock, one_s=0.6, full_per_s=6 * _BLOCK, windows=20)
    before = pace.limit
    _run(pace, clock, one_s=3.0, full_per_s=6 * _BLOCK, windows=80)
    assert pace.limit >= 2 * before


def test_a_line_that_collapses_is_asked_anew_and_never_gets_less_than_one(clock: FakeClock) -> None:
    pace = Pace(clock, start=4, most=32)
    _run(pace, clock, one_s=2.0, full_per_s=16 * _BLOCK, windows=8)
    assert pace.limit > 8
    seen = _run(pace, clock, one_s=2.0, full_per_s=0.5 * _BLOCK, windows=20)
    assert max(seen[3:]) <= 8
    assert min(seen) >= 1


def test_time_in_which_nothing_was_under_way_is_not_held_against_the_line(clock: FakeClock) -> None:
    pace = Pace(clock, start=4, most=32)
    _run(pace, clock, one_s=2.0, full_per_s=16 * _BLOCK, windows=8)
    before = pace.limit
    clock.advance(3600)
    pace.pause()
    _run(pace, clock, one_s=2.0, full_per_s=16 * _BLOCK, windows=3)
    assert pace.limit >= before


@pytest.mark.parametrize(("start", "most"), [(0, 4), (5, 4)])
def test_a_pace_without_room_is_refused(start: int, most: int) -> None:
    with pytest.raises(ValueError, match="between 1 and most"):
        Pace(FakeClock(), start=start, most=most)


def test_no_more_are_worked_on_than_the_limit_of_the_moment_says() -> None:
    lock = threading.Lock()
    running = highest = 0
    limit = 3
    release = threading.Semaphore(0)

    def work(_: int) -> int:
        nonlocal running, highest
        with lock:
            running += 1
            highest = max(highest, running)
            is_full = running == limit
        if is_full:
            release.release(limit)
        release.acquire(timeout=60)
        with lock:
            running -= 1
        return 1

    # Groups of three wait for each other: with fewer at once it would not end, with more the highest would show it.
    assert sum(for_each(range(30), lambda: work, threads=16, limit=lambda: limit)) == 30
    assert highest == 3
