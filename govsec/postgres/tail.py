"""Where the log really ends: its last record, and the last moment that a record names. Pure.

A server that is told to recover to a time or a position, and meets no record behind it, stops with an error (13 and
later). A target in a quiet minute at the end of the log is none the less a good one: everything there is comes before
it. So the end of the log is read here, from the last page backwards, and such a recovery goes without a target.

::

    page     u16 magic · u16 info (bit 1: long head of 40 bytes, else 24) · u32 timeline · u64 address · u32 rest
    record   u32 length · u32 xid · u64 previous · u8 info · u8 manager · 2 · u32 CRC, then block heads, then data

*rest* is how much of the page, after its head, belongs to a record that began before. Records lie on multiples of 8.
Moments are in commits and aborts (manager 1) and in named points (manager 0, info 0x70): first in their data.

Source: PostgreSQL ``access/xlogrecord.h``, ``access/xlog_internal.h``, ``access/xact.h``, versions 13 to 17.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

PAGE_SIZE = 8192
_LONG, _SHORT = 40, 24
_LONG_HEAD = 2
_RECORD = struct.Struct("<IIQBBxxI")
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_XLOG, _XACT = 0, 1
_RESTORE_POINT = 0x70
#: Commit, abort, and both of prepared transactions: XLOG_XACT_OPMASK of info.
_ENDINGS = frozenset({0x00, 0x20, 0x30, 0x40})
_LENGTH_MAX = 1 << 30
#: What can stand before the data of such a record: an origin (3 bytes), a top-level xid (5), a short or long length.
_HEADS_MAX = 64
#: A quiet server writes a record every 15 s at most; more pages than this without a moment is a busy one.
_PAGES_MAX = 65_536

#: The page at an address; None when it is not there.
GetPage = Callable[[int], bytes | None]


@dataclass(frozen=True, slots=True)
class Tail:
    """The last whole record, and the last moment that any of the records at the end names."""

    record: int | None
    moment: datetime | None


def read_tail(get: GetPage, start: int, end: int) -> Tail:
    """The end of the log between two positions; ``start`` is the beginning of a segment."""
    record: int | None = None
    page = (end - 1) // PAGE_SIZE * PAGE_SIZE
    for _ in range(_PAGES_MAX):
        if page < start:
            break
        moment = None
        for position, length in _records(get, page, end):
            record = position if record is None or position > record else record
            moment = _moment(get, position, length) or moment
        if moment is not None:
            return Tail(record, moment)
        page -= PAGE_SIZE
    return Tail(record, None)


def _records(get: GetPage, address: int, end: int) -> Iterator[tuple[int, int]]:
    """Position and length of the whole records that begin on a page."""
    data = get(address)
    if data is None or len(data) < PAGE_SIZE:
        return
    info, rest = struct.unpack_from("<2xH", data)[0], struct.unpack_from("<16xI", data)[0]
    offset = (_LONG if info & _LONG_HEAD else _SHORT) + -(-rest // 8) * 8
    while offset + 4 <= PAGE_SIZE:
        (length,) = struct.unpack_from("<I", data, offset)
        if not _RECORD.size <= length <= _LENGTH_MAX:
            return
        following = _after(get, address + offset, length)
        if following is None or following > end:
            return
        yield address + offset, length
        offset = -(-(following - address) // 8) * 8


def _after(get: GetPage, position: int, length: int) -> int | None:
    """The position behind ``length`` bytes of a record, the heads of pages left out."""
    while True:
        page = position // PAGE_SIZE * PAGE_SIZE
        room = page + PAGE_SIZE - position
        if length <= room:
            return position + length
        length -= room
        head = get(page + PAGE_SIZE)
        if head is None or len(head) < _LONG:
            return None
        info = struct.unpack_from("<2xH", head)[0]
        position = page + PAGE_SIZE + (_LONG if info & _LONG_HEAD else _SHORT)


def _bytes(get: GetPage, position: int, count: int) -> bytes:
    found = b""
    while len(found) < count:
        page = position // PAGE_SIZE * PAGE_SIZE
        data = get(page)
        if data is None or len(data) < PAGE_SIZE:
            break
        part = data[position - page : position - page + count - len(found)]
        found += part
        position += len(part)
        if position % PAGE_SIZE == 0 and len(found) < count:
            head = get(position)
            if head is None or len(head) < _LONG:
                break
            position += _LONG if struct.unpack_from("<2xH", head)[0] & _LONG_HEAD else _SHORT
    return found


def _moment(get: GetPage, position: int, length: int) -> datetime | None:
    data = _bytes(get, position, min(length, _RECORD.size + _HEADS_MAX))
    if len(data) < _RECORD.size:
        return None
    _, _, _, info, manager, _ = _RECORD.unpack_from(data)
    is_ending = manager == _XACT and info & 0x70 in _ENDINGS
    if not is_ending and not (manager == _XLOG and info & 0xF0 == _RESTORE_POINT):
        return None
    offset = _RECORD.size
    while offset < len(data):
        kind = data[offset]
        if kind == 253:  # the origin of a replicated transaction
            offset += 3
        elif kind == 252:  # the transaction that this one belongs to
            offset += 5
        elif kind in (254, 255):  # how long the data is, in four bytes or in one
            offset += 5 if kind == 254 else 2
            break
        else:
            return None
    if offset + 8 > len(data):
        return None
    (time,) = struct.unpack_from("<q", data, offset)
    try:
        return _EPOCH + timedelta(microseconds=time)
    except OverflowError:
        return None
