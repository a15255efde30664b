"""A center that was lost comes back from what is left, and is valid at every moment on the way."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from govsec.centers import names
from govsec.centers.log import read_log
from govsec.centers.pause import pause
from govsec.centers.rebuild import RebuildReport, rebuild, survey_remains
from govsec.centers.roots import plan_merge
from govsec.centers.ship import ship
from govsec.config import Mode
from govsec.crypto.signing import Purpose, Signer, TrustedKeys
from govsec.errors import GovsecError, IntegrityError, RefusedError, StoreError, TryAgainError
from govsec.store.api import ObjectStore, ReadStore
from govsec.store.memory import MemoryStore
from govsec.testing.faults import FaultKind, Faults, FaultStore, Killed, Moment, sweep
from tests.centers.world import CONFIG, World, assert_valid, copy_store, repository_part


def three_backups() -> World:
    """The remote center is one commit behind; the second commit released what the first had brought."""
    world = World(mode=Mode.MAXIMUM_PROTECTION)
    world.backup()
    world.live_packs = []
    world.backup()
    ship(world.same_city, world.remote, world.trusted, clock=world.clock, threads=0)
    world.backup()
    return world


def rebuilt(world: World, target: ObjectStore, sources: Sequence[ReadStore]) -> RebuildReport:
    return rebuild(target, survey_remains(sources, world.trusted), world.trusted, clock=world.clock, threads=0)


def test_a_lost_production_comes_back_from_what_is_left_and_the_next_backup_is_held_by_both() -> None:
    world = three_backups()
    before = repository_part(world.production)
    world.production = MemoryStore("production", clock=world.clock)
    report = rebuilt(world, world.production, [world.remote, world.same_city])
    assert (report.head.number, report.missed) == (3, ())
    assert [one.source for one in report.rounds] == ["same_city"], "the longest log first: one round is enough"
    assert repository_part(world.production) == before
    near = world.near()
    assert {state.state.value for state in near.resync().values()} == {"synced"}
    receipt = world.backup(near)
    assert (receipt.number, receipt.held_by, receipt.reached) == (4, ("production", "same_city"), "synced")


def test_the_remote_center_alone_brings_back_what_it_has() -> None:
    world = three_backups()
    world.production = MemoryStore("production", clock=world.clock)
    assert rebuilt(world, world.production, [world.remote]).head.number == 2
    world.same_city = MemoryStore("same_city", clock=world.clock)
    assert rebuilt(world, world.same_city, [world.production, world.remote]).head.number == 2
    assert_valid(world.production, world.same_city)
    world.live_packs = []
    receipt = world.backup(world.near())
    assert (receipt.number, receipt.held_by) == (3, ("production", "same_city"))


@pytest.mark.parametrize("kind", [FaultKind.ERROR, FaultKind.KILL])
@pytest.mark.parametrize("moment", list(Moment))
def test_a_rebuild_that_ends_anywhere_leaves_a_valid_repository_and_is_taken_up_again(
    kind: FaultKind, moment: Moment
) -> None:
    world = three_backups()
    stopped_count = 0
    for faults in sweep(kind, moment):
        target = MemoryStore("production", clock=world.clock)
        sources = [FaultStore(copy_store(world.same_city), faults), FaultStore(copy_store(world.remote), faults)]
        try:
            rebuilt(world, FaultStore(target, faults), sources)
        except (GovsecError, Killed):
            stopped_count += 1
        assert_valid(target)
        if any(info.name.startswith(names.SNAPSHOTS) for info in target.list("")):
            assert target.get(names.CONFIG, size_max=1 << 10) == CONFIG
        rebuilt(world, target, [world.same_city, world.remote])
        assert repository_part(target) == repository_part(world.same_city)
        log = read_log(target, world.trusted, repository=world.repository)
        assert (log.head.number, log.flaws) == (3, ())
    # One error is mostly got over by the second pass; a death never is.
    assert stopped_count > (30 if kind is FaultKind.KILL else 5)


def test_what_one_center_has_damaged_another_brings() -> None:
    world = three_backups()
    pack = next(info.name for info in world.remote.list(names.PACKS))
    world.same_city.put(pack, b"damaged")
    target = MemoryStore("production", clock=world.clock)
    report = rebuilt(world, target, [world.same_city, world.remote])
    assert (report.head.number, report.missed) == (3, ())
    assert repository_part(target) == repository_part(world.production)


def test_what_nobody_has_whole_is_an_error_and_what_came_before_it_is_there() -> None:
    world = three_backups()
    only_here = {info.name for info in world.same_city.list(names.PACKS)} - {
        info.name for info in world.remote.list(names.PACKS)
    }
    world.same_city.put(min(only_here), b"damaged")
    target = MemoryStore("production", clock=world.clock)
    with pytest.raises(IntegrityError, match="not what its name says"):
        rebuilt(world, target, [world.same_city, world.remote])
    assert_valid(target)
    assert read_log(target, world.trusted, repository=world.repository).head.number == 2


def test_a_center_that_does_not_answer_is_named_and_hinders_nothing() -> None:
    world = three_backups()
    dead = FaultStore(world.remote, Faults(1, FaultKind.TIMEOUT, is_permanent=True))
    target = MemoryStore("production", clock=world.clock)
    report = rebuilt(world, target, [world.same_city, dead])
    assert ([name for name, _ in report.missed], report.head.number) == (["remote"], 3)
    with pytest.raises(StoreError):
        survey_remains([dead], world.trusted)


def test_nothing_is_written_without_a_genuine_commit_or_over_another_repository() -> None:
    world = three_backups()
    stranger = TrustedKeys([Signer(Purpose.COMMIT, b"x" * 32).public("somebody")])
    with pytest.raises(RefusedError, match="roots merge"):
        survey_remains([world.same_city, world.remote], stranger)
    with pytest.raises(RefusedError, match="nothing to rebuild from"):
        survey_remains([MemoryStore("same_city")], world.trusted)
    other = MemoryStore("production")
    other.put(names.CONFIG, b"another")
    with pytest.raises(RefusedError, match="another repository"):
        rebuilt(world, other, [world.same_city])
    assert [info.name for info in other.list("")] == [names.CONFIG]


def test_a_paused_center_is_not_filled() -> None:
    world = three_backups()
    target = MemoryStore("production", clock=world.clock)
    pause(target, world.clock, by="li", reason="disks", duration_s=60)
    with pytest.raises(TryAgainError):
        rebuilt(world, target, [world.same_city])
    world.clock.advance(61)
    assert rebuilt(world, target, [world.same_city]).head.number == 3


def test_merging_roots_adds_what_the_other_site_has_and_takes_nothing_away(tmp_path: Path) -> None:
    keys = [Signer(Purpose.COMMIT, letter * 32).public(letter.decode()) for letter in (b"a", b"b", b"c")]
    ours, theirs = tmp_path / "ours.yaml", tmp_path / "theirs.yaml"
    TrustedKeys(keys[:2]).save(ours)
    TrustedKeys(keys[1:]).save(theirs)
    merge = plan_merge(ours, theirs)
    assert ([key.name for key in merge.added], [key.name for key in merge.ours_alone]) == (["c"], ["a"])
    assert {key.name for key in TrustedKeys.load(ours)} == {"a", "b"}, "a plan changes nothing"
    assert {key.name for key in merge.result} == {"a", "b", "c"}
    assert [key.name for key in plan_merge(tmp_path / "none.yaml", theirs).added] == ["b", "c"]
