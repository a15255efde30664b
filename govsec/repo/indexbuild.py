"""Building an index: rows in any order become an :class:`govsec.repo.index.Index`, in bounded memory.

Rows are collected in 64 partitions by the first bits of their id, in blocks that are given back one by one
while the partitions are sorted into their final place: the peak is the size at rest, one partition and its sorting.
Identical rows (a pack listed in two index files) become one.

Growth is a new build of the old rows and the new ones (:meth:`IndexBuilder.add_index`): for a moment both are in
memory, 96 bytes a blob.
"""

from __future__ import annotations

import mmap
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from govsec.errors import LimitError
from govsec.repo.index import PLACE_SIZE, Ids, Index
from govsec.repo.memory import shared_memory
from govsec.repo.pack import ID_SIZE, Rows

#: 64 million blobs are 3 GiB at rest and about 64 TiB of data.
BLOBS_MAX = 64 << 20
_PARTITION_BITS = 6
#: 16,384 rows of 48 bytes; a block is as much as a partition can leave unused.
_BLOCK_ROWS = 16 << 10


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
        self.add_packs([(pack_id, rows)])

    def add_packs(self, packs: Sequence[tuple[bytes, Rows]]) -> None:
        """Take in the rows of many packs at once, as an index file lists them; much faster than one by one."""
        if not packs:
            return
        rows = np.concatenate([rows for _, rows in packs])
        numbers = np.array([self.pack_number(pack_id) for pack_id, _ in packs], np.uint32)
        ids = np.frombuffer(np.ascontiguousarray(rows["id"]).tobytes(), np.uint8).reshape(-1, ID_SIZE)
        places = np.empty((len(rows), 4), np.uint32)
        places[:, 0] = np.repeat(numbers, [len(rows) for _, rows in packs]) * 2 + rows["type"]
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
        ids_map, places_map = shared_memory(self._count * ID_SIZE), shared_memory(self._count * PLACE_SIZE)
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
                self._blocks.append(shared_memory(_BLOCK_ROWS * (ID_SIZE + PLACE_SIZE)))
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
