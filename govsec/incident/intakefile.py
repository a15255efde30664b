"""What whoever turns findings into cases must remember: which case a story has, and how far each source was read.

One SQLite file. It can be lost: then findings that were taken are taken again, and cases that are open get a second.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from govsec.database import Database, Layout
from govsec.incident.triagebatch import Position

_LAYOUT = Layout(
    "intake",
    (
        """
        CREATE TABLE positions (source TEXT PRIMARY KEY, epoch TEXT NOT NULL, sequence INTEGER NOT NULL) WITHOUT ROWID;
        CREATE TABLE threads (
          thread TEXT PRIMARY KEY, case_id TEXT NOT NULL, opened_ns INTEGER NOT NULL) WITHOUT ROWID;
        CREATE INDEX threads_opened ON threads (opened_ns);
        CREATE TABLE beyond (case_id TEXT PRIMARY KEY, count INTEGER NOT NULL) WITHOUT ROWID;
        CREATE TABLE told (key TEXT PRIMARY KEY, moment_ns INTEGER NOT NULL) WITHOUT ROWID
        """,
    ),
)
#: Stories that nobody added to for longest go first; one of them that goes on opens a second case.
_THREADS_MAX = 100_000


@dataclass(frozen=True, slots=True)
class Thread:
    """The case that a story has, and when it was opened."""

    case_id: str
    opened_ns: int


class IntakeFile:
    """The file. Not for two threads."""

    def __init__(self, path: Path) -> None:
        """Open or make the file. Raises as ``govsec.database.Database``."""
        self._database = Database(path, _LAYOUT)

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def position(self, source: str) -> Position | None:
        """How far a source was read; None before its first record."""
        with self._database.reading() as work:
            row = work.execute("SELECT epoch, sequence FROM positions WHERE source = ?", (source,)).fetchone()
        return None if row is None else Position(source, str(row[0]), int(row[1]))

    def thread(self, name: str) -> Thread | None:
        """The case of a story; None when it has none yet."""
        with self._database.reading() as work:
            row = work.execute("SELECT case_id, opened_ns FROM threads WHERE thread = ?", (name,)).fetchone()
        return None if row is None else Thread(str(row[0]), int(row[1]))

    def opened_count(self, since_ns: int) -> int:
        """How many cases were opened since a moment."""
        with self._database.reading() as work:
            row = work.execute("SELECT count(*) FROM threads WHERE opened_ns >= ?", (since_ns,)).fetchone()
        return int(row[0])

    def keep(self, threads: Mapping[str, Thread], beyond: Mapping[str, int], position: Position | None) -> None:
        """Remember what one batch of findings came to, all or none."""
        with self._database.transaction() as work:
            work.executemany(
                "INSERT OR REPLACE INTO threads VALUES (?, ?, ?)",
                [(name, thread.case_id, thread.opened_ns) for name, thread in threads.items()],
            )
            work.executemany(
                "INSERT INTO beyond VALUES (?, ?) ON CONFLICT (case_id) DO UPDATE SET count = count + excluded.count",
                list(beyond.items()),
            )
            if position is not None:
                work.execute(
                    "INSERT OR REPLACE INTO positions VALUES (?, ?, ?)",
                    (position.source, position.epoch, position.sequence),
                )
            work.execute(
                "DELETE FROM threads WHERE thread IN "
                "(SELECT thread FROM threads ORDER BY opened_ns DESC LIMIT -1 OFFSET ?)",
                (_THREADS_MAX,),
            )

    def beyond(self) -> dict[str, int]:
        """Findings that were counted only, because their case held as many as it may; by case."""
        with self._database.reading() as work:
            return {str(case): int(count) for case, count in work.execute("SELECT case_id, count FROM beyond")}

    def is_told(self, key: str) -> bool:
        """True when :meth:`mark_told` was told of this."""
        with self._database.reading() as work:
            return work.execute("SELECT 1 FROM told WHERE key = ?", (key,)).fetchone() is not None

    def mark_told(self, keys: Sequence[str], now_ns: int, *, kept_ns: int) -> None:
        """Somebody has been told of these; remembered for ``kept_ns`` at least."""
        with self._database.transaction() as work:
            work.executemany("INSERT OR REPLACE INTO told VALUES (?, ?)", [(key, now_ns) for key in keys])
            work.execute("DELETE FROM told WHERE moment_ns < ?", (now_ns - kept_ns,))
