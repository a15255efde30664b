"""Shipping: what arrives, what never does, and what is left when anything fails on the way."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from govsec.centers import names
from govsec.centers.commits import SnapshotRef, open_commit, sign_commit
from govsec.centers.copying import copy_object
from govsec.centers.log import START, read_log
from govsec.centers.near import Change
from govsec.centers.pause import pause, resume
from govsec.centers.release import release
from govsec.centers.ship import ShipReport, ship
from govsec.config import Mode
from govsec.crypto.signing import Purpose, Signer, TrustedKeys
from govsec.errors import (
    FormatError,
    GovsecError,
    IntegrityError,
    RefusedError,
    StoreFullError,
    StoreUnavailableError,
    TryAgainError,
)
from govsec.progress import Progress
from govsec.store.api import Piece
from govsec.store.local import LocalStore
from govsec.store.memory import MemoryStore
from govsec.testing.faults import FaultKind, Faults, FaultStore, Killed, Moment, sweep
from tests.centers.world import World, assert_valid, copy_store, objects_of, pack, repository_part, snapshot


def shipped(world: World, **options: object) -> ShipReport:
    return ship(world.same_city, world.remote, world.trusted, clock=world.clock, threads=0, **options)  # type: ignore[arg-type]


def test_the_target_becomes_what_the_source_is() -> None:
    world = World()
    for _ in range(3):
        world.backup()
    report = shipped(world)
    assert (report.commits_count, report.head.number, report.flaws) == (3, 3, ())
    assert repository_part(world.remote) == repository_part(world.same_city)
    assert_valid(world.remote)


def test_a_second_round_copies_nothing_and_a_third_only_what_is_new() -> None:
    world = World()
    world.backup()
    shipped(world)
    assert shipped(world).objects_count == 0
    world.backup(packs_count=1)
    assert shipped(world).objects_count == 3


def test_threads_give_the_same_result() -> None:
    world = World()
    for _ in range(4):
        world.backup(packs_count=30)
    ship(world.same_city, world.remote, world.trusted, clock=world.clock, threads=4)
    assert repository_part(world.remote) == repository_part(world.same_city)


@pytest.mark.parametrize("kind", [FaultKind.ERROR, FaultKind.TIMEOUT, FaultKind.KILL])
@pytest.mark.parametrize("moment", list(Moment))
def test_the_remote_center_stays_valid_when_any_call_fails_and_the_next_round_goes_on(
    kind: FaultKind, moment: Moment
) -> None:
    first = World()
    first.backup()
    shipped(first)
    for _ in range(2):
        first.backup()
    injected_count = 0
    for faults in sweep(kind, moment):
        remote = copy_store(first.remote)
        near = copy_store(first.same_city)
        with contextlib.suppress(GovsecError, Killed):
            ship(
                FaultStore(near, faults),
                FaultStore(remote, faults),
                first.trusted,
                clock=first.clock,
                threads=0,
            )
        injected_count += faults.injected_count
        assert_valid(remote)
        head = read_log(remote, first.trusted, repository=first.repository).head.number
        assert head >= 1, "what was complete stays complete"
        ship(near, remote, first.trusted, clock=first.clock, threads=0)
        assert repository_part(remote) == repository_part(near)
    # A call that fails by itself (nothing there) has no effect to fail after.
    assert injected_count > 30


def test_a_store_that_lies_about_a_put_gets_no_snapshot_over_the_hole() -> None:
    world = World()
    world.backup()
    for faults in sweep(FaultKind.LIE):
        remote = copy_store(world.remote)
        liar = FaultStore(remote, faults)
        with contextlib.suppress(IntegrityError):
            ship(world.same_city, liar, world.trusted, clock=world.clock, threads=0)
        assert_valid(remote)
        ship(world.same_city, remote, world.trusted, clock=world.clock, threads=0)
        assert repository_part(remote) == repository_part(world.same_city)


def test_junk_with_a_right_digest_is_never_shipped() -> None:
    world = World()
    world.backup()
    for prefix in ("index/", "snapshots/"):
        name, data = pack("junk")
        world.same_city.put(prefix + name[-64:], data)
    world.same_city.put(*pack("more junk"))
    shipped(world)
    assert repository_part(world.remote).keys() == repository_part(world.production).keys()


def test_keys_and_locks_do_not_travel() -> None:
    world = World()
    world.backup()
    evil = b'{"kdf":"evil"}'
    digest = hashlib.sha256(evil).hexdigest()
    for prefix in (names.KEYS, names.LOCKS):
        world.same_city.put(prefix + digest, evil)
    shipped(world)
    assert not any(name.endswith(digest) for name in objects_of(world.remote))


def test_commits_signed_by_a_key_that_nobody_pinned_are_flaws_and_ship_nothing() -> None:
    world = World()
    world.backup()
    shipped(world)
    thief = World(commit_signer=Signer(Purpose.COMMIT, b"x" * 32))
    thief.production, thief.same_city = world.production, world.same_city
    thief.trusted = TrustedKeys([thief.commit_signer.public()])
    entry = read_log(world.same_city, world.trusted).entries[-1]
    junk = pack("forged")
    world.same_city.put(*junk)
    forged = entry.commit.model_copy(update={"number": 2, "previous": entry.digest})
    signed, data = sign_commit(thief.commit_signer, forged)
    world.same_city.put(signed.name, data)
    report = shipped(world)
    assert [flaw.kind.value for flaw in report.flaws] == ["forged"]
    assert (report.commits_count, junk[0] in objects_of(world.remote)) == (0, False)


def test_a_commit_of_another_system_is_refused() -> None:
    world = World()
    world.backup()
    entry = read_log(world.same_city, world.trusted).entries[-1]
    other = entry.commit.model_copy(update={"number": 2, "previous": entry.digest, "repository": "0" * 64})
    signed, data = sign_commit(world.commit_signer, other)
    world.same_city.put(signed.name, data)
    report = shipped(world)
    assert [flaw.kind.value for flaw in report.flaws] == ["foreign"]
    assert report.head.number == 1


def test_stores_of_different_systems_are_never_mixed() -> None:
    world = World()
    world.backup()
    world.remote.put(names.CONFIG, b"another system's config")
    with pytest.raises(IntegrityError, match="different systems"):
        shipped(world)


def test_a_center_that_was_not_initialised_is_refused() -> None:
    world = World()
    world.backup()
    with pytest.raises(RefusedError, match="center init"):
        ship(world.same_city, MemoryStore("remote"), world.trusted, clock=world.clock)


def test_damaged_bytes_at_the_source_never_arrive() -> None:
    world = World()
    change = world.store_backup(world.near())
    world.near().commit(change)
    name = change.objects[0].name
    world.same_city.put(name, b"flipped" + world.same_city.get(name, size_max=1 << 20)[7:])
    with pytest.raises(IntegrityError, match="not what its name says"):
        shipped(world)
    assert name not in objects_of(world.remote)
    assert_valid(world.remote)


def test_what_a_stolen_commit_key_signs_must_at_least_look_like_a_repository() -> None:
    world = World()
    world.backup()
    near = world.near()
    junk = [(f"data/{digest[:2]}/{digest}", data) for digest, data in [_digested(b"no pack at all, but long enough")]]
    infos = [near.put(name, data) for name, data in junk]
    near.commit(Change(infos))
    with pytest.raises(FormatError, match="cannot be a pack"):
        shipped(world)
    assert read_log(world.remote, world.trusted).head.number == 0 or junk[0][0] not in objects_of(world.remote)
    assert_valid(world.remote)


def test_what_the_target_let_go_does_not_come_back_with_any_round() -> None:
    world = World()
    first = world.backup()
    world.live_packs = []
    world.backup()
    shipped(world)
    near = world.near()
    gone = names.SNAPSHOTS + str(first.snapshot_id)
    near.commit(Change(released=[(gone, near.head(gone).size_bytes)]))
    world.production.delete(gone)
    shipped(world)
    for _ in range(2):  # marked, then removed once a later commit agrees that time has passed
        release(world.remote, world.trusted, world.release_signer, lambda _: (), clock=world.clock, grace_s=0)
        world.backup()
        shipped(world)
    assert gone not in objects_of(world.remote)
    # Also when the target lost its log and everything is compared anew.
    for info in list(world.remote.list(names.COMMITS)):
        world.remote.delete(info.name)
    shipped(world)
    assert gone not in objects_of(world.remote)
    assert_valid(world.remote)


def test_what_production_removed_before_it_was_shipped_is_left_out_with_its_snapshot() -> None:
    world = World()
    near = world.near()
    old = world.store_backup(near)
    near.commit(old)
    world.live_packs = []
    world.backup(near)
    near.commit(Change(released=[(info.name, info.size_bytes) for info in old.objects]))
    for info in old.objects:
        world.production.delete(info.name)
    report = ship(world.production, world.remote, world.trusted, clock=world.clock, threads=0)
    assert (report.commits_count, report.left_out_count) == (3, len(old.objects))
    assert_valid(world.remote)


def test_a_paused_center_is_left_alone_until_it_is_resumed_or_the_pause_is_over() -> None:
    world = World()
    world.backup()
    pause(world.remote, world.clock, by="li", reason="prune", duration_s=3600)
    with pytest.raises(TryAgainError, match="paused by li"):
        shipped(world)
    assert not list(world.remote.list(names.PACKS))
    world.clock.advance(3601)
    assert shipped(world).commits_count == 1
    world.backup()
    pause(world.remote, world.clock, by="li", reason="prune", duration_s=3600)
    resume(world.remote)
    assert shipped(world).commits_count == 1


def test_a_source_that_was_rolled_back_is_named_and_takes_nothing_away() -> None:
    world = World()
    world.backup()
    before = copy_store(world.same_city)
    world.backup()
    shipped(world)
    kept = objects_of(world.remote)
    report = ship(before, world.remote, world.trusted, clock=world.clock, threads=0)
    assert (report.source_is_behind, report.commits_count) == (True, 0)
    assert objects_of(world.remote) == kept


def test_a_branch_written_apart_is_shipped_whole_and_joined_by_the_next_commit() -> None:
    world = World()
    world.backup()
    shipped(world)
    apart = World(mode=Mode.MAXIMUM_PERFORMANCE, clock=world.clock)
    apart.production = copy_store(world.production)
    apart.live_packs = list(world.live_packs)
    apart.backup(seed="apart")
    world.backup()
    shipped(world)
    report = ship(apart.production, world.remote, world.trusted, clock=world.clock, threads=0)
    assert (report.commits_count, report.source_is_behind) == (1, True)
    assert len(read_log(world.remote, world.trusted, after=START).heads) == 2
    assert_valid(world.remote)


def test_a_jump_of_the_clock_changes_nothing_that_is_shipped() -> None:
    world = World()
    world.backup()
    world.clock.jump(-10 * 365 * 86400)
    world.backup()
    world.clock.jump(20 * 365 * 86400)
    world.backup()
    report = shipped(world)
    assert (report.commits_count, report.flaws) == (3, ())
    assert repository_part(world.remote) == repository_part(world.same_city)


def test_progress_counts_up_to_the_totals() -> None:
    world = World()
    world.backup(packs_count=5)
    seen: list[Progress] = []
    report = shipped(world, progress=seen.append)
    assert seen[-1].done_items == seen[-1].total_items == report.objects_count
    assert seen[-1].done_bytes == seen[-1].total_bytes == report.bytes_count


def test_a_source_that_cannot_be_reached_is_an_error_worth_another_try() -> None:
    world = World()
    world.backup()
    dead = FaultStore(world.same_city, Faults(1, FaultKind.TIMEOUT, is_permanent=True))
    with pytest.raises(StoreUnavailableError) as caught:
        ship(dead, world.remote, world.trusted, clock=world.clock, threads=0)
    assert caught.value.is_retryable


def test_a_backup_of_very_many_objects_is_committed_in_lists_and_shipped() -> None:
    world = World()
    near = world.near()
    data = [pack(f"many-{number}", 64) for number in range(1200)]
    infos = [near.put(name, body) for name, body in data]
    infos.append(near.put(*snapshot([], world.clock.now())))
    ref = SnapshotRef(id=infos[-1].name.removeprefix(names.SNAPSHOTS), time=world.clock.now())
    receipt = near.commit(Change(infos, ref))
    entry = read_log(world.production, world.trusted).entries[-1]
    assert (entry.commit.added.count, entry.commit.added.names) == (1201, ())
    assert len(entry.commit.added.lists) == 1
    assert receipt.held_by == ("production", "same_city")
    report = shipped(world)
    assert report.objects_count == 1201
    raw = world.remote.get(entry.name, size_max=1 << 20)
    assert open_commit(world.trusted, entry.name, raw) == entry


def _digested(data: bytes) -> tuple[str, bytes]:
    return hashlib.sha256(data).hexdigest(), data


class Altering(MemoryStore):
    """Gives the pieces of packs with one bit flipped in the last of them."""

    def pieces(self, name: str, *, size_max: int) -> Iterator[Piece]:
        parts = [bytes(piece) for piece in super().pieces(name, size_max=size_max)]
        if name.startswith(names.PACKS):
            parts[-1] = bytes([parts[-1][0] ^ 1]) + parts[-1][1:]
        yield from parts

    def clone(self) -> Altering:
        return self


def test_a_bit_that_flips_on_the_way_leaves_no_object_at_a_directory(tmp_path: Path) -> None:
    world = World()
    world.backup()
    line = Altering("same_city", clock=world.clock)
    for name, data in objects_of(world.same_city).items():
        line.put(name, data)
    target = LocalStore(tmp_path / "remote", name="remote", create=True)
    target.put(names.CONFIG, world.same_city.get(names.CONFIG, size_max=1 << 10))
    with pytest.raises(IntegrityError, match="not what its name says"):
        ship(line, target, world.trusted, clock=world.clock, threads=2)
    assert [info.name for info in target.list(names.PACKS)] == []
    assert list((tmp_path / "remote" / ".incoming").iterdir()) == []


def test_what_one_source_has_damaged_comes_from_the_next_and_a_full_target_is_not_blamed_on_a_source() -> None:
    name, data = pack("wanted")
    line, good, target = (Altering(center) for center in ("one", "two", "target"))
    line.put(name, data)
    plain = MemoryStore("two")
    plain.put(name, data)
    copy_object([line, good, plain], target, name, len(data))
    assert target.get(name, size_max=len(data)) == data
    full = FaultStore(MemoryStore("target"), Faults(1, FaultKind.FULL, operations=frozenset({"put"})))
    with pytest.raises(StoreFullError):
        copy_object([plain, plain], full, name, len(data))
    with pytest.raises(IntegrityError, match="one: data/"):
        copy_object([line, good], MemoryStore("target"), name, len(data))
