"""The lines that come to a log file, through everything that happens to log files.

One idea: the open file is what is followed, the path is only looked at for whether it means another file by now. So a
file that was renamed is read to its end, also what a slow writer still adds for a while; then the new one is read from
its beginning. A file that became shorter, or that holds other bytes where we had read (it was cut and grew again
between two looks), is read from its beginning; how often is counted. Lines are cut to ``LINE_MAX`` bytes, whatever
their length.

The last part of a path is not followed if it is a link: whoever may write in the folder must not have us read what only
we may read. Rights: to read the file, also when it is replaced later.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from govsec.clock import Clock
from govsec.host.logplaces import LogPlace

LINE_MAX = 8192
#: Of one file in one go: a second of the busiest log.
_READ_MAX = 8 << 20
_CHUNK = 256 << 10
#: What a writer that has not been told of the new file may still add to the old one.
_OLD_PATIENCE_S = 60.0
_OLD_MAX = 3
#: Bytes before the place we have read to that are held against the file.
_MARK_SIZE = 64


@dataclass(slots=True)
class FollowCounters:
    """Each only grows."""

    lines: int = 0
    #: Lines of which the end was left out.
    cut: int = 0
    rotations: int = 0
    #: Files that became shorter, or were written anew in their place.
    truncations: int = 0
    #: Attempts at opening a file that were refused.
    refused: int = 0


@dataclass(slots=True)
class _Open:
    descriptor: int
    position: int
    #: The beginning of a line whose end is yet to come.
    rest: bytearray = field(default_factory=bytearray)
    is_skipping: bool = False
    mark: bytes = b""
    until: float = 0.0


class LogFollower:
    """Follows one path. ``is_from_start``: what the file holds already is read too. ``place``: how far it was read by
    an earlier run; what came since is read, also from a file that was renamed once meanwhile (``.1``).
    """

    def __init__(self, path: Path, clock: Clock, *, is_from_start: bool = False, place: LogPlace | None = None) -> None:
        self.path = path
        self.counters = FollowCounters()
        #: Why less is seen of the file; for whoever reads them off.
        self.notes: deque[str] = deque(maxlen=16)
        #: Where reading stood, and what stood there, each time when it did not any more; to be read off too.
        self.cuts: deque[tuple[int, bytes]] = deque(maxlen=16)
        self._clock = clock
        self._is_from_start = is_from_start
        self._resumed = place
        self._current: _Open | None = None
        self._old: deque[_Open] = deque()
        self._refused_for = ""

    def open(self) -> bool:
        """Begin; false when there is no file yet (it is read from its beginning once there is).

        Raises:
            OSError: it may not be read, or is a link, a folder, a pipe or a device.
        """
        try:
            self._current = _opened(self.path)
        except FileNotFoundError:
            self._is_from_start = True
            return False
        except OSError as error:
            self._is_from_start = True
            self._refused_for = error.strerror or str(error)  # told by who called; again only for another reason
            raise
        if self._resumed is not None:
            self._resume(self._current, self._resumed)
        elif not self._is_from_start:
            self._current.position = os.fstat(self._current.descriptor).st_size
            self._remember(self._current)
        self._is_from_start, self._resumed = True, None
        return True

    def place(self) -> LogPlace | None:
        """Behind the last whole line that was given out; None without a file."""
        if self._current is None or self._current.is_skipping:
            return None
        status = os.fstat(self._current.descriptor)
        position = self._current.position - len(self._current.rest)
        start = max(0, position - _MARK_SIZE)
        mark = os.pread(self._current.descriptor, position - start, start)
        return LogPlace(device=status.st_dev, inode=status.st_ino, position=position, mark=mark.hex())

    def _resume(self, current: _Open, place: LogPlace) -> None:
        """Go on where an earlier run ended."""
        if _is_at(current, place):
            current.position = place.position
            self._remember(current)
            return
        renamed = self._renamed(place)
        if renamed is not None:
            renamed.position = place.position
            renamed.until = self._clock.monotonic() + _OLD_PATIENCE_S
            self._remember(renamed)
            self._old.append(renamed)
            self.counters.rotations += 1
            return
        self.notes.append("the log is another one than was read before: what came between may be missing")

    def _renamed(self, place: LogPlace) -> _Open | None:
        """The file that was read before, under the name that logrotate gives it first."""
        try:
            opened = _opened(self.path.with_name(self.path.name + ".1"))
        except OSError:
            return None
        if _is_at(opened, place):
            return opened
        os.close(opened.descriptor)
        return None

    def close(self) -> None:
        """Let go of the files."""
        for each in (*self._old, *([self._current] if self._current is not None else [])):
            os.close(each.descriptor)
        self._old.clear()
        self._current = None

    def lines(self) -> Iterator[bytes]:
        """What has come since the last call, without line ends; at most 8 MiB of each file.

        Raises:
            OSError: the disk fails.
        """
        self._look_at_path()
        now = self._clock.monotonic()
        while self._old and self._old[0].until <= now:
            yield from self._end_of(self._old.popleft())
        for each in (*self._old, *([self._current] if self._current is not None else [])):
            self._look_at_size(each)
            yield from self._read(each)

    def _look_at_path(self) -> None:
        """Turn to the file that the path means by now."""
        try:
            status = self.path.lstat()
            if self._current is not None:
                ours = os.fstat(self._current.descriptor)
                if (ours.st_dev, ours.st_ino) == (status.st_dev, status.st_ino):
                    return
            opened = _opened(self.path)
        except FileNotFoundError:
            return  # it is away: what is open is read on until it comes back
        except OSError as error:
            reason = error.strerror or str(error)
            if reason != self._refused_for:
                self._refused_for = reason
                self.counters.refused += 1
                self.notes.append(f"the new file may not be read ({reason})")
            return
        self._refused_for = ""
        if self._current is not None:
            self.counters.rotations += 1
            self._current.until = self._clock.monotonic() + _OLD_PATIENCE_S
            self._old.append(self._current)
            if len(self._old) > _OLD_MAX:
                self._old[0].until = 0.0
        self._current = opened

    def _look_at_size(self, file: _Open) -> None:
        size = os.fstat(file.descriptor).st_size
        if size == file.position:
            return
        is_other = (
            size > file.position
            and os.pread(file.descriptor, len(file.mark), file.position - len(file.mark)) != file.mark
        )
        if size < file.position or is_other:
            self.counters.truncations += 1
            if file is self._current:
                self.cuts.append((file.position, file.mark))
            file.position, file.mark, file.is_skipping = 0, b"", False
            file.rest.clear()

    def _read(self, file: _Open) -> Iterator[bytes]:
        taken = 0
        while taken < _READ_MAX:
            data = os.pread(file.descriptor, _CHUNK, file.position)
            if not data:
                break
            taken += len(data)
            file.position += len(data)
            yield from self._split(file, data)
        if taken:
            self._remember(file)

    def _remember(self, file: _Open) -> None:
        start = max(0, file.position - _MARK_SIZE)
        file.mark = os.pread(file.descriptor, file.position - start, start)

    def _split(self, file: _Open, data: bytes) -> Iterator[bytes]:
        parts = data.split(b"\n")
        last = parts.pop()
        for part in parts:
            if file.is_skipping:
                file.is_skipping = False
                continue
            line = bytes(file.rest) + part if file.rest else part
            file.rest.clear()
            yield self._cut(line)
        if file.is_skipping:
            return
        file.rest += last
        if len(file.rest) > LINE_MAX:
            # The end of it will not change what it says; waiting for it would fill the memory.
            line = bytes(file.rest)
            file.rest.clear()
            file.is_skipping = True
            yield self._cut(line)

    def _cut(self, line: bytes) -> bytes:
        self.counters.lines += 1
        if len(line) <= LINE_MAX:
            return line
        self.counters.cut += 1
        return line[:LINE_MAX]

    def _end_of(self, file: _Open) -> Iterator[bytes]:
        """The last of a file that was renamed long ago, also a line without an end."""
        with contextlib.suppress(OSError):  # its disk may be gone; nothing more will come
            yield from self._read(file)
        if file.rest:
            yield self._cut(bytes(file.rest))
        os.close(file.descriptor)


def _opened(path: Path) -> _Open:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return _Open(descriptor, 0)


def _is_at(file: _Open, place: LogPlace) -> bool:
    """True when the file is the one that was read, and still holds what was read last."""
    status = os.fstat(file.descriptor)
    if (status.st_dev, status.st_ino) != (place.device, place.inode) or status.st_size < place.position:
        return False
    mark = bytes.fromhex(place.mark)
    return os.pread(file.descriptor, len(mark), place.position - len(mark)) == mark
