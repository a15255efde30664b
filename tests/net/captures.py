"""Capture files for tests, written with ``struct`` alone."""

from __future__ import annotations

import struct
from collections.abc import Sequence

Packet = tuple[int, bytes]  # time in nanoseconds, frame


def pcap(
    packets: Sequence[Packet],
    *,
    order: str = "<",
    is_nano: bool = False,
    link_type: int = 1,
    wire_size: int | None = None,
) -> bytes:
    unit = 1 if is_nano else 1000
    head = struct.pack(order + "IHHiIII", 0xA1B23C4D if is_nano else 0xA1B2C3D4, 2, 4, 0, 0, 65535, link_type)
    records = [
        struct.pack(order + "IIII", time_ns // 10**9, time_ns % 10**9 // unit, len(frame), wire_size or len(frame))
        + frame
        for time_ns, frame in packets
    ]
    return head + b"".join(records)


def block(kind: int, body: bytes, order: str = "<") -> bytes:
    body += bytes(-len(body) % 4)
    size = struct.pack(order + "I", len(body) + 12)
    return struct.pack(order + "I", kind) + size + body + size


def section(order: str = "<") -> bytes:
    return block(0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1), order)


def option(code: int, value: bytes, order: str = "<") -> bytes:
    return struct.pack(order + "HH", code, len(value)) + value + bytes(-len(value) % 4)


def interface(
    link_type: int = 1,
    *,
    resolution: int | None = None,
    add_s: int | None = None,
    snap_length: int = 0,
    order: str = "<",
) -> bytes:
    options = option(2, b"eth0", order)
    if resolution is not None:
        options += option(9, bytes([resolution]), order)
    if add_s is not None:
        options += option(14, struct.pack(order + "q", add_s), order)
    return block(1, struct.pack(order + "HHI", link_type, 0, snap_length) + options + option(0, b"", order), order)


def packet(ticks: int, frame: bytes, *, number: int = 0, order: str = "<", wire_size: int | None = None) -> bytes:
    head = struct.pack(order + "IIIII", number, ticks >> 32, ticks & 0xFFFFFFFF, len(frame), wire_size or len(frame))
    return block(6, head + frame + bytes(-len(frame) % 4) + option(2, b"\0\0\0\1", order), order)


def old_packet(ticks: int, frame: bytes, *, number: int = 0, order: str = "<") -> bytes:
    head = struct.pack(order + "HHIIII", number, 0, ticks >> 32, ticks & 0xFFFFFFFF, len(frame), len(frame))
    return block(2, head + frame, order)


def simple_packet(frame: bytes, order: str = "<") -> bytes:
    return block(3, struct.pack(order + "I", len(frame)) + frame, order)


def statistics(dropped: int, order: str = "<") -> bytes:
    return block(5, struct.pack(order + "III", 0, 0, 0) + option(5, struct.pack(order + "Q", dropped), order), order)
