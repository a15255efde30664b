"""Scans without a SYN: closed ports answer them with a bare reset, open ones not at all."""

from __future__ import annotations

import pytest

from govsec.testing.packets import ACK, FIN, MILLISECOND, PSH, RST, SECOND, START_NS, Frame, station, tcp_frame
from tests.detect.observations import found, hosts_of

SCANNER, VICTIM = station(66), station(20)
URG = 0x20


def probes(flags: int, ports: range, *, answered: bool = True) -> list[Frame]:
    frames = []
    for number, port in enumerate(ports):
        moment = START_NS + number * 20 * MILLISECOND
        frames.append(Frame(moment, tcp_frame(SCANNER, 50_123, VICTIM, port, flags, sequence=7)))
        if answered and port % 50:
            frames.append(Frame(moment + 1000, tcp_frame(VICTIM, port, SCANNER, 50_123, RST | ACK)))
    frames.append(Frame(START_NS + 120 * SECOND, tcp_frame(VICTIM, 9, SCANNER, 9, RST)))
    return frames


@pytest.mark.parametrize("flags", [FIN, 0, FIN | PSH | URG], ids=["fin", "null", "xmas"])
@pytest.mark.parametrize("answered", [True, False], ids=["reset", "silent"])
def test_a_scan_without_a_handshake_is_a_scan(flags: int, answered: bool) -> None:
    (finding,) = found(probes(flags, range(1, 200), answered=answered), "scan_vertical")

    assert finding.kind == "net.scan.vertical"
    assert finding.subject == SCANNER.address
    assert VICTIM.address in hosts_of(finding)


def test_conversations_that_were_picked_up_at_their_end_are_no_scan() -> None:
    frames = []
    for number in range(60):
        moment = START_NS + number * 100 * MILLISECOND
        frames.append(Frame(moment, tcp_frame(SCANNER, 40_000 + number, VICTIM, 1000 + number, FIN | ACK)))
        frames.append(Frame(moment + 500, tcp_frame(VICTIM, 1000 + number, SCANNER, 40_000 + number, RST)))

    assert found(frames, "scan_vertical", "scan_horizontal") == []
