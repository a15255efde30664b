"""Frames as they stand on a wire, made from words: stations, single packets, whole TCP conversations, capture files.

One idea: a builder takes a seeded ``random.Random`` and gives frames in the order of their times; the same seed gives
the same bytes. Traffic with a meaning (attacks and their benign twins) is made of these parts by the ``traffic…``
modules beside this one; ``trafficcases`` lists them all. The plain headers are written by hand, because an attack is
often many packets; the tests read them back with scapy. This is for tests and simulations: nothing here sends.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from functools import lru_cache
from ipaddress import ip_address
from random import Random
from typing import NamedTuple

FIN, SYN, RST, PSH, ACK = 0x01, 0x02, 0x04, 0x08, 0x10
TCP, UDP, ICMP, ICMP6 = 6, 17, 1, 58
SECOND = 1_000_000_000
MILLISECOND = 1_000_000
#: Monday 2026-06-01, 09:00 in Beijing.
START_NS = 1_780_275_600 * SECOND
BROADCAST_MAC = "ff:ff:ff:ff:ff:ff"
_FRAME_SIZE_MIN = 60
_MAGIC_NANOSECONDS = 0xA1B23C4D


class Frame(NamedTuple):
    """One frame and when it was seen."""

    time_ns: int
    data: bytes


class Station(NamedTuple):
    """Who sends: an IPv4 or IPv6 address behind a MAC, and the hop limit its packets arrive with."""

    address: str
    mac: str
    ttl: int = 64


#: The way out of the office's network; what comes from outside carries its MAC.
GATEWAY = Station("192.168.10.1", "02:00:00:00:0a:01")


def station(number: int) -> Station:
    """A host of the office's network 192.168.10.0/24."""
    return Station(f"192.168.10.{number}", f"02:00:00:00:0a:{number:02x}")


def station6(number: int) -> Station:
    """The same host by its address of IPv6."""
    return Station(f"2001:db8:10::{number:x}", f"02:00:00:00:0a:{number:02x}")


def outside(address: str, ttl: int = 52) -> Station:
    """A host of the internet, behind the gateway."""
    return Station(address, GATEWAY.mac, ttl)


@lru_cache(maxsize=65536)
def packed(address: str) -> bytes:
    """4 or 16 bytes."""
    return ip_address(address).packed


@lru_cache(maxsize=65536)
def mac_bytes(mac: str) -> bytes:
    """6 bytes."""
    return bytes.fromhex(mac.replace(":", ""))


def checksum(data: bytes) -> int:
    """The internet checksum. Source: RFC 1071."""
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return int(total ^ 0xFFFF)


def ethernet(source_mac: str, target_mac: str, ethertype: int, payload: bytes, vlans: Iterable[int] = ()) -> bytes:
    """A frame without its check sequence, filled up to the 60 bytes that a wire wants; ``vlans`` outermost first."""
    tags = b"".join(struct.pack("!HH", 0x8100, vlan) for vlan in vlans)
    frame = mac_bytes(target_mac) + mac_bytes(source_mac) + tags + struct.pack("!H", ethertype) + payload
    return frame.ljust(_FRAME_SIZE_MIN, b"\0")


def ip(source: Station, target: Station, protocol: int, payload: bytes, *, identification: int = 0) -> bytes:
    """An IP packet of the version that the addresses have, no options, not to be fragmented."""
    one, other = packed(source.address), packed(target.address)
    if len(one) == 16:
        return struct.pack("!IHBB", 6 << 28, len(payload), protocol, source.ttl) + one + other + payload
    head = struct.pack("!BBHHHBB", 0x45, 0, 20 + len(payload), identification, 0x4000, source.ttl, protocol)
    total = checksum(head + b"\0\0" + one + other)
    return head + struct.pack("!H", total) + one + other + payload


def ip_frame(source: Station, target: Station, protocol: int, payload: bytes, vlans: Iterable[int] = ()) -> bytes:
    """The IP packet in its frame."""
    ethertype = 0x86DD if ":" in source.address else 0x0800
    return ethernet(source.mac, target.mac, ethertype, ip(source, target, protocol, payload), vlans)


def _pseudo(source: Station, target: Station, protocol: int, size: int) -> bytes:
    one, other = packed(source.address), packed(target.address)
    tail = struct.pack("!II", size, protocol) if len(one) == 16 else struct.pack("!HH", protocol, size)
    return one + other + tail


def udp_frame(
    source: Station, source_port: int, target: Station, target_port: int, payload: bytes, vlans: Iterable[int] = ()
) -> bytes:
    """One datagram."""
    size = 8 + len(payload)
    head = struct.pack("!HHH", source_port, target_port, size)
    total = checksum(_pseudo(source, target, UDP, size) + head + b"\0\0" + payload) or 0xFFFF
    return ip_frame(source, target, UDP, head + struct.pack("!H", total) + payload, vlans)


def tcp_frame(
    source: Station,
    source_port: int,
    target: Station,
    target_port: int,
    flags: int,
    *,
    sequence: int = 0,
    acknowledgment: int = 0,
    window: int = 64240,
    payload: bytes = b"",
    options: bytes = b"",
    vlans: Iterable[int] = (),
) -> bytes:
    """One segment; ``options`` are a multiple of four bytes."""
    offset = (20 + len(options)) << 2
    first = struct.pack(
        "!HHIIBBH",
        source_port,
        target_port,
        sequence & 0xFFFFFFFF,
        acknowledgment & 0xFFFFFFFF,
        offset,
        flags,
        window,
    )
    rest = options + payload
    size = len(first) + 4 + len(rest)
    total = checksum(_pseudo(source, target, TCP, size) + first + b"\0\0\0\0" + rest)
    return ip_frame(source, target, TCP, first + struct.pack("!HH", total, 0) + rest, vlans)


def icmp_frame(source: Station, target: Station, kind: int, code: int, rest: bytes) -> bytes:
    """One message of ICMP or ICMPv6; ``rest`` is all behind the checksum."""
    if ":" in source.address:
        size = 4 + len(rest)
        total = checksum(_pseudo(source, target, ICMP6, size) + struct.pack("!BBH", kind, code, 0) + rest)
        return ip_frame(source, target, ICMP6, struct.pack("!BBH", kind, code, total) + rest)
    total = checksum(struct.pack("!BBH", kind, code, 0) + rest)
    return ip_frame(source, target, ICMP, struct.pack("!BBH", kind, code, total) + rest)


def echo_pair(
    time_ns: int, client: Station, server: Station, identifier: int, sequence: int, payload: bytes, reply: bytes | None
) -> list[Frame]:
    """An echo request and, where ``reply`` is given, its answer two milliseconds later."""
    ask, answer = (128, 129) if ":" in client.address else (8, 0)
    numbers = struct.pack("!HH", identifier & 0xFFFF, sequence & 0xFFFF)
    frames = [Frame(time_ns, icmp_frame(client, server, ask, 0, numbers + payload))]
    if reply is not None:
        frames.append(Frame(time_ns + 2 * MILLISECOND, icmp_frame(server, client, answer, 0, numbers + reply)))
    return frames


def udp_exchange(
    time_ns: int,
    client: Station,
    client_port: int,
    server: Station,
    server_port: int,
    request: bytes,
    reply: bytes | None = None,
    *,
    after_ns: int = 8 * MILLISECOND,
) -> list[Frame]:
    """A datagram and its answer."""
    frames = [Frame(time_ns, udp_frame(client, client_port, server, server_port, request))]
    if reply is not None:
        frames.append(Frame(time_ns + after_ns, udp_frame(server, server_port, client, client_port, reply)))
    return frames


class Conversation:
    """One TCP connection, step by step; each step returns the conversation, ``frames`` is what was on the wire."""

    def __init__(
        self,
        rng: Random,
        time_ns: int,
        client: Station,
        server: Station,
        server_port: int,
        *,
        client_port: int | None = None,
        round_trip_ns: int = 4 * MILLISECOND,
        mss: int = 1460,
    ) -> None:
        self.frames: list[Frame] = []
        self.time_ns = time_ns
        self.client_port = rng.randint(32768, 60999) if client_port is None else client_port
        self._ends = ((client, self.client_port), (server, server_port))
        self._next = [rng.getrandbits(32), rng.getrandbits(32)]
        self._half_ns = round_trip_ns // 2
        self._mss = mss

    def open(self) -> Conversation:
        """SYN, SYN-ACK, ACK."""
        options = struct.pack("!BBHBBBBBBBB", 2, 4, self._mss, 1, 1, 4, 2, 1, 3, 3, 7)
        self._put(0, SYN, options=options)
        self._put(1, SYN | ACK, options=options)
        return self._put(0, ACK)

    def refuse(self) -> Conversation:
        """A SYN to a closed port, answered by RST."""
        self._put(0, SYN, options=struct.pack("!BBH", 2, 4, self._mss))
        return self._put(1, RST | ACK)

    def ask(self, data: bytes) -> Conversation:
        """The client sends, the server acknowledges."""
        return self._send(0, data)

    def answer(self, data: bytes) -> Conversation:
        """The server sends, the client acknowledges."""
        return self._send(1, data)

    def wait(self, duration_ns: int) -> Conversation:
        """Nothing happens for a while."""
        self.time_ns += duration_ns
        return self

    def close(self) -> Conversation:
        """FIN of the client, FIN of the server, the last ACK."""
        self._put(0, FIN | ACK)
        self._put(1, FIN | ACK)
        return self._put(0, ACK)

    def reset(self) -> Conversation:
        """The server ends it at once."""
        return self._put(1, RST | ACK)

    def _send(self, end: int, data: bytes) -> Conversation:
        for position in range(0, len(data), self._mss):
            self._put(end, PSH | ACK, payload=data[position : position + self._mss], after_ns=self._half_ns // 8)
        return self._put(1 - end, ACK)

    def _put(
        self, end: int, flags: int, *, payload: bytes = b"", options: bytes = b"", after_ns: int | None = None
    ) -> Conversation:
        self.time_ns += self._half_ns if after_ns is None else after_ns
        (source, source_port), (target, target_port) = self._ends[end], self._ends[1 - end]
        data = tcp_frame(
            source,
            source_port,
            target,
            target_port,
            flags,
            sequence=self._next[end],
            acknowledgment=self._next[1 - end] if flags & ACK else 0,
            payload=payload,
            options=options,
        )
        self.frames.append(Frame(self.time_ns, data))
        self._next[end] += len(payload) + bool(flags & (SYN | FIN))
        return self


def merge(*parts: Iterable[Frame]) -> list[Frame]:
    """All frames in the order of their times; those of one time stay in the order given."""
    return sorted((frame for part in parts for frame in part), key=lambda frame: frame.time_ns)


def pcap_bytes(frames: Iterable[Frame], *, snap_length: int = 262144) -> bytes:
    """A capture file (pcap, little-endian, nanoseconds, Ethernet) of the frames as they come."""
    parts = [struct.pack("<IHHiIII", _MAGIC_NANOSECONDS, 2, 4, 0, 0, snap_length, 1)]
    for time_ns, data in frames:
        kept = data[:snap_length]
        parts.append(struct.pack("<IIII", *divmod(time_ns, SECOND), len(kept), len(data)))
        parts.append(kept)
    return b"".join(parts)
