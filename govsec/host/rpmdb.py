"""The packages in an rpm database, read only: SQLite (``rpmdb.sqlite``), before rpm 4.17 Berkeley DB (``Packages``).

A record is the package's header (:mod:`govsec.host.rpmheader`). In SQLite it is a row of the table ``Packages``, by a
number that rpm never gives twice; in Berkeley DB one of a hash file (:mod:`govsec.host.rpmhash`). A public key that was
imported stands there as a package ``gpg-pubkey``; it is one, and is kept. Other tables and files are indexes, and are
not asked: what an index leaves out would be hidden.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

from govsec.errors import FormatError, LimitError
from govsec.host.rpmhash import HashFile
from govsec.host.rpmheader import Header, Tag, full_version
from govsec.host.tables import Package

#: Where the database may lie. Newer systems moved it below /usr and leave a link, or nothing, at the old place.
RPM_DATABASES = tuple(
    f"{folder}/{name}" for folder in ("/usr/lib/sysimage/rpm", "/var/lib/rpm") for name in ("rpmdb.sqlite", "Packages")
)
_HEADER_BYTES_MAX = 64 << 20
#: All headers of the largest systems together are some hundred megabytes; rows of a damaged file may share pages.
_ALL_HEADERS_BYTES_MAX = 2 << 30
#: Steps of SQLite's machine, in units of which it asks: a header takes some ten steps, a view that never ends all.
_STEPS_UNIT, _STEPS_UNITS_MAX = 100_000, 100
#: rpm holds its database for moments only.
_BUSY_S = 5


def read_rpm_headers(path: Path, number: int | None = None) -> Iterator[tuple[int, Header | None]]:
    """Every header with a number, or that of one number; ``None`` for one that cannot be read.

    A number finds its header again, or another one, or none, when rpm has written meanwhile.

    Raises:
        FormatError: the file is no database of rpm, or it is held by a writer.
        LimitError: it has more than any system.
    """
    size_left = _ALL_HEADERS_BYTES_MAX
    for found, blob in (_rows if path.suffix == ".sqlite" else _records)(path, number):
        header = _header(blob)
        size_left -= header.size if header is not None else 0
        if size_left < 0:
            raise LimitError(f"headers of rpm: more than {_ALL_HEADERS_BYTES_MAX} bytes")
        yield found, header


def read_rpm_database(path: Path, count_gap: Callable[[], None]) -> Iterator[Package]:
    """Every package; ``count_gap`` is called for each header that cannot be read.

    Raises:
        FormatError, LimitError: as :func:`read_rpm_headers`.
    """
    for _, header in read_rpm_headers(path):
        package = _package(header) if header is not None else None
        if package is None:
            count_gap()
        else:
            yield package


def _rows(path: Path, number: int | None) -> Iterator[tuple[int, object]]:
    query = "SELECT hnum, CASE WHEN length(blob) <= :size_max THEN blob END FROM Packages"
    if number is not None:
        query += " WHERE hnum = :number"
    database, units_left = _open(path), iter(range(_STEPS_UNITS_MAX))
    try:
        database.set_progress_handler(lambda: next(units_left, None) is None, _STEPS_UNIT)
        yield from database.execute(query, {"size_max": _HEADER_BYTES_MAX, "number": number})
    # Of a damaged database, SQLite's own message may be no text.
    except (sqlite3.Error, UnicodeDecodeError) as error:
        raise FormatError(f"no database of rpm that can be read: {error}") from error
    finally:
        database.close()


def _records(path: Path, number: int | None) -> Iterator[tuple[int, object]]:
    try:
        file = HashFile(path, value_size_max=_HEADER_BYTES_MAX)
        try:
            yield from file.records() if number is None else [(number, file.record(number))]
        finally:
            file.close()
    except OSError as error:
        raise FormatError(f"no database of rpm that can be read: {error.strerror}") from error


def _open(path: Path) -> sqlite3.Connection:
    """As an immutable file, which leaves no file of SQLite's own beside it and needs no right to write there; while a
    writer has a log, together with that log."""
    log = path.with_name(path.name + "-wal")
    try:
        # SQLite would wait for whoever writes into a pipe.
        if not path.is_file():
            raise FormatError("no database that SQLite opens")
        mode = "mode=ro" if log.exists() and log.stat().st_size else "mode=ro&immutable=1"
        return sqlite3.connect(f"file:{quote(str(path))}?{mode}", uri=True, timeout=_BUSY_S)
    except (OSError, sqlite3.Error) as error:
        raise FormatError("no database that SQLite opens") from error


def _header(blob: object) -> Header | None:
    try:
        return Header(blob) if isinstance(blob, bytes) else None
    except FormatError:
        return None


def _package(header: Header) -> Package | None:
    try:
        name, version, full = header.text(Tag.NAME), header.text(Tag.VERSION), full_version(header)
        architecture = header.text(Tag.ARCHITECTURE)
        # name-version-release.src.rpm
        source = header.text(Tag.SOURCE_PACKAGE).rsplit(".", 2)[0].rsplit("-", 2)
    except FormatError:
        return None
    if not name or not version:
        return None
    source_name, source_version = (source[0], "-".join(source[1:])) if len(source) == 3 else (name, full)
    return Package(name, full, architecture, "rpm", source_name, source_version)
