"""A center that hangs costs one time-out, not the backup; and its late answer is no ack."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from govsec.centers import names
from govsec.centers.near import Near
from govsec.centers.state import SyncState
from govsec.config import Mode
from govsec.errors import StoreUnavailableError
from govsec.runtime.lanes import Lane, for_each
from govsec.store.api import ObjectInfo, ObjectStore
from govsec.store.memory import MemoryStore
from tests.centers.world import World, assert_valid, repository_part


class HangingStore(MemoryStore):
    """A store whose puts answer when they are let go, as a server does that was stopped and continued."""

    def __init__(self, inner: MemoryStore) -> None:
        super().__init__(inner.name)
        self._objects = inner._objects
        self.is_hanging = True
        self.goes_on = threading.Event()
        self.waiting_count = 0

    def put(self, name: str, data: bytes, **options: object) -> ObjectInfo:
        if self.is_hanging:
            self.waiting_count += 1
            self.goes_on.wait(120)
        return super().put(name, data, **options)  # type: ignore[arg-type]


@pytest.fixture
def hanging() -> Iterator[tuple[World, HangingStore]]:
    world = World()
    world.backup()
    store = HangingStore(world.same_city)
    yield world, store
    store.goes_on.set()


def near_of(world: World, same_city: ObjectStore, mode: Mode = Mode.MAXIMUM_AVAILABILITY) -> Near:
    return Near(
        world.production,
        same_city,
        mode,
        states=world.states,
        signer=world.commit_signer,
        trusted=world.trusted,
        clock=world.clock,
        timeout_s=0.05,
        key_holder=world,
    )


def test_a_hanging_center_is_waited_for_once_and_left_out(hanging: tuple[World, HangingStore]) -> None:
    world, store = hanging
    near = near_of(world, store)
    receipt = world.backup(near, packs_count=20)
    near.close()
    assert (receipt.held_by, receipt.reached, store.waiting_count) == (("production",), "degraded", 1)
    assert world.states.get("same_city").state is SyncState.DEGRADED
    assert "no answer within" in world.states.get("same_city").reason


def test_maximum_protection_stops_at_once(hanging: tuple[World, HangingStore]) -> None:
    world, store = hanging
    near = near_of(world, store, Mode.MAXIMUM_PROTECTION)
    with pytest.raises(StoreUnavailableError, match="no answer within"):
        world.backup(near)
    near.close()
    assert len(list(world.production.list(names.SNAPSHOTS))) == 1


def test_what_arrives_late_is_no_ack_and_does_no_harm(hanging: tuple[World, HangingStore]) -> None:
    world, store = hanging
    near = near_of(world, store)
    assert world.backup(near).held_by == ("production",)
    store.is_hanging = False
    store.goes_on.set()
    near.close()
    world.clock.advance(3600)
    assert_valid(world.production, world.same_city)
    assert world.backup().held_by == ("production", "same_city")
    assert repository_part(world.production) == repository_part(world.same_city)


def test_a_lane_refuses_further_calls_until_the_late_one_ended() -> None:
    lane, goes_on = Lane("same_city"), threading.Event()
    late = lane.start(lambda: goes_on.wait(120))
    with pytest.raises(StoreUnavailableError, match=r"no answer within 0\.01 s"):
        lane.result(late, 0.01)
    assert lane.is_stuck
    with pytest.raises(StoreUnavailableError, match="has not answered yet"):
        lane.start(lambda: None)
    goes_on.set()
    assert late.result(120)
    assert lane.result(lane.start(lambda: 7), 30) == 7
    lane.close()


@pytest.mark.parametrize("threads", [0, 1, 4])
def test_work_on_threads_does_every_item_and_never_holds_many(threads: int) -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(100):
            taken.append(number)
            yield number

    done = []
    for result in for_each(items(), lambda: lambda number: number * 2, threads=threads):
        done.append(result)
        assert len(taken) - len(done) <= max(1, 2 * threads)
    assert sorted(done) == [number * 2 for number in range(100)]


@pytest.mark.parametrize("threads", [0, 3])
def test_the_first_error_ends_the_work(threads: int) -> None:
    begun: list[int] = []

    def work(number: int) -> int:
        begun.append(number)
        if number == 5:
            raise StoreUnavailableError("five")
        return number

    with pytest.raises(StoreUnavailableError, match="five"):
        list(for_each(range(1000), lambda: work, threads=threads))
    assert len(begun) < 50
