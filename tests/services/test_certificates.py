"""Certificates of real servers, and of ones that Python's TLS cannot speak to."""

from __future__ import annotations

import socket
from collections.abc import Callable
from datetime import timedelta
from random import Random

import pytest

from govsec.records import Severity
from govsec.services.probe import Probed
from govsec.testing.clock import FakeClock
from govsec.testing.dercertificates import make_certificate
from govsec.testing.traffictls import TLCP, clear_flight
from tests.services.conftest import Make
from tests.services.portals import HOST, Keys, Portal, running, speaking

Secured = Callable[..., Probed]


@pytest.fixture
def secured(make: Make, keys: Keys) -> Secured:
    """Probes a portal whose server has this certificate; gives what was seen."""

    def probe(**certificate: object) -> Probed:
        other = Portal()
        other.page("/", "fine")
        with running(other, keys.context(**certificate)):  # type: ignore[arg-type]
            prober = make(
                ca_file=keys.ca_file, families=["ipv4"], steps=[{"name": "home", "url": other.url(scheme="https")}]
            )
            return prober.probe()

    return probe


def kinds(probed: Probed) -> dict[str, Severity]:
    return {finding.kind: finding.severity for finding in probed.findings}


def test_a_good_certificate_is_silent_and_its_end_is_known(secured: Secured) -> None:
    probed = secured()

    assert kinds(probed) == {}
    (server,) = probed.seen.certificates
    assert server.protocol == "TLS 1.2"
    assert server.certificates[0].names == (HOST,)


def test_one_that_ends_soon_is_told_and_urgently_in_its_last_week(secured: Secured) -> None:
    soon, urgent = secured(days=20), secured(days=3)

    assert kinds(soon) == {"service.certificate_expiring": Severity.LOW}
    assert kinds(urgent) == {"service.certificate_expiring": Severity.HIGH}
    assert soon.findings[0].facts["measured"]["days_left"]["threshold"] == 30


@pytest.mark.parametrize("is_tls13_only", [False, True])
def test_an_expired_certificate_stops_the_steps_and_is_named_as_reason(secured: Secured, is_tls13_only: bool) -> None:
    probed = secured(days=-2, is_tls13_only=is_tls13_only)

    assert kinds(probed) == {"service.down": Severity.HIGH, "service.certificate_expired": Severity.HIGH}
    assert "expired" in str(probed.findings[0].facts["seen"])


@pytest.mark.parametrize("is_tls13_only", [False, True])
def test_a_certificate_for_another_name_is_told(secured: Secured, is_tls13_only: bool) -> None:
    probed = secured(names=["other.example"], is_tls13_only=is_tls13_only)

    assert set(kinds(probed)) == {"service.down", "service.certificate_mismatch"}
    assert probed.findings[1].facts["attack"] == ["T1557"]


def test_a_certificate_that_nobody_signed_is_told(secured: Secured) -> None:
    assert set(kinds(secured(is_signed=False))) == {"service.down", "service.certificate_untrusted"}


def _tlcp(clock: FakeClock, days: float, count: int) -> bytes:
    now, rng = clock.now(), Random(4)
    chain = [
        make_certificate(
            rng,
            subject=f"{what} {HOST}",
            issuer="a root of SM2",
            not_before=now - timedelta(days=300),
            not_after=now + timedelta(days=days),
            names=(HOST,),
            is_sm2=True,
        )
        for what in ("sign", "encrypt")[:count]
    ]
    return clear_flight(rng, chain, version=TLCP, cipher=0xE013)


def _speak(flight: bytes, connection: socket.socket) -> None:
    """A server of TLCP alone: closes at any other hello, answers its own."""
    head = connection.recv(5)
    if head[1:3] == b"\1\1":
        size = int.from_bytes(head[3:5], "big")
        hello = connection.recv(size)
        assert b"\xe0\x13" in hello
        assert b"\xe0\x53" in hello
        connection.sendall(flight)
        connection.recv(1)


@pytest.mark.parametrize("is_expected", [False, True])
def test_a_server_of_tlcp_is_recognised_with_both_its_certificates(
    make: Make, clock: FakeClock, is_expected: bool
) -> None:
    flight = _tlcp(clock, 90, 2)
    with speaking(lambda connection: _speak(flight, connection)) as port:
        entry = {"host": "127.0.0.1", "server_name": HOST, "port": port, "tlcp": is_expected}
        probed = make(families=["ipv4"], certificates=[entry]).probe()

    assert probed.findings == ()
    (server,) = probed.seen.certificates
    assert server.protocol == "TLCP"
    assert [one.key for one in server.certificates] == ["sm2", "sm2"]


def test_tlcp_with_one_certificate_or_none_in_time_is_told(make: Make, clock: FakeClock) -> None:
    single, ended = _tlcp(clock, 90, 1), _tlcp(clock, -1, 2)
    found = []
    for flight in (single, ended):
        with speaking(lambda connection, flight=flight: _speak(flight, connection)) as port:  # type: ignore[misc]
            entry = {"host": "127.0.0.1", "server_name": HOST, "port": port, "tlcp": True}
            found.append([one.kind for one in make(families=["ipv4"], certificates=[entry]).probe().findings])

    assert found == [["service.certificate_tlcp"], ["service.certificate_expired"]]


def test_a_certificate_of_tlcp_for_another_name_is_told(make: Make, clock: FakeClock) -> None:
    flight = _tlcp(clock, 90, 2)
    with speaking(lambda connection: _speak(flight, connection)) as port:
        entry = {"host": "127.0.0.1", "server_name": "other.example", "port": port, "tlcp": True}
        probed = make(families=["ipv4"], certificates=[entry]).probe()

    assert [one.kind for one in probed.findings] == ["service.certificate_mismatch"]


def test_tls_where_tlcp_is_expected_is_told(make: Make, keys: Keys) -> None:
    other = Portal()
    with running(other, keys.context()):
        entry = {"host": HOST, "port": other.port, "tlcp": True}
        probed = make(families=["ipv4"], certificates=[entry]).probe()

    assert [one.kind for one in probed.findings] == ["service.certificate_tlcp"]


@pytest.mark.parametrize(
    "said", [b"", b"SSH-2.0-nothing\r\n", b"\x15\3\3\0\2\2\x28", b"\x16\3\3\x40\0" + bytes(0x4000)]
)
def test_a_server_that_speaks_no_tls_is_no_pass(make: Make, said: bytes) -> None:
    with speaking(lambda connection: connection.sendall(said)) as port:
        entry = {"host": "127.0.0.1", "port": port}
        probed = make(families=["ipv4"], certificates=[entry]).probe()

    assert [one.kind for one in probed.findings] == ["service.unmeasured"]
