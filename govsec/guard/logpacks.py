"""What lies in a packed log: ``gzip``, ``bzip2``, ``xz`` and ``zstd``, unpacked as a stream, by the file's name.

One idea: a packed file is hostile until it is read. Memory is bounded whatever its header asks for, and who reads stops
when he has seen enough; what claims to be a pack and is none is an error like any other.
"""

from __future__ import annotations

import bz2
import gzip
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
#: Packers that nothing here unpacks.
OTHER_PACKS = (".lz4", ".lzo", ".lzma", ".Z", ".7z", ".zip")


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class _Xz:
    """As :class:`lzma.LZMAFile`, with a limit of memory."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._decompressor = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MEMORY_MAX)

    def read(self, size: int, /) -> bytes:
        while not self._decompressor.eof:
            packed = self._file.read(_READ_SIZE) if self._decompressor.needs_input else b""
            if not packed and self._decompressor.needs_input:
                raise EOFError("the end is missing")
            if data := self._decompressor.decompress(packed, size):
                return data
        return b""


def _gzip(file: BinaryIO) -> _Readable:
    return gzip.GzipFile(fileobj=file, mode="rb")


def _zstd(file: BinaryIO) -> _Readable:
    return zstandard.ZstdDecompressor(max_window_size=_WINDOW_MAX).stream_reader(file, _READ_SIZE, closefd=False)


_PACKS: Mapping[str, Callable[[BinaryIO], _Readable]] = {
    ".gz": _gzip,
    ".bz2": bz2.BZ2File,
    ".xz": _Xz,
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
