"""Scans without a SYN: closed ports answer them with a bare reset, open ones not at all."""

from __future__ import annotations

import pytest

from govsec.testing.packets import ACK, FIN, MILLISECOND, PSH, RST, SECOND, START_NS, Frame, Station, station, tcp_frame
from tests.detect.observations import found, hosts_of

SCANNER, VICTIM = station(66), station(20)
URG = 0x20
SCANS = ("scan_vertical", "scan_horizontal", "scan_slow")


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

    assert found(frames, *SCANS) == []


def test_a_proxy_whose_connections_a_firewall_forgot_scans_nobody() -> None:
    frames = []
    for number in range(120):
        moment = START_NS + number * 20 * MILLISECOND
        server, port = station(20 + number % 80), (443, 8080, 25)[number % 3]
        frames.append(Frame(moment, tcp_frame(SCANNER, 40_000 + 7 * number, server, port, ACK)))
        frames.append(Frame(moment + 1000, tcp_frame(server, port, SCANNER, 40_000 + 7 * number, RST)))

    assert found(frames, *SCANS) == []


@pytest.mark.parametrize("is_seen_by_client", [True, False], ids=["what clients send", "what servers send"])
def test_a_sensor_that_sees_one_direction_from_the_middle_tells_no_scan(is_seen_by_client: bool) -> None:
    frames = []
    for number in range(60):
        ends = (SCANNER, 40_000 + number, station(20 + number), 443)
        moment = START_NS + number * 20 * MILLISECOND
        frames.append(Frame(moment, tcp_frame(*(ends if is_seen_by_client else (*ends[2:], *ends[:2])), ACK)))

    assert found(frames, *SCANS) == []


def test_conversations_that_were_picked_up_at_their_end_are_no_scan() -> None:
    frames = []
    for number in range(60):
        # Data connections of a file server that picks ports for them.
        moment = START_NS + number * 100 * MILLISECOND
        frames.append(Frame(moment, tcp_frame(SCANNER, 40_000 + number, VICTIM, 20_000 + number, FIN | ACK)))
        frames.append(Frame(moment + 500, tcp_frame(VICTIM, 20_000 + number, SCANNER, 40_000 + number, RST)))

    assert found(frames, *SCANS) == []


def lone_ack(moment: int, host: Station, port: int, source_port: int, *, refused: bool) -> list[Frame]:
    """One ACK of the scanner, and what a host says to it that has no such connection."""
    frames = [Frame(moment, tcp_frame(SCANNER, source_port, host, port, ACK, sequence=7))]
    if refused:
        frames.append(Frame(moment + 1000, tcp_frame(host, port, SCANNER, source_port, RST)))
    return frames


def quiet_until(moment: int) -> list[Frame]:
    """Something far away, so that event time goes on."""
    return [Frame(moment, tcp_frame(station(3), 9, station(4), 9, RST))]


@pytest.mark.parametrize("refused", [True, False], ids=["reset", "silent"])
def test_an_ack_scan_from_a_new_port_for_each_probe_is_a_scan(refused: bool) -> None:
    frames = [
        frame
        for number, port in enumerate(range(1, 1000, 11))
        for frame in lone_ack(START_NS + number * 20 * MILLISECOND, VICTIM, port, 40_000 + number, refused=refused)
    ]

    (finding,) = found([*frames, *quiet_until(START_NS + 400 * SECOND)], *SCANS)

    assert (finding.kind, finding.subject) == ("net.scan.vertical", SCANNER.address)
    assert finding.facts["is_ack"] is True
    assert VICTIM.address in hosts_of(finding)


def test_a_sweep_with_lone_acks_from_new_ports_is_known_by_the_hosts_that_are_not_there() -> None:
    frames = [
        frame
        for number in range(40)
        for frame in lone_ack(
            START_NS + number * 20 * MILLISECOND, station(100 + number), 22, 40_000 + number, refused=number % 8 == 0
        )
    ]

    (finding,) = found([*frames, *quiet_until(START_NS + 400 * SECOND)], *SCANS)

    assert found([*frames, *quiet_until(START_NS + 400 * SECOND)], *SCANS, packets_max=7) == [finding]
    assert (finding.kind, finding.subject) == ("net.scan.horizontal", SCANNER.address)
    assert finding.facts["is_ack"] is True
    assert station(100).address not in hosts_of(finding), "who refused is there"


def test_a_manager_whose_connections_a_firewall_forgot_sweeps_nobody_when_all_are_refused() -> None:
    frames = [
        frame
        for number in range(200)
        for frame in lone_ack(
            START_NS + number * 20 * MILLISECOND, station(20 + number), 22, 40_000 + number, refused=True
        )
    ]

    assert found([*frames, *quiet_until(START_NS + 400 * SECOND)], *SCANS) == []


def test_a_manager_who_asks_again_and_again_sweeps_nobody() -> None:
    # Linux asks nine times, 75 s apart, whether the other end is still there.
    frames = [
        frame
        for turn in range(9)
        for number in range(60)
        for frame in lone_ack(
            START_NS + turn * 75 * SECOND + number * 20 * MILLISECOND,
            station(20 + number),
            22,
            40_000 + number,
            refused=turn == 0 and number < 2,
        )
    ]

    assert found([*frames, *quiet_until(START_NS + 1200 * SECOND)], *SCANS) == []


def test_a_sensor_that_sees_one_direction_tells_no_scan_however_long_it_goes_on() -> None:
    frames = [
        frame
        for number in range(60)
        for frame in lone_ack(
            START_NS + number * 20 * MILLISECOND, station(20 + number), 22, 40_000 + number, refused=False
        )
    ]

    assert found([*frames, *quiet_until(START_NS + 400 * SECOND)], *SCANS) == []


@pytest.mark.parametrize("refused", [True, False], ids=["reset", "silent"])
@pytest.mark.parametrize("source_ports", [1, 60], ids=["one port", "new ports"])
def test_a_slow_ack_scan_of_one_host_adds_up(refused: bool, source_ports: int) -> None:
    frames = [
        frame
        for number in range(40)
        for frame in lone_ack(
            START_NS + number * 310 * SECOND, VICTIM, 10 + number, 40_000 + number % source_ports, refused=refused
        )
    ]

    (finding,) = found([*frames, *quiet_until(START_NS + 15_000 * SECOND)], *SCANS)

    assert (finding.kind, finding.subject) == ("net.scan.slow", SCANNER.address)
    assert finding.facts["is_ack"] is True
    assert finding.facts["how"] == "ports"


@pytest.mark.parametrize("is_one_port", [True, False], ids=["one port", "new ports, few hosts are there"])
def test_a_slow_ack_scan_of_a_street_adds_up(is_one_port: bool) -> None:
    frames = [
        frame
        for number in range(45)
        for frame in lone_ack(
            START_NS + number * 310 * SECOND,
            station(100 + number),
            22,
            40_000 if is_one_port else 40_000 + number,
            refused=is_one_port or number % 4 == 0,
        )
    ]

    (finding,) = found([*frames, *quiet_until(START_NS + 15_000 * SECOND)], *SCANS)

    assert (finding.kind, finding.facts["how"]) == ("net.scan.slow", "hosts")


def test_connections_that_die_over_hours_are_no_slow_scan() -> None:
    # A manager keeps a connection with each of two hundred hosts, whose firewall forgets those that rest for an hour.
    frames = [
        frame
        for turn in range(3)
        for number in range(200)
        for frame in lone_ack(
            START_NS + turn * 7200 * SECOND + number * 30 * SECOND,
            station(20 + number),
            22,
            40_000 + turn * 200 + number,
            refused=True,
        )
    ]

    assert found([*frames, *quiet_until(START_NS + 30_000 * SECOND)], *SCANS) == []
