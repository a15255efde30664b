"""The far side of a webhook: what our channel signs is taken, everything else is not."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

import pytest

from govsec.errors import FormatError, IntegrityError, TryAgainError
from govsec.notice import inbox as room
from govsec.notice.api import Reply
from govsec.notice.channels.webhook import DigestName, Webhook, signature
from govsec.notice.inbox import FRESH_S, WebhookInbox
from govsec.records import Notice, Severity
from govsec.testing.clock import FakeClock

NOW = datetime(2026, 11, 22, 1, 41, tzinfo=UTC)
SECRET = b"shared secret of the test"
NOTICE = Notice(key="k1", kind="incident.opened", severity=Severity.HIGH, time=NOW, subject="门户", summary="a scan")


class Post:
    """Keeps what a channel sends."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, bytes]] = []

    def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Reply:
        self.sent.append((headers["Govsec-Signature"], body))
        return Reply(200, b"")


def _sent(clock: FakeClock, *, digest: DigestName = "sha256", secret: bytes = SECRET) -> tuple[str, bytes]:
    post = Post()
    Webhook("hook", "https://desk.example/in", secret, post, clock, digest=digest).send(NOTICE)
    return post.sent[0]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(NOW)


@pytest.fixture
def inbox(clock: FakeClock) -> WebhookInbox:
    return WebhookInbox(SECRET, clock)


def test_what_the_channel_sent_is_opened_to_the_same_notice(inbox: WebhookInbox, clock: FakeClock) -> None:
    assert inbox.open(*_sent(clock)) == NOTICE


def test_a_request_that_was_here_before_is_refused_and_a_second_sending_is_not(
    inbox: WebhookInbox, clock: FakeClock
) -> None:
    first = _sent(clock)
    inbox.open(*first)
    with pytest.raises(IntegrityError, match="here before"):
        inbox.open(*first)
    assert inbox.open(*_sent(clock)).key == NOTICE.key


@pytest.mark.parametrize("seconds", [FRESH_S + 1, -FRESH_S - 1])
def test_what_is_older_or_newer_than_five_minutes_is_refused(
    inbox: WebhookInbox, clock: FakeClock, seconds: int
) -> None:
    header, body = _sent(FakeClock(datetime.fromtimestamp(NOW.timestamp() + seconds, UTC)))
    with pytest.raises(IntegrityError, match="away from now"):
        inbox.open(header, body)


def test_a_nonce_is_remembered_for_as_long_as_its_request_is_fresh(inbox: WebhookInbox, clock: FakeClock) -> None:
    # Signed by a clock that is five minutes ahead: fresh for ten minutes from here.
    ahead = _sent(FakeClock(datetime.fromtimestamp(NOW.timestamp() + FRESH_S, UTC)))
    inbox.open(*ahead)
    clock.advance(2 * FRESH_S)
    inbox.open(*_sent(clock))
    with pytest.raises(IntegrityError, match="here before"):
        inbox.open(*ahead)


@pytest.mark.parametrize("position", [0, 5, -1])
def test_another_body_another_secret_and_another_digest_are_refused(
    inbox: WebhookInbox, clock: FakeClock, position: int
) -> None:
    header, body = _sent(clock)
    changed = bytearray(body)
    changed[position] ^= 1
    for given in ((header, bytes(changed)), _sent(clock, secret=b"other"), ("", body), (header.upper(), body)):
        with pytest.raises(IntegrityError):
            inbox.open(*given)
    with pytest.raises(IntegrityError):
        WebhookInbox(SECRET, clock, digest="sm3").open(header, body)


def test_what_is_signed_and_no_notice_is_named(inbox: WebhookInbox) -> None:
    for number, body in enumerate((b"", b"{}", b'{"data":{}}', b"[" * 100_000, b'{"data":"x"}')):
        moment, nonce = int(NOW.timestamp()), f"{number:032x}"
        header = f"t={moment},n={nonce},sha256={signature(SECRET, body, moment, nonce, 'sha256')}"
        with pytest.raises(FormatError):
            inbox.open(header, body)


def test_no_nonce_is_forgotten_to_make_room(
    inbox: WebhookInbox, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "NONCES_MAX", 2)  # the real limit is a hundred thousand
    first = _sent(clock)
    inbox.open(*first)
    inbox.open(*_sent(clock))
    with pytest.raises(TryAgainError):
        inbox.open(*_sent(clock))
    with pytest.raises(IntegrityError, match="here before"):
        inbox.open(*first)
    clock.advance(2 * FRESH_S + 1)
    assert inbox.open(*_sent(clock)) == NOTICE
