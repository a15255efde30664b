"""Reading packs whole: digest, header against index, every blob opened, decompressed and hashed.

One pack is one task for a worker. A pack is read in pieces of some megabytes, in order, and hashed as it comes; the
header is read first, so that each blob is opened from the very bytes that were hashed. When anything is wrong the pack
is read once more: a second good reading means that the store, the network or this machine's memory gave two answers.

What is found is a value, never an exception, with two exceptions: a store that refuses or does not answer sixteen packs
in a row is an error of the store (:class:`Unanswered`), not damage of the repository.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from govsec.crypto.api import Suite
from govsec.errors import (
    IntegrityError,
    ObjectNotFoundError,
    StoreDeniedError,
    StoreUnavailableError,
)
from govsec.repo.codec import Codec
from govsec.repo.inventory import Inventory
from govsec.repo.layout import MIB, pack_name
from govsec.repo.pack import BlobType, Rows, check_extent, header_size, open_blob, parse_header
from govsec.repo.problems import Problem, ProblemKind, Problems
from govsec.store.api import ReadStore

#: Packs up to this size are read in one request; larger ones in pieces of it.
_PIECE_SIZE = 24 * MIB
#: A pack can be wholly damaged; its first blobs are named, the rest counted.
_PROBLEMS_A_PACK = 50
#: Enough for the header of a pack with 400 blobs.
_TAIL_SIZE = 16 << 10
#: Longest plaintext by the number of the blob's type.
_PLAIN_SIZE_MAX = tuple(blob_type.size_max for blob_type in BlobType)
#: Longest sealed tree and data blob: what is allowed plain, and what zstd adds at most to what it cannot compress.
_SEALED_SIZE_MAX = tuple(blob_type.size_max + (64 << 10) for blob_type in (BlobType.TREE, BlobType.DATA))


@dataclass(frozen=True, slots=True)
class PackTask:
    """One pack to read: its number in the index, and its size in the store's listing."""

    number: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class PackResult:
    """What reading one pack came to."""

    number: int
    bytes_read: int
    blobs_count: int
    problems: tuple[Problem, ...] = ()
    counts: Mapping[ProblemKind, int] = field(default_factory=Counter)
    #: The store did not give the pack: nothing is known of it.
    unread: str = ""

    @property
    def is_good(self) -> bool:
        """Whether all of the pack was read and is what it should be."""
        return not self.unread and not self.counts


class PackReader:
    """Reads packs and says what is wrong with them."""

    def __init__(self, store: ReadStore, suite: Suite, inventory: Inventory) -> None:
        self._store = store
        self._suite = suite
        self._codec = Codec()
        self._inventory = inventory

    def read(self, task: PackTask) -> PackResult:
        """Read one pack, twice when the first reading was not good."""
        pack_id = self._inventory.index.packs[task.number]
        name = pack_name(pack_id)
        indexed = self._inventory.pack_rows(task.number)
        try:
            problems, blobs_count = self._inspect(pack_id, task.size_bytes, indexed)
            bytes_read = task.size_bytes
            if problems.counts:
                again, blobs_count = self._inspect(pack_id, task.size_bytes, indexed)
                bytes_read += task.size_bytes
                if not again.counts:
                    first = problems.kept[0]
                    problems = again
                    problems.add(ProblemKind.PACK_UNSTABLE, name, f"good when read again; before: {first.detail}")
        except ObjectNotFoundError:
            problems, blobs_count, bytes_read = Problems(_PROBLEMS_A_PACK), 0, 0
            problems.add(ProblemKind.PACK_MISSING, name, "it was listed and is not there any more")
        except (StoreUnavailableError, StoreDeniedError) as error:
            return PackResult(task.number, 0, 0, unread=str(error))
        return PackResult(task.number, bytes_read, blobs_count, problems.kept, problems.counts)

    def _inspect(self, pack_id: bytes, size: int, indexed: Rows) -> tuple[Problems, int]:
        problems = Problems(_PROBLEMS_A_PACK)
        name = pack_name(pack_id)
        try:
            source = _Pieces(self._store, name, size)
            rows = self._header(source, name, indexed, problems)
            blobs_count = self._open_all(source, name, rows, problems)
            if source.digest() != pack_id:
                problems.add(ProblemKind.PACK_DIGEST, name, f"its bytes have the digest {source.digest().hex()}")
        except IntegrityError as error:
            # The store holds fewer bytes than its listing says.
            problems.add(ProblemKind.PACK_SIZE, name, str(error))
            return problems, 0
        return problems, blobs_count

    def _header(self, source: _Pieces, name: str, indexed: Rows, problems: Problems) -> Rows:
        """The rows of the header, or those of the index when the header is of no use."""
        try:
            length = header_size(source.tail(min(source.size, 4)), source.size)
            sealed = source.tail(length + 4)[:-4]
            rows = parse_header(self._suite.open(sealed))
            check_extent(rows, source.size - length - 4)
        except IntegrityError as error:
            problems.add(ProblemKind.PACK_HEADER, name, str(error))
            # What the index says helps to name the blobs that are lost, unless it makes no sense either: rows that
            # overlap would have the same bytes read again and again.
            return indexed if _is_plausible(indexed, source.size) else indexed[:0]
        self._compare(name, rows, indexed, problems)
        return rows

    def _compare(self, name: str, header: Rows, indexed: Rows, problems: Problems) -> None:
        if np.array_equal(header, indexed):
            return
        listed, known = set(header.tolist()), set(indexed.tolist())
        for blob_id, offset, length, _, kind in sorted(known - listed, key=lambda row: row[1]):
            detail = f"the index has {BlobType(kind).label} blob {blob_id.hex()} of {length} bytes at {offset}"
            problems.add(ProblemKind.PACK_NOT_AS_INDEXED, name, f"{detail}, the header has not")
        for blob_id, offset, length, _, kind in sorted(listed - known, key=lambda row: row[1]):
            detail = f"the header has {BlobType(kind).label} blob {blob_id.hex()} of {length} bytes at {offset}"
            problems.add(ProblemKind.PACK_NOT_AS_INDEXED, name, f"{detail}, the index has not")

    def _open_all(self, source: _Pieces, name: str, rows: Rows, problems: Problems) -> int:
        suite, codec, good_count = self._suite, self._codec, 0
        is_long = rows["length"] > np.where(rows["type"] == BlobType.TREE, *_SEALED_SIZE_MAX)
        for row in rows[is_long]:
            problems.add(ProblemKind.BLOB_DAMAGED, name, f"blob of {row['length']} bytes at {row['offset']}: too long")
        for piece, start, group in source.pieces(rows[~is_long]):
            for blob_id, offset, length, raw, kind in group:
                try:
                    sealed = piece[offset - start : offset - start + length]
                    open_blob(suite, codec, sealed, blob_id=blob_id, raw=raw, size_max=_PLAIN_SIZE_MAX[kind])
                    good_count += 1
                except IntegrityError as error:
                    detail = f"{BlobType(kind).label} blob at {offset}: {error}"
                    problems.add(ProblemKind.BLOB_DAMAGED, name, detail)
        return good_count


class Unanswered:
    """Counts packs in a row that the store did not give."""

    IN_A_ROW_MAX = 16

    def __init__(self) -> None:
        self._in_a_row = 0

    def note(self, result: PackResult) -> None:
        """Raise ``StoreUnavailableError`` at the sixteenth in a row: the store is gone, its objects are not damaged."""
        self._in_a_row = self._in_a_row + 1 if result.unread else 0
        if self._in_a_row >= self.IN_A_ROW_MAX:
            raise StoreUnavailableError(f"{self._in_a_row} packs in a row could not be read; last: {result.unread}")


def _is_plausible(rows: Rows, size: int) -> bool:
    """Whether rows, ascending by offset, lie one after another within a pack of that size."""
    ends = rows["offset"].astype(np.int64) + rows["length"]
    return not len(rows) or bool((ends[:-1] <= rows["offset"][1:]).all() and ends[-1] <= size)


class _Pieces:
    """The bytes of one pack, read in order and hashed on the way. A small pack is one request."""

    def __init__(self, store: ReadStore, name: str, size: int) -> None:
        self.size = size
        self._store = store
        self._name = name
        self._whole: memoryview | None = None
        self._hash = hashlib.sha256()
        self._hashed = 0
        if size <= _PIECE_SIZE:
            self._whole = memoryview(self._get(0, size))
        self._tail = b""

    def tail(self, length: int) -> bytes:
        """The last ``length`` bytes."""
        if self._whole is not None:
            return bytes(self._whole[self.size - length :])
        if length > len(self._tail):
            kept = min(self.size, max(length, _TAIL_SIZE))
            self._tail = self._get(self.size - kept, kept)
        return self._tail[len(self._tail) - length :]

    def pieces(self, rows: Rows) -> Iterator[tuple[memoryview, int, list[tuple[bytes, int, int, int, int]]]]:
        """Bytes, where they start, and the blobs that lie in them whole, so that every blob comes once.

        Rows ascend by offset and do not overlap.
        """
        listed = rows.tolist()
        if self._whole is not None:
            self._feed(0, self._whole)
            yield self._whole, 0, listed
            return
        position = 0
        while position < len(listed):
            start, end, first = listed[position][1], listed[position][1], position
            while position < len(listed):
                blob_end = listed[position][1] + listed[position][2]
                if position > first and blob_end - start > _PIECE_SIZE:
                    break
                end = blob_end
                position += 1
            piece = memoryview(self._get(start, end - start))
            self._feed(start, piece)
            yield piece, start, listed[first:position]

    def digest(self) -> bytes:
        """The digest of the whole pack; what no blob covered is read now."""
        while self._hashed < self.size:
            length = min(_PIECE_SIZE, self.size - self._hashed)
            self._feed(self._hashed, memoryview(self._get(self._hashed, length)))
        return self._hash.digest()

    def _feed(self, start: int, piece: memoryview) -> None:
        # What lies before was hashed already; a gap is read on its own, so that the hash runs over every byte once.
        while self._hashed < start:
            length = min(_PIECE_SIZE, start - self._hashed)
            self._hash.update(self._get(self._hashed, length))
            self._hashed += length
        fresh = piece[self._hashed - start :]
        self._hash.update(fresh)
        self._hashed += len(fresh)

    def _get(self, offset: int, length: int) -> bytes:
        return self._store.get(self._name, offset=offset, length=length, size_max=length)
