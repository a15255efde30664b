"""Rebuilding the index from the packs: what lies in a pack stands in its own header.

An index file stays when it can be read, every pack in it is there with the size that its blobs add up to, and no pack
in it is in a file that stays already. All other packs are read (their headers only) and named in new files; then the
other index files go. New before old: a reader finds every blob in an index at every moment, perhaps twice.

Source: restic ``repair index``; ``doc/design.rst``, section "Read and Write Ordering".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from govsec.clock import Clock
from govsec.errors import GovsecError, IntegrityError, ObjectNotFoundError
from govsec.progress import Progress, ProgressSink, silent
from govsec.repo.indexfile import PackRows, split_for_files
from govsec.repo.layout import Kind, id_in_name, object_name, pack_name
from govsec.repo.lock import HeldLock
from govsec.repo.pack import Rows, pack_size_of
from govsec.repo.repository import Unreadable, WritableRepository
from govsec.runtime.lanes import for_each
from govsec.store.api import ReadStore

_THREADS = 4


@dataclass(frozen=True, slots=True)
class RebuildReport:
    """What was done, or with ``dry_run`` would be."""

    kept_files: int
    written_files: int
    removed_files: tuple[str, ...]
    #: Packs that no index file that stays names, and whose header was read.
    packs_read: int
    #: Packs whose header could not be read; their blobs are in no index now.
    unreadable: tuple[Unreadable, ...]


def rebuild_index(
    repository: WritableRepository,
    clock: Clock,
    *,
    read_all: bool = False,
    dry_run: bool = False,
    progress: ProgressSink = silent,
) -> RebuildReport:
    """Make the index say what is in the packs, under an exclusive lock; with ``read_all`` from the packs alone.

    When this raises, every index file that was there is there still, or all that it named stands in new ones.

    Raises:
        LockedError: somebody else is at work in the repository.
    """
    with repository.lock(clock, exclusive=True) as lock:
        sizes = _pack_sizes(repository.object_store)
        kept, covered = (set[str](), set[bytes]()) if read_all else _sound_files(repository, sizes)
        old = [object_name(Kind.INDEX, file) for file in repository.object_ids(Kind.INDEX) if file not in kept]
        headers = _Headers(repository, [pack for pack in sizes if pack not in covered], sizes, lock, progress)
        written_count = 0
        for group in split_for_files(headers):
            if not dry_run:
                repository.save_index(group)
            written_count += 1
        for name in old if not dry_run else ():
            lock.keep_alive()
            repository.object_store.delete(name)
    return RebuildReport(len(kept), written_count, tuple(old), headers.read_count, tuple(headers.unreadable))


class _Headers:
    """Reads the headers of packs, several at once; what cannot be read is kept apart."""

    def __init__(
        self,
        repository: WritableRepository,
        packs: list[bytes],
        sizes: Mapping[bytes, int],
        lock: HeldLock,
        progress: ProgressSink,
    ) -> None:
        self._repository = repository
        self._packs = packs
        self._sizes = sizes
        self._lock = lock
        self._progress = progress
        self.read_count = 0
        self.unreadable: list[Unreadable] = []

    def __iter__(self) -> Iterator[PackRows]:
        for done, (pack, outcome) in enumerate(for_each(self._packs, self._reader, threads=_THREADS), 1):
            self._lock.keep_alive()
            self._progress(Progress("read headers", done_items=done, total_items=len(self._packs)))
            if isinstance(outcome, GovsecError):
                self.unreadable.append(Unreadable(pack_name(pack), str(outcome)))
            else:
                self.read_count += 1
                yield pack, outcome

    def _reader(self) -> Callable[[bytes], tuple[bytes, Rows | GovsecError]]:
        own = self._repository.clone()

        def read(pack: bytes) -> tuple[bytes, Rows | GovsecError]:
            try:
                return pack, own.load_pack_header(pack, self._sizes[pack])
            except (IntegrityError, ObjectNotFoundError) as error:
                return pack, error

        return read


def _sound_files(repository: WritableRepository, sizes: Mapping[bytes, int]) -> tuple[set[str], set[bytes]]:
    """The index files that may stay, and the packs that they name."""
    kept: set[str] = set()
    covered: set[bytes] = set()
    for index_id, packs in repository.index_files():
        names = {pack for pack, _ in packs}
        is_sound = all(sizes.get(pack) == pack_size_of(rows) for pack, rows in packs)
        if is_sound and packs and len(names) == len(packs) and names.isdisjoint(covered):
            kept.add(index_id)
            covered |= names
    return kept, covered


def _pack_sizes(store: ReadStore) -> dict[bytes, int]:
    return {
        bytes.fromhex(pack_id): item.size_bytes
        for item in store.list(Kind.PACK.prefix)
        if (pack_id := id_in_name(Kind.PACK, item.name)) is not None
    }
