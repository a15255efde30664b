"""Locks: who excludes whom, what is stale, and what a holder that lost its lock is told."""

from __future__ import annotations

import json
import os
import socket
from datetime import timedelta
from typing import Any

import pytest

from govsec.clock import format_time
from govsec.crypto.restic import MasterKey, ResticSuite
from govsec.errors import LockedError, StoreUnavailableError
from govsec.repo.codec import Codec
from govsec.repo.layout import Kind, object_name
from govsec.repo.lock import acquire_lock, hold_lock, is_stale, list_locks, remove_locks
from govsec.store.memory import MemoryStore
from govsec.testing.clock import FakeClock
from govsec.testing.faults import FaultKind, Faults, FaultStore

SUITE = ResticSuite(MasterKey.generate())


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore("production")


def plant(store: MemoryStore, clock: FakeClock, *, age_s: float = 0, **fields: Any) -> str:
    """A lock of somebody else."""
    moment = clock.now() - timedelta(seconds=age_s)
    info = {
        "time": format_time(moment),
        "exclusive": False,
        "hostname": "elsewhere",
        "username": "u",
        "pid": 4242,
        **fields,
    }
    sealed = SUITE.seal(Codec().pack_json(json.dumps(info).encode()))
    lock_id = SUITE.digest(sealed).hex()
    store.put(object_name(Kind.LOCK, lock_id), sealed)
    return lock_id


def count(store: MemoryStore) -> int:
    return sum(1 for _ in store.list("locks/"))


def test_many_share_and_nothing_is_left_behind(store: MemoryStore, clock: FakeClock) -> None:
    with hold_lock(store, SUITE, clock, exclusive=False), hold_lock(store, SUITE, clock, exclusive=False):
        assert count(store) == 2
    assert count(store) == 0


@pytest.mark.parametrize(("held", "wanted"), [(True, False), (False, True), (True, True)])
def test_an_exclusive_lock_stands_alone(store: MemoryStore, clock: FakeClock, held: bool, wanted: bool) -> None:
    with hold_lock(store, SUITE, clock, exclusive=held):
        with pytest.raises(LockedError, match=str(os.getpid())):
            acquire_lock(store, SUITE, clock, exclusive=wanted)
        assert count(store) == 1
    assert count(store) == 0


def test_a_lock_says_what_restic_wants_to_know(store: MemoryStore, clock: FakeClock) -> None:
    with hold_lock(store, SUITE, clock, exclusive=True):
        (lock,) = list_locks(store, SUITE)
    assert lock.info is not None
    assert (lock.info.exclusive, lock.info.pid, lock.info.hostname) == (True, os.getpid(), socket.gethostname())


def test_two_hundred_milliseconds_pass_before_the_second_look(store: MemoryStore, clock: FakeClock) -> None:
    with hold_lock(store, SUITE, clock, exclusive=True):
        assert clock.sleeps == [0.2]


def test_of_two_that_come_at_once_the_one_that_sees_the_other_steps_back(clock: FakeClock) -> None:
    class Racing(MemoryStore):
        """While the first waits, a second puts its lock, each time."""

        def put(self, name: str, data: bytes, **options: Any) -> Any:
            info = super().put(name, data, **options)
            if not self.is_planting:
                self.is_planting = True
                self.planted.append(plant(self, clock, exclusive=True, pid=len(self.planted)))
                self.is_planting = False
            return info

        is_planting = False

        def __init__(self) -> None:
            super().__init__("racing")
            self.planted: list[str] = []

    store = Racing()
    with pytest.raises(LockedError):
        acquire_lock(store, SUITE, clock, exclusive=True)
    assert {item.name.rpartition("/")[2] for item in store.list("locks/")} == set(store.planted)


def test_a_lock_older_than_half_an_hour_counts_for_nothing(store: MemoryStore, clock: FakeClock) -> None:
    plant(store, clock, age_s=30 * 60 + 1, exclusive=True)
    with hold_lock(store, SUITE, clock, exclusive=True):
        assert count(store) == 2


def test_a_lock_of_half_an_hour_still_counts(store: MemoryStore, clock: FakeClock) -> None:
    plant(store, clock, age_s=30 * 60 - 1, exclusive=True)
    with pytest.raises(LockedError, match="elsewhere"):
        acquire_lock(store, SUITE, clock, exclusive=False)


def test_a_lock_of_a_process_that_is_gone_counts_for_nothing(store: MemoryStore, clock: FakeClock) -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    plant(store, clock, exclusive=True, hostname=socket.gethostname(), pid=child)
    with hold_lock(store, SUITE, clock, exclusive=True):
        pass


@pytest.mark.parametrize(("pid", "expected"), [(0, False), (-1, False), (1 << 40, True)])
def test_a_process_id_that_is_none_is_not_asked_after(
    store: MemoryStore, clock: FakeClock, pid: int, expected: bool
) -> None:
    plant(store, clock, exclusive=True, hostname=socket.gethostname(), pid=pid)
    (lock,) = list_locks(store, SUITE)
    assert is_stale(lock, clock.now()) is expected


@pytest.mark.parametrize(
    "junk",
    [b"junk", SUITE.seal(b"\x02junk"), SUITE.seal(b'{"time":"never"}')],
    ids=["not sealed", "unknown coding", "no time"],
)
def test_a_lock_that_cannot_be_read_stops_deletion_but_not_backups(
    store: MemoryStore, clock: FakeClock, junk: bytes
) -> None:
    store.put(object_name(Kind.LOCK, SUITE.digest(junk).hex()), junk)
    with hold_lock(store, SUITE, clock, exclusive=False):
        pass
    with pytest.raises(LockedError, match="cannot be read"):
        acquire_lock(store, SUITE, clock, exclusive=True)
    remove_locks(store, SUITE, clock, everything=True)
    with hold_lock(store, SUITE, clock, exclusive=True):
        pass


def test_foreign_and_empty_objects_are_no_locks(store: MemoryStore, clock: FakeClock) -> None:
    store.put("locks/README", b"x")
    store.put(object_name(Kind.LOCK, "a" * 64), b"")
    with hold_lock(store, SUITE, clock, exclusive=True):
        assert len(list_locks(store, SUITE)) == 1


def test_a_holder_refreshes_after_five_minutes(store: MemoryStore, clock: FakeClock) -> None:
    with hold_lock(store, SUITE, clock, exclusive=True) as lock:
        first = lock.id
        clock.advance(299)
        lock.keep_alive()
        assert lock.id == first
        clock.advance(2)
        lock.keep_alive()
        assert lock.id != first and count(store) == 1
        for _ in range(20):
            clock.advance(301)
            lock.keep_alive()
        (held,) = list_locks(store, SUITE)
        assert not is_stale(held, clock.now())
    assert count(store) == 0


def test_a_holder_whose_lock_was_removed_is_told(store: MemoryStore, clock: FakeClock) -> None:
    lock = acquire_lock(store, SUITE, clock, exclusive=True)
    remove_locks(store, SUITE, clock, everything=True)
    clock.advance(301)
    with pytest.raises(LockedError, match="removed"):
        lock.keep_alive()


def test_a_holder_that_came_too_late_is_told(store: MemoryStore, clock: FakeClock) -> None:
    lock = acquire_lock(store, SUITE, clock, exclusive=True)
    clock.advance(30 * 60)
    with pytest.raises(LockedError, match="refreshed"):
        lock.keep_alive()


def test_a_store_that_is_away_for_a_moment_does_not_end_the_work(store: MemoryStore, clock: FakeClock) -> None:
    lock = acquire_lock(store, SUITE, clock, exclusive=True)
    lock._store = FaultStore(store, Faults(1, FaultKind.ERROR))
    clock.advance(301)
    lock.keep_alive()
    clock.advance(10)
    lock.keep_alive()
    assert count(store) == 1
    (held,) = list_locks(store, SUITE)
    assert held.id == lock.id and not is_stale(held, clock.now())


def test_a_refresh_that_fails_anywhere_leaves_a_lock_that_counts(store: MemoryStore, clock: FakeClock) -> None:
    for call in range(1, 4):
        lock = acquire_lock(store, SUITE, clock, exclusive=False)
        lock._store = FaultStore(store, Faults(call, FaultKind.ERROR))
        clock.advance(301)
        lock.keep_alive()
        held = [item for item in list_locks(store, SUITE) if not is_stale(item, clock.now())]
        assert lock.id in {item.id for item in held}
        lock.release()
        remove_locks(store, SUITE, clock, everything=True)


def test_unlock_removes_what_is_stale_and_keeps_what_is_not(store: MemoryStore, clock: FakeClock) -> None:
    stale = plant(store, clock, age_s=3600)
    fresh = plant(store, clock)
    removed = remove_locks(store, SUITE, clock)
    assert [item.name for item in removed] == [object_name(Kind.LOCK, stale)]
    assert [lock.id for lock in list_locks(store, SUITE)] == [fresh]


def test_a_lock_that_was_put_but_not_confirmed_does_not_stay_in_the_way(store: MemoryStore, clock: FakeClock) -> None:
    # The second listing fails: the lock that was just put goes again.
    faulty = FaultStore(store, Faults(3, FaultKind.ERROR))
    with pytest.raises(StoreUnavailableError):
        acquire_lock(faulty, SUITE, clock, exclusive=True)
    assert count(store) == 0


@pytest.mark.parametrize("is_failing", [False, True])
def test_a_lock_that_cannot_be_removed_changes_nothing_of_how_the_work_ended(
    store: MemoryStore, clock: FakeClock, is_failing: bool, caplog: pytest.LogCaptureFixture
) -> None:
    faulty = FaultStore(store, Faults(1, FaultKind.ERROR, operations=frozenset({"delete"})))
    if is_failing:
        with pytest.raises(KeyError, match="the work"), hold_lock(faulty, SUITE, clock, exclusive=True):
            raise KeyError("the work")
    else:
        with hold_lock(faulty, SUITE, clock, exclusive=True):
            pass
    assert count(store) == 1 and "lock not removed" in caplog.text


def test_what_is_read_while_the_lock_settles_is_read_under_it(store: MemoryStore, clock: FakeClock) -> None:
    seen: list[int] = []

    def read() -> None:
        seen.append(count(store))
        clock.sleep(0.15)

    with hold_lock(store, SUITE, clock, exclusive=False, meanwhile=read):
        assert seen == [1]
        assert sum(clock.sleeps) == pytest.approx(0.2)


def test_what_was_read_beside_an_exclusive_lock_is_read_again(store: MemoryStore, clock: FakeClock) -> None:
    planted: list[str] = []

    def read() -> None:
        if not planted:
            planted.append(plant(store, clock, exclusive=True))
        else:
            planted.append("again")

    class Leaving(MemoryStore):
        """The other's lock is gone as soon as ours is taken back."""

        def delete(self, name: str) -> None:
            super().delete(name)
            if planted:
                super().delete(object_name(Kind.LOCK, planted[0]))

    store = Leaving("leaving")
    with hold_lock(store, SUITE, clock, exclusive=False, meanwhile=read):
        assert planted[1:] == ["again"]
    assert count(store) == 0


def test_an_interrupt_while_the_lock_settles_leaves_none(store: MemoryStore, clock: FakeClock) -> None:
    def read() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        acquire_lock(store, SUITE, clock, exclusive=False, meanwhile=read)
    assert count(store) == 0
