"""Logs at one moment: how large, which file, whether what stood there still stands there, and where else it does.

One idea: what a log held is followed, wherever rotation takes it. Of each log digests are kept of its contents
(:mod:`govsec.guard.logcontents`). When they do not stand in it any more, they must in a file beside it: one that was
renamed, copied, or packed (it is unpacked for that). This file, and every other that has the name of a rotated one, is
followed in its turn until it is gone (:mod:`govsec.guard.logrotated`); whether it went as rotation lets the oldest go
is judged by who reads the records.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from govsec.guard.api import LogFile, RotatedLog
from govsec.guard.logbeside import CHECKED_SIZE, Beside, Folders, Key, holder_of, is_rotated, opened
from govsec.guard.logcontents import Budget, Content
from govsec.guard.logrotated import Rotations

#: Of all logs together; about 600 bytes each.
_ROTATED_MAX = 20_000
#: Digests of blocks of all logs, about 100 bytes each; beyond it only the first and last blocks of a log are kept.
_BLOCKS_MAX = 100_000
#: Read in one look: of all logs for the first time, and out of packs (of one log's wrong packs far less).
_LEARNED_SIZE, _UNPACKED_SIZE = 32 << 20, 1 << 30
_LINES_SIZE = 4096
_LINES_KEPT = 3
_LINE_MAX = 300


@dataclass(slots=True)
class _Log:
    key: Key | None = None
    content: Content | None = None
    rotations: Rotations = field(default_factory=Rotations)


@dataclass(slots=True)
class _Look:
    """What one look may still read and keep."""

    rotated_room: int
    is_shallow: bool
    learned: Budget = field(default_factory=lambda: Budget(_LEARNED_SIZE))
    unpacked: Budget = field(default_factory=lambda: Budget(_UNPACKED_SIZE))
    folders: Folders = field(default_factory=Folders)


class LogView:
    """Looks at the logs that ``patterns`` name.

    ``loose``: names of files that are written at any place (lastlog); of those the size alone counts.
    ``old_folders``: where else rotated files lie (``olddir`` of logrotate). ``logs_max``: more are counted.
    """

    def __init__(
        self,
        patterns: Sequence[str],
        *,
        loose: Sequence[str] = (),
        old_folders: Sequence[str] = (),
        logs_max: int = 512,
    ) -> None:
        self._patterns = tuple(patterns)
        self._loose = frozenset(loose)
        self._old_folders = tuple(old_folders)
        self._logs_max = logs_max
        self._logs: dict[str, _Log] = {}
        self._counts = {"dropped": 0, "rotated_dropped": 0, "shallow": 0, "unreadable": 0}

    def expect(self, path: str, position: int, mark: bytes) -> None:
        """A follower had read the log so far, and ``mark``, which it read last, is not there any more."""
        log = self._logs.get(path)
        if log is not None and log.content is not None:
            log.content.expect(position, mark)

    def counters(self) -> Mapping[str, int]:
        """What is followed, and what the last look had to leave out: logs (``dropped``), rotated files, the middle of
        logs (``shallow``), logs that could not be read."""
        rotated_count = sum(len(log.rotations) for log in self._logs.values())
        return {"logs": len(self._logs), "rotated": rotated_count, **self._counts}

    def look(self, time_ns: int) -> list[LogFile]:
        """All of them, also those that were there at the last look and are gone."""
        found = {path for pattern in self._patterns for path in glob.glob(pattern)}  # noqa: PTH207  # absolute patterns
        # Those that are followed come first: who makes hundreds of new ones pushes none of them out.
        new = sorted(
            path for path in found if path not in self._logs and not is_rotated(path, found | self._logs.keys())
        )
        wanted = [*self._logs, *new]
        self._counts = {
            "dropped": max(0, len(wanted) - self._logs_max),
            "rotated_dropped": 0,
            "shallow": 0,
            "unreadable": 0,
        }
        look = _Look(
            rotated_room=_ROTATED_MAX - sum(len(log.rotations) for log in self._logs.values()),
            is_shallow=sum(log.content.blocks_count for log in self._logs.values() if log.content) > _BLOCKS_MAX,
        )
        files = []
        for path in wanted[: self._logs_max]:
            log = self._logs.setdefault(path, _Log())
            try:
                files.append(self._one(path, log, time_ns, look))
            except OSError:
                self._counts["unreadable"] += 1
            if log.content is None and not len(log.rotations):
                del self._logs[path]
        return files

    def _one(self, path: str, log: _Log, time_ns: int, look: _Look) -> LogFile:
        known = log.content
        with opened(path) as file:
            is_kept = known is None or (file is not None and _is_kept(log, known, *file))
            held = None
            if known is not None and not is_kept:
                around = log.rotations.asked(look.folders.beside(path, self._old_folders, is_any=True))
                if self._is_loose(path):  # nothing is known of its contents
                    around = [one for one in around if one.key == log.key]
                held = holder_of(known, log.key, around, look.unpacked)
            followed_bytes = known.end if known is not None and not is_kept and known.end > known.size else 0
            was_empty = known is not None and not known.end
            went, came_count = self._rotated(path, log, held, time_ns, look)
            log.key, log.content, lines = self._learned(path, known if is_kept else None, file, look)
        return LogFile(
            time_ns=time_ns,
            path=path,
            inode=file[1].st_ino if file is not None else None,
            size_bytes=file[1].st_size if file is not None else 0,
            is_kept=is_kept,
            followed_bytes=followed_bytes,
            held_by=held.path if held is not None else None,
            rotations_count=max(1, came_count) if held is not None else came_count if was_empty else 0,
            went=went,
            last_lines=lines,
        )

    def _rotated(
        self, path: str, log: _Log, held: Beside | None, time_ns: int, look: _Look
    ) -> tuple[tuple[RotatedLog, ...], int]:
        found = [*look.folders.beside(path, self._old_folders), *log.rotations.others()]
        if held is not None and all(one.key != held.key for one in found):
            found.append(held)
        moved = (held, log.content) if held is not None and log.content is not None else None
        step = log.rotations.step(time_ns, found, look.unpacked, moved=moved, room=look.rotated_room)
        self._counts["rotated_dropped"] += log.rotations.dropped_count
        return step

    def _is_loose(self, path: str) -> bool:
        return Path(path).name in self._loose

    def _learned(
        self, path: str, known: Content | None, file: tuple[int, os.stat_result] | None, look: _Look
    ) -> tuple[Key | None, Content | None, tuple[str, ...]]:
        """The log's file, what it holds, and its last lines."""
        if file is None:
            return None, None, ()
        descriptor, status = file
        if known is None and look.is_shallow:
            self._counts["shallow"] += 1
        content = known if known is not None else Content(is_sparse=look.is_shallow)
        content.forget_mark()
        if self._is_loose(path):
            content.size = status.st_size
        else:
            content.learn(descriptor, status.st_size, look.learned)
        return (status.st_dev, status.st_ino), content, _last_lines(descriptor, status.st_size)


def _is_kept(log: _Log, known: Content, descriptor: int, status: os.stat_result) -> bool:
    is_same = (status.st_dev, status.st_ino) == log.key
    return is_same and known.check(descriptor, status, Budget(CHECKED_SIZE))


def _last_lines(descriptor: int, size: int) -> tuple[str, ...]:
    """The last lines of a text; none of what is no text."""
    tail = os.pread(descriptor, min(_LINES_SIZE, size), max(0, size - _LINES_SIZE))
    if b"\x00" in tail:
        return ()
    lines = [line for line in tail.decode("utf-8", "surrogateescape").split("\n") if line]
    return tuple(line[:_LINE_MAX] for line in lines[-_LINES_KEPT:])
