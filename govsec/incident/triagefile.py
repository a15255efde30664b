"""Where triage keeps what it knows: incidents, the groups that share notices, silences. One SQLite file.

All that is asked while findings come in goes by primary key, so that a million incidents cost no more than a thousand.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

from govsec.clock import to_ns
from govsec.database import Database, Layout
from govsec.errors import RefusedError
from govsec.incident.silences import Silence
from govsec.incident.triagebatch import SELECT_ONE, Batch, Incident, Position, incident_of, state_of
from govsec.incident.triagetell import Telling, silence_of

_LAYOUT = Layout(
    "triage",
    (
        """
        CREATE TABLE incidents (
          fingerprint TEXT PRIMARY KEY, group_key TEXT NOT NULL, kind TEXT NOT NULL, subject TEXT NOT NULL,
          system TEXT NOT NULL, severity INTEGER NOT NULL, count INTEGER NOT NULL, held_count INTEGER NOT NULL,
          first_ns INTEGER NOT NULL, last_ns INTEGER NOT NULL, summary TEXT NOT NULL,
          is_acknowledged INTEGER NOT NULL, told_severity INTEGER NOT NULL) WITHOUT ROWID;
        CREATE INDEX incidents_group ON incidents (group_key, last_ns);
        CREATE INDEX incidents_last ON incidents (last_ns);
        CREATE TABLE groups (
          key TEXT PRIMARY KEY, serial INTEGER NOT NULL, told_count INTEGER NOT NULL, told_ns INTEGER NOT NULL,
          seen_ns INTEGER NOT NULL, next_ns INTEGER, is_news INTEGER NOT NULL) WITHOUT ROWID;
        CREATE INDEX groups_next ON groups (next_ns) WHERE next_ns IS NOT NULL;
        CREATE TABLE prepared (key TEXT PRIMARY KEY, number INTEGER NOT NULL, body BLOB NOT NULL, groups TEXT NOT NULL)
          WITHOUT ROWID;
        CREATE TABLE told (key TEXT PRIMARY KEY, moment_ns INTEGER NOT NULL) WITHOUT ROWID;
        CREATE INDEX told_moment ON told (moment_ns);
        CREATE TABLE silences (
          id TEXT PRIMARY KEY, kind TEXT NOT NULL, subject TEXT NOT NULL, system TEXT NOT NULL, author TEXT NOT NULL,
          reason TEXT NOT NULL, starts_ns INTEGER NOT NULL, ends_ns INTEGER NOT NULL, held_count INTEGER NOT NULL,
          is_told INTEGER NOT NULL) WITHOUT ROWID;
        CREATE TABLE state (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
        INSERT INTO state VALUES
          ('quiet_ns', 0), ('digest_ns', 0), ('forgotten', 0), ('incidents', 0), ('number', 0), ('file', 0)
        """,
        """
        CREATE TABLE positions (source TEXT PRIMARY KEY, epoch TEXT NOT NULL, sequence INTEGER NOT NULL) WITHOUT ROWID
        """,
    ),
)
_TOLD_KEPT_NS = 3_600_000_000_000


class TriageFile:
    """The file. Not for two threads."""

    def __init__(self, path: Path) -> None:
        """Open or make the file. Raises as ``govsec.database.Database``."""
        self._database = Database(path, _LAYOUT)
        self._work: sqlite3.Connection | None = None
        with self._database.transaction() as work:
            # Keys of a file that was made anew must not be those of the one before it: an outbox would know them.
            work.execute("UPDATE state SET value = ? WHERE name = 'file' AND value = 0", (secrets.randbits(48) + 1,))

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

    @contextlib.contextmanager
    def telling(self, now_ns: int) -> Iterator[Telling]:
        """What is to be told, looked at and prepared in one transaction: nothing that comes meanwhile is lost in it."""
        with self._database.transaction() as work:
            yield Telling(work, now_ns)

    def position(self, source: str) -> Position | None:
        """How far a source was read and written down; None before its first record."""
        with self._database.reading() as work:
            row = work.execute("SELECT epoch, sequence FROM positions WHERE source = ?", (source,)).fetchone()
        return None if row is None else Position(source, str(row[0]), int(row[1]))

    def incident(self, mark: str) -> Incident | None:
        """One incident by its fingerprint."""
        with self._database.reading() as work:
            row = work.execute(SELECT_ONE, (mark,)).fetchone()
        return None if row is None else incident_of(row)

    def counters(self) -> dict[str, int]:
        """How many incidents are held, and how many were forgotten to make room."""
        with self._database.reading() as work:
            return {"incidents": state_of(work, "incidents"), "forgotten": state_of(work, "forgotten")}

    def mark_told(self, keys: Sequence[str], now_ns: int, repeat_ns: int) -> None:
        """Somebody else keeps these notices now. One that was taken off before changes nothing."""
        with self._database.transaction() as work:
            for key in keys:
                row = work.execute("SELECT groups FROM prepared WHERE key = ?", (key,)).fetchone()
                if row is None:
                    continue
                work.execute("DELETE FROM prepared WHERE key = ?", (key,))
                work.execute("INSERT OR IGNORE INTO told VALUES (?, ?)", (key, now_ns))
                # What came since the notice was prepared has a moment of its own already, and keeps it.
                work.executemany(
                    "UPDATE groups SET next_ns = min(coalesce(next_ns, ?), ?) WHERE key = ?",
                    [(now_ns + repeat_ns, now_ns + repeat_ns, group) for group in json.loads(row[0])],
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
        return [silence_of(row) for row in rows]

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
