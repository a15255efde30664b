"""Answers that no honest server gives: whatever comes back, one channel's trouble stays its own."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from pathlib import Path

import pytest

from govsec.notice.api import DeliveryError, Limits, Receipt, ReceiptState
from govsec.notice.channels.robots import check_answer
from govsec.notice.outbox import LEASE, TRIES_MAX, ItemState, Outbox
from govsec.notice.sender import Sender
from govsec.records import Notice, Severity
from govsec.testing.clock import FakeClock

NOW = datetime(2026, 11, 22, 1, 41, tzinfo=UTC)


def notice(key: str = "k1") -> Notice:
    return Notice(
        key=key, kind="incident.opened", severity=Severity.HIGH, time=NOW, subject="10.0.0.8", summary="a scan"
    )


@pytest.mark.parametrize(
    "body",
    [
        b'{"errcode":[1]}',
        b'{"errcode":{"a":0}}',
        b'{"errcode":"0"}',
        b'{"errcode":0.0}',
        b'{"errcode":null}',
        b'{"errcode":1,"errmsg":[[1]]}',
        b"[" * 60_000,
        b'{"errcode":' + b"[" * 60_000,
        b'{"errcode":' + b"9" * 60_000 + b"}",
        b"\xff\xfe\x00",
    ],
)
def test_an_answer_that_says_nothing_is_a_no_and_nothing_worse(body: bytes) -> None:
    with pytest.raises(DeliveryError, match="channel wecom") as raised:
        check_answer("wecom", 200, body)
    assert len(str(raised.value)) < 500


def test_a_number_that_is_no_text_is_no_number() -> None:
    assert check_answer("wecom", 200, b'{"errcode":0,"msgid":[[]]}') == ""
    assert check_answer("wecom", 200, b'{"errcode":0,"msgid":17}') == "17"


class _Broken:
    """A channel with a fault of its own; its words hold a key that nobody may see."""

    name = "bad"
    limits = Limits()

    def __init__(self, fault: BaseException) -> None:
        self.fault = fault
        self.asked = 0

    def send(self, _: Notice) -> Receipt:
        self.asked += 1
        raise self.fault


class _Good:
    name = "good"
    limits = Limits()

    def send(self, _: Notice) -> Receipt:
        return Receipt(ReceiptState.ACCEPTED, NOW)


@pytest.mark.parametrize("fault", [TypeError("key=t0ken"), RecursionError("key=t0ken"), UnicodeError("key=t0ken")])
def test_a_channel_that_breaks_keeps_no_other_waiting_and_ends_as_a_dead_letter(
    fault: Exception, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock, bad = FakeClock(NOW), _Broken(fault)
    outbox = Outbox(tmp_path / "outbox.db")
    outbox.put([notice()], ["bad", "good"], NOW)
    sender = Sender(outbox, {"bad": bad, "good": _Good()}, clock)
    with caplog.at_level(logging.ERROR, logger="govsec.notice.sender"):
        sender.step()
        assert outbox.counters() == {"waiting": 1, "done": 1, "dead": 0}
        for _ in range(2 * TRIES_MAX):
            clock.advance(3600)
            sender.step()
    (dead,) = outbox.items(ItemState.DEAD)
    outbox.close()

    assert bad.asked == TRIES_MAX
    assert type(fault).__name__ in dead.error
    assert "t0ken" not in dead.error and "t0ken" not in caplog.text
    assert {record.__dict__["fault"] for record in caplog.records} == {type(fault).__name__}


def test_a_person_who_stops_the_program_stops_it(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "outbox.db")
    outbox.put([notice()], ["bad"], NOW)
    with pytest.raises(KeyboardInterrupt):
        Sender(outbox, {"bad": _Broken(KeyboardInterrupt())}, FakeClock(NOW)).step()
    outbox.close()


def test_what_no_worker_lived_to_tell_of_is_tried_no_more_than_anything_else(tmp_path: Path) -> None:
    clock = FakeClock(NOW)
    outbox = Outbox(tmp_path / "outbox.db")
    outbox.put([notice()], ["robot"], NOW)
    tried = 0
    for _ in range(TRIES_MAX + 10):
        tried += len(outbox.lease({"robot": Limits()}, clock.now()))  # and the worker dies
        clock.advance(LEASE.total_seconds())
    (dead,) = outbox.items(ItemState.DEAD)
    outbox.close()

    assert tried == TRIES_MAX
    assert "no worker" in dead.error
