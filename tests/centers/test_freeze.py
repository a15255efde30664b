"""A freeze keeps what is there: nothing is let go while it holds, and it always ends."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from govsec.centers import names
from govsec.centers.freeze import FREEZE_MAX, freeze, read_freeze, refuse_if_frozen, thaw
from govsec.errors import RefusedError, UsageError
from govsec.store.memory import MemoryStore
from govsec.testing.clock import FakeClock

START = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)
ID = "0123456789abcdef"


def begin(store: MemoryStore, clock: FakeClock, *, id: str = ID, days: float = 7) -> None:
    freeze(store, clock, id=id, by="zhang", reason="ransomware", until=clock.now() + timedelta(days=days))


def test_it_holds_until_its_end_and_not_a_second_longer() -> None:
    store, clock = MemoryStore("same_city"), FakeClock(START)
    begin(store, clock)
    clock.advance(7 * 86400 - 1)
    with pytest.raises(RefusedError, match="same_city: frozen by zhang"):
        refuse_if_frozen([store], clock)
    clock.advance(1)

    refuse_if_frozen([store], clock)
    assert read_freeze(store, clock) is None


def test_the_same_freeze_again_is_one_and_keeps_its_end() -> None:
    store, clock = MemoryStore("same_city"), FakeClock(START)
    begin(store, clock)
    begin(store, clock)

    assert len(list(store.list(names.FROZEN))) == 1


def test_two_freezes_do_not_end_each_other() -> None:
    store, clock = MemoryStore("same_city"), FakeClock(START)
    begin(store, clock)
    begin(store, clock, id="fedcba9876543210", days=2)

    assert thaw(store, clock, ID)
    found = read_freeze(store, clock)
    assert found is not None and found.id == "fedcba9876543210"
    assert thaw(store, clock, found.id)
    assert read_freeze(store, clock) is None
    assert not thaw(store, clock, "00000000")


@pytest.mark.parametrize("days", [-1, 0, FREEZE_MAX.days + 0.01])
def test_one_that_would_not_end_in_time_is_refused(days: float) -> None:
    store, clock = MemoryStore("same_city"), FakeClock(START)
    with pytest.raises(UsageError):
        begin(store, clock, days=days)

    assert not list(store.list(""))


@pytest.mark.parametrize(
    "name",
    [
        "anything",
        f"20990101T000000Z-{ID}",
        f"20261399T000000Z-{ID}",
        f"99991231T000000Z-{ID}",
        f"20261129T090000Z-{ID}x",
    ],
)
def test_what_is_no_freeze_freezes_nobody(name: str) -> None:
    store, clock = MemoryStore("same_city"), FakeClock(START)
    store.put(names.FROZEN + name, b"{")

    refuse_if_frozen([store], clock)
    assert read_freeze(store, clock) is None


@pytest.mark.parametrize("body", [b"{", b"", b"x" * 5000, b'{"until": "2026-11-22T09:00:00Z"}'])
def test_whoever_writes_over_a_freeze_ends_nothing(body: bytes) -> None:
    store, clock = MemoryStore("same_city"), FakeClock(START)
    begin(store, clock)
    (info,) = store.list(names.FROZEN)
    store.put(info.name, body)

    with pytest.raises(RefusedError, match="frozen by unknown"):
        refuse_if_frozen([store], clock)
    clock.advance(7 * 86400)
    refuse_if_frozen([store], clock)
