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


@pytest.mark.parametrize(
    "flags", [FIN, 0, FIN | PSH | URG, ACK, FIN | ACK], ids=["fin", "null", "xmas", "ack", "maimon"]
)
@pytest.mark.parametrize("answered", [True, False], ids=["reset", "silent"])
def test_a_scan_without_a_handshake_is_a_scan(flags: int, answered: bool) -> None:
    (finding,) = found(probes(flags, range(1, 200), answered=answered), "scan_vertical")

    assert finding.kind == "net.scan.vertical"
    assert finding.subject == SCANNER.address
    assert VICTIM.address in hosts_of(finding)


def test_a_sweep_of_hosts_with_lone_acks_is_a_sweep_and_says_so() -> None:
    frames = []
    for number in range(20):
        moment = START_NS + number * 20 * MILLISECOND
        frames.append(Frame(moment, tcp_frame(SCANNER, 50_123 + number % 2, station(100 + number), 22, ACK)))
        frames.append(Frame(moment + 1000, tcp_frame(station(100 + number), 22, SCANNER, 50_123 + number % 2, RST)))

    (finding,) = found(frames, "scan_horizontal")

    assert finding.subject == SCANNER.address
    assert finding.facts["is_ack"] is True


def test_a_server_that_asks_whether_forgotten_clients_are_there_scans_nobody() -> None:
    frames = []
    for number in range(200):
        moment = START_NS + number * 20 * MILLISECOND
        frames.append(Frame(moment, tcp_frame(VICTIM, 443, station(66), 33_000 + number, ACK)))
        frames.append(Frame(moment + 1000, tcp_frame(station(66), 33_000 + number, VICTIM, 443, RST)))

    assert found(frames, "scan_vertical", "scan_horizontal", "scan_slow") == []


def test_a_proxy_whose_connections_a_firewall_forgot_scans_nobody() -> None:
    frames = []
    for number in range(120):
        moment = START_NS + number * 20 * MILLISECOND
        server, port = station(20 + number % 80), (443, 8080, 25)[number % 3]
        frames.append(Frame(moment, tcp_frame(SCANNER, 40_000 + 7 * number, server, port, ACK)))
        frames.append(Frame(moment + 1000, tcp_frame(server, port, SCANNER, 40_000 + 7 * number, RST)))

    assert found(frames, "scan_vertical", "scan_horizontal", "scan_slow") == []


@pytest.mark.parametrize("is_seen_by_client", [True, False], ids=["what clients send", "what servers send"])
def test_a_sensor_that_sees_one_direction_from_the_middle_tells_no_scan(is_seen_by_client: bool) -> None:
    frames = []
    for number in range(60):
        ends = (SCANNER, 40_000 + number, station(20 + number), 443)
        moment = START_NS + number * 20 * MILLISECOND
        frames.append(Frame(moment, tcp_frame(*(ends if is_seen_by_client else (*ends[2:], *ends[:2])), ACK)))

    assert found(frames, "scan_vertical", "scan_horizontal", "scan_slow") == []


def test_conversations_that_were_picked_up_at_their_end_are_no_scan() -> None:
    frames = []
    for number in range(60):
        moment = START_NS + number * 100 * MILLISECOND
        frames.append(Frame(moment, tcp_frame(SCANNER, 40_000 + number, VICTIM, 1000 + number, FIN | ACK)))
        frames.append(Frame(moment + 500, tcp_frame(VICTIM, 1000 + number, SCANNER, 40_000 + number, RST)))

    assert found(frames, "scan_vertical", "scan_horizontal") == []
