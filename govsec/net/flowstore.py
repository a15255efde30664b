"""Where the rows of the flow table are: a fixed number of places, found by digest.

One idea: the digests of all live rows are kept sorted beside the numbers of their places. A batch looks up its digests,
sorted as well, with one binary search each, and merges the new ones in; no chain of probes can grow, whatever comes.
Memory that no flow has ever used is never touched. Which place a row gets shows nowhere.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from govsec.net.columns import U8, Bools
from govsec.net.flowrows import ROW, put, take

_Number = TypeVar("_Number", np.uint64, np.intp)
_NEVER = np.int64(1) << np.int64(62)


class FlowStore:
    """At most ``capacity`` rows of ``ROW``."""

    def __init__(self, capacity: int) -> None:
        self._rows = np.zeros(capacity, ROW)
        #: A copy of each row's deadline: looking for those that have passed reads nothing else.
        self._deadlines = np.full(capacity, _NEVER, np.int64)
        #: Places without a row, the next to be used last; and how many they are.
        self._free = np.arange(capacity - 1, -1, -1)
        self._free_count = capacity
        #: No place from here on was ever used.
        self._places_used = 0
        self._digests = np.zeros(0, np.uint64)
        self._places = np.zeros(0, np.intp)

    def __len__(self) -> int:
        return len(self._digests)

    @property
    def free_count(self) -> int:
        """How many more rows can be put."""
        return self._free_count

    def find(self, digests: U8) -> tuple[Bools, NDArray[np.intp]]:
        """For each digest if there is a row, and its place (any number, if not)."""
        if not len(self._digests):
            return np.zeros(len(digests), np.bool_), np.zeros(len(digests), np.intp)
        at = np.minimum(np.searchsorted(self._digests, digests), len(self._digests) - 1)
        return self._digests[at] == digests, self._places[at]

    def rows(self, places: NDArray[np.intp]) -> NDArray[np.void]:
        """Copies of the rows at these places."""
        return take(self._rows, places)

    def replace(self, places: NDArray[np.intp], rows: NDArray[np.void]) -> None:
        """Write rows back that were found; their digests have not changed."""
        put(self._rows, places, rows)
        self._deadlines[places] = rows["deadline"]

    def insert(self, rows: NDArray[np.void]) -> None:
        """Put rows whose digests are not there, and rising. There must be room for them."""
        count = len(rows)
        if not count:
            return
        self._free_count -= count
        places = self._free[self._free_count : self._free_count + count]
        self._places_used = max(self._places_used, int(places.max()) + 1)
        self.replace(places, rows)
        digests = rows["digest"].copy()
        is_new = np.zeros(len(self._digests) + count, np.bool_)
        is_new[np.searchsorted(self._digests, digests) + np.arange(count)] = True
        self._digests = _merged(is_new, self._digests, digests)
        self._places = _merged(is_new, self._places, places)

    def remove(self, places: NDArray[np.intp]) -> None:
        """Forget the rows at these places."""
        count = len(places)
        if not count:
            return
        is_left = np.ones(len(self._digests), np.bool_)
        is_left[np.searchsorted(self._digests, self._rows["digest"][places])] = False
        self._digests = self._digests[is_left]
        self._places = self._places[is_left]
        self._deadlines[places] = _NEVER
        self._free[self._free_count : self._free_count + count] = places
        self._free_count += count

    def expired(self, now: int) -> NDArray[np.intp]:
        """The places of rows whose deadline is before ``now``."""
        return np.flatnonzero(self._deadlines[: self._places_used] < now)

    def soonest(self, count: int) -> NDArray[np.intp]:
        """The places of the ``count`` rows whose deadlines come first; there are so many."""
        return np.argpartition(self._deadlines, count - 1)[:count]

    def places(self) -> NDArray[np.intp]:
        """All places with a row."""
        return self._places.copy()


def _merged(is_new: Bools, old: NDArray[_Number], new: NDArray[_Number]) -> NDArray[_Number]:
    merged = np.empty(len(is_new), old.dtype)
    merged[is_new] = new
    merged[~is_new] = old
    return merged
