"""What runs in a worker process of a backup: units in, finished nodes and stored packs out."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass

from govsec.backup.blobs import BlobCounts, BlobSaver, StoredPack
from govsec.backup.plan import Branch, save_unit
from govsec.backup.sources import FileSource
from govsec.backup.trees import TreeLoader
from govsec.backup.walk import Counts, Nodes, Stopped, TreeWalker
from govsec.clock import Clock
from govsec.repo.claims import ClaimTable
from govsec.repo.pack import BlobType
from govsec.repo.repository import WritableRepository
from govsec.runtime.processes import Desk

#: How often a worker tells how far it is.
_TELL_EVERY_S = 0.3


@dataclass(frozen=True, slots=True)
class Tick:
    """Files and bytes since the last one, and where the worker is."""

    files: int
    size_bytes: int
    current: bytes


@dataclass(frozen=True, slots=True)
class WorkCounts:
    """What one worker counted."""

    walk: Counts
    blobs: BlobCounts


@dataclass(frozen=True, slots=True)
class Settings:
    """How blobs are packed."""

    pack_size: int
    level: int
    #: Put packs while the next one is made; False keeps every call to the store in one order.
    is_ahead: bool


Claims = Mapping[BlobType, ClaimTable]


def open_saver(
    repository: WritableRepository, claims: Claims, settings: Settings, packs: list[StoredPack] | Desk
) -> BlobSaver:
    """A saver that puts into the repository and reports to a list or to the pool's desk."""
    return BlobSaver(
        repository.object_store,
        repository.suite,
        repository.index,
        claims,
        packs.append if isinstance(packs, list) else packs.post,
        pack_size=settings.pack_size,
        level=settings.level,
        is_ahead=settings.is_ahead,
    )


class FileWork:
    """A worker that walks subtrees. Implements :class:`govsec.runtime.processes.Work`."""

    def __init__(
        self,
        desk: Desk,
        repository: WritableRepository,
        source: FileSource,
        claims: Claims,
        settings: Settings,
        clock: Clock,
    ) -> None:
        self._desk = desk
        self._clock = clock
        self._told = clock.monotonic()
        self._files = 0
        self._bytes = 0
        self._stack = ExitStack()
        self._saver = self._stack.enter_context(open_saver(repository, claims, settings, desk))
        self._walker = TreeWalker(
            source,
            self._saver,
            repository.index,
            TreeLoader(repository),
            repository.config.chunker_polynomial,
            is_stopped=desk.is_stopped,
            advance=self._advance,
        )

    def do(self, task: Branch) -> Nodes | None:
        """The unit's nodes; None when the parent asked to stop before they were complete."""
        try:
            return save_unit(self._walker, task)
        except Stopped:
            return None

    def finish(self) -> WorkCounts:
        """Store what is in open packs. The packs are worth keeping also after a stop: the next run finds them."""
        with self._stack:
            self._saver.flush()
            self._tell(b"")
        return WorkCounts(self._walker.counts, self._saver.counts)

    def _advance(self, files: int, size_bytes: int, current: bytes) -> None:
        self._files += files
        self._bytes += size_bytes
        if self._clock.monotonic() - self._told >= _TELL_EVERY_S:
            self._tell(current)

    def _tell(self, current: bytes) -> None:
        self._told = self._clock.monotonic()
        self._desk.post(Tick(self._files, self._bytes, current))
        self._files = self._bytes = 0
