"""Prune: what it removes, when, and what is left wherever it is stopped."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from govsec.errors import GovsecError, IntegrityError, LockedError, RefusedError, TryAgainError
from govsec.repo.check import CheckReport, Scope, check
from govsec.repo.layout import pack_name
from govsec.repo.pack import BlobType
from govsec.repo.prune import prune
from govsec.repo.pruneplan import PrunePolicy
from govsec.repo.repository import WritableRepository
from govsec.repo.snapshot import Snapshot
from govsec.store.api import ObjectInfo
from govsec.store.memory import MemoryStore
from govsec.testing.clock import FakeClock
from govsec.testing.faults import FaultKind, FaultStore, Killed, Moment, no_faults, sweep
from tests.repo.small import (
    GRACE,
    back_up,
    contents,
    copied,
    flip,
    forget,
    mutate,
    names,
    new_repository,
    reopened,
)

NOW = timedelta(0)


def noise(label: str, size: int) -> bytes:
    import hashlib

    return b"".join(hashlib.sha256(f"{label}{n}".encode()).digest() for n in range(size // 32 + 1))[:size]


def checked(repository: WritableRepository, clock: FakeClock) -> CheckReport:
    return check(repository, clock=clock, scope=Scope.ALL_DATA, workers=0)


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def repository(store: MemoryStore, clock: FakeClock) -> WritableRepository:
    """Three snapshots; the first two are forgotten. Packs are wholly unused, partly used and wholly used."""
    repository = new_repository(store, clock)
    shared = {"kept": noise("kept", 40_000), "sub": {"same": b"same in all"}}
    old = [
        back_up(repository, {**shared, "old": noise(f"old{n}", 70_000), "tiny": noise(f"t{n}", 100)}, clock)
        for n in range(2)
    ]
    back_up(repository, {**shared, "new": noise("new", 50_000), "empty": b""}, clock)
    for snapshot in old:
        forget(repository, snapshot)
    return repository


def test_unused_packs_leave_the_index_now_and_the_store_after_the_grace(
    repository: WritableRepository, store: MemoryStore, clock: FakeClock
) -> None:
    before = contents(repository)
    packs_before = set(names(store, "data/"))

    first = prune(repository, clock=clock, grace=GRACE)

    assert first.released and first.added
    assert packs_before <= set(names(store, "data/"))
    assert first.waiting_count == len([item for item in first.released if item.name.startswith("data/")])
    report = checked(repository, clock)
    assert report.is_good and report.problem_counts == {"pack_orphan": first.waiting_count}
    assert contents(repository) == before

    clock.advance(GRACE.total_seconds() - 60)
    early = prune(repository, clock=clock, grace=GRACE)
    assert not early.removed and early.waiting_count == first.waiting_count

    clock.advance(120)
    last = prune(repository, clock=clock, grace=GRACE)
    released = {item.name for item in first.released if item.name.startswith("data/")}
    assert {item.name for item in last.removed} == released
    assert not names(store, "govsec/pruned/")
    assert checked(repository, clock).problem_counts == {}
    assert contents(repository) == before


def test_a_dry_run_says_the_same_and_changes_nothing(
    repository: WritableRepository, store: MemoryStore, clock: FakeClock
) -> None:
    before = names(store, "")
    planned = prune(repository, clock=clock, grace=NOW, is_dry_run=True)
    assert names(store, "") == before
    done = prune(repository, clock=clock, grace=NOW)
    assert planned.is_dry_run and not done.is_dry_run
    for field in ("used_bytes", "unused_bytes", "dropped_packs_count", "repacked_packs_count", "tolerated_bytes"):
        assert getattr(planned, field) == getattr(done, field)


def test_a_second_run_has_nothing_to_do(repository: WritableRepository, store: MemoryStore, clock: FakeClock) -> None:
    prune(repository, clock=clock, grace=NOW, policy=PrunePolicy(unused_max=0))
    before = names(store, "")
    again = prune(repository, clock=clock, grace=NOW, policy=PrunePolicy(unused_max=0))
    assert not (again.added or again.released or again.removed)
    assert again.unused_bytes == 0
    assert names(store, "") == before


def test_a_little_that_is_unused_is_tolerated(store: MemoryStore, clock: FakeClock) -> None:
    repository = new_repository(store, clock)
    old = back_up(repository, {"large": noise("large", 200_000), "small": noise("small", 3000)}, clock)
    back_up(repository, {"large": noise("large", 200_000)}, clock)
    forget(repository, old)
    result = prune(repository, clock=clock, grace=NOW)
    assert result.repacked_packs_count == 0 and result.tolerated_bytes >= 3000
    thorough = prune(repository, clock=clock, grace=NOW, policy=PrunePolicy(unused_max=0))
    assert thorough.repacked_packs_count >= 1 and thorough.tolerated_bytes == 0


def test_an_unindexed_pack_begins_its_grace_when_it_is_first_seen(
    repository: WritableRepository, store: MemoryStore, clock: FakeClock
) -> None:
    prune(repository, clock=clock, grace=NOW)
    data = b"a pack whose writer was killed before its index was written"
    import hashlib

    name = hashlib.sha256(data).hexdigest()
    name = f"data/{name[:2]}/{name}"
    store.put(name, data)
    assert name not in {item.name for item in prune(repository, clock=clock, grace=GRACE).removed}
    clock.advance(GRACE.total_seconds())
    assert [item.name for item in prune(repository, clock=clock, grace=GRACE).removed] == [name]


def test_a_note_that_was_forged_into_the_future_or_damaged_shortens_no_grace(
    repository: WritableRepository, store: MemoryStore, clock: FakeClock
) -> None:
    prune(repository, clock=clock, grace=GRACE)
    (note,) = names(store, "govsec/pruned/")
    flip(store, note, -4)
    clock.advance(GRACE.total_seconds() + 1)
    assert not prune(repository, clock=clock, grace=GRACE).removed
    clock.jump(-GRACE.total_seconds() * 3)
    assert not prune(repository, clock=clock, grace=GRACE).removed
    clock.advance(GRACE.total_seconds() + 1)
    assert prune(repository, clock=clock, grace=GRACE).removed


def test_a_grace_is_not_inherited_when_a_pack_was_indexed_again(
    repository: WritableRepository, store: MemoryStore, clock: FakeClock
) -> None:
    old_index = {name: store.get(name, size_max=1 << 20) for name in names(store, "index/")}
    first = prune(repository, clock=clock, grace=GRACE)
    assert first.waiting_count
    clock.advance(GRACE.total_seconds() + 1)
    # What rebuild-index, or a center that still had the old index files, brings back.
    for name, data in old_index.items():
        store.put(name, data)
    second = prune(repository, clock=clock, grace=GRACE)
    assert not [item for item in second.removed if item.name.startswith("data/")]
    assert second.waiting_count >= first.waiting_count


def test_of_a_blob_with_two_copies_one_stays(store: MemoryStore, clock: FakeClock) -> None:
    repository = new_repository(store, clock)
    files = {"a": noise("a", 100_000), "b": noise("b", 1000)}
    back_up(repository, files, clock)
    twin = new_repository(MemoryStore(), clock)
    twin = reopened(repository, twin.object_store)
    back_up(twin, files, clock)
    for name in names(twin.object_store, ""):
        if name.startswith(("data/", "index/", "snapshots/")):
            store.put(name, twin.object_store.get(name, size_max=1 << 30))
    before = contents(repository)
    result = prune(repository, clock=clock, grace=NOW)
    assert result.unused_bytes > 100_000 and result.repacked_packs_count == 0
    assert checked(repository, clock).problem_counts == {}
    assert contents(repository) == before


def test_many_small_index_files_become_one(store: MemoryStore, clock: FakeClock) -> None:
    repository = new_repository(store, clock)
    for number in range(12):
        back_up(repository, {"file": noise(str(number), 2000)}, clock)
    before = contents(repository)
    assert len(names(store, "index/")) == 12
    prune(repository, clock=clock, grace=NOW)
    assert len(names(store, "index/")) == 1
    assert len(names(store, "data/")) == 2  # the small packs were packed anew: one of data, one of trees
    assert contents(repository) == before


@pytest.mark.parametrize("blob_type", list(BlobType))
def test_nothing_is_removed_while_a_needed_blob_is_lost(
    repository: WritableRepository, store: MemoryStore, clock: FakeClock, blob_type: BlobType
) -> None:
    tree = bytes.fromhex(repository.snapshots()[0].tree)
    index = repository.load_index()
    needed = next(node.content[0] for node in repository.load_tree(tree).nodes if node.content)
    wanted = tree if blob_type is BlobType.TREE else bytes.fromhex(needed)
    (place,) = index.find(blob_type, wanted)
    for damage in ("gone", "cut"):
        damaged = copied(store)
        if damage == "gone":
            damaged.delete(pack_name(place.pack))
        else:
            mutate(damaged, pack_name(place.pack), lambda data: data.pop())
        before = names(damaged, "")
        with pytest.raises(IntegrityError, match="nothing was changed"):
            prune(reopened(repository, damaged), clock=clock, grace=NOW)
        assert names(damaged, "") == before


def test_an_index_file_or_snapshot_that_cannot_be_read_stops_it(
    repository: WritableRepository, store: MemoryStore, clock: FakeClock
) -> None:
    for prefix in ("index/", "snapshots/"):
        damaged = copied(store)
        flip(damaged, names(damaged, prefix)[0], 20)
        before = names(damaged, "")
        with pytest.raises(IntegrityError):
            prune(reopened(repository, damaged), clock=clock, grace=NOW)
        assert names(damaged, "") == before


def test_a_repository_without_snapshots_is_not_emptied_by_mistake(
    repository: WritableRepository, store: MemoryStore, clock: FakeClock
) -> None:
    for snapshot in repository.snapshots():
        forget(repository, snapshot)
    with pytest.raises(RefusedError, match="no snapshots"):
        prune(repository, clock=clock, grace=NOW)
    assert names(store, "data/")
    prune(repository, clock=clock, grace=NOW, is_emptying_allowed=True)
    assert not names(store, "data/") and not names(store, "index/")


def test_somebody_at_work_is_not_disturbed(repository: WritableRepository, clock: FakeClock) -> None:
    with repository.lock(clock), pytest.raises(LockedError):
        prune(repository, clock=clock, grace=NOW)
    assert prune(repository, clock=clock, grace=NOW).released


def test_snapshots_can_go_in_the_same_run_before_what_they_need(store: MemoryStore, clock: FakeClock) -> None:
    repository = new_repository(store, clock)
    old, new = (back_up(repository, {"file": noise(label, 50_000)}, clock) for label in ("old", "new"))
    asked: list[int] = []

    def forget_old(snapshots: Sequence[Snapshot]) -> set[str]:
        asked.append(len(snapshots))
        return {old.id}

    planned = prune(repository, clock=clock, grace=NOW, forget=forget_old, is_dry_run=True)
    assert planned.forgotten == (old.id,) and planned.unused_bytes > 50_000 and len(names(store, "snapshots/")) == 2
    deleted = Recorder(store)
    done = prune(reopened(repository, deleted), clock=clock, grace=NOW, forget=forget_old)
    assert asked == [2, 2] and done.snapshots_count == 1 and done.unused_bytes == planned.unused_bytes
    kinds = [name.partition("/")[0] for name in deleted.names if not name.startswith(("locks/", "govsec/"))]
    assert kinds == sorted(kinds, key=["snapshots", "index", "data"].index) and set(kinds) == {
        "snapshots",
        "index",
        "data",
    }
    assert list(contents(repository)) == [new.id] and checked(repository, clock).problem_counts == {}
    with pytest.raises(RefusedError):
        prune(repository, clock=clock, grace=NOW, forget=lambda snapshots: [item.id for item in snapshots])


class Recorder(FaultStore[MemoryStore]):
    """Remembers what was deleted, in order."""

    def __init__(self, store: MemoryStore) -> None:
        super().__init__(store, no_faults())
        self.names: list[str] = []

    def delete(self, name: str) -> None:
        self.names.append(name)
        super().delete(name)


class Both:
    """Production and same-city, written together; deletions never reach same-city."""

    name = "both"

    def __init__(self, production: MemoryStore, same_city: MemoryStore) -> None:
        self.production, self.same_city = production, same_city
        self.get, self.head, self.list = production.get, production.head, production.list

    def clone(self) -> Both:
        return self

    def put(self, name: str, data: bytes, **options: Any) -> ObjectInfo:
        self.same_city.put(name, data, **options)
        return self.production.put(name, data, **options)

    def delete(self, name: str) -> None:
        self.production.delete(name)
        if name.startswith("locks/"):
            self.same_city.delete(name)


def test_with_several_centers_one_is_pruned_and_the_others_hear_of_it_before(
    repository: WritableRepository, store: MemoryStore, clock: FakeClock
) -> None:
    same_city = copied(store)
    before = contents(repository)
    both = reopened(repository, Both(store, same_city))
    commits: list[tuple[set[str], set[str]]] = []

    def commit(added: Sequence[ObjectInfo], released: Sequence[ObjectInfo]) -> None:
        assert all(store.head(item.name).size_bytes == item.size_bytes for item in [*added, *released])
        commits.append(({item.name for item in added}, {item.name for item in released}))

    result = prune(both, clock=clock, grace=NOW, own=store, commit=commit)
    ((added, released),) = commits
    assert added <= set(names(store, "")) and added <= set(names(same_city, ""))
    assert released == {item.name for item in result.removed} <= set(names(same_city, ""))
    assert not released & set(names(store, ""))
    for center in (store, same_city):
        assert checked(reopened(repository, center), clock).is_good
        assert contents(reopened(repository, center)) == before


def test_when_the_release_cannot_be_committed_nothing_is_deleted(
    repository: WritableRepository, store: MemoryStore, clock: FakeClock
) -> None:
    def commit(added: Sequence[ObjectInfo], released: Sequence[ObjectInfo]) -> None:
        raise TryAgainError("the log cannot be written now")

    before = set(names(store, ""))
    with pytest.raises(TryAgainError):
        prune(repository, clock=clock, grace=NOW, commit=commit)
    assert before <= set(names(store, "")) and checked(repository, clock).is_good


@pytest.mark.parametrize(
    ("kind", "moment"),
    [
        (FaultKind.ERROR, Moment.BEFORE),
        (FaultKind.ERROR, Moment.AFTER),
        (FaultKind.KILL, Moment.AFTER),
        # Before its effect a kill leaves what an error leaves, and a full disk is an error of another name.
        pytest.param(FaultKind.KILL, Moment.BEFORE, marks=pytest.mark.soak),
        pytest.param(FaultKind.FULL, Moment.BEFORE, marks=pytest.mark.soak),
        pytest.param(FaultKind.TIMEOUT, Moment.AFTER, marks=pytest.mark.soak),
    ],
)
def test_stopped_at_any_call_the_repository_is_whole_and_the_next_run_finishes(
    repository: WritableRepository, store: MemoryStore, kind: FaultKind, moment: Moment
) -> None:
    before = contents(repository)
    runs = 0
    for faults in sweep(kind, moment):
        clock = FakeClock()
        clean = copied(store)
        broken = reopened(repository, FaultStore(clean, faults))
        try:
            prune(broken, clock=clock, grace=NOW, policy=PrunePolicy(unused_max=0), pack_size=30_000)
        except (GovsecError, Killed):
            faults.assert_injected()
        left = reopened(repository, clean)
        report = checked(left, clock)
        assert report.is_good, (faults, report.problems)
        assert contents(left) == before
        clock.advance(3600)  # the lock of a killed process is stale then
        prune(left, clock=clock, grace=NOW, policy=PrunePolicy(unused_max=0), pack_size=30_000)
        last = checked(left, clock)
        assert last.problem_counts == {}, (faults, last.problems)
        assert contents(left) == before
        assert not names(clean, "govsec/pruned/")
        runs += 1
    assert runs > 20


def test_a_store_that_lies_about_a_put_costs_no_data(repository: WritableRepository, store: MemoryStore) -> None:
    before = contents(repository)
    for faults in sweep(FaultKind.LIE):
        clock = FakeClock()
        clean = copied(store)
        broken = reopened(repository, FaultStore(clean, faults))
        try:
            prune(broken, clock=clock, grace=NOW, policy=PrunePolicy(unused_max=0), pack_size=30_000)
        except GovsecError:
            faults.assert_injected()
        left = reopened(repository, clean)
        assert checked(left, clock).is_good, faults
        assert contents(left) == before
