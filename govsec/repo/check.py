"""Is the repository whole? Structure, all data, or as much data as a budget allows.

*Structure* reads all index files, snapshots and trees, and lists the packs: each pack whole in one index file and of
the size that the index implies, each tree in order, each blob that a file needs in the index, each file as long as its
blobs. That is what restic's ``check`` looks at and what its newer versions do; what restic calls non-critical is a hint
here. *Data* reads packs whole (:mod:`govsec.repo.checkdata`): all of them, or those that were verified longest ago, as
:mod:`govsec.repo.verified` remembers it.

One idea: the walk over the trees is one task among the packs, handed to the same worker processes; the largest packs
come first. Nothing is locked, nothing is repaired, and only a ``ReadStore`` is needed, so a check runs at any center.
What a concurrent ``prune`` removes was out of the index for the time of its grace, so a check that is quicker than that
sees no false alarm.

*No silent pass.* A report is green when there was something to check and all of it was looked at: no snapshots, an
empty index, a pack that the store did not give, or no pack read although data was to be read, is a gap, and a report
with a gap is not good.

Fallbacks of the repository are not used: a check is about one store.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import TypeVar

import numpy as np

from govsec.clock import Clock
from govsec.errors import CoverageError, GovsecError, IntegrityError, ObjectNotFoundError, StoreError
from govsec.progress import Progress, ProgressSink, silent
from govsec.repo.checkdata import PackReader, PackResult, PackTask, Unanswered
from govsec.repo.inventory import Inventory, take_inventory
from govsec.repo.layout import Kind, id_in_name, object_name, pack_name
from govsec.repo.problems import Problem, ProblemKind, Problems
from govsec.repo.reach import Reached, Walker, used_table
from govsec.repo.repository import Repository
from govsec.repo.verified import choose, load_record, save_record
from govsec.runtime.lanes import for_each
from govsec.runtime.processes import Desk, Done, Message, Pool, tune_malloc, workers_default
from govsec.store.api import ObjectStore

log = logging.getLogger(__name__)

PROBLEMS_MAX = 1000
T = TypeVar("T")
#: Below this much data a fork costs more than it saves.
_FORK_FROM_BYTES = 32 << 20
#: Snapshots are many small objects: waiting for the store takes the time.
_THREADS = 4
#: What a worker may keep of freed memory: a pack, and the largest blob compressed and plain.
_KEEP_FREE_BYTES = 40 << 20
#: How often what was verified is written down during a long check.
_SAVE_EVERY_S = 300.0


class Scope(Enum):
    """How much is read."""

    STRUCTURE = "structure"
    ALL_DATA = "all_data"


@dataclass(frozen=True, slots=True)
class Budget:
    """The structure, and as much data as this allows; one pack at least."""

    size_bytes: int | None = None
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What a check came to. Counts are of what was looked at, problems are kept up to a bound and all counted."""

    store: str
    scope: str
    problems: tuple[Problem, ...]
    problem_counts: Mapping[str, int]
    errors_count: int
    hints_count: int
    #: Problems that are counted above and not in ``problems``.
    dropped_count: int
    #: Why the check does not cover what it was to cover; empty when it does.
    gaps: tuple[str, ...]
    snapshots_count: int = 0
    index_files_count: int = 0
    packs_count: int = 0
    packs_bytes: int = 0
    blobs_count: int = 0
    used_blobs_count: int = 0
    trees_count: int = 0
    files_count: int = 0
    packs_read_count: int = 0
    blobs_read_count: int = 0
    bytes_read: int = 0
    #: Packs that the verification record knows no reading of, after this check (None: no record was kept).
    never_verified_count: int | None = None
    #: Age of the oldest reading in the record, after this check.
    oldest_verified_age_s: float | None = None
    #: Why the verification record could not be written; the check itself is none the worse for it.
    record_error: str = ""
    seconds: Mapping[str, float] = field(default_factory=dict)

    @property
    def is_good(self) -> bool:
        """True when everything was looked at and nothing but hints was found."""
        return not self.errors_count and not self.gaps

    @property
    def exit_code(self) -> int:
        """0, or the exit code of damage before that of a gap."""
        if self.errors_count:
            return IntegrityError.exit_code
        return CoverageError.exit_code if self.gaps else 0

    def raise_unless_good(self) -> None:
        """Raise ``IntegrityError`` for damage, ``CoverageError`` for a gap."""
        if self.errors_count:
            first = self.problems[0]
            what = f"{first.kind.value} {first.object}: {first.detail}"
            raise IntegrityError(f"{self.store}: {self.errors_count} errors, the first: {what}")
        if self.gaps:
            raise CoverageError(f"{self.store}: {'; '.join(self.gaps)}")


def check(
    repository: Repository,
    *,
    clock: Clock,
    scope: Scope | Budget = Scope.STRUCTURE,
    workers: int | None = None,
    record_store: ObjectStore | None = None,
    center: str = "",
    progress: ProgressSink = silent,
    problems_max: int = PROBLEMS_MAX,
) -> CheckReport:
    """Check the repository in ``repository.store``.

    ``workers`` processes read packs and trees; 0 does all in this process, None chooses. ``record_store`` is where it
    is remembered which packs were read and found good, under the name ``center`` (default: the store's); a budget
    without it draws the packs by lot.

    Raises:
        StoreUnavailableError: the store is not there, or stopped giving packs.
        LimitError: an index larger than any honest one.
    """
    own = Repository(repository.store.clone(), repository.suite.clone(), repository.config, key_id=repository.key_id)
    run = _Check(own, clock, scope, problems_max, progress)
    if record_store is not None:
        run.remember(record_store, center or repository.store.name)
    return run.report(workers)


class _Check:
    """One run: what was found so far."""

    def __init__(
        self, repository: Repository, clock: Clock, scope: Scope | Budget, problems_max: int, progress: ProgressSink
    ) -> None:
        self._repository = repository
        self._clock = clock
        self._scope = scope
        self._progress = progress
        self._problems = Problems(problems_max)
        self._record_store: ObjectStore | None = None
        self._center = ""
        self._gaps: list[str] = []
        self._seconds: dict[str, float] = {}
        self._good: list[bytes] = []
        self._bad: list[bytes] = []
        self._record_error = ""
        self._results_count = self._blobs_read = self._bytes_read = 0
        self._begun = clock.monotonic()

    def remember(self, store: ObjectStore, center: str) -> None:
        self._record_store, self._center = store, center

    def report(self, workers: int | None) -> CheckReport:
        # Snapshots are listed before the index is read: one that is written meanwhile is no concern of this check.
        roots = self._timed("snapshots", self._roots)
        inventory = self._timed("index", self._inventory)
        tasks = self._tasks(inventory)
        if workers is None:
            workers = workers_default() if sum(task.size_bytes for task in tasks) >= _FORK_FROM_BYTES else 0
        reached = self._timed("trees_and_data", lambda: self._run(inventory, roots, tasks, workers))
        self._find_gaps(inventory, reached, len(roots))
        never, oldest = self._save_record(inventory)
        self._seconds["total"] = self._clock.monotonic() - self._begun
        problems = self._problems
        return CheckReport(
            store=self._repository.store.name,
            scope=self._scope.value if isinstance(self._scope, Scope) else "budget",
            problems=problems.kept,
            problem_counts={kind.value: count for kind, count in sorted(problems.counts.items())},
            errors_count=problems.errors_count,
            hints_count=problems.hints_count,
            dropped_count=problems.dropped_count,
            gaps=tuple(self._gaps),
            snapshots_count=len(roots),
            index_files_count=len(inventory.files),
            packs_count=len(inventory.index.packs),
            packs_bytes=int(inventory.sizes[inventory.sizes > 0].sum()),
            blobs_count=len(inventory.index),
            used_blobs_count=int(np.count_nonzero(reached.used)),
            trees_count=reached.trees_count,
            files_count=reached.files_count,
            packs_read_count=len(self._good) + len(self._bad),
            blobs_read_count=self._blobs_read,
            bytes_read=self._bytes_read,
            never_verified_count=never,
            oldest_verified_age_s=oldest,
            record_error=self._record_error,
            seconds=dict(self._seconds),
        )

    def _roots(self) -> list[tuple[str, str]]:
        ids = []
        for item in self._repository.store.list(Kind.SNAPSHOT.prefix):
            snapshot_id = id_in_name(Kind.SNAPSHOT, item.name)
            if snapshot_id is None:
                self._problems.add(ProblemKind.FOREIGN_OBJECT, item.name, "no snapshot has such a name")
            else:
                ids.append(snapshot_id)
        roots = []
        for snapshot_id, found in for_each(ids, self._snapshot_reader, threads=_THREADS if len(ids) > 1 else 0):
            name = object_name(Kind.SNAPSHOT, snapshot_id)
            if isinstance(found, str):
                roots.append((name, found))
            else:
                self._problems.add(ProblemKind.SNAPSHOT_UNREADABLE, name, str(found))
        return sorted(roots)

    def _snapshot_reader(self) -> Callable[[str], tuple[str, str | GovsecError]]:
        own = self._repository.clone()

        def read(snapshot_id: str) -> tuple[str, str | GovsecError]:
            try:
                return snapshot_id, own.load_snapshot(snapshot_id).tree
            except (IntegrityError, ObjectNotFoundError) as error:
                return snapshot_id, error

        return read

    def _inventory(self) -> Inventory:
        def report(count: int) -> None:
            self._progress(Progress("index", done_items=count))

        return take_inventory(self._repository, self._problems, report=report)

    def _tasks(self, inventory: Inventory) -> list[PackTask]:
        """The packs to read, largest first."""
        if self._scope is Scope.STRUCTURE:
            return []
        numbers = np.nonzero(inventory.sizes > 0)[0]
        if isinstance(self._scope, Budget) and len(numbers):
            sizes = inventory.sizes[numbers]
            packs = [inventory.index.packs[number] for number in numbers.tolist()]
            times = np.zeros(len(packs), np.int64)
            if self._record_store is not None:
                record = load_record(self._record_store, self._center)
                times = record.times(packs, now=self._clock.now())
            limit = self._scope.size_bytes
            numbers = numbers[choose(packs, sizes, times, int(sizes.sum()) if limit is None else limit)]
            if self._scope.seconds is not None:
                # Time may end early: then the packs that were due come first, not the largest.
                return [PackTask(number, int(inventory.sizes[number])) for number in numbers.tolist()]
        numbers = numbers[np.argsort(-inventory.sizes[numbers], kind="stable")]
        return [PackTask(number, int(inventory.sizes[number])) for number in numbers.tolist()]

    def _run(
        self, inventory: Inventory, roots: Sequence[tuple[str, str]], packs: Sequence[PackTask], workers: int
    ) -> Reached:
        """Walk the trees and read the packs, in worker processes or here."""
        used = used_table(inventory.index)
        repository = self._repository

        def make(desk: Desk) -> _Work:
            own = repository
            if workers:
                own = own.clone()
                tune_malloc(_KEEP_FREE_BYTES)
            return _Work(own, inventory, roots, Reached(used), self._clock, desk, self._problems.kept_max)

        tasks: list[PackTask | None] = [None, *packs]
        total = sum(task.size_bytes for task in packs)
        unanswered = Unanswered()
        reached = Reached(used)
        saved = self._clock.monotonic()
        with Pool(tasks, make, workers) as pool:
            for event in pool.events():
                match event:
                    case Message(body=int(trees_count)):
                        self._progress(Progress("trees", done_items=trees_count))
                    case Done(result=PackResult() as result):
                        unanswered.note(result)
                        self._note(inventory, result)
                        done = len(self._good) + len(self._bad)
                        self._progress(Progress("data", self._bytes_read, total, done, len(packs)))
                    case Done(result=_Walked() as walked):
                        self._problems.extend(walked.problems, walked.counts)
                        self._seconds["trees"] = walked.seconds
                        reached = replace(walked.reached, used=used)
                    case _:
                        pass
                if self._is_over():
                    pool.stop()
                if self._clock.monotonic() - saved > _SAVE_EVERY_S:
                    saved = self._clock.monotonic()
                    self._save_record(inventory)
        return reached

    def _is_over(self) -> bool:
        limit = self._scope.seconds if isinstance(self._scope, Budget) else None
        return limit is not None and self._clock.monotonic() - self._begun >= limit

    def _note(self, inventory: Inventory, result: PackResult) -> None:
        pack_id = inventory.index.packs[result.number]
        self._results_count += 1
        self._blobs_read += result.blobs_count
        self._bytes_read += result.bytes_read
        self._problems.extend(result.problems, result.counts)
        if result.unread:
            self._problems.add(ProblemKind.PACK_UNREADABLE, pack_name(pack_id), result.unread)
        else:
            (self._good if result.is_good else self._bad).append(pack_id)

    def _find_gaps(self, inventory: Inventory, reached: Reached, snapshots_count: int) -> None:
        if not snapshots_count:
            self._gaps.append("there is no snapshot that can be read")
        if not len(inventory.index):
            self._gaps.append("the index names no blob")
        elif not reached.trees_count:
            self._gaps.append("no tree could be read")
        if self._scope is not Scope.STRUCTURE and not self._good and not self._bad:
            self._gaps.append("no pack was read")
        if self._scope is Scope.ALL_DATA and self._results_count < len(inventory.index.packs):
            lacking = len(inventory.index.packs) - self._results_count
            self._gaps.append(f"{lacking} packs are not there to be read")

    def _save_record(self, inventory: Inventory) -> tuple[int | None, float | None]:
        """Write down what was read; how many packs were never read, and the age of the oldest reading."""
        if self._record_store is None:
            return None, None
        packs, now = inventory.index.packs, self._clock.now()
        # Read again just before it is written: another verifier may have been here since.
        record = load_record(self._record_store, self._center)
        if self._good or self._bad:
            record = record.updated(good=self._good, bad=self._bad, moment=now, existing=packs)
            try:
                save_record(self._record_store, self._center, record)
            except StoreError as error:
                log.warning("verification record not written", extra={"reason": str(error)})
                self._record_error = str(error)
        times = record.times(packs, now=now)
        known = times[times > 0]
        return int(np.count_nonzero(times == 0)), now.timestamp() - float(known.min()) if len(known) else None

    def _timed(self, phase: str, work: Callable[[], T]) -> T:
        begun = self._clock.monotonic()
        result = work()
        self._seconds[phase] = self._clock.monotonic() - begun
        return result


@dataclass(frozen=True, slots=True)
class _Walked:
    """What the walk came to, small enough for a pipe: the marks are in shared memory."""

    reached: Reached
    problems: tuple[Problem, ...]
    counts: Mapping[ProblemKind, int]
    seconds: float


class _Work:
    """What a worker does: ``None`` stands for the walk over all trees, anything else is a pack."""

    def __init__(
        self,
        repository: Repository,
        inventory: Inventory,
        roots: Sequence[tuple[str, str]],
        reached: Reached,
        clock: Clock,
        desk: Desk,
        problems_max: int,
    ) -> None:
        self._repository = repository
        self._inventory = inventory
        self._roots = roots
        self._reached = reached
        self._clock = clock
        self._desk = desk
        self._problems_max = problems_max
        self._packs = PackReader(repository.store, repository.suite, inventory)

    def do(self, task: PackTask | None) -> PackResult | _Walked:
        return self._walk() if task is None else self._packs.read(task)

    def finish(self) -> None:
        return None

    def _walk(self) -> _Walked:
        begun = self._clock.monotonic()
        problems = Problems(self._problems_max)
        store, suite, index = self._repository.store, self._repository.suite, self._inventory.index
        walker = Walker(store, suite, index, problems, used=self._reached.used, report=self._desk.post)
        reached = replace(walker.walk(self._roots), used=np.empty(0, np.uint8))
        return _Walked(reached, problems.kept, problems.counts, self._clock.monotonic() - begun)
