"""What is to be told now: looked at and prepared within one transaction.

A notice that was prepared is kept as it is until somebody else has it: made again after a crash it is the same, bytes
and key, and what came in the meantime is news of its own.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from govsec.canonical import dumps
from govsec.clock import from_ns
from govsec.incident.silences import Match, Silence
from govsec.incident.triagebatch import Incident, incident_of, state_of
from govsec.records import Notice

_MINUTE_NS = 60_000_000_000
#: No moment of triage lies further ahead: a week is the longest wait of the settings. One that does was written while
#: the clock was wrong, and is due.
_AHEAD_MAX_NS = 8 * 86_400_000_000_000
_OF_GROUP = """
    SELECT fingerprint, kind, subject, system, severity, count, held_count, first_ns, last_ns, summary, is_acknowledged,
      told_severity
    FROM incidents WHERE group_key = ? AND last_ns >= ? AND count > held_count
    ORDER BY severity DESC, last_ns DESC, fingerprint LIMIT ?"""
_DUE = """
    SELECT key, serial, told_count, told_ns, is_news, next_ns FROM groups WHERE next_ns <= ? OR next_ns > ?"""
_COUNTS = """
    SELECT count(*), sum(count - held_count), max(severity), sum(1 - is_acknowledged) FROM incidents
    WHERE group_key = ? AND last_ns >= ? AND count > held_count"""


@dataclass(frozen=True, slots=True)
class Group:
    """Incidents that share a notice; counts are of what is still going on."""

    key: str
    kind: str
    system: str
    severity: int
    serial: int
    told_count: int
    is_news: bool
    incidents_count: int
    findings_count: int
    #: Incidents that were seen from here on are meant.
    since_ns: int


class Telling:
    """One look at a moment."""

    def __init__(self, work: sqlite3.Connection, now_ns: int) -> None:
        self._work = work
        self._now_ns = now_ns
        self.file_id = f"{state_of(work, 'file'):x}"

    def prepared(self) -> tuple[Notice, ...]:
        """Notices that nobody has taken yet, in the order in which they were prepared."""
        rows = self._work.execute("SELECT body FROM prepared ORDER BY number").fetchall()
        return tuple(Notice.model_validate_json(body) for (body,) in rows)

    def groups_due(self) -> list[Group]:
        """Groups that have something to tell, the worst first, those of one severity by time."""
        quiet_ns = state_of(self._work, "quiet_ns")
        found: list[tuple[int, int, Group]] = []
        rows = self._work.execute(_DUE, (self._now_ns, self._now_ns + _AHEAD_MAX_NS)).fetchall()
        for key, serial, told_count, told_ns, is_news, next_ns in rows:
            # News is told also when it had to wait until all was quiet again.
            since_ns = min(self._now_ns - quiet_ns, told_ns) if is_news else self._now_ns - quiet_ns
            count, findings, worst, waiting = self._work.execute(_COUNTS, (key, since_ns)).fetchone()
            if not count or not (is_news or waiting):
                # It is over, or somebody has taken all of it on: there is nothing to repeat.
                self._work.execute("UPDATE groups SET next_ns = NULL WHERE key = ?", (key,))
                continue
            system, _, kind = key.rpartition("|")
            group = Group(key, kind, system, worst, serial, told_count, bool(is_news), count, findings, since_ns)
            found.append((-group.severity, next_ns, group))
        return [group for _, _, group in sorted(found, key=lambda item: (item[0], item[1], item[2].key))]

    def of_group(self, group: Group, limit: int) -> list[Incident]:
        """Incidents of a group that are meant and not held back, the worst and newest first."""
        rows = self._work.execute(_OF_GROUP, (group.key, group.since_ns, limit)).fetchall()
        return [incident_of(row) for row in rows]

    def told_count(self) -> int:
        """How many notices were told in the last minute. Moments ahead of the clock are of a clock that was wrong."""
        span = (self._now_ns - _MINUTE_NS, self._now_ns + _MINUTE_NS)
        row = self._work.execute("SELECT count(*) FROM told WHERE moment_ns > ? AND moment_ns <= ?", span).fetchone()
        return int(row[0])

    def may_digest(self) -> bool:
        """True when the last digest is a minute old."""
        last_ns = state_of(self._work, "digest_ns")
        return not self._now_ns - _MINUTE_NS < last_ns <= self._now_ns + _MINUTE_NS

    def number(self) -> int:
        """The number that the next notice gets; it never comes again."""
        return state_of(self._work, "number") + 1

    def silences_over(self) -> list[tuple[Silence, int]]:
        """Silences that ended and were not told yet, with what they held back."""
        rows = self._work.execute(
            "SELECT * FROM silences WHERE is_told = 0 AND ends_ns <= ? ORDER BY id", (self._now_ns,)
        ).fetchall()
        return [(silence_of(row), row[8]) for row in rows]

    def prepare(self, notice: Notice, groups: Sequence[Group] = (), silence: Silence | None = None) -> None:
        """Keep a notice until it is taken; what it covers is told by it, and only what is worse or new is news."""
        number = self.number()
        self._work.execute("UPDATE state SET value = ? WHERE name = 'number'", (number,))
        keys = json.dumps([group.key for group in groups])
        body = dumps(notice.canonical())
        self._work.execute("INSERT INTO prepared VALUES (?, ?, ?, ?)", (notice.key, number, body, keys))
        if silence is not None:
            self._work.execute("UPDATE silences SET is_told = 1 WHERE id = ?", (silence.id,))
        if notice.kind == "incident.digest":
            self._work.execute("UPDATE state SET value = ? WHERE name = 'digest_ns'", (self._now_ns,))
        for group in groups:
            self._work.execute(
                "UPDATE groups SET serial = serial + 1, told_count = told_count + 1, told_ns = ?, is_news = 0, "
                "next_ns = NULL WHERE key = ?",
                (self._now_ns, group.key),
            )
            self._work.execute(
                "UPDATE incidents SET told_severity = severity WHERE group_key = ? AND last_ns >= ? "
                "AND count > held_count",
                (group.key, group.since_ns),
            )


def silence_of(row: Sequence[object]) -> Silence:
    """A silence of a row of its table."""
    silence_id, kind, subject, system, author, reason, starts_ns, ends_ns, *_ = row
    assert isinstance(starts_ns, int) and isinstance(ends_ns, int)  # columns of our own table
    match = Match(str(kind), str(subject), str(system))
    return Silence(str(silence_id), match, str(author), str(reason), from_ns(starts_ns), from_ns(ends_ns))
