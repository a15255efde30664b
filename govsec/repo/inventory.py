"""What a repository says it has, and what is there: index files against the listing of packs.

Nothing is opened here but index files. What does not fit becomes a problem; what a caller works with afterwards (check
and prune) is the index of everything that could be read, and for each pack the size in the listing.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from govsec.repo.index import Index
from govsec.repo.indexbuild import IndexBuilder
from govsec.repo.layout import Kind, id_in_name, object_name, pack_name
from govsec.repo.pack import ROW, Rows
from govsec.repo.problems import ProblemKind, Problems
from govsec.repo.repository import Repository
from govsec.store.api import ObjectInfo, ReadStore

#: Bytes of a header entry, and what a pack has besides blobs and entries (seal of the header, its length).
_ENTRY_PLAIN, _ENTRY_COMPRESSED, _FRAME = 37, 41, 36
_MISSING = -1

Numbers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class IndexFile:
    """One index file that could be read, and the numbers of the packs that it names."""

    size_bytes: int
    packs: NDArray[np.uint32]


@dataclass(frozen=True, slots=True)
class Inventory:
    """The index and the packs. Arrays have one entry for each pack of ``index.packs``."""

    index: Index
    #: Size in the listing, -1 for a pack that is not there.
    sizes: Numbers
    #: Size that a pack with the blobs in the index has.
    expected: Numbers
    #: Index files by their ids.
    files: dict[str, IndexFile]
    #: Rows of the index in order of pack and offset, and where each pack's begin.
    order: Numbers
    starts: Numbers
    #: Packs in the listing that no index file names.
    unindexed: tuple[ObjectInfo, ...]

    @property
    def is_there(self) -> NDArray[np.bool_]:
        """For each pack whether it is in the store, with the size that it should have."""
        there: NDArray[np.bool_] = (self.sizes == self.expected) & (self.sizes > 0)
        return there

    def rows(self, number: int) -> Numbers:
        """The rows of one pack in the index, by offset."""
        chosen: Numbers = self.order[self.starts[number] : self.starts[number + 1]]
        return chosen

    def pack_rows(self, number: int) -> Rows:
        """What the index says of one pack, by offset."""
        chosen = self.rows(number)
        rows = np.empty(len(chosen), ROW)
        places = self.index.places[chosen]
        rows["id"] = self.index.ids[chosen].view("V32")[:, 0]
        rows["type"] = places[:, 0] & 1
        rows["offset"], rows["length"], rows["raw"] = places[:, 1], places[:, 2], places[:, 3]
        return rows


def take_inventory(
    repository: Repository,
    problems: Problems,
    *,
    unindexed_max: int = 1_000_000,
    report: Callable[[int], None] = lambda count: None,
) -> Inventory:
    """Read every index file, list every pack, and note what does not fit. ``report`` hears of index files read."""
    file_sizes = dict(_index_sizes(repository.store, problems))
    builder, files = IndexBuilder(), dict[str, IndexFile]()
    listed, counts = array("L"), array("L")
    for index_id, packs in repository.index_files():
        first = len(listed)
        for pack_id, rows in packs:
            builder.add_pack(pack_id, rows)
            listed.append(builder.pack_number(pack_id))
            counts.append(len(rows))
        files[index_id] = IndexFile(file_sizes.get(index_id, 0), np.array(listed[first:], np.uint32))
        report(len(files))
    reasons = {item.name: item.reason for item in repository.unreadable}
    for index_id in sorted(file_sizes.keys() - files.keys()):
        name = object_name(Kind.INDEX, index_id)
        problems.add(ProblemKind.INDEX_UNREADABLE, name, reasons.get(name, "cannot be read"))
    index = builder.finish()
    order, starts = index.rows_by_pack()
    _compare_listings(index, np.array(listed, np.int64), np.array(counts, np.int64), starts, problems)
    _check_offsets(index, order, starts, problems)
    expected = _expected_sizes(index, problems)
    sizes, unindexed = _compare_packs(repository.store, index, expected, problems, unindexed_max)
    return Inventory(index, sizes, expected, files, order, starts, unindexed)


def _index_sizes(store: ReadStore, problems: Problems) -> Iterator[tuple[str, int]]:
    for item in store.list(Kind.INDEX.prefix):
        index_id = id_in_name(Kind.INDEX, item.name)
        if index_id is None:
            problems.add(ProblemKind.FOREIGN_OBJECT, item.name, "no index file has such a name")
        else:
            yield index_id, item.size_bytes


def _compare_listings(index: Index, listed: Numbers, counts: Numbers, starts: Numbers, problems: Problems) -> None:
    """All blobs of a pack belong into one index file; the same pack whole in two is untidy, in parts it is an error."""
    rows_counts = np.diff(starts)
    times = np.bincount(listed, minlength=len(index.packs))
    is_part = np.zeros(len(index.packs), bool)
    is_part[listed[counts != rows_counts[listed]]] = True
    for number in np.nonzero(is_part)[0].tolist():
        detail = f"{times[number]} times in index files, not with the same blobs each time"
        problems.add(ProblemKind.INDEX_PACK_SPLIT, pack_name(index.packs[number]), detail)
    for number in np.nonzero((times > 1) & ~is_part)[0].tolist():
        detail = f"{times[number]} times in index files, the same each time"
        problems.add(ProblemKind.INDEX_PACK_REPEATED, pack_name(index.packs[number]), detail)


def _check_offsets(index: Index, order: Numbers, starts: Numbers, problems: Problems) -> None:
    """Blobs fill their pack from its beginning, without gaps and overlaps."""
    places = index.places[order]
    ends = places[:, 1].astype(np.int64) + places[:, 2]
    due = np.zeros(len(order), np.int64)
    due[1:] = ends[:-1]
    due[starts[:-1][np.diff(starts) > 0]] = 0
    wrong = np.nonzero(places[:, 1] != due)[0]
    if not len(wrong):
        return
    owners, firsts = np.unique(places[wrong, 0] >> 1, return_index=True)
    for number, position in zip(owners.tolist(), wrong[firsts].tolist(), strict=True):
        detail = f"a blob begins at {places[position, 1]} where the one before ends at {due[position]}"
        problems.add(ProblemKind.INDEX_OFFSETS, pack_name(index.packs[number]), detail)


def _expected_sizes(index: Index, problems: Problems) -> Numbers:
    numbers = (index.places[:, 0] >> 1).astype(np.int64)
    count = len(index.packs)
    lengths = np.bincount(numbers, weights=index.places[:, 2], minlength=count).astype(np.int64)
    blobs = np.bincount(numbers, minlength=count)
    compressed = np.bincount(numbers[index.places[:, 3] > 0], minlength=count)
    trees = np.bincount(numbers[(index.places[:, 0] & 1) == 1], minlength=count)
    for number in np.nonzero((trees > 0) & (trees < blobs))[0].tolist():
        detail = f"{trees[number]} trees and {blobs[number] - trees[number]} data blobs in one pack"
        problems.add(ProblemKind.PACK_MIXED, pack_name(index.packs[number]), detail)
    sizes: Numbers = lengths + blobs * _ENTRY_PLAIN + compressed * (_ENTRY_COMPRESSED - _ENTRY_PLAIN) + _FRAME
    return sizes


def _compare_packs(
    store: ReadStore, index: Index, expected: Numbers, problems: Problems, unindexed_max: int
) -> tuple[Numbers, tuple[ObjectInfo, ...]]:
    """Both the listing and the index in ascending order, side by side: no table of names in memory."""
    sizes = np.full(len(index.packs), _MISSING, np.int64)
    unindexed: list[ObjectInfo] = []
    by_id = iter(sorted(range(len(index.packs)), key=index.packs.__getitem__))
    number = next(by_id, None)
    for item in store.list(Kind.PACK.prefix):
        text = id_in_name(Kind.PACK, item.name)
        if text is None:
            problems.add(ProblemKind.FOREIGN_OBJECT, item.name, "no pack has such a name")
            continue
        pack_id = bytes.fromhex(text)
        while number is not None and index.packs[number] < pack_id:
            number = next(by_id, None)
        if number is not None and index.packs[number] == pack_id:
            sizes[number] = item.size_bytes
            continue
        problems.add(ProblemKind.PACK_ORPHAN, item.name, "no index file names it")
        if len(unindexed) < unindexed_max:
            unindexed.append(item)
    for number in np.nonzero(sizes == _MISSING)[0].tolist():
        problems.add(ProblemKind.PACK_MISSING, pack_name(index.packs[number]), "an index file names it")
    for number in np.nonzero((sizes != _MISSING) & (sizes != expected))[0].tolist():
        detail = f"has {sizes[number]} bytes, with the blobs in the index it has {expected[number]}"
        problems.add(ProblemKind.PACK_SIZE, pack_name(index.packs[number]), detail)
    return sizes, tuple(unindexed)
