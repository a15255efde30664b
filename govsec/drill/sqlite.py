"""Asking a restored SQLite database: is it whole, and does it know what it should.

Runs in a child without privileges or network, since the file comes from a repository. The connection has settings of
ours: read only where no write-ahead log has to be replayed, no extensions, no trust in functions that the schema calls.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any
from urllib.parse import quote

#: SQLite itself reports up to a hundred faults; a few name the place.
_FAULTS_MAX = 5
_TEXT_MAX = 300


def ask(path: str, query: str) -> dict[str, Any]:
    """``{"value": …}`` for a database that is whole; else ``{"error": …}``."""
    log = Path(path + "-wal")
    mode = "rw" if log.exists() and log.stat().st_size else "ro"
    try:
        connection = sqlite3.connect(f"file:{quote(path)}?mode={mode}", uri=True, isolation_level=None)
        try:
            connection.execute("PRAGMA trusted_schema = OFF")
            connection.execute("PRAGMA cell_size_check = ON")
            connection.execute("PRAGMA mmap_size = 0")
            faults = [str(row[0]) for row in connection.execute(f"PRAGMA integrity_check({_FAULTS_MAX})")]
            if faults != ["ok"]:
                return {"error": "integrity check: " + "; ".join(faults)[:_TEXT_MAX]}
            rows = connection.execute(query).fetchmany(2)
        finally:
            connection.close()
    except sqlite3.Error as error:
        return {"error": str(error)[:_TEXT_MAX]}
    if len(rows) != 1 or len(rows[0]) != 1:
        return {"error": f"the query gives {len(rows)} rows, one value is expected"}
    value = rows[0][0]
    if not isinstance(value, (int, float, str)):
        return {"error": f"the query gives {type(value).__name__}, a number or text is expected"}
    return {"value": value}
