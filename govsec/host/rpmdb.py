"""The packages in an rpm database of the SQLite form (``rpmdb.sqlite``), read only.

A row of the table ``Packages`` is the package's header (rpm's format documentation, "Header Structure")::

    be32 entries count, be32 data size
    entries: be32 tag, be32 type, be32 offset in data, be32 values count
    data

Of it only strings (type 6) and numbers (type 4) of seven tags are read. A public key that was imported stands in the
table as a package ``gpg-pubkey``; it is one, and is kept.
"""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

from govsec.errors import FormatError
from govsec.host.tables import Package

_HEADER_BYTES_MAX = 64 << 20
_ENTRIES_MAX = 65_536
_NAME, _VERSION, _RELEASE, _EPOCH, _ARCHITECTURE, _SOURCE = 1000, 1001, 1002, 1003, 1022, 1044
_STRING, _NUMBER = 6, 4
_WANTED = frozenset((_NAME, _VERSION, _RELEASE, _EPOCH, _ARCHITECTURE, _SOURCE))
#: rpm holds its database for moments only.
_BUSY_S = 5


def read_rpm_database(path: Path, count_gap: Callable[[], None]) -> Iterator[Package]:
    """Every package; ``count_gap`` is called for each header that cannot be read.

    Raises:
        FormatError: the file is no database of rpm, or it is held by a writer.
    """
    database = _open(path)
    try:
        rows = database.execute("SELECT CASE WHEN length(blob) <= ? THEN blob END FROM Packages", (_HEADER_BYTES_MAX,))
        for (blob,) in rows:
            package = _package(blob) if isinstance(blob, bytes) else None
            if package is None:
                count_gap()
            else:
                yield package
    except sqlite3.Error as error:
        raise FormatError(f"no database of rpm that can be read: {error}") from error
    finally:
        database.close()


def _open(path: Path) -> sqlite3.Connection:
    """As an immutable file, which leaves no file of SQLite's own beside it and needs no right to write there; while a
    writer has a log, together with that log."""
    log = path.with_name(path.name + "-wal")
    try:
        mode = "mode=ro" if log.exists() and log.stat().st_size else "mode=ro&immutable=1"
        return sqlite3.connect(f"file:{quote(str(path))}?{mode}", uri=True, timeout=_BUSY_S)
    except (OSError, sqlite3.Error) as error:
        raise FormatError("no database that SQLite opens") from error


def _package(header: bytes) -> Package | None:
    try:
        values = _values(header)
    except (struct.error, ValueError):
        return None
    name, version, release = values.get(_NAME, ""), values.get(_VERSION, ""), values.get(_RELEASE, "")
    if not name or not version:
        return None
    epoch = values.get(_EPOCH, "0")
    full = (f"{epoch}:" if epoch != "0" else "") + version + (f"-{release}" if release else "")
    # name-version-release.src.rpm
    source = values.get(_SOURCE, "").rsplit(".", 2)[0].rsplit("-", 2)
    source_name, source_version = (source[0], "-".join(source[1:])) if len(source) == 3 else (name, full)
    return Package(name, full, values.get(_ARCHITECTURE, ""), "rpm", source_name, source_version)


def _values(header: bytes) -> dict[int, str]:
    count, size = struct.unpack_from(">II", header, 0)
    start = 8 + 16 * count
    if count > _ENTRIES_MAX or start + size > len(header):
        raise ValueError("cut short")
    values = {}
    for position in range(count):
        tag, kind, offset, _ = struct.unpack_from(">IIiI", header, 8 + 16 * position)
        if tag not in _WANTED or not 0 <= offset < size:
            continue
        if kind == _STRING:
            end = header.index(b"\0", start + offset)
            values[tag] = header[start + offset : end].decode("utf-8", "surrogateescape")
        elif kind == _NUMBER:
            values[tag] = str(struct.unpack_from(">I", header, start + offset)[0])
    return values
