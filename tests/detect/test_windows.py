"""Windows of event time: judged at fixed moments, bounded, the same however rows are cut into batches."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from govsec.detect.windows import EventClock, EventWindow, Groups, median_mad, mix, robust_z
from govsec.findings.api import SECOND_NS

ROW = np.dtype([("number", "i8")])


def rows(numbers: list[int]) -> np.ndarray:
    made = np.zeros(len(numbers), dtype=ROW)
    made["number"] = numbers
    return made


def judged(
    seconds: list[int], cuts: list[int], *, span_s: int = 10, rows_max: int = 1000
) -> list[tuple[int, list[int]]]:
    window = EventWindow(span_ns=span_s * SECOND_NS, step_ns=5 * SECOND_NS, rows_max=rows_max)
    times = np.array(seconds, dtype=np.int64) * SECOND_NS
    numbers = rows(list(range(len(seconds))))
    found = []
    edges = [0, *sorted(min(cut, len(seconds)) for cut in cuts), len(seconds)]
    for low, high in pairwise(edges):
        found += list(window.add(times[low:high], numbers[low:high]))
        if high > low:
            found += list(window.advance(int(times[low:high].max())))
    found += list(window.finish())
    return [(moment // SECOND_NS, part["number"].tolist()) for moment, part in found]


def test_a_window_gives_the_rows_of_its_span_at_each_step_that_brought_some() -> None:
    assert judged([1, 2, 7, 31], []) == [(5, [0, 1]), (10, [0, 1, 2]), (35, [3])]


def test_a_row_leaves_the_window_when_it_is_older_than_the_span() -> None:
    assert judged([1, 9, 13], [], span_s=10) == [(5, [0]), (10, [0, 1]), (15, [1, 2])]


@given(
    st.lists(st.integers(0, 60), min_size=1, max_size=40).map(sorted),
    st.lists(st.integers(0, 40), max_size=5),
)
def test_where_batches_are_cut_changes_nothing(seconds: list[int], cuts: list[int]) -> None:
    assert judged(seconds, cuts, rows_max=12) == judged(seconds, [], rows_max=12)


def test_a_full_window_lets_the_oldest_go_and_counts_them() -> None:
    window = EventWindow(span_ns=10 * SECOND_NS, step_ns=5 * SECOND_NS, rows_max=3)
    times = np.array([1, 1, 1, 1, 1, 21], dtype=np.int64) * SECOND_NS

    found = [*window.add(times, rows([0, 1, 2, 3, 4, 5])), *window.finish()]

    assert [part["number"].tolist() for _, part in found] == [[2, 3, 4], [5]]
    assert window.dropped_count == 2


def test_rows_that_are_no_cause_are_kept_and_make_nothing_due() -> None:
    window = EventWindow(span_ns=10 * SECOND_NS, step_ns=5 * SECOND_NS, rows_max=10)
    times = np.array([1, 7, 8, 13], dtype=np.int64) * SECOND_NS

    found = [*window.add(times, rows([0, 1, 2, 3]), np.array([False, True, False, False])), *window.finish()]

    assert [(moment // SECOND_NS, part["number"].tolist()) for moment, part in found] == [(10, [0, 1, 2])]


def test_a_late_row_counts_as_if_it_came_now() -> None:
    assert judged([12, 3, 13], []) == [(15, [0, 1, 2])]


def test_the_clock_begins_a_new_run_when_time_falls_far_and_not_when_packets_are_out_of_order() -> None:
    clock = EventClock(tolerance_ns=2)

    runs = list(clock.runs(np.array([10, 9, 11, 5, 6], dtype=np.int64)))

    assert [(start, end, times.tolist()) for start, end, times in runs] == [(0, 3, [10, 10, 11]), (3, 5, [5, 6])]
    assert clock.jumps_count == 1


def test_a_clock_that_jumps_at_every_packet_costs_a_bounded_number_of_runs() -> None:
    clock = EventClock(tolerance_ns=1)

    runs = list(clock.runs(np.arange(1000, 0, -5, dtype=np.int64)))

    assert len(runs) == 8
    assert runs[-1][1] == 200


def test_groups_are_numbered_by_first_appearance_and_count_what_differs() -> None:
    keys = mix(np.array([7, 3, 7, 9, 3, 7]))
    groups = Groups(keys)

    assert groups.labels.tolist() == [0, 1, 0, 2, 1, 0]
    assert groups.sizes().tolist() == [3, 2, 1]
    values = np.array([1, 5, 1, 2, 6, 2], dtype=np.uint64)
    assert groups.distinct(values).tolist() == [2, 2, 1]
    assert groups.distinct(values, np.array([1, 1, 1, 0, 0, 0], dtype=bool)).tolist() == [1, 1, 0]
    assert groups.rows(1).tolist() == [1, 4]


def test_keys_of_several_columns_differ_when_columns_are_swapped() -> None:
    left, right = np.array([1, 2]), np.array([2, 1])

    assert mix(left, right)[0] != mix(right, left)[0]
    assert mix(left, right)[0] == mix(right, left)[1]


def test_one_outlier_moves_neither_median_nor_deviation() -> None:
    assert median_mad([1, 2, 3, 4, 1000]) == (3, 1)
    assert robust_z(10, [1, 2, 3, 4, 1000], spread_min=0.1) == pytest.approx(7 / 1.4826)
    assert robust_z(10, [5, 5, 5], spread_min=2.5) == 2
