"""What can be recovered: for each base backup the way through the log, and where it ends. Pure.

A base backup is consistent from its *stop* position on. From there the log is followed segment by segment along the
timelines that lead to the newest one; where a segment is missing the way ends, whatever comes after. So a gap is seen
in what can be recovered, not in a list of errors that somebody has to understand.

Which file serves a segment follows PostgreSQL (``XLogFileReadAnyTLI``): the newest timeline of the way that had begun
by then.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from govsec.errors import RefusedError
from govsec.postgres.logbook import Base, Page
from govsec.postgres.tail import PAGE_SIZE, GetPage, read_tail
from govsec.postgres.view import StoredSegment
from govsec.postgres.wal import Branch, Segment, format_lsn, parse_lsn


class TargetKind(StrEnum):
    """How the moment of a recovery is given."""

    END = "end"
    TIME = "time"
    LSN = "lsn"
    POINT = "point"


@dataclass(frozen=True, slots=True)
class Target:
    """Up to where to recover."""

    kind: TargetKind = TargetKind.END
    time: datetime | None = None
    lsn: int | None = None
    point: str = ""

    def __str__(self) -> str:
        match self.kind:
            case TargetKind.TIME:
                return f"time {self.time}"
            case TargetKind.LSN:
                return f"position {format_lsn(self.lsn or 0)}"
            case TargetKind.POINT:
                return f"point {self.point!r}"
            case _:
                return "the end of the log"


@dataclass(frozen=True, slots=True)
class Hole:
    """Log between two positions that is not there."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Window:
    """What one base backup and the log after it can be recovered to."""

    base: Base
    #: The timelines in their order, the last one first to be asked.
    way: tuple[Branch, ...]
    start: int
    end: int
    start_time: datetime
    end_time: datetime
    #: The segments that a recovery up to the end reads, in order.
    segments: tuple[StoredSegment, ...]
    #: What is missing where the window ends, when there is log behind it.
    hole: Hole | None

    @property
    def timeline(self) -> int:
        """The timeline that it leads to."""
        return self.way[-1].timeline


def windows(page: Page, segments: Sequence[StoredSegment], histories: Mapping[int, Sequence[Branch]]) -> list[Window]:
    """The window of each base backup, oldest first."""
    stored: dict[tuple[int, int], StoredSegment] = {}
    for item in segments:
        stored.setdefault((item.segment.timeline, item.segment.number), item)  # whole ones come first
    return [_window(page, base, stored, _way(page, base, histories)) for base in page.bases]


def choose(found: Sequence[Window], target: Target, base_id: str | None = None) -> Window:
    """The window to recover from: the newest that reaches the target.

    Raises:
        RefusedError: none does; says what can be recovered instead.
    """
    fitting = [window for window in found if base_id in (None, window.base.id) and _reaches(window, target)]
    if not fitting:
        can = "; ".join(
            f"base {window.base.id}: {window.start_time:%Y-%m-%dT%H:%M:%SZ} ({format_lsn(window.start)}) to "
            f"{window.end_time:%Y-%m-%dT%H:%M:%SZ} ({format_lsn(window.end)})"
            for window in found
        )
        raise RefusedError(f"{target} cannot be recovered; what can: {can or 'nothing, there is no base backup'}")
    return fitting[-1]


def _reaches(window: Window, target: Target) -> bool:
    if target.kind is TargetKind.TIME and target.time is not None:
        return window.start_time <= target.time <= window.end_time
    if target.kind is TargetKind.LSN and target.lsn is not None:
        return window.start <= target.lsn <= window.end
    return True


def _way(page: Page, base: Base, histories: Mapping[int, Sequence[Branch]]) -> tuple[Branch, ...]:
    """The timelines from the base's to the newest that descends from it."""
    candidates = sorted({page.timeline, *histories}, reverse=True)
    for timeline in candidates:
        way = histories.get(timeline, (Branch(timeline, None),))
        own = next((branch for branch in way if branch.timeline == base.timeline), None)
        # A branch that was left before the base was taken does not lead through it.
        if own is not None and (own.end is None or own.end >= parse_lsn(base.stop)):
            return tuple(branch for branch in way if branch.timeline >= base.timeline)
    return (Branch(base.timeline, None),)


def _window(page: Page, base: Base, stored: Mapping[tuple[int, int], StoredSegment], way: tuple[Branch, ...]) -> Window:
    size = page.segment_size
    start, stop = parse_lsn(base.start), parse_lsn(base.stop)
    # The base brings its own log with it, up to its stop position.
    number, own_last = start // size, (stop - 1) // size
    segments: list[StoredSegment] = []
    end, end_time = stop, base.ended
    while True:
        item = _serving(number, way, stored, size)
        if item is None and number > own_last:
            break
        if item is not None:
            segments.append(item)
            if item.segment.end > end:
                end, end_time = _end_of(page, item, end, way)
                end_time = max(end_time, base.ended)
        if item is not None and item.is_partial:
            break
        number += 1
    return Window(base, way, stop, end, base.ended, end_time, tuple(segments), _hole(page, end, way, stored))


def _end_of(page: Page, item: StoredSegment, end: int, way: Sequence[Branch]) -> tuple[int, datetime]:
    position = parse_lsn(page.position)
    if item.segment.timeline == page.timeline and item.segment.start < position <= item.segment.end:
        return max(end, position), max(page.current_at, item.at)
    if item.is_partial:
        # What was left of a timeline: it counts up to where the next one begins.
        left = next((branch.end for branch in way if branch.timeline == item.segment.timeline), None) or 0
        return max(end, min(left, item.segment.end)), item.at
    return item.segment.end, item.at


def _serving(
    number: int, way: Sequence[Branch], stored: Mapping[tuple[int, int], StoredSegment], size: int
) -> StoredSegment | None:
    begins = 0
    spans = []
    for branch in way:
        spans.append((branch.timeline, begins))
        begins = (branch.end or 0) // size
    for timeline, first in reversed(spans):
        if number >= first and (item := stored.get((timeline, number))) is not None:
            return item
    return None


def _hole(page: Page, end: int, way: Sequence[Branch], stored: Mapping[tuple[int, int], StoredSegment]) -> Hole | None:
    timelines = {branch.timeline for branch in way}
    size, position = page.segment_size, parse_lsn(page.position)
    later = [number * size for timeline, number in stored if timeline in timelines and number * size >= end]
    if page.timeline == way[-1].timeline and position > end:
        later.append(position)  # the page knows of log that is not there
    return Hole(end, min(later)) if later else None


def reachable(window: Window, target: Target, get: GetPage) -> Target:
    """The target, or the end of the log where nothing in the log comes behind the target.

    ``get`` gives pages of the log along the window's way.
    """
    if target.kind not in (TargetKind.TIME, TargetKind.LSN) or not window.segments:
        return target
    tail = read_tail(get, window.segments[0].segment.start, window.end)
    if target.time is not None and (tail.moment is None or target.time >= tail.moment):
        return Target()
    if target.lsn is not None and (tail.record is None or target.lsn > tail.record):
        return Target()
    return target


def pages_of(window: Window, read: Callable[[Segment, int, int], bytes]) -> GetPage:
    """Pages along a window's way; ``read`` gives bytes of a segment from an offset."""
    by_number = {item.segment.number: item.segment for item in window.segments}

    def get(address: int) -> bytes | None:
        segment = by_number.get(address // window.segments[0].segment.size)
        return None if segment is None else read(segment, address - segment.start, PAGE_SIZE)

    return get
