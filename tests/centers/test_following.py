"""A writer that stays: its commits cost what is new, and it sees what others wrote, however long the log is."""

from __future__ import annotations

import pytest

from govsec.centers import names
from govsec.centers.checkpoints import COMMITS_BETWEEN, newest_checkpoint
from govsec.centers.following import Following
from govsec.centers.log import START, read_log
from govsec.centers.near import Near, Receipt
from govsec.centers.ship import ShipReport, ship
from govsec.errors import RefusedError, StoreError
from govsec.store.memory import MemoryStore
from govsec.store.meter import Meter, MeterStore
from govsec.testing.faults import FaultKind, Faults, FaultStore
from tests.centers.world import World, assert_valid, copy_store


@pytest.fixture
def world() -> World:
    return World()


def following(world: World, near: Near | None = None) -> Near:
    near = near or world.near()
    near.resync()
    near.is_following = True
    near.key_holder = None
    return near


def numbers(store: MemoryStore, world: World) -> list[int]:
    log = read_log(store, world.trusted, repository=world.repository, after=START)
    assert not log.flaws
    return [entry.number for entry in log.entries]


def test_a_commit_costs_the_same_when_the_log_is_long(world: World) -> None:
    meter = Meter()
    near = following(world, world.near(wrap=lambda store: MeterStore(store, meter, world.clock)))

    def calls_of_one() -> int:
        before = sum(usage.calls_count for usage in meter.usage().values())
        world.backup(near, packs_count=1)
        return sum(usage.calls_count for usage in meter.usage().values()) - before

    world.backup(near, packs_count=1)
    early = calls_of_one()
    costs = [calls_of_one() for _ in range(2 * COMMITS_BETWEEN)]
    assert costs[-1] == early
    assert sum(cost > early for cost in costs) == 2  # those that wrote a checkpoint and read the log for it


def test_checkpoints_come_as_without_following(world: World) -> None:
    near = following(world)
    for _ in range(COMMITS_BETWEEN + 3):
        world.backup(near, packs_count=1)
    for store in (world.production, world.same_city):
        stored = newest_checkpoint(store, world.trusted, world.repository)
        assert stored is not None and stored.checkpoint.number == COMMITS_BETWEEN
        assert stored.checkpoint.added.count == 3 * COMMITS_BETWEEN
    assert numbers(world.same_city, world) == list(range(1, COMMITS_BETWEEN + 4))


def test_what_another_writer_committed_is_followed(world: World) -> None:
    near = following(world)
    first = world.backup(near)
    other = world.backup(world.near())
    third = world.backup(near)
    assert [receipt.number for receipt in (first, other, third)] == [1, 2, 3]
    assert numbers(world.production, world) == numbers(world.same_city, world) == [1, 2, 3]


def test_a_center_that_was_out_gets_what_it_lacks_while_the_writer_stays(world: World) -> None:
    faults = Faults(0, FaultKind.ERROR, is_permanent=True)

    def wrap(store: MemoryStore) -> MemoryStore | FaultStore[MemoryStore]:
        return FaultStore(store, faults) if store is world.same_city else store

    near = following(world, world.near(wrap=wrap))
    receipts: list[Receipt] = [world.backup(near)]
    faults.call = 1  # from now on every call fails
    receipts.append(world.backup(near))
    faults.assert_injected()
    faults.call = 0
    world.clock.advance(3600)
    receipts.append(world.backup(near))
    assert [receipt.reached for receipt in receipts] == ["synced", "degraded", "synced"]
    assert numbers(world.same_city, world) == [1, 2, 3]
    assert_valid(world.production, world.same_city)


def test_nothing_is_written_in_another_epoch(world: World) -> None:
    near = following(world)
    world.backup(near)
    near.epoch = 1
    world.backup(near)
    near.epoch = 7
    before = {info.name for info in world.production.list(names.COMMITS)}
    change = world.store_backup(near)
    with pytest.raises(RefusedError, match="epoch"):
        near.commit(change)
    assert {info.name for info in world.production.list(names.COMMITS)} == before


def test_a_center_that_was_rolled_back_is_brought_up_again(world: World) -> None:
    near = following(world)
    for _ in range(3):
        world.backup(near)
    newest = max(info.name for info in world.same_city.list(names.COMMITS))
    world.same_city.delete(newest)
    receipt = world.backup(near)
    assert receipt.reached == "synced"
    assert numbers(world.same_city, world) == [1, 2, 3, 4]


def round_of(world: World, stay: Following, meter: Meter | None = None) -> ShipReport:
    meter = meter or Meter()
    source = MeterStore(world.same_city, meter, world.clock)
    target = MeterStore(world.remote, meter, world.clock)
    return ship(source, target, world.trusted, clock=world.clock, threads=0, following=stay)


def test_a_round_of_a_shipper_that_stays_costs_what_is_new(world: World) -> None:
    near, stay = following(world), Following(world.clock, whole_every_s=1e9)
    costs: list[int] = []
    for _ in range(2 * COMMITS_BETWEEN):
        world.backup(near, packs_count=1)
        meter = Meter()
        report = round_of(world, stay, meter)
        assert report.commits_count == 1
        assert [arrival.snapshot.id for arrival in report.arrivals]
        costs.append(sum(usage.calls_count for usage in meter.usage().values()))
    typical = sorted(costs)[len(costs) // 2]
    assert costs[-1] == typical
    assert sum(cost > typical for cost in costs) <= 4  # the first, and those that looked for a checkpoint
    idle = Meter()
    assert round_of(world, stay, idle).commits_count == 0
    assert sum(usage.calls_count for usage in idle.usage().values()) <= 7
    assert numbers(world.remote, world) == numbers(world.production, world)
    assert newest_checkpoint(world.remote, world.trusted, world.repository) is not None
    assert_valid(world.remote)


def test_a_branch_that_appears_beside_is_found_by_the_next_whole_round(world: World) -> None:
    near, stay = following(world), Following(world.clock, whole_every_s=600)
    world.backup(near)
    round_of(world, stay)
    # Production alone, written by a side that could not see same-city's commit of the same number.
    other, same = copy_store(world.production), copy_store(world.same_city)
    world.backup(near, seed="here")
    round_of(world, stay)
    apart = World(clock=world.clock, commit_signer=world.commit_signer, release_signer=world.release_signer)
    apart.production, apart.same_city = other, same
    apart.live_packs = []
    branch = apart.backup(apart.near(), seed="there")
    for info in apart.production.list(""):
        world.same_city.put(info.name, apart.production.get(info.name, size_max=1 << 24))
    round_of(world, stay)
    world.clock.advance(601)
    report = round_of(world, stay)
    assert report.commits_count == 1
    assert any(branch.digest in info.name for info in world.remote.list(names.COMMITS))


def test_after_a_round_that_failed_nothing_is_taken_for_known(world: World) -> None:
    near, stay = following(world), Following(world.clock)
    world.backup(near)
    round_of(world, stay)
    assert stay.known(world.same_city.name) is not None
    world.backup(near)
    faults = Faults(3, FaultKind.ERROR)
    with pytest.raises(StoreError):
        ship(
            world.same_city,
            FaultStore[MemoryStore](world.remote, faults),
            world.trusted,
            clock=world.clock,
            threads=0,
            following=stay,
        )
    faults.assert_injected()
    assert stay.known(world.same_city.name) is None
    assert round_of(world, stay).head.number == 2
    assert_valid(world.remote)
