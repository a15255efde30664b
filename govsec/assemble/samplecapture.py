"""A quarter of an hour of the sample system's traffic as a pcap file, with an intruder in it.

Clerks look at pages and names are resolved; then one machine of the office tries a thousand ports of the server and
after that guesses passwords at its SSH. The frames are built here byte by byte, so that the demo needs no extra.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from datetime import datetime
from ipaddress import IPv4Address
from pathlib import Path

from govsec.privatefile import write_private

SERVER, RESOLVER, INTRUDER = "10.20.0.10", "10.20.0.2", "10.20.3.66"
_CLERKS = tuple(f"10.20.1.{number}" for number in range(11, 36))
_LENGTH_S = 900.0
_SCAN_AT_S, _GUESS_AT_S = 420.0, 480.0
_SCANNED_PORTS = 1000
_GUESSES = 60
_FIN, _SYN, _RST, _ACK = 1, 2, 4, 16
#: One packet: when (seconds since the beginning), and the frame.
Packet = tuple[float, bytes]


def write_capture(path: Path, began: datetime) -> int:
    """Write the capture, which begins at ``began``; the same moment gives the same bytes. Gives the count of packets.

    Raises:
        OSError: it cannot be written.
    """
    packets = sorted([*_office(), *_scan(), *_guessing()], key=lambda packet: packet[0])
    first_us = round(began.timestamp() * 1_000_000)
    parts = [struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65_535, 1)]
    for offset_s, frame in packets:
        seconds, microseconds = divmod(first_us + round(offset_s * 1_000_000), 1_000_000)
        parts += [struct.pack("<IIII", seconds, microseconds, len(frame), len(frame)), frame]
    write_private(path, b"".join(parts))
    return len(packets)


def _office() -> Iterator[Packet]:
    """Clerks at work: a name, then pages of some kilobytes over TLS, at moments of no pattern."""
    for clerk in _CLERKS:
        at, port = _between(clerk, 0, 20), 40_000
        while at < _LENGTH_S - 10:
            port += 1
            name = b"\x06permit\x03gov\x07example\x00\x00\x01\x00\x01"
            query = struct.pack(">HHHHHH", port, 0x0100, 1, 0, 0, 0) + name
            answer = struct.pack(">HHHHHH", port, 0x8180, 1, 1, 0, 0) + name
            answer += b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x01\x2c\x00\x04" + IPv4Address(SERVER).packed
            yield at, _udp(clerk, RESOLVER, port, 53, query)
            yield at + 0.002, _udp(RESOLVER, clerk, 53, port, answer)
            rounds, length_s = (
                int(_between(f"{clerk} {port} rounds", 2, 40)),
                _between(f"{clerk} {port} length", 0.2, 3),
            )
            yield from _conversation(at + 0.01, clerk, SERVER, port, 443, rounds, length_s)
            at += _between(f"{clerk} {port} pause", 4, 46)


def _between(name: str, low: float, high: float) -> float:
    """A number that looks drawn by lot and is the same for the same name."""
    return low + (high - low) * int.from_bytes(hashlib.sha256(name.encode()).digest()[:6], "big") / (1 << 48)


def _scan() -> Iterator[Packet]:
    """A thousand ports in half a minute; two of them are open, the rest is silent."""
    for number in range(_SCANNED_PORTS):
        at, port, source = _SCAN_AT_S + number * 0.03, number + 1, 50_000 + number
        yield at, _tcp(INTRUDER, SERVER, source, port, _SYN, 1, 0)
        if port in (22, 443):
            yield at + 0.001, _tcp(SERVER, INTRUDER, port, source, _SYN | _ACK, 1, 2)
            yield at + 0.002, _tcp(INTRUDER, SERVER, source, port, _RST, 2, 2)


def _guessing() -> Iterator[Packet]:
    """Log-ins at SSH, each as long as a wrong password takes."""
    for number in range(_GUESSES):
        yield from _conversation(
            _GUESS_AT_S + number * 2.1, INTRUDER, SERVER, 52_000 + number, 22, 3, 1.9, sizes=(1100, 900)
        )


def _conversation(
    at: float,
    one: str,
    other: str,
    port: int,
    service: int,
    rounds: int,
    length_s: float,
    sizes: tuple[int, int] = (310, 1380),
) -> Iterator[Packet]:
    """A TCP conversation with ``rounds`` questions and answers of ``sizes`` bytes that look like noise."""
    yield at, _tcp(one, other, port, service, _SYN, 100, 0)
    yield at + 0.0005, _tcp(other, one, service, port, _SYN | _ACK, 500, 101)
    yield at + 0.001, _tcp(one, other, port, service, _ACK, 101, 501)
    asked, answered = 101, 501
    for number in range(rounds):
        then = at + 0.002 + length_s * number / rounds
        question, answer = bytes(sizes[0]), bytes(sizes[1])
        yield then, _tcp(one, other, port, service, _ACK, asked, answered, question)
        asked += len(question)
        yield then + 0.001, _tcp(other, one, service, port, _ACK, answered, asked, answer)
        answered += len(answer)
    end = at + 0.004 + length_s
    yield end, _tcp(one, other, port, service, _FIN | _ACK, asked, answered)
    yield end + 0.0005, _tcp(other, one, service, port, _FIN | _ACK, answered, asked + 1)
    yield end + 0.001, _tcp(one, other, port, service, _ACK, asked + 1, answered + 1)


def _udp(source: str, target: str, source_port: int, target_port: int, payload: bytes) -> bytes:
    size = 8 + len(payload)
    return _ip(source, target, 17, struct.pack(">HHHH", source_port, target_port, size, 0) + payload)


def _tcp(
    source: str,
    target: str,
    source_port: int,
    target_port: int,
    flags: int,
    sequence: int,
    acknowledgment: int,
    payload: bytes = b"",
) -> bytes:
    head = struct.pack(">HHIIBBHHH", source_port, target_port, sequence, acknowledgment, 5 << 4, flags, 64_240, 0, 0)
    pseudo = (
        IPv4Address(source).packed + IPv4Address(target).packed + struct.pack(">BBH", 0, 6, len(head) + len(payload))
    )
    head = head[:16] + struct.pack(">H", _checksum(pseudo + head + payload)) + head[18:]
    return _ip(source, target, 6, head + payload)


def _ip(source: str, target: str, protocol: int, payload: bytes) -> bytes:
    ends = IPv4Address(source).packed + IPv4Address(target).packed
    head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(payload), 0, 0x4000, 64, protocol, 0) + ends
    head = head[:10] + struct.pack(">H", _checksum(head)) + head[12:]
    # Locally administered hardware addresses, made of the host's own.
    return b"\x02\x00" + ends[4:] + b"\x02\x00" + ends[:4] + b"\x08\x00" + head + payload


def _checksum(data: bytes) -> int:
    """The sum of the Internet protocols (RFC 1071)."""
    even = data + b"\0" * (len(data) % 2)
    total: int = sum(struct.unpack(f">{len(even) // 2}H", even))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
