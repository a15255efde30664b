"""A base backup: the server sends its files as tar streams, and each becomes a file of a snapshot as it arrives.

Files rather than tars are stored, so that what did not change since the last base backup is stored once (files of
tables are cut by their content), ``pg_verifybackup`` finds what the server's manifest names, and what is restored is a
data directory that a server starts on. The log that the base needs to be consistent comes with it (``pg_wal``), so a
base is worth something also when nobody streams.

Below the root::

    data/…                  the data directory, backup_manifest (SHA-256) in it
    tablespaces/<oid>/…     each tablespace; data/pg_tblspc/<oid> is the link that the server had

Servers before 15 send one copy a tablespace and one for the manifest; later ones one copy, whose messages begin with
``n`` (a new archive), ``m`` (the manifest), ``d`` (data), ``p`` (progress).

Source: PostgreSQL documentation, "Streaming Replication Protocol", BASE_BACKUP, in versions 13 to 17.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from govsec.errors import FormatError, HostUnreachableError
from govsec.postgres.connection import Connection, literal, table
from govsec.postgres.tarstream import Entry, TarStream
from govsec.postgres.wal import parse_lsn

DATA, TABLESPACES, MANIFEST = "data", "tablespaces", "backup_manifest"
#: A checkpoint that is spread over time may take as long as ``checkpoint_timeout``; one that is asked for, minutes.
START_TIMEOUT_S = 3600.0
_SILENCE_MAX_S = 300.0
_NEW_MESSAGES = 150000
_TEXT_MAX = 4096


class StreamedFile(Protocol):
    """A file of a :class:`Files` that is being written."""

    def write(self, data: bytes | memoryview) -> None:
        """Put ``data`` at its end."""
        ...

    def close(self) -> None:
        """It is whole."""
        ...


class Files(Protocol):
    """Where a base backup goes; :class:`govsec.backup.streamed.StreamedTree` is one."""

    def begin(
        self,
        path: str,
        *,
        mode: int = ...,
        mtime_ns: int | None = None,
        uid: int | None = None,
        gid: int | None = None,
    ) -> StreamedFile:
        """A file."""
        ...

    def directory(
        self,
        path: str,
        *,
        mode: int = ...,
        mtime_ns: int | None = None,
        uid: int | None = None,
        gid: int | None = None,
    ) -> None:
        """A folder."""
        ...

    def link(
        self, path: str, target: bytes, *, mtime_ns: int | None = None, uid: int | None = None, gid: int | None = None
    ) -> None:
        """A symbolic link."""
        ...


@dataclass(frozen=True, slots=True)
class Tablespace:
    """A tablespace beside the data directory."""

    oid: int
    location: str


@dataclass(frozen=True, slots=True)
class BaseResult:
    """What the server said of a base backup that it finished."""

    start: int
    stop: int
    timeline: int
    tablespaces: tuple[Tablespace, ...]
    size_bytes: int


def stream_base(
    server: Connection,
    files: Files,
    *,
    label: str,
    folder: str = "",
    is_fast: bool = True,
    tend: Callable[[], None] = lambda: None,
) -> BaseResult:
    """Take a base backup over a replication connection, into ``folder`` of ``files``. ``tend`` is called often.

    With ``is_fast`` the server makes its checkpoint at once; without, it spreads it and this waits.

    Raises:
        HostUnreachableError: the server died or went silent in the middle.
        SourceError, ConfigurationError: it refuses; its words tell why.
        FormatError: what it sends is no base backup.
    """
    server.send(base_command(server.version, label, is_fast=is_fast))
    first = server.result(timeout_s=START_TIMEOUT_S)
    second = server.result()
    if first is None or second is None:
        raise FormatError(f"{server.name}: the base backup began without a position")
    start, timeline = _position(table(first), server.name)
    tablespaces = _tablespaces(table(second))
    writer = _Writer(files, server.name, folder)
    if server.version >= _NEW_MESSAGES:
        _expect_copy(server)
        for message in _messages(server, tend):
            _take(message, writer, tablespaces, server.name)
        writer.finish()
    else:
        for space in _in_order(table(second)):
            _expect_copy(server)
            writer.archive(space)
            for message in _messages(server, tend):
                writer.feed(message)
            writer.finish()
        _expect_copy(server)
        writer.manifest()
        for message in _messages(server, tend):
            writer.feed(message)
        writer.finish()
    last = None
    for result in server.results(timeout_s=START_TIMEOUT_S):
        last = table(result) or last
    if last is None:
        raise HostUnreachableError(f"{server.name}: the base backup ended without its last position")
    stop, last_timeline = _position(last, server.name)
    if last_timeline != timeline:
        raise FormatError(f"{server.name}: the timeline changed from {timeline} to {last_timeline} during the backup")
    if not writer.has_manifest:
        raise FormatError(f"{server.name}: the base backup has no manifest")
    return BaseResult(start, stop, timeline, tablespaces, writer.size_bytes)


def base_command(version: int, label: str, *, is_fast: bool) -> str:
    """The command in the words that this version takes."""
    if version >= _NEW_MESSAGES:
        options = (
            f"LABEL {literal(label)}, CHECKPOINT '{'fast' if is_fast else 'spread'}', WAL true, WAIT false, "
            "MANIFEST 'yes', MANIFEST_CHECKSUMS 'SHA256'"
        )
        return f"BASE_BACKUP ({options})"
    fast = "FAST " if is_fast else ""
    return f"BASE_BACKUP LABEL {literal(label)} {fast}WAL NOWAIT MANIFEST 'yes' MANIFEST_CHECKSUMS 'SHA256'"


class _Writer:
    """Puts archives where they belong. Implements :class:`govsec.postgres.tarstream.Sink`."""

    def __init__(self, files: Files, name: str, folder: str) -> None:
        self._files = files
        self._name = name
        self._top = f"{folder}/" if folder else ""
        self._prefix = ""
        self._is_first = True
        self._tar: TarStream | None = None
        self._file: StreamedFile | None = None
        self.has_manifest = False
        self.size_bytes = 0

    def archive(self, tablespace: int | None) -> None:
        """What follows is the tar of a tablespace; of the data directory when None."""
        self.finish()
        self._prefix = self._top + (DATA if tablespace is None else f"{TABLESPACES}/{tablespace}")
        self._is_first = True
        self._tar = TarStream(self, f"{self._name}: {self._prefix}")

    def manifest(self) -> None:
        """What follows is the manifest."""
        self.finish()
        self._file = self._files.begin(f"{self._top}{DATA}/{MANIFEST}", mode=0o600)
        self.has_manifest = True

    def feed(self, data: memoryview) -> None:
        """The next bytes of the archive or the manifest."""
        if self._tar is not None:
            self._tar.feed(data)
        elif self._file is not None:
            self._file.write(data)
        else:
            raise FormatError(f"{self._name}: data before an archive")

    def finish(self) -> None:
        """The archive or the manifest is complete."""
        if self._tar is not None:
            self._tar.close()
            self._tar = None
        elif self._file is not None:
            self._file.close()
            self._file = None

    def begin(self, entry: Entry) -> None:
        if not entry.path or entry.path.startswith("/") or ".." in entry.path.split("/"):
            raise FormatError(f"{self._name}: {entry.path[:200]!r} leads out of the data directory")
        if self._is_first:
            # The stream has no entry for its own top; who owns what is in it owns it.
            self._files.directory(self._prefix, mode=0o700, uid=entry.uid, gid=entry.gid)
            self._is_first = False
        path = f"{self._prefix}/{entry.path.removeprefix('./')}"
        mtime_ns = entry.mtime_s * 1_000_000_000
        if entry.kind == "file":
            self._file = self._files.begin(path, mode=entry.mode, mtime_ns=mtime_ns, uid=entry.uid, gid=entry.gid)
        elif entry.kind == "dir":
            self._files.directory(path, mode=entry.mode, mtime_ns=mtime_ns, uid=entry.uid, gid=entry.gid)
        else:
            self._files.link(path, entry.target, mtime_ns=mtime_ns, uid=entry.uid, gid=entry.gid)

    def data(self, data: memoryview) -> None:
        assert self._file is not None  # begin opened it
        self.size_bytes += len(data)
        self._file.write(data)

    def end(self) -> None:
        assert self._file is not None  # begin opened it
        self._file.close()
        self._file = None


def _take(message: memoryview, writer: _Writer, tablespaces: tuple[Tablespace, ...], name: str) -> None:
    kind, body = bytes(message[:1]), message[1:]
    if kind == b"d":
        writer.feed(body)
    elif kind == b"n":
        archive, _, rest = bytes(body[:_TEXT_MAX]).partition(b"\0")
        location = rest.partition(b"\0")[0].decode("utf-8", "surrogateescape")
        if not location:
            writer.archive(None)
            return
        found = [space.oid for space in tablespaces if archive == b"%d.tar" % space.oid]
        if not found:
            raise FormatError(f"{name}: archive {archive[:80]!r} of no tablespace that was announced")
        writer.archive(found[0])
    elif kind == b"m":
        writer.manifest()
    elif kind != b"p":
        raise FormatError(f"{name}: message {kind!r} in a base backup")


def _messages(server: Connection, tend: Callable[[], None]) -> Iterator[memoryview]:
    while (message := server.copied(_SILENCE_MAX_S)) is not None:
        if not message:
            raise HostUnreachableError(f"{server.name}: silent for {_SILENCE_MAX_S:g} s in the middle of a base backup")
        yield message
        tend()


def _expect_copy(server: Connection) -> None:
    if not server.is_copying_out(timeout_s=START_TIMEOUT_S):
        raise FormatError(f"{server.name}: no copy where the base backup has one")


def _position(rows: list[tuple[str | None, ...]], name: str) -> tuple[int, int]:
    if not rows or len(rows[0]) < 2 or rows[0][0] is None or not (rows[0][1] or "").isdigit():
        raise FormatError(f"{name}: no position where the base backup has one")
    return parse_lsn(rows[0][0]), int(rows[0][1] or 0)


def _tablespaces(rows: list[tuple[str | None, ...]]) -> tuple[Tablespace, ...]:
    return tuple(Tablespace(int(row[0]), row[1] or "") for row in rows if row[0] is not None and row[0].isdigit())


def _in_order(rows: list[tuple[str | None, ...]]) -> list[int | None]:
    """The archives of servers before 15, in the order in which they are announced; the data directory is last."""
    return [int(row[0]) if row[0] is not None and row[0].isdigit() else None for row in rows]
