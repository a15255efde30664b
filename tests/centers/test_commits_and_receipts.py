"""Committing: what a receipt promises, and what is left when anything fails on the way."""

from __future__ import annotations

import contextlib

import pytest

from govsec.centers import names
from govsec.centers.adoption import adopt
from govsec.centers.commits import SnapshotRef
from govsec.centers.log import START, read_log
from govsec.centers.near import Change
from govsec.centers.ship import ship
from govsec.centers.state import States, SyncState
from govsec.config import Mode
from govsec.errors import GovsecError, StoreError, StoreUnavailableError
from govsec.testing.faults import FaultKind, Faults, FaultStore, Killed, Moment, sweep
from tests.centers.world import World, assert_valid, index, objects_of, pack, repository_part, snapshot


def test_a_receipt_names_both_near_centers_when_both_hold_everything() -> None:
    world = World()
    receipt = world.backup()
    assert (receipt.number, receipt.held_by, receipt.reached) == (1, ("production", "same_city"), "synced")
    assert repository_part(world.production) == repository_part(world.same_city)
    assert_valid(world.production, world.same_city)


def test_commits_form_a_chain_that_both_centers_hold() -> None:
    world = World()
    receipts = [world.backup() for _ in range(3)]
    for store in (world.production, world.same_city):
        log = read_log(store, world.trusted, repository=world.repository)
        assert [entry.digest for entry in log.entries] == [receipt.digest for receipt in receipts]
        assert log.flaws == ()
        assert log.head.number == 3


def test_committing_the_same_snapshot_again_gives_the_same_commit() -> None:
    world = World()
    near = world.near()
    change = world.store_backup(near)
    first, second = near.commit(change), near.commit(change)
    assert (first.number, first.digest, first.held_by) == (second.number, second.digest, second.held_by)


@pytest.mark.parametrize("mode", list(Mode))
@pytest.mark.parametrize("kind", [FaultKind.ERROR, FaultKind.KILL, FaultKind.FULL])
@pytest.mark.parametrize("moment", list(Moment))
def test_whatever_call_fails_the_next_run_completes_what_was_begun(mode: Mode, kind: FaultKind, moment: Moment) -> None:
    injected_count = 0
    for faults in sweep(kind, moment):
        world = World(mode=mode)
        world.backup()
        receipts = []
        near = world.near(wrap=lambda store, faults=faults: FaultStore(store, faults))
        with contextlib.suppress(GovsecError, Killed):
            receipts.append(world.backup(near))
        injected_count += faults.injected_count
        assert_valid(world.production, world.same_city)
        _assert_receipts_true(world, receipts)

        world.clock.advance(3600)
        near = world.near()
        near.resync()
        adopt(near)
        world.backup(near)
        near.resync()
        assert_valid(world.production, world.same_city)
        log = read_log(world.production, world.trusted, repository=world.repository, after=START)
        committed = {entry.commit.snapshot.name for entry in log.entries if entry.commit.snapshot}
        seen = {info.name for info in world.production.list(names.SNAPSHOTS)}
        if mode is not Mode.MAXIMUM_PERFORMANCE:
            seen |= {info.name for info in world.same_city.list(names.SNAPSHOTS)}
            assert objects_of(world.production).keys() >= committed
            same = read_log(world.same_city, world.trusted, repository=world.repository, after=START)
            assert same.digests == log.digests
        assert seen == committed
        assert log.flaws == ()
    # A call that fails by itself (nothing there) has no effect to fail after.
    assert injected_count > 15


def _assert_receipts_true(world: World, receipts: list) -> None:  # type: ignore[type-arg]
    by_name = {store.name: store for store in world.stores}
    for receipt in receipts:
        for center in receipt.held_by:
            there = {info.name for info in by_name[center].list("")}
            assert names.SNAPSHOTS + receipt.snapshot_id in there
            assert set(world.live_packs) <= there
            assert any(receipt.digest in name for name in there)


def test_maximum_protection_acknowledges_nothing_without_same_city() -> None:
    world = World(mode=Mode.MAXIMUM_PROTECTION)
    dead = Faults(1, FaultKind.ERROR, is_permanent=True)
    near = world.near(wrap=lambda store: FaultStore(store, dead) if store is world.same_city else store)
    with pytest.raises(StoreError):
        world.backup(near)
    assert not list(world.production.list(names.SNAPSHOTS))
    assert not list(world.production.list(names.COMMITS))


def test_maximum_availability_goes_on_alone_says_so_and_catches_up() -> None:
    world = World()
    world.backup()
    dead = Faults(1, FaultKind.TIMEOUT, is_permanent=True)
    near = world.near(wrap=lambda store: FaultStore(store, dead) if store is world.same_city else store)
    receipt = world.backup(near)
    assert (receipt.held_by, receipt.reached) == (("production",), "degraded")
    state = world.states.get("same_city")
    assert state.state is SyncState.DEGRADED
    assert state.since == world.clock.now()

    assert world.backup().held_by == ("production",), "left alone while it is quiet"
    world.clock.advance(3600)
    receipt = world.backup()
    assert receipt.held_by == ("production", "same_city")
    assert world.states.get("same_city").state is SyncState.SYNCED
    assert repository_part(world.production) == repository_part(world.same_city)


def test_backups_go_on_at_same_city_while_production_s_store_is_out() -> None:
    world = World()
    world.backup()
    dead = Faults(1, FaultKind.ERROR, is_permanent=True)
    near = world.near(wrap=lambda store: FaultStore(store, dead) if store is world.production else store)
    assert world.backup(near).held_by == ("same_city",)
    world.clock.advance(3600)
    assert world.backup().held_by == ("production", "same_city")
    assert repository_part(world.production) == repository_part(world.same_city)


def test_maximum_performance_acks_at_production_and_resyncs_on_request() -> None:
    world = World(mode=Mode.MAXIMUM_PERFORMANCE)
    receipt = world.backup()
    assert (receipt.held_by, receipt.reached) == (("production",), "synced")
    assert not list(world.same_city.list(names.PACKS))


def test_a_snapshot_of_stock_restic_gets_a_commit_and_reaches_same_city() -> None:
    world = World()
    world.backup()
    alone = world.near(wrap=lambda store: store, mode=Mode.MAXIMUM_PERFORMANCE)
    change = world.store_backup(alone)
    near = world.near()
    adopted = adopt(near)
    assert [receipt.snapshot_id for receipt in adopted.receipts] == [change.snapshot.id]
    assert adopted.receipts[0].held_by == ("production", "same_city")
    assert repository_part(world.production) == repository_part(world.same_city)
    assert adopt(near).receipts == ()


def test_a_snapshot_that_is_not_whole_is_refused_and_named() -> None:
    world = World()
    world.backup()
    near = world.near()
    change = world.store_backup(near)
    for store in (world.production, world.same_city):
        store.delete(change.objects[0].name)
    adopted = adopt(near)
    assert adopted.receipts == ()
    assert set(adopted.refused) == {change.snapshot.id}


def test_two_writers_that_commit_at_once_get_two_numbers() -> None:
    world = World()
    first, second = world.near(), world.near()
    one, two = world.store_backup(first), world.store_backup(second)
    original = first._claim  # the other writer slips in between signing and claiming
    calls = []

    def late_claim(*args: object) -> bool:
        if not calls:
            calls.append(second.commit(two))
        return original(*args)  # type: ignore[arg-type]

    first._claim = late_claim  # type: ignore[method-assign]
    receipt = first.commit(one)
    assert (calls[0].number, receipt.number) == (1, 2)
    log = read_log(world.production, world.trusted, repository=world.repository)
    assert (log.flaws, log.head.number) == ((), 2)


def test_a_claim_that_is_junk_is_removed_and_does_not_stop_anybody() -> None:
    world = World()
    world.backup()
    world.production.put(f"{names.CLAIMS}{2:012d}", b"junk")
    assert world.backup().number == 2


def test_histories_written_apart_are_joined_by_the_next_commit() -> None:
    world = World()
    world.backup()
    before = list(world.live_packs)
    for name in ("production", "same_city"):
        alone = getattr(world, name)
        dead = Faults(1, FaultKind.ERROR, is_permanent=True)
        world.states = States(world.clock)  # each side is a host of its own
        world.live_packs = list(before)
        side = world.near(
            wrap=lambda store, alone=alone, dead=dead: store if store is alone else FaultStore(store, dead)
        )
        assert world.backup(side, seed=name).held_by == (name,)
    world.states = States(world.clock)
    near = world.near()
    near.resync()
    forked = read_log(world.production, world.trusted, repository=world.repository)
    assert len(forked.heads) == 2
    receipt = world.backup(near)
    joined = read_log(world.same_city, world.trusted, repository=world.repository)
    assert (receipt.number, joined.flaws, len(joined.heads)) == (3, (), 1)
    assert_valid(world.production, world.same_city)


def test_a_commit_without_a_snapshot_records_what_production_released() -> None:
    world = World()
    receipt = world.backup()
    near = world.near()
    name = names.SNAPSHOTS + receipt.snapshot_id
    released = near.commit(Change(released=[(name, near.head(name).size_bytes)]))
    log = read_log(world.same_city, world.trusted, repository=world.repository)
    assert released.number == 2
    assert log.entries[-1].commit.released.names[0][0] == name


def test_unreachable_production_and_same_city_is_an_error_that_names_one() -> None:
    world = World()
    dead = Faults(1, FaultKind.ERROR, is_permanent=True)
    with pytest.raises(StoreUnavailableError, match="production"):
        world.backup(world.near(wrap=lambda store: FaultStore(store, dead)))


def test_a_center_that_missed_a_pack_gets_no_index_over_the_hole_though_it_answers_again() -> None:
    world = World()
    world.backup()
    once = Faults(1, FaultKind.ERROR)
    near = world.near(wrap=lambda store: FaultStore(store, once) if store is world.same_city else store)
    name, data = pack("missed at same-city")
    infos = [near.put(name, data)]
    assert infos[0].held_by == ("production",)
    world.clock.advance(3600)  # it is asked again by now
    infos.append(near.put(*pack("arrives at both")))
    assert infos[1].held_by == ("production", "same_city")
    infos.append(near.put(*index([info.name for info in infos])))
    time = world.clock.now()
    infos.append(near.put(*snapshot([name], time)))
    assert_valid(world.production, world.same_city)
    assert infos[-1].held_by == ("production",)
    ref = SnapshotRef(id=infos[-1].name.removeprefix(names.SNAPSHOTS), time=time)
    assert near.commit(Change(infos, ref)).held_by == ("production", "same_city")
    assert_valid(world.production, world.same_city)
    assert repository_part(world.production) == repository_part(world.same_city)


def test_what_a_dead_run_left_at_production_is_completed_and_named_before_a_snapshot_rests_on_it() -> None:
    world = World()
    world.backup()
    name, data = pack("of the run that died")
    orphan = index([name])
    world.production.put(name, data)
    world.production.put(*orphan)
    world.production.put(names.INDEXES + "0" * 64, b"junk that is no index")
    world.live_packs.append(name)  # the next run reads that index and does not store these blobs again
    near = world.near()
    change = world.store_backup(near)
    world.production.delete(names.INDEXES + "0" * 64)
    assert_valid(world.production, world.same_city)
    near.commit(change)
    ship(world.same_city, world.remote, world.trusted, clock=world.clock, threads=0)
    assert_valid(world.remote)
    assert {name, orphan[0]} <= objects_of(world.remote).keys()
