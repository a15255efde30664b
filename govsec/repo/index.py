"""The index: where every blob lies, for ten million blobs in half a gigabyte, shared by forked workers.

Rows are sorted by blob id and lie in shared anonymous memory, so a forked child reads the parent's pages and copies
none. At rest a blob takes 48 bytes and its share of the bucket table::

    ids      32 bytes a row
    places   4 × u32 a row: pack number × 2 + type, offset, length, plain length (0: not compressed)
    buckets  u32 each: the first row whose id starts with these bits or later; about one for eight rows

*Lookups.* One id: the bucket gives a few rows, ``mmap.find`` compares them. Many ids: a binary search in all buckets at
once with numpy. Ids are digests, so buckets are even; a hostile index may fill one bucket, and is then searched by
bisection, so it costs memory (bounded by ``blobs_max``) but no more time.

*Building.* Rows are collected in 64 partitions by the first bits of their id, in blocks that are given back one by one
while the partitions are sorted into their final place: the peak is the size at rest, one partition and its sorting.
Identical rows (a pack listed in two index files) become one.

A blob may lie in several packs; all places are kept, in order of their packs' numbers.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from govsec.errors import FormatError, LimitError
from govsec.repo.pack import ID_SIZE, BlobType, Rows

#: 64 million blobs are 3 GiB at rest and about 64 TiB of data.
BLOBS_MAX = 64 << 20
_PARTITION_BITS = 6
#: 16,384 rows of 48 bytes; a block is as much as a partition can leave unused.
_BLOCK_ROWS = 16 << 10
#: A place as it is kept: pack number × 2 + type, offset, length, raw.
_PLACE_SIZE = 16
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
    """All blobs of a repository, read-only. Made by :class:`IndexBuilder`."""

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
        self._place_values = memoryview(places)[: rows_count * _PLACE_SIZE].cast("I")

    @classmethod
    def empty(cls) -> Index:
        """An index of nothing."""
        return cls(shared_memory(0), shared_memory(0), 0, ())

    def __len__(self) -> int:
        return self._count

    @property
    def size_bytes(self) -> int:
        """Memory at rest."""
        return self._count * (ID_SIZE + _PLACE_SIZE) + self._buckets.nbytes + len(self.packs) * 100

    def __contains__(self, handle: tuple[BlobType, bytes]) -> bool:
        blob_type, blob_id = handle
        return any(self._place_values[4 * row] & 1 == blob_type for row in self._rows_of(blob_id))

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

    def with_packs(self, packs: Iterable[tuple[bytes, Rows]]) -> Index:
        """This index and the rows of more packs, as a new one; both are in memory for a moment."""
        builder = IndexBuilder(blobs_max=BLOBS_MAX)
        builder.add_index(self)
        for pack_id, rows in packs:
            builder.add_pack(pack_id, rows)
        return builder.finish()

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


class IndexBuilder:
    """Collects rows and sorts them into an :class:`Index`.

    Raises ``LimitError`` from any ``add`` when there would be more than ``blobs_max`` rows.
    """

    def __init__(self, *, blobs_max: int = BLOBS_MAX) -> None:
        self._blobs_max = blobs_max
        self._count = 0
        self._numbers: dict[bytes, int] = {}
        self._partitions = [_Partition() for _ in range(1 << _PARTITION_BITS)]

    def __len__(self) -> int:
        return self._count

    def add_pack(self, pack_id: bytes, rows: Rows) -> None:
        """Take in the rows of one pack."""
        ids = np.frombuffer(np.ascontiguousarray(rows["id"]).tobytes(), np.uint8).reshape(-1, ID_SIZE)
        places = np.empty((len(rows), 4), np.uint32)
        places[:, 0] = self.pack_number(pack_id) * 2 + rows["type"].astype(np.uint32)
        places[:, 1], places[:, 2], places[:, 3] = rows["offset"], rows["length"], rows["raw"]
        self.add_rows(ids, places)

    def pack_number(self, pack_id: bytes) -> int:
        """The number that rows use for this pack."""
        return self._numbers.setdefault(pack_id, len(self._numbers))

    def add_rows(self, ids: Ids, places: NDArray[np.uint32]) -> None:
        """Take in rows whose pack numbers came from :meth:`pack_number`."""
        self._count += len(ids)
        if self._count > self._blobs_max:
            raise LimitError(f"index: more than {self._blobs_max} blobs")
        partitions = ids[:, 0] >> (8 - _PARTITION_BITS)
        order = np.argsort(partitions, kind="stable")
        bounds = np.searchsorted(partitions[order], np.arange((1 << _PARTITION_BITS) + 1))
        for number, partition in enumerate(self._partitions):
            chosen = order[bounds[number] : bounds[number + 1]]
            if len(chosen):
                partition.add(ids[chosen], places[chosen])

    def add_index(self, index: Index) -> None:
        """Take in all rows of another index."""
        numbers = np.array([self.pack_number(pack) for pack in index.packs], np.uint32)
        for start in range(0, len(index), _BLOCK_ROWS):
            places = index.places[start : start + _BLOCK_ROWS].copy()
            places[:, 0] = numbers[places[:, 0] >> 1] * 2 + (places[:, 0] & 1)
            self.add_rows(index.ids[start : start + _BLOCK_ROWS], places)

    def finish(self) -> Index:
        """The index; the builder is empty afterwards."""
        ids_map, places_map = shared_memory(self._count * ID_SIZE), shared_memory(self._count * _PLACE_SIZE)
        ids = np.frombuffer(ids_map, np.uint8, self._count * ID_SIZE).reshape(-1, ID_SIZE)
        places = np.frombuffer(places_map, "<u4", self._count * 4).reshape(-1, 4)
        filled = 0
        for partition in self._partitions:
            part_ids, part_places = _sorted_unique(*partition.drain())
            ids[filled : filled + len(part_ids)] = part_ids
            places[filled : filled + len(part_ids)] = part_places
            filled += len(part_ids)
        self._count = 0
        packs, self._numbers = tuple(self._numbers), {}
        return Index(ids_map, places_map, filled, packs)


class _Partition:
    """Rows of one part of the id space, in blocks that are given back to the system when they are drained."""

    def __init__(self) -> None:
        self._blocks: list[mmap.mmap] = []
        self._used = _BLOCK_ROWS

    def add(self, ids: Ids, places: NDArray[np.uint32]) -> None:
        start = 0
        while start < len(ids):
            if self._used == _BLOCK_ROWS:
                self._blocks.append(shared_memory(_BLOCK_ROWS * (ID_SIZE + _PLACE_SIZE)))
                self._used = 0
            count = min(_BLOCK_ROWS - self._used, len(ids) - start)
            block_ids, block_places = self._views(self._blocks[-1])
            block_ids[self._used : self._used + count] = ids[start : start + count]
            block_places[self._used : self._used + count] = places[start : start + count]
            self._used += count
            start += count

    def drain(self) -> tuple[Ids, NDArray[np.uint32]]:
        count = max(0, len(self._blocks) - 1) * _BLOCK_ROWS + (self._used if self._blocks else 0)
        ids, places = np.empty((count, ID_SIZE), np.uint8), np.empty((count, 4), np.uint32)
        for number in range(len(self._blocks)):
            block_ids, block_places = self._views(self._blocks[number])
            start = number * _BLOCK_ROWS
            size = min(_BLOCK_ROWS, count - start)
            ids[start : start + size], places[start : start + size] = block_ids[:size], block_places[:size]
        self._blocks, self._used = [], _BLOCK_ROWS
        return ids, places

    @staticmethod
    def _views(block: mmap.mmap) -> tuple[Ids, NDArray[np.uint32]]:
        ids = np.frombuffer(block, np.uint8, _BLOCK_ROWS * ID_SIZE).reshape(-1, ID_SIZE)
        places = np.frombuffer(block, np.uint32, _BLOCK_ROWS * 4, _BLOCK_ROWS * ID_SIZE).reshape(-1, 4)
        return ids, places


def shared_memory(size: int) -> mmap.mmap:
    """Zeroed memory that forked children share; given back when nothing refers to it any more."""
    return mmap.mmap(-1, max(1, size))


def ids_from_hex(texts: Sequence[str]) -> bytes:
    """Many ids of 64 hex digits each as bytes in a row. Raises ``FormatError``."""
    try:
        data = bytes.fromhex("".join(texts))
    except ValueError as error:
        raise FormatError("an id is not hexadecimal") from error
    # fromhex skips white space, so lengths are compared after it as well as before.
    if len(data) != ID_SIZE * len(texts) or any(len(text) != 2 * ID_SIZE for text in texts):
        raise FormatError("an id does not have 64 hex digits")
    return data


def _sorted_unique(ids: Ids, places: NDArray[np.uint32]) -> tuple[Ids, NDArray[np.uint32]]:
    if len(ids) < 2:
        return ids, places
    prefixes = ids.view(">u8")[:, 0].astype(np.uint64)
    order = np.argsort(prefixes)
    prefixes = prefixes[order]
    ties = np.zeros(len(ids), bool)
    ties[1:] = prefixes[1:] == prefixes[:-1]
    if ties.any():
        # Blobs with several places, or ids made to collide in their first bytes: sort those groups exactly.
        groups = ties.copy()
        groups[:-1] |= ties[1:]
        where = np.nonzero(groups)[0]
        rows = order[where]
        words = ids[rows].view(">u8").astype(np.uint64)
        keys = (places[rows, 1], places[rows, 0], words[:, 3], words[:, 2], words[:, 1], words[:, 0])
        order[where] = rows[np.lexsort(keys)]
    ids, places = ids[order], places[order]
    if ties.any():
        same = (ids[1:] == ids[:-1]).all(axis=1) & (places[1:] == places[:-1]).all(axis=1)
        if same.any():
            kept = np.concatenate(([True], ~same))
            ids, places = ids[kept], places[kept]
    return ids, places
