"""Three centers through anything that may happen to them, in any order: each of them stays a valid repository.

A hypothesis state machine. Every rule is something a person, a process or a fault does; after each, every center must
be valid, and the newest receipt must be true.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from govsec.centers import names
from govsec.centers.adoption import adopt
from govsec.centers.heal import heal
from govsec.centers.log import START, read_log
from govsec.centers.near import Change, Receipt
from govsec.centers.quarantine import find_junk, quarantine
from govsec.centers.release import release
from govsec.centers.ship import ship
from govsec.centers.union import unite
from govsec.centers.verify import VerifyReport, verify
from govsec.config import Mode
from govsec.errors import GovsecError
from govsec.store.memory import MemoryStore
from govsec.testing.faults import FaultKind, Faults, FaultStore, Killed, Moment, no_faults
from tests.centers.world import World, objects_of, violations

GRACE_S = 86400

faults_of_one_run = st.builds(
    Faults,
    st.integers(min_value=0, max_value=60),
    st.sampled_from([FaultKind.ERROR, FaultKind.TIMEOUT, FaultKind.FULL, FaultKind.DENIED, FaultKind.KILL]),
    st.sampled_from(list(Moment)),
    is_permanent=st.booleans(),
)


class ThreeCenters(RuleBasedStateMachine):
    """What can happen."""

    @initialize(mode=st.sampled_from(list(Mode)))
    def begin(self, mode: Mode) -> None:
        self.world = World(mode=mode)
        self.receipts: list[Receipt] = []
        self.released_by_remote: set[str] = set()
        self.out: MemoryStore | None = None

    def wrapped(self, faults: Faults) -> Callable[[MemoryStore], FaultStore[MemoryStore]]:
        dead = Faults(1, FaultKind.TIMEOUT, is_permanent=True)
        return lambda store: FaultStore(store, dead if store is self.out else faults)

    @rule(faults=faults_of_one_run, packs_count=st.integers(min_value=0, max_value=3))
    def back_up(self, faults: Faults, packs_count: int) -> None:
        world = self.world
        before = list(world.live_packs)
        near = world.near(wrap=self.wrapped(faults))
        world.live_packs = self.visible_packs(near) if faults.call == 0 else before
        try:
            near.resync()
            world.live_packs = self.visible_packs(near)
            self.receipts.append(world.backup(near, packs_count=packs_count))
        except (GovsecError, Killed):
            world.live_packs = before

    @staticmethod
    def visible_packs(near: object) -> list[str]:
        import json

        from tests.centers.world import content

        with contextlib.suppress(GovsecError, Killed):
            indexes = [info.name for info in near.list(names.INDEXES)]  # type: ignore[attr-defined]
            return sorted({pack for name in indexes for pack in json.loads(content(near, name))})  # type: ignore[arg-type]
        return []

    @rule(faults=faults_of_one_run, source=st.sampled_from(["production", "same_city"]))
    def ship_to_remote(self, faults: Faults, source: str) -> None:
        world, wrap = self.world, self.wrapped(faults)
        with contextlib.suppress(GovsecError, Killed):
            ship(wrap(getattr(world, source)), wrap(world.remote), world.trusted, clock=world.clock, threads=0)

    @rule()
    def adopt(self) -> None:
        with contextlib.suppress(GovsecError):
            adopt(self.world.near(wrap=self.wrapped(no_faults())))

    @rule()
    def production_forgets_its_oldest_snapshot(self) -> None:
        world = self.world
        near = world.near(wrap=self.wrapped(no_faults()))
        with contextlib.suppress(GovsecError):
            log = read_log(world.production, world.trusted, after=START)
            listed = [info.name for info in world.production.list(names.SNAPSHOTS)]
            mine = [entry.commit.snapshot.name for entry in log.entries if entry.commit.snapshot]
            gone = next((name for name in mine if name in listed), None)
            if gone is not None and len(listed) > 1:
                near.commit(Change(released=[(gone, 1)]))
                world.production.delete(gone)

    @rule(faults=faults_of_one_run)
    def remote_releases(self, faults: Faults) -> None:
        world = self.world
        remote = self.wrapped(faults)(world.remote)
        before = set(objects_of(world.remote))
        with contextlib.suppress(GovsecError, Killed):
            release(remote, world.trusted, world.release_signer, lambda _: (), clock=world.clock, grace_s=GRACE_S)
        self.released_by_remote |= {
            name for name in before - set(objects_of(world.remote)) if name.startswith(names.SNAPSHOTS)
        }

    @rule(store=st.sampled_from(["production", "same_city"]))
    def a_near_center_stops_answering(self, store: str) -> None:
        self.out = getattr(self.world, store)

    @precondition(lambda self: self.out is not None)
    @rule()
    def it_answers_again(self) -> None:
        self.out = None

    @rule(hours=st.integers(min_value=1, max_value=60))
    def time_passes(self, hours: int) -> None:
        self.world.clock.advance(hours * 3600)

    @rule(days=st.sampled_from([-400, -1, 1, 400]))
    def the_clock_jumps(self, days: int) -> None:
        self.world.clock.jump(days * 86400)

    @rule(
        center=st.sampled_from(["production", "same_city", "remote"]),
        position=st.integers(min_value=0, max_value=10**6),
        how=st.sampled_from(["flip", "delete"]),
    )
    def an_object_is_damaged_found_and_healed(self, center: str, position: int, how: str) -> None:
        world = self.world
        store: MemoryStore = getattr(world, center)
        others = [other for other in world.stores if other is not store]
        healthy = [name for other in others for name in objects_of(other)]
        names_here = [name for name in objects_of(store) if names.is_committed_kind(name) and name in healthy]
        if not names_here:
            return
        name = names_here[position % len(names_here)]
        good = objects_of(store)[name]
        if how == "flip":
            store.put(name, good[:-1] + bytes([good[-1] ^ 1]))
        else:
            store.delete(name)
        report = self.verified(store, others)
        log = read_log(store, world.trusted, after=START)
        is_known = any(name == damage.name for damage in report.damaged)
        heal(store, others, [damage.name for damage in report.damaged], repository=world.repository)
        self.verified(store, others)
        if not is_known:
            # No commit names it yet, or production released it: nothing that anybody promised.
            assert log is not None
            store.put(name, good)
        assert objects_of(store)[name] == good

    def verified(self, store: MemoryStore, others: list[MemoryStore]) -> VerifyReport:
        world = self.world
        return verify(
            store,
            world.trusted,
            clock=world.clock,
            others=others,
            record_to=store,
            is_production=store is world.production,
            threads=0,
        )

    @rule()
    def junk_is_moved_aside(self) -> None:
        world = self.world
        self.world.clock.advance(2 * 86400)
        world.near().resync() if self.out is None else None
        with contextlib.suppress(GovsecError):
            adopt(world.near()) if self.out is None else None
        for store in world.stores:
            others = [other for other in world.stores if other is not store]
            with contextlib.suppress(GovsecError):
                quarantine(store, find_junk(store, world.trusted, clock=world.clock, others=others), clock=world.clock)

    @rule()
    def what_went_apart_is_united(self) -> None:
        with contextlib.suppress(GovsecError):
            unite(self.world.stores, self.world.trusted, clock=self.world.clock, threads=0)

    @invariant()
    def every_center_is_valid(self) -> None:
        for store in self.world.stores:
            assert violations(store) == [], store.name

    @invariant()
    def receipts_are_true(self) -> None:
        world = self.world
        by_name = {store.name: store for store in world.stores}
        for receipt in self.receipts[-1:]:
            for center in receipt.held_by:
                log = read_log(by_name[center], world.trusted, after=START)
                assert receipt.digest in log.digests

    @invariant()
    def what_the_remote_let_go_stays_gone(self) -> None:
        assert not self.released_by_remote & set(objects_of(self.world.remote))


ThreeCenters.TestCase.settings = settings(
    max_examples=40,
    stateful_step_count=20,
    deadline=None,
    derandomize=True,
    # Without shrinking, which would take longer than the suite may; the soak test below shrinks what it finds.
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
test_three_centers_stay_valid_whatever_happens = ThreeCenters.TestCase


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_three_centers_stay_valid_for_a_long_time() -> None:
    class Longer(ThreeCenters.TestCase):
        settings = settings(
            max_examples=2000, stateful_step_count=60, deadline=None, suppress_health_check=list(HealthCheck)
        )

    Longer("runTest").runTest()
