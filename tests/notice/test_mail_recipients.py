"""A mail to several: each recipient's answer is that recipient's alone. Before a real SMTP server (aiosmtpd)."""

from __future__ import annotations

import email
import email.policy
import ssl
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from email.headerregistry import Address
from pathlib import Path

import pytest
from aiosmtpd.smtp import Envelope

from govsec.notice.api import DeliveryError
from govsec.notice.channels.mail import address_of
from govsec.notice.channels.smtp import Mail
from govsec.notice.outbox import ItemState, Outbox
from govsec.notice.sender import Sender
from govsec.notice.words import english
from govsec.records import Notice, Severity
from govsec.testing.clock import FakeClock
from tests.notice.far import LOOPBACK
from tests.notice.test_mail import post_office
from tests.support.authority import Authority

NOW = datetime(2026, 11, 22, 1, 41, tzinfo=UTC)
SENDER = Address(addr_spec="govsec@city.gov.example")
DUTY, CHIEF, BUREAU = "duty@city.gov.example", "chief@city.gov.example", "bureau@city.gov.example"
ALL = [DUTY, CHIEF, BUREAU]
FULL, GONE = "452 4.2.2 mailbox full", "550 5.1.1 no such user"


@pytest.fixture
def context(authority: Authority) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.certificate, authority.key)
    return context


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    outbox = Outbox(tmp_path / "outbox.db")
    yield outbox
    outbox.close()


class _Site:
    """An outbox with one notice for the mail channel, and whoever sends it."""

    def __init__(self, outbox: Outbox, authority: Authority, recipients: list[str]) -> None:
        self.outbox, self.authority, self.recipients = outbox, authority, recipients
        self.clock = FakeClock(NOW)
        self.key = "portal|net.scan#1"
        outbox.put(
            [
                Notice(
                    key=self.key, kind="incident.opened", severity=Severity.HIGH, time=NOW, subject="x", summary="扫描"
                )
            ],
            ["mail"],
            NOW,
        )

    def mail(self, port: int) -> Mail:
        to = [Address(addr_spec=text) for text in self.recipients]
        return Mail(
            "mail", "127.0.0.1", port, "starttls", SENDER, to, english, self.clock,
            named=LOOPBACK, ca_file=self.authority.ca,
        )  # fmt: skip

    def put_more(self, count: int) -> None:
        """Other notices for the same channel."""
        more = [
            Notice(key=f"k{number}", kind="incident.opened", severity=Severity.HIGH, time=NOW, subject="x", summary="s")
            for number in range(count)
        ]
        self.outbox.put(more, ["mail"], NOW)

    def steps(self, port: int, count: int) -> None:
        """Tries, each when the longest wait is over; everything is built anew, as after a restart."""
        for _ in range(count):
            Sender(self.outbox, {"mail": self.mail(port)}, self.clock).step()
            self.clock.advance(3600)

    def standing(self) -> dict[str, str]:
        """Where each recipient stands."""
        return {
            item.part.to: state.value
            for state in ItemState
            for item in self.outbox.items(state)
            if item.part is not None
        }


def _reached(mails: list[Envelope]) -> Counter[str]:
    return Counter(address for mail in mails for address in mail.rcpt_tos)


def test_a_full_mailbox_is_tried_again_and_nobody_else_gets_the_mail_twice(
    outbox: Outbox, authority: Authority, context: ssl.SSLContext
) -> None:
    site = _Site(outbox, authority, ALL)
    with post_office(context) as (post, port):
        post.refused = {CHIEF: FULL}
        site.steps(port, 4)
        assert (_reached(post.mails), len(post.mails)) == ({DUTY: 1, BUREAU: 1}, 1)
        assert site.standing() == {DUTY: "done", CHIEF: "waiting", BUREAU: "done"}
        assert not outbox.is_undeliverable(site.key)

        post.refused = {}
        site.steps(port, 2)
    heads = [email.message_from_bytes(bytes(mail.content or b""), policy=email.policy.default) for mail in post.mails]

    assert _reached(post.mails) == {DUTY: 1, BUREAU: 1, CHIEF: 1}
    # Who is told late reads what the others read, and that it went to them.
    assert [head["To"] for head in heads] == [", ".join(ALL)] * 2
    assert heads[0]["Message-ID"] == heads[1]["Message-ID"]
    assert outbox.counters() == {"waiting": 0, "done": 3, "dead": 0}


def test_a_recipient_that_does_not_exist_is_a_dead_letter_alone_and_the_notice_has_reached_somebody(
    outbox: Outbox, authority: Authority, context: ssl.SSLContext
) -> None:
    site = _Site(outbox, authority, ALL)
    with post_office(context) as (post, port):
        # The first of them too: the others' states count as much as its own.
        post.refused = {DUTY: GONE}
        site.steps(port, 3)

        assert _reached(post.mails) == {CHIEF: 1, BUREAU: 1}
        assert site.standing() == {DUTY: "dead", CHIEF: "done", BUREAU: "done"}
        (dead,) = outbox.items(ItemState.DEAD)
        assert "550" in dead.error and dead.tries == 1
        assert not outbox.is_undeliverable(site.key)

        post.refused = {}
        outbox.retry(dead.id, site.clock.now())
        site.steps(port, 1)
    assert _reached(post.mails) == {DUTY: 1, CHIEF: 1, BUREAU: 1}


def test_nobody_was_reached_when_every_recipient_is_refused_for_good_and_not_before(
    outbox: Outbox, authority: Authority, context: ssl.SSLContext
) -> None:
    site = _Site(outbox, authority, ALL)
    with post_office(context) as (post, port):
        post.refused = {DUTY: GONE, CHIEF: GONE, BUREAU: FULL}
        site.steps(port, 1)
        assert site.standing() == {DUTY: "dead", CHIEF: "dead", BUREAU: "waiting"}
        assert not outbox.is_undeliverable(site.key)

        post.refused[BUREAU] = GONE
        site.steps(port, 1)
        assert outbox.is_undeliverable(site.key)
        assert post.mails == []


def test_a_server_that_was_away_gets_one_mail_for_all_when_it_is_back(
    outbox: Outbox, authority: Authority, context: ssl.SSLContext
) -> None:
    site = _Site(outbox, authority, ALL)
    mail = site.mail(1)
    for _ in range(8):
        Sender(outbox, {"mail": mail}, site.clock).step()
        # No longer than until the first of them is due: those that failed together are due together.
        due = outbox.next_at(["mail"])
        assert due is not None
        site.clock.advance((due - site.clock.now()).total_seconds())
    assert {item.tries for item in outbox.items(ItemState.WAITING)} == {8}
    with post_office(context) as (post, port):
        Sender(outbox, {"mail": site.mail(port)}, site.clock).step()
    assert [mail.rcpt_tos for mail in post.mails] == [ALL]
    assert outbox.counters() == {"waiting": 0, "done": 3, "dead": 0}


def test_a_server_that_hangs_up_between_recipients_has_taken_nothing(
    outbox: Outbox, authority: Authority, context: ssl.SSLContext
) -> None:
    site = _Site(outbox, authority, ALL)
    with post_office(context) as (post, port):
        post.refused = {CHIEF: "421 4.3.2 closing"}
        site.steps(port, 1)
        assert (post.mails, set(site.standing().values())) == ([], {"waiting"})
        post.refused = {}
        site.steps(port, 3)
    assert _reached(post.mails) == dict.fromkeys(ALL, 1)


def test_a_server_that_takes_so_many_recipients_a_mail_gets_the_rest_with_the_next(
    outbox: Outbox, authority: Authority, context: ssl.SSLContext
) -> None:
    many = [f"user{number}@city.gov.example" for number in range(25)]
    site = _Site(outbox, authority, many)
    with post_office(context) as (post, port):
        post.room = 10
        site.steps(port, 3)
    assert [len(mail.rcpt_tos) for mail in post.mails] == [10, 10, 5]
    assert _reached(post.mails) == dict.fromkeys(many, 1)


def test_a_domain_beyond_ascii_goes_out_as_every_server_takes_it(
    outbox: Outbox, authority: Authority, context: ssl.SSLContext
) -> None:
    site = _Site(outbox, authority, [DUTY, address_of("duty@政务.example", "channel mail").addr_spec])
    with post_office(context) as (post, port):
        site.steps(port, 1)
    assert _reached(post.mails) == {DUTY: 1, "duty@xn--zfr164b.example": 1}


def test_a_trial_by_hand_says_who_was_refused(outbox: Outbox, authority: Authority, context: ssl.SSLContext) -> None:
    site = _Site(outbox, authority, ALL)
    (leased,) = outbox.lease({"mail": site.mail(1).limits}, NOW)
    with post_office(context) as (post, port):
        post.refused = {CHIEF: GONE}
        with pytest.raises(DeliveryError, match=rf"{CHIEF}.*550"):
            site.mail(port).send(leased.notice)
        assert _reached(post.mails) == {DUTY: 1, BUREAU: 1}


def test_the_limit_counts_mails_and_not_recipients(
    outbox: Outbox, authority: Authority, context: ssl.SSLContext
) -> None:
    many = [f"user{number}@city.gov.example" for number in range(100)]
    site = _Site(outbox, authority, many)
    site.put_more(2)
    with post_office(context) as (post, port):
        Sender(outbox, {"mail": site.mail(port)}, site.clock).step()
    assert [len(mail.rcpt_tos) for mail in post.mails] == [100] * 3


def test_one_full_mailbox_keeps_no_other_notice_waiting(
    outbox: Outbox, authority: Authority, context: ssl.SSLContext
) -> None:
    site = _Site(outbox, authority, ALL)
    site.put_more(3)
    with post_office(context) as (post, port):
        post.refused = {CHIEF: FULL}
        sent = Sender(outbox, {"mail": site.mail(port)}, site.clock).step()
    assert (sent.delivered, sent.failed, len(post.mails)) == (8, 4, 4)


def test_what_is_new_does_not_wait_behind_what_was_refused(
    outbox: Outbox, authority: Authority, context: ssl.SSLContext
) -> None:
    site = _Site(outbox, authority, ALL)
    site.put_more(20)
    with post_office(context) as (post, port):
        post.refused = {CHIEF: FULL}
        sender = Sender(outbox, {"mail": site.mail(port)}, site.clock)
        sender.step(limit=100)
        site.clock.advance(3600)  # all of the full mailbox's are due again
        post.mails.clear()
        site.put_more(22)
        sender.step(limit=1)
        # The one that is tried is the new one, and all but the full mailbox have it.
        assert [sorted(mail.rcpt_tos) for mail in post.mails] == [sorted({DUTY, BUREAU})]
