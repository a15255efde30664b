"""Records of a hash file of Berkeley DB, the form of rpm's ``Packages`` before 4.17, read only and without the library.

::

    page 0       u32 at 12 magic 0x061561, at 16 version 8 to 10, at 20 page size, at 32 number of the last page;
                 u8 at 24 algorithm of encryption (0), at 26 flags (1: checksums)
    any page     u32 at 8 its number, at 16 the next of a chain; u16 at 20 count of entries, at 22 size of what an
                 overflow page holds; u8 at 25 type: 2 and 13 hash, 7 overflow; contents from 26
    hash page    u16 a entry, at 26: where it begins; it ends where the one before begins. Key, value, key, value …
    entry        u8 kind: 1 bytes follow; 3 three bytes, then u32 first overflow page, u32 size

Numbers are in the byte order of the machine that made the file. Source: rpm's own reader without the library
(lib/backend/bdb_ro.c), which names what of Berkeley DB's ``dbinc/db_page.h`` it needs.

One idea: pages are gone through in the order of the file, each once, instead of along chains that may lead in a circle;
only overflow pages are chained, and a chain is no longer than its value.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path

from govsec.errors import FormatError, LimitError

_MAGIC = 0x061561
_VERSIONS = range(8, 11)
_META_SIZE = 512
_PAGE_SIZES = frozenset(1 << power for power in range(9, 17))
_HEAD_SIZE = 26
_HASH_PAGES, _OVERFLOW_PAGE = (2, 13), 7
_INLINE, _ELSEWHERE = 1, 3
#: Of a hostile file: all its values may lie on the same pages.
_READ_BYTES_MAX = 2 << 30


class HashFile:
    """An open file. A record's number says where it lies, for as long as the file is not changed.

    Raises:
        FormatError: it is no such file, or a form of it that rpm does not use.
        LimitError: (while records are read) it has more than any system.
        OSError: it cannot be read.
    """

    def __init__(self, path: Path, *, value_size_max: int) -> None:
        self._value_size_max = value_size_max
        self._left = _READ_BYTES_MAX
        self._descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            self._read_meta()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Give the file back."""
        os.close(self._descriptor)

    def records(self) -> Iterator[tuple[int, bytes | None]]:
        """Number and value of every record; ``None`` for a value that cannot be read."""
        for page_number in range(1, self._pages_count):
            try:
                page = self._page(page_number)
            except FormatError:
                yield page_number << 16, None
                continue
            if page[25] in _HASH_PAGES:
                for number, entry in self._entries(page_number, page):
                    yield number, self._value(entry)

    def record(self, number: int) -> bytes | None:
        """The value of one record; ``None`` when it cannot be read, or is not there."""
        try:
            page = self._page(number >> 16)
        except FormatError:
            return None
        entry = next((entry for found, entry in self._entries(number >> 16, page) if found == number), b"")
        return self._value(entry)

    def _read_meta(self) -> None:
        meta = os.pread(self._descriptor, _META_SIZE, 0)
        order = next((order for order in "<>" if meta[12:16] == struct.pack(f"{order}I", _MAGIC)), None)
        if len(meta) < _META_SIZE or order is None:
            raise FormatError("no hash file of Berkeley DB")
        self._two, self._four = struct.Struct(f"{order}H"), struct.Struct(f"{order}I")
        version, self._page_size, last = (self._four.unpack_from(meta, at)[0] for at in (16, 20, 32))
        if version not in _VERSIONS or self._page_size not in _PAGE_SIZES or meta[24] or meta[26] & 1:
            raise FormatError(f"hash file of Berkeley DB: version {version}, pages of {self._page_size}, or sealed")
        self._pages_count = min(last + 1, os.fstat(self._descriptor).st_size // self._page_size)
        if last >= self._pages_count:
            raise FormatError(f"hash file of Berkeley DB: {last + 1} pages, cut short after {self._pages_count}")

    def _page(self, number: int) -> bytes:
        self._left -= self._page_size
        if self._left < 0:
            raise LimitError(f"hash file of Berkeley DB: more than {_READ_BYTES_MAX} bytes to read")
        page = os.pread(self._descriptor, self._page_size, number * self._page_size)
        if len(page) < self._page_size or not 0 < number < self._pages_count:
            raise FormatError(f"hash file of Berkeley DB: no page {number}")
        # Pages that were never written are zeros.
        if any(page[:_HEAD_SIZE]) and self._u32(page, 8) != number:
            raise FormatError(f"hash file of Berkeley DB: another page in the place of {number}")
        return page

    def _entries(self, page_number: int, page: bytes) -> Iterator[tuple[int, bytes]]:
        """Number and entry of every value of a page."""
        count = self._u16(page, 20)
        starts = [self._u16(page, at) for at in range(_HEAD_SIZE, min(_HEAD_SIZE + 2 * count, self._page_size - 1), 2)]
        ends = [self._page_size, *starts]
        for position in range(0, len(starts) - 1, 2):
            key = page[starts[position] : ends[position]]
            # rpm keeps the number that it gives next under the number 0.
            if key[1:] != bytes(4):
                yield page_number << 16 | position, page[starts[position + 1] : ends[position + 1]]

    def _value(self, entry: bytes) -> bytes | None:
        if entry[:1] == bytes([_INLINE]):
            return entry[1:]
        if entry[:1] != bytes([_ELSEWHERE]) or len(entry) != 12:
            return None
        page_number, size = self._u32(entry, 4), self._u32(entry, 8)
        if size > self._value_size_max:
            return None
        pieces = []
        # Values are written whole, and fill their pages.
        for _ in range(size // (self._page_size - _HEAD_SIZE) + 1):
            try:
                page = self._page(page_number)
            except FormatError:
                return None
            length = self._u16(page, 22)
            if page[25] != _OVERFLOW_PAGE or not 0 < length <= min(size, self._page_size - _HEAD_SIZE):
                return None
            pieces.append(page[_HEAD_SIZE : _HEAD_SIZE + length])
            size -= length
            page_number = self._u32(page, 16)
            if not size:
                return b"".join(pieces)
        return None

    def _u16(self, data: bytes, at: int) -> int:
        return int(self._two.unpack_from(data, at)[0])

    def _u32(self, data: bytes, at: int) -> int:
        return int(self._four.unpack_from(data, at)[0])
