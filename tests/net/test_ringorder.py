"""Two rings become one order: by made-up stamps, also such as no test can make a kernel give."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from govsec.net.ring import Ready
from govsec.net.ringorder import merge

_STEP_NS = 1_000_000_000


def ready(*times: int, is_all: bool = True) -> Ready:
    stamps = np.array(times, np.int64)
    sizes = np.zeros(len(times), np.uint32)
    small = np.zeros(len(times), np.uint16)
    return Ready(stamps, sizes, sizes, small, small, is_all)


def merged_times(first: Ready, second: Ready, *, count_max: int = 1000, last_ns: int = 0) -> tuple[list[int], bool]:
    merged = merge((first, second), count_max=count_max, last_ns=last_ns, step_ns=_STEP_NS)
    taken = np.concatenate([first.time_ns[: merged.counts[0]], second.time_ns[: merged.counts[1]]])
    assert sorted(merged.order.tolist()) == list(range(len(taken)))
    return [int(each) for each in taken[merged.order]], merged.is_step_back


def test_frames_come_by_their_stamps_and_those_of_one_time_from_the_first_ring_first() -> None:
    merged = merge((ready(1, 5, 9), ready(1, 6)), count_max=9, last_ns=0, step_ns=_STEP_NS)

    assert merged.order.tolist() == [0, 3, 1, 4, 2]


def test_nothing_is_taken_behind_what_a_ring_has_not_shown_yet() -> None:
    assert merged_times(ready(1, 5, is_all=False), ready(2, 6, 7)) == ([1, 2, 5], False)
    assert merged_times(ready(1, 5), ready(2, is_all=False)) == ([1, 2], False)
    assert merged_times(ready(), ready(2, 6)) == ([2, 6], False)
    assert merged_times(ready(), ready()) == ([], False)


def test_a_step_of_the_clock_backwards_ends_the_batch_and_the_next_one_says_so() -> None:
    old, new = 100 * _STEP_NS, 40 * _STEP_NS

    assert merged_times(ready(old, old + 1, new, new + 1), ready(old)) == ([old, old, old + 1], False)
    assert merged_times(ready(new, new + 1), ready(), last_ns=old) == ([new, new + 1], True)


def test_stamps_that_cross_by_microseconds_keep_the_order_of_their_ring() -> None:
    assert merged_times(ready(1000, 900, 1100), ready(950)) == ([950, 1000, 900, 1100], False)


@given(
    st.lists(st.integers(0, 50), max_size=30).map(sorted),
    st.lists(st.integers(0, 50), max_size=30).map(sorted),
    st.integers(1, 40),
)
def test_whatever_the_stamps_heads_are_taken_in_order_and_up_to_the_limit(
    one: list[int], other: list[int], count_max: int
) -> None:
    times, _ = merged_times(ready(*one), ready(*other), count_max=count_max)

    assert times == sorted(one + other)[:count_max]
