"""The only reader of time. Everything that needs a time takes a :class:`Clock`.

Tests and simulations pass ``govsec.testing.FakeClock``; programs pass :class:`SystemClock`.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Clock(Protocol):
    """Wall time, elapsed time and waiting."""

    def now(self) -> datetime:
        """Wall time, always with UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds since an arbitrary moment; never goes back."""
        ...

    def sleep(self, seconds: float) -> None:
        """Return after ``seconds``."""
        ...


class SystemClock:
    """The clock of this machine."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(max(0.0, seconds))


def format_time(moment: datetime) -> str:
    """``moment`` in RFC 3339 with microseconds where there are any, always ``Z``.

    Raises:
        ValueError: when ``moment`` carries no time zone.
    """
    if moment.tzinfo is None:
        raise ValueError("a time without a zone cannot be written down")
    utc = moment.astimezone(UTC).replace(tzinfo=None)
    return utc.isoformat(timespec="auto") + "Z"


def from_ns(time_ns: int) -> datetime:
    """The moment ``time_ns`` nanoseconds after 1970, UTC; what is below a microsecond is dropped."""
    return _EPOCH + timedelta(microseconds=time_ns // 1000)


def to_ns(moment: datetime) -> int:
    """Nanoseconds since 1970, UTC, exact to the microsecond that ``moment`` has."""
    return (moment - _EPOCH) // timedelta(microseconds=1) * 1000


def parse_time(text: str) -> datetime:
    """The moment that RFC 3339 ``text`` names, in UTC; digits past the microsecond are dropped.

    Raises:
        ValueError: when ``text`` is not RFC 3339 with a zone.
    """
    body = text.strip()
    head, dot, rest = body.partition(".")
    if dot:
        digits_count = len(rest) - len(rest.lstrip("0123456789"))
        if digits_count == 0:
            raise ValueError(f"not an RFC 3339 time: {text!r}")
        body = f"{head}.{rest[:digits_count][:6]:0<6}{rest[digits_count:]}"
    moment = datetime.fromisoformat(body)
    if moment.tzinfo is None:
        raise ValueError(f"a time without a zone: {text!r}")
    try:
        return moment.astimezone(UTC)
    except OverflowError as error:
        # 0001-01-01T00:00:00+01:00 is well-formed, and lies before the first year.
        raise ValueError(f"a time outside the years 1 to 9999: {text!r}") from error
