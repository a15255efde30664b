"""The head of a mail: encoded words are broken up, and what would have one line more than it should is not sent."""

from __future__ import annotations

import email
import email.policy
from datetime import UTC, datetime
from email.headerregistry import Address

import pytest

from govsec.notice.api import DeliveryError
from govsec.notice.channels.mail import check_head, mail_of
from govsec.notice.channels.smtp import Mail
from govsec.notice.words import Words
from govsec.records import Notice, Severity
from govsec.testing.clock import FakeClock

NOW = datetime(2026, 11, 22, 1, 41, tzinfo=UTC)
SENDER = Address(addr_spec="govsec@city.gov.example")
INJECTED = "=?utf-8?q?=0D=0AReply-To:_x=40evil.example=0D=0A=0D=0Afake_body?="
NAMES = [
    "Auto-Submitted", "Content-Type", "Date", "From", "MIME-Version", "Message-ID", "References", "Subject", "To",
    "X-Priority",
]  # fmt: skip


def notice() -> Notice:
    return Notice(key="k#1", kind="incident.opened", severity=Severity.HIGH, time=NOW, subject="x", summary="a scan")


def _bytes(title: str) -> bytes:
    return mail_of(notice(), Words(title, ("a line",)), SENDER, [SENDER]).as_bytes()


@pytest.mark.parametrize(
    "title",
    [
        INJECTED,
        f"【高】{INJECTED} 扫描",
        INJECTED.replace("?q?", "?Q?").replace("utf-8", "us-ascii"),
        "=?utf-8?b?DQpCY2M6IHhAZXZpbC5leGFtcGxl?=",
        "==?utf-8?q?=0A?=?=?utf-8?q?=0D?=",
        "=?unknown?q?=00?=",
    ],
)
def test_an_encoded_word_in_a_name_stays_words(title: str) -> None:
    data = _bytes(title)
    message = email.message_from_bytes(data, policy=email.policy.default)

    assert sorted(message.keys()) == NAMES
    assert message.defects == []
    # Spaces aside: Python 3.11 adds one where it folds between a word that is encoded and one that is not.
    assert message["Subject"].split() == title.replace("=?", "= ?").split()
    check_head(data)


@pytest.mark.parametrize("mark", ["\r", "\n", "\0", "\r\n Bcc: x@evil.example"])
def test_what_would_break_a_line_is_not_sent_at_all(mark: str) -> None:
    def wording(_: Notice) -> Words:
        return Words(f"a{mark}b", ())

    # Nobody listens there: that would be worth another try.
    mail = Mail("mail", "127.0.0.1", 1, "starttls", SENDER, [SENDER], wording, FakeClock(NOW), named=["127.0.0.0/8"])
    with pytest.raises(DeliveryError, match="head") as raised:
        mail.send(notice())
    assert not raised.value.is_retryable


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"\nDate:", b"\nReply-To: x@evil.example\nDate:"),
        (b"\nDate:", b"\rReply-To: x@evil.example\nDate:"),
        (b"\nDate:", b"\nSubject: twice\nDate:"),
        (b"\nDate:", b"\n\nDate:"),
        (b"\nDate:", b"\nno header\nDate:"),
        (b"\nDate:", b"\nX-\xff: x\nDate:"),
        (b"X-Priority", b"Bcc"),
        (b"Subject: ", b"Subject: \0"),
    ],
)
def test_a_head_with_anything_else_in_it_is_seen(old: bytes, new: bytes) -> None:
    data = _bytes("a scan")
    assert data.count(old) == 1
    check_head(data)
    with pytest.raises(DeliveryError, match="head") as raised:
        check_head(data.replace(old, new))
    assert not raised.value.is_retryable
