"""Long texts as several messages: nothing lost, nothing cut in two, each sent once, limits kept over restarts."""

from __future__ import annotations

import re
import sqlite3
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from govsec.notice.api import DeliveryError, Limits, Receipt, ReceiptState
from govsec.notice.channels.robots import dingtalk_text, wecom_text
from govsec.notice.outbox import ItemState, Outbox
from govsec.notice.parts import Part, numbered, taken_apart
from govsec.notice.sender import Sender
from govsec.notice.words import Words
from govsec.records import Notice, Severity
from govsec.testing.clock import FakeClock

NOW = datetime(2026, 11, 22, 1, 41, tzinfo=UTC)
_TEXT = st.text(st.sampled_from("a1 很_*[]()#@\\`é\u0301👍🏽\ufe0f<>"), max_size=60)


def notice(key: str = "k1") -> Notice:
    return Notice(
        key=key, kind="incident.opened", severity=Severity.HIGH, time=NOW, subject="10.0.0.8", summary="a scan"
    )


@pytest.mark.parametrize("text_of", [dingtalk_text, wecom_text, Words.text])
@given(title=st.text("标题a_", max_size=8), lines=st.lists(_TEXT, max_size=12), size=st.integers(80, 200))
def test_parts_fit_and_together_say_all_of_it(text_of: object, title: str, lines: list[str], size: int) -> None:
    assert callable(text_of)
    words = Words(title, tuple(lines))
    apart = taken_apart(words, lambda each: len(text_of(each).encode()) <= size, 99)

    assert all(len(text_of(part).encode()) <= size for part in apart)
    assert "".join(line for part in apart for line in part.lines) == "".join(lines)
    if len(apart) > 1:
        marks = [re.search(r"\((\d+)/(\d+)\)$", part.title) for part in apart]
        assert [mark and (int(mark[1]), int(mark[2])) for mark in marks] == [
            (number, len(apart)) for number in range(1, len(apart) + 1)
        ]


@given(lines=st.lists(st.text("很长a", min_size=1, max_size=80), min_size=1, max_size=12), parts_max=st.integers(1, 3))
def test_what_is_beyond_the_number_of_parts_is_told(lines: list[str], parts_max: int) -> None:
    def fits(words: Words) -> bool:
        return len(words.text().encode()) <= 100

    apart = taken_apart(Words("标题", tuple(lines)), fits, parts_max)

    assert len(apart) <= parts_max
    assert all(fits(part) for part in apart)
    said = "".join(line for part in apart for line in part.lines)
    missing = re.search(r"… \(\+\d+\)$", said)
    assert "".join(lines).startswith(said[: missing.start()] if missing else said)
    assert (said == "".join(lines)) is (missing is None)


def test_no_character_loses_its_marks() -> None:
    line = "e\u0301" * 100 + "👍🏽" * 50 + "☎\ufe0f" * 50
    apart = taken_apart(Words("t", (line,)), lambda each: len(each.text().encode()) <= 60, 99)

    assert len(apart) > 10
    for part in apart:
        assert not re.match("[\u0301\ufe0f\U0001f3fd]", part.lines[0])
        assert not re.search(r"[e☎👍]$", part.lines[-1])


class _Robot:
    """Takes messages of forty characters; remembers them, and fails where it is told to."""

    name = "robot"

    def __init__(self, *, per_minute: int | None = None, recipients: tuple[str, ...] = ("",)) -> None:
        self.limits = Limits(per_minute=per_minute)
        self.recipients = recipients
        self.got: list[tuple[str, int, str]] = []
        self.failing: Counter[int] = Counter()
        self.length = 400

    def send(self, notice: Notice) -> Receipt:
        raise AssertionError("a sender sends the parts")

    def parts_of(self, notice: Notice) -> tuple[Part, ...]:
        words = Words("T", ("x" * self.length,))
        return numbered(taken_apart(words, lambda each: len(each.text()) <= 40, 99), recipients=self.recipients)

    def send_part(self, notice: Notice, part: Part) -> Receipt:
        if self.failing[part.number] > 0:
            self.failing[part.number] -= 1
            raise DeliveryError("busy", is_retryable=True)
        self.got.append((notice.key, part.number, part.words.text()))
        return Receipt(ReceiptState.ACCEPTED, NOW, f"n{part.number}")


def test_each_part_is_sent_once_also_when_one_of_them_fails_and_the_words_change(tmp_path: Path) -> None:
    clock, robot = FakeClock(NOW), _Robot()
    robot.failing[2] = 3
    with_parts = robot.parts_of(notice())
    outbox = Outbox(tmp_path / "outbox.db")
    outbox.put([notice()], ["robot"], NOW)
    Sender(outbox, {"robot": robot}, clock).step()
    robot.length = 90  # the configuration's language changes: what was taken apart stays as it was
    for _ in range(20):
        clock.advance(60)
        Sender(outbox, {"robot": robot}, clock).step(limit=100)
    items = outbox.items(ItemState.DONE)

    assert sorted(number for _, number, _ in robot.got) == [part.number for part in with_parts]
    assert {number: text for _, number, text in robot.got} == {part.number: part.words.text() for part in with_parts}
    assert [item.receipt.number for item in items if item.receipt and item.part] == [
        f"n{item.part.number}" for item in items if item.part
    ]
    assert outbox.put([notice()], ["robot"], clock.now()) == 0
    outbox.close()


def test_a_worker_that_dies_between_the_parts_leaves_the_rest_to_the_next(tmp_path: Path) -> None:
    clock, robot = FakeClock(NOW), _Robot()
    outbox = Outbox(tmp_path / "outbox.db")
    outbox.put([notice()], ["robot"], NOW)
    (leased,) = outbox.lease({"robot": Limits()}, NOW)
    parts = robot.parts_of(leased.notice)
    assert outbox.split(leased, parts, NOW) is not None
    assert outbox.split(leased, parts, NOW) is None  # it is split already
    outbox.close()  # and here it dies

    outbox = Outbox(tmp_path / "outbox.db")
    clock.advance(600)
    Sender(outbox, {"robot": robot}, clock).step(limit=100)
    assert sorted(number for _, number, _ in robot.got) == list(range(1, len(parts) + 1))
    assert outbox.counters() == {"waiting": 0, "done": len(parts), "dead": 0}
    outbox.close()


def test_twenty_a_minute_are_twenty_messages_over_parts_notices_and_restarts(tmp_path: Path) -> None:
    clock, robot = FakeClock(NOW), _Robot(per_minute=20)
    outbox = Outbox(tmp_path / "outbox.db")
    outbox.put([notice(f"k{number}") for number in range(6)], ["robot"], NOW)
    wanted = 6 * len(robot.parts_of(notice()))
    sent_by_minute = []
    while len(robot.got) < wanted and len(sent_by_minute) < 20:
        before = len(robot.got)
        for _ in range(3):
            Sender(outbox, {"robot": robot}, clock).step(limit=15)
            outbox.close()  # a restart frees nothing
            outbox = Outbox(tmp_path / "outbox.db")
            clock.advance(20)
        sent_by_minute.append(len(robot.got) - before)
    outbox.close()

    assert wanted > 60
    assert max(sent_by_minute) <= 20
    assert len(robot.got) == len(set(robot.got)) == wanted


def test_all_recipients_get_all_parts(tmp_path: Path) -> None:
    robot = _Robot(recipients=("13800000000", "13900000000"))
    outbox = Outbox(tmp_path / "outbox.db")
    outbox.put([notice()], ["robot"], NOW)
    clock = FakeClock(NOW)
    for _ in range(3):
        Sender(outbox, {"robot": robot}, clock).step(limit=100)
    outbox.close()

    parts = robot.parts_of(notice())
    assert [number for _, number, _ in sorted(robot.got, key=lambda one: one[1])] == [part.number for part in parts]
    assert Counter(part.to for part in parts) == {to: len(parts) // 2 for to in robot.recipients}


def test_an_outbox_of_an_earlier_form_is_brought_up_to_date_with_what_waits_in_it(tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    outbox = Outbox(path)
    outbox.put([notice()], ["robot"], NOW)
    outbox.close()
    with sqlite3.connect(path) as work:
        work.execute("ALTER TABLE items DROP COLUMN part")
        work.execute("PRAGMA user_version = 2")
    work.close()

    robot, outbox = _Robot(), Outbox(path)
    Sender(outbox, {"robot": robot}, FakeClock(NOW)).step(limit=100)
    outbox.close()
    assert len(robot.got) == len(robot.parts_of(notice()))


def test_what_is_a_dead_letter_everywhere_is_undeliverable(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "outbox.db")
    outbox.put([notice()], ["a", "b"], NOW)
    (first,) = outbox.lease({"a": Limits()}, NOW)
    outbox.fail(first, "gone", NOW, is_retryable=False)
    assert not outbox.is_undeliverable("k1")
    (second,) = outbox.lease({"b": Limits()}, NOW)
    outbox.fail(second, "gone", NOW, is_retryable=False)
    assert outbox.is_undeliverable("k1")
    assert not outbox.is_undeliverable("k2")
    outbox.close()
