"""Frames for tests, written with ``struct`` alone: what the decoder must read, said a second time in other words."""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Sequence

import numpy as np

from govsec.net.columns import PacketBatch
from govsec.net.decode import Frames, decode

MACS = bytes.fromhex("0202020202020a0a0a0a0a0a")


def ethernet(payload: bytes, ethertype: int = 0x0800, tags: Sequence[tuple[int, int]] = ()) -> bytes:
    """``tags``: type and id, outermost first."""
    return MACS + b"".join(struct.pack(">HH", *tag) for tag in tags) + struct.pack(">H", ethertype) + payload


def ipv4(
    source: str,
    target: str,
    protocol: int,
    payload: bytes,
    *,
    options: bytes = b"",
    fragment: int = 0,
    size: int | None = None,
) -> bytes:
    header = 20 + len(options)
    total = header + len(payload) if size is None else size
    head = struct.pack(">BBHHHBBH", 0x40 | header // 4, 0, total, 1, fragment, 64, protocol, 0)
    return head + ipaddress.ip_address(source).packed + ipaddress.ip_address(target).packed + options + payload


def ipv6(source: str, target: str, protocol: int, payload: bytes, *, size: int | None = None) -> bytes:
    head = struct.pack(">IHBB", 6 << 28, len(payload) if size is None else size, protocol, 63)
    return head + ipaddress.ip_address(source).packed + ipaddress.ip_address(target).packed + payload


def tcp(
    source_port: int, target_port: int, flags: int, payload: bytes = b"", *, sequence: int = 1, acknowledgment: int = 0,
    options: bytes = b"", window: int = 512,
) -> bytes:  # fmt: skip
    words = (20 + len(options)) // 4
    return struct.pack(
        ">HHIIBBHHH", source_port, target_port, sequence, acknowledgment, words << 4, flags, window, 0, 0
    ) + options + payload  # fmt: skip


def udp(source_port: int, target_port: int, payload: bytes = b"", *, size: int | None = None) -> bytes:
    return struct.pack(">HHHH", source_port, target_port, 8 + len(payload) if size is None else size, 0) + payload


def icmp(kind: int, code: int = 0, payload: bytes = b"\0\1\0\2") -> bytes:
    return struct.pack(">BBH", kind, code, 0) + payload


def batch_of(
    frames: Sequence[bytes],
    *,
    link_type: int = 1,
    times_ns: Sequence[int] | None = None,
    wire_sizes: Sequence[int] | None = None,
    vlan_moved: Sequence[int] | None = None,
) -> PacketBatch:
    """These frames as a capture would give them, one behind the other in one buffer."""
    sizes = np.array([len(frame) for frame in frames], np.uint32)
    return decode(
        Frames(
            data=memoryview(b"".join(frames)),
            frame_offset=np.concatenate([[0], np.cumsum(sizes[:-1], dtype=np.int64)])[: len(frames)].astype(np.int64),
            captured_size=sizes,
            wire_size=sizes if wire_sizes is None else np.array(wire_sizes, np.uint32),
            time_ns=np.array(times_ns if times_ns is not None else range(len(frames)), np.int64),
            position=np.arange(len(frames), dtype=np.uint64),
            vlan_moved=None if vlan_moved is None else np.array(vlan_moved, np.uint16),
        ),
        link_type,
    )
