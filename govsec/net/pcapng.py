"""The block format of captures: sections, interfaces, packets with the interface they were seen on.

A block, byte order by its section, all fields of 32 bits unless said::

    type, size, body (filled to a multiple of 4), size again
    section 0a0d0d0a: byte order 1a2b3c4d, versions 16+16, section length 64, options
    interface 1: link type 16, reserved 16, snap length, options (9: resolution of time 8, 14: seconds to add 64)
    packet 6: interface, time high, time low, captured size, size on the wire, bytes, options
    simple packet 3: size on the wire, bytes (no time: that of the packet before is taken)
    old packet 2: interface 16, drops 16, then as packet 6
    statistics 5: interface, time high, low, options (4: packets received 64, 5: dropped by the interface 64,
                  7: by the operating system 64)

One idea: blocks are a chain like pcap's records, so the same walk finds them; packets are read as columns, and only
what is not a packet is looked at one by one. Other blocks (names, secrets, custom) are counted and skipped.
Source: draft-ietf-opsawg-pcapng.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, fields, replace

import numpy as np

from govsec.net.captureformat import RECORD_MAX, Records, Taken, no_records
from govsec.net.columns import I8, Bools, Fault
from govsec.net.gather import gather
from govsec.net.interfaces import (
    INTERFACES_MAX,
    Interface,
    Sections,
    nanoseconds,
    read_interface,
    read_number,
    read_options,
)
from govsec.net.walk import Look, RecordForm, walk

MAGIC = b"\x0a\x0d\x0d\x0a"
_SECTION, _INTERFACE, _OLD_PACKET, _SIMPLE_PACKET, _STATISTICS, _PACKET = 0x0A0D0D0A, 1, 2, 3, 5, 6
_ORDER_MAGIC = 0x1A2B3C4D
_BLOCK_MIN = 12
#: A packet of the largest size and 3 MiB of options.
BLOCK_MAX = 4 << 20
#: Sections of another byte order than the one before; each makes the rest of a piece be looked at again.
TURNS_MAX = 100
_PACKETS = (_OLD_PACKET, _SIMPLE_PACKET, _PACKET)
#: Bytes of a packet block that are not its data: before it, and the size behind it.
_PACKET_MORE = 32
_SIMPLE_MORE = 16
_OPTION_DROPPED, _OPTION_DROPPED_BY_SYSTEM = 5, 7
_FORMS = {is_little: RecordForm(is_little, 4, 0, _BLOCK_MIN, _BLOCK_MIN) for is_little in (True, False)}
#: Packet blocks of less than 64 KiB, of the first 65536 interfaces.
_LOOKS = {
    True: Look(rb"\x06\0\0\0..\0\0..\0\0.{8}..\0\0..\0\0", at=0),
    False: Look(rb"\0\0\0\x06\0\0..\0\0...{8}\0\0..\0\0..", at=0),
}


@dataclass(frozen=True, slots=True)
class _Blocks:
    """The whole blocks of one byte order in a piece."""

    starts: I8
    types: I8
    sizes: I8
    used: int
    complaint: str
    is_turned: bool  # the next block begins a section of the other byte order


class PcapNg:
    """The blocks of one file."""

    def __init__(self) -> None:
        self._is_little: bool | None = None
        self._turns = 0
        self._interfaces: list[Interface] = []
        self._last_ns = 0
        self._counters = dict.fromkeys(
            (
                "blocks_skipped",
                "packets_without_interface",
                "packets_dropped_by_interface",
                "packets_dropped_by_system",
            ),
            0,
        )

    def take(self, data: memoryview, end: int) -> Taken:
        pieces = [no_records()]
        base = 0
        complaint = ""
        is_turned = True
        while is_turned and not complaint and end - base >= _BLOCK_MIN:
            part = data[base:]
            complaint = self._turn(part)
            if complaint:
                break
            blocks = self._find_blocks(part, end - base)
            records, count, complaint = self._read_blocks(part, blocks)
            pieces.append(replace(records, frame_offset=records.frame_offset + base))
            base += int(blocks.starts[count]) if count < len(blocks.starts) else blocks.used
            complaint = complaint or blocks.complaint
            is_turned = blocks.is_turned
        names = [field.name for field in fields(Records)]
        whole = Records(**{name: np.concatenate([getattr(piece, name) for piece in pieces]) for name in names})
        return Taken(whole, base, complaint)

    def counters(self) -> dict[str, int]:
        return dict(self._counters)

    def _turn(self, data: memoryview) -> str:
        """Take the byte order from the section that begins here, if one does; says what is wrong with it."""
        if bytes(data[:4]) != MAGIC:
            return "" if self._is_little is not None else "no section begins here"
        is_little = _is_little(data)
        if is_little is None:
            return f"a section of byte order {bytes(data[8:12]).hex()}"
        if self._is_little not in (None, is_little):
            self._turns += 1
            if self._turns > TURNS_MAX:
                return f"more than {TURNS_MAX} changes of the byte order"
        self._is_little = is_little
        return ""

    def _find_blocks(self, data: memoryview, end: int) -> _Blocks:
        assert self._is_little is not None  # _turn saw to it
        word = "<u4" if self._is_little else ">u4"
        offsets = walk(data, end, _FORMS[self._is_little], _LOOKS[self._is_little])
        starts = offsets[:-1]
        heads = gather(data, starts, np.dtype([("type", word), ("size", word)]))
        types, sizes = heads["type"].astype(np.int64), heads["size"].astype(np.int64)
        is_bad = (sizes < _BLOCK_MIN) | (sizes % 4 != 0) | (sizes > BLOCK_MAX)
        # Each block says its size again at its end. What goes beyond the end of the piece is looked at with the next.
        is_whole = ~is_bad & (starts + sizes <= end)
        tails = gather(data, np.where(is_whole, starts + sizes - 4, 0), np.dtype([("size", word)]))["size"]
        is_bad |= is_whole & (tails != sizes)
        stop = _first(is_bad, len(starts))
        turn = len(starts)
        for index in np.flatnonzero(types == _SECTION).tolist():
            if index and _is_little(data[int(starts[index]) :]) is not self._is_little:
                turn = index
                break
        count = min(stop, turn, _first(~is_whole, len(starts)))
        complaint = ""
        if count == stop < turn:
            complaint = (
                f"a block of {sizes[stop]} bytes that does not end with its size"
                if is_whole[stop]
                else f"a block of {sizes[stop]} bytes (a multiple of 4 from {_BLOCK_MIN} to {BLOCK_MAX} is expected)"
            )
        is_turned = count == turn < len(starts)
        return _Blocks(starts[:count], types[:count], sizes[:count], int(offsets[count]), complaint, is_turned)

    def _read_blocks(self, data: memoryview, blocks: _Blocks) -> tuple[Records, int, str]:
        """The packets, how many blocks they are in, and what is wrong with the block after these."""
        sections = Sections(self._interfaces)
        count, complaint = self._read_others(data, blocks, sections)
        at = np.flatnonzero(np.isin(blocks.types[:count], _PACKETS))
        types, starts = blocks.types[at], blocks.starts[at]
        rows = gather(data, starts, _packet_type(self._is_little is True))
        is_simple, is_old = types == _SIMPLE_PACKET, types == _OLD_PACKET
        number = rows["interface"].astype(np.int64)
        number[is_old] = rows["interface_old"][is_old]
        number[is_simple] = 0
        interface, is_known = sections.find(at, number)
        snap_length, resolution, add_s, link_type = (column[interface] for column in sections.columns())
        captured, wire = rows["captured"].astype(np.int64), rows["wire"].astype(np.int64)
        wire[is_simple] = rows["wire_simple"][is_simple]
        captured[is_simple] = np.where(snap_length > 0, np.minimum(wire, snap_length), wire)[is_simple]
        room = blocks.sizes[at] - np.where(is_simple, _SIMPLE_MORE, _PACKET_MORE)
        beyond = _first((room < 0) | (np.minimum(captured, room) > RECORD_MAX), len(at))
        if beyond < len(at):
            count = int(at[beyond])
            complaint = f"a packet of {captured[beyond]} bytes in a block of {blocks.sizes[count]}"
            is_known[beyond:] = False
        self._counters["packets_without_interface"] += int(np.count_nonzero(~is_known[:beyond]))
        self._interfaces = sections.last()
        is_lie = (captured > room) & ~is_simple | (wire < captured)
        captured = np.minimum(captured, np.maximum(room, 0))
        ticks = rows["high"].astype(np.uint64) << np.uint64(32) | rows["low"]
        time_ns, is_odd = nanoseconds(ticks, resolution, add_s)
        time_ns = self._fill_times(time_ns, is_simple)
        faults = is_lie * np.uint16(Fault.RECORD.value) | (is_odd & ~is_simple) * np.uint16(Fault.TIME.value)
        records = Records(
            frame_offset=starts + np.where(is_simple, _SIMPLE_MORE - 4, _PACKET_MORE - 4),
            captured_size=captured.astype(np.uint32),
            wire_size=np.maximum(wire, captured).astype(np.uint32),
            time_ns=time_ns,
            link_type=link_type.astype(np.uint16),
            faults=faults,
        )
        chosen = {name: getattr(records, name)[is_known] for name in records.__slots__}
        return Records(**chosen), count, complaint

    def _read_others(self, data: memoryview, blocks: _Blocks, sections: Sections) -> tuple[int, str]:
        """Interfaces, sections and statistics, one by one; how many blocks are right, and what the next is not."""
        is_read = np.isin(blocks.types, (_SECTION, _INTERFACE, _STATISTICS))
        skipped = ~is_read & ~np.isin(blocks.types, _PACKETS)
        self._counters["blocks_skipped"] += int(np.count_nonzero(skipped))
        order = "<" if self._is_little else ">"
        for index in np.flatnonzero(is_read).tolist():
            start, size = int(blocks.starts[index]), int(blocks.sizes[index])
            body = bytes(data[start + 8 : start + size - 4])
            if blocks.types[index] == _SECTION:
                if len(body) < 16 or struct.unpack_from(order + "H", body, 4)[0] != 1:
                    return index, "a section of a version that is not known (1 is)"
                sections.begin(index)
            elif blocks.types[index] == _INTERFACE:
                if len(body) < 8 or sections.is_full():
                    return index, f"an interface of {len(body)} bytes, or more than {INTERFACES_MAX} of them"
                sections.add(read_interface(body, order))
            elif len(body) >= 12:
                options = read_options(body[12:], order)
                dropped = options.get(_OPTION_DROPPED, b""), options.get(_OPTION_DROPPED_BY_SYSTEM, b"")
                self._counters["packets_dropped_by_interface"] += read_number(dropped[0], order)
                self._counters["packets_dropped_by_system"] += read_number(dropped[1], order)
        return len(blocks.types), ""

    def _fill_times(self, time_ns: I8, is_simple: Bools) -> I8:
        """Simple packets have no time: they get that of the packet before."""
        times = np.concatenate([[self._last_ns], time_ns])
        source = np.where(np.concatenate([[False], is_simple]), 0, np.arange(len(times)))
        times = times[np.maximum.accumulate(source)]
        self._last_ns = int(times[-1])
        return times[1:]


def _first(mask: Bools, otherwise: int) -> int:
    return int(mask.argmax()) if mask.any() else otherwise


def _is_little(section: memoryview) -> bool | None:
    return {_ORDER_MAGIC.to_bytes(4, "little"): True, _ORDER_MAGIC.to_bytes(4, "big"): False}.get(bytes(section[8:12]))


def _packet_type(is_little: bool) -> np.dtype[np.void]:
    """The heads of all three packet blocks, laid over each other."""
    order = "<" if is_little else ">"
    columns = {
        "interface": ("u4", 8), "high": ("u4", 12), "low": ("u4", 16), "captured": ("u4", 20), "wire": ("u4", 24),
        "wire_simple": ("u4", 8), "interface_old": ("u2", 8),
    }  # fmt: skip
    return np.dtype(
        {
            "names": list(columns),
            "formats": [order + kind for kind, _ in columns.values()],
            "offsets": [at for _, at in columns.values()],
            "itemsize": 28,
        }
    )
