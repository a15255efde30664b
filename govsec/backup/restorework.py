"""One batch of files: which blob goes where, and how their content is fetched, opened and written.

::

    files ──ids──► rows of the index ──sorted by pack and offset──► units, one a pack
                                          each occurrence: file, offset in it

A file of one blob is made, written, given its metadata and put in its place while the blob is at hand. A file of
several blobs is made first (:meth:`BatchWriter.prepare`), gets its pieces as they come, and is finished last. So the
units of one batch may be written by several processes.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from govsec.backup.restoretally import Tally
from govsec.backup.sparse import has_holes, write_at, write_sparse
from govsec.backup.target import Directory, Target
from govsec.backup.walk import join_path
from govsec.errors import IntegrityError, ObjectNotFoundError, StoreFullError, StoreUnavailableError
from govsec.repo.index import Index
from govsec.repo.pack import ID_SIZE, BlobType
from govsec.repo.repository import Repository
from govsec.repo.tree import Node

_FULL = {errno.ENOSPC, errno.EDQUOT}
Inode = tuple[int, int]


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


@dataclass(frozen=True, slots=True)
class Batch:
    """Files, and every occurrence of a blob in them."""

    files: Sequence[FileItem]
    #: By file: bytes according to its blobs; -1 when the index does not know one of them.
    sizes: Sequence[int]
    #: By occurrence in order of pack and offset: row of the index, number of the file, offset in the file.
    rows: NDArray[np.int64]
    owners: NDArray[np.int64]
    offsets: NDArray[np.int64]
    #: Slices of the above, one a pack, largest first.
    units: Sequence[tuple[int, int]]


def plan_batch(files: Sequence[FileItem], index: Index) -> Batch:
    """Find every blob of the files, and put the work in order."""
    counts = np.array([len(item.ids) // ID_SIZE for item in files], np.int64)
    owners = np.repeat(np.arange(len(files), dtype=np.int64), counts)
    rows = index.find_many(BlobType.DATA, b"".join([item.ids for item in files]))
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
    return Batch(files, sizes.tolist(), rows, owners, offsets, units)


def plain_lengths(index: Index, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """The plain length of each row's blob; 0 where there is no row."""
    if not len(index):
        return np.zeros(len(rows), np.int64)
    places = index.places[np.maximum(rows, 0)].astype(np.int64)
    lengths = np.where(places[:, 3] > 0, places[:, 3], places[:, 2] - 32)
    return np.where(rows >= 0, lengths, 0)


@dataclass(slots=True)
class UnitResult:
    """What came of a unit in another process."""

    tally: Tally
    #: Number of the file, and why it is not whole.
    failures: dict[int, str] = field(default_factory=dict)
    #: Device and inode of the files that are done.
    inodes: dict[int, Inode] = field(default_factory=dict)


class BatchWriter:
    """Writes the files of one batch. Counts what is done in ``tally``; failures become problems at the end."""

    def __init__(self, repository: Repository, target: Target, batch: Batch, tally: Tally) -> None:
        self._repository = repository
        self._target = target
        self._batch = batch
        self._tally = tally
        #: Number of each file that cannot be restored, and why.
        self.failures: dict[int, str] = {}
        #: Device and inode of each finished file that has several names.
        self.inodes: dict[int, Inode] = {}
        #: Files of several pieces or none that were made here, so a failure takes them away again.
        self._made: set[int] = set()
        self._open_file = self._open_descriptor = -1

    def prepare(self) -> None:
        """Make the files that are not written in one go."""
        for number, (item, size) in enumerate(zip(self._batch.files, self._batch.sizes, strict=True)):
            try:
                if size < 0:
                    self.failures[number] = "the repository's index does not know all of its content"
                elif not item.is_single:
                    descriptor = self._target.create(item.directory, item.work_name)
                    self._made.add(number)
                    try:
                        os.ftruncate(descriptor, size)
                    finally:
                        os.close(descriptor)
                if size >= 0 and size != item.node.size:
                    self._tally.note(item.path, f"its content is {size} bytes, its entry says {item.node.size}")
            except OSError as error:
                self.failures[number] = f"cannot be made: {os.strerror(error.errno or 0)}"

    def write(self, unit: tuple[int, int]) -> None:
        """Fetch the blobs of one unit and write them where they belong."""
        start, end = unit
        rows = self._batch.rows[start:end].tolist()
        owners = self._batch.owners[start:end].tolist()
        offsets = self._batch.offsets[start:end].tolist()
        # Occurrences of one blob are neighbours; the blob is fetched once.
        firsts = [position for position, row in enumerate(rows) if position == 0 or rows[position - 1] != row]
        blobs = self._fetch([rows[first] for first in firsts])
        for first, last, plain in zip(firsts, [*firsts[1:], len(rows)], blobs, strict=True):
            for position in range(first, last):
                number = owners[position]
                if number in self.failures:
                    continue
                if isinstance(plain, str):
                    self.failures[number] = plain
                else:
                    self._write(number, offsets[position], plain)
        self._close()

    def finish(self) -> None:
        """Metadata and final names of files of several pieces or none; what failed is taken away and becomes a problem.

        To be called once, when all units were written, wherever that was.
        """
        for number, item in enumerate(self._batch.files):
            try:
                if number in self.failures:
                    if number in self._made:
                        self._target.remove(item.directory, item.work_name)
                elif not item.is_single:
                    descriptor = self._target.open_for_writing(item.directory, item.work_name)
                    try:
                        self._target.set_file_metadata(descriptor, item.node, item.path)
                        self._complete(number, item, descriptor)
                    finally:
                        os.close(descriptor)
            except OSError as error:
                self.failures.setdefault(number, f"cannot be finished: {os.strerror(error.errno or 0)}")
        for number, why in self.failures.items():
            self._tally.note(self._batch.files[number].path, why)

    def verify(self, numbers: Sequence[int]) -> None:
        """Read files again, unless they failed, and compare them with their digests. After :meth:`finish`."""
        for number in numbers:
            if number in self.failures:
                continue
            item = self._batch.files[number]
            try:
                why = self._compare(item)
            except OSError as error:
                why = f"cannot be read again: {os.strerror(error.errno or 0)}"
            if why:
                self._tally.note(item.path, why)
            else:
                self._tally.verified += 1

    def _fetch(self, rows: list[int]) -> Iterator[bytes | str]:
        """The content of each row in turn, or why no store gives it."""
        position = 0
        while position < len(rows):
            try:
                for plain in self._repository.load_rows(rows[position:]):
                    position += 1
                    yield plain
            except (IntegrityError, ObjectNotFoundError, StoreUnavailableError) as error:
                position += 1
                yield str(error)

    def _write(self, number: int, offset: int, plain: bytes) -> None:
        item = self._batch.files[number]
        try:
            if len(item.ids) == ID_SIZE:
                self._write_whole(number, item, plain)
            else:
                self._write_piece(number, item, offset, plain)
            self._tally.size_bytes += len(plain)
        except OSError as error:
            if error.errno in _FULL:
                raise StoreFullError(f"target: {error.strerror}, at {os.fsdecode(item.path)!a}") from error
            self.failures[number] = f"cannot be written: {os.strerror(error.errno or 0)}"

    def _write_whole(self, number: int, item: FileItem, plain: bytes) -> None:
        descriptor, is_right = self._target.create_for(item.directory, item.work_name, item.node)
        try:
            if has_holes(plain):
                os.ftruncate(descriptor, len(plain))
                write_sparse(descriptor, plain, 0)
            else:
                write_at(descriptor, plain, 0)
            if is_right:
                self._target.set_times(descriptor, item.node, item.path)
            else:
                self._target.set_file_metadata(descriptor, item.node, item.path)
            self._complete(number, item, descriptor)
        except OSError:
            with contextlib.suppress(OSError):
                self._target.remove(item.directory, item.work_name)
            raise
        finally:
            os.close(descriptor)

    def _write_piece(self, number: int, item: FileItem, offset: int, plain: bytes) -> None:
        if self._open_file != number:
            self._close()
            self._open_descriptor = self._target.open_for_writing(item.directory, item.work_name)
            self._open_file = number
        write_sparse(self._open_descriptor, plain, offset)

    def _complete(self, number: int, item: FileItem, descriptor: int) -> None:
        if item.node.links > 1:
            status = os.fstat(descriptor)
            self.inodes[number] = (status.st_dev, status.st_ino)
        if item.work_name != item.name:
            self._target.rename(item.directory, item.work_name, item.name)
        self._tally.files += 1

    def _close(self) -> None:
        if self._open_file >= 0:
            os.close(self._open_descriptor)
            self._open_file = -1

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
