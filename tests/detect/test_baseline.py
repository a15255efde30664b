"""What is usual at this hour of the week: by week, by day until then, bounded, in a file that may be damaged."""

from __future__ import annotations

from pathlib import Path

import pytest

from govsec.errors import FormatError, TryAgainError
from govsec.findings.baseline import Baseline

#: 2026-06-01 00:00 UTC, a Monday.
MONDAY = 494_328
WEEK = 168


def learned(weeks: int, hours: int = WEEK, path: Path | None = None) -> Baseline:
    """Each hour of the week has its own value; week by week a little more."""
    baseline = Baseline(path)
    for week in range(weeks):
        for hour in range(hours):
            baseline.add(MONDAY + week * WEEK + hour, {("h", "upload"): 100.0 * (hour % WEEK) + week})
    return baseline


def test_the_same_hour_of_earlier_weeks_is_usual() -> None:
    baseline = learned(weeks=4, hours=30)

    assert baseline.usual("h", "upload", MONDAY + 4 * WEEK + 9, weeks_min=3, days_min=5) == [900, 901, 902, 903]


def test_the_same_hour_of_all_days_stands_in_while_weeks_are_few() -> None:
    baseline = learned(weeks=1)

    usual = baseline.usual("h", "upload", MONDAY + WEEK + 9, weeks_min=3, days_min=5)

    assert usual == [100.0 * (24 * day + 9) for day in range(7)]


def test_nothing_is_known_before_there_are_enough_days() -> None:
    assert learned(weeks=1, hours=72).usual("h", "upload", MONDAY + WEEK, weeks_min=3, days_min=5) == []
    assert Baseline().usual("h", "upload", MONDAY, weeks_min=2, days_min=3) == []


def test_what_is_older_than_the_weeks_that_are_kept_is_gone() -> None:
    baseline = Baseline(weeks_max=3)
    for week in range(6):
        baseline.add(MONDAY + week * WEEK, {("h", "upload"): float(week)})

    assert baseline.usual("h", "upload", MONDAY + 6 * WEEK, weeks_min=2, days_min=3) == [3, 4, 5]


def test_a_clock_that_jumped_years_ahead_for_an_hour_costs_one_week_at_most() -> None:
    baseline = learned(weeks=8, hours=10)
    baseline.meet(MONDAY + 7 * WEEK, {("h", "peer"): None})
    ahead = MONDAY + 3000 * WEEK
    baseline.add(ahead, {("h", "upload"): 1.0})
    baseline.meet(ahead, {("h", "other"): None})

    now = MONDAY + 8 * WEEK + 9
    assert baseline.usual("h", "upload", now, weeks_min=3, days_min=5) == [900.0 + week for week in range(1, 8)]
    assert baseline.days_known("h", "peer") == 1
    # What is long ago is no measure for today, also where it is still there.
    assert baseline.usual("h", "upload", ahead + 9, weeks_min=3, days_min=5) == []


def test_more_subjects_than_are_kept_are_dropped_and_counted() -> None:
    baseline = Baseline(subjects_max=2)

    baseline.add(MONDAY, {(f"h{number}", "upload"): 1.0 for number in range(5)})

    assert baseline.dropped_count == 3


def test_a_peer_is_counted_once_a_day() -> None:
    baseline = Baseline()
    for hour in (0, 1, 5, 24, 49):
        baseline.meet(MONDAY + hour, {("h", "peer"): None})

    assert baseline.days_known("h", "peer") == 3
    assert baseline.days_known("h", "stranger") == 0


def test_what_was_learned_is_there_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "baseline.sqlite"
    learned(weeks=3, hours=2, path=path).close()

    assert Baseline(path).usual("h", "upload", MONDAY + 3 * WEEK + 1, weeks_min=3, days_min=5) == [100, 101, 102]


def test_a_file_that_is_no_baseline_is_an_error_of_ours(tmp_path: Path) -> None:
    path = tmp_path / "baseline.sqlite"
    path.write_bytes(b"not a database at all" * 100)

    with pytest.raises(FormatError, match=r"baseline\.sqlite"):
        Baseline(path)


def test_a_file_of_a_later_version_is_left_alone(tmp_path: Path) -> None:
    import sqlite3

    path = tmp_path / "baseline.sqlite"
    with sqlite3.connect(path) as store:
        store.execute("PRAGMA user_version = 9")
    store.close()

    with pytest.raises(FormatError, match="version 9"):
        Baseline(path)


def test_a_place_that_cannot_be_written_is_an_error_of_ours(tmp_path: Path) -> None:
    with pytest.raises(TryAgainError, match="no-such-folder"):
        Baseline(tmp_path / "no-such-folder" / "baseline.sqlite")


def test_pairs_and_bytes_are_bounded_the_oldest_go_and_are_counted() -> None:
    baseline = Baseline(peers_max=10, size_max=200_000)
    for day in range(5):
        baseline.meet(MONDAY + 24 * day, {("h", f"peer{day}-{number}"): None for number in range(4)})
    assert [baseline.days_known("h", f"peer{day}-0") for day in range(5)] == [0, 0, 0, 1, 1]
    assert baseline.peers_dropped_count == 10

    for week in range(4):
        baseline.add(MONDAY + week * WEEK, {(f"h{number}", "upload"): 1.0 for number in range(100)})
    assert baseline.weeks_dropped_count > 0
    assert baseline.usual("h1", "upload", MONDAY + 4 * WEEK, weeks_min=1, days_min=1)
    assert len(baseline.dump()) < 400_000
