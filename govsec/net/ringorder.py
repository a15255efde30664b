"""In what order the frames of two rings happened, and how many of each may be taken now; ``live`` takes them.

One idea: each ring is in order by itself, so what is taken is always the head of each, and a stable sort of all stamps
merges them. A ring that may hold more than it showed bounds the other: nothing behind its last stamp is taken yet.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from govsec.net.ring import Ready


@dataclass(frozen=True, slots=True)
class Merged:
    """``order`` holds positions in what is taken of the first ring followed by what is taken of the second."""

    order: NDArray[np.intp]
    counts: tuple[int, int]
    #: The first frame is stamped earlier than what came before it, by more than ``step_ns``.
    is_step_back: bool


def merge(ready: Sequence[Ready], *, count_max: int, last_ns: int, step_ns: int) -> Merged:
    """What to take of both rings: at most ``count_max``, and nothing behind a step of the clock backwards.

    ``last_ns``: the latest stamp before, 0 for none.
    """
    first, second = ready
    # Stamps of two processors cross by microseconds: the order in the ring is kept.
    keys = [np.maximum.accumulate(each.time_ns) if len(each) else each.time_ns for each in ready]
    bounds = [key[-1] for key, each in zip(keys, ready, strict=True) if len(each) and not each.is_all]
    key = np.concatenate(keys)
    order = np.argsort(key, kind="stable") if len(second) else np.arange(len(first))
    order = order[:count_max]
    if bounds:
        order = order[key[order] <= min(bounds)]
    times = np.concatenate([first.time_ns, second.time_ns])[order]
    is_step_back = bool(len(times)) and int(times[0]) < last_ns - step_ns
    steps = np.flatnonzero(times < np.maximum.accumulate(times) - step_ns) if len(times) else times
    if len(steps):
        order = order[: steps[0]]
    from_first = order < len(first)
    count = int(np.count_nonzero(from_first))
    return Merged(np.where(from_first, order, order - (len(first) - count)), (count, len(order) - count), is_step_back)
