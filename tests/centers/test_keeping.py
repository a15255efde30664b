"""What a center lets go, keeps, holds and moves aside."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from govsec.centers import names
from govsec.centers.commits import iterate_names
from govsec.centers.freeze import freeze
from govsec.centers.log import START, read_log
from govsec.centers.near import Change
from govsec.centers.pause import PAUSE_MAX_S, pause, read_pause
from govsec.centers.quarantine import find_junk, list_quarantines, put_back, quarantine
from govsec.centers.release import Keep, ReleaseReport, release
from govsec.centers.releases import Release, read_releases, released_here, sign_release
from govsec.centers.retain import extend_locks, hold, kept_names
from govsec.centers.ship import ship
from govsec.centers.verify import verify
from govsec.centers.view import CommittedStore
from govsec.config import RetentionLockConfig
from govsec.crypto.signing import Purpose, Signer
from govsec.errors import ObjectNotFoundError, RefusedError, TryAgainError, UsageError
from govsec.testing.clock import FakeClock
from govsec.testing.faults import FaultKind, FaultStore, Killed, sweep
from tests.centers.world import LockedMemoryStore, World, assert_valid, copy_store, index, objects_of, pack, violations

GRACE_S = 7 * 86400


def keep_none(snapshots: object) -> tuple[str, ...]:
    return ()


def pruned_world() -> tuple[World, Change]:
    """One old backup that production released whole before it made two more; everything shipped."""
    world = World()
    near = world.near()
    old = world.store_backup(near)
    near.commit(old)
    ship(world.same_city, world.remote, world.trusted, clock=world.clock, threads=0)
    world.live_packs = []
    near.commit(Change(released=[(info.name, info.size_bytes) for info in old.objects]))
    world.backup(near)
    world.backup(near)
    ship(world.same_city, world.remote, world.trusted, clock=world.clock, threads=0)
    return world, old


def released(world: World, keep: Keep = keep_none, **options: object) -> ReleaseReport:
    return release(
        world.remote,
        world.trusted,
        world.release_signer,
        keep,
        clock=world.clock,
        grace_s=GRACE_S,
        **options,  # type: ignore[arg-type]
    )


def let_time_pass(world: World, seconds: float) -> None:
    """Time that another machine's commit agrees with."""
    world.clock.advance(seconds)
    world.backup()
    ship(world.same_city, world.remote, world.trusted, clock=world.clock, threads=0)


def test_a_release_is_marked_first_and_removed_after_the_grace() -> None:
    world, old = pruned_world()
    gone = {info.name for info in old.objects}
    assert released(world).marked_count == len(gone)
    assert gone <= objects_of(world.remote).keys()
    let_time_pass(world, GRACE_S + 1)
    assert set(released(world).removed) == gone
    assert not gone & objects_of(world.remote).keys()
    assert_valid(world.remote)


def test_nothing_is_removed_when_only_this_machine_s_clock_says_the_grace_is_over() -> None:
    world, _ = pruned_world()
    released(world)
    world.clock.jump(10 * GRACE_S)
    assert released(world).removed == ()


def test_a_center_s_own_retention_keeps_what_production_let_go() -> None:
    world, old = pruned_world()
    assert old.snapshot is not None
    for _ in range(2):
        report = released(world, lambda snapshots: [snapshot.id for snapshot in snapshots])
        assert (report.marked_count, report.removed) == (0, ())
        let_time_pass(world, GRACE_S + 1)
    assert old.snapshot.name in objects_of(world.remote)
    assert_valid(world.remote)


def test_packs_stay_while_any_snapshot_from_before_their_release_stays() -> None:
    world = World()
    near = world.near()
    old = world.store_backup(near)
    near.commit(old)
    world.live_packs = []
    world.backup(near)
    ship(world.same_city, world.remote, world.trusted, clock=world.clock, threads=0)
    near.commit(Change(released=[(info.name, info.size_bytes) for info in old.objects]))
    let_time_pass(world, 1)
    assert released(world).marked_count == 1, "the snapshot alone: what the other one needs cannot be seen"


def test_a_stolen_commit_key_that_releases_everything_removes_nothing_that_a_kept_snapshot_needs() -> None:
    world = World()
    near = world.near()
    changes = [world.store_backup(near) for _ in range(1)]
    near.commit(changes[0])
    for _ in range(3):
        world.backup(near)
    ship(world.same_city, world.remote, world.trusted, clock=world.clock, threads=0)
    before = {name for name in objects_of(world.remote) if name.startswith((names.PACKS, names.INDEXES))}
    near.commit(Change(released=[(name, 1) for name in sorted(before)]))
    for _ in range(2):
        report = released(world, lambda snapshots: [snapshot.id for snapshot in snapshots])
        let_time_pass(world, GRACE_S + 1)
    assert report.removed == ()
    assert before <= objects_of(world.remote).keys()


def test_a_key_holder_lets_go_of_what_no_kept_snapshot_needs() -> None:
    world, old = pruned_world()
    later = {info.name for info in old.objects if not info.name.startswith(names.SNAPSHOTS)}
    keep_all = lambda snapshots: [snapshot.id for snapshot in snapshots]  # noqa: E731 - a policy in one line
    assert released(world, keep_all, needed=frozenset()).marked_count == len(later)
    assert released(world, keep_all, needed=frozenset(later)).marked_count == 0


def test_a_release_that_is_killed_at_any_call_leaves_a_valid_center() -> None:
    world, _ = pruned_world()
    released(world)
    let_time_pass(world, GRACE_S + 1)
    for faults in sweep(FaultKind.KILL):
        remote = copy_store(world.remote)
        try:
            release(
                FaultStore(remote, faults),
                world.trusted,
                world.release_signer,
                keep_none,
                clock=world.clock,
                grace_s=GRACE_S,
            )
        except Killed:
            faults.assert_injected()
        assert_valid(remote)


def test_a_release_that_another_key_or_another_center_signed_has_no_effect() -> None:
    world, old = pruned_world()
    from govsec.centers.commits import split_names

    name_set, _ = split_names((info.name, info.size_bytes) for info in old.objects)
    for signer, center in ((Signer(Purpose.RELEASE, b"t" * 32), "remote"), (world.release_signer, "same_city")):
        forged = Release(repository=world.repository, center=center, time=world.clock.now(), through=1, names=name_set)
        world.remote.put(*sign_release(signer, forged))
    world.remote.put(names.RELEASED + "0" * 64, b"junk")
    assert released_here(world.remote, world.trusted, world.repository) == frozenset()
    assert list(read_releases(world.remote, world.trusted, world.repository)) == []


def test_nothing_is_let_go_while_a_center_is_frozen() -> None:
    world, _ = pruned_world()
    until = world.clock.now() + timedelta(days=7)
    freeze(world.remote, world.clock, id="0123456789abcdef", by="zhang", reason="ransomware", until=until)
    with pytest.raises(RefusedError, match="frozen by zhang"):
        released(world)
    assert released(world, is_dry_run=True).marked_count > 0
    let_time_pass(world, 7 * 86400)

    assert released(world).marked_count > 0


def test_nothing_is_let_go_while_the_log_is_not_in_order() -> None:
    world, _ = pruned_world()
    world.remote.delete(read_log(world.remote, world.trusted).entries[1].name)
    with pytest.raises(RefusedError, match="nothing is let go"):
        released(world)


def test_a_paused_center_releases_nothing() -> None:
    world, _ = pruned_world()
    pause(world.remote, world.clock, by="li", reason="incident 7", duration_s=PAUSE_MAX_S)
    with pytest.raises(TryAgainError, match="incident 7"):
        released(world)


def test_a_dry_run_changes_nothing() -> None:
    world, old = pruned_world()
    before = objects_of(world.remote)
    assert released(world, is_dry_run=True).marked_count == len(old.objects)
    assert objects_of(world.remote) == before


def test_a_pause_always_ends_and_an_unreadable_one_holds_until_it_is_resumed(clock: FakeClock) -> None:
    world = World(clock=clock)
    for duration_s in (0, -1, PAUSE_MAX_S + 1):
        with pytest.raises(UsageError):
            pause(world.remote, clock, by="li", reason="x", duration_s=duration_s)
    pause(world.remote, clock, by="li", reason="x", duration_s=PAUSE_MAX_S)
    clock.jump(-3650 * 86400)
    assert read_pause(world.remote, clock) is None, "no clock pauses for years"
    world.remote.put(names.PAUSED, b"junk")
    with pytest.raises(RefusedError, match="center resume"):
        read_pause(world.remote, clock)


def locked_world() -> tuple[World, LockedMemoryStore]:
    world = World()
    world.backup()
    locked = LockedMemoryStore("remote", clock=world.clock)
    for info in world.remote.list(""):
        locked.put(info.name, world.remote.get(info.name, size_max=1 << 20))
    ship(world.same_city, locked, world.trusted, clock=world.clock, threads=0)
    world.remote = locked
    return world, locked


LOCK = RetentionLockConfig(days=30, days_max=60)


def test_locks_are_set_on_all_that_is_kept_and_extended_before_they_run_out() -> None:
    world, locked = locked_world()
    first = extend_locks(locked, world.trusted, LOCK, clock=world.clock, threads=0)
    assert (first.extended_count, first.failed, first.missing) == (len(objects_of(locked)), (), ())
    world.clock.advance(10 * 86400)
    again = extend_locks(locked, world.trusted, LOCK, clock=world.clock, threads=0)
    assert (again.extended_count, again.enough_count) == (0, first.extended_count)
    world.clock.advance(10 * 86400)
    later = extend_locks(locked, world.trusted, LOCK, clock=world.clock, threads=0)
    assert later.extended_count == first.extended_count
    assert min(locked.kept_until.values()) == world.clock.now() + timedelta(days=30)


def test_of_the_newest_commits_alone_what_they_name_is_locked() -> None:
    world, locked = locked_world()
    world.backup()
    ship(world.same_city, locked, world.trusted, clock=world.clock, threads=0)
    log = read_log(locked, world.trusted, after=START)
    assert len(log.entries) == 2
    extend_locks(locked, world.trusted, LOCK, clock=world.clock, newest_count=1, threads=0)
    newest = log.entries[-1]
    assert newest.name in locked.kept_until
    assert {name for name, _ in iterate_names(locked, newest.commit.added)} <= set(locked.kept_until)
    assert log.entries[0].name not in locked.kept_until


def test_a_clock_that_is_years_ahead_locks_nothing_for_years() -> None:
    world, locked = locked_world()
    world.clock.jump(3650 * 86400)
    with pytest.raises(RefusedError, match="trust-clock"):
        extend_locks(locked, world.trusted, LOCK, clock=world.clock, threads=0)
    assert locked.kept_until == {}
    extend_locks(locked, world.trusted, LOCK, clock=world.clock, threads=0, is_clock_trusted=True)
    assert max(locked.kept_until.values()) <= world.clock.now() + timedelta(days=LOCK.days_max)


def test_what_is_held_or_locked_is_not_removed_and_counted() -> None:
    world, _ = pruned_world()
    locked = LockedMemoryStore("remote", clock=world.clock)
    for name, data in objects_of(world.remote).items():
        locked.put(name, data)
    world.remote = locked
    released(world)
    log = read_log(locked, world.trusted, after=START)
    changed_count, failed = hold(locked, kept_names(locked, log), is_held=True)
    assert (changed_count > 10, failed) == (True, ())
    let_time_pass(world, GRACE_S + 1)
    report = released(world)
    assert (report.removed, report.held_count) == ((), 1), "the snapshot stays, so its packs stay"
    assert_valid(locked)
    hold(locked, kept_names(locked, log), is_held=False)
    assert len(released(world).removed) == report.marked_count or released(world).removed == ()


def junk_in(world: World) -> set[str]:
    placed = set()
    for prefix in (names.INDEXES, names.SNAPSHOTS):
        _, data = pack("junk" + prefix)
        name = prefix + _[-64:]
        world.same_city.put(name, data)
        placed.add(name)
    return placed


def test_junk_is_moved_aside_after_a_day_and_comes_back_if_that_was_wrong() -> None:
    world = World()
    world.backup()
    good = objects_of(world.same_city)
    junk = junk_in(world)
    with pytest.raises(ValueError, match=r"JSON|Expecting|codec|utf"):
        violations(world.same_city)  # as stock restic, which cannot read it either
    assert find_junk(world.same_city, world.trusted, clock=world.clock) == (), "perhaps a backup that is running"
    world.clock.advance(2 * 86400)
    found = find_junk(world.same_city, world.trusted, clock=world.clock, others=[world.production])
    assert set(found) == junk
    before = objects_of(world.same_city)
    report = quarantine(world.same_city, found, clock=world.clock)
    assert set(report.moved) == junk
    assert_valid(world.same_city)
    assert good.items() <= objects_of(world.same_city).items()
    assert list_quarantines(world.same_city) == (report.quarantine_id,)
    back = put_back(world.same_city, report.quarantine_id)
    assert set(back.moved) == junk
    assert objects_of(world.same_city) == before


def test_a_foreign_key_is_junk_when_a_trusted_center_does_not_have_it() -> None:
    world = World()
    world.backup()
    known = {info.name for info in world.remote.list(names.KEYS)}
    evil = names.KEYS + "1" * 64
    world.same_city.put(evil, b'{"kdf":"evil"}')
    assert find_junk(world.same_city, world.trusted, clock=world.clock, known_keys=known) == (evil,)


def test_quarantine_is_refused_while_commits_are_missing() -> None:
    world = World()
    for _ in range(3):
        world.backup()
    world.same_city.delete(read_log(world.same_city, world.trusted).entries[1].name)
    world.clock.advance(2 * 86400)
    with pytest.raises(RefusedError, match="gaps"):
        find_junk(world.same_city, world.trusted, clock=world.clock)


def test_what_another_center_s_commits_name_is_no_junk() -> None:
    world = World()
    for _ in range(2):
        world.backup()
    world.same_city.delete(read_log(world.same_city, world.trusted).entries[1].name)
    world.clock.advance(2 * 86400)
    assert find_junk(world.same_city, world.trusted, clock=world.clock, others=[world.production]) == ()
    assert find_junk(world.same_city, world.trusted, clock=world.clock) != ()


def test_a_quarantine_that_is_killed_at_any_call_loses_nothing_and_is_finished_by_the_next() -> None:
    world = World()
    world.backup()
    junk = sorted(junk_in(world))
    for faults in sweep(FaultKind.KILL):
        store = copy_store(world.same_city)
        try:
            quarantine(FaultStore(store, faults), junk, clock=world.clock)
        except Killed:
            faults.assert_injected()
        held = objects_of(store)
        for name in junk:
            copies = [data for place, data in held.items() if place.endswith(name)]
            assert objects_of(world.same_city)[name] in copies
        quarantine(store, junk, clock=world.clock)
        assert_valid(store)


@pytest.mark.parametrize("quarantine_id", ["", "..", "x" * 64, "0" * 64])
def test_only_a_quarantine_that_is_there_can_be_undone(quarantine_id: str) -> None:
    with pytest.raises(UsageError):
        put_back(World().same_city, quarantine_id)


def test_through_the_view_of_commits_junk_is_not_there_and_every_earlier_commit_is() -> None:
    world = World()
    world.backup()
    near = world.near()
    for _ in range(2):
        world.backup(near)
    junk = junk_in(world)
    view = CommittedStore(world.same_city, world.trusted)
    assert violations(view) == []
    assert not {info.name for info in view.list("")} & junk
    for name in junk:
        with pytest.raises(ObjectNotFoundError):
            view.get(name, size_max=100)
        with pytest.raises(ObjectNotFoundError):
            view.head(name)
    earlier = CommittedStore(world.same_city, world.trusted, until=1)
    assert len(list(earlier.list(names.SNAPSHOTS))) == 1
    assert len(list(view.clone().list(names.SNAPSHOTS))) == 3


def test_a_hostile_commit_of_a_broken_index_hides_no_earlier_snapshot() -> None:
    world = World()
    world.backup()
    near = world.near()
    broken = near.put(*index(["data/00/" + "0" * 64]))
    near.commit(Change([broken]))
    ship(world.same_city, world.remote, world.trusted, clock=world.clock, threads=0)
    assert violations(world.remote) != [], "a digest is no proof: this needs a key to be seen"
    assert violations(CommittedStore(world.remote, world.trusted, until=1)) == []


def test_verification_counts_junk_and_what_is_in_flight() -> None:
    world = World()
    world.backup()
    junk_in(world)
    report = verify(world.same_city, world.trusted, clock=world.clock, others=[world.production], threads=0)
    assert (report.unnamed, report.in_flight_count, report.is_clean) == ((), 2, True)
    world.clock.advance(2 * 86400)
    report = verify(world.same_city, world.trusted, clock=world.clock, others=[world.production], threads=0)
    assert (len(report.unnamed), report.is_clean) == (2, False)


def test_local_keys_are_never_written_over(tmp_path: Path) -> None:
    from govsec.centers.init import make_signing_keys, pin

    path = tmp_path / "keys" / "commit.key"
    first = make_signing_keys([(Purpose.COMMIT, path, "a")])
    again = make_signing_keys([(Purpose.COMMIT, path, "a")])
    assert first == again
    assert path.stat().st_mode & 0o777 == 0o600
    roots = pin(tmp_path / "roots.yaml", first)
    assert len(pin(tmp_path / "roots.yaml", again)) == len(roots) == 1
