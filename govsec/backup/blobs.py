"""Where a worker's blobs go: known ones nowhere, new ones into packs, full packs to the store.

A blob is stored when neither the repository's index nor another worker of this run has it. Packs are uploaded by a
thread while the worker goes on reading, one at a time: so at most one pack is in flight and the store's slowness holds
the worker up instead of filling memory. What was acked is reported (:class:`StoredPack`); the parent writes it into the
index. Nothing is reported that the store has not promised to keep.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from govsec.crypto.api import Suite
from govsec.repo.claims import ClaimTable
from govsec.repo.index import Index
from govsec.repo.layout import pack_name
from govsec.repo.pack import BlobType, Rows
from govsec.repo.packer import FinishedPack, Packer
from govsec.runtime.threads import OneAhead
from govsec.store.api import ObjectInfo, ObjectStore


@dataclass(frozen=True, slots=True)
class StoredPack:
    """A pack that the store holds."""

    id: bytes
    rows: Rows
    info: ObjectInfo


@dataclass(slots=True)
class BlobCounts:
    """What was new to the repository."""

    data_blobs: int = 0
    tree_blobs: int = 0
    #: Plain bytes of new blobs, and what they take in packs.
    added_bytes: int = 0
    packed_bytes: int = 0


class BlobSaver:
    """Saves blobs. A context manager; leaving it without :meth:`flush` gives up what was not full yet.

    ``report`` is called, in the caller's own thread, for each pack that the store acked. Without ``is_ahead`` packs
    are put in the calling thread, so that every call to the store has its place in one order.
    """

    def __init__(
        self,
        store: ObjectStore,
        suite: Suite,
        index: Index,
        claims: Mapping[BlobType, ClaimTable],
        report: Callable[[StoredPack], None],
        *,
        pack_size: int,
        level: int,
        is_ahead: bool,
    ) -> None:
        self._store = store
        self._suite = suite
        self._index = index
        self._claims = claims
        self._report = report
        self._packer = Packer(suite, pack_size=pack_size, level=level)
        self._lane: OneAhead[StoredPack] | None = OneAhead() if is_ahead else None
        self._stack = ExitStack()
        self.counts = BlobCounts()

    def __enter__(self) -> Self:
        if self._lane is not None:
            self._stack.enter_context(self._lane)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def save(self, blob_type: BlobType, plain: bytes | bytearray | memoryview) -> bytes:
        """The id of ``plain``, which is stored or will be with the next packs. Raises what the store raises."""
        blob_id = self._suite.digest(plain)
        if (blob_type, blob_id) in self._index or not self._claims[blob_type].claim(blob_id):
            return blob_id
        if blob_type is BlobType.DATA:
            self.counts.data_blobs += 1
        else:
            self.counts.tree_blobs += 1
        self.counts.added_bytes += len(plain)
        full = self._packer.add(blob_type, blob_id, plain)
        if full is not None:
            self._put(full)
        return blob_id

    def flush(self) -> None:
        """Store what is in open packs, and wait for the store's ack of everything."""
        for pack in self._packer.flush():
            self._put(pack)
        if self._lane is not None:
            self._stored(self._lane.drain())

    def _put(self, pack: FinishedPack) -> None:
        def put() -> StoredPack:
            return StoredPack(pack.id, pack.rows, self._store.put(pack_name(pack.id), pack.data))

        self._stored(put() if self._lane is None else self._lane.submit(put))

    def _stored(self, pack: StoredPack | None) -> None:
        if pack is not None:
            self.counts.packed_bytes += pack.info.size_bytes
            self._report(pack)
