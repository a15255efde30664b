"""Budgets as plain arithmetic: how long a module must pause, how many findings it may still send, when it starts again.

All three take the monotonic time they are asked at; nothing here waits, reads or kills.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass

#: A module may use its share of so many seconds at once: short work at full speed is no offence.
_BURST_S = 10.0
#: Longest pause at a time; what is still owed is taken at the next look.
_PAUSE_MAX_S = 10.0
_SPREAD = 0.2


class CpuBudget:
    """A share of one core, as an account that fills with time and is drawn on by use."""

    def __init__(self, percent_max: float) -> None:
        self._rate = percent_max / 100
        self._balance_s = self._rate * _BURST_S
        self._used_s = 0.0
        self._at: float | None = None
        #: Of one core, between the last two looks.
        self.share_percent = 0.0

    def pause_s(self, now: float, used_s: float) -> float:
        """Seconds to pause, 0 when the budget is kept. ``used_s``: processor time since the module began."""
        if self._at is not None:
            drawn_s = max(0.0, used_s - self._used_s)
            self.share_percent = 100 * drawn_s / max(now - self._at, 1e-3)
            self._balance_s += self._rate * (now - self._at) - drawn_s
            self._balance_s = min(self._balance_s, self._rate * _BURST_S)
        else:
            self._balance_s -= used_s
        self._at, self._used_s = now, used_s
        return min(_PAUSE_MAX_S, -self._balance_s / self._rate) if self._balance_s < 0 else 0.0


class RateBudget:
    """So many a minute, with a minute's worth at once."""

    def __init__(self, per_minute_max: int) -> None:
        self._per_minute_max = per_minute_max
        self._left = float(per_minute_max)
        self._at: float | None = None

    def take(self, now: float) -> bool:
        """One more; False when there were too many."""
        if self._at is not None:
            self._left = min(self._per_minute_max, self._left + (now - self._at) * self._per_minute_max / 60)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


@dataclass(slots=True)
class Backoff:
    """How long to wait before a module that ended is started again.

    ``in_row`` counts ends without a calm time between them; from ``loop_after`` on it is a crash loop.
    """

    first_s: float = 1.0
    max_s: float = 3_600.0
    #: A module that lived so long is well again.
    calm_s: float = 600.0
    loop_after: int = 5
    in_row: int = 0

    @property
    def is_loop(self) -> bool:
        return self.in_row >= self.loop_after

    def next_s(self, lived_s: float) -> float:
        """Seconds to wait, longer each time, spread so that a fleet does not start as one."""
        self.in_row = 1 if lived_s >= self.calm_s else self.in_row + 1
        pause_s = min(self.max_s, self.first_s * 2.0 ** min(self.in_row - 1, 30))
        return pause_s * (1 + _SPREAD * secrets.randbelow(1000) / 1000)
