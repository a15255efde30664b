"""The rotated files of one log, followed from look to look.

One idea: a rotated file is known by its inode as long as it is renamed, and by its contents when it was copied or
packed. So each is followed until it is gone.

Something is gone when two looks in a row did not find it: a folder that is read while files are renamed in it may leave
one out.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from govsec.guard.api import RotatedLog
from govsec.guard.logbeside import CHECKED_SIZE, NUMBERED, OTHER, Beside, Key, Rank, beside, first_that_holds, opened
from govsec.guard.logcontents import Budget, Content
from govsec.guard.logpacks import PACKS, is_packed

#: Of one log: a year of days.
_ROTATED_MAX = 400
_MISSES_MAX = 2
#: Times the usual distance of two.
_GAP_RATIO = 3


@dataclass(slots=True, eq=False)
class _Rotated:
    """One that is followed. ``content``: of its bytes as they lie there, packed or not."""

    key: Key
    path: str
    modified_ns: int
    content: Content
    since_ns: int
    rank: Rank
    #: It took what the log held, once: what the log held later is in another one.
    has_held: bool = False
    misses_count: int = 0
    older_count: int = 0


class Rotations:
    """The rotated files of one log, over looks."""

    def __init__(self) -> None:
        self._files: list[_Rotated] = []
        self._is_begun = False
        self.dropped_count = 0

    def __len__(self) -> int:
        return len(self._files)

    def asked(self, found: Sequence[Beside]) -> list[Beside]:
        """Of the files found beside the log those that may hold what it held last."""
        # With the time, for the number of an inode is given again.
        taken = {(one.key, one.modified_ns) for one in self._files if one.has_held}
        return [one for one in found if (one.key, one.status.st_mtime_ns) not in taken]

    def others(self) -> list[Beside]:
        """Those that have names of other forms than rotation gives."""
        found = (beside(one.path, None) for one in self._files if one.rank == OTHER)
        return [one for one in found if one is not None]

    def step(
        self, time_ns: int, found: Sequence[Beside], budget: Budget, *, moved: tuple[Beside, Content] | None, room: int
    ) -> tuple[tuple[RotatedLog, ...], int]:
        """(those that went, how many came). ``found``: all there are now; ``moved``: what the log held, and where to.

        ``room``: so many more may be followed.
        """
        by_key = {one.key: one for one in found}
        before = {id(one): one.rank for one in self._files}
        missing = [one for one in self._files if not _stands(one, by_key.get(one.key))]
        there = {one.key for one in self._files if one not in missing}
        for one in sorted(missing, key=lambda one: -one.content.size):
            # What came since, or a pack that had come before it went.
            can_be_packed = not one.path.endswith(PACKS)
            asked = [other for other in found if other.key not in there or (can_be_packed and is_packed(other.path))]
            place = _nearest(one, asked, budget)
            if place is None:
                continue
            missing.remove(one)
            if place.key in there:
                self._files.remove(one)  # it had come before this one went
            else:
                self._become(one, place)
                there.add(place.key)
        went = self._gone(missing, before)
        came_count = self._add(time_ns, [one for one in found if one.key not in there], moved, room)
        for one in self._files:
            if moved is not None and moved[0].key == one.key and not one.misses_count:
                one.has_held, one.since_ns = True, time_ns
        self._is_begun = True
        return went, came_count

    def _become(self, one: _Rotated, place: Beside) -> None:
        one.key, one.path, one.rank, one.misses_count = place.key, place.path, place.rank or OTHER, 0
        one.content = _raw(place)

    def _gone(self, missing: Sequence[_Rotated], before: Mapping[int, Rank]) -> tuple[RotatedLog, ...]:
        went = []
        for one in missing:
            one.misses_count += 1
            if one.misses_count == 1:
                present = [(before[id(other)], other.since_ns) for other in self._files if not other.misses_count]
                one.older_count = _older_count(one, [place for place in present if place[0][0] == one.rank[0]])
            if one.misses_count >= _MISSES_MAX:
                self._files.remove(one)
                went.append(RotatedLog(one.path, one.content.size, one.since_ns, one.older_count))
        return tuple(went)

    def _add(self, time_ns: int, new: Sequence[Beside], moved: tuple[Beside, Content] | None, room: int) -> int:
        youngest = max((one.rank for one in self._files if not one.misses_count), default=(-1, 0))
        self.dropped_count = 0
        came_count = 0
        known = {one.key for one in self._files if not one.misses_count}
        missing = {one.path for one in self._files if one.misses_count}
        for one in sorted(new, key=lambda one: one.rank or OTHER, reverse=True):
            if one.key in known:
                continue
            # Of an empty log nothing tells that it was rotated; what took the place of another file does not either.
            is_rotation = moved is not None or one.path not in missing
            came_count += is_rotation and (one.rank or OTHER) > youngest
            if len(self._files) >= _ROTATED_MAX or room <= 0:
                self.dropped_count += 1
                continue
            room -= 1
            is_moved = moved is not None and moved[0].key == one.key and not one.path.endswith(PACKS)
            content = moved[1] if moved is not None and is_moved else _raw(one)
            since_ns = time_ns if self._is_begun else min(time_ns, one.status.st_mtime_ns)
            rank = one.rank or OTHER
            self._files.append(_Rotated(one.key, one.path, one.status.st_mtime_ns, content, since_ns, rank))
        return came_count if self._is_begun else 0


def _older_count(one: _Rotated, present: Sequence[tuple[Rank, int]]) -> int:
    """Files of its way of naming, older than it and next to it without a gap.

    What lies behind a gap rotation has left for ever: a site kept more once, or named them in another way.
    """
    count = 0
    if one.rank[0] == NUMBERED:
        numbers = {rank[1] for rank, _ in present}
        while one.rank[1] - count - 1 in numbers:
            count += 1
        return count
    younger = [since_ns for rank, since_ns in present if rank > one.rank]
    older = sorted((since_ns for rank, since_ns in present if rank < one.rank), reverse=True)
    gap_ns = _GAP_RATIO * max(max(younger) - one.since_ns, 0) // len(younger) if younger else None
    last_ns = one.since_ns
    for since_ns in older:
        if gap_ns is not None and last_ns - since_ns > gap_ns:
            break
        count, last_ns = count + 1, since_ns
    return count


def _nearest(one: _Rotated, found: Sequence[Beside], budget: Budget) -> Beside | None:
    """The file that holds what a rotated one held; packers keep the time of the last change, so that is asked first."""
    near = sorted(found, key=lambda other: abs(other.status.st_mtime_ns - one.modified_ns))
    return first_that_holds(one.content, near, budget)


def _stands(one: _Rotated, place: Beside | None) -> bool:
    """It is there, perhaps by another name, and holds what it held; what a slow writer added is learned."""
    if place is None:
        return False
    try:
        if not one.content.is_at_rest(place.status) and not _is_kept(one.content, place.path):
            return False
    except OSError:
        pass  # it is there; what it holds is seen at the next look
    one.path, one.modified_ns, one.rank = place.path, place.status.st_mtime_ns, place.rank or OTHER
    one.misses_count = 0
    return True


def _is_kept(content: Content, path: str) -> bool:
    with opened(path) as file:
        if file is None or not content.check(*file, Budget(CHECKED_SIZE)):
            return False
        content.learn(file[0], file[1].st_size, Budget(CHECKED_SIZE))
        return True


def _raw(one: Beside) -> Content:
    """The file as it lies there: its beginning and end, which of a pack hold sums of the rest."""
    content = Content(is_sparse=True)
    with contextlib.suppress(OSError), opened(one.path) as file:
        if file is not None:
            content.learn(file[0], file[1].st_size, Budget(CHECKED_SIZE))
    return content
