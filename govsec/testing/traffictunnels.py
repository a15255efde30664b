"""Traffic that is something else than it seems: tunnels, generated names, beacons, exfiltration; and benign twins."""

from __future__ import annotations

import base64
import string
import struct
from random import Random

from govsec.testing.packets import (
    GATEWAY,
    MILLISECOND,
    SECOND,
    START_NS,
    Conversation,
    Frame,
    Station,
    echo_pair,
    merge,
    outside,
    packed,
    station,
    udp_exchange,
)
from govsec.testing.traffictls import client_hello, sealed, server_flight

RESOLVER = station(3)
INFECTED = station(77)
CONTROL = outside("203.0.113.200")
_A, _TXT, _NULL, _AAAA = 1, 16, 10, 28
_NAMES = ("www.gov.cn", "mail.example.gov.cn", "www.baidu.com", "weibo.com", "mirrors.aliyun.com", "ntp.ntsc.ac.cn")


def dns_name(name: str) -> bytes:
    """The name in labels. Source: RFC 1035 section 3.1."""
    return b"".join(bytes([len(label)]) + label.encode() for label in name.split(".") if label) + b"\0"


def dns_query(transaction: int, name: str, kind: int = _A) -> bytes:
    """A question with recursion desired."""
    return struct.pack("!HHHHHH", transaction, 0x0100, 1, 0, 0, 0) + dns_name(name) + struct.pack("!HH", kind, 1)


def dns_response(transaction: int, name: str, kind: int, data: bytes | None, *, ttl_s: int = 300) -> bytes:
    """The answer with one record, its name compressed; without ``data``: no such name (code 3)."""
    flags = 0x8180 if data is not None else 0x8183
    message = struct.pack("!HHHHHH", transaction, flags, 1, int(data is not None), 0, 0)
    message += dns_name(name) + struct.pack("!HH", kind, 1)
    if data is not None:
        message += struct.pack("!HHHIH", 0xC00C, kind, 1, ttl_s, len(data)) + data
    return message


def lookup(
    rng: Random, time_ns: int, client: Station, name: str, kind: int = _A, data: bytes | None = b"\xc6\x33\x64\x05"
) -> list[Frame]:
    """A question to :data:`RESOLVER` and its answer."""
    number = rng.getrandbits(16)
    question, answer = dns_query(number, name, kind), dns_response(number, name, kind, data)
    return udp_exchange(time_ns, client, rng.randint(32768, 60999), RESOLVER, 53, question, answer)


def dns_tunnel(rng: Random, *, time_ns: int = START_NS, queries_count: int = 300) -> list[Frame]:
    """:data:`INFECTED` sends data out in long labels below one domain and gets data back in TXT and NULL records."""
    parts = []
    for number in range(queries_count):
        text = base64.b32encode(rng.randbytes(70)).decode().lower().rstrip("=")
        name = f"{text[:60]}.{text[60:]}.t.bad-example.net"
        kind = _TXT if number % 2 else _NULL
        reply = rng.randbytes(180)
        data = bytes([len(reply)]) + reply if kind == _TXT else reply
        parts.append(lookup(rng, time_ns + number * 80 * MILLISECOND, INFECTED, name, kind, data))
    return merge(*parts)


def ordinary_lookups(rng: Random, *, time_ns: int = START_NS, queries_count: int = 300) -> list[Frame]:
    """Twin of tunnel and generated names: people's names, a few content hosts with long labels, a typing error or two,
    mail policy in TXT."""
    parts = []
    for number in range(queries_count):
        moment = time_ns + number * 700 * MILLISECOND + rng.randint(0, 300 * MILLISECOND)
        client = station(rng.randint(30, 60))
        if number % 60 == 59:
            parts.append(lookup(rng, moment, client, f"wwww{number}.example.gov.cn", _A, None))
        elif number % 20 == 19:
            policy = b"v=spf1 include:spf.example.gov.cn -all"
            parts.append(lookup(rng, moment, client, "example.gov.cn", _TXT, bytes([len(policy)]) + policy))
        elif number % 10 == 9:
            name = f"d{rng.choice('abcdef')}3k2jh4g5f6x7.cloudfront.example"
            parts.append(lookup(rng, moment, client, name))
        else:
            kind = rng.choice((_A, _A, _AAAA))
            data = packed("2001:db8:99::5") if kind == _AAAA else packed("198.51.100.5")
            parts.append(lookup(rng, moment, client, rng.choice(_NAMES), kind, data))
    return merge(*parts)


def generated_names(rng: Random, *, time_ns: int = START_NS, names_count: int = 120) -> list[Frame]:
    """:data:`INFECTED` looks for its master under names that a generator made; three of them exist."""
    parts = []
    for number in range(names_count):
        label = "".join(rng.choice(string.ascii_lowercase) for _ in range(rng.randint(12, 20)))
        name = f"{label}.{rng.choice(('com', 'net', 'org', 'biz', 'info'))}"
        data = packed("203.0.113.200") if number % 40 == 39 else None
        parts.append(lookup(rng, time_ns + number * 900 * MILLISECOND, INFECTED, name, _A, data))
    return merge(*parts)


def icmp_tunnel(rng: Random, *, time_ns: int = START_NS, packets_count: int = 300) -> list[Frame]:
    """IP in echo messages: payloads of all sizes, each another one, and the answers are not what was asked."""
    parts = []
    for number in range(packets_count):
        moment = time_ns + number * 150 * MILLISECOND
        inside, back = rng.randbytes(rng.randint(40, 1200)), rng.randbytes(rng.randint(40, 1200))
        parts.append(echo_pair(moment, INFECTED, CONTROL, 4000, number, inside, back))
    return merge(*parts)


def path_probe(rng: Random, *, time_ns: int = START_NS, packets_count: int = 200) -> list[Frame]:
    """Twin of the ICMP tunnel: somebody looks for the largest packet that gets through; patterns, truly echoed."""
    parts = []
    for number in range(packets_count):
        payload = struct.pack("!QQ", time_ns // SECOND + number, rng.getrandbits(20)) + bytes(
            index & 0xFF for index in range(16, 56 + 8 * (number % 160))
        )
        moment = time_ns + number * SECOND
        parts.append(echo_pair(moment, station(34), GATEWAY, 4100, number, payload, payload))
    return merge(*parts)


def beacon(
    rng: Random, *, time_ns: int = START_NS, period_s: int = 60, jitter_share: float = 0.0, calls_count: int = 90
) -> list[Frame]:
    """:data:`INFECTED` calls :data:`CONTROL` over TLS every ``period_s``, more or less by ``jitter_share``."""
    parts = []
    for _ in range(calls_count):
        call = Conversation(rng, time_ns, INFECTED, CONTROL, 443, round_trip_ns=40 * MILLISECOND).open()
        call.ask(client_hello(rng, "update.cdn-example.net")).answer(server_flight(rng))
        parts.append(call.ask(sealed(rng, 280)).answer(sealed(rng, 140)).close().frames)
        time_ns += int(period_s * SECOND * (1 + rng.uniform(-jitter_share, jitter_share)))
    return merge(*parts)


def jittered_beacon(rng: Random, *, time_ns: int = START_NS) -> list[Frame]:
    """The beacon with a third of its period left to chance."""
    return beacon(rng, time_ns=time_ns, jitter_share=0.3, calls_count=120)


def udp_beacon(rng: Random, *, time_ns: int = START_NS, period_s: int = 30, calls_count: int = 120) -> list[Frame]:
    """One datagram and its answer every half minute, each from a new port, as a beacon over QUIC is."""
    parts = []
    for number in range(calls_count):
        moment = time_ns + number * period_s * SECOND + rng.randint(0, 200 * MILLISECOND)
        port = rng.randint(32768, 60999)
        parts.append(udp_exchange(moment, INFECTED, port, CONTROL, 443, rng.randbytes(120), rng.randbytes(90)))
    return merge(*parts)


def human_browsing(rng: Random, *, time_ns: int = START_NS, visits_count: int = 120) -> list[Frame]:
    """Twin of the beacons: a person comes back to one site all morning, in bursts, with pauses of every length."""
    site = outside("198.51.100.5")
    parts = []
    for _ in range(visits_count):
        time_ns += int(rng.paretovariate(0.9) * 3 * SECOND) if rng.random() < 0.4 else rng.randint(1, 900) * MILLISECOND
        visit = Conversation(rng, time_ns, station(35), site, 443, round_trip_ns=20 * MILLISECOND).open()
        visit.ask(client_hello(rng, "news.example.gov.cn")).answer(server_flight(rng))
        parts.append(visit.ask(sealed(rng, rng.randint(200, 1400))).answer(sealed(rng, 5000)).close().frames)
    return merge(*parts)


def exfiltration(rng: Random, *, time_ns: int = START_NS, size_bytes: int = 24 << 20) -> list[Frame]:
    """:data:`INFECTED` sends ``size_bytes`` in one connection to a new host, and gets next to nothing back."""
    upload = Conversation(rng, time_ns, INFECTED, outside("203.0.113.150"), 443, round_trip_ns=30 * MILLISECOND).open()
    upload.ask(client_hello(rng, "drop.bad-example.net")).answer(server_flight(rng))
    piece = sealed(rng, 64 << 10)
    for _ in range(size_bytes // len(piece)):
        upload.ask(piece)
    return upload.answer(sealed(rng, 200)).close().frames


def large_download(rng: Random, *, time_ns: int = START_NS, size_bytes: int = 16 << 20) -> list[Frame]:
    """Twin of the exfiltration: as many bytes in one connection with a stranger, but they come in."""
    fetch = Conversation(
        rng, time_ns, station(36), outside("198.51.100.60"), 443, round_trip_ns=30 * MILLISECOND
    ).open()
    fetch.ask(client_hello(rng, "mirrors.example.edu.cn")).answer(server_flight(rng)).ask(sealed(rng, 400))
    piece = sealed(rng, 64 << 10)
    for _ in range(size_bytes // len(piece)):
        fetch.answer(piece)
    return fetch.close().frames
