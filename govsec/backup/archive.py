"""Backing up: a source becomes a snapshot.

Order makes it safe to be stopped anywhere: packs are put first, then the index that names them, last the snapshot that
names its tree. What a killed run has put is valid and named by no snapshot; the index is saved every few minutes, so
the next run finds most of it and goes on instead of starting over.

Processes: the parent divides the source, forks workers, collects what they report, writes indexes and the upper trees;
workers read, cut, hash, compress, seal, open again, and put packs. See ``plan``, ``walk`` and ``blobs``.

A file that cannot be read does not end a backup of the others; it is in ``problems``, and the snapshot carries the tag
``incomplete``, which stock restic shows as well. A stream or a command that fails makes no snapshot at all.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime

from govsec.backup.blobs import BlobCounts, BlobSaver, StoredPack
from govsec.backup.contents import ContentReader
from govsec.backup.made import own_file, own_user_name, summary_of
from govsec.backup.plan import assemble, make_plan
from govsec.backup.sources import ByteSource, FileSource, Source
from govsec.backup.trees import TreeLoader
from govsec.backup.walk import Counts, Nodes, Problem, TreeWalker
from govsec.backup.work import Claims, FileWork, Settings, Tick, WorkCounts, open_saver
from govsec.clock import Clock, format_time
from govsec.errors import TryAgainError
from govsec.progress import Progress, ProgressSink, silent
from govsec.repo.claims import ClaimTable
from govsec.repo.indexfile import PackRows
from govsec.repo.lock import HeldLock
from govsec.repo.pack import BlobType
from govsec.repo.packer import PACK_SIZE_DEFAULT
from govsec.repo.repository import WritableRepository
from govsec.repo.snapshot import Snapshot, Summary
from govsec.repo.tree import encode_tree
from govsec.runtime.processes import Desk, Done, Finished, Message, Pool, tune_malloc, workers_default
from govsec.runtime.signals import deferred_signals
from govsec.store.api import ObjectInfo

log = logging.getLogger(__name__)

INCOMPLETE_TAG = "incomplete"
LEVEL_DEFAULT = 3
#: What a kill can cost: packs that no index names are found by nobody but ``prune`` and ``rebuild-index``.
_INDEX_EVERY_S = 300.0
_INDEX_EVERY_BLOBS = 50_000
#: What a worker may keep of freed memory: a pack on its way to the store, and some blobs plain and compressed.
_KEEP_FREE_BYTES = 24 << 20
#: What a snapshot says made it.
PROGRAM = "govsec 0.1.0"


@dataclass(frozen=True, slots=True)
class ArchiveResult:
    """What a backup made."""

    snapshot_id: str
    snapshot: Snapshot
    #: Everything that was put, in that order: packs, indexes, the snapshot; each with the centers that hold it.
    objects: tuple[ObjectInfo, ...]
    summary: Summary
    #: The first thousand; ``problems_count`` says how many there were.
    problems: tuple[Problem, ...]
    problems_count: int
    #: Files and bytes of the source.
    files: int
    size_bytes: int
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def is_complete(self) -> bool:
        """True when everything that was asked for is in the snapshot, as it was."""
        return not self.problems_count


def archive(
    repository: WritableRepository,
    source: Source,
    *,
    clock: Clock,
    tags: Sequence[str] = (),
    parent: Snapshot | None = None,
    is_rereading: bool = False,
    hostname: str | None = None,
    workers: int | None = None,
    level: int = LEVEL_DEFAULT,
    pack_size: int = PACK_SIZE_DEFAULT,
    progress: ProgressSink = silent,
) -> ArchiveResult:
    """Back ``source`` up and give the snapshot, when it and all it names are stored.

    ``parent`` says which snapshot to compare with: without one, the newest of the same host and paths; with
    ``is_rereading`` none, so every file is read. ``workers`` is the number of processes; 0 does everything in this
    one, in one order.

    Raises:
        SourceError: there is nothing to back up, or the stream or command failed; there is no snapshot.
        TryAgainError: stopped by a signal; what was finished is stored and indexed. The signal is delivered first.
        LockedError: somebody holds an exclusive lock.
        StoreError, IntegrityError: from the store, or a blob that did not open again; there is no snapshot.
    """
    host = hostname or socket.gethostname()
    count = workers_default() if workers is None else workers
    run = _Run(repository, clock, progress, Settings(pack_size, level, is_ahead=count > 0))
    paths = paths_of(source)
    given = parent

    def look() -> None:
        nonlocal parent
        # Before the index: a snapshot that is listed later may name blobs that an older index lacks.
        parent = newest_of(repository, host, paths) if given is None and not is_rereading else given
        repository.load_index()

    with ExitStack() as stack:
        with run.phase("prepare"):
            lock = run.lock = stack.enter_context(repository.lock(clock, meanwhile=look))
            started = clock.now()
        if isinstance(source, FileSource):
            tree_id = run.save_files(source, None if parent is None else bytes.fromhex(parent.tree), count)
            excludes = source.exclude
        else:
            parent, excludes = None, ()
            tree_id = run.save_stream(source, started)
        with run.phase("index"):
            run.save_index()
        summary = run.summary(started, clock.now())
        marked = [*tags, INCOMPLETE_TAG] if run.counts.problems_count else [*tags]
        snapshot = Snapshot(
            time=started,
            tree=tree_id.hex(),
            paths=paths,
            parent=None if parent is None else parent.id,
            hostname=host,
            username=own_user_name(),
            uid=os.getuid(),
            gid=os.getgid(),
            excludes=excludes,
            tags=tuple(dict.fromkeys(marked)),
            program_version=PROGRAM,
            summary=summary,
        )
        with run.phase("snapshot"):
            lock.keep_alive()
            snapshot, info = repository.save_snapshot(snapshot)
            run.objects.append(info)
    return ArchiveResult(
        snapshot_id=snapshot.id,
        snapshot=snapshot,
        objects=tuple(run.objects),
        summary=summary,
        problems=tuple(run.counts.problems),
        problems_count=run.counts.problems_count,
        files=run.counts.files,
        size_bytes=run.counts.total_bytes,
        seconds=run.seconds,
    )


class _Run:
    """One backup under way."""

    def __init__(
        self, repository: WritableRepository, clock: Clock, progress: ProgressSink, settings: Settings
    ) -> None:
        self._repository = repository
        self._clock = clock
        self._progress = progress
        self._settings = settings
        self._claims: Claims = {blob_type: ClaimTable() for blob_type in BlobType}
        self._pending: list[PackRows] = []
        self._pending_blobs = 0
        self._indexed = clock.monotonic()
        self._blob_counts: list[BlobCounts] = []
        self._files = 0
        self._bytes = 0
        self.lock: HeldLock | None = None
        self.objects: list[ObjectInfo] = []
        self.counts = Counts()
        self.seconds: dict[str, float] = {}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time a part of the work."""
        before = self._clock.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = round(self._clock.monotonic() - before, 6)

    def save_files(self, source: FileSource, parent_tree: bytes | None, workers: int) -> bytes:
        """The id of the root tree."""
        packs: list[StoredPack] = []
        # The parent's own saver is for the upper trees; its thread starts after the fork, with the first full pack.
        with open_saver(self._repository, self._claims, self._settings, packs) as saver:
            walker = TreeWalker(
                source,
                saver,
                self._repository.index,
                TreeLoader(self._repository),
                self._repository.config.chunker_polynomial,
                is_stopped=lambda: False,
                advance=lambda files, size_bytes, current: None,
            )
            with self.phase("plan"):
                plan = make_plan(source, walker, parent_tree, workers)
            results: dict[int, Nodes] = {}

            def make(desk: Desk) -> FileWork:
                own = self._repository
                if workers:
                    own = own.clone()
                    tune_malloc(_KEEP_FREE_BYTES)
                return FileWork(desk, own, source, self._claims, self._settings, self._clock)

            with self.phase("read"), deferred_signals() as deferred, Pool(plan.units, make, workers) as pool:
                for event in pool.events():
                    if deferred.received is not None:
                        pool.stop()
                    if isinstance(event, Done):
                        if isinstance(event.result, list):
                            results[event.position] = event.result
                    elif isinstance(event, Finished):
                        assert isinstance(event.result, WorkCounts)  # what FileWork.finish gives
                        self.counts.add(event.result.walk)
                        self._blob_counts.append(event.result.blobs)
                    elif isinstance(event, Message):
                        self._receive(event.body)
                if deferred.received is not None:
                    self.save_index()
            if len(results) < len(plan.units):
                raise TryAgainError(
                    "the backup was stopped; what was finished is kept and the next run goes on from it"
                )
            with self.phase("assemble"):
                tree_id = assemble(plan, walker, results)
                saver.flush()
            self.counts.add(walker.counts)
            self._add(saver, packs)
        return tree_id

    def save_stream(self, source: ByteSource, moment: datetime) -> bytes:
        """The id of a root tree that holds one file."""
        packs: list[StoredPack] = []
        with self.phase("read"), open_saver(self._repository, self._claims, self._settings, packs) as saver:
            contents = ContentReader(saver, self._repository.config.chunker_polynomial, self._tell_bytes)
            try:
                with source.open(self._clock) as read:

                    def read_into(view: memoryview) -> int:
                        data = read(len(view))
                        view[: len(data)] = data
                        self._keep_up(packs)
                        return len(data)

                    ids, size = contents.save_stream(read_into)
            except BaseException:
                # Whatever it was, Ctrl-C included: what the store holds by now is worth an index.
                self._keep_up(packs)
                self.save_index()
                raise
            content = [blob_id.hex() for blob_id in ids]
            node = own_file(os.fsencode(source.filename), format_time(moment), content, size, mode=0o644)
            tree_id = saver.save(BlobType.TREE, encode_tree([node]))
            saver.flush()
            self.counts.files_new, self.counts.total_bytes, self.counts.dirs_new = 1, size, 1
            self._add(saver, packs)
        return tree_id

    def save_index(self) -> None:
        """Write an index of the packs that none names yet."""
        if self._pending:
            self.objects += self._repository.save_index(self._pending)
        self._pending, self._pending_blobs = [], 0
        self._indexed = self._clock.monotonic()

    def summary(self, started: datetime, ended: datetime) -> Summary:
        """What was counted, in restic's fields."""
        return summary_of(started, ended, self.counts, self._blob_counts)

    def _add(self, saver: BlobSaver, packs: list[StoredPack]) -> None:
        self._blob_counts.append(saver.counts)
        self._keep_up(packs)

    def _keep_up(self, packs: list[StoredPack]) -> None:
        while packs:
            self._receive(packs.pop(0))

    def _receive(self, body: object) -> None:
        if isinstance(body, StoredPack):
            self.objects.append(body.info)
            self._pending.append((body.id, body.rows))
            self._pending_blobs += len(body.rows)
            age_s = self._clock.monotonic() - self._indexed
            if self._pending_blobs >= _INDEX_EVERY_BLOBS or age_s >= _INDEX_EVERY_S:
                self.save_index()
            if self.lock is not None:
                self.lock.keep_alive()
        elif isinstance(body, Tick):
            self._files += body.files
            self._bytes += body.size_bytes
            current = os.fsdecode(body.current)
            self._progress(Progress("backup", done_bytes=self._bytes, done_items=self._files, current=current))

    def _tell_bytes(self, count: int) -> None:
        self._bytes += count
        self._progress(Progress("backup", done_bytes=self._bytes))


def newest_of(repository: WritableRepository, hostname: str, paths: Sequence[str]) -> Snapshot | None:
    """The newest snapshot of this host and exactly these paths."""
    fitting = [
        snapshot
        for snapshot in repository.snapshots()
        if snapshot.hostname == hostname and sorted(snapshot.paths) == sorted(paths)
    ]
    return fitting[-1] if fitting else None


def paths_of(source: Source) -> tuple[str, ...]:
    """What a snapshot of ``source`` says that it is of."""
    if isinstance(source, FileSource):
        return tuple(os.fsencode(path).decode("utf-8", "backslashreplace") for path in source.paths)
    return (f"/{source.filename}",)
