"""Snapshots one after the other over a repository that stays open: what a continuous backup writes with.

A *window* is one small snapshot: blobs and trees are saved, then packs, an index and the snapshot are stored, in that
order. What a window stored is known to the next one at once, without reading the index again.

A window that failed loses nothing and names nothing: packs that the store holds by then are listed by the next window's
index and named by its result, so that no object is left without an owner. What it had not stored it stores again.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING

from govsec.backup.archive import LEVEL_DEFAULT, PROGRAM, ArchiveResult
from govsec.backup.blobs import BlobSaver, StoredPack
from govsec.backup.made import own_user_name, summary_of
from govsec.backup.thinning import WINDOW_TAG
from govsec.backup.walk import Counts
from govsec.clock import Clock
from govsec.repo.claims import ClaimTable
from govsec.repo.pack import BlobType
from govsec.repo.packer import PACK_SIZE_DEFAULT
from govsec.repo.snapshot import Snapshot

if TYPE_CHECKING:
    from govsec.repo.indexfile import PackRows
    from govsec.repo.repository import WritableRepository
    from govsec.store.api import ObjectInfo


class LiveWriter:
    """Makes windows, one at a time. ``repository`` has its index loaded, and its lock is held by whoever made this."""

    def __init__(
        self,
        repository: WritableRepository,
        *,
        clock: Clock,
        hostname: str | None = None,
        pack_size: int = PACK_SIZE_DEFAULT,
        level: int = LEVEL_DEFAULT,
    ) -> None:
        self.repository = repository
        self.clock = clock
        self.hostname = hostname or socket.gethostname()
        self.pack_size = pack_size
        self.level = level
        #: Windows that became snapshots.
        self.windows_count = 0
        #: Packs that the store holds and no index names yet, and objects that no result has named yet.
        self._unindexed: list[PackRows] = []
        self._unnamed: list[ObjectInfo] = []

    @property
    def is_settled(self) -> bool:
        """Whether a result names every object that was stored."""
        return not self._unindexed and not self._unnamed

    @contextmanager
    def window(self) -> Iterator[LiveWindow]:
        """One small snapshot. Leaving it without :meth:`LiveWindow.finish` makes none.

        Raises:
            StoreError, IntegrityError: from the store; the next window takes up what this one stored.
        """
        # Claims of its own: what another window claimed and could not store must be stored by this one.
        claims = {blob_type: ClaimTable() for blob_type in BlobType}
        repository = self.repository
        with BlobSaver(
            repository.object_store,
            repository.suite,
            repository.index,
            claims,
            self._stored,
            pack_size=self.pack_size,
            level=self.level,
            is_ahead=True,
        ) as saver:
            yield LiveWindow(self, saver)

    def _stored(self, pack: StoredPack) -> None:
        self._unindexed.append((pack.id, pack.rows))
        self._unnamed.append(pack.info)

    def save_index(self) -> None:
        """Store an index of the packs that none names yet, and know their blobs from now on."""
        if self._unindexed:
            self._unnamed += self.repository.save_index(self._unindexed)
            self.repository.grow_index(self._unindexed)
            self._unindexed = []

    def save_snapshot(self, snapshot: Snapshot) -> tuple[Snapshot, tuple[ObjectInfo, ...]]:
        """Store the snapshot; with every object that no earlier result named, itself last."""
        stored, info = self.repository.save_snapshot(snapshot)
        objects, self._unnamed = (*self._unnamed, info), []
        self.windows_count += 1
        return stored, objects


class LiveWindow:
    """One small snapshot in the making."""

    def __init__(self, writer: LiveWriter, saver: BlobSaver) -> None:
        self._writer = writer
        self.saver = saver
        self.began = writer.clock.now()

    @property
    def clock(self) -> Clock:
        """The writer's clock."""
        return self._writer.clock

    def save(self, blob_type: BlobType, plain: bytes | bytearray | memoryview) -> bytes:
        """The id of ``plain``, which is stored, or will be when the window is finished."""
        return self.saver.save(blob_type, plain)

    def finish(
        self,
        tree_id: bytes,
        *,
        paths: Sequence[str],
        tags: Sequence[str] = (),
        parent: Snapshot | None = None,
        time: datetime | None = None,
        excludes: Sequence[str] = (),
        counts: Counts | None = None,
    ) -> ArchiveResult:
        """Store packs, index and the snapshot of the tree ``tree_id``. ``time`` is what moment it shows: the beginning.

        The snapshot has the tag ``continuous``: it may be thinned as it grows older (:mod:`govsec.backup.thinning`).

        Raises:
            StoreError, IntegrityError: from the store; there is no snapshot.
        """
        writer, counted = self._writer, counts or Counts()
        self.saver.flush()
        writer.save_index()
        moment = time or self.began
        summary = summary_of(self.began, writer.clock.now(), counted, [self.saver.counts])
        snapshot = Snapshot(
            time=moment,
            tree=tree_id.hex(),
            paths=tuple(paths),
            parent=None if parent is None else parent.id,
            hostname=writer.hostname,
            username=own_user_name(),
            uid=os.getuid(),
            gid=os.getgid(),
            excludes=tuple(excludes),
            tags=tuple(dict.fromkeys((*tags, WINDOW_TAG))),
            program_version=PROGRAM,
            summary=summary,
        )
        stored, objects = writer.save_snapshot(snapshot)
        return ArchiveResult(
            snapshot_id=stored.id,
            snapshot=stored,
            objects=objects,
            summary=summary,
            problems=tuple(counted.problems),
            problems_count=counted.problems_count,
            files=counted.files,
            size_bytes=counted.total_bytes,
        )
