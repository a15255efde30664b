"""A clock that runs by the time stamps of packets, forward only.

One idea: its reading at a packet is the time since the first one, by the latest time stamp so far. Where stamps fall
back by more than ``STEP_BACK_NS`` or leap by more than ``STEP_AHEAD_NS``, the clock that made them was set, two
captures were put together, or one stamp lies: ours then goes on from where it was, at the new stamps' pace. So no
time-out waits for a time that does not come back.
"""

from __future__ import annotations

import numpy as np

from govsec.net.columns import I8

#: More than packets ever change places, less than a person sets a clock by.
STEP_BACK_NS = 60_000_000_000
#: A year. Nobody captures at a place where nothing is sent for so long.
STEP_AHEAD_NS = 366 * 86_400_000_000_000
#: What passes at a leap: more than any time-out.
LEAP_NS = 86_400_000_000_000
#: The clock stands still there; in 73 years, or after 26,000 leaps.
_END = np.int64(1) << np.int64(61)


class EventClock:
    """Starts at 0 with the first packet."""

    def __init__(self) -> None:
        self.now = 0
        #: What to add to a time stamp for the reading.
        self.offset_ns = 0
        #: How often it was set.
        self.steps = 0
        self._is_started = False
        #: When it was set since the last ``read`` began, and the offsets until then.
        self._set_at: list[int] = []
        self._offsets_before: list[int] = []

    def read(self, time_ns: I8) -> I8:
        """The reading at each packet, never falling; ``now`` is then that of the last one. Stamps: 0 to 2^62."""
        reading = np.empty(len(time_ns), np.int64)
        self._set_at, self._offsets_before = [], []
        if len(time_ns) and not self._is_started:
            self._is_started = True
            self.offset_ns = -int(time_ns[0])
        if self._is_smooth(time_ns):
            reading = time_ns + self.offset_ns
            self.now = int(reading[-1])
            return reading
        start = 0
        while start < len(time_ns):
            part = time_ns[start:] + self.offset_ns
            highest = np.maximum.accumulate(np.maximum(part, self.now))
            is_step = part < highest - STEP_BACK_NS
            is_step |= np.diff(highest, prepend=self.now) > STEP_AHEAD_NS
            count = int(is_step.argmax()) if is_step.any() else len(part)
            if count:
                reading[start : start + count] = np.minimum(highest[:count], _END)
                self.now = int(reading[start + count - 1])
            start += count
            if start < len(time_ns):
                self.steps += 1
                self._set_at.append(self.now)
                self._offsets_before.append(self.offset_ns)
                leap = LEAP_NS if part[count] > self.now else 0
                self.now = min(self.now + leap, int(_END))
                self.offset_ns = self.now - int(time_ns[start])
        return reading

    def _is_smooth(self, time_ns: I8) -> bool:
        """Nothing to look at one by one: most captures are in order of time."""
        if not len(time_ns):
            return False
        first, last = int(time_ns[0]) + self.offset_ns, int(time_ns[-1]) + self.offset_ns
        if first < self.now or last - self.now > STEP_AHEAD_NS or last >= _END:
            return False
        return bool((time_ns[1:] >= time_ns[:-1]).all())

    def stamp_ns(self, reading: I8) -> I8:
        """The time stamps of readings since the last ``read`` began, each by the clock as it was set then."""
        offsets = np.array([*self._offsets_before, self.offset_ns], np.int64)
        return reading - offsets[np.searchsorted(np.array(self._set_at, np.int64), reading, side="right")]
