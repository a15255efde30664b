"""Reading bytes that nobody vouches for: a cursor that never runs over its end, and text that is safe to show.

All parsers of this room raise :class:`~govsec.errors.FormatError` alone, whatever the bytes are: each looks at them
through a :class:`Cursor`, or checks sizes itself.
"""

from __future__ import annotations

import re
import socket
import struct
from ipaddress import IPv6Address

from govsec.errors import FormatError

#: Text that is taken into messages without a narrower limit of its own: longer than any honest name or banner.
TEXT_MAX = 255

_HIDDEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")


class Cursor:
    """Walks through ``data`` from ``at``, up to but not including ``end``.

    Each read raises FormatError when fewer bytes are left than it needs.
    """

    __slots__ = ("at", "data", "end")

    def __init__(self, data: bytes, at: int = 0, end: int | None = None) -> None:
        self.data = data
        self.at = at
        self.end = len(data) if end is None else min(end, len(data))

    @property
    def left(self) -> int:
        """How many bytes are left."""
        return self.end - self.at

    def _advance(self, size: int) -> int:
        at = self.at
        if size < 0 or at + size > self.end:
            raise FormatError(f"{size} bytes wanted at {at}, {self.end - at} are left")
        self.at = at + size
        return at

    def u8(self) -> int:
        """One byte."""
        return self.data[self._advance(1)]

    def u16(self) -> int:
        """Two bytes, the high one first."""
        at = self._advance(2)
        return self.data[at] << 8 | self.data[at + 1]

    def u24(self) -> int:
        """Three bytes, the highest first."""
        at = self._advance(3)
        return int.from_bytes(self.data[at : at + 3], "big")

    def u32(self) -> int:
        """Four bytes, the highest first."""
        at = self._advance(4)
        return int.from_bytes(self.data[at : at + 4], "big")

    def take(self, size: int) -> bytes:
        """The next ``size`` bytes."""
        at = self._advance(size)
        return self.data[at : at + size]

    def skip(self, size: int) -> None:
        """Pass over ``size`` bytes."""
        self._advance(size)

    def part(self, size: int) -> Cursor:
        """A cursor over the next ``size`` bytes, which this one passes over."""
        at = self._advance(size)
        return Cursor(self.data, at, at + size)


def u16_list(data: bytes) -> tuple[int, ...]:
    """Words of two bytes, the high one first. Raises FormatError for an odd byte at the end."""
    if len(data) % 2:
        raise FormatError(f"a list of words of {len(data)} bytes")
    return struct.unpack(f">{len(data) // 2}H", data)


def show(data: bytes, size_max: int = TEXT_MAX) -> str:
    """``data`` as text of at most ``size_max`` bytes of it: UTF-8, what is none or cannot be seen is escaped."""
    text = data[:size_max].decode("utf-8", "backslashreplace")
    return text if text.isprintable() else _HIDDEN.sub(_escape, text)


def show_utf16(data: bytes, size_max: int = 2 * TEXT_MAX) -> str:
    """The same for UTF-16 with the low byte first, as Windows protocols write it. A last odd byte is left out."""
    data = data[: min(size_max, len(data)) & ~1]
    text = data.decode("utf-16-le", "replace").rstrip("\0")
    return text if text.isprintable() else _HIDDEN.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    code = ord(match.group())
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"


def mac_text(data: bytes) -> str:
    """A hardware address as ``00:11:22:aa:bb:cc``."""
    return data.hex(":")


def ipv4_text(data: bytes) -> str:
    """Four bytes as ``192.0.2.1``."""
    return socket.inet_ntoa(data)


def ipv6_text(data: bytes) -> str:
    """Sixteen bytes in the form of RFC 5952."""
    # Not by inet_ntop, which writes some as IPv4: the same address must be the same text everywhere.
    return str(IPv6Address(data))
