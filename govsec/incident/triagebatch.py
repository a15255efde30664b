"""Findings that are written down together: what each counts for, and when its group is to be told."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from govsec.incident.silences import Held
from govsec.records import Finding

SELECT_ONE = """
    SELECT fingerprint, kind, subject, system, severity, count, held_count, first_ns, last_ns, summary, is_acknowledged,
      told_severity
    FROM incidents WHERE fingerprint = ?"""
_COUNT_AGAIN = """
    UPDATE incidents SET count = count + 1, held_count = held_count + ?, last_ns = ?, severity = ?, summary = ?
    WHERE fingerprint = ?"""


@dataclass(frozen=True, slots=True)
class Incident:
    """Findings of one rule about one subject of one system."""

    fingerprint: str
    kind: str
    subject: str
    system: str
    severity: int
    count: int
    held_count: int
    first_ns: int
    last_ns: int
    summary: str
    is_acknowledged: bool
    #: How bad it was when it was last told; 0 when it never was.
    told_severity: int


@dataclass(frozen=True, slots=True)
class Position:
    """How far something that numbers its findings was read. A source that began anew has another ``epoch``."""

    source: str
    epoch: str
    sequence: int


class Batch:
    """Findings that are being written down."""

    def __init__(self, work: sqlite3.Connection, now_ns: int) -> None:
        self._work = work
        self._quiet_ns = state_of(work, "quiet_ns")
        self._now_ns = now_ns

    def count(
        self, mark: str, finding: Finding, system: str, group: str, quiet_ns: int, why: Held | None
    ) -> tuple[Incident, bool]:
        """One more finding; gives its incident, and whether it is to be told: new, worse than told, or never told."""
        if quiet_ns != self._quiet_ns:
            self._work.execute("UPDATE state SET value = ? WHERE name = 'quiet_ns'", (quiet_ns,))
            self._quiet_ns = quiet_ns
        held, now_ns = int(why is not None), self._now_ns
        row = self._work.execute(SELECT_ONE, (mark,)).fetchone()
        if row is None or row[8] < now_ns - quiet_ns:
            self._work.execute(
                "INSERT OR REPLACE INTO incidents VALUES (?, ?, ?, ?, ?, ?, 1, ?, ?, ?, ?, 0, 0)",
                (
                    mark,
                    group,
                    finding.kind,
                    finding.subject,
                    system,
                    finding.severity,
                    held,
                    now_ns,
                    now_ns,
                    finding.summary,
                ),
            )
            if row is None:
                self._work.execute("UPDATE state SET value = value + 1 WHERE name = 'incidents'")
            new = Incident(
                mark,
                finding.kind,
                finding.subject,
                system,
                finding.severity,
                1,
                held,
                now_ns,
                now_ns,
                finding.summary,
                False,
                0,
            )
            return new, True
        severity = max(row[4], int(finding.severity))
        # A moment ahead by more than a quiet time was written while the clock was wrong.
        last_ns = now_ns if row[8] > now_ns + quiet_ns else max(now_ns, row[8])
        self._work.execute(_COUNT_AGAIN, (held, last_ns, severity, finding.summary, mark))
        # What was never told, or is worse than what was told, is news although it is known.
        return incident_of(row), not held and severity > row[-1]

    def reach(self, position: Position) -> None:
        """The findings of this batch are those of a source up to here: they will not be counted a second time."""
        self._work.execute(
            "INSERT OR REPLACE INTO positions VALUES (?, ?, ?)", (position.source, position.epoch, position.sequence)
        )

    def is_open(self, mark: str) -> bool:
        """True when an incident is going on, and was not only held back."""
        row = self._work.execute(
            "SELECT last_ns FROM incidents WHERE fingerprint = ? AND count > held_count", (mark,)
        ).fetchone()
        return row is not None and row[0] >= self._now_ns - self._quiet_ns

    def await_notice(self, group: str, wait_ns: int, interval_ns: int, *, is_news: bool) -> None:
        """A finding of this group is to be told: at first after ``wait_ns``, news of it after ``interval_ns``."""
        now_ns = self._now_ns
        row = self._work.execute(
            "SELECT told_count, told_ns, seen_ns, next_ns FROM groups WHERE key = ?", (group,)
        ).fetchone()
        if row is None:
            self._work.execute("INSERT INTO groups VALUES (?, 0, 0, 0, ?, ?, 1)", (group, now_ns, now_ns + wait_ns))
            return
        told_count, told_ns, seen_ns, next_ns = row
        told_ns = min(told_ns, now_ns)
        if seen_ns < now_ns - self._quiet_ns:
            told_count = 0  # it was quiet for so long that this is another story
        if told_count == 0 or is_news:
            # What is severe waits for nothing but the notice before it.
            rest_ns = 0 if told_count == 0 else told_ns + interval_ns if wait_ns else told_ns
            at_ns = max(now_ns + wait_ns, rest_ns)
            next_ns = at_ns if next_ns is None else min(at_ns, next_ns)
        self._work.execute(
            "UPDATE groups SET told_count = ?, seen_ns = ?, next_ns = ?, is_news = max(is_news, ?) WHERE key = ?",
            (told_count, max(now_ns, seen_ns), next_ns, int(is_news or told_count == 0), group),
        )

    def forget(self, incidents_max: int) -> None:
        """Make room: the incidents that have been quiet for longest go, and are counted."""
        excess = state_of(self._work, "incidents") - incidents_max
        if excess <= 0:
            return
        # A tenth more than needed, so that not every batch has to look.
        gone = self._work.execute(
            "DELETE FROM incidents WHERE fingerprint IN (SELECT fingerprint FROM incidents ORDER BY last_ns LIMIT ?)",
            (excess + incidents_max // 10,),
        ).rowcount
        self._work.execute("UPDATE state SET value = value - ? WHERE name = 'incidents'", (gone,))
        self._work.execute("UPDATE state SET value = value + ? WHERE name = 'forgotten'", (gone,))


def state_of(work: sqlite3.Connection, name: str) -> int:
    """A number that the file keeps under a name."""
    return int(work.execute("SELECT value FROM state WHERE name = ?", (name,)).fetchone()[0])


def incident_of(row: Sequence[Any]) -> Incident:
    """An incident of a row as :data:`SELECT_ONE` gives it."""
    return replace(Incident(*row), is_acknowledged=bool(row[10]))
