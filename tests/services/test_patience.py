"""Servers that stall: a probe waits as long as it was told, and no longer."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from govsec.clock import SystemClock
from govsec.findings.baseline import Baseline
from govsec.serviceentry import ServiceConfig
from govsec.services.memory import ServiceMemory
from govsec.services.probe import Probed, Prober
from tests.services.portals import speaking

#: The guard against a hang, not a measure of speed.
HANG_S = 120


def probe(port: int, scheme: str = "http") -> Probed:
    """With the machine's own clock, because it is time that must end it."""
    config = {
        "name": "slow",
        "families": ["ipv4"],
        "timeout_s": 0.5,
        "confirm": {"failures": 1, "of": 1},
        "steps": [{"name": "home", "url": f"{scheme}://127.0.0.1:{port}/"}],
    }
    prober = Prober(
        ServiceConfig.model_validate(config),
        memory=ServiceMemory(),
        baseline=Baseline(),
        pages={},
        clock=SystemClock(),
    )
    found: list[Probed] = []
    thread = threading.Thread(target=lambda: found.append(prober.probe()), daemon=True)
    thread.start()
    thread.join(HANG_S)
    assert found, "the probe hangs"
    return found[0]


@contextmanager
def stalling(before: bytes, again: bytes = b"") -> Iterator[int]:
    """Sends ``before``, then ``again`` for as long as anybody reads, or nothing at all."""
    stopped = threading.Event()

    def script(connection: socket.socket) -> None:
        connection.sendall(before)
        while not stopped.wait(0.02):
            if again:
                connection.sendall(again)

    with speaking(script) as port:
        yield port
        stopped.set()


def test_a_server_that_says_nothing_is_given_up() -> None:
    with stalling(b"") as port:
        (finding,) = probe(port).findings

    assert finding.facts["seen"] == "not done within 0.5 s"


def test_a_server_that_sends_a_byte_now_and_then_is_given_up_as_well() -> None:
    for before in (b"HTTP/1.1 200 OK\r\nX-", b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"):
        with stalling(before, b"a") as port:
            (finding,) = probe(port).findings

        assert finding.facts["seen"] == "not done within 0.5 s"


def test_a_handshake_that_stalls_is_given_up() -> None:
    with stalling(b"") as port:
        probed = probe(port, "https")

    assert [one.kind for one in probed.findings] == ["service.down", "service.unmeasured"]
    # A machine that stands still may use the time up before the handshake begins.
    assert probed.findings[0].facts["what"] in ("connect", "tls", "send")


def test_nobody_at_home_is_a_failure_to_connect() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # and nobody listens
        (finding,) = probe(bound.getsockname()[1]).findings

    assert finding.facts["what"] == "connect"
