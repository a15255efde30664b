"""Mail servers that hold on: the whole session has one deadline, and a mail that was taken counts as taken."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.headerregistry import Address

import pytest

from govsec.notice.api import DeliveryError, ReceiptState
from govsec.notice.channels.smtp import Mail
from govsec.notice.words import english
from govsec.records import Notice, Severity
from govsec.testing.clock import FakeClock
from tests.notice.far import LOOPBACK
from tests.support.authority import Authority

NOW = datetime(2026, 11, 22, 1, 41, tzinfo=UTC)
WHO = Address(addr_spec="govsec@city.gov.example")
NOTICE = Notice(key="k#1", kind="incident.opened", severity=Severity.HIGH, time=NOW, subject="x", summary="a scan")
#: Far more than a session waits for, and little enough to end by itself.
DRIPS_MAX = 200_000


class _Hurried(FakeClock):
    """Whatever looks at it has waited for three seconds."""

    def monotonic(self) -> float:
        self.advance(3)
        return super().monotonic()


@contextmanager
def _server(talk: Callable[[socket.socket], None]) -> Iterator[int]:
    """A server that takes one connection and talks as it likes; its far side may hang up."""

    def serve() -> None:
        with listening.accept()[0] as connection:
            connection.settimeout(60)
            try:
                talk(connection)
            except OSError:
                return

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            thread.join(120)
            assert not thread.is_alive()


def _mail(port: int, authority: Authority, clock: FakeClock, tls: str = "starttls") -> Mail:
    return Mail("mail", "127.0.0.1", port, tls, WHO, [WHO], english, clock, named=LOOPBACK, ca_file=authority.ca)  # type: ignore[arg-type]  # one of the two words


def _drip(connection: socket.socket, line: bytes) -> None:
    for _ in range(DRIPS_MAX):
        connection.sendall(line)


def _drip_greetings(connection: socket.socket) -> None:
    _drip(connection, b"220-come in\r\n")


def _drip_extensions(connection: socket.socket) -> None:
    connection.sendall(b"220 here\r\n")
    connection.recv(1000)
    _drip(connection, b"250-X-MORE\r\n")


@pytest.mark.parametrize("talk", [_drip_greetings, _drip_extensions])
def test_a_server_that_never_comes_to_the_point_is_left_at_the_deadline(
    talk: Callable[[socket.socket], None], authority: Authority
) -> None:
    with _server(talk) as port, pytest.raises(DeliveryError, match="not done within 50 s") as raised:
        _mail(port, authority, _Hurried(NOW)).send(NOTICE)
    assert raised.value.is_retryable


def test_a_server_that_talks_without_end_is_left_at_the_limit(authority: Authority) -> None:
    with _server(_drip_greetings) as port, pytest.raises(DeliveryError, match="longer than its limit") as raised:
        _mail(port, authority, FakeClock(NOW)).send(NOTICE)
    assert raised.value.is_retryable


@pytest.mark.parametrize(
    ("greeting", "is_retryable"),
    [(b"nonsense\r\n", True), (b"421 later\r\n", True), (b"250 what\r\n", True), (b"554 no mail here\r\n", False)],
)
def test_only_a_refusal_is_a_refusal(greeting: bytes, is_retryable: bool, authority: Authority) -> None:
    with (
        _server(lambda connection: connection.sendall(greeting)) as port,
        pytest.raises(DeliveryError, match="the server refuses") as raised,
    ):
        _mail(port, authority, FakeClock(NOW)).send(NOTICE)
    assert raised.value.is_retryable is is_retryable


@pytest.mark.parametrize("goodbye", [b"", b"421 too late\r\n", b"nonsense\r\n"])
def test_a_mail_that_was_taken_is_taken_whatever_the_goodbye(goodbye: bytes, authority: Authority) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.certificate, authority.key)

    def talk(plain: socket.socket) -> None:
        with context.wrap_socket(plain, server_side=True) as connection:
            reader = connection.makefile("rb")
            connection.sendall(b"220 here\r\n")
            for answer in (b"250 here", b"250 who", b"250 whom", b"354 say"):
                reader.readline()
                connection.sendall(answer + b"\r\n")
            while reader.readline() != b".\r\n":
                pass
            connection.sendall(b"250 taken\r\n")
            reader.readline()
            connection.sendall(goodbye)
            reader.close()

    with _server(talk) as port:
        receipt = _mail(port, authority, FakeClock(NOW), "implicit").send(NOTICE)
    assert receipt.state is ReceiptState.ACCEPTED
