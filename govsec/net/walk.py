"""Finding where the records of a capture begin: a chain in which each record says where the next one is.

One idea: a chain looks as if it could only be followed link by link, which costs more in Python than everything else
that is done with a packet. So the buffer is cut into segments, a place that looks like the start of a record is
searched in each (one regular expression a segment), and all segments are followed in step: one numpy operation gives
the next record of every segment. A guess may be wrong, by chance or because somebody put records into packets. It is
believed only when the chain from the start of the buffer arrives exactly there; where it does not, that chain is
followed link by link. So the result is always that of following the one true chain, and only the time differs.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from govsec.net.columns import I8

#: The search for a start in a segment costs as much as following a dozen records.
SEGMENT_SIZE = 16_384
#: Fewer segments are followed faster one by one.
_SEGMENTS_MIN = 8
#: After so many records in step, segments that are through are left out.
_STEPS = 8


@dataclass(frozen=True, slots=True)
class RecordForm:
    """How a record says its size, in bytes."""

    is_little: bool
    size_at: int  # where the size field (32 bits) is
    size_more: int  # what it does not count of the record
    header_size: int  # what must be there for the record to be one
    size_min: int  # records are never taken to be shorter, so that every chain comes forward


@dataclass(frozen=True, slots=True)
class Look:
    """What records look like: ``pattern`` matches ``at`` bytes behind the beginning of one."""

    pattern: re.Pattern[bytes]
    at: int


def walk(data: memoryview, end: int, form: RecordForm, look: Look | None) -> I8:
    """The offsets of all records from 0 on that have a whole header before ``end``, and where the next would be.

    The latter is beyond ``end`` when the last record is cut. Sizes are not judged, and no size is too large to be
    added.
    """
    if look is None or end < SEGMENT_SIZE * _SEGMENTS_MIN:
        return _follow(data, 0, end, form, ())
    starts = _guess(data, end, look)
    offsets, firsts, arrivals = _follow_in_step(data, starts, end, form)
    is_wrong = arrivals[:-1] != starts[1:]
    if not is_wrong.any():
        return np.concatenate([offsets, arrivals[-1:]])
    known = {offset: number for number, offset in enumerate(starts.tolist())}
    wrong = [*np.flatnonzero(is_wrong).tolist(), len(starts) - 1]
    pieces: list[I8] = []
    number = 0
    for last in wrong:
        if last < number:
            continue  # a guess that the true chain has passed by
        pieces.append(offsets[firsts[number] : firsts[last + 1]])
        between = _follow(data, int(arrivals[last]), end, form, known)
        pieces.append(between[:-1])
        final = int(between[-1])
        if final not in known:
            break
        number = known[final]
    return np.concatenate([*pieces, [final]])


def _guess(data: memoryview, end: int, look: Look) -> I8:
    """0, and the first place in each further segment that looks like a record; increasing."""
    starts = [0]
    for edge in range(SEGMENT_SIZE, end - SEGMENT_SIZE, SEGMENT_SIZE):
        match = look.pattern.search(data, edge + look.at, edge + SEGMENT_SIZE)
        if match:
            starts.append(match.start() - look.at)
    return np.array(starts, np.int64)


def _follow_in_step(data: memoryview, starts: I8, end: int, form: RecordForm) -> tuple[I8, I8, I8]:
    """All records from each start on up to the next start, one segment behind the other.

    Besides: where each segment begins among them (and where the last one ends), and where each chain went then.
    """
    # As in ``gather``, but made once: this loop is what a capture file takes longest for.
    count = end - form.header_size + 1
    sizes = np.ndarray((count,), "V4", buffer=data, offset=form.size_at, strides=(1,))
    word = "<u4" if form.is_little else ">u4"
    limits = np.append(starts[1:], count)
    arrivals = starts.copy()
    number, at, limit = np.arange(len(starts), dtype=np.uint16), starts, limits
    numbers, offsets = [], []
    while len(at):
        for _ in range(_STEPS):
            numbers.append(number)
            offsets.append(at)
            size = sizes[np.minimum(at, count - 1)].view(word).astype(np.int64)
            at = at + np.maximum(size + form.size_more, form.size_min) * (at < limit)
        arrivals[number] = at
        is_going = at < limit
        number, at, limit = number[is_going], at[is_going], limit[is_going]
    segment, found = np.concatenate(numbers), np.concatenate(offsets)
    # A chain stands still behind its limit, so what is below the limit was passed once.
    is_passed = found < limits[segment]
    segment, found = segment[is_passed], found[is_passed]
    firsts = np.concatenate([[0], np.cumsum(np.bincount(segment, minlength=len(starts)))])
    return found[np.argsort(segment, kind="stable")], firsts, arrivals


def _follow(data: memoryview, at: int, end: int, form: RecordForm, stops: Collection[int]) -> I8:
    """Link by link, to where no whole header is any more or one of ``stops`` is; that offset comes last."""
    size_of = struct.Struct("<I" if form.is_little else ">I").unpack_from
    offsets = [at]
    while at + form.header_size <= end and at not in stops:
        at += max(size_of(data, at + form.size_at)[0] + form.size_more, form.size_min)
        offsets.append(at)
    return np.array(offsets, np.int64)
