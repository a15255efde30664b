"""Damage is found without a key and healed from wherever good bytes are."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from datetime import timedelta

import pytest

from govsec.centers import names
from govsec.centers.heal import HealReport, heal, uncover
from govsec.centers.log import read_log
from govsec.centers.near import Change
from govsec.centers.reading import DamageKind
from govsec.centers.records import damage_of, read_record
from govsec.centers.ship import ship
from govsec.centers.verify import VerifyReport, verify
from govsec.errors import GovsecError
from govsec.store.memory import MemoryStore
from govsec.testing.faults import FaultKind, Faults, FaultStore, Killed, Moment, sweep
from govsec.testing.versioned import VersionedMemoryStore
from tests.centers.world import World, assert_valid, copy_store, digest, objects_of, repository_part


def world_of_three() -> World:
    world = World()
    for _ in range(3):
        world.backup()
    ship(world.same_city, world.remote, world.trusted, clock=world.clock, threads=0)
    world.clock.advance(1)
    return world


def verified(world: World, store: MemoryStore, **options: object) -> VerifyReport:
    others = [other for other in world.stores if other is not store]
    return verify(
        store,
        world.trusted,
        clock=world.clock,
        others=others,
        record_to=store,
        is_production=store is world.production,
        threads=0,
        **options,  # type: ignore[arg-type]
    )


def healed(world: World, store: MemoryStore, report: VerifyReport) -> HealReport:
    sources = [other for other in world.stores if other.name != store.name]
    return heal(store, sources, [damage.name for damage in report.damaged], repository=report.repository)


def test_three_whole_centers_are_clean() -> None:
    world = world_of_three()
    for store in world.stores:
        report = verified(world, store)
        assert report.is_clean
        assert report.checked_count == report.expected_count
        assert report.oldest_verified == world.clock.now()


def flip(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


def cut(data: bytes) -> bytes:
    return data[:-1]


DAMAGE: dict[str, Callable[[MemoryStore, str], None]] = {
    "flipped": lambda store, name: put(store, name, flip),
    "truncated": lambda store, name: put(store, name, cut),
    "lengthened": lambda store, name: put(store, name, lambda data: data + b"x"),
    "emptied": lambda store, name: put(store, name, lambda data: b""),
    "missing": lambda store, name: store.delete(name),
}


def put(store: MemoryStore, name: str, change: Callable[[bytes], bytes]) -> None:
    store.put(name, change(store.get(name, size_max=1 << 20)))


@pytest.mark.parametrize("how", DAMAGE)
@pytest.mark.parametrize("center", ["production", "same_city", "remote"])
def test_every_damaged_object_of_any_center_is_found_and_healed(how: str, center: str) -> None:
    world = world_of_three()
    store: MemoryStore = getattr(world, center)
    whole = repository_part(store)
    log_before = {info.name for info in store.list(names.COMMITS)}
    targets = [name for name in objects_of(store) if not name.startswith(names.VERIFIED)]
    for name in targets:
        DAMAGE[how](store, name)
        report = verified(world, store)
        assert not report.is_clean, name
        outcome = healed(world, store, report)
        if not name.startswith(names.COMMITS):
            assert outcome.healed == (name,), (name, outcome)
        ship(world.production if center != "production" else world.same_city, store, world.trusted, clock=world.clock)
        assert verified(world, store).is_clean, name
    assert repository_part(store) == whole
    assert {info.name for info in store.list(names.COMMITS)} == log_before
    assert len(targets) >= 15


KEY = b'{"kdf":"scrypt","of":"another password"}'
KEY_NAME = names.KEYS + digest(KEY)


def test_a_center_without_any_key_file_is_damaged_even_when_no_other_center_can_help() -> None:
    world = world_of_three()
    for store in world.stores:
        for info in list(store.list(names.KEYS)):
            store.delete(info.name)
    report = verified(world, world.remote)
    assert ([damage.name for damage in report.damaged], report.is_clean) == ([names.KEYS], False)
    assert not healed(world, world.remote, report).is_whole


def test_a_key_file_that_was_here_and_that_the_others_have_is_missed_and_healed() -> None:
    world = world_of_three()
    for store in world.stores:
        store.put(KEY_NAME, KEY)
    assert verified(world, world.remote).is_clean
    world.clock.advance(60)
    world.remote.delete(KEY_NAME)
    for _ in range(2):
        world.clock.advance(60)
        report = verified(world, world.remote)
        assert [(damage.kind, damage.name) for damage in report.damaged] == [(DamageKind.MISSING, KEY_NAME)]
    assert healed(world, world.remote, report).healed == (KEY_NAME,)
    assert verified(world, world.remote).is_clean


def test_a_key_file_that_a_center_never_had_is_told_and_not_brought_there() -> None:
    world = world_of_three()
    verified(world, world.remote)
    for store in (world.production, world.same_city):
        store.put(KEY_NAME, KEY)  # whoever has production's credential can do that
    world.clock.advance(60)
    report = verified(world, world.remote)
    assert (report.unshared_keys, report.damaged, report.is_clean) == ((KEY_NAME,), (), False)
    healed(world, world.remote, report)
    assert KEY_NAME not in objects_of(world.remote)


def test_a_password_that_was_removed_at_production_is_not_brought_back_there() -> None:
    world = world_of_three()
    for store in world.stores:
        store.put(KEY_NAME, KEY)
    verified(world, world.production)
    world.clock.advance(60)
    world.production.delete(KEY_NAME)
    report = verified(world, world.production)
    assert (report.unshared_keys, report.damaged) == ((KEY_NAME,), ())
    world.same_city.delete(KEY_NAME)
    assert verified(world, world.production).is_clean, "the sync reached one; what it did not reach it named"


def test_two_objects_that_were_swapped_are_both_found_and_healed() -> None:
    world = world_of_three()
    first, second = [info.name for info in world.remote.list(names.PACKS)][:2]
    one, two = (world.remote.get(name, size_max=1 << 20) for name in (first, second))
    world.remote.put(first, two)
    world.remote.put(second, one)
    report = verified(world, world.remote)
    assert {damage.name for damage in report.damaged} == {first, second}
    assert set(healed(world, world.remote, report).healed) == {first, second}
    assert verified(world, world.remote).is_clean


def test_a_center_heals_when_the_two_others_are_each_damaged_elsewhere() -> None:
    world = world_of_three()
    packs = [info.name for info in world.remote.list(names.PACKS)]
    for store, name in zip(world.stores, packs, strict=False):
        put(store, name, flip)
    for store in world.stores:
        assert healed(world, store, verified(world, store)).is_whole
    for store in world.stores:
        assert verified(world, store).is_clean


def test_what_no_center_has_is_named_and_the_bad_bytes_stay() -> None:
    world = world_of_three()
    name = next(iter(world.remote.list(names.PACKS))).name
    for store in world.stores:
        put(store, name, flip)
    bad = objects_of(world.remote)[name]
    outcome = healed(world, world.remote, verified(world, world.remote))
    assert (outcome.not_found, outcome.is_whole) == ((name,), False)
    assert objects_of(world.remote)[name] == bad


def test_a_lie_at_a_commit_is_found_and_later_receipts_say_so_until_it_is_healed() -> None:
    world = World()
    world.backup()
    lie = Faults(1, FaultKind.LIE)
    near = world.near(wrap=lambda store: FaultStore(store, lie) if store is world.same_city else store)
    receipt = world.backup(near)
    lie.assert_injected()
    assert receipt.held_by == ("production", "same_city"), "nobody can know yet"
    report = verified(world, world.same_city)
    assert [damage.kind for damage in report.damaged] == [DamageKind.MISSING]
    assert world.backup().held_by == ("production",)
    assert healed(world, world.same_city, verified(world, world.same_city)).is_whole
    assert damage_of(world.same_city) == 1, "until it was looked at again"
    assert verified(world, world.same_city, lag_max_s=3600).damaged_count == 0
    world.clock.advance(7200)
    assert world.backup().held_by == ("production", "same_city")
    assert_valid(*world.stores)
    assert repository_part(world.production) == repository_part(world.same_city)


def test_a_budget_spreads_the_work_oldest_first_and_remembers_where_it_was() -> None:
    world = world_of_three()
    sizes = [info.size_bytes for info in world.remote.list("") if names.digest_of(info.name)]
    seen: set[str] = set()
    for _ in range(len(sizes) + 2):
        world.clock.advance(3600)
        before = read_record(world.remote, world.clock.now())
        report = verified(world, world.remote, budget_bytes=1)
        assert report.checked_count >= 1
        after = read_record(world.remote, world.clock.now())
        assert after is not None
        looked = {
            folder for folder in after.folders if before is None or before.folders.get(folder) != after.folders[folder]
        }
        assert len(looked - {names.KEYS}) == 1, "key files are read beside what counts"
        seen |= looked
        if report.oldest_verified is not None:
            break
    assert report.oldest_verified is not None, "every folder had its turn"
    assert seen == set(after.folders)


def test_damage_that_a_budget_does_not_reach_again_stays_known() -> None:
    world = world_of_three()
    name = next(iter(world.remote.list(names.PACKS))).name
    put(world.remote, name, flip)
    assert verified(world, world.remote).damaged_count == 1
    world.clock.advance(60)
    again = verified(world, world.remote, budget_bytes=1)
    assert [damage.name for damage in again.damaged] == [name]


def test_a_record_that_claims_the_future_or_is_junk_counts_for_nothing() -> None:
    world = world_of_three()
    verified(world, world.remote)
    record = next(iter(world.remote.list(names.VERIFIED)))
    data = world.remote.get(record.name, size_max=1 << 20)
    world.remote.put(record.name, data.replace(b'"2026-', b'"2099-'))
    world.remote.put(names.VERIFIED + "center-junk", b"{")
    assert read_record(world.remote, world.clock.now()) is None


def test_a_longer_head_elsewhere_is_late_only_after_the_lag_that_is_allowed() -> None:
    world = world_of_three()
    world.backup()
    assert verified(world, world.remote, lag_max_s=60).is_clean
    world.clock.advance(120)
    report = verified(world, world.remote, lag_max_s=60)
    assert (report.is_late, report.is_clean, report.behind["remote"]) == (True, False, 1)


def test_where_no_lag_is_allowed_a_clock_that_is_behind_hides_nothing() -> None:
    world = world_of_three()
    world.backup()
    world.clock.jump(-86400)
    report = verified(world, world.remote)
    assert (report.is_late, report.is_clean) == (True, False)


def test_another_center_that_cannot_be_asked_is_no_clean_verification() -> None:
    world = world_of_three()
    dead = FaultStore(world.production, Faults(1, FaultKind.TIMEOUT, is_permanent=True))
    report = verify(world.remote, world.trusted, clock=world.clock, others=[dead, world.same_city], threads=0)
    assert set(report.unseen) == {"production"}
    assert not report.is_clean


def test_an_empty_center_is_never_clean() -> None:
    world = World()
    for info in list(world.remote.list(names.KEYS)):
        world.remote.delete(info.name)
    report = verify(world.remote, world.trusted, clock=world.clock, threads=0)
    assert (report.checked_count, report.is_clean) == (0, False)


@pytest.mark.parametrize("center", ["production", "same_city", "remote"])
def test_a_center_that_was_wiped_but_for_config_and_keys_is_never_clean(center: str) -> None:
    world = world_of_three()
    store: MemoryStore = getattr(world, center)
    for name in objects_of(store):
        if name != names.CONFIG and not name.startswith(names.KEYS):
            store.delete(name)
    for budget_bytes in (None, 1):
        report = verified(world, store, lag_max_s=10 * 86400, budget_bytes=budget_bytes)
        assert (report.checked_count, report.expected_count, report.is_clean) == (0, 0, False)
        assert report.behind[center] == 3


def test_a_center_to_which_nothing_was_shipped_yet_is_not_clean() -> None:
    world = World()
    world.backup()
    assert not verified(world, world.remote, lag_max_s=86400).is_clean


def test_a_healed_commit_log_is_whole_again() -> None:
    world = world_of_three()
    entries = read_log(world.remote, world.trusted).entries
    world.remote.delete(entries[0].name)
    world.remote.put(entries[1].name, b"junk")
    report = verified(world, world.remote)
    assert report.flaws
    healed(world, world.remote, report)
    ship(world.same_city, world.remote, world.trusted, clock=world.clock, threads=0)
    assert verified(world, world.remote).is_clean


@pytest.mark.parametrize("kind", [FaultKind.ERROR, FaultKind.KILL])
@pytest.mark.parametrize("moment", list(Moment))
def test_healing_that_is_cut_off_anywhere_leaves_a_center_that_heals_again(kind: FaultKind, moment: Moment) -> None:
    world = world_of_three()
    packs = [info.name for info in world.remote.list(names.PACKS)][:2]
    index = next(iter(world.remote.list(names.INDEXES))).name
    put(world.remote, packs[0], flip)
    world.remote.delete(packs[1])
    put(world.remote, index, cut)
    damaged = [*packs, index]
    injected_count = 0
    for faults in sweep(kind, moment):
        remote = copy_store(world.remote)
        sources = [FaultStore(world.same_city, faults), FaultStore(world.production, faults)]
        with contextlib.suppress(GovsecError, Killed):
            heal(FaultStore(remote, faults), sources, damaged, repository=world.repository)
        injected_count += faults.injected_count
        outcome = heal(remote, [world.production], damaged, repository=world.repository)
        assert outcome.is_whole
        assert repository_part(remote) == repository_part(world.same_city)
    assert injected_count > 8


def test_a_lost_remote_and_a_lost_same_city_are_filled_again_from_what_is_left() -> None:
    world = world_of_three()
    survivors = repository_part(world.remote)
    for name in ("production", "same_city"):
        fresh = MemoryStore(name, clock=world.clock)
        fresh.put(names.CONFIG, world.remote.get(names.CONFIG, size_max=1 << 16))
        for info in world.remote.list(names.KEYS):
            fresh.put(info.name, world.remote.get(info.name, size_max=1 << 16))
        setattr(world, name, fresh)
        ship(world.remote, fresh, world.trusted, clock=world.clock, threads=0)
        assert repository_part(fresh) == survivors
        assert_valid(fresh)
    assert world.backup().number == 4


def test_recovery_points_do_not_depend_on_a_clock_that_jumped() -> None:
    world = world_of_three()
    world.clock.jump(timedelta(days=3650).total_seconds())
    report = verified(world, world.remote)
    assert report.damaged == ()


def test_a_thief_who_overwrites_everything_makes_no_center_forget_what_it_should_hold() -> None:
    world = world_of_three()
    whole = repository_part(world.same_city)
    overwritten = list(objects_of(world.same_city))
    for name in overwritten:
        world.same_city.put(name, b"ransom")
    report = verified(world, world.same_city)
    assert {damage.name for damage in report.damaged} == set(overwritten)
    assert not report.is_clean
    assert set(healed(world, world.same_city, report).healed) == set(overwritten)
    assert verified(world, world.same_city).is_clean
    assert repository_part(world.same_city) == whole


def test_a_versioned_center_that_is_left_alone_heals_from_its_own_versions() -> None:
    world = world_of_three()
    alone = VersionedMemoryStore("same_city", clock=world.clock)
    for name, data in objects_of(world.same_city).items():
        alone.put(name, data)
    for name in objects_of(world.same_city):
        alone.as_production().put(name, b"ransom")
    good = {name for name in objects_of(world.same_city) if names.digest_of(name)}
    assert set(uncover(alone)) == good
    report = verify(alone, world.trusted, clock=world.clock, threads=0)
    assert [damage.name for damage in report.damaged] == [names.CONFIG]
    outcome = heal(alone, [], [names.CONFIG], repository=report.repository, versions=alone, retaining=alone)
    assert outcome.healed == (names.CONFIG,)
    assert verify(alone, world.trusted, clock=world.clock, threads=0).is_clean


def test_what_a_center_deleted_on_purpose_is_not_uncovered() -> None:
    world = world_of_three()
    own = VersionedMemoryStore("remote", clock=world.clock)
    for name, data in objects_of(world.remote).items():
        own.put(name, data)
    gone = next(own.list(names.SNAPSHOTS)).name
    own.delete(gone)
    assert uncover(own) == ()
    assert gone not in {info.name for info in own.list("")}


def test_what_only_a_missing_commit_names_is_found_in_the_same_run() -> None:
    world = world_of_three()
    entries = read_log(world.remote, world.trusted).entries
    pack_name = next(name for name, _ in entries[1].commit.added.names if name.startswith(names.PACKS))
    world.remote.delete(entries[1].name)
    world.remote.delete(pack_name)
    report = verified(world, world.remote)
    assert {damage.name for damage in report.damaged} == {entries[1].name, pack_name}
    assert set(healed(world, world.remote, report).healed) == {entries[1].name, pack_name}
    assert verified(world, world.remote).is_clean


def world_that_released(*, ships_between: bool, wait_s: float = 1) -> tuple[World, set[str]]:
    """A backup that production released and removed; the remote center got it before, or everything in one round."""
    world = World()
    near = world.near()
    old = world.store_backup(near)
    near.commit(old)
    if ships_between:
        ship(world.same_city, world.remote, world.trusted, clock=world.clock, threads=0)
    world.live_packs = []
    world.backup(near)
    world.clock.advance(wait_s)
    near.commit(Change(released=[(info.name, info.size_bytes) for info in old.objects]))
    gone = {info.name for info in old.objects}
    for name in gone:
        world.production.delete(name)
    ship(world.same_city, world.remote, world.trusted, clock=world.clock, threads=0)
    return world, gone


@pytest.mark.parametrize("center", ["same_city", "remote"])
def test_what_production_released_and_a_center_still_keeps_is_missed_there_and_healed(center: str) -> None:
    world, old = world_that_released(ships_between=True)
    store: MemoryStore = getattr(world, center)
    whole = repository_part(store)
    assert old <= whole.keys()
    for name in old:
        if name.startswith(names.SNAPSHOTS):
            continue  # it is what shows that the others were here
        store.delete(name)
        report = verified(world, store)
        assert [(damage.kind, damage.name) for damage in report.damaged] == [(DamageKind.MISSING, name)]
        assert healed(world, store, report).healed == (name,)
        assert verified(world, store).is_clean
    assert repository_part(store) == whole
    report = verified(world, world.production)
    assert report.is_clean, "production released it"
    assert (report.checked_count, report.oldest_verified) == (report.expected_count, world.clock.now())


def test_a_released_backup_that_is_lost_whole_is_missed_because_it_came_before_its_release() -> None:
    world, old = world_that_released(ships_between=True, wait_s=3600)
    for name in old:
        world.remote.delete(name)
    report = verified(world, world.remote)
    assert {damage.name for damage in report.damaged} == old
    assert set(healed(world, world.remote, report).healed) == old
    assert verified(world, world.remote).is_clean


@pytest.mark.parametrize("ahead_s", [0, 7200])
def test_what_was_released_in_the_round_that_would_have_brought_it_is_no_loss(ahead_s: float) -> None:
    world, old = world_that_released(ships_between=False, wait_s=3600)
    assert not old & repository_part(world.remote).keys()
    if ahead_s:
        world.clock.jump(-ahead_s)  # the clock of the remote center is behind, so production's commits look new
        fresh = MemoryStore("remote", clock=world.clock)
        fresh.put(names.CONFIG, world.remote.get(names.CONFIG, size_max=1 << 16))
        for info in world.remote.list(names.KEYS):
            fresh.put(info.name, world.remote.get(info.name, size_max=1 << 16))
        world.remote = fresh
        ship(world.same_city, world.remote, world.trusted, clock=world.clock, threads=0)
    report = verified(world, world.remote)
    assert (report.damaged, report.absent_released_count) == ((), len(old))
    assert report.is_clean


def test_a_pack_that_was_repacked_before_it_was_shipped_is_no_loss_though_its_snapshot_is_there() -> None:
    world = World()
    near = world.near()
    old = world.store_backup(near)
    near.commit(old)
    pack_name = next(info for info in old.objects if info.name.startswith(names.PACKS))
    near.commit(Change(released=[(pack_name.name, pack_name.size_bytes)]))
    ship(world.same_city, world.remote, world.trusted, clock=world.clock, threads=0)
    assert old.snapshot is not None
    near.commit(Change(released=[(old.snapshot.name, world.remote.head(old.snapshot.name).size_bytes)]))
    ship(world.same_city, world.remote, world.trusted, clock=world.clock, threads=0)
    assert verified(world, world.remote).damaged == ()
