"""Where triage keeps what it knows: incidents, the groups that share notices, silences. One SQLite file.

All that is asked while findings come in goes by primary key, so that a million incidents cost no more than a thousand.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from govsec.clock import from_ns, to_ns
from govsec.database import Database, Layout
from govsec.errors import RefusedError
from govsec.incident.silences import Match, Silence
from govsec.incident.triagebatch import SELECT_ONE, Batch, Incident, incident_of, state_of
from govsec.records import Notice

_LAYOUT = Layout(
    "triage",
    (
        """
        CREATE TABLE incidents (
          fingerprint TEXT PRIMARY KEY, group_key TEXT NOT NULL, kind TEXT NOT NULL, subject TEXT NOT NULL,
          system TEXT NOT NULL, severity INTEGER NOT NULL, count INTEGER NOT NULL, held_count INTEGER NOT NULL,
          first_ns INTEGER NOT NULL, last_ns INTEGER NOT NULL, summary TEXT NOT NULL,
          is_acknowledged INTEGER NOT NULL) WITHOUT ROWID;
        CREATE INDEX incidents_group ON incidents (group_key, last_ns);
        CREATE INDEX incidents_last ON incidents (last_ns);
        CREATE TABLE groups (
          key TEXT PRIMARY KEY, serial INTEGER NOT NULL, told_count INTEGER NOT NULL, told_ns INTEGER NOT NULL,
          seen_ns INTEGER NOT NULL, next_ns INTEGER, is_news INTEGER NOT NULL) WITHOUT ROWID;
        CREATE INDEX groups_next ON groups (next_ns) WHERE next_ns IS NOT NULL;
        CREATE TABLE told (key TEXT PRIMARY KEY, moment_ns INTEGER NOT NULL) WITHOUT ROWID;
        CREATE INDEX told_moment ON told (moment_ns);
        CREATE TABLE silences (
          id TEXT PRIMARY KEY, kind TEXT NOT NULL, subject TEXT NOT NULL, system TEXT NOT NULL, author TEXT NOT NULL,
          reason TEXT NOT NULL, starts_ns INTEGER NOT NULL, ends_ns INTEGER NOT NULL, held_count INTEGER NOT NULL,
          is_told INTEGER NOT NULL) WITHOUT ROWID;
        CREATE TABLE state (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
        INSERT INTO state VALUES ('quiet_ns', 0), ('digest_ns', 0), ('forgotten', 0), ('incidents', 0)
        """,
    ),
)
_TOLD_KEPT_NS = 3_600_000_000_000


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


_OF_GROUP = """
    SELECT fingerprint, kind, subject, system, severity, count, held_count, first_ns, last_ns, summary, is_acknowledged
    FROM incidents WHERE group_key = ? AND last_ns >= ? AND count > held_count
    ORDER BY severity DESC, last_ns DESC, fingerprint LIMIT ?"""


class TriageFile:
    """The file. Not for two threads."""

    def __init__(self, path: Path) -> None:
        """Open or make the file. Raises as ``govsec.database.Database``."""
        self._database = Database(path, _LAYOUT)
        self._work: sqlite3.Connection | None = None

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    @contextlib.contextmanager
    def batch(self, incidents_max: int, now_ns: int) -> Iterator[Batch]:
        """Findings that are written down together, all or none."""
        with self._database.transaction() as work:
            self._work = work
            try:
                batch = Batch(work, now_ns)
                yield batch
                batch.forget(incidents_max)
            finally:
                self._work = None

    def groups_due(self, now_ns: int) -> list[Group]:
        """Groups that have something to tell, the worst first, those of one severity by time."""
        found: list[tuple[int, int, Group]] = []
        with self._database.transaction() as work:
            quiet_ns = state_of(work, "quiet_ns")
            rows = work.execute(
                "SELECT key, serial, told_count, told_ns, is_news, next_ns FROM groups WHERE next_ns <= ?", (now_ns,)
            ).fetchall()
            for key, serial, told_count, told_ns, is_news, next_ns in rows:
                # News is told also when it had to wait until all was quiet again.
                since_ns = min(now_ns - quiet_ns, told_ns) if is_news else now_ns - quiet_ns
                count, findings, worst, waiting = work.execute(
                    "SELECT count(*), sum(count - held_count), max(severity), sum(1 - is_acknowledged) FROM incidents "
                    "WHERE group_key = ? AND last_ns >= ? AND count > held_count",
                    (key, since_ns),
                ).fetchone()
                if not count or not (is_news or waiting):
                    # It is over, or somebody has taken all of it on: there is nothing to repeat.
                    work.execute("UPDATE groups SET next_ns = NULL WHERE key = ?", (key,))
                    continue
                system, _, kind = key.rpartition("|")
                group = Group(key, kind, system, worst, serial, told_count, bool(is_news), count, findings, since_ns)
                found.append((-group.severity, next_ns, group))
        return [group for _, _, group in sorted(found, key=lambda item: (item[0], item[1], item[2].key))]

    def of_group(self, group: Group, limit: int) -> list[Incident]:
        """Incidents of a group that are meant and not held back, the worst and newest first."""
        with self._database.reading() as work:
            rows = work.execute(_OF_GROUP, (group.key, group.since_ns, limit)).fetchall()
        return [incident_of(row) for row in rows]

    def incident(self, mark: str) -> Incident | None:
        """One incident by its fingerprint."""
        with self._database.reading() as work:
            row = work.execute(SELECT_ONE, (mark,)).fetchone()
        return None if row is None else incident_of(row)

    def counters(self) -> dict[str, int]:
        """How many incidents are held, and how many were forgotten to make room."""
        with self._database.reading() as work:
            return {"incidents": state_of(work, "incidents"), "forgotten": state_of(work, "forgotten")}

    def told_since(self, moment_ns: int) -> int:
        """How many notices were told after a moment."""
        with self._database.reading() as work:
            return int(work.execute("SELECT count(*) FROM told WHERE moment_ns > ?", (moment_ns,)).fetchone()[0])

    def last_digest_ns(self) -> int:
        """When the last digest was told; 0 when none was."""
        with self._database.reading() as work:
            return state_of(work, "digest_ns")

    def mark_told(self, notices: Sequence[Notice], now_ns: int, repeat_ns: int) -> None:
        """These are told. A notice that was told before changes nothing."""
        with self._database.transaction() as work:
            for notice in notices:
                fresh = work.execute("INSERT OR IGNORE INTO told VALUES (?, ?)", (notice.key, now_ns)).rowcount
                if not fresh:
                    continue
                if notice.kind == "incident.silence_ended":
                    work.execute("UPDATE silences SET is_told = 1 WHERE id = ?", (notice.facts["silence"],))
                    continue
                groups = [notice.facts["group"]] if "group" in notice.facts else notice.facts["groups"]
                assert isinstance(groups, list)  # both are written by triage itself
                if notice.kind == "incident.digest":
                    work.execute("UPDATE state SET value = ? WHERE name = 'digest_ns'", (now_ns,))
                work.executemany(
                    "UPDATE groups SET serial = serial + 1, told_count = told_count + 1, told_ns = ?, is_news = 0, "
                    "next_ns = ? WHERE key = ?",
                    [(now_ns, now_ns + repeat_ns, key) for key in groups],
                )
            work.execute("DELETE FROM told WHERE moment_ns < ?", (now_ns - _TOLD_KEPT_NS,))

    def acknowledge(self, marks: Sequence[str]) -> None:
        """A person has taken these on."""
        with self._database.transaction() as work:
            work.executemany(
                "UPDATE incidents SET is_acknowledged = 1 WHERE fingerprint = ?", [(mark,) for mark in marks]
            )

    def silences(self) -> list[Silence]:
        """Silences that were not told as ended."""
        with self._database.reading() as work:
            rows = work.execute("SELECT * FROM silences WHERE is_told = 0 ORDER BY id").fetchall()
        return [_silence(row) for row in rows]

    def silences_over(self, now_ns: int) -> list[tuple[Silence, int]]:
        """Silences that ended and were not told yet, with what they held back."""
        with self._database.reading() as work:
            rows = work.execute(
                "SELECT * FROM silences WHERE is_told = 0 AND ends_ns <= ? ORDER BY id", (now_ns,)
            ).fetchall()
        return [(_silence(row), row[8]) for row in rows]

    def add_silence(self, silence: Silence) -> None:
        """Keep a silence.

        Raises:
            RefusedError: there is one of that id.
        """
        match = silence.match
        values = (silence.id, match.kind, match.subject, match.system, silence.author, silence.reason)
        moments = (to_ns(silence.starts_at), to_ns(silence.ends_at))
        with self._database.transaction() as work:
            added = work.execute(
                "INSERT OR IGNORE INTO silences VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0, 0)", (*values, *moments)
            )
            if not added.rowcount:
                raise RefusedError(f"silence {silence.id}: there is one of that name")

    def end_silence(self, silence_id: str, now_ns: int) -> None:
        """End a silence.

        Raises:
            RefusedError: there is none that lasts.
        """
        with self._database.transaction() as work:
            ended = work.execute(
                "UPDATE silences SET ends_ns = ? WHERE id = ? AND is_told = 0 AND ends_ns > ?",
                (now_ns, silence_id, now_ns),
            )
            if not ended.rowcount:
                raise RefusedError(f"silence {silence_id[:60]!r}: there is none that lasts")

    def count_held(self, silence_id: str) -> None:
        """A finding was held back by a silence; only within :meth:`batch`."""
        assert self._work is not None
        self._work.execute("UPDATE silences SET held_count = held_count + 1 WHERE id = ?", (silence_id,))


def _silence(row: Sequence[object]) -> Silence:
    silence_id, kind, subject, system, author, reason, starts_ns, ends_ns, *_ = row
    assert isinstance(starts_ns, int) and isinstance(ends_ns, int)  # columns of our own table
    match = Match(str(kind), str(subject), str(system))
    return Silence(str(silence_id), match, str(author), str(reason), from_ns(starts_ns), from_ns(ends_ns))
