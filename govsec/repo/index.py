"""The index: where every blob lies, for ten million blobs in half a gigabyte, shared by forked workers.

Rows are sorted by blob id and lie in shared anonymous memory, so a forked child reads the parent's pages and copies
none. At rest a blob takes 48 bytes and its share of the bucket table::

    ids      32 bytes a row
    places   4 × u32 a row: pack number × 2 + type, offset, length, plain length (0: not compressed)
    buckets  u32 each: the first row whose id starts with these bits or later; about one for eight rows

*Lookups.* One id: the bucket gives a few rows, ``mmap.find`` compares them. Many ids: a binary search in all buckets at
once with numpy. Ids are digests, so buckets are even; a hostile index may fill one bucket, and is then searched by
bisection, so it costs memory (bounded by ``blobs_max``) but no more time.

A blob may lie in several packs; all places are kept, in order of their packs' numbers.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from govsec.errors import FormatError
from govsec.repo.memory import shared_memory
from govsec.repo.pack import ID_SIZE, BlobType

#: A place as it is kept: pack number × 2 + type, offset, length, raw.
PLACE_SIZE = 16
#: More rows than this in one bucket does not happen with digests: search by bisection.
_BUCKET_SCAN_MAX = 64

Ids = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Location:
    """One place where a blob lies."""

    pack: bytes
    blob_type: BlobType
    blob_id: bytes
    offset: int
    length: int
    #: Plain length when compressed, else 0.
    raw: int

    @property
    def plain_length(self) -> int:
        """Length of the plaintext."""
        return self.raw or self.length - 32


class Index:
    """All blobs of a repository, read-only. Made by :class:`govsec.repo.indexbuild.IndexBuilder`."""

    def __init__(self, ids: mmap.mmap, places: mmap.mmap, rows_count: int, packs: Sequence[bytes]) -> None:
        self._ids_map = ids
        self._count = rows_count
        #: Pack ids by their number.
        self.packs = tuple(packs)
        self.ids: Ids = np.frombuffer(ids, np.uint8, rows_count * ID_SIZE).reshape(rows_count, ID_SIZE)
        self.places: NDArray[np.uint32] = np.frombuffer(places, "<u4", rows_count * 4).reshape(rows_count, 4)
        self.ids.flags.writeable = False
        self.places.flags.writeable = False
        self._words = self.ids.view("<u8")
        self._bits = min(24, max(4, rows_count.bit_length() - 3))
        self._shift = 64 - self._bits
        bucket_memory = shared_memory(4 * ((1 << self._bits) + 1))
        self._buckets = np.frombuffer(bucket_memory, np.uint32, (1 << self._bits) + 1)
        self._fill_buckets()
        # Single values are read several times faster through a memoryview than through numpy.
        self._bucket_values = memoryview(bucket_memory)[: self._buckets.nbytes].cast("I")
        self._place_values = memoryview(places)[: rows_count * PLACE_SIZE].cast("I")

    @classmethod
    def empty(cls) -> Index:
        """An index of nothing."""
        return cls(shared_memory(0), shared_memory(0), 0, ())

    def __len__(self) -> int:
        return self._count

    @property
    def size_bytes(self) -> int:
        """Memory at rest."""
        return self._count * (ID_SIZE + PLACE_SIZE) + self._buckets.nbytes + len(self.packs) * 100

    def __contains__(self, handle: tuple[BlobType, bytes]) -> bool:
        blob_type, blob_id = handle
        rows = self._rows_of(blob_id)
        return bool(rows) and any(self._place_values[4 * row] & 1 == blob_type for row in rows)

    def find(self, blob_type: BlobType, blob_id: bytes) -> list[Location]:
        """Every place where the blob lies; empty when it is not there."""
        return [self.location(row) for row in self._rows_of(blob_id) if self._place_values[4 * row] & 1 == blob_type]

    def location(self, row: int) -> Location:
        """What one row says."""
        pack, offset, length, raw = self._place_values[4 * row : 4 * row + 4]
        return Location(self.packs[pack >> 1], BlobType(pack & 1), self.ids[row].tobytes(), offset, length, raw)

    def find_many(self, blob_type: BlobType, ids: bytes | Ids) -> NDArray[np.int64]:
        """For each of many ids (32 bytes each, in a row) the first row that holds it, or -1."""
        wanted = np.frombuffer(ids, np.uint8).reshape(-1, ID_SIZE) if isinstance(ids, bytes) else ids
        found = np.full(len(wanted), -1, np.int64)
        if not self._count or not len(wanted):
            return found
        words = np.ascontiguousarray(wanted).view("<u8")
        prefixes = words[:, 0].byteswap()
        low, high = self._bounds(prefixes)
        own = self._words[:, 0]
        end = high.copy()
        for _ in range(int((high - low).max(initial=0)).bit_length()):
            middle = (low + high) >> 1
            is_open = low < high
            is_less = is_open & (own[np.minimum(middle, self._count - 1)].byteswap() < prefixes)
            low = np.where(is_less, middle + 1, low)
            high = np.where(is_less | ~is_open, high, middle)
        at = np.minimum(low, self._count - 1)
        same = (low < end) & (self._words[at] == words).all(axis=1) & ((self.places[at, 0] & 1) == blob_type)
        found[same] = at[same]
        # Where the first eight bytes agree but the row is another's (a blob of both types, or ids made to collide),
        # the slow and exact way decides.
        doubtful = ~same & (low < end) & (own[at].byteswap() == prefixes)
        for position in np.nonzero(doubtful)[0].tolist():
            rows = self._rows_of(wanted[position].tobytes())
            found[position] = next((row for row in rows if self._place_values[4 * row] & 1 == blob_type), -1)
        return found

    def contains_many(self, blob_type: BlobType, ids: bytes | Ids) -> NDArray[np.bool_]:
        """For each of many ids whether the blob is there."""
        found: NDArray[np.bool_] = self.find_many(blob_type, ids) >= 0
        return found

    def locations(self) -> Iterator[Location]:
        """Every row, ascending by id."""
        return (self.location(row) for row in range(self._count))

    def rows_by_pack(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Row numbers in order of pack and offset, and for each pack number where its rows start in that order."""
        packs = self.places[:, 0] >> 1
        order = np.lexsort((self.places[:, 1], packs)).astype(np.int64)
        starts = np.searchsorted(packs[order], np.arange(len(self.packs) + 1)).astype(np.int64)
        return order, starts

    def _bounds(self, prefixes: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        numbers = (prefixes >> np.uint64(self._shift)).astype(np.int64)
        return self._buckets[numbers].astype(np.int64), self._buckets[numbers + 1].astype(np.int64)

    def _rows_of(self, blob_id: bytes) -> list[int]:
        number = int.from_bytes(blob_id[:8], "big") >> self._shift
        first, last = self._bucket_values[number], self._bucket_values[number + 1]
        if last - first > _BUCKET_SCAN_MAX:
            first = self._bisect(blob_id, first, last)
        position, end = first * ID_SIZE, last * ID_SIZE
        find = self._ids_map.find
        while (position := find(blob_id, position, end)) >= 0:
            if position % ID_SIZE == 0:
                break
            position += 1
        if position < 0:
            return []
        row = position // ID_SIZE
        rows = [row]
        while row + 1 < last and self._ids_map[(row + 1) * ID_SIZE : (row + 2) * ID_SIZE] == blob_id:
            row += 1
            rows.append(row)
        return rows

    def _bisect(self, blob_id: bytes, low: int, high: int) -> int:
        while low < high:
            middle = (low + high) >> 1
            if self._ids_map[middle * ID_SIZE : (middle + 1) * ID_SIZE] < blob_id:
                low = middle + 1
            else:
                high = middle
        return low

    def _fill_buckets(self) -> None:
        counts = np.zeros(1 << self._bits, np.int64)
        # In steps, so that the numbers of ten million rows are never in memory at once.
        for start in range(0, self._count, 1 << 20):
            prefixes = self._words[start : start + (1 << 20), 0].byteswap()
            numbers = (prefixes >> np.uint64(self._shift)).astype(np.int64)
            counts += np.bincount(numbers, minlength=1 << self._bits)
        np.cumsum(counts, out=counts)
        self._buckets[1:] = counts


def ids_from_hex(texts: Sequence[str]) -> bytes:
    """Many ids of 64 hex digits each as bytes in a row. Raises ``FormatError``."""
    try:
        data = bytes.fromhex("".join(texts))
    except ValueError as error:
        raise FormatError("an id is not hexadecimal") from error
    # fromhex skips white space, so lengths are compared after it as well as before.
    if len(data) != ID_SIZE * len(texts) or not set(map(len, texts)) <= {2 * ID_SIZE}:
        raise FormatError("an id does not have 64 hex digits")
    return data
