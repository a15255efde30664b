"""The beginnings of log lines: when, which program, which process. Traditional (RFC 3164) and ISO 8601 times.

One idea: a traditional time has no year and no zone. Its year is the one in which it lies closest to the line before
it, so a file is read right over New Year and whatever this machine's clock says; only the first line is held against
the clock. The zone is this machine's, unless another is given.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, tzinfo
from typing import NamedTuple

from govsec.clock import to_ns

_MONTHS = {
    name: number
    for number, name in enumerate(
        ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"), start=1
    )
}
#: What a program calls itself, at most 64 characters; its process in brackets. A slash stands in postfix/smtpd.
_PROGRAM = r"(?P<program>[\w./@+-]{1,64}?)(?:\[(?P<pid>\d{1,10})\])?: ?"
_TRADITIONAL = re.compile(
    r"(?:<\d{1,3}>)?(?P<month>[A-Z][a-z]{2}) {1,2}(?P<day>\d{1,2}) (?P<time>\d\d:\d\d:\d\d)(?P<fraction>\.\d{1,9})? "
    r"(?P<host>\S{1,255}) " + _PROGRAM,
    re.ASCII,
)
_ISO = re.compile(
    r"(?:<\d{1,3}>\d? ?)?(?P<moment>\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d)(?:[.,](?P<fraction>\d{1,9}))?"
    r" ?(?P<zone>Z|[+-]\d\d:?\d\d)? (?P<host>\S{1,255}) " + _PROGRAM,
    re.ASCII,
)
#: rsyslog and syslog-ng say it with the line, sysklogd and BusyBox without.
_REPEATED = re.compile(r"message repeated (?P<count>\d{1,9}) times: \[ ?(?P<message>.*)\]\s*\Z", re.DOTALL)
_REPEATED_LAST = re.compile(
    r"(?:<\d{1,3}>)?(?:[A-Z][a-z]{2} {1,2}\d{1,2} \d\d:\d\d:\d\d|\d{4}-\d\d-\d\dT\S{8,30}) \S{1,255} "
    r"last message repeated (?P<count>\d{1,9}) times?\s*\Z",
    re.ASCII,
)
#: By how much a first line may be ahead of the clock and still be of this year.
_AHEAD = timedelta(days=1)
_REPEATS_MAX = 1_000_000


class Head(NamedTuple):
    """What a line begins with, and the message after it. ``times``: how many equal messages it stands for."""

    time_ns: int
    program: str
    pid: int | None
    times: int
    message: str


class HeadReader:
    """Reads the lines of one log in their order."""

    def __init__(self, zone: tzinfo | None = None) -> None:
        self._zone = zone
        self._last: datetime | None = None
        self._hour_read: tuple[str, datetime] | None = None

    def read(self, line: str, now: datetime) -> Head | None:
        """The beginning of the line; ``None`` when it has none that is known."""
        found = _ISO.match(line)
        if found is not None:
            moment = self._iso(found)
        else:
            found = _TRADITIONAL.match(line)
            moment = self._traditional(found, now) if found is not None else None
        if found is None or moment is None:
            return None
        self._last = moment
        message, count = line[found.end() :], 1
        repeated = _REPEATED.match(message)
        if repeated is not None:
            message, count = repeated["message"], min(int(repeated["count"]), _REPEATS_MAX)
        pid = int(found["pid"]) if found["pid"] else None
        return Head(to_ns(moment), found["program"], pid, count, message)

    @staticmethod
    def repeats(line: str) -> int:
        """How often the message before is repeated, where a line says only that; 0 otherwise."""
        found = _REPEATED_LAST.match(line) if "last message repeated" in line else None
        return min(int(found["count"]), _REPEATS_MAX) if found is not None else 0

    def _iso(self, found: re.Match[str]) -> datetime | None:
        try:
            moment = datetime.fromisoformat(found["moment"])
            moment = moment.replace(microsecond=int(f"{found['fraction'] or '0':0<6}"[:6]))
            if not found["zone"]:
                return self._local(moment)
            return datetime.fromisoformat(moment.isoformat() + found["zone"]).astimezone(UTC)
        except (ValueError, OverflowError):
            return None

    def _traditional(self, found: re.Match[str], now: datetime) -> datetime | None:
        hour, minute, second = (int(part) for part in found["time"].split(":"))
        start = self._hour(f"{found['month']} {found['day']} {hour}", found["month"], int(found["day"]), hour, now)
        if start is None or minute > 59 or second > 60:
            return None
        fraction = found["fraction"] or ".0"
        return start + timedelta(minutes=minute, seconds=second, microseconds=int(f"{fraction[1:]:0<6}"[:6]))

    def _hour(self, text: str, month_name: str, day: int, hour: int, now: datetime) -> datetime | None:
        """The beginning of the hour; that of the line before is nearly always the same."""
        if self._hour_read is not None and self._hour_read[0] == text:
            return self._hour_read[1]
        month = _MONTHS.get(month_name)
        reference = self._last if self._last is not None else now
        moments = []
        # Of eight years one has a 29th of February.
        for year in range(reference.year - 4, reference.year + 5):
            try:
                moment = self._local(datetime(year, month or 0, day, hour))
            except (ValueError, OverflowError):
                continue
            if self._last is not None or moment <= now + _AHEAD:
                moments.append(moment)
        if not moments:
            return None
        nearest = min(moments, key=lambda moment: abs(moment - reference))
        self._hour_read = (text, nearest)
        return nearest

    def _local(self, moment: datetime) -> datetime:
        return (moment.replace(tzinfo=self._zone) if self._zone is not None else moment).astimezone(UTC)
