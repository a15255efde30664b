"""Removing what no snapshot needs, in two phases, so that a mistake or a theft can be taken back for some days.

Phase one, under an exclusive lock: what is still used in packs that go is written to new packs; new index files name
them; the old index files are deleted. From here on nothing refers to the old packs, and a note says since when. Phase
two, in this or a later run: packs that no index names, and that were noted longer ago than the grace, are deleted.

::

    tidy the notes → new packs, seen again in the store → new index files, seen again
                   → delete snapshots that were forgotten → delete old index files
                   → note the packs that left → delete packs whose grace is over → delete notes that are done

After a stop at any place the repository is whole: there are packs too many, or index entries that stand twice. A pack
that no index names and no note tells of (a run was killed; another tool stopped in the middle) is noted when it is
first seen; its grace begins then.

``rebuild-index`` brings noted packs back; the note of a pack that an index names is dropped before anything else, so
that no grace is ever inherited.

Stock restic deletes packs without an index entry at once; its ``prune`` knows no grace.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from govsec.clock import Clock
from govsec.errors import IntegrityError, RefusedError
from govsec.progress import Progress, ProgressSink, silent
from govsec.repo.indexfile import PackRows
from govsec.repo.inventory import Inventory, take_inventory
from govsec.repo.layout import INDEX_SIZE_MAX, Kind, id_in_name, object_name, pack_name
from govsec.repo.lock import HeldLock
from govsec.repo.packer import PACK_SIZE_DEFAULT, FinishedPack, Packer
from govsec.repo.problems import ProblemKind, Problems
from govsec.repo.prunenotes import tidy_notes, write_notes
from govsec.repo.pruneplan import PrunePlan, PrunePolicy, plan_prune
from govsec.repo.reach import Walker
from govsec.repo.repository import Repository, WritableRepository
from govsec.repo.snapshot import Snapshot
from govsec.store.api import ObjectInfo, ObjectStore

#: More packs than this wait for the end of their grace; the rest is noted by a later run.
_NOTED_MAX = 1_000_000
#: Takes note of what was added and what is released; nothing is deleted when it raises.
Commit = Callable[[Sequence[ObjectInfo], Sequence[ObjectInfo]], object]
#: Of all snapshots the ids of those that are to go.
Forget = Callable[[Sequence[Snapshot]], Collection[str]]
#: What makes it unknown whether a blob is needed. Anything else a prune can live with, or tidies.
_BLOCKING = frozenset(
    {
        ProblemKind.INDEX_UNREADABLE,
        ProblemKind.SNAPSHOT_UNREADABLE,
        ProblemKind.TREE_MISSING,
        ProblemKind.TREE_DAMAGED,
        ProblemKind.TREE_REFUSED,
        ProblemKind.TREE_TOO_DEEP,
        ProblemKind.BLOB_MISSING,
    }
)


@dataclass(frozen=True, slots=True)
class PruneResult:
    """What a run did, or with ``is_dry_run`` would do."""

    is_dry_run: bool
    #: Snapshots that stay, and the ids of those that went.
    snapshots_count: int
    forgotten: tuple[str, ...]
    used_blobs_count: int
    used_bytes: int
    unused_blobs_count: int
    unused_bytes: int
    #: Unused bytes that stay in packs that are mostly used.
    tolerated_bytes: int
    dropped_packs_count: int
    repacked_packs_count: int
    repacked_bytes: int
    #: New packs and index files.
    added: tuple[ObjectInfo, ...] = ()
    #: Packs and index files that nothing refers to any more, from this run on.
    released: tuple[ObjectInfo, ...] = ()
    #: Objects that were deleted from the store in this run.
    removed: tuple[ObjectInfo, ...] = ()
    #: Packs that wait for the end of their grace.
    waiting_count: int = 0
    waiting_bytes: int = 0


def prune(
    repository: WritableRepository,
    *,
    clock: Clock,
    grace: timedelta,
    policy: PrunePolicy | None = None,
    is_dry_run: bool = False,
    is_emptying_allowed: bool = False,
    forget: Forget | None = None,
    own: ObjectStore | None = None,
    commit: Commit | None = None,
    pack_size: int = PACK_SIZE_DEFAULT,
    wait_s: float = 0,
    progress: ProgressSink = silent,
) -> PruneResult:
    """Prune the repository.

    ``own`` is the one store that is surveyed and deleted from (default: the repository's own): where the repository
    writes to several centers at once, each lets go of what is released in its own time, so only one can be pruned.
    ``commit`` is called once, with what was added and what is released, before anything is deleted. ``forget`` chooses
    snapshots that go in the same run; at least one must stay. ``wait_s``: so long the holders of other locks are waited
    for; a continuous backup gives way.

    Raises:
        LockedError: somebody works with the repository.
        IntegrityError: damage that makes it unknown what is needed; nothing was changed.
        RefusedError: no snapshot would be left, and ``is_emptying_allowed`` does not say that this is meant.
        StoreError: the store failed; the repository is whole, and the next run goes on.
    """
    policy = policy or PrunePolicy()
    own = own or repository.object_store
    # Without fallbacks: what another center has does not make it safe to remove something here.
    surveyed = Repository(own, repository.suite, repository.config, key_id=repository.key_id)
    if is_dry_run:
        found = survey(surveyed, policy, is_emptying_allowed=is_emptying_allowed, forget=forget, progress=progress)
        return found.result()
    with repository.lock(clock, exclusive=True, wait_s=wait_s) as lock:
        found = survey(surveyed, policy, is_emptying_allowed=is_emptying_allowed, forget=forget, progress=progress)
        lock.keep_alive()
        return _Run(repository, found, clock, lock, own, commit, pack_size, progress).execute(grace)


@dataclass(frozen=True, slots=True)
class Survey:
    """What is there, what is needed, and what is to be done."""

    snapshots_count: int
    forgotten: tuple[ObjectInfo, ...]
    inventory: Inventory
    plan: PrunePlan

    def result(self, **changes: object) -> PruneResult:
        """The figures of the plan, as a result."""
        plan = self.plan
        values: dict[str, object] = {
            "is_dry_run": True,
            "snapshots_count": self.snapshots_count,
            "forgotten": tuple(item.name.rpartition("/")[2] for item in self.forgotten),
            "used_blobs_count": plan.used_blobs_count,
            "used_bytes": plan.used_bytes,
            "unused_blobs_count": plan.unused_blobs_count,
            "unused_bytes": plan.unused_bytes,
            "tolerated_bytes": plan.tolerated_bytes,
            "dropped_packs_count": len(plan.drop),
            "repacked_packs_count": len(plan.repack),
            "repacked_bytes": plan.repack_bytes,
            "waiting_count": len(self.inventory.unindexed),
            "waiting_bytes": sum(item.size_bytes for item in self.inventory.unindexed),
            **changes,
        }
        return PruneResult(**values)  # type: ignore[arg-type]  # names and types are those of the fields above


def survey(
    repository: Repository,
    policy: PrunePolicy,
    *,
    is_emptying_allowed: bool = False,
    forget: Forget | None = None,
    progress: ProgressSink = silent,
) -> Survey:
    """Read snapshots, index, listing and trees, and plan; changes nothing. Raises as :func:`prune`."""
    problems = Problems()
    # Snapshots first: one that is written after this is not known, but its writer holds a lock that excludes ours.
    snapshots = repository.snapshots(strict=True)
    going = frozenset(forget(snapshots)) if forget is not None else frozenset()
    staying = [item for item in snapshots if item.id not in going]
    if not staying and not is_emptying_allowed:
        raise RefusedError(f"{repository.store.name}: there are no snapshots that stay; prune would remove everything")
    forgotten = [repository.store.head(object_name(Kind.SNAPSHOT, item.id)) for item in snapshots if item.id in going]
    inventory = take_inventory(repository, problems)
    walker = Walker(
        repository.store,
        repository.suite,
        inventory.index,
        problems,
        report=lambda count: progress(Progress("trees", done_items=count)),
    )
    reached = walker.walk((object_name(Kind.SNAPSHOT, item.id), item.tree) for item in staying)
    blocking = sum(count for kind, count in problems.counts.items() if kind in _BLOCKING)
    if blocking:
        first = next(problem for problem in problems.kept if problem.kind in _BLOCKING)
        what = f"{first.kind.value} {first.object}: {first.detail}"
        raise IntegrityError(f"{repository.store.name}: {blocking} problems, nothing was changed. The first: {what}")
    return Survey(len(staying), tuple(forgotten), inventory, plan_prune(inventory, reached.used, policy))


@dataclass(slots=True)
class _Run:
    repository: WritableRepository
    survey: Survey
    clock: Clock
    lock: HeldLock
    own: ObjectStore
    commit: Commit | None
    pack_size: int
    progress: ProgressSink
    added: list[ObjectInfo] = field(default_factory=list)
    released: list[ObjectInfo] = field(default_factory=list)
    removed: list[ObjectInfo] = field(default_factory=list)

    def execute(self, grace: timedelta) -> PruneResult:
        plan, inventory = self.survey.plan, self.survey.inventory
        waiting = {item.name.rpartition("/")[2]: item for item in inventory.unindexed[:_NOTED_MAX]}
        noted = tidy_notes(self.own, waiting, self.clock.now())
        packs = self._repack()
        self._see_again(self.added)
        index_files = self.repository.save_index(self._index_entries(packs))
        self.added += index_files
        self._see_again(index_files)
        files = [
            ObjectInfo(object_name(Kind.INDEX, file), inventory.files[file].size_bytes) for file in plan.index_files
        ]
        numbers = [n for n in (*plan.drop.tolist(), *plan.repack.tolist()) if inventory.sizes[n] >= 0]
        gone = {inventory.index.packs[n].hex(): self._pack_info(n) for n in numbers}
        # Removing goes the other way than writing: snapshots, index, packs.
        self.released += [*self.survey.forgotten, *files, *gone.values()]
        if self.commit is not None and (self.added or self.released):
            self.commit(tuple(self.added), tuple(self.released))
        self._remove(self.survey.forgotten)
        self._remove(files)
        waiting.update(gone)
        now = self.clock.now()
        new = [pack_id for pack_id in waiting if pack_id not in noted]
        noted.update(write_notes(self.own, new, now))
        due = [pack_id for pack_id in waiting if pack_id in noted and now - noted[pack_id] >= grace]
        self._remove([waiting.pop(pack_id) for pack_id in due])
        tidy_notes(self.own, waiting, now)
        return self.survey.result(
            is_dry_run=False,
            added=tuple(self.added),
            released=tuple(self.released),
            removed=tuple(self.removed),
            waiting_count=len(waiting),
            waiting_bytes=sum(item.size_bytes for item in waiting.values()),
        )

    def _repack(self) -> list[PackRows]:
        """Write the used blobs of packs that go to new packs."""
        plan, inventory = self.survey.plan, self.survey.inventory
        packer = Packer(self.repository.suite, pack_size=self.pack_size)
        packs: list[PackRows] = []
        blobs_count = done_bytes = 0
        for number in plan.repack.tolist():
            rows = inventory.rows(number)
            places = [inventory.index.location(row) for row in rows[plan.wanted[rows] > 0].tolist()]
            for place, plain in self.repository.load_pack_blobs(places):
                packs += self._save(packer.add(place.blob_type, place.blob_id, plain))
                blobs_count += 1
            done_bytes += int(inventory.sizes[number])
            self.progress(Progress("repack", done_bytes, plan.repack_bytes))
        for pack in packer.flush():
            packs += self._save(pack)
        if sum(len(rows) for _, rows in packs) != blobs_count:
            raise IntegrityError("prune: the new packs do not hold as many blobs as were put in; nothing was removed")
        return packs

    def _save(self, pack: FinishedPack | None) -> list[PackRows]:
        if pack is None:
            return []
        self.lock.keep_alive()
        self.added.append(self.repository.save_pack(pack))
        return [(pack.id, pack.rows)]

    def _index_entries(self, packs: Sequence[PackRows]) -> Iterator[PackRows]:
        """What the new index files name: the new packs, and those that stay of the files that go."""
        yield from packs
        for number in self.survey.plan.relist.tolist():
            self.lock.keep_alive()
            yield self.survey.inventory.index.packs[number], self.survey.inventory.pack_rows(number)

    def _see_again(self, added: Sequence[ObjectInfo]) -> None:
        """Look at new objects before anything relies on them: a store that lies about a put must not cost data."""
        store = self.own
        for info in added:
            self.lock.keep_alive()
            index_id = id_in_name(Kind.INDEX, info.name)
            if index_id is None:
                is_there = store.head(info.name).size_bytes == info.size_bytes
            else:
                data = store.get(info.name, size_max=INDEX_SIZE_MAX)
                is_there = hashlib.sha256(data).hexdigest() == index_id
            if not is_there:
                raise IntegrityError(f"{info.name}: the store does not hold what was put; nothing was removed")

    def _remove(self, objects: Sequence[ObjectInfo]) -> None:
        for position, info in enumerate(objects):
            self.lock.keep_alive()
            self.progress(Progress("delete", done_items=position, total_items=len(objects)))
            self.own.delete(info.name)
            self.removed.append(info)

    def _pack_info(self, number: int) -> ObjectInfo:
        inventory = self.survey.inventory
        return ObjectInfo(pack_name(inventory.index.packs[number]), int(inventory.sizes[number]))
