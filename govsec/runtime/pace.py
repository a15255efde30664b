"""How many things are done at once, found out by trying: as many as still make the whole faster.

A line is kept full by bytes in flight, and how many those are depends on its delay, which nobody configures right. So
the number grows while the work done in a second grows with it, goes back to where it last did, and now and then a few
more are tried, because lines change. When the work falls to less than half of what was possible before, it is found
out anew.

Source of the idea: slow start and hill climbing on goodput, as congestion control and bulk downloaders do.
"""

from __future__ import annotations

import threading
from enum import Enum, auto

from govsec.clock import Clock

#: A window ends when so much time has passed and every lane has had a turn.
_WINDOW_S = 0.5
#: More at once must bring at least this much more, or it is not worth its memory.
_GAIN = 1.1
#: Steady windows between two tries with more.
_REST_WINDOWS = 8
_TRY_MORE = 2
#: Below this share of the best the line has changed.
_COLLAPSE = 0.5


class _Phase(Enum):
    GROWING = auto()
    STEADY = auto()
    TRYING = auto()


class Pace:
    """The number of things at once, ``limit``, from ``start`` up to ``most``; threads may share it.

    ``done`` is told of each piece of work with its weight; units do not matter, as long as they stay the same.
    """

    def __init__(self, clock: Clock, *, start: int, most: int) -> None:
        if not 1 <= start <= most:
            raise ValueError(f"start {start} is not between 1 and most {most}")
        self._clock = clock
        self._lock = threading.Lock()
        self._start, self._most = start, most
        self._limit = start
        self._phase = _Phase.GROWING
        #: The last number that was worth it, and what it brought a second.
        self._kept, self._kept_rate = start, 0.0
        self._rested = 0
        self._begin()

    @property
    def limit(self) -> int:
        """How many things may be under way now."""
        return self._limit

    def done(self, weight: float) -> None:
        """One thing is done."""
        with self._lock:
            self._weight += weight
            self._count += 1
            passed_s = self._clock.monotonic() - self._since_s
            if passed_s >= _WINDOW_S and self._count >= self._limit:
                self._judge(self._weight / passed_s)
                self._begin()

    def pause(self) -> None:
        """What comes next belongs to another window: nothing was under way for a while."""
        with self._lock:
            self._begin()

    def _begin(self) -> None:
        self._weight, self._count, self._since_s = 0.0, 0, self._clock.monotonic()

    def _judge(self, rate: float) -> None:
        if self._phase is _Phase.STEADY:
            self._stay(rate)
        elif rate >= _GAIN * self._kept_rate:
            self._kept, self._kept_rate = self._limit, rate
            if self._phase is _Phase.GROWING and self._limit < self._most:
                self._limit = min(2 * self._limit, self._most)
            else:
                self._rest()
        else:
            # More of them brought nothing: the line, the other side or this machine is what limits.
            self._limit = self._kept
            self._rest()

    def _stay(self, rate: float) -> None:
        if rate < _COLLAPSE * self._kept_rate:
            self._limit = self._kept = max(1, min(self._limit, self._start))
            self._kept_rate, self._phase = rate, _Phase.GROWING
            return
        # What the number brings is known better with every window.
        self._kept_rate += (rate - self._kept_rate) / 4
        self._rested += 1
        if self._rested >= _REST_WINDOWS and self._limit < self._most:
            self._limit = min(self._limit + _TRY_MORE, self._most)
            self._phase = _Phase.TRYING

    def _rest(self) -> None:
        self._phase, self._rested = _Phase.STEADY, 0
