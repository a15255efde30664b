"""Scans over TCP and ICMP, each with its benign twin, and the backscatter of a flood elsewhere.

What a twin shares with its attack is named in its docstring; what it lacks is unanswered or refused attempts.
"""

from __future__ import annotations

from random import Random

from govsec.testing.packets import (
    ACK,
    MILLISECOND,
    RST,
    SECOND,
    START_NS,
    SYN,
    Conversation,
    Frame,
    echo_pair,
    merge,
    outside,
    station,
    tcp_frame,
)

SCANNER = station(66)
VICTIM = station(20)
MONITOR = station(5)
_OPEN_PORTS = frozenset({22, 80, 443})


def vertical_scan(rng: Random, *, time_ns: int = START_NS, ports_count: int = 800, duration_s: int = 20) -> list[Frame]:
    """:data:`SCANNER` tries ``ports_count`` ports of :data:`VICTIM`: three open, the others refuse."""
    ports = [*_OPEN_PORTS, *rng.sample(range(1024, 20000), ports_count - len(_OPEN_PORTS))]
    rng.shuffle(ports)
    frames = []
    for position, port in enumerate(ports):
        moment = time_ns + position * duration_s * SECOND // ports_count
        attempt = Conversation(rng, moment, SCANNER, VICTIM, port, round_trip_ns=MILLISECOND)
        (attempt.open().reset() if port in _OPEN_PORTS else attempt.refuse())
        frames.append(attempt.frames)
    return merge(*frames)


def service_check(rng: Random, *, time_ns: int = START_NS, rounds_count: int = 5) -> list[Frame]:
    """Twin of the vertical scan: monitoring looks at a dozen ports of one server every minute, and all answer."""
    ports = (21, 22, 25, 53, 80, 110, 143, 443, 587, 3306, 5432, 8080)
    parts = []
    for number in range(rounds_count):
        for position, port in enumerate(ports):
            moment = time_ns + number * 60 * SECOND + position * 200 * MILLISECOND
            check = Conversation(rng, moment, MONITOR, VICTIM, port)
            parts.append(check.open().answer(b"220 ready\r\n").close().frames)
    return merge(*parts)


def horizontal_scan(
    rng: Random, *, time_ns: int = START_NS, hosts_count: int = 150, port: int = 23, duration_s: int = 30
) -> list[Frame]:
    """:data:`SCANNER` looks for one port on addresses of the internet; nearly nobody answers, some refuse."""
    addresses = rng.sample(range(0x2D000001, 0x2DFFFFFE), hosts_count)
    parts = []
    for position, address in enumerate(addresses):
        moment = time_ns + position * duration_s * SECOND // hosts_count
        target = outside(".".join(str(byte) for byte in address.to_bytes(4, "big")))
        attempt = Conversation(rng, moment, SCANNER, target, port)
        chance = rng.random()
        if chance < 0.02:
            attempt.open().answer(b"login: ").close()
        elif chance < 0.12:
            attempt.refuse()
        else:
            syn = tcp_frame(SCANNER, attempt.client_port, target, port, SYN, sequence=rng.getrandbits(32))
            attempt.frames += [Frame(moment, syn), Frame(moment + SECOND, syn)]
        parts.append(attempt.frames)
    return merge(*parts)


def fleet_round(rng: Random, *, time_ns: int = START_NS, hosts_count: int = 60) -> list[Frame]:
    """Twin of the horizontal scan: configuration management opens SSH on many hosts, and they answer."""
    parts = []
    for number in range(hosts_count):
        moment = time_ns + number * 500 * MILLISECOND
        visit = Conversation(rng, moment, MONITOR, station(100 + number), 22).open()
        visit.answer(b"SSH-2.0-OpenSSH_9.2p1\r\n").ask(b"SSH-2.0-ansible\r\n")
        for _ in range(6):
            visit.ask(rng.randbytes(600)).answer(rng.randbytes(900))
        parts.append(visit.close().frames)
    return merge(*parts)


def slow_scan(
    rng: Random, *, time_ns: int = START_NS, ports_count: int = 120, pause_s: int = 40, spread_s: int = 15
) -> list[Frame]:
    """One port of :data:`VICTIM` every ``pause_s`` or so, each without an answer: under every short window."""
    frames = []
    for port in rng.sample(range(1, 10000), ports_count):
        time_ns += (pause_s + rng.randint(-spread_s, spread_s)) * SECOND
        syn = tcp_frame(SCANNER, rng.randint(32768, 60999), VICTIM, port, SYN, sequence=rng.getrandbits(32))
        frames.append(Frame(time_ns, syn))
    return frames


def lost_printer(rng: Random, *, time_ns: int = START_NS, attempts_count: int = 120) -> list[Frame]:
    """Twin of the slow scan: a desktop asks a printer that is switched off, one port, every 40 seconds, for long."""
    frames = []
    for number in range(attempts_count):
        moment = time_ns + number * 40 * SECOND
        syn = tcp_frame(station(31), 40000 + number, station(250), 9100, SYN, sequence=rng.getrandbits(32))
        frames += [Frame(moment, syn), Frame(moment + SECOND, syn), Frame(moment + 3 * SECOND, syn)]
    return frames


def icmp_scan(rng: Random, *, time_ns: int = START_NS, hosts_count: int = 200, duration_s: int = 15) -> list[Frame]:
    """:data:`SCANNER` pings a whole network once; one in twenty answers."""
    parts = []
    numbers = list(range(1, hosts_count + 1))
    rng.shuffle(numbers)
    for position, number in enumerate(numbers):
        target = outside(f"172.20.3.{number}")
        moment = time_ns + position * duration_s * SECOND // hosts_count
        parts.append(
            echo_pair(moment, SCANNER, target, 77, position, b"\0" * 8, b"\0" * 8 if number % 20 == 0 else None)
        )
    return merge(*parts)


def ping_monitor(rng: Random, *, time_ns: int = START_NS, hosts_count: int = 30, rounds_count: int = 10) -> list[Frame]:
    """Twin of the ICMP scan: monitoring pings thirty servers every minute, and they answer."""
    parts = []
    payload = bytes(range(48))
    for number in range(rounds_count):
        for host in range(hosts_count):
            moment = time_ns + number * 60 * SECOND + host * 100 * MILLISECOND + rng.randint(0, MILLISECOND)
            parts.append(echo_pair(moment, MONITOR, station(100 + host), 900 + host, number, payload, payload))
    return merge(*parts)


def backscatter(rng: Random, *, time_ns: int = START_NS, packets_count: int = 2000) -> list[Frame]:
    """Answers of a server that somebody else floods with our addresses as forged sources: no scan by that server."""
    server = outside("198.51.100.80")
    frames = []
    for number in range(packets_count):
        flags = SYN | ACK if rng.random() < 0.7 else RST | ACK
        target = station(rng.randint(2, 254))
        data = tcp_frame(
            server,
            80,
            target,
            rng.randint(1024, 65535),
            flags,
            sequence=rng.getrandbits(32),
            acknowledgment=rng.getrandbits(32),
        )
        frames.append(Frame(time_ns + number * 5 * MILLISECOND, data))
    return frames
