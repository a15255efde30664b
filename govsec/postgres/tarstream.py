"""Reading a tar stream as it comes, as PostgreSQL writes it (POSIX ustar without extensions).

::

    0 name 100 · 100 mode 8 · 108 uid 8 · 116 gid 8 · 124 size 12 · 136 mtime 12 · 148 checksum 8 · 156 type 1
    157 link name 100 · 257 "ustar" · 345 prefix 155 · 512: the content, filled up to a multiple of 512

Numbers are octal text, or binary with the first bit set (GNU). Servers before 15 send no blocks of zeros at the end:
the stream's own end counts. Types other than file, directory and symbolic link are refused: a server sends none.

Source: POSIX.1-2008 pax, "ustar Interchange Format"; PostgreSQL ``src/port/tar.c``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from govsec.errors import FormatError

_BLOCK = 512
_KINDS = {b"0": "file", b"\0": "file", b"5": "dir", b"2": "link"}


@dataclass(frozen=True, slots=True)
class Entry:
    """What a header says."""

    path: str
    kind: str
    mode: int
    uid: int
    gid: int
    size: int
    mtime_s: int
    target: bytes


class Sink(Protocol):
    """Takes what the stream holds, in its order."""

    def begin(self, entry: Entry) -> None:
        """An entry; a file's content follows in :meth:`data`."""
        ...

    def data(self, data: memoryview) -> None:
        """The next bytes of the file."""
        ...

    def end(self) -> None:
        """The file is complete."""
        ...


class TarStream:
    """Cuts a stream into entries: :meth:`feed` it, then :meth:`close` it."""

    def __init__(self, sink: Sink, name: str) -> None:
        self._sink = sink
        self._name = name
        self._head = bytearray()
        self._left = 0
        self._fill = 0
        self._is_open = False
        self._is_ended = False

    def feed(self, data: memoryview) -> None:
        """Take the next bytes.

        Raises:
            FormatError: no tar, or one that PostgreSQL does not write.
        """
        while data:
            if self._left:
                part, data = data[: self._left], data[self._left :]
                self._left -= len(part)
                self._sink.data(part)
            elif self._fill:
                skipped = min(self._fill, len(data))
                data = data[skipped:]
                self._fill -= skipped
            else:
                part, data = data[: _BLOCK - len(self._head)], data[_BLOCK - len(self._head) :]
                self._head += part
                if len(self._head) == _BLOCK:
                    self._read_head(bytes(self._head))
                    self._head.clear()
            if self._is_open and not self._left:
                self._is_open = False
                self._sink.end()

    def close(self) -> None:
        """The stream has ended. Raises ``FormatError`` when it was cut off within an entry."""
        if self._left or self._fill or self._head or self._is_open:
            raise FormatError(f"{self._name}: the stream was cut off")

    def _read_head(self, head: bytes) -> None:
        if not any(head):
            self._is_ended = True
            return
        if self._is_ended:
            raise FormatError(f"{self._name}: something follows after the end")
        spaces = head[:148] + b" " * 8 + head[156:]
        if _number(head[148:156], self._name) != sum(spaces):
            raise FormatError(f"{self._name}: the checksum of a header is wrong")
        kind = _KINDS.get(head[156:157])
        if kind is None:
            raise FormatError(f"{self._name}: an entry of type {head[156:157]!r}; a server sends none")
        prefix = _text(head[345:500]) if head[257:262] == b"ustar" else b""
        path = (prefix + b"/" if prefix else b"") + _text(head[:100])
        size = _number(head[124:136], self._name) if kind == "file" else 0
        entry = Entry(
            path=path.decode("utf-8", "surrogateescape").rstrip("/"),
            kind=kind,
            mode=_number(head[100:108], self._name) & 0o7777,
            uid=_number(head[108:116], self._name),
            gid=_number(head[116:124], self._name),
            size=size,
            mtime_s=_number(head[136:148], self._name),
            target=_text(head[157:257]),
        )
        self._left, self._fill = size, -size % _BLOCK
        self._is_open = kind == "file"
        self._sink.begin(entry)


def _text(field: bytes) -> bytes:
    return field.partition(b"\0")[0]


def _number(field: bytes, name: str) -> int:
    if field[0] & 0x80:
        return int.from_bytes(bytes([field[0] & 0x7F]) + field[1:], "big")
    text = field.partition(b"\0")[0].strip()
    try:
        return int(text, 8) if text else 0
    except ValueError as error:
        raise FormatError(f"{name}: {text[:20]!r} is no number of a header") from error
