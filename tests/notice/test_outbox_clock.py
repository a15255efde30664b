"""A wall clock that is wrong for an hour: what was noted under it counts for its own span, and no longer."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from govsec.notice.api import Limits
from govsec.notice.outbox import LEASE, Outbox
from govsec.records import Notice, Severity

NOW = datetime(2026, 11, 22, 1, 41, tzinfo=UTC)
WRONG = NOW + timedelta(days=30)
FREE = {"robot": Limits()}


def notices(count: int = 1) -> list[Notice]:
    return [
        Notice(key=f"k{number}", kind="incident.opened", severity=Severity.HIGH, time=NOW, subject="x", summary="scan")
        for number in range(count)
    ]


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    outbox = Outbox(tmp_path / "outbox.db")
    yield outbox
    outbox.close()


def test_what_was_put_in_the_future_is_due_now(outbox: Outbox) -> None:
    outbox.put(notices(), ["robot"], WRONG)

    assert len(outbox.lease(FREE, NOW)) == 1


def test_what_failed_in_the_future_is_due_now(outbox: Outbox) -> None:
    outbox.put(notices(), ["robot"], NOW)
    (leased,) = outbox.lease(FREE, WRONG)
    outbox.fail(leased, "busy", WRONG, is_retryable=True)

    assert len(outbox.lease(FREE, NOW)) == 1


def test_a_lease_of_the_future_keeps_others_away_for_as_long_as_a_lease_does(outbox: Outbox) -> None:
    outbox.put(notices(), ["robot"], NOW)
    assert len(outbox.lease(FREE, WRONG)) == 1

    assert outbox.lease(FREE, NOW) == ()
    assert outbox.lease(FREE, NOW + LEASE - timedelta(seconds=1)) == ()
    assert len(outbox.lease(FREE, NOW + LEASE)) == 1


@pytest.mark.parametrize(
    ("limits", "span"),
    [(Limits(per_minute=20), timedelta(minutes=1)), (Limits(per_minute=50, per_day=20), timedelta(days=1))],
)
def test_tries_of_the_future_use_up_one_span_from_now(limits: Limits, span: timedelta, outbox: Outbox) -> None:
    outbox.put(notices(60), ["robot"], NOW)
    bounds = {"robot": limits}
    assert len(outbox.lease(bounds, WRONG, limit=100)) == 20

    assert outbox.lease(bounds, NOW, limit=100) == ()
    assert outbox.lease(bounds, NOW + span - timedelta(seconds=1), limit=100) == ()
    assert len(outbox.lease(bounds, NOW + span, limit=100)) == 20


def test_a_pause_of_the_future_ends_within_a_day(outbox: Outbox) -> None:
    outbox.put(notices(2), ["robot"], NOW)
    (leased,) = outbox.lease(FREE, WRONG, limit=1)
    outbox.fail(leased, "muted", WRONG, is_retryable=True, after_s=600)

    assert outbox.lease(FREE, NOW) == ()
    assert len(outbox.lease(FREE, NOW + timedelta(days=1))) == 2


def test_nobody_is_asked_to_wait_for_longer_than_a_day(outbox: Outbox) -> None:
    outbox.put(notices(2), ["robot"], NOW)
    (leased,) = outbox.lease(FREE, NOW, limit=1)
    outbox.fail(leased, "come back in a year", NOW, is_retryable=True, after_s=365 * 86_400.0)

    assert outbox.lease(FREE, NOW + timedelta(hours=23)) == ()
    assert len(outbox.lease(FREE, NOW + timedelta(days=1))) == 2
