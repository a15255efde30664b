"""The SQLite file below a spool: opened with a spool's promises, foreign errors translated, damage set aside.

One idea: a spool must never keep an agent from working. A file that is no database, or one whose pages contradict each
other, is renamed to ``<name>.damaged-<time>`` for people to look at, what can still be read of it is copied over, and a
new file begins. At most :data:`DAMAGED_MAX` such files are kept.

The file is in WAL mode with ``synchronous=FULL``: a commit is on the disk when it returns. Source: sqlite.org/wal.html,
sqlite.org/pragma.html#pragma_synchronous, sqlite.org/rescode.html.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from govsec.errors import ConfigurationError, GovsecError, IntegrityError, TryAgainError
from govsec.privatefile import make_private_directory

FORMAT = 1
#: Damaged files that are kept, the newest; older ones would fill the disk that new findings need.
DAMAGED_MAX = 3
_PAGE_SIZE = 4096
#: Another process (the shipper, a person's command) may hold the file this long before a call gives up.
_BUSY_MS = 2_000
#: Room of the file beyond its records: indexes, free pages, SQLite's own.
_FILE_SHARE = 1.5
_WAL_KEPT_BYTES = 4 << 20
_PRIMARY_CODE_MASK = 0xFF
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT}
_LATER = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_NOMEM}
_SCHEMA = """
CREATE TABLE record (
  sequence INTEGER PRIMARY KEY, epoch TEXT NOT NULL, priority INTEGER NOT NULL, size INTEGER NOT NULL,
  previous TEXT NOT NULL, digest TEXT NOT NULL, body BLOB NOT NULL);
CREATE INDEX record_priority ON record (priority, sequence);
CREATE TABLE state (name TEXT PRIMARY KEY, value NOT NULL);
"""


@contextlib.contextmanager
def translated(path: Path) -> Iterator[None]:
    """SQLite's errors as ours: full, busy and failing disks are worth another try, contradictions are integrity."""
    try:
        yield
    except sqlite3.Error as error:
        raise _as_ours(path, error) from error


def _as_ours(path: Path, error: sqlite3.Error) -> GovsecError:
    code = getattr(error, "sqlite_errorcode", None)
    primary = code & _PRIMARY_CODE_MASK if isinstance(code, int) else None
    if primary == sqlite3.SQLITE_FULL:
        return TryAgainError(f"spool {path}: no room on the disk")
    if primary in _LATER:
        return TryAgainError(f"spool {path}: {error}")
    if primary in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH):
        return ConfigurationError(f"spool {path}: {error}")
    # Whatever else a database says of itself (a table that is missing, a value of another type) is not what we wrote.
    return IntegrityError(f"spool {path}: {error}")


def open_file(path: Path, epoch: str, size_max_bytes: int) -> sqlite3.Connection:
    """The database at ``path``, made with ``epoch`` when there is none.

    Raises:
        ConfigurationError: the place cannot be used, or is something else than a file of ours alone.
        IntegrityError: the file is damaged, or of another format.
        TryAgainError: no room, or somebody holds it.
    """
    _make_place(path)
    with translated(path):
        connection = sqlite3.connect(path, timeout=_BUSY_MS / 1000, isolation_level=None, check_same_thread=True)
        try:
            _prepare(connection, path, epoch, size_max_bytes)
        except BaseException:
            connection.close()
            raise
    return connection


def _make_place(path: Path) -> None:
    """The folder and an empty private file, before SQLite would make one by the umask."""
    try:
        make_private_directory(path.parent)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
        try:
            status = os.fstat(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise ConfigurationError(f"spool {path}: {error.strerror}") from error
    if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o077:
        raise ConfigurationError(f"spool {path}: must be a regular file that only this user can read and write")


def _prepare(connection: sqlite3.Connection, path: Path, epoch: str, size_max_bytes: int) -> None:
    pages_max = int(size_max_bytes * _FILE_SHARE) // _PAGE_SIZE + 64
    connection.execute(f"PRAGMA page_size={_PAGE_SIZE}")
    connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute(f"PRAGMA journal_size_limit={_WAL_KEPT_BYTES}")
    connection.execute("PRAGMA trusted_schema=OFF")
    connection.execute("PRAGMA mmap_size=0")
    connection.execute(f"PRAGMA max_page_count={pages_max}")
    found = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if not found:
        connection.executescript("BEGIN IMMEDIATE;" + _SCHEMA)
        first = {"format": FORMAT, "epoch": epoch, "head_sequence": 0, "head_digest": "", "acknowledged": 0, "size": 0}
        connection.executemany("INSERT INTO state VALUES (?, ?)", first.items())
        connection.execute("COMMIT")
        return
    answer = connection.execute("PRAGMA quick_check(1)").fetchone()
    if answer is None or answer[0] != "ok":
        raise IntegrityError(f"spool {path}: {answer[0] if answer else 'no answer'}")
    connection.execute("SELECT sequence, epoch, priority, size, previous, digest, body FROM record LIMIT 1").fetchone()
    version = connection.execute("SELECT value FROM state WHERE name = 'format'").fetchone()
    if version is None or version[0] != FORMAT:
        raise IntegrityError(f"spool {path}: format {version[0] if version else 'missing'}, expected {FORMAT}")


def set_aside(path: Path, moment: datetime) -> Path:
    """Rename a damaged file and what belongs to it; gives its new place. Older ones beyond the limit are removed.

    Raises:
        ConfigurationError: it cannot be renamed.
    """
    place = path.with_name(f"{path.name}.damaged-{moment:%Y%m%dT%H%M%S}-{moment.microsecond:06}")
    try:
        for suffix in ("", "-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                path.with_name(path.name + suffix).rename(place.with_name(place.name + suffix))
        damaged = sorted(path.parent.glob(f"{path.name}.damaged-*[0-9]"))
        for old in damaged[:-DAMAGED_MAX]:
            for suffix in ("", "-wal", "-shm"):
                old.with_name(old.name + suffix).unlink(missing_ok=True)
    except OSError as error:
        raise ConfigurationError(f"spool {path} is damaged and cannot be set aside: {error.strerror}") from error
    return place
