"""Positions in the write-ahead log, names of its files, and the head of a segment. Pure.

A *position* (LSN) is a byte address of 64 bits, written ``16/B374D848``. The log is cut into segments of a fixed size
(16 MiB unless ``initdb`` was told otherwise); a segment's name is its timeline and its number, 24 hex digits::

    TTTTTTTT LLLLLLLL SSSSSSSS      timeline, number // (4 GiB / size), number % (4 GiB / size)

The first page of a segment begins with a long header (PostgreSQL, ``access/xlog_internal.h``)::

    0  u16 magic   2  u16 info (bit 1: long)   4  u32 timeline   8  u64 address   16  u32 length that remains
    24 u64 system identifier   32  u32 segment size   36  u32 page size        in the server's byte order

The magic changes with each major version; what a segment must agree in is its address and the system identifier.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

from govsec.errors import FormatError, IntegrityError, UsageError

SEGMENT_SIZE_DEFAULT = 16 << 20
HEAD_SIZE = 40
PARTIAL = ".partial"
_SEGMENT_NAME = re.compile(r"[0-9A-F]{24}")
_HISTORY_NAME = re.compile(r"([0-9A-F]{8})\.history")
_BACKUP_NAME = re.compile(r"[0-9A-F]{24}\.[0-9A-F]{8}\.backup")
_LSN = re.compile(r"([0-9A-Fa-f]{1,8})/([0-9A-Fa-f]{1,8})")
_XLOG_SIZE = 1 << 32
_HEAD = "HHIQI4xQII"
_LONG_HEADER = 2
_SIZES = frozenset(1 << bits for bits in range(20, 31))


def parse_lsn(text: str) -> int:
    """The position that ``16/B374D848`` names.

    Raises:
        UsageError: the text is none.
    """
    match = _LSN.fullmatch(text)
    if match is None:
        raise UsageError(f"{text[:40]!r} is no position in the log; 16/B374D848 is one")
    return int(match[1], 16) << 32 | int(match[2], 16)


def format_lsn(position: int) -> str:
    """A position as PostgreSQL writes it."""
    return f"{position >> 32:X}/{position & 0xFFFFFFFF:X}"


def check_segment_size(size: int) -> int:
    """The size, when PostgreSQL knows segments of it. Raises ``FormatError``."""
    if size not in _SIZES:
        raise FormatError(f"a log segment of {size} bytes: PostgreSQL has 1 MiB to 1 GiB, a power of two")
    return size


@dataclass(frozen=True, slots=True, order=True)
class Segment:
    """One segment of the log of a server with this segment size."""

    timeline: int
    number: int
    size: int = SEGMENT_SIZE_DEFAULT

    @classmethod
    def at(cls, position: int, timeline: int, size: int) -> Segment:
        """The segment that holds the byte at ``position``."""
        return cls(timeline, position // size, size)

    @classmethod
    def named(cls, name: str, size: int) -> Segment | None:
        """The segment of that name; None when it is no segment's name."""
        if _SEGMENT_NAME.fullmatch(name) is None:
            return None
        per_log = _XLOG_SIZE // size
        log, rest = int(name[8:16], 16), int(name[16:], 16)
        return cls(int(name[:8], 16), log * per_log + rest, size) if rest < per_log else None

    @property
    def start(self) -> int:
        """The position of its first byte."""
        return self.number * self.size

    @property
    def end(self) -> int:
        """The position after its last byte."""
        return self.start + self.size

    @property
    def name(self) -> str:
        """Its file name."""
        per_log = _XLOG_SIZE // self.size
        return f"{self.timeline:08X}{self.number // per_log:08X}{self.number % per_log:08X}"


def is_log_name(name: str) -> bool:
    """True for what PostgreSQL archives: segments, partial ones, histories of timelines, labels of backups."""
    plain = name.removesuffix(PARTIAL)
    is_segment = _SEGMENT_NAME.fullmatch(plain) is not None
    return is_segment or (plain == name and (is_history_name(name) or _BACKUP_NAME.fullmatch(name) is not None))


def is_history_name(name: str) -> bool:
    """True for the name of a timeline's history file."""
    return _HISTORY_NAME.fullmatch(name) is not None


def history_name(timeline: int) -> str:
    """The file that says where a timeline branched off."""
    return f"{timeline:08X}.history"


@dataclass(frozen=True, slots=True)
class Branch:
    """A timeline and where the next one left it; ``end`` is None for the last."""

    timeline: int
    end: int | None


def parse_history(data: bytes, timeline: int) -> list[Branch]:
    """The timelines that lead to ``timeline``, oldest first, itself last.

    Lines are ``parent <tab> switch position <tab> reason``; empty ones and comments are skipped.

    Raises:
        FormatError: not a history, or one of another timeline.
    """
    branches: list[Branch] = []
    for line in data.decode("utf-8", "replace").splitlines():
        fields = line.split(None, 2)
        if not fields or fields[0].startswith("#"):
            continue
        last = branches[-1] if branches else Branch(0, 0)
        match = _LSN.fullmatch(fields[1]) if len(fields) > 1 and fields[0].isdigit() else None
        if match is None or not last.timeline < int(fields[0]) < timeline:
            raise FormatError(f"history of timeline {timeline}: {line[:80]!r} is no line of one")
        branches.append(Branch(int(fields[0]), parse_lsn(match[0])))
    return [*branches, Branch(timeline, None)]


@dataclass(frozen=True, slots=True)
class SegmentHead:
    """What the first page of a segment says."""

    timeline: int
    address: int
    system_id: int
    segment_size: int


def read_head(data: bytes) -> SegmentHead:
    """The head in the first bytes of a segment.

    Raises:
        FormatError: shorter than a head, or none.
    """
    if len(data) >= HEAD_SIZE:
        # The server's byte order is not written down; only one of the two gives a size that exists.
        for order in "<>":
            _, info, timeline, address, _, system_id, size, page = struct.unpack_from(order + _HEAD, data)
            if info & _LONG_HEADER and size in _SIZES and page in (1024, 2048, 4096, 8192, 16384, 32768, 65536):
                return SegmentHead(timeline, address, system_id, size)
    raise FormatError("this is no segment of a PostgreSQL log: its first page has no long header")


def check_head(data: bytes, segment: Segment, system_id: int | None) -> SegmentHead:
    """The head, when it is that of ``segment`` of the server ``system_id`` (of any, when None).

    Raises:
        FormatError: no head at all.
        IntegrityError: of another server, place, timeline or segment size.
    """
    head = read_head(data)
    if system_id is not None and head.system_id != system_id:
        raise IntegrityError(
            f"log segment {segment.name} is of the server {head.system_id}; this log is of the server {system_id}"
        )
    if head.segment_size != segment.size or head.address != segment.start:
        raise IntegrityError(
            f"log segment {segment.name} says that it begins at {format_lsn(head.address)} with segments of "
            f"{head.segment_size} bytes; expected {format_lsn(segment.start)} and {segment.size}"
        )
    # After a switch, the new timeline's first segment begins with pages that were written on the old one.
    if head.timeline > segment.timeline:
        raise IntegrityError(f"log segment {segment.name} was written on the later timeline {head.timeline}")
    return head
