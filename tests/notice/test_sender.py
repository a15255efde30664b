"""Turns: whoever fails or is slow lets the others go first, and what was delivered long ago is forgotten."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from govsec.notice.api import DeliveryError, Limits, Receipt, ReceiptState
from govsec.notice.outbox import ItemState, Outbox
from govsec.notice.sender import Sender
from govsec.records import Notice, Severity
from govsec.testing.clock import FakeClock

NOW = datetime(2026, 11, 22, 1, 41, tzinfo=UTC)


class _Slow:
    """Takes its time for each answer."""

    limits = Limits()

    def __init__(self, name: str, clock: FakeClock, takes_s: float, error: DeliveryError | None = None) -> None:
        self.name, self.clock, self.takes_s, self.error = name, clock, takes_s, error
        self.ends: list[datetime] = []

    def send(self, _: Notice) -> Receipt:
        self.clock.advance(self.takes_s)
        self.ends.append(self.clock.now())
        if self.error:
            raise self.error
        return Receipt(ReceiptState.ACCEPTED, self.clock.now())


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    outbox = Outbox(tmp_path / "outbox.db")
    yield outbox
    outbox.close()


def notices(count: int) -> list[Notice]:
    return [
        Notice(key=f"k{number}", kind="incident.opened", severity=Severity.HIGH, time=NOW, subject="x", summary="scan")
        for number in range(count)
    ]


@pytest.mark.parametrize(
    "error",
    [DeliveryError("timed out", is_retryable=True), DeliveryError("no", is_retryable=False), None],
    ids=["times out", "refuses slowly", "accepts slowly"],
)
def test_a_slow_channel_has_one_turn_a_step(error: DeliveryError | None, outbox: Outbox) -> None:
    clock = FakeClock(NOW)
    slow, quick = _Slow("slow", clock, 30, error), _Slow("quick", clock, 0.1)
    outbox.put(notices(100), ["slow", "quick"], NOW)
    Sender(outbox, {"slow": slow, "quick": quick}, clock).step(limit=1000)

    assert (len(slow.ends), len(quick.ends)) == (1, 100)
    assert quick.ends[-1] - NOW <= timedelta(seconds=41)


def test_a_channel_that_fails_at_once_is_not_asked_again_in_the_same_step(outbox: Outbox) -> None:
    clock = FakeClock(NOW)
    down = _Slow("down", clock, 0, DeliveryError("nobody there", is_retryable=True))
    outbox.put(notices(100), ["down"], NOW)

    assert Sender(outbox, {"down": down}, clock).step(limit=1000).failed == 1
    assert len(down.ends) == 1


def test_what_is_refused_for_itself_does_not_keep_the_next_waiting(outbox: Outbox) -> None:
    clock = FakeClock(NOW)
    picky = _Slow("picky", clock, 0, DeliveryError("keywords not in content", is_retryable=False))
    outbox.put(notices(100), ["picky"], NOW)

    assert Sender(outbox, {"picky": picky}, clock).step(limit=1000).dead == 100


def test_what_was_delivered_long_ago_is_forgotten_once_a_day(outbox: Outbox) -> None:
    clock = FakeClock(NOW)
    channel = _Slow("file", clock, 0)
    sender = Sender(outbox, {"file": channel}, clock, kept=timedelta(days=7))
    outbox.put(notices(2)[:1], ["file"], NOW)
    sender.step()
    clock.advance(6.5 * 86_400)
    sender.step()
    assert outbox.counters()["done"] == 1
    # What lay for long and was delivered today is news.
    outbox.put(notices(2)[1:], ["file"], NOW)
    sender.step()
    clock.advance(0.6 * 86_400)
    sender.step()
    assert outbox.counters()["done"] == 2, "looked again before a day was over"
    clock.advance(0.5 * 86_400)
    sender.step()

    assert [item.notice.key for item in outbox.items(ItemState.DONE)] == ["k1"]
    clock.jump(-30 * 86_400)
    sender.step()
    clock.jump(60 * 86_400)
    sender.step()
    assert outbox.counters()["done"] == 0
