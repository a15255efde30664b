"""Restoring: a snapshot, or a part of it, becomes files again.

Workers walk the trees and write what they hold, each its own part of the snapshot (``restorewalk``). What one of them
cannot do alone is left to this process: files of several names, files so large that all workers write them together,
and then the metadata of the directories above those. A batch at a time, so memory does not grow with the snapshot but
for what is waiting to be linked.

What is damaged or missing at the first center is read from the repository's other stores, blob by blob. What none of
them has is a problem of the files that need it, and no reason to give up the others.

Nothing is written outside the target (``target``). Content is not synced file by file: that would make a restore many
times longer, and a restore that a crash interrupts is run again; with ``is_durable`` the file system is synced once,
at the end, before the report says that it is done.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from govsec.backup.patterns import Patterns
from govsec.backup.restorechoices import Choices, Overwrite
from govsec.backup.restorelate import LateWork
from govsec.backup.restoreparts import Deferred, Late, Part
from govsec.backup.restoretally import Tally
from govsec.backup.restorewalk import RestoreWork
from govsec.backup.target import Powers, Target, open_target
from govsec.backup.walk import Problem
from govsec.clock import Clock, SystemClock
from govsec.progress import Progress, ProgressSink, silent
from govsec.repo.repository import Repository
from govsec.repo.snapshot import Snapshot
from govsec.runtime.processes import Desk, Message, Pool, tune_malloc, workers_default

#: What a worker may keep of freed memory: a range of a pack, and the largest blob sealed, compressed and plain.
_KEEP_FREE_BYTES = 40 << 20


@dataclass(frozen=True, slots=True)
class RestoreReport:
    """What a restore did; in a dry run, what it would do."""

    snapshot_id: str
    files: int
    size_bytes: int
    directories: int
    #: Links, fifos and devices.
    others: int
    #: Files that were there and were left, by the choice of overwriting.
    skipped: int
    deleted: int
    verified: int
    #: Blobs that came from another pack or store than the one that was asked first.
    fallbacks: int
    #: The first thousand; ``problems_count`` says how many there were.
    problems: tuple[Problem, ...]
    problems_count: int
    #: By phase. What begins with ``worker_`` is added up over the worker processes.
    seconds: dict[str, float]

    @property
    def is_complete(self) -> bool:
        """True when everything that was asked for is there, as it was."""
        return not self.problems_count


def restore(
    repository: Repository,
    snapshot: Snapshot,
    target: Path,
    *,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    overwrite: Overwrite = Overwrite.ALWAYS,
    is_deleting: bool = False,
    is_dry_run: bool = False,
    is_verifying: bool = False,
    is_durable: bool = False,
    allow_devices: bool = False,
    allow_set_id: bool = False,
    workers: int | None = None,
    clock: Clock | None = None,
    progress: ProgressSink = silent,
) -> RestoreReport:
    """Write ``snapshot`` below ``target``, each entry at its path.

    ``include`` and ``exclude`` are patterns for paths in the snapshot. With ``is_deleting``, what lies in restored
    directories and is not in the snapshot is removed. With ``is_verifying``, every file is read again and compared.
    Owners, devices and set-id bits need root; the latter two are restored only when allowed.

    Raises:
        RefusedError: the target cannot be used.
        ObjectNotFoundError, IntegrityError: no store gives the snapshot's root tree.
        StoreError: no store answers.
    """
    deletable = tuple(os.fsencode(path) for path in snapshot.paths)
    choices = Choices(Patterns(include), Patterns(exclude), overwrite, is_deleting, is_dry_run, is_verifying, deletable)
    clock = clock or SystemClock()
    run = _Run(repository, choices, workers_default() if workers is None else workers, clock, progress)
    with run.tally.phase("index", clock):
        # After the snapshot was chosen: an index that is loaded later knows at least what it names.
        repository.load_index()
    # A dry run makes nothing, not even the target; what is not there is looked at as an empty directory would be.
    descriptor = os.open(os.devnull, os.O_RDONLY) if is_dry_run and not target.exists() else open_target(target)
    try:
        is_root = os.geteuid() == 0
        powers = Powers(owners=is_root, devices=is_root and allow_devices, set_id=allow_set_id)
        with closing(Target(descriptor, powers, run.tally.note)) as opened:
            run.restore(snapshot, opened)
        if is_durable and not is_dry_run:
            with run.tally.phase("sync", clock):
                os.sync()
    finally:
        os.close(descriptor)
    return run.report(snapshot)


class _Run:
    """One restore under way."""

    def __init__(
        self, repository: Repository, choices: Choices, workers: int, clock: Clock, progress: ProgressSink
    ) -> None:
        self._repository = repository
        self._choices = choices
        self._workers = workers
        self._clock = clock
        self._progress = progress
        self._total: tuple[int | None, int | None] = (None, None)
        self.tally = Tally()

    def restore(self, snapshot: Snapshot, target: Target) -> None:
        """Do it all."""
        choices = self._choices
        if snapshot.summary is not None and not choices.include and not choices.exclude:
            self._total = (snapshot.summary.total_files_processed, snapshot.summary.total_bytes_processed)
        root = self._repository.load_tree(bytes.fromhex(snapshot.tree))
        part = Part(b"/", was_there=True, is_included=not choices.include, nodes=root.nodes, is_whole=True)
        late = LateWork(self._repository, target, choices, self._workers, self._clock, self.tally, self._tell)
        with self.tally.phase("walk", self._clock):
            self._walk(part, target, late)
        if not choices.is_dry_run:
            with self.tally.phase("late", self._clock):
                late.finish()

    def report(self, snapshot: Snapshot) -> RestoreReport:
        """What was done so far."""
        tally = self.tally
        return RestoreReport(
            snapshot_id=snapshot.id,
            files=tally.files,
            size_bytes=tally.size_bytes,
            directories=tally.directories,
            others=tally.others,
            skipped=tally.skipped,
            deleted=tally.deleted,
            verified=tally.verified,
            # Without workers it was this process's repository that counted.
            fallbacks=self._repository.fallback_count + (tally.fallbacks if self._workers else 0),
            problems=tuple(tally.problems),
            problems_count=tally.problems_count,
            seconds=tally.seconds,
        )

    def _walk(self, part: Part, target: Target, late: LateWork) -> None:
        def make(desk: Desk) -> RestoreWork:
            own = self._repository
            if self._workers:
                own = own.clone()
                tune_malloc(_KEEP_FREE_BYTES)
            return RestoreWork(desk, own, target, self._choices, self._clock)

        with Pool([part], make, self._workers, is_growing=True) as pool:
            for event in pool.events():
                match event:
                    case Message(body=Part() as more):
                        pool.add(more)
                    case Message(body=Tally() as tally):
                        self.tally.add(tally)
                        self._tell()
                    case Message(body=Deferred() as deferred):
                        late.defer(deferred)
                    case Message(body=Late() as directory):
                        late.directories.append(directory)
                    case _:
                        pass

    def _tell(self) -> None:
        files, size_bytes = self._total
        tally = self.tally
        self._progress(
            Progress(
                "restore",
                done_bytes=tally.size_bytes,
                total_bytes=size_bytes,
                done_items=tally.files,
                total_items=files,
            )
        )
