"""Floods, each with its benign twin, and one flood as a whole capture file for those who need it large.

The large one is laid out by numpy: half a million forged sources in a second, packet by packet different.
"""

from __future__ import annotations

import struct
from random import Random

import numpy as np
import numpy.typing as npt

from govsec.testing.packets import (
    MILLISECOND,
    SECOND,
    START_NS,
    SYN,
    Conversation,
    Frame,
    Station,
    echo_pair,
    merge,
    outside,
    packed,
    pcap_bytes,
    station,
    tcp_frame,
    udp_frame,
)

WEB_SERVER = station(80)
ATTACKER = outside("203.0.113.66")
_PAGE = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 4000\r\n\r\n" + b"x" * 4000


def syn_flood(rng: Random, *, time_ns: int = START_NS, packets_count: int = 6000, rate: int = 2000) -> list[Frame]:
    """SYNs of forged sources on one port of :data:`WEB_SERVER`, ``rate`` a second, never an ACK."""
    frames = []
    for number in range(packets_count):
        source = outside(_random_address(rng))
        data = tcp_frame(source, rng.randint(1024, 65535), WEB_SERVER, 443, SYN, sequence=rng.getrandbits(32))
        frames.append(Frame(time_ns + number * SECOND // rate, data))
    return frames


def busy_server(rng: Random, *, time_ns: int = START_NS, connections_count: int = 900, rate: int = 150) -> list[Frame]:
    """Twin of the SYN flood: many strangers reach one server at once, and every connection is complete."""
    parts = []
    for number in range(connections_count):
        client = outside(_random_address(rng))
        visit = Conversation(rng, time_ns + number * SECOND // rate, client, WEB_SERVER, 443).open()
        parts.append(visit.ask(rng.randbytes(300)).answer(rng.randbytes(1200)).close().frames)
    return merge(*parts)


def udp_flood(rng: Random, *, time_ns: int = START_NS, packets_count: int = 8000, rate: int = 4000) -> list[Frame]:
    """One source throws datagrams at random ports of :data:`WEB_SERVER`; nothing answers."""
    payload = rng.randbytes(512)
    frames = []
    for number in range(packets_count):
        data = udp_frame(ATTACKER, 4444, WEB_SERVER, rng.randint(1, 65535), payload)
        frames.append(Frame(time_ns + number * SECOND // rate, data))
    return frames


def video_call(rng: Random, *, time_ns: int = START_NS, packets_count: int = 3000, rate: int = 150) -> list[Frame]:
    """Twin of the UDP flood: many datagrams for long, on one pair of ports, in both directions."""
    client, server = station(32), outside("198.51.100.20")
    frames = []
    for number in range(packets_count):
        moment = time_ns + number * SECOND // rate
        frames.append(Frame(moment, udp_frame(client, 50000, server, 3478, rng.randbytes(rng.randint(80, 1100)))))
        moment += SECOND // rate // 2
        frames.append(Frame(moment, udp_frame(server, 3478, client, 50000, rng.randbytes(rng.randint(80, 1100)))))
    return frames


def icmp_flood(rng: Random, *, time_ns: int = START_NS, packets_count: int = 6000, rate: int = 3000) -> list[Frame]:
    """Echo requests of 1,000 bytes, ``rate`` a second, to one host that answers one in fifty."""
    payload = rng.randbytes(1000)
    parts = []
    for number in range(packets_count):
        reply = payload if number % 50 == 0 else None
        parts.append(echo_pair(time_ns + number * SECOND // rate, ATTACKER, WEB_SERVER, 1, number, payload, reply))
    return merge(*parts)


def impatient_ping(rng: Random, *, time_ns: int = START_NS, packets_count: int = 600) -> list[Frame]:
    """Twin of the ICMP flood: five pings a second for two minutes while somebody looks for a loose cable."""
    payload = rng.randbytes(56)
    pairs = (
        echo_pair(time_ns + number * 200 * MILLISECOND, station(33), WEB_SERVER, 2, number, payload, payload)
        for number in range(packets_count)
    )
    return merge(*pairs)


def http_flood(rng: Random, *, time_ns: int = START_NS, requests_count: int = 2000, rate: int = 200) -> list[Frame]:
    """Three clients ask for the same costly page, ``rate`` times a second together, one connection a request."""
    clients = [outside(f"203.0.113.{number}") for number in (101, 102, 103)]
    parts = []
    for number in range(requests_count):
        client = clients[number % len(clients)]
        visit = Conversation(rng, time_ns + number * SECOND // rate, client, WEB_SERVER, 80).open()
        visit.ask(b"GET /search?q=%d HTTP/1.1\r\nHost: www.example.gov.cn\r\n\r\n" % rng.randint(0, 1 << 30))
        parts.append(visit.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").close().frames)
    return merge(*parts)


def page_visits(rng: Random, *, time_ns: int = START_NS, pages_count: int = 30) -> list[Frame]:
    """Twin of the HTTP flood: people read pages, forty requests each at once, then a pause."""
    parts = []
    for number in range(pages_count):
        client = outside(f"198.51.100.{number % 15 + 30}")
        for lane in range(4):
            visit = Conversation(rng, time_ns + number * 4 * SECOND + lane * 9 * MILLISECOND, client, WEB_SERVER, 80)
            visit.open()
            for item in range(10):
                visit.ask(
                    b"GET /page/%d/%d.css HTTP/1.1\r\nHost: www.example.gov.cn\r\n\r\n" % (number, lane * 10 + item)
                )
                visit.answer(_PAGE)
            parts.append(visit.close().frames)
    return merge(*parts)


def syn_flood_file(seed: int, sources_count: int, *, time_ns: int = START_NS, rate: int = 500_000) -> bytes:
    """A capture file of one SYN each from ``sources_count`` different forged sources to one port of :data:`WEB_SERVER`.

    About 76 bytes a packet. The checksums of IP and TCP are right.
    """
    source = Station("1.0.0.0", ATTACKER.mac)
    template = tcp_frame(source, 1024, WEB_SERVER, 443, SYN)
    layout = np.dtype([("record", "<u4", 4), ("frame", "u1", len(template))])
    records: npt.NDArray[np.void] = np.zeros(sources_count, dtype=layout)
    numbers = np.random.default_rng(seed)
    # An odd factor runs through all 32 bit values before it comes back: no source is twice.
    values = np.arange(sources_count, dtype=np.uint64) * np.uint64(0x9E3779B1) & np.uint64(0xFFFFFFFF)
    addresses = values.astype(">u4").view(np.uint8).reshape(-1, 4)
    ports = numbers.integers(1024, 65536, sources_count).astype(">u2").view(np.uint8).reshape(-1, 2)
    sequences = numbers.integers(0, 1 << 32, sources_count).astype(">u4").view(np.uint8).reshape(-1, 4)
    frames = records["frame"]
    frames[:] = np.frombuffer(template, np.uint8)
    frames[:, 26:30], frames[:, 34:36], frames[:, 38:42] = addresses, ports, sequences
    _put_checksums(frames)
    times = time_ns + np.arange(sources_count, dtype=np.int64) * SECOND // rate
    records["record"][:, 0], records["record"][:, 1] = times // SECOND, times % SECOND
    records["record"][:, 2:] = len(template)
    return pcap_bytes([]) + records.tobytes()


def _put_checksums(frames: npt.NDArray[np.uint8]) -> None:
    """IPv4 header at 14, TCP header of 20 bytes at 34."""
    frames[:, 24:26] = frames[:, 50:52] = 0
    frames[:, 24:26] = _folded(frames[:, 14:34], 0)
    tail = sum(struct.unpack("!HH", packed(WEB_SERVER.address))) + 6 + 20
    pseudo_and_segment = np.concatenate([frames[:, 26:30], frames[:, 34:54]], axis=1)
    frames[:, 50:52] = _folded(pseudo_and_segment, tail)


def _folded(data: npt.NDArray[np.uint8], start: int) -> npt.NDArray[np.uint8]:
    words = np.ascontiguousarray(data).view(">u2").astype(np.uint32).sum(axis=1) + start
    for _ in range(2):
        words = (words & 0xFFFF) + (words >> 16)
    complement: npt.NDArray[np.uint8] = (words ^ 0xFFFF).astype(">u2").view(np.uint8).reshape(-1, 2)
    return complement


def _random_address(rng: Random) -> str:
    """Of the first half of unicast space, without 10, 127 and 0."""
    return f"{rng.randint(11, 126)}.{rng.randint(0, 255)}.{rng.randint(0, 255)}.{rng.randint(1, 254)}"
