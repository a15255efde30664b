"""A clock that moves only when told, so that nothing in a test waits."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

_EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


class FakeClock:
    """A ``Clock`` that stands still; ``sleep`` returns at once and moves it. Threads may share it."""

    def __init__(self, now: datetime = _EPOCH) -> None:
        if now.tzinfo is None:
            raise ValueError("a clock needs a time zone")
        self._now = now.astimezone(UTC)
        self._monotonic = 0.0
        self._lock = threading.Lock()
        #: Every wait that was asked for, in order.
        self.sleeps: list[float] = []

    def now(self) -> datetime:
        with self._lock:
            return self._now

    def monotonic(self) -> float:
        with self._lock:
            return self._monotonic

    def sleep(self, seconds: float) -> None:
        with self._lock:
            self.sleeps.append(seconds)
            self._move(max(0.0, seconds))

    def advance(self, seconds: float) -> None:
        """Let ``seconds`` pass."""
        if seconds < 0:
            raise ValueError("time does not run backwards; see jump()")
        with self._lock:
            self._move(seconds)

    def jump(self, seconds: float) -> None:
        """Set the wall clock forward or back, as a wrong time server does; elapsed time is not touched."""
        with self._lock:
            self._now += timedelta(seconds=seconds)

    def _move(self, seconds: float) -> None:
        self._now += timedelta(seconds=seconds)
        self._monotonic += seconds
