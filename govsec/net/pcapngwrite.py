"""Blocks of the capture format pcapng, as bytes: what evidence is written in. Nanoseconds, little-endian.

One idea: each function gives one whole block, so a file is a section, its interfaces, their packets, and a statistics
block that says what the capture lost; there is no state and no file here. ``pcapng`` reads it and shows the layout.
Source: draft-ietf-opsawg-pcapng, sections 3.5 and 4.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

_SECTION, _INTERFACE, _PACKET, _STATISTICS = 0x0A0D0D0A, 1, 6, 5
_ORDER_MAGIC = 0x1A2B3C4D
_UNKNOWN_SIZE = 0xFFFFFFFFFFFFFFFF
_END, _COMMENT = 0, 1
_OPERATING_SYSTEM, _APPLICATION = 3, 4
_NAME, _DESCRIPTION, _RESOLUTION = 2, 3, 9
_NANOSECONDS = 9
_STARTED, _ENDED, _RECEIVED, _DROPPED_BY_SYSTEM = 2, 3, 4, 7
#: An option's size has 16 bits.
OPTION_MAX = 65_535


def section_block(*, application: str, comments: Sequence[str] = ()) -> bytes:
    """The start of a file. Texts longer than an option can be are cut."""
    options = _texts(_COMMENT, *comments) + _texts(_APPLICATION, application)
    return _block(_SECTION, struct.pack("<IHHQ", _ORDER_MAGIC, 1, 0, _UNKNOWN_SIZE) + options + _end())


def interface_block(*, link_type: int, name: str, description: str = "", snap_length: int = 0) -> bytes:
    """An interface; packets refer to it by how many came before it. ``snap_length`` 0: no limit."""
    options = _texts(_NAME, name) + (_texts(_DESCRIPTION, description) if description else b"")
    options += _option(_RESOLUTION, bytes([_NANOSECONDS]))
    return _block(_INTERFACE, struct.pack("<HHI", link_type, 0, snap_length) + options + _end())


def packet_block(interface: int, time_ns: int, data: bytes, wire_size: int, *, comment: str = "") -> bytes:
    """A packet; ``wire_size`` is at least ``len(data)``."""
    head = struct.pack("<IIIII", interface, *_time(time_ns), len(data), wire_size)
    options = _texts(_COMMENT, comment) + _end() if comment else b""
    return _block(_PACKET, head + _filled(data) + options)


def statistics_block(
    interface: int,
    time_ns: int,
    *,
    started_ns: int,
    received_count: int,
    dropped_count: int,
    comments: Sequence[str] = (),
) -> bytes:
    """What the whole capture received and, of that, lost in the kernel between ``started_ns`` and ``time_ns``."""
    options = _texts(_COMMENT, *comments)
    options += _option(_STARTED, struct.pack("<II", *_time(started_ns)))
    options += _option(_ENDED, struct.pack("<II", *_time(time_ns)))
    options += _option(_RECEIVED, struct.pack("<Q", received_count))
    options += _option(_DROPPED_BY_SYSTEM, struct.pack("<Q", dropped_count))
    return _block(_STATISTICS, struct.pack("<III", interface, *_time(time_ns)) + options + _end())


def _time(time_ns: int) -> tuple[int, int]:
    return time_ns >> 32 & 0xFFFFFFFF, time_ns & 0xFFFFFFFF


def _block(kind: int, body: bytes) -> bytes:
    size = struct.pack("<I", len(body) + 12)
    return struct.pack("<I", kind) + size + body + size


def _filled(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def _option(code: int, data: bytes) -> bytes:
    return struct.pack("<HH", code, len(data)) + _filled(data)


def _texts(code: int, *texts: str) -> bytes:
    # Cut between characters: half a character is not UTF-8.
    cut = (text.encode()[:OPTION_MAX].decode(errors="ignore").encode() for text in texts)
    return b"".join(_option(code, data) for data in cut)


def _end() -> bytes:
    return _option(_END, b"")
