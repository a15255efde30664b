"""The interfaces of a pcapng file: which one a packet means, and what its ticks are in nanoseconds.

One idea: packets name an interface by a number that counts within a section, and each interface has its own clock. Both
are looked up for all packets of a piece at once. Source: draft-ietf-opsawg-pcapng, 4.2 and 3.5 (options).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from govsec.net.captureformat import SECOND_NS, TIME_MAX_NS
from govsec.net.columns import I8, U8, Bools

#: A section.
INTERFACES_MAX = 4096
_OPTION_RESOLUTION, _OPTION_ADD = 9, 14
#: Ticks are microseconds where nothing else is said.
_RESOLUTION = 6
_ADD_MAX_S = 1 << 40


@dataclass(frozen=True, slots=True)
class Interface:
    """What a section says of one interface."""

    link_type: int
    snap_length: int
    resolution: int  # as in the option: a power of 10, or with the high bit of 2, of the unit of time
    add_s: int


class Sections:
    """The interfaces of all sections in a piece, and which of them a packet means."""

    def __init__(self, interfaces: list[Interface]) -> None:
        self._interfaces = list(interfaces)
        #: Index of the block that begins each section, and of the section's first interface.
        self._blocks = [-1]
        self._firsts = [0]

    def begin(self, block: int) -> None:
        """A section begins with this block."""
        self._blocks.append(block)
        self._firsts.append(len(self._interfaces))

    def is_full(self) -> bool:
        """The section has as many interfaces as it may."""
        return len(self._interfaces) - self._firsts[-1] >= INTERFACES_MAX

    def add(self, interface: Interface) -> None:
        """One more in the section that began last."""
        self._interfaces.append(interface)

    def last(self) -> list[Interface]:
        """The interfaces of the section that began last."""
        return self._interfaces[self._firsts[-1] :]

    def find(self, blocks: NDArray[np.intp], number: I8) -> tuple[I8, Bools]:
        """For packets in these blocks, the index of the interface ``number`` of their section, and if there is one."""
        section = np.searchsorted(np.array(self._blocks), blocks, side="right") - 1
        firsts = np.array([*self._firsts, len(self._interfaces)], np.int64)
        index = firsts[section] + number
        is_known = index < firsts[section + 1]
        return np.where(is_known, index, 0), is_known

    def columns(self) -> tuple[I8, I8, I8, I8]:
        """Snap length, resolution, seconds to add and link type of every interface; at least one row."""
        rows = [(i.snap_length, i.resolution, i.add_s, i.link_type) for i in self._interfaces]
        rows = rows or [(0, _RESOLUTION, 0, 0)]
        snap_length, resolution, add_s, link_type = np.array(rows, np.int64).T
        return snap_length, resolution, add_s, link_type


def read_interface(body: bytes, order: str) -> Interface:
    """The body of an interface block, of 8 bytes at least; ``order`` as in ``struct``."""
    link_type, _, snap_length = struct.unpack_from(order + "HHI", body)
    options = read_options(body[8:], order)
    resolution = options.get(_OPTION_RESOLUTION, b"")
    add_s = read_number(options.get(_OPTION_ADD, b""), order)
    # Signed; beyond what a time can be, it makes all times of the interface odd.
    add_s = add_s - (1 << 64) if add_s >> 63 else add_s
    add_s = max(-_ADD_MAX_S, min(add_s, _ADD_MAX_S))
    return Interface(link_type, snap_length, resolution[0] if len(resolution) == 1 else _RESOLUTION, add_s)


def read_options(data: bytes, order: str) -> dict[int, bytes]:
    """Options up to the end, or to the first that goes beyond it; of several of a kind the first."""
    found: dict[int, bytes] = {}
    at = 0
    while at + 4 <= len(data):
        code, size = struct.unpack_from(order + "HH", data, at)
        if code == 0 or at + 4 + size > len(data):
            break
        found.setdefault(code, data[at + 4 : at + 4 + size])
        at += 4 + size + -size % 4
    return found


def read_number(data: bytes, order: str) -> int:
    """A number of 64 bits; 0 when it is not there or of another size."""
    return int.from_bytes(data, "little" if order == "<" else "big") if len(data) == 8 else 0


def nanoseconds(ticks: U8, resolution: I8, add_s: I8) -> tuple[I8, Bools]:
    """Times of clocks of several resolutions, and which were out of range and have been brought into it."""
    seconds = np.zeros(len(ticks), np.int64)
    rest_ns = np.zeros(len(ticks), np.int64)
    for kind in np.unique(resolution).tolist():
        chosen = resolution == kind
        power = kind & 0x7F
        split = _split_binary if kind & 0x80 else _split_decimal
        whole, fraction = split(ticks[chosen], power)
        seconds[chosen] = np.minimum(whole, np.uint64(_ADD_MAX_S))
        rest_ns[chosen] = fraction
    seconds += add_s
    is_odd = (seconds < 0) | (seconds >= TIME_MAX_NS // SECOND_NS)
    return np.clip(seconds, 0, TIME_MAX_NS // SECOND_NS - 1) * SECOND_NS + rest_ns, is_odd


def _split_decimal(ticks: U8, power: int) -> tuple[U8, U8]:
    """Seconds and nanoseconds of ticks of 10^-power s."""
    if power > 19:  # a second has more ticks than the field can say
        fine = ticks // np.uint64(10 ** min(power - 9, 19))
        return fine // np.uint64(SECOND_NS), fine % np.uint64(SECOND_NS)
    whole, fraction = np.divmod(ticks, np.uint64(10**power))
    if power > 9:
        return whole, fraction // np.uint64(10 ** (power - 9))
    return whole, fraction * np.uint64(10 ** (9 - power))


def _split_binary(ticks: U8, power: int) -> tuple[U8, U8]:
    """Seconds and nanoseconds of ticks of 2^-power s."""
    if power > 63:
        ticks, power = ticks >> np.uint64(min(power - 32, 63)), 32
    whole = ticks >> np.uint64(power)
    fraction = ticks - (whole << np.uint64(power))
    # A billion has 30 bits: 34 are left for the fraction.
    cut = max(power - 34, 0)
    return whole, ((fraction >> np.uint64(cut)) * np.uint64(SECOND_NS)) >> np.uint64(power - cut)
