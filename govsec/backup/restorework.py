"""One batch of a restore: which blob goes where, and the workers that fetch, open and write.

::

    files ──ids──► rows of the index ──sorted by pack and offset──► units, one a pack
                                          each occurrence: file, offset in it

A file of one blob is made, written, given its metadata and put in its place by the worker that has the blob. A file of
several blobs was made by the parent; workers write their pieces into it, and the parent finishes it.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from govsec.backup.target import Directory, Target
from govsec.backup.walk import join_path
from govsec.errors import IntegrityError, ObjectNotFoundError, StoreFullError, StoreUnavailableError
from govsec.repo.index import Index, Location
from govsec.repo.pack import ID_SIZE, BlobType
from govsec.repo.repository import Repository
from govsec.repo.tree import Node
from govsec.runtime.processes import Desk

#: Zeros that are at least this long and lie on a block's border become a hole.
_HOLE_SIZE = 32 << 10
_BLOCK_SIZE = 4096
_HOLE = bytes(_HOLE_SIZE)
_BLOCK = bytes(_BLOCK_SIZE)
#: The longest chunk that the chunker makes of a hole.
_ZEROS = bytes(8 << 20)
_FULL = {errno.ENOSPC, errno.EDQUOT}
_VERIFY_FILES = 500


@dataclass(slots=True, eq=False)
class FileItem:
    """A regular file to be written."""

    directory: Directory
    name: bytes
    node: Node
    #: Blob ids, 32 bytes each.
    ids: bytes
    #: What it is called until it is complete: its name, or another one when something is there already.
    work_name: bytes

    @property
    def path(self) -> bytes:
        """Its path in the snapshot."""
        return join_path(self.directory.path, self.name)

    @property
    def is_single(self) -> bool:
        """True when one blob is all of it."""
        return len(self.ids) == ID_SIZE

    @property
    def is_linked(self) -> bool:
        """True when other names may follow that are the same file."""
        return self.node.links > 1


@dataclass(frozen=True, slots=True)
class Batch:
    """Files, and every occurrence of a blob in them."""

    files: Sequence[FileItem]
    #: By file: bytes according to its blobs; -1 when the index does not know one of them.
    sizes: NDArray[np.int64]
    #: By occurrence in order of pack and offset: row of the index, number of the file, offset in the file.
    rows: NDArray[np.int64]
    owners: NDArray[np.int64]
    offsets: NDArray[np.int64]
    #: Slices of the above, one a pack, largest first.
    units: Sequence[tuple[int, int]]


@dataclass(slots=True)
class UnitResult:
    """What a worker says of its unit."""

    size_bytes: int = 0
    #: Number of the file, and why it is not whole.
    failures: list[tuple[int, str]] = field(default_factory=list)
    notes: list[tuple[bytes, str]] = field(default_factory=list)
    #: Device and inode of files that are to be linked to.
    inodes: dict[int, tuple[int, int]] = field(default_factory=dict)
    done: int = 0
    fallbacks: int = 0


def plan_batch(files: Sequence[FileItem], index: Index) -> Batch:
    """Find every blob of the files, and put the work in order."""
    counts = np.array([len(item.ids) // ID_SIZE for item in files], np.int64)
    owners = np.repeat(np.arange(len(files), dtype=np.int64), counts)
    rows = index.find_many(BlobType.DATA, b"".join(item.ids for item in files))
    lengths = plain_lengths(index, rows)
    ends = np.cumsum(lengths)
    starts = np.concatenate((np.zeros(1, np.int64), ends))
    firsts = np.cumsum(counts) - counts
    offsets = starts[:-1] - starts[firsts[owners]]
    sizes = starts[firsts + counts] - starts[firsts]
    sizes[owners[rows < 0]] = -1
    kept = sizes[owners] >= 0
    rows, owners, offsets = rows[kept], owners[kept], offsets[kept]
    packs = index.places[rows, 0] >> 1
    order = np.lexsort((index.places[rows, 1], packs))
    rows, owners, offsets, packs = rows[order], owners[order], offsets[order], packs[order]
    borders = [0, *(np.nonzero(np.diff(packs))[0] + 1).tolist(), len(packs)]
    units = [(start, end) for start, end in pairwise(borders) if end > start]
    units.sort(key=lambda unit: unit[0] - unit[1])
    return Batch(files, sizes, rows, owners, offsets, units)


def plain_lengths(index: Index, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """The plain length of each row's blob; 0 where there is no row."""
    if not len(index):
        return np.zeros(len(rows), np.int64)
    places = index.places[np.maximum(rows, 0)].astype(np.int64)
    lengths = np.where(places[:, 3] > 0, places[:, 3], places[:, 2] - 32)
    return np.where(rows >= 0, lengths, 0)


class RestoreWork:
    """A worker that writes. Implements :class:`govsec.runtime.processes.Work`."""

    def __init__(self, desk: Desk, repository: Repository, target: Target, batch: Batch) -> None:
        self._desk = desk
        self._repository = repository
        self._batch = batch
        self._result = UnitResult()
        self._target = target.fresh(lambda path, what: self._result.notes.append((path, what)))
        self._failed: set[int] = set()
        self._open_file = -1
        self._open_descriptor = -1

    def do(self, task: tuple[int, int]) -> UnitResult:
        self._result = UnitResult()
        before = self._repository.fallback_count
        start, end = task
        rows = self._batch.rows[start:end].tolist()
        owners = self._batch.owners[start:end].tolist()
        offsets = self._batch.offsets[start:end].tolist()
        # Occurrences of one blob are neighbours; the blob is fetched once.
        firsts = [position for position, row in enumerate(rows) if position == 0 or rows[position - 1] != row]
        places = [self._repository.index.location(rows[first]) for first in firsts]
        for (first, last), plain in zip(_spans(firsts, len(rows)), self._fetch(places), strict=True):
            for position in range(first, last):
                if isinstance(plain, str):
                    self._fail(owners[position], plain)
                elif owners[position] not in self._failed:
                    self._write(owners[position], offsets[position], plain)
        self._close()
        self._result.fallbacks = self._repository.fallback_count - before
        return self._result

    def finish(self) -> None:
        self._target.close()

    def _fetch(self, places: list[Location]) -> Iterator[bytes | str]:
        """The content of each place in turn, or why no store gives it."""
        position = 0
        while position < len(places):
            try:
                for _, plain in self._repository.load_pack_blobs(places[position:]):
                    position += 1
                    yield plain
            except (IntegrityError, ObjectNotFoundError, StoreUnavailableError) as error:
                position += 1
                yield str(error)

    def _write(self, number: int, offset: int, plain: bytes) -> None:
        item = self._batch.files[number]
        try:
            if item.is_single:
                self._write_whole(number, item, plain)
            else:
                self._write_piece(number, item, offset, plain)
            self._result.size_bytes += len(plain)
        except OSError as error:
            if error.errno in _FULL:
                raise StoreFullError(f"target: {error.strerror}, at {os.fsdecode(item.path)!a}") from error
            self._fail(number, f"cannot be written: {os.strerror(error.errno or 0)}")

    def _write_whole(self, number: int, item: FileItem, plain: bytes) -> None:
        descriptor = self._target.create(item.directory, item.work_name)
        try:
            if len(plain) >= _HOLE_SIZE and plain.find(_HOLE) >= 0:
                os.ftruncate(descriptor, len(plain))
                write_sparse(descriptor, plain, 0)
            else:
                write_at(descriptor, plain, 0)
            self._target.set_file_metadata(descriptor, item.node, item.path)
            if item.is_linked:
                status = os.fstat(descriptor)
                self._result.inodes[number] = (status.st_dev, status.st_ino)
        finally:
            os.close(descriptor)
        if item.work_name != item.name:
            self._target.rename(item.directory, item.work_name, item.name)
        self._result.done += 1

    def _write_piece(self, number: int, item: FileItem, offset: int, plain: bytes) -> None:
        if self._open_file != number:
            self._close()
            self._open_descriptor = self._target.open_for_writing(item.directory, item.work_name)
            self._open_file = number
        write_sparse(self._open_descriptor, plain, offset)

    def _close(self) -> None:
        if self._open_file >= 0:
            os.close(self._open_descriptor)
            self._open_file = -1

    def _fail(self, number: int, why: str) -> None:
        if number not in self._failed:
            self._failed.add(number)
            self._result.failures.append((number, why))


class VerifyWork:
    """A worker that reads restored files again. A task is a range of the batch's files."""

    def __init__(self, desk: Desk, repository: Repository, target: Target, batch: Batch) -> None:
        self._repository = repository
        self._batch = batch
        self._target = target.fresh(lambda path, what: None)

    def do(self, task: tuple[int, int]) -> UnitResult:
        result = UnitResult()
        for number in range(*task):
            item = self._batch.files[number]
            try:
                why = self._compare(item)
            except OSError as error:
                why = f"cannot be read again: {os.strerror(error.errno or 0)}"
            if why:
                result.failures.append((number, why))
            else:
                result.done += 1
        return result

    def finish(self) -> None:
        self._target.close()

    def _compare(self, item: FileItem) -> str:
        index = self._repository.index
        lengths = plain_lengths(index, index.find_many(BlobType.DATA, item.ids)).tolist()
        descriptor = self._target.open_for_reading(item.directory, item.name)
        with os.fdopen(descriptor, "rb", buffering=0) as file:
            for position, length in enumerate(lengths):
                data = bytearray(length)
                view = memoryview(data)
                while len(view):
                    count = file.readinto(view)
                    if not count:
                        return "restored file is shorter than the snapshot's"
                    view = view[count:]
                if self._repository.suite.digest(data) != item.ids[position * ID_SIZE : (position + 1) * ID_SIZE]:
                    return f"restored file differs in its piece {position + 1}"
            return "restored file is longer than the snapshot's" if file.read(1) else ""


def verify_tasks(batch: Batch, failed: set[int]) -> list[tuple[int, int]]:
    """Ranges of the batch's files, without those that are known not to be whole."""
    tasks: list[tuple[int, int]] = []
    for number in range(len(batch.files)):
        if number in failed:
            continue
        if tasks and tasks[-1][1] == number and number - tasks[-1][0] < _VERIFY_FILES:
            tasks[-1] = (tasks[-1][0], number + 1)
        else:
            tasks.append((number, number + 1))
    return tasks


def write_at(descriptor: int, data: bytes, offset: int) -> None:
    """Write all of ``data``. Raises ``OSError``."""
    view = memoryview(data)
    while len(view):
        count = os.pwrite(descriptor, view, offset)
        view = view[count:]
        offset += count


def write_sparse(descriptor: int, data: bytes, offset: int) -> None:
    """Write ``data`` into a file that is long enough already, leaving out long runs of zeros. Raises ``OSError``."""
    if data.startswith(_BLOCK) and len(data) <= len(_ZEROS) and data == _ZEROS[: len(data)]:
        return
    start = 0
    position = data.find(_HOLE)
    while position >= 0:
        hole = -(-(offset + position) // _BLOCK_SIZE) * _BLOCK_SIZE - offset
        end = hole
        while end + _BLOCK_SIZE <= len(data) and data[end : end + _BLOCK_SIZE] == _BLOCK:
            end += _BLOCK_SIZE
        write_at(descriptor, data[start:hole], offset + start)
        start = end
        position = data.find(_HOLE, start)
    write_at(descriptor, data[start:], offset + start)


def _spans(firsts: list[int], end: int) -> Iterator[tuple[int, int]]:
    yield from zip(firsts, [*firsts[1:], end], strict=True)
