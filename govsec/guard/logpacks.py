"""What lies in a packed log: ``gzip``, ``bzip2``, ``xz`` and ``zstd``, unpacked as a stream, by the file's name.

One idea: a packed file is hostile until it is read. Memory is bounded whatever its header asks for, and who reads stops
when he has seen enough; what claims to be a pack and is none is an error like any other.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import BinaryIO, Protocol

import zstandard

from govsec.errors import FormatError

_READ_SIZE = 64 << 10
#: ``xz -9`` and ``zstd -19`` need 65 MiB and 8 MiB; a header may ask for gigabytes.
_MEMORY_MAX = 96 << 20
_WINDOW_MAX = 64 << 20
#: zlib: a header and trailer of gzip, and its largest window.
_GZIP_BITS = 31
#: A packer in parallel makes one for each 900 kB.
_MEMBERS_MAX = 4096
#: So much may be read that gives nothing: what is packed is hardly larger than what it was.
_IDLE_SIZE_MAX = 4 << 20
#: Packers that nothing here unpacks.
OTHER_PACKS = (".lz4", ".lzo", ".lzma", ".Z", ".7z", ".zip")


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class _Decompressor(Protocol):
    """What :mod:`bz2` and :mod:`lzma` have in common."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


class _Deflate:
    """:mod:`zlib` with the manners of the others, for the format of gzip."""

    def __init__(self) -> None:
        self._object = zlib.decompressobj(_GZIP_BITS)

    @property
    def eof(self) -> bool:
        return self._object.eof

    @property
    def needs_input(self) -> bool:
        return not self._object.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._object.unused_data

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        return self._object.decompress(self._object.unconsumed_tail + data, max_length)


class _Members:
    """The members of a pack one after the other, as parallel packers write them.

    The standard library's own readers go on for as long as a pack says nothing: a name of a gigabyte in a header,
    millions of empty members.
    """

    def __init__(self, file: BinaryIO, make: Callable[[], _Decompressor]) -> None:
        self._file = file
        self._make = make
        self._decompressor = make()
        self._rest = b""
        self._members_count = 1
        self._read_size = self._given_size = 0

    def read(self, size: int, /) -> bytes:
        while not self._decompressor.eof or self._begin_next():
            packed = self._packed() if self._decompressor.needs_input else b""
            data = self._decompressor.decompress(packed, size)
            self._given_size += len(data)
            if data:
                return data
            if not packed and not self._decompressor.eof and self._decompressor.needs_input:
                raise EOFError("the end is missing")
        return b""

    def _packed(self) -> bytes:
        packed, self._rest = self._rest or self._file.read(_READ_SIZE), b""
        self._read_size += len(packed)
        if self._read_size > 2 * self._given_size + _IDLE_SIZE_MAX:
            raise EOFError("it holds less than it is large")
        return packed

    def _begin_next(self) -> bool:
        self._rest = (self._decompressor.unused_data or self._file.read(_READ_SIZE)).lstrip(b"\0")
        if not self._rest or self._members_count >= _MEMBERS_MAX:
            return False
        self._members_count += 1
        self._decompressor = self._make()
        return True


def _gzip(file: BinaryIO) -> _Readable:
    return _Members(file, _Deflate)


def _bzip2(file: BinaryIO) -> _Readable:
    return _Members(file, bz2.BZ2Decompressor)


def _xz(file: BinaryIO) -> _Readable:
    return _Members(file, lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MEMORY_MAX))


def _zstd(file: BinaryIO) -> _Readable:
    return zstandard.ZstdDecompressor(max_window_size=_WINDOW_MAX).stream_reader(file, _READ_SIZE, closefd=False)


_PACKS: Mapping[str, Callable[[BinaryIO], _Readable]] = {
    ".gz": _gzip,
    ".bz2": _bzip2,
    ".xz": _xz,
    ".zst": _zstd,
}
PACKS = (*_PACKS, *OTHER_PACKS)


def is_packed(name: str) -> bool:
    """The name is that of a pack which :func:`unpacked` can read."""
    return name.endswith(tuple(_PACKS))


def unpacked(file: BinaryIO, name: str, block_size: int) -> Iterator[bytes]:
    """What the pack holds, in blocks of which only the last may be shorter than ``block_size``.

    Raises:
        FormatError: it is no pack of the kind that its name says, or it cannot be read to its end.
    """
    try:
        source = next(make for ending, make in _PACKS.items() if name.endswith(ending))(file)
        block = bytearray()
        while data := source.read(block_size - len(block)):
            block += data
            if len(block) == block_size:
                yield bytes(block)
                block.clear()
    except (OSError, EOFError, zlib.error, lzma.LZMAError, zstandard.ZstdError, ValueError) as error:
        raise FormatError(f"{name!r} cannot be unpacked: {error}") from error
    if block:
        yield bytes(block)
