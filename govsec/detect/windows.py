"""Windows of event time over rows and starts, and the robust statistics that detectors judge them by.

One idea: a window is judged at fixed moments of event time (multiples of its step), never when a batch happens to end.
So the same packets give the same judgements however they are cut into batches.

Time comes from packets and may lie or be set. A row that is a little late counts as if it came now.

Keys of several columns are mixed into 64 bits. Whoever forges addresses to make two of his own keys collide merges his
own counts; that helps nobody else.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.void]
U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]
F64 = NDArray[np.float64]

#: Multipliers and shifts of SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014).
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
#: The median absolute deviation of normal values, times this, is their standard deviation.
_MAD_TO_SIGMA = 1.4826


def mix(*columns: NDArray[np.generic]) -> U64:
    """One 64-bit key a row out of integer ``columns`` of equal length."""
    key = np.zeros(len(columns[0]), dtype=np.uint64)
    for column in columns:
        key = (key ^ column.astype(np.uint64)) + _GOLDEN
        key = (key ^ (key >> np.uint64(30))) * _MIX_1
        key = (key ^ (key >> np.uint64(27))) * _MIX_2
        key ^= key >> np.uint64(31)
    return key


class Groups:
    """Rows with equal keys, as groups numbered in the order in which their first row came.

    ``labels``: the group of each row; ``first``: the first row of each group; ``count``: how many groups.
    """

    def __init__(self, keys: U64) -> None:
        _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
        order = np.argsort(first, kind="stable")
        number = np.empty(len(order), dtype=np.int64)
        number[order] = np.arange(len(order))
        self.labels: I64 = number[inverse.reshape(-1)]
        self.first: I64 = first[order].astype(np.int64)
        self.count = len(order)

    def sizes(self) -> I64:
        """Rows in each group."""
        return np.bincount(self.labels, minlength=self.count)

    def totals(self, values: NDArray[np.generic]) -> F64:
        """Sum of ``values`` in each group."""
        totals: F64 = np.bincount(self.labels, weights=values, minlength=self.count).astype(np.float64)
        return totals

    def distinct(self, values: U64, mask: NDArray[np.bool_] | None = None) -> I64:
        """How many different ``values`` each group has, among the rows of ``mask``."""
        labels = self.labels if mask is None else self.labels[mask]
        wanted = values if mask is None else values[mask]
        _, first = np.unique(mix(labels, wanted), return_index=True)
        return np.bincount(labels[first], minlength=self.count)

    def rows(self, group: int) -> I64:
        """The rows of one group, in order."""
        return np.flatnonzero(self.labels == group)


class EventClock:
    """Event time that does not fall: what is a little late counts as if it came now.

    A fall of more than ``tolerance_ns`` is a clock that was set, and starts a new run (counted in ``jumps_count``).
    """

    #: A batch with more falls than this is made to be slow; the rest of it counts as late.
    _RUNS_MAX = 8

    def __init__(self, *, tolerance_ns: int) -> None:
        self._tolerance = tolerance_ns
        self._now: int | None = None
        self.jumps_count = 0

    def runs(self, times: I64) -> Iterator[tuple[int, int, I64]]:
        """Runs of packets (start, end, their times) in each of which time does not fall; a new run is a jump."""
        start = 0
        for attempt in range(self._RUNS_MAX):
            part = times[start:]
            if not len(part):
                return
            now = np.maximum.accumulate(part if self._now is None else np.maximum(part, self._now))
            falls = np.flatnonzero(now - part > self._tolerance)
            end = int(falls[0]) if len(falls) and attempt < self._RUNS_MAX - 1 else len(part)
            if end:
                self._now = int(now[end - 1])
                yield start, start + end, now[:end]
            start += end
            if start < len(times):
                self._now = None
                self.jumps_count += 1


class EventWindow:
    """The rows of the last ``span_ns`` of event time, given out at multiples of ``step_ns`` that a cause came before.

    At most ``rows_max`` rows are kept; when more come, the oldest go, and are counted in ``dropped_count``.
    """

    def __init__(self, *, span_ns: int, step_ns: int, rows_max: int) -> None:
        self._span = span_ns
        self._step = step_ns
        self._rows_max = rows_max
        self._chunks: deque[tuple[I64, Rows]] = deque()
        self._count = 0
        self._due: int | None = None
        self._now = -(2**62)
        self.dropped_count = 0

    def add(self, times: I64, rows: Rows, causes: NDArray[np.bool_] | None = None) -> Iterator[tuple[int, Rows]]:
        """Take ``rows`` that came at ``times``, in order; gives (moment in ns, rows of the span before it).

        ``causes``: rows that make a judgement due (default: all). A moment is given out when a row at or after it
        comes; :meth:`advance` does so without one.
        """
        if not len(times):
            return
        now = np.maximum.accumulate(np.maximum(times, self._now))
        caused = np.arange(len(now)) if causes is None else np.flatnonzero(causes)
        start = 0
        while start < len(now):
            if self._due is None:
                at = int(np.searchsorted(caused, start))
                if at == len(caused):
                    break
                self._due = (int(now[caused[at]]) // self._step + 1) * self._step
            end = int(np.searchsorted(now, self._due))
            self._keep(now[start:end], rows[start:end])
            start = end
            if start < len(now):
                yield from self.finish()
        self._keep(now[start:], rows[start:])

    def advance(self, time_ns: int) -> Iterator[tuple[int, Rows]]:
        """Event time has come to ``time_ns``: gives out the moment that is due by then, if there is one."""
        self._now = max(self._now, time_ns)
        if self._due is not None and self._now >= self._due:
            yield from self.finish()

    def finish(self) -> Iterator[tuple[int, Rows]]:
        """Gives out what is due, or would be when time went on."""
        if self._due is None:
            return
        moment, self._due = self._due, None
        self._expire(moment - self._span)
        if self._chunks:
            yield moment, np.concatenate([rows for _, rows in self._chunks])

    def _keep(self, times: I64, rows: Rows) -> None:
        if not len(times):
            return
        self._now = int(times[-1])
        self._chunks.append((times, rows.copy()))
        self._count += len(times)
        if self._count > self._rows_max:
            self._expire(self._now - self._span)
        while self._count > self._rows_max:
            excess = min(self._count - self._rows_max, len(self._chunks[0][0]))
            self._drop(excess)
            self.dropped_count += excess

    def _expire(self, before: int) -> None:
        while self._chunks and (alive := int(np.searchsorted(self._chunks[0][0], before))):
            self._drop(alive)

    def _drop(self, count: int) -> None:
        """Forget the first rows of the first chunk."""
        times, rows = self._chunks.popleft()
        self._count -= count
        if count < len(times):
            self._chunks.appendleft((times[count:], rows[count:]))


def median_mad(values: Sequence[float] | F64) -> tuple[float, float]:
    """Median of ``values`` and their median absolute deviation from it; not empty."""
    array = np.asarray(values, dtype=np.float64)
    middle = float(np.median(array))
    return middle, float(np.median(np.abs(array - middle)))


def robust_z(value: float, values: Sequence[float] | F64, *, spread_min: float) -> float:
    """How many robust standard deviations ``value`` lies above the median of ``values``.

    ``spread_min`` is the least spread that is believed: values that were all equal would make any other one infinite.
    """
    middle, deviation = median_mad(values)
    return (value - middle) / max(_MAD_TO_SIGMA * deviation, spread_min)
