"""SQLite files of ours: private, durable, of a known format, and their errors as ours.

A store describes its tables by numbered steps (``Layout``); a file of an earlier format is brought up to date when it
is opened, one of a later format is refused. Files are in WAL mode with ``synchronous=FULL``: what a transaction wrote
is on the disk when it returns. Nobody but their owner can read them.

Source: sqlite.org/wal.html, sqlite.org/pragma.html (synchronous, trusted_schema, user_version), sqlite.org/rescode.html
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from govsec.errors import ConfigurationError, GovsecError, IntegrityError, TryAgainError
from govsec.privatefile import make_private_directory

#: Another process (an agent, a person's command) may hold the file this long before a call gives up.
BUSY_S = 5.0
_WAL_KEPT_BYTES = 4 << 20
#: Each try waits for whoever was faster.
_WAL_TRIES = 20
_PRIMARY_CODE_MASK = 0xFF
_LATER = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_NOMEM}
_CLOSED_TO_US = {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH}


@dataclass(frozen=True, slots=True)
class Layout:
    """The tables of one kind of file. ``name`` stands for it in errors; step n makes format n out of format n - 1."""

    name: str
    steps: tuple[str, ...]

    @property
    def format(self) -> int:
        """The newest format."""
        return len(self.steps)


@contextlib.contextmanager
def translated(path: Path | str, name: str) -> Iterator[None]:
    """SQLite's errors as ours.

    Raises:
        TryAgainError: full, busy or failing disks.
        ConfigurationError: the file cannot be opened or written by this user.
        IntegrityError: anything else a database says of itself; it is not what we wrote.
    """
    try:
        yield
    except sqlite3.Error as error:
        raise _as_ours(f"{name} {path}", error) from error


def _as_ours(what: str, error: sqlite3.Error) -> GovsecError:
    code = getattr(error, "sqlite_errorcode", None)
    primary = code & _PRIMARY_CODE_MASK if isinstance(code, int) else None
    if primary == sqlite3.SQLITE_FULL:
        return TryAgainError(f"{what}: no room on the disk")
    if primary in _LATER:
        return TryAgainError(f"{what}: {error}")
    if primary in _CLOSED_TO_US:
        return ConfigurationError(f"{what}: {error}")
    return IntegrityError(f"{what}: {error}")


class Database:
    """One file, open. Not for two threads; :meth:`transaction` is the only way to write."""

    def __init__(self, path: Path, layout: Layout, *, busy_s: float = BUSY_S) -> None:
        """Open the file, make it when it is not there, bring it up to date.

        Raises:
            ConfigurationError: the place cannot be used, or is something else than a file of this user alone.
            IntegrityError: the file is damaged, or of a later format than is known here.
            TryAgainError: no room, or somebody holds it.
        """
        self.path = path
        self._layout = layout
        make_private_file(path, layout.name)
        with translated(path, layout.name):
            self._connection = sqlite3.connect(path, timeout=busy_s, isolation_level=None)
        try:
            with translated(path, layout.name):
                self._prepare()
        except BaseException:
            self._connection.close()
            raise

    def __enter__(self) -> Database:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; what was committed stays."""
        self._connection.close()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All of it is on the disk when the block ends, or nothing of it. Raises as :func:`translated`."""
        with translated(self.path, self._layout.name):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """For questions; all statements of the block see one moment. Nothing may be written within it.

        Raises as :func:`translated`.
        """
        with translated(self.path, self._layout.name):
            if self._connection.in_transaction:
                yield self._connection
                return
            self._connection.execute("BEGIN")
            try:
                yield self._connection
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")

    def _prepare(self) -> None:
        self._turn_on_wal()
        for pragma in (
            "synchronous=FULL",
            "trusted_schema=OFF",
            "mmap_size=0",
            "foreign_keys=ON",
            f"journal_size_limit={_WAL_KEPT_BYTES}",
        ):
            self._connection.execute(f"PRAGMA {pragma}")
        found = self._format()
        if found > self._layout.format:
            raise IntegrityError(
                f"{self._layout.name} {self.path}: format {found}, this program knows up to {self._layout.format}"
            )
        for number in range(found, self._layout.format):
            self._take_step(number)

    def _turn_on_wal(self) -> None:
        # SQLite does not wait for another process that turns it on at the same moment, but for a transaction it does.
        for _ in range(_WAL_TRIES):
            try:
                self._connection.execute("PRAGMA journal_mode=WAL")
                return
            except sqlite3.OperationalError as error:
                if not isinstance(_as_ours("", error), TryAgainError):
                    raise
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.execute("ROLLBACK")
        self._connection.execute("PRAGMA journal_mode=WAL")

    def _format(self) -> int:
        return int(self._connection.execute("PRAGMA user_version").fetchone()[0])

    def _take_step(self, number: int) -> None:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            # Another process that opens the file for the first time, too, may have taken the step meanwhile.
            if self._format() == number:
                for statement in _statements(self._layout.steps[number]):
                    self._connection.execute(statement)
                # The number is committed with the step, so a crash leaves the step before or after it.
                self._connection.execute(f"PRAGMA user_version={number + 1}")
            self._connection.execute("COMMIT")
        finally:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")


def _statements(script: str) -> Iterator[str]:
    # executescript would commit the transaction that it is to be part of.
    statement = ""
    for piece in f"{script};".split(";"):
        statement += f"{piece};"
        if sqlite3.complete_statement(statement):
            if statement.strip("; \n"):
                yield statement
            statement = ""


def make_private_file(path: Path, name: str) -> None:
    """The folder and an empty file that only this user can use, before SQLite would make one by the umask.

    The file itself is never opened here: closing a descriptor takes away all locks that SQLite holds on the file for
    this process, and the next other process to leave would remove a log that is still written to.
    Source: sqlite.org/howtocorrupt.html, 2.2; fcntl(2), advisory record locking.

    Raises:
        ConfigurationError: the place cannot be used, or holds something else.
    """
    try:
        make_private_directory(path.parent)
        if not os.path.lexists(path):
            _make_empty(path)
        status = path.lstat()
    except OSError as error:
        raise ConfigurationError(f"{name} {path}: {error.strerror}") from error
    if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o077:
        raise ConfigurationError(f"{name} {path}: must be a regular file that only this user can read and write")


def _make_empty(path: Path) -> None:
    """An empty file of this user's, whole and closed before it has the name; somebody else's is left as it is."""
    descriptor, made = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(descriptor)
    try:
        with contextlib.suppress(FileExistsError):
            os.link(made, path)
    finally:
        Path(made).unlink()
