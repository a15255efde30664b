"""Marks of a watched source, and which snapshots are thinned: pure, so tried with many values."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from govsec.backup.marks import Mark, Marks
from govsec.backup.thinning import thinned
from govsec.watchentry import ThinStep, WatchConfig

names = st.sampled_from([b"a", b"b", b"c"])
paths = st.lists(names, min_size=0, max_size=4).map(lambda parts: b"/" + b"/".join(parts))


def is_covered(root: Mark, path: bytes) -> bool:
    """Whether a window would look at the entries of this directory."""
    mark = root
    for name in path.strip(b"/").split(b"/") if path != b"/" else ():
        if mark.is_whole:
            return True
        if name not in mark.below:
            return False
        mark = mark.below[name]
    return mark.is_listed or mark.is_whole


@given(st.lists(paths, max_size=12), st.integers(min_value=0, max_value=6))
def test_what_was_marked_is_looked_at_however_little_room_there_is(marked: list[bytes], room: int) -> None:
    marks = Marks(marks_max=room)
    for path in marked:
        marks.listed(path)
    assert all(is_covered(marks.root, path) for path in marked)
    assert bool(marks) == bool(marked)


@given(st.lists(paths, max_size=8), st.lists(paths, max_size=8), st.lists(paths, max_size=3))
def test_marks_of_a_window_that_failed_come_back(one: list[bytes], other: list[bytes], whole: list[bytes]) -> None:
    first, second = Marks(), Marks(marks_max=3)
    for path in one:
        first.listed(path)
    for path in whole:
        first.whole(path)
    for path in other:
        second.listed(path)
    first.add(second)
    assert all(is_covered(first.root, path) for path in [*one, *other])
    assert all(is_covered(first.root, path + b"/below" if path != b"/" else b"/below") for path in whole)


NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
HOURS = WatchConfig(keep_all="1h", thin=(ThinStep(within="24h", every="10m"), ThinStep(within="7d", every="1h")))


def every(step: timedelta, reach: timedelta) -> list[tuple[int, datetime]]:
    return [(number, NOW - step * number) for number in range(reach // step)]


def test_of_a_day_one_in_ten_minutes_stays_and_all_of_the_last_hour() -> None:
    snapshots = every(timedelta(seconds=30), timedelta(hours=24))
    going = thinned(snapshots, HOURS, now=NOW)
    kept = [moment for number, moment in snapshots if number not in going]
    assert sum(NOW - moment <= timedelta(hours=1) for moment in kept) == 121
    older = [moment for moment in kept if NOW - moment > timedelta(hours=1)]
    assert len(older) == 23 * 6
    gaps = [later - earlier for later, earlier in pairwise(older)]
    assert max(gaps) <= timedelta(minutes=20)


def test_what_is_older_than_every_step_is_left_to_retention() -> None:
    old = [(number, NOW - timedelta(days=30, seconds=number)) for number in range(50)]
    assert thinned(old, HOURS, now=NOW) == frozenset()


@given(st.lists(st.integers(min_value=0, max_value=10 * 86_400), min_size=1, unique=True), st.integers(0, 86_400))
def test_thinning_again_later_takes_no_step_back(ages: list[int], later: int) -> None:
    snapshots = [(age, NOW - timedelta(seconds=age)) for age in ages]
    first = thinned(snapshots, HOURS, now=NOW)
    assert min(ages) not in first  # the newest always stays
    rest = [item for item in snapshots if item[0] not in first]
    moved = NOW + timedelta(seconds=later)
    # In steps or at once: the same ones stay.
    assert {key for key, _ in rest} - thinned(rest, HOURS, now=moved) == {key for key, _ in snapshots} - thinned(
        snapshots, HOURS, now=moved
    )
