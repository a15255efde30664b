"""What can still be read of a damaged spool: record by record, over the places that cannot."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from govsec.agent.spoolfile import LAYOUT
from govsec.agent.spoolrecord import COLUMNS, Entry, record_of, whole
from govsec.database import translated
from govsec.errors import GovsecError

#: Places that are stepped over before the rest is given up.
_BAD_PLACES_MAX = 100


def readable(place: Path) -> Iterator[Entry]:
    """Entries of a damaged file, in order, as far as they can be read and are what was appended."""
    try:
        with translated(place, LAYOUT.name):
            connection = sqlite3.connect(place, isolation_level=None)
    except GovsecError:
        return
    with contextlib.closing(connection):
        sequence = bad_count = 0
        while bad_count < _BAD_PLACES_MAX:
            try:
                with translated(place, LAYOUT.name):
                    connection.execute("PRAGMA trusted_schema=OFF")
                    row = connection.execute(
                        f"SELECT {COLUMNS} FROM record WHERE sequence > ? ORDER BY sequence LIMIT 1",  # noqa: S608
                        (sequence,),
                    ).fetchone()
                if row is None:
                    return
                sequence = whole(row[0])
                record = record_of(row)
            except GovsecError:
                sequence, bad_count = sequence + 1, bad_count + 1
                continue
            yield Entry(record.priority, record.body)
