"""Finding where the records of a capture begin: a chain in which each record says where the next one is.

One idea: a chain looks as if it could only be followed link by link, which costs more in Python than everything else
that is done with a packet. So the buffer is cut into segments, a place that looks like the start of a record is
searched in each (with one regular expression), and all segments are followed in step: one numpy operation gives
the next record of every segment. A guess may be wrong, by chance or because somebody put records into packets. It is
believed only when the chain from the start of the buffer arrives exactly there; where it does not, that chain is
followed link by link. So the result is always that of following the one true chain, and only the time differs.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from govsec.net.columns import I8

#: The search for a start in a segment costs as much as following a dozen records.
SEGMENT_SIZE = 16_384
#: Fewer segments are followed faster one by one.
_SEGMENTS_MIN = 8
#: After so many records in step, segments that are through are left out.
_STEPS = 16


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
    """What records look like: the regular expression matches ``at`` bytes behind the beginning of one."""

    pattern: bytes
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
    """0, and about every ``SEGMENT_SIZE`` bytes a place that looks like a record; increasing."""
    # What each match swallows is the segment behind it, so that one call of the search finds all of them.
    pattern = re.compile(look.pattern + b".{%d}" % SEGMENT_SIZE, re.DOTALL)
    found = pattern.finditer(data, SEGMENT_SIZE + look.at, end)
    return np.array([0, *(match.start() - look.at for match in found)], np.int64)


def _follow_in_step(data: memoryview, starts: I8, end: int, form: RecordForm) -> tuple[I8, I8, I8]:
    """All records from each start on up to the next start, one segment behind the other.

    Besides: where each segment begins among them (and where the last one ends), and where each chain went then.
    """
    limits = np.append(starts[1:], end - form.header_size + 1)
    following = _following(data, end, form)
    pieces: list[tuple[NDArray[np.intp], I8]] = []
    number, at = np.arange(len(starts)), starts
    while len(at) >= _SEGMENTS_MIN:
        block = np.empty((_STEPS + 1, len(at)), np.int64)
        block[0] = at
        for step in range(_STEPS):
            following(block[step], block[step + 1])
        pieces.append((number, block[:-1]))
        is_going = block[-1] < limits[number]
        number, at = number[is_going], block[-1][is_going]
    for last, offset in zip(number.tolist(), at.tolist(), strict=True):
        tail = _follow(data, offset, int(limits[last]) + form.header_size - 1, form, ())
        pieces.append((np.array([last]), tail[:-1, None]))
    # What a chain passed behind its limit belongs to the next segment.
    owns = [piece < limits[segment] for segment, piece in pieces]
    firsts = np.zeros(len(starts) + 1, np.int64)
    for (segment, _), is_own in zip(pieces, owns, strict=True):
        firsts[segment + 1] += is_own.sum(axis=0)
    np.cumsum(firsts, out=firsts)
    offsets, free = np.empty(int(firsts[-1]), np.int64), firsts.copy()
    for (segment, piece), is_own in zip(pieces, owns, strict=True):
        place = free[segment] + np.arange(len(piece))[:, None]
        offsets[place[is_own]] = piece[is_own]
        free[segment] += len(piece)
    arrivals = np.empty_like(starts)
    following(offsets[firsts[1:] - 1], arrivals)
    return offsets, firsts, arrivals


def _following(data: memoryview, end: int, form: RecordForm) -> Callable[[I8, I8], None]:
    """Writes where the records behind those at some offsets are; behind the last header, it goes nowhere certain."""
    # As in ``gather``, but made once, and with few operations: this is what a capture file is read by.
    last = end - form.header_size
    sizes = np.ndarray((last + 1,), "V4", buffer=data, offset=form.size_at, strides=(1,))
    word = "<u4" if form.is_little else ">u4"
    is_bounded = form.size_more >= form.size_min

    def following(at: I8, into: I8) -> None:
        np.add(at, sizes[np.minimum(at, last)].view(word), out=into)
        if form.size_more:
            into += form.size_more
        if not is_bounded:
            np.maximum(into, at + form.size_min, out=into)

    return following


def _follow(data: memoryview, at: int, end: int, form: RecordForm, stops: Collection[int]) -> I8:
    """Link by link, to where no whole header is any more or one of ``stops`` is; that offset comes last."""
    size_of = struct.Struct("<I" if form.is_little else ">I").unpack_from
    offsets = [at]
    while at + form.header_size <= end and at not in stops:
        at += max(size_of(data, at + form.size_at)[0] + form.size_more, form.size_min)
        offsets.append(at)
    return np.array(offsets, np.int64)
