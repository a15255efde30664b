"""What production released is on its way out: nothing new may come to rest on it, and no snapshot may wait for it."""

from __future__ import annotations

import pytest

import govsec.centers.ship as shipping
from govsec.centers import names
from govsec.centers.adoption import release_absent
from govsec.centers.log import START, named_objects, read_log
from govsec.centers.near import Change
from govsec.centers.records import VerificationRecord, damage_of, write_record
from govsec.centers.ship import ship
from govsec.config import Mode
from govsec.errors import GovsecError, IntegrityError
from govsec.testing.faults import FaultKind, Faults, FaultStore, Moment
from tests.centers.world import World, index, pack


def _release_the_first_index(world: World) -> str:
    """Back up twice; release the first backup's index and snapshot and remove them at production, as a prune does."""
    near = world.near()
    first = world.store_backup(near)
    near.commit(first)
    gone = [info for info in first.objects if info.name.startswith((names.INDEXES, names.SNAPSHOTS, names.PACKS))]
    world.live_packs = []
    world.backup(near)
    near.commit(Change(released=[(info.name, info.size_bytes) for info in gone]))
    for info in gone:
        world.production.delete(info.name)
    return next(info.name for info in gone if info.name.startswith(names.INDEXES))


def test_an_index_that_production_released_is_not_listed_from_same_city() -> None:
    world = World()
    released = _release_the_first_index(world)
    assert released in {info.name for info in world.same_city.list(names.INDEXES)}
    world.states.failed("production", "its disk is away")
    found = {info.name for info in world.near().list(names.INDEXES)}
    assert found
    assert released not in found


def test_what_production_still_lists_is_listed_though_it_is_released() -> None:
    # A prune that died between its commit and its deletions finds what it has to delete.
    world = World()
    near = world.near()
    first = world.store_backup(near)
    near.commit(first)
    near.commit(Change(released=[(info.name, info.size_bytes) for info in first.objects]))
    released = next(info.name for info in first.objects if info.name.startswith(names.INDEXES))
    assert released in {info.name for info in world.near().list(names.INDEXES)}


def test_an_index_without_a_commit_is_still_listed_from_same_city() -> None:
    world = World()
    _release_the_first_index(world)
    name, data = pack("orphan")
    world.same_city.put(name, data)
    orphan, content = index([name])
    world.same_city.put(orphan, content)
    world.states.failed("production", "its disk is away")
    assert orphan in {info.name for info in world.near().list(names.INDEXES)}


def _history_with_a_repack(world: World) -> None:
    """A pack that two snapshots need moves: its content is in a new pack, and a later commit releases the old one."""
    near = world.near()
    world.backup(near)
    world.backup(near)
    old = world.live_packs[0]
    old_index = next(info.name for info in world.production.list(names.INDEXES) if old in _packs_in(world, info.name))
    kept = [name for name in _packs_in(world, old_index) if name != old]
    new, data = pack("repacked")
    made = [near.put(new, data), near.put(*index([*kept, new]))]
    world.live_packs = [new if name == old else name for name in world.live_packs]
    change = world.store_backup(near)
    near.commit(Change([*made, *change.objects], change.snapshot))
    gone = [(name, world.production.head(name).size_bytes) for name in (old, old_index)]
    near.commit(Change(released=gone))
    for name, _ in gone:
        world.production.delete(name)


def _packs_in(world: World, name: str) -> list[str]:
    return [found for found, _ in world.packs_of(name.removeprefix(names.INDEXES))]


def test_the_contents_of_all_commits_come_before_the_first_snapshot_when_one_of_them_releases(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The limit of a batch is data of the module; a batch a commit is what a long outage would give.
    monkeypatch.setattr(shipping, "_BATCH_COMMITS", 1)
    world = World()
    _history_with_a_repack(world)
    written: list[str] = []
    put = world.remote.put

    class _Recording(type(world.remote)):  # type: ignore[misc]  # the class of a value
        def put(self, name: str, data: bytes, **options: object) -> object:
            written.append(name)
            return put(name, data, **options)  # type: ignore[arg-type]

    world.remote.__class__ = _Recording
    ship(world.same_city, world.remote, world.trusted, clock=world.clock, threads=0)
    first_snapshot = next(place for place, name in enumerate(written) if name.startswith(names.SNAPSHOTS))
    late = [name for name in written[first_snapshot:] if name.startswith((names.PACKS, names.INDEXES))]
    assert late == []


def _stock_prune(world: World) -> tuple[str, str]:
    """What stock restic's forget and prune leave at production: one snapshot less, a pack moved, a new index."""
    snapshot = next(info.name for info in world.production.list(names.SNAPSHOTS))
    old_index = next(info.name for info in world.production.list(names.INDEXES))
    for name in (snapshot, old_index, *_packs_in(world, old_index)):
        world.production.delete(name)
    moved, data = pack("moved by restic")
    world.production.put(moved, data)
    world.production.put(*index([moved]))
    return snapshot, moved


def test_what_stock_restic_removed_is_released_when_a_person_says_so() -> None:
    world = World()
    world.backup()
    world.live_packs = []
    world.backup()
    snapshot, moved = _stock_prune(world)
    receipt = release_absent(world.near())
    assert receipt is not None
    log = read_log(world.same_city, world.trusted, repository=world.repository, after=START)
    named = named_objects(log, world.same_city)
    assert snapshot in named.released
    assert moved in named.live
    # The pack that took the place of others is there before anything that needed those is let go of.
    assert world.same_city.head(moved)
    assert release_absent(world.near()) is None


def test_released_damage_no_longer_keeps_production_from_counting() -> None:
    world = World(mode=Mode.MAXIMUM_PROTECTION)
    world.backup()
    world.live_packs = []
    world.backup()
    gone, _ = _stock_prune(world)
    write_record(world.production, VerificationRecord(time=world.clock.now(), damaged=(gone,), damaged_count=1))
    with pytest.raises(IntegrityError, match="repo adopt --released") as refused:
        world.backup()
    assert refused.value.exit_code == 6, "waiting brings nothing back"
    release_absent(world.near())
    world.live_packs = []
    assert world.backup().held_by == ("production", "same_city")


def test_a_release_that_could_not_be_committed_leaves_the_damage_on_record() -> None:
    world = World(mode=Mode.MAXIMUM_PROTECTION)
    world.backup()
    world.live_packs = []
    world.backup()
    gone, _ = _stock_prune(world)
    write_record(world.production, VerificationRecord(time=world.clock.now(), damaged=(gone,), damaged_count=1))
    full = Faults(1, FaultKind.FULL, Moment.BEFORE, is_permanent=True, operations=frozenset({"put"}))
    near = world.near(wrap=lambda store: FaultStore(store, full) if store is world.same_city else store)
    with pytest.raises(GovsecError):
        release_absent(near)
    full.assert_injected()
    assert damage_of(world.production) == 1
