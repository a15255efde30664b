"""So many a second of event time, and the rest is counted: what keeps a flood from becoming work in Python."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_SECOND_NS = 1_000_000_000


class Budget:
    """Admits up to ``per_second`` in each second of event time; a second ends when another begins.

    It looks at packets one after the other, so what it admits does not depend on where batches are cut.
    """

    def __init__(self, per_second: int) -> None:
        self._per_second = per_second
        self._second = -1
        self._spent = 0
        #: How many were not admitted so far.
        self.refused_count = 0

    def admit(self, time_ns: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of the packets at these times, in capture order, are admitted."""
        count = len(time_ns)
        if not count:
            return np.zeros(0, np.bool_)
        seconds = time_ns // _SECOND_NS
        begins = np.flatnonzero(np.concatenate(([True], seconds[1:] != seconds[:-1])))
        # How many of the same second came before each packet, in this batch.
        before = np.arange(count) - np.repeat(begins, np.diff(np.append(begins, count)))
        if seconds[0] == self._second:
            before[: begins[1] if len(begins) > 1 else count] += self._spent
        self._second, self._spent = int(seconds[-1]), int(before[-1]) + 1
        admitted: NDArray[np.bool_] = before < self._per_second
        self.refused_count += count - int(np.count_nonzero(admitted))
        return admitted
