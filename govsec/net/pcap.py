"""The classic capture format: one header, then one record a packet.

Byte order is that of the magic, all fields have 32 bits unless said::

    magic a1b2c3d4 (microseconds) or a1b23c4d (nanoseconds), versions 16+16, zone, accuracy, snap length, link type
    per packet: seconds, fraction, captured size, size on the wire, bytes

Source: draft-ietf-opsawg-pcap. The upper half of the link type tells about frame check sequences and is not needed.
"""

from __future__ import annotations

import re
import struct

import numpy as np

from govsec.errors import FormatError
from govsec.net.captureformat import RECORD_MAX, SECOND_NS, Records, Taken
from govsec.net.columns import Fault
from govsec.net.gather import gather
from govsec.net.walk import Look, RecordForm, walk

HEADER_SIZE = 24
_RECORD_SIZE = 16
_FIELDS = ("seconds", "fraction", "captured", "wire")
#: Fractions of a second that one unit of the second field is, by magic.
_UNITS = {0xA1B2C3D4: 1_000_000, 0xA1B23C4D: SECOND_NS}
MAGICS = tuple(struct.pack(order + "I", magic) for order in "<>" for magic in _UNITS)


class Pcap:
    """The records of one file, whose first ``HEADER_SIZE`` bytes are ``header``."""

    def __init__(self, header: bytes) -> None:
        self._is_little = header[:4] in (MAGICS[0], MAGICS[1])
        order = "<" if self._is_little else ">"
        magic, major, *_, link_type = struct.unpack(order + "IHHIIII", header)
        if major != 2:
            raise FormatError(f"version {major} of pcap is not known (2 is)")
        self._unit = _UNITS[magic]
        self._link_type = link_type & 0xFFFF
        self._form = RecordForm(self._is_little, 8, _RECORD_SIZE, _RECORD_SIZE, _RECORD_SIZE)
        kind = order + "u4"
        self._record = np.dtype([(name, kind) for name in _FIELDS])

    def take(self, data: memoryview, end: int) -> Taken:
        offsets = walk(data, end, self._form, self._look(bytes(data[:4]), end))
        starts = offsets[:-1]
        rows = gather(data, starts, self._record)
        seconds, fraction, captured, wire = (rows[name].astype(np.uint32) for name in _FIELDS)
        complaint = ""
        if captured.max(initial=0) > RECORD_MAX:
            count = int((captured > RECORD_MAX).argmax())
            complaint = f"a packet of {captured[count]} bytes is more than any capture holds ({RECORD_MAX})"
        else:
            # The last record may go on behind what is there.
            count = len(starts) - int(offsets[-1] > end)
        seconds, fraction, captured, wire = (column[:count] for column in (seconds, fraction, captured, wire))
        faults = (fraction >= self._unit) * np.uint16(Fault.TIME.value)
        faults |= (wire < captured) * np.uint16(Fault.RECORD.value)
        time_ns = seconds.astype(np.int64) * SECOND_NS
        time_ns += np.minimum(fraction, self._unit - 1).astype(np.int64) * (SECOND_NS // self._unit)
        records = Records(
            frame_offset=starts[:count] + _RECORD_SIZE,
            captured_size=captured,
            wire_size=np.maximum(wire, captured),
            time_ns=time_ns,
            link_type=np.full(count, self._link_type, np.uint16),
            faults=faults,
        )
        return Taken(records, int(offsets[count]), complaint)

    def counters(self) -> dict[str, int]:
        return {}

    def _look(self, seconds: bytes, end: int) -> Look | None:
        """Records within 18 hours of the first one, of less than 64 KiB."""
        half = seconds[2:] if self._is_little else seconds[:2]
        if end < HEADER_SIZE or half == b"\0\0":
            return None  # zeros are everywhere
        is_nano = self._unit == SECOND_NS
        if self._is_little:
            fraction = rb"...[\0-\x3b]" if is_nano else rb"..[\0-\x0f]\0"
            return Look(re.escape(half) + fraction + rb"..\0\0..\0\0", at=2)
        fraction = rb"[\0-\x3b]..." if is_nano else rb"\0[\0-\x0f].."
        return Look(re.escape(half) + rb".." + fraction + rb"\0\0..\0\0..", at=0)
