"""What the formats of capture files have in common: records found in a piece of a file, and the limits on them.

One idea: a format is asked for the packets in a piece of the file that begins with a record, and says how far it came
and what stopped it; reading, cutting and counting are done once for all of them, in ``capturefile``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from govsec.net.columns import I8, U2, U4

#: More than any capture program stores of a packet (libpcap: 256 KiB on networks); beyond, the record is none.
RECORD_MAX = 1 << 20
SECOND_NS = 1_000_000_000
#: Times are brought into 0..this (the year 2116), so that differences of any two fit into 64 bits.
TIME_MAX_NS = 1 << 62


@dataclass(frozen=True, slots=True)
class Records:
    """Packets of a piece, one entry each.

    ``frame_offset`` is in the piece; ``wire_size`` is at least ``captured_size``.
    """

    frame_offset: I8
    captured_size: U4
    wire_size: U4
    time_ns: I8
    link_type: U2
    faults: U2


@dataclass(frozen=True, slots=True)
class Taken:
    """What was found in a piece. ``used``: bytes that are done with; the next piece begins with what is left."""

    records: Records
    used: int
    #: What cannot be read at ``used``; nothing is read after it.
    complaint: str = ""


class CaptureFormat(Protocol):
    """Finds packets in pieces of one file, in order."""

    def take(self, data: memoryview, end: int) -> Taken:
        """The packets in ``data`` up to ``end``, which begins where the piece before was used up to.

        ``SLACK`` bytes may be read behind ``end``. A record that does not end before ``end`` is left.
        """

    def counters(self) -> dict[str, int]:
        """What was met besides packets, by name."""


def no_records() -> Records:
    """A piece without packets."""
    long, size, short = np.zeros(0, np.int64), np.zeros(0, np.uint32), np.zeros(0, np.uint16)
    return Records(frame_offset=long, captured_size=size, wire_size=size, time_ns=long, link_type=short, faults=short)
