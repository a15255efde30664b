"""Mail before a real SMTP server (aiosmtpd): TLS or nothing, refusals told apart, headers that nobody breaks into."""

from __future__ import annotations

import asyncio
import email
import email.policy
import hashlib
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.headerregistry import Address
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword

from govsec.errors import ConfigurationError
from govsec.notice.api import DeliveryError, ReceiptState
from govsec.notice.channels.mail import address_of
from govsec.notice.channels.smtp import Mail
from govsec.notice.words import english
from govsec.records import Attachment, Notice, Severity
from govsec.testing.clock import FakeClock
from tests.notice.far import LOOPBACK
from tests.support.authority import Authority

NOW = datetime(2026, 11, 22, 1, 41, tzinfo=UTC)
SENDER = Address("值班", addr_spec="govsec@city.gov.example")
RECIPIENTS = [Address(addr_spec="duty@city.gov.example"), Address(addr_spec="chief@city.gov.example")]


def notice(subject: str = "10.0.0.8") -> Notice:
    return Notice(
        key="portal|net.scan#1",
        kind="incident.opened",
        severity=Severity.HIGH,
        time=NOW,
        subject=subject,
        summary="扫描",
    )


class _Post:
    """Takes mail; refuses whom it is told to, and more recipients of a mail than it has room for."""

    def __init__(self) -> None:
        self.mails: list[Envelope] = []
        self.refused: dict[str, str] = {}
        self.room = 1000

    async def handle_RCPT(self, _: Any, __: Any, envelope: Envelope, address: str, ___: Any) -> str:
        if address in self.refused:
            return self.refused[address]
        if len(envelope.rcpt_tos) >= self.room:
            return "452 4.5.3 too many recipients"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _: Any, __: Any, envelope: Envelope) -> str:
        self.mails.append(envelope)
        return "250 taken"


@contextmanager
def post_office(context: ssl.SSLContext | None, **more: Any) -> Iterator[tuple[_Post, int]]:
    post, loop = _Post(), asyncio.new_event_loop()
    listening = socket.create_server(("127.0.0.1", 0))
    server = loop.run_until_complete(
        loop.create_server(
            lambda: SMTP(post, hostname="localhost", tls_context=context, loop=loop, **more), sock=listening
        )
    )
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield post, listening.getsockname()[1]
    finally:
        loop.call_soon_threadsafe(server.close)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        # Connections that are open yet end before their loop does.
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


@pytest.fixture
def context(authority: Authority) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.certificate, authority.key)
    return context


def _mail(port: int, authority: Authority | None, **more: Any) -> Mail:
    options: dict[str, Any] = {"named": LOOPBACK, "ca_file": authority.ca if authority else None, **more}
    return Mail("mail", "127.0.0.1", port, "starttls", SENDER, RECIPIENTS, english, FakeClock(NOW), **options)


def _login(_: Any, __: Any, ___: Any, ____: str, data: LoginPassword) -> AuthResult:
    return AuthResult(success=(data.login, data.password) == (b"govsec", b"right"), handled=False)


def test_a_mail_arrives_over_starttls_for_everybody_and_says_what_it_is(
    authority: Authority, context: ssl.SSLContext
) -> None:
    with post_office(context, require_starttls=True) as (post, port):
        receipt = _mail(port, authority).send(notice())
        _mail(port, authority).send(notice())
    first, second = (email.message_from_bytes(_content(mail), policy=email.policy.default) for mail in post.mails)

    assert receipt.state is ReceiptState.ACCEPTED
    assert post.mails[0].rcpt_tos == ["duty@city.gov.example", "chief@city.gov.example"]
    assert first["Message-ID"] == second["Message-ID"] == receipt.number
    assert (first["X-Priority"], first["Auto-Submitted"]) == ("2", "auto-generated")
    text = first.get_body(("plain",))
    assert text is not None and "扫描" in text.get_content()


def _content(mail: Envelope) -> bytes:
    assert isinstance(mail.content, bytes)
    return mail.content


def test_without_tls_nothing_is_sent(authority: Authority) -> None:
    with post_office(None) as (post, port):
        with pytest.raises(DeliveryError, match="no STARTTLS"):
            _mail(port, authority, user="govsec", password="right").send(notice())
        assert post.mails == []


def test_a_server_that_is_not_the_one_gets_neither_mail_nor_password(context: ssl.SSLContext) -> None:
    with post_office(context) as (post, port):
        with pytest.raises(DeliveryError):
            _mail(port, None, user="govsec", password="right").send(notice())
        assert post.mails == []


def test_a_password_is_used_and_a_wrong_one_never_quoted(authority: Authority, context: ssl.SSLContext) -> None:
    more = {"authenticator": _login, "auth_required": True}
    with post_office(context, **more) as (post, port):
        _mail(port, authority, user="govsec", password="right").send(notice())
        with pytest.raises(DeliveryError, match="refuses the user") as raised:
            _mail(port, authority, user="govsec", password="wr0ng-secret").send(notice())
    assert len(post.mails) == 1
    assert "wr0ng-secret" not in str(raised.value)
    assert not raised.value.is_retryable


@pytest.mark.parametrize(
    ("refused", "is_retryable"),
    [
        ({"duty@city.gov.example": "550 no such user"}, False),
        ({"duty@city.gov.example": "450 busy", "chief@city.gov.example": "450 busy"}, True),
        ({"duty@city.gov.example": "550 no", "chief@city.gov.example": "550 no"}, False),
    ],
)
def test_a_recipient_that_is_refused_fails_a_test_by_hand(
    refused: dict[str, str], is_retryable: bool, authority: Authority, context: ssl.SSLContext
) -> None:
    with post_office(context) as (post, port):
        post.refused = refused
        with pytest.raises(DeliveryError, match="refuses the recipient") as raised:
            _mail(port, authority).send(notice())
    assert raised.value.is_retryable is is_retryable


def test_hostile_names_become_no_header_and_no_markup(authority: Authority, context: ssl.SSLContext) -> None:
    with post_office(context) as (post, port):
        _mail(port, authority).send(notice("x\r\nBcc: evil@evil.example\r\n\r\n<script>alert(1)</script>"))
    message = email.message_from_bytes(_content(post.mails[0]), policy=email.policy.default)
    page = message.get_body(("html",))

    assert message["Bcc"] is None
    assert post.mails[0].rcpt_tos == ["duty@city.gov.example", "chief@city.gov.example"]
    assert page is not None and "<script>" not in page.get_content()


def test_a_server_that_is_not_there_is_worth_another_try(authority: Authority) -> None:
    with pytest.raises(DeliveryError) as raised:
        _mail(1, authority).send(notice())
    assert raised.value.is_retryable


@pytest.mark.parametrize("text", ["", "duty", "a@b@c", "x\r\nBcc: y@z", "a b@c"])
def test_what_is_no_address_is_refused_when_it_is_read(text: str) -> None:
    with pytest.raises(ConfigurationError, match="channel mail"):
        address_of(text, "channel mail")


def test_files_go_along_as_they_are_and_hostile_names_of_theirs_become_no_header(
    authority: Authority, context: ssl.SSLContext, tmp_path: Path
) -> None:
    data = bytes(range(256)) * 4000
    (tmp_path / "report").write_bytes(data)
    (tmp_path / "other").write_bytes(b"changed since")
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    names = [
        "首报.docx",
        'a"\r\nBcc: evil@evil.example\r\n.docx',
        "=?utf-8?q?=0D=0ABcc:_x@evil.example?=.docx",
        "../../x",
    ]
    files = [
        Attachment(name=name, path=str(tmp_path / "report"), size_bytes=len(data), digest=digest) for name in names
    ]
    changed = files[0].model_copy(update={"name": "changed.docx", "path": str(tmp_path / "other")})
    with post_office(context, require_starttls=True, data_size_limit=None) as (post, port):
        _mail(port, authority).send(notice().model_copy(update={"attachments": (*files, changed)}))
    message = email.message_from_bytes(_content(post.mails[0]), policy=email.policy.default)
    got = {part.get_filename(): part.get_payload(decode=True) for part in message.iter_attachments()}
    text = message.get_body(("plain",))

    assert len(got) == 4 and set(got.values()) == {data}
    assert "首报.docx" in got
    assert all(name and not set(name) & set('\r\n"/\\') for name in got)
    assert message["Bcc"] is None and post.mails[0].rcpt_tos == ["duty@city.gov.example", "chief@city.gov.example"]
    assert text is not None and "not attached: changed.docx" in text.get_content()
