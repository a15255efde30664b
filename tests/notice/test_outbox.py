"""The outbox: kept before it is sent, at least once, within limits, later each time, never silently dropped."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from govsec.clock import SystemClock
from govsec.errors import RefusedError
from govsec.notice.api import DeliveryError, Limits, Receipt, ReceiptState
from govsec.notice.outbox import LEASE, TRIES_MAX, ItemState, Outbox
from govsec.notice.sender import Sender, Sent
from govsec.records import Notice, Severity
from govsec.testing.clock import FakeClock

NOW = datetime(2026, 11, 22, 1, 41, tzinfo=UTC)
ROBOT = {"robot": Limits(per_minute=20)}


def notice(key: str = "k1", severity: Severity = Severity.MEDIUM) -> Notice:
    return Notice(key=key, kind="incident.opened", severity=severity, time=NOW, subject="10.0.0.8", summary="a scan")


class _Far:
    """The far side: answers as it is told, one answer a send, then yes."""

    def __init__(self, *answers: DeliveryError, limits: Limits | None = None, name: str = "robot") -> None:
        self.name = name
        self.limits = limits or Limits()
        self.answers = list(answers)
        self.seen: list[str] = []

    def send(self, told: Notice) -> Receipt:
        self.seen.append(told.key)
        if self.answers:
            raise self.answers.pop(0)
        return Receipt(ReceiptState.ACCEPTED, NOW, "n-1")


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    outbox = Outbox(tmp_path / "outbox.db")
    yield outbox
    outbox.close()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(NOW)


def test_the_same_notice_is_kept_once_for_each_channel(outbox: Outbox) -> None:
    assert outbox.put([notice(), notice()], ["robot", "mail", "robot"], NOW) == 2
    assert outbox.put([notice()], ["robot"], NOW) == 0
    assert outbox.counters() == {"waiting": 2, "done": 0, "dead": 0}


def test_a_notice_for_nobody_is_refused(outbox: Outbox) -> None:
    with pytest.raises(RefusedError, match="nobody would be told"):
        outbox.put([notice()], [], NOW)


def test_what_is_sent_has_a_receipt_and_is_not_sent_again(outbox: Outbox, clock: FakeClock) -> None:
    far = _Far()
    outbox.put([notice()], ["robot"], NOW)
    sender = Sender(outbox, {"robot": far}, clock)

    assert sender.step().delivered == 1
    assert sender.step().delivered == 0
    (item,) = outbox.items(ItemState.DONE)
    assert item.receipt == Receipt(ReceiptState.ACCEPTED, NOW, "n-1")
    assert item.notice == notice()


def test_the_most_severe_goes_first(outbox: Outbox, clock: FakeClock) -> None:
    far = _Far()
    outbox.put(
        [notice("low", Severity.LOW), notice("worst", Severity.CRITICAL), notice("high", Severity.HIGH)], ["robot"], NOW
    )
    Sender(outbox, {"robot": far}, clock).step()

    assert far.seen == ["worst", "high", "low"]


def test_a_failure_that_may_pass_is_tried_later_each_time_and_then_dead_and_can_be_sent_again(
    outbox: Outbox, clock: FakeClock
) -> None:
    far = _Far(*[DeliveryError("busy", is_retryable=True)] * TRIES_MAX)
    outbox.put([notice()], ["robot"], NOW)
    sender = Sender(outbox, {"robot": far}, clock)
    waits: list[float] = []
    while not outbox.items(ItemState.DEAD):
        sender.step()
        following = outbox.next_at(["robot"])
        if following is not None:
            waits.append((following - clock.now()).total_seconds())
            assert sender.step() == Sent(0, 0, 0)
            clock.advance(waits[-1])

    assert len(far.seen) == TRIES_MAX
    assert 5 <= waits[0] <= 7.5 and 10 <= waits[1] <= 15 and 1800 <= waits[20] <= 2700
    (dead,) = outbox.items(ItemState.DEAD)
    assert (dead.error, dead.tries) == ("busy", TRIES_MAX)
    outbox.retry(dead.id, clock.now())
    assert sender.step().delivered == 1
    with pytest.raises(RefusedError, match="no dead letter"):
        outbox.retry(dead.id, clock.now())


def test_a_failure_that_will_not_pass_is_dead_at_once(outbox: Outbox, clock: FakeClock) -> None:
    far = _Far(DeliveryError("errcode 310000: keywords not in content", is_retryable=False))
    outbox.put([notice(), notice("k2")], ["robot"], NOW)

    sent = Sender(outbox, {"robot": far}, clock).step()
    assert (sent.dead, sent.delivered) == (1, 1)
    assert [item.error for item in outbox.items(ItemState.DEAD)] == ["errcode 310000: keywords not in content"]


def test_a_channel_gets_no_more_than_it_bears_also_over_a_restart_and_a_clock_set_back(
    tmp_path: Path, clock: FakeClock
) -> None:
    far = _Far(limits=Limits(per_minute=20, per_day=50))
    outbox = Outbox(tmp_path / "outbox.db")
    outbox.put([notice(f"k{number}") for number in range(100)], ["robot"], NOW)
    counts = []
    for second in range(180):
        if second == 30:
            outbox.close()
            outbox = Outbox(tmp_path / "outbox.db")
        if second == 45:
            clock.jump(-20)
        counts.append(Sender(outbox, {"robot": far}, clock).step(limit=100).delivered)
        clock.advance(1)
    outbox.close()

    assert counts[0] == 20
    assert sum(counts[:60]) == 20
    assert sum(counts) == 50


def test_a_far_side_that_asks_for_patience_gets_it_for_the_whole_channel(outbox: Outbox, clock: FakeClock) -> None:
    far, other = _Far(DeliveryError("muted", is_retryable=True, after_s=600)), _Far(name="mail")
    outbox.put([notice(), notice("k2")], ["robot", "mail"], NOW)
    sender = Sender(outbox, {"robot": far, "mail": other}, clock)
    sender.step()
    clock.advance(599)
    sender.step()
    assert (len(far.seen), len(other.seen)) == (1, 2)
    clock.advance(1)
    sender.step()

    assert sorted(far.seen) == ["k1", "k1", "k2"]


def test_a_lease_keeps_others_away_until_it_runs_out(outbox: Outbox) -> None:
    outbox.put([notice()], ["robot"], NOW)
    (first,) = outbox.lease(ROBOT, NOW)

    assert outbox.lease(ROBOT, NOW + LEASE - timedelta(seconds=1)) == ()
    (second,) = outbox.lease(ROBOT, NOW + LEASE)
    assert (second.notice, second.tries) == (first.notice, 2)
    # The first wakes up late: its failure is no news by now, its success is.
    outbox.fail(first, "late", NOW, is_retryable=False)
    assert outbox.counters()["dead"] == 0
    outbox.record(first, Receipt(ReceiptState.ACCEPTED, NOW))
    assert outbox.counters()["done"] == 1
    outbox.fail(second, "late", NOW, is_retryable=False)
    assert outbox.counters() == {"waiting": 0, "done": 1, "dead": 0}


def test_only_what_was_delivered_is_forgotten(outbox: Outbox, clock: FakeClock) -> None:
    outbox.put([notice("a"), notice("b"), notice("c")], ["robot"], NOW)
    far = _Far(DeliveryError("no", is_retryable=False))
    Sender(outbox, {"robot": far}, clock).step(limit=2)

    assert outbox.forget(NOW + timedelta(days=1)) == 1
    assert outbox.counters() == {"waiting": 1, "done": 0, "dead": 1}


@pytest.mark.parametrize("seed", [20261122])
def test_workers_that_are_killed_while_they_send_lose_nothing(tmp_path: Path, seed: int) -> None:
    print(f"seed {seed}")
    chance = random.Random(seed)
    outbox = Outbox(tmp_path / "outbox.db")
    keys = [f"k{number}" for number in range(1500)]
    outbox.put([notice(key) for key in keys], ["file"], SystemClock().now())
    kills = 0
    while kills < 12 and outbox.counters()["waiting"]:
        workers = [_start(tmp_path, 0) for _ in range(2)]
        for worker in workers:
            assert worker.stdout is not None and worker.stdout.readline()  # it works now
        goal = outbox.counters()["done"] + chance.randrange(5, 60)
        while outbox.counters()["done"] < goal and any(worker.poll() is None for worker in workers):
            pass
        for worker in workers:
            kills += worker.poll() is None
            worker.kill()
            worker.communicate()
    assert kills >= 10, "hardly a worker was killed at work"
    last = _start(tmp_path, 3600)  # the leases of the dead have run out by then
    _, _ = last.communicate(timeout=300)

    sent = Counter(json.loads(line)["key"] for line in (tmp_path / "sent.jsonl").read_text().splitlines())
    assert set(sent) == set(keys)
    assert sum(sent.values()) - len(keys) <= kills
    assert outbox.counters() == {"waiting": 0, "done": 1500, "dead": 0}
    outbox.close()


def _start(folder: Path, ahead_s: float) -> subprocess.Popen[str]:
    argv = [sys.executable, "-m", "tests.notice.worker", str(folder), str(ahead_s)]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])


def test_what_became_of_a_notice_is_given_for_evidence_until_somebody_has_it(outbox: Outbox, clock: FakeClock) -> None:
    outbox.put([notice("k1"), notice("k2"), notice("k3")], ["robot"], NOW)
    refused = DeliveryError("no such robot", is_retryable=False)
    Sender(outbox, {"robot": _Far(refused, refused, refused)}, clock).step(limit=1)
    Sender(outbox, {"robot": _Far()}, clock).step(limit=1)

    ended = outbox.unrecorded()
    assert sorted(item.state.value for item in ended) == ["dead", "done"]
    outbox.mark_recorded([item.id for item in ended] + [ended[-1].id + 1])
    assert outbox.unrecorded() == ()
    outbox.retry(next(item.id for item in ended if item.state is ItemState.DEAD), NOW)
    Sender(outbox, {"robot": _Far()}, clock).step()
    assert [item.state for item in outbox.unrecorded()] == [ItemState.DONE] * 2
