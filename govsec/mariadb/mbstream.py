"""The stream that ``mariadb-backup --stream=mbstream`` writes, taken apart as it comes. No I/O here.

::

    chunk   magic "XBSTCK01" · flags 1 · type 1 · path length 4 · path · what the type says
    P       payload length 8 · offset in the file 8 · CRC-32 of the payload 4 · payload
    E       nothing: the file is whole
    S       offset 8: what lies between is a hole
    R       length 4 · path: the file has another name from here on
    D       nothing: the file is gone
    flags   2: takes the place of a file that was sent before

All numbers are little-endian. Files come in turns when the tool has several threads, and its redo log beside them.
Checked are every checksum, that each file's pieces follow each other without a gap, and that every file ended; a stream
that breaks off is none, whatever the tool's exit code was.

Source: the tool's own reader, ``mbstream``, tried on streams made for it.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from govsec.errors import FormatError, IntegrityError, LimitError

_MAGIC = b"XBSTCK01"
_HEAD_SIZE = len(_MAGIC) + 6
_PATH_MAX = 4096
#: The tool writes 10 MiB at a time; pages of a larger buffer go through uncut.
PAYLOAD_MAX = 64 << 20
_FLAG_REWRITE = 2


class Kind(Enum):
    """What happened to a file."""

    BEGIN = "begin"
    DATA = "data"
    HOLE = "hole"
    END = "end"
    RENAME = "rename"
    REMOVE = "remove"


@dataclass(frozen=True, slots=True)
class Piece:
    """One thing that the stream says. ``data`` of DATA, ``size`` of HOLE, ``new`` of RENAME."""

    kind: Kind
    path: str
    data: bytes = b""
    size: int = 0
    new: str = ""


class MbstreamReader:
    """Takes bytes, gives pieces. Call :meth:`finish` at the end of the stream."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._position = 0
        #: Open files and how far they are.
        self._open: dict[str, int] = {}
        self._done: set[str] = set()
        self.files_count = 0

    def feed(self, data: bytes) -> Iterator[Piece]:
        """What ``data``, which follows what was fed before, completes.

        Raises:
            FormatError: no such stream. IntegrityError: a checksum is wrong, or a piece is missing. LimitError: a
            piece or a path is longer than any that the tool writes.
        """
        self._buffer += data
        while (piece := self._next()) is not None:
            if piece:
                yield from piece

    def finish(self) -> None:
        """The stream ended.

        Raises:
            IntegrityError: in the middle of something, or before anything.
        """
        if self._buffer:
            raise IntegrityError(f"mbstream: ended in the middle of a chunk, at byte {self._position}")
        if self._open:
            raise IntegrityError(f"mbstream: ended before the end of {next(iter(self._open))[:200]!r}")
        if not self.files_count:
            raise IntegrityError("mbstream: ended without a single file")

    def _next(self) -> list[Piece] | None:
        """The pieces of the next chunk; None when it is not complete yet."""
        buffer = self._buffer
        if buffer[: len(_MAGIC)] != _MAGIC[: len(buffer)]:
            raise FormatError(f"mbstream: no chunk begins at byte {self._position}")
        if len(buffer) < _HEAD_SIZE:
            return None
        flags, kind = buffer[8], chr(buffer[9])
        path_end = _HEAD_SIZE + self._length(10)
        if len(buffer) < path_end:
            return None
        path = self._path(_HEAD_SIZE, path_end)
        match kind:
            case "P":
                return self._payload(path, flags, path_end)
            case "E":
                self._take(path_end)
                return self._end(path)
            case "S":
                return self._seek(path, path_end)
            case "R":
                return self._rename(path, path_end)
            case "D":
                self._take(path_end)
                self._done.discard(path)
                return [Piece(Kind.REMOVE, path)]
        raise FormatError(f"mbstream: a chunk of the unknown type {kind!r} at byte {self._position}")

    def _payload(self, path: str, flags: int, at: int) -> list[Piece] | None:
        buffer = self._buffer
        body = at + 20
        if len(buffer) < body:
            return None
        size, offset = self._number(at), self._number(at + 8)
        if size > PAYLOAD_MAX:
            raise LimitError(f"mbstream: a piece of {size} bytes at byte {self._position}")
        if len(buffer) < body + size:
            return None
        data = bytes(buffer[body : body + size])
        if zlib.crc32(data) != int.from_bytes(buffer[at + 16 : body], "little"):
            raise IntegrityError(f"mbstream: {path[:200]!r}: the checksum at offset {offset} is wrong")
        self._take(body + size)
        pieces = self._begin(path, is_rewrite=bool(flags & _FLAG_REWRITE))
        if offset != self._open[path]:
            raise IntegrityError(
                f"mbstream: {path[:200]!r}: offset {offset} follows {self._open[path]}: a piece is missing"
            )
        self._open[path] += size
        return [*pieces, Piece(Kind.DATA, path, data)]

    def _seek(self, path: str, at: int) -> list[Piece] | None:
        if len(self._buffer) < at + 8:
            return None
        offset = self._number(at)
        self._take(at + 8)
        pieces = self._begin(path, is_rewrite=False)
        size = offset - self._open[path]
        if size < 0:
            raise IntegrityError(f"mbstream: {path[:200]!r}: goes back to offset {offset}")
        self._open[path] = offset
        return [*pieces, Piece(Kind.HOLE, path, size=size)]

    def _rename(self, path: str, at: int) -> list[Piece] | None:
        if len(self._buffer) < at + 4:
            return None
        end = at + 4 + self._length(at)
        if len(self._buffer) < end:
            return None
        new = self._path(at + 4, end)
        self._take(end)
        if path in self._open:
            raise FormatError(f"mbstream: {path[:200]!r} is renamed while it is being sent")
        self._done.discard(path)
        self._done.add(new)
        return [Piece(Kind.RENAME, path, new=new)]

    def _begin(self, path: str, *, is_rewrite: bool) -> list[Piece]:
        if path in self._open:
            return []
        if path in self._done and not is_rewrite:
            raise FormatError(f"mbstream: {path[:200]!r} is sent twice")
        self._done.discard(path)
        self._open[path] = 0
        return [Piece(Kind.BEGIN, path)]

    def _end(self, path: str) -> list[Piece]:
        # A file without content ends without having begun.
        pieces = self._begin(path, is_rewrite=False)
        del self._open[path]
        self._done.add(path)
        self.files_count += 1
        return [*pieces, Piece(Kind.END, path)]

    def _take(self, count: int) -> None:
        del self._buffer[:count]
        self._position += count

    def _length(self, at: int) -> int:
        length = int.from_bytes(self._buffer[at : at + 4], "little")
        if length > _PATH_MAX:
            raise LimitError(f"mbstream: a path of {length} bytes at byte {self._position}")
        return length

    def _number(self, at: int) -> int:
        return int.from_bytes(self._buffer[at : at + 8], "little")

    def _path(self, start: int, end: int) -> str:
        return self._buffer[start:end].decode("utf-8", "surrogateescape").removeprefix("./")
