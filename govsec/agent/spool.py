"""Findings on the disk until somebody above has taken them: bounded, chained, in order.

One idea: what :meth:`Spool.append` returned for survives the death of every process and of the machine, and leaves only
when :meth:`Spool.acknowledge` is told that its receiver has committed it. Room is bounded in bytes: the oldest of the
lowest priority goes first, a higher one never for a lower one, and what went is accounted for by a record ``lost`` that
a reader meets before it reaches the end. See :mod:`govsec.agent.spoolrecord` for the chain.

A spool has one writer. Readers (``after``, ``acknowledge``) may be other processes with a spool of their own on the
same file. A connection must not be carried through a fork: the writer closes it around one (:meth:`Spool.closed`).

When a call raises: nothing of an ``append`` is on the disk, or (after a crash) all of it; never a part.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from govsec.agent.spoolfile import open_file, set_aside
from govsec.agent.spoolrecord import COLUMNS, Entry, Priority, Record, record_of, whole
from govsec.agent.spoolsave import readable
from govsec.agent.spoolwork import Work
from govsec.clock import Clock
from govsec.database import Database
from govsec.errors import IntegrityError, TryAgainError

log = logging.getLogger(__name__)

SIZE_MAX_BYTES = 256 << 20
_READ_MAX = 10_000


@dataclass(frozen=True, slots=True)
class Damage:
    """A damaged file that was set aside."""

    place: Path
    reason: str
    saved_count: int


@dataclass(frozen=True, slots=True)
class SpoolState:
    """How full a spool is. ``lost_count``: entries that were never taken, since the file began."""

    epoch: str
    head_sequence: int
    acknowledged: int
    records_count: int
    size_bytes: int
    size_max_bytes: int
    lost_count: int


class Spool:
    """An open spool; a context manager. :attr:`damage` says what was set aside when it was opened, if anything was."""

    def __init__(
        self, path: Path, clock: Clock, *, size_max_bytes: int = SIZE_MAX_BYTES, is_reader: bool = False
    ) -> None:
        """``is_reader``: another process writes; damage is raised then, and a file that was begun anew is followed.

        Raises:
            ConfigurationError: the place cannot be used, or is something else than a file of ours alone.
            TryAgainError: no room, or somebody holds it.
            IntegrityError: for a reader alone: it is damaged. A writer sets it aside.
        """
        self.path = path
        self.damage: Damage | None = None
        self._clock = clock
        self._size_max_bytes = size_max_bytes
        self._is_reader = is_reader
        self._database: Database | None = None
        self._inode = 0
        self._is_held = False
        try:
            self._open(is_checked=not is_reader)
        except IntegrityError as error:
            if is_reader:
                raise
            self.begin_anew(str(error))

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the file back; what was appended is on the disk already."""
        if self._database is not None:
            self._database.close()
            self._database = None

    @contextlib.contextmanager
    def closed(self) -> Iterator[None]:
        """Within the block no connection is open: the moment to fork. The next call behind it opens one."""
        self.close()
        self._is_held = True
        try:
            yield
        finally:
            self._is_held = False

    def append(self, entries: Sequence[Entry]) -> int:
        """Keep ``entries``; the head's sequence. When this returns they are on the disk, or counted as lost.

        Raises:
            TryAgainError: no room on the disk, or somebody holds the file; nothing was kept.
            IntegrityError: the file is damaged or gone; see :meth:`begin_anew`.
        """
        with self._transaction() as work:
            for entry in entries:
                work.put(entry)
            return work.finish()

    def lose(self, priority: Priority, reason: str, count: int) -> None:
        """Account for ``count`` entries that were lost before they got here. Raises what :meth:`append` raises."""
        with self._transaction() as work:
            work.lose(priority, reason, count)
            work.finish()

    def after(self, sequence: int, limit: int = 1_000) -> tuple[Record, ...]:
        """At most ``limit`` records behind ``sequence``, the oldest first, each verified; what was lost is among them.

        Raises:
            IntegrityError: a record is not what was appended; nothing behind it is given.
            TryAgainError: somebody holds the file.
        """
        with self._reading() as connection:
            has_losses = _state(connection, "losses", "{}") != "{}"
        if has_losses:
            with contextlib.suppress(TryAgainError), self._transaction() as work:  # a full disk can still be read
                work.settle()
                work.finish()
        with self._reading() as connection:
            rows = connection.execute(
                f"SELECT {COLUMNS} FROM record WHERE sequence > ? ORDER BY sequence LIMIT ?",  # noqa: S608 - our own words
                (sequence, max(0, min(limit, _READ_MAX))),
            )
            return tuple(record_of(row) for row in rows)

    def acknowledge(self, sequence: int) -> int:
        """The receiver has committed everything up to ``sequence``: let it go. Gives how many records went.

        Raises:
            UsageError: it lies behind the head; nothing went.
            TryAgainError: no room to write that down, or somebody holds the file.
        """
        with self._transaction() as work:
            return work.acknowledge(sequence)

    def state(self) -> SpoolState:
        """How full it is. Raises what :meth:`after` raises."""
        with self._reading() as connection:
            count = connection.execute("SELECT count(*) FROM record").fetchone()[0]
            return SpoolState(
                epoch=str(_state(connection, "epoch")),
                head_sequence=whole(_state(connection, "head_sequence")),
                acknowledged=whole(_state(connection, "acknowledged")),
                records_count=int(count),
                size_bytes=whole(_state(connection, "size")),
                size_max_bytes=self._size_max_bytes,
                lost_count=whole(_state(connection, "lost_count", 0)),
            )

    def begin_anew(self, reason: str) -> Damage:
        """Set the file aside, begin a new one under a new epoch, and copy over what can still be read and verified.

        Raises:
            ConfigurationError: the file cannot be moved, or no new one be made.
            TryAgainError: no room for a new one.
        """
        self.close()
        place = set_aside(self.path, self._clock.now())
        self._open(is_checked=True)
        saved = self._copy_from(place) if place.exists() else 0
        self.damage = Damage(place, reason, saved)
        log.error("spool damaged", extra={"path": str(self.path), "aside": str(place), "saved": saved})
        return self.damage

    def _open(self, *, is_checked: bool) -> None:
        self._database = open_file(self.path, secrets.token_hex(8), self._size_max_bytes, is_checked=is_checked)
        self._inode = self.path.stat().st_ino

    def _opened(self) -> Database:
        if self._is_held:
            raise TryAgainError(f"spool {self.path} is closed")
        if self._database is not None and self._is_reader and not self._is_still_there():
            self.close()
        if self._database is None:
            self._open(is_checked=False)
        if not self._is_still_there():
            # SQLite goes on writing to a file that somebody removed: all of it would be lost in silence.
            raise IntegrityError(f"spool {self.path} is gone, or another file lies there")
        assert self._database is not None  # opened above, or that raised
        return self._database

    def _is_still_there(self) -> bool:
        try:
            return self.path.stat().st_ino == self._inode
        except OSError:
            return False

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._opened().reading() as connection:
            yield connection

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[Work]:
        with self._opened().transaction() as connection:
            yield Work(connection, self._size_max_bytes, self._clock)

    def _copy_from(self, place: Path) -> int:
        saved = 0
        for entry in readable(place):
            self.append([entry])
            saved += 1
        return saved


def _state(connection: sqlite3.Connection, name: str, default: object = None) -> object:
    row = connection.execute("SELECT value FROM state WHERE name = ?", (name,)).fetchone()
    if row is None and default is None:
        raise IntegrityError(f"the spool's own state lacks {name}")
    return row[0] if row is not None else default
