"""What each wrapper adds, and that it adds nothing else."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from govsec.errors import (
    CutShortError,
    IntegrityError,
    LimitError,
    ObjectExistsError,
    ObjectNotFoundError,
    RefusedError,
    StoreDeniedError,
    StoreError,
    StoreFullError,
    StoreUnavailableError,
)
from govsec.rateentry import RateWindow
from govsec.store.limit import ByteRate, LimitStore
from govsec.store.memory import MemoryStore
from govsec.store.meter import Meter, MeterStore, Usage
from govsec.store.readonly import ReadOnlyStore
from govsec.store.retry import RetryStore, RetryVersionedStore
from govsec.testing.clock import FakeClock
from govsec.testing.faults import FaultKind, Faults, FaultStore, Moment, no_faults, sweep
from govsec.testing.storesuite import Child, names, raises
from govsec.testing.versioned import VersionedMemoryStore


def filled() -> MemoryStore:
    store = MemoryStore()
    for position in range(5):
        store.put(f"data/{position}", b"x" * position)
    return store


def story(store: RetryStore[FaultStore[MemoryStore]]) -> None:
    """One call of each kind."""
    assert len(store.put("data/new", b"new").held_by) == 1
    store.put("data/once", b"once", if_absent=True)
    assert store.get("data/new", size_max=3) == b"new"
    assert store.head("data/once").size_bytes == 4
    assert names(store, "data/") == [f"data/{p}" for p in (0, 1, 2, 3, 4, "new", "once")]
    store.delete("data/new")


@pytest.mark.parametrize("moment", Moment)
@pytest.mark.parametrize("kind", [FaultKind.ERROR, FaultKind.TIMEOUT])
def test_retry_makes_one_failure_anywhere_invisible(kind: FaultKind, moment: Moment) -> None:
    for faults in sweep(kind, moment):
        clock = FakeClock()
        store = RetryStore(FaultStore(filled(), faults), clock)
        story(store)
        assert len(clock.sleeps) == store.retries_count == faults.injected_count == int(faults.was_reached)


@pytest.mark.parametrize(("kind", "error"), [(FaultKind.DENIED, StoreDeniedError), (FaultKind.FULL, StoreFullError)])
def test_retry_does_not_insist_on_what_will_not_change(kind: FaultKind, error: type[StoreError]) -> None:
    for faults in sweep(kind):
        clock = FakeClock()
        try:
            story(RetryStore(FaultStore(filled(), faults), clock))
        except error:
            faults.assert_injected()
        else:
            assert not faults.was_reached
        assert clock.sleeps == []


def test_retry_gives_up_with_the_last_error() -> None:
    clock, faults = FakeClock(), Faults(1, is_permanent=True)
    raises(StoreUnavailableError, RetryStore(FaultStore(filled(), faults), clock, attempts_max=4).head, "data/1")
    assert faults.injected_count == 4 and len(clock.sleeps) == 3


def test_retry_waits_longer_each_time_up_to_a_bound_and_never_in_step() -> None:
    for jitter, spread in ((0.0, 0.5), (1.0, 1.0)):
        clock = FakeClock()
        store = RetryStore(
            FaultStore(filled(), Faults(1, is_permanent=True)), clock, attempts_max=12, jitter=lambda j=jitter: j
        )
        raises(StoreUnavailableError, store.head, "data/1")
        bounds = [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 20.0, 20.0, 20.0, 20.0]
        assert clock.sleeps == pytest.approx([bound * spread for bound in bounds])


def test_retried_listing_goes_on_behind_the_last_name() -> None:
    class BreaksOff(MemoryStore):
        """Every listing breaks off after two names."""

        def list(self, prefix: str):  # type: ignore[no-untyped-def]  # noqa: ANN202 - as the base
            for position, info in enumerate(i for i in super().list(prefix) if i.name > self.last):
                if position == 2:
                    raise StoreUnavailableError("broke off")
                self.last = info.name
                yield info

        last = ""

    store = BreaksOff()
    for position in range(9):
        store.put(f"data/{position}", b"")
    clock = FakeClock()
    assert names(RetryStore(store, clock, attempts_max=2), "") == [f"data/{position}" for position in range(9)]
    # Each stretch made progress, so no two failures were counted together: the wait never grew.
    assert len(clock.sleeps) == 4 and max(clock.sleeps) <= 0.2


def test_retry_tells_its_own_object_from_anothers() -> None:
    inner = filled()
    faults = Faults(1, moment=Moment.AFTER, operations=frozenset({"put"}))
    RetryStore(FaultStore(inner, faults), FakeClock()).put("data/new", b"ours", if_absent=True)
    faults.assert_injected()
    for theirs in (b"other", b"longer than ours"):
        inner.put("data/theirs", theirs)
        store = RetryStore(FaultStore(inner, Faults(1, operations=frozenset({"put"}))), FakeClock())
        raises(ObjectExistsError, store.put, "data/theirs", b"ours!", if_absent=True)
        assert inner.get("data/theirs", size_max=100) == theirs


def test_first_refusal_of_a_conditional_put_is_believed_at_once() -> None:
    inner = filled()
    raises(ObjectExistsError, RetryStore(inner, FakeClock()).put, "data/1", b"x", if_absent=True)


def test_retry_needs_an_attempt() -> None:
    with pytest.raises(ValueError, match="at least one"):
        RetryStore(MemoryStore(), FakeClock(), attempts_max=0)


def test_owners_calls_are_retried_too() -> None:
    class Shaky(VersionedMemoryStore):
        """Every second call fails."""

        calls_count = 0

        def _shake(self) -> None:
            self.calls_count += 1
            if self.calls_count % 2:
                raise StoreUnavailableError("shaky")

        def versions(self, prefix: str):  # type: ignore[no-untyped-def]  # noqa: ANN202 - as the base
            self._shake()
            yield from super().versions(prefix)

        def retain(self, name: str, until: datetime) -> None:
            self._shake()
            super().retain(name, until)

        def delete_version(self, name: str, version_id: str) -> None:
            self._shake()
            super().delete_version(name, version_id)

    clock = FakeClock()
    shaky = Shaky(clock=clock)
    store = RetryVersionedStore(shaky, clock)
    store.put("data/1", b"true")
    store.put("data/1", b"junk")
    newest, oldest = store.versions("data/")
    store.delete_version("data/1", newest.version_id)
    store.retain("data/1", clock.now() + timedelta(days=1))
    raises(StoreDeniedError, store.delete_version, "data/1", oldest.version_id)
    assert store.get("data/1", size_max=4) == b"true"
    assert len(clock.sleeps) == 4


def test_limit_holds_the_rate_over_stores_and_clones() -> None:
    clock = FakeClock()
    rate = ByteRate(1000, clock)
    first, second = LimitStore(MemoryStore(), rate), LimitStore(MemoryStore(), rate)
    for position in range(10):
        first.put(f"a/{position}", bytes(500))
        second.clone().put(f"b/{position}", bytes(500))
        first.get(f"a/{position}", size_max=500)
    # 15,000 bytes at 1,000 a second, of which the first second is free and the last is still owed.
    assert 13.0 <= clock.monotonic() <= 15.0


def test_limit_lets_a_pause_build_up_one_second_only() -> None:
    clock = FakeClock()
    store = LimitStore(MemoryStore(), ByteRate(1000, clock))
    clock.advance(3600)
    for _ in range(5):
        store.put("a", bytes(1000))
    assert 3.0 <= clock.monotonic() - 3600 <= 4.0


def test_limit_lets_through_what_is_larger_than_a_second() -> None:
    clock = FakeClock()
    store = LimitStore(MemoryStore(), ByteRate(1000, clock))
    store.put("a", bytes(10_000))
    store.put("b", bytes(1))
    assert clock.monotonic() == pytest.approx(10.0)


def test_limit_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="positive"):
        ByteRate(0, FakeClock())


def test_limit_follows_its_schedule() -> None:
    # 2026-11-23 is a Monday. From eight to six on working days little may pass, at night everything.
    clock = FakeClock(datetime(2026, 11, 22, 23, 30, tzinfo=UTC))  # 07:30 in Beijing
    day = RateWindow(days=("mon", "tue", "wed", "thu", "fri"), begin="08:00", end="18:00", rate_bytes_per_s=100)
    night = RateWindow(begin="22:00", end="06:00", rate_bytes_per_s=None)
    store = LimitStore(MemoryStore(), ByteRate(1000, clock, schedule=(day, night)))

    def seconds_for(size_bytes: int) -> float:
        store.put("warm", bytes(size_bytes))
        began = clock.monotonic()
        for _ in range(4):
            store.put("a", bytes(size_bytes))
        return clock.monotonic() - began

    assert seconds_for(10_000) == pytest.approx(40, abs=2)
    clock.advance(3600)
    assert seconds_for(10_000) == pytest.approx(400, abs=2)
    clock.advance(15 * 3600)
    assert seconds_for(10_000) == 0.0


@pytest.mark.parametrize(
    ("beijing", "holds"),
    [("2026-11-27T21:59", False), ("2026-11-27T22:00", True), ("2026-11-28T05:59", True), ("2026-11-28T06:00", False),
     ("2026-11-28T22:30", False)],
)  # fmt: skip
def test_a_window_over_midnight_belongs_to_the_day_on_which_it_begins(beijing: str, holds: bool) -> None:
    window = RateWindow(days=("fri",), begin="22:00", end="06:00", rate_bytes_per_s=1)
    assert window.holds(datetime.fromisoformat(f"{beijing}+08:00")) is holds


class _CutLine(MemoryStore):
    """Gives at most so many bytes of a get, then cuts."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit, self.gets_count = limit, 0

    def get(self, name: str, *, offset: int = 0, length: int | None = None, size_max: int) -> bytes:
        self.gets_count += 1
        data = super().get(name, offset=offset, length=length, size_max=size_max)
        if len(data) > self.limit:
            raise CutShortError(f"{name}: cut", data[: self.limit], len(data))
        return data


def test_retry_goes_on_where_a_large_object_was_cut_however_often() -> None:
    inner, clock = _CutLine(300 << 10), FakeClock()
    data = bytes(range(256)) * (16 << 10)
    inner.put("data/1", data)
    store = RetryStore(inner, clock, attempts_max=2)
    assert store.get("data/1", size_max=len(data)) == data
    assert inner.gets_count == -(-len(data) // inner.limit)
    assert store.get("data/1", offset=5, length=1 << 20, size_max=1 << 20) == data[5 : 5 + (1 << 20)]


def test_retry_counts_attempts_that_bring_next_to_nothing() -> None:
    inner = _CutLine(100)
    inner.put("data/1", bytes(4 << 20))
    store = RetryStore(inner, FakeClock(), attempts_max=3)
    raises(StoreUnavailableError, store.get, "data/1", size_max=4 << 20)
    assert inner.gets_count == 3


def test_meter_counts_calls_bytes_errors_and_time() -> None:
    clock, meter = FakeClock(), Meter()

    class Slow(MemoryStore):
        def put(self, *arguments: object, **options: object):  # type: ignore[no-untyped-def]  # noqa: ANN202
            clock.sleep(2)
            return super().put(*arguments, **options)  # type: ignore[arg-type]  # as the base

    store = MeterStore(Slow(), meter, clock)
    store.put("a", bytes(100))
    store.clone().put("b", bytes(50))
    store.get("a", size_max=100)
    raises(ObjectNotFoundError, store.get, "c", size_max=100)
    raises(RefusedError, store.put, "../c", b"x")
    assert names(store, "") == ["a", "b"]
    store.delete("a")
    assert meter.usage() == {
        "put": Usage(calls_count=3, errors_count=1, size_bytes=150, elapsed_s=6.0),
        "get": Usage(calls_count=2, errors_count=1, size_bytes=100),
        "list": Usage(calls_count=1),
        "delete": Usage(calls_count=1),
    }


def test_read_only_view_has_no_way_to_write() -> None:
    store = ReadOnlyStore(filled())
    assert store.clone().get("data/3", size_max=3) == b"xxx"
    assert store.head("data/3").size_bytes == 3 and store.name == "memory"
    assert [info.name for info in store.list("data/3")] == ["data/3"]
    assert not {"put", "delete", "retain", "store"} & {name for name in dir(store) if not name.startswith("_")}


def test_memory_refuses_writers_in_other_processes() -> None:
    store = filled()

    def child() -> None:
        assert store.get("data/3", size_max=3) == b"xxx"
        raises(RefusedError, store.put, "data/9", b"nobody would see it")
        raises(RefusedError, store.clone().put, "data/9", b"nobody would see it")
        raises(RefusedError, store.delete, "data/3")

    with Child(child):
        pass


def test_fault_after_the_effect_leaves_the_effect() -> None:
    inner = MemoryStore()
    store = FaultStore(inner, Faults(1, moment=Moment.AFTER))
    raises(StoreUnavailableError, store.put, "a", b"x")
    assert inner.get("a", size_max=1) == b"x"


def test_killed_process_makes_no_further_call() -> None:
    inner, faults = filled(), Faults(2, FaultKind.KILL)
    first, second = FaultStore(inner, faults), FaultStore(inner, faults)
    first.put("a", b"x")
    for call in (
        lambda: second.put("b", b"x"),
        lambda: first.get("a", size_max=1),
        lambda: first.clone().delete("a"),
        lambda: names(first, ""),
    ):
        with pytest.raises(BaseException, match="memory") as caught:
            call()
        assert not isinstance(caught.value, Exception)
    assert names(inner, "") == ["a", *(f"data/{p}" for p in range(5))]


def test_lie_is_told_of_puts_alone() -> None:
    inner, faults = filled(), Faults(1, FaultKind.LIE)
    store = FaultStore(inner, faults)
    store.head("data/1")
    assert store.put("a", b"x").held_by == ("memory",)
    store.put("b", b"x")
    raises(ObjectNotFoundError, inner.head, "a")
    assert inner.head("b").size_bytes == 1 and faults.injected == ["memory: put a"]


def test_sweep_visits_every_call_and_ends_with_a_run_that_is_unharmed() -> None:
    runs = []
    for faults in sweep(FaultKind.ERROR):
        store = FaultStore(filled(), faults)
        try:
            for position in range(4):
                store.head(f"data/{position}")
        except StoreUnavailableError:
            faults.assert_injected()
        runs.append(faults.injected_count)
    assert runs == [1, 1, 1, 1, 0]


def test_sweep_of_nothing_fails() -> None:
    with pytest.raises(AssertionError, match="nothing was swept"):
        for _ in sweep(FaultKind.ERROR):
            pass
    with pytest.raises(AssertionError, match="no fault was injected"):
        no_faults().assert_injected()


def test_fault_that_stays_fails_every_later_call() -> None:
    store = FaultStore(filled(), Faults(2, is_permanent=True))
    store.head("data/1")
    for _ in range(3):
        raises(StoreUnavailableError, store.head, "data/1")


def test_clock_of_tests_moves_only_when_told() -> None:
    clock = FakeClock(datetime(2026, 5, 1, tzinfo=UTC))
    clock.sleep(10)
    clock.advance(5)
    clock.jump(-3600)
    assert clock.now() == datetime(2026, 5, 1, tzinfo=UTC) + timedelta(seconds=15 - 3600)
    assert clock.monotonic() == 15 and clock.sleeps == [10]
    with pytest.raises(ValueError, match="backwards"):
        clock.advance(-1)
    with pytest.raises(ValueError, match="zone"):
        FakeClock(datetime(2026, 5, 1))


def test_damage_is_not_retried() -> None:
    class Damaged(MemoryStore):
        def get(self, *_: object, **__: object) -> bytes:
            raise IntegrityError("damaged")

    clock = FakeClock()
    raises(IntegrityError, RetryStore(Damaged(), clock).get, "a", size_max=1)
    assert clock.sleeps == []
    raises(LimitError, RetryStore(filled(), clock).get, "data/4", size_max=1)
