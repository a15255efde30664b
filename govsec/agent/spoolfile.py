"""The SQLite file below a spool: its tables, its bound, and what becomes of it when it is damaged.

One idea: a spool must never keep an agent from working. A file that is no database, or one whose pages contradict each
other, is renamed to ``<name>.damaged-<time>`` for people to look at, what can still be read of it is copied over, and a
new file begins. At most :data:`DAMAGED_MAX` such files are kept.
"""

from __future__ import annotations

import contextlib
from datetime import datetime
from pathlib import Path

from govsec.database import Database, Layout
from govsec.errors import ConfigurationError, IntegrityError

#: Damaged files that are kept, the newest; older ones would fill the disk that new findings need.
DAMAGED_MAX = 3
#: Another process (the shipper, a person's command) may hold the file this long before a call gives up: the agent's
#: loop waits meanwhile.
_BUSY_S = 2.0
#: Room of the file beyond its records: indexes, free pages, SQLite's own.
_FILE_SHARE = 1.5
_PAGES_MIN = 64
LAYOUT = Layout(
    "spool",
    (
        """
CREATE TABLE record (
  sequence INTEGER PRIMARY KEY, epoch TEXT NOT NULL, priority INTEGER NOT NULL, size INTEGER NOT NULL,
  previous TEXT NOT NULL, digest TEXT NOT NULL, body BLOB NOT NULL);
CREATE INDEX record_priority ON record (priority, sequence);
CREATE TABLE state (name TEXT PRIMARY KEY, value NOT NULL);
""",
    ),
)


def open_file(path: Path, epoch: str, size_max_bytes: int, *, is_checked: bool) -> Database:
    """The database at ``path``, made with ``epoch`` when there is none.

    ``is_checked``: look at all of its pages, which takes a second for some hundred megabytes.

    Raises:
        ConfigurationError: the place cannot be used, or is something else than a file of ours alone.
        IntegrityError: the file is damaged, or of another format.
        TryAgainError: no room, or somebody holds it.
    """
    database = Database(path, LAYOUT, busy_s=_BUSY_S)
    try:
        if is_checked:
            _check(database)
        _prepare(database, epoch, size_max_bytes)
    except BaseException:
        database.close()
        raise
    return database


def _check(database: Database) -> None:
    with database.reading() as connection:
        answer = connection.execute("PRAGMA quick_check(1)").fetchone()
    if answer is None or answer[0] != "ok":
        raise IntegrityError(f"spool {database.path}: {answer[0] if answer else 'no answer'}")


def _prepare(database: Database, epoch: str, size_max_bytes: int) -> None:
    with database.reading() as connection:
        page_size = connection.execute("PRAGMA page_size").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count={int(size_max_bytes * _FILE_SHARE) // page_size + _PAGES_MIN}")
        has_records = connection.execute("SELECT count(*) FROM (SELECT 1 FROM record LIMIT 1)").fetchone()[0]
        has_state = connection.execute("SELECT count(*) FROM state").fetchone()[0]
    if has_records and not has_state:
        raise IntegrityError(f"spool {database.path}: its own state is missing")
    if not has_state:
        first = {"epoch": epoch, "head_sequence": 0, "head_digest": "", "acknowledged": 0, "size": 0}
        with database.transaction() as connection:
            connection.executemany("INSERT INTO state VALUES (?, ?)", first.items())


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
