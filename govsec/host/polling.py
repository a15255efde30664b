"""Changes of files where the kernel tells none: look at every file, again and again, and compare.

One idea: inode, size, times, mode and owner of each file are kept, and what differs at the next look is a change. It
does not say who made it, does not see what came and went between two looks, and costs a look at every file; so looks
are spread: each ``read`` goes on for a bounded number of entries, and a round is told when it is whole. A file that was
renamed is known again by its inode, size and time.

Rights: to read the folders. Sees at most ``files_max`` files, and tells when there are more.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from govsec.clock import Clock, to_ns
from govsec.host.api import SourceUnavailableError
from govsec.host.events import FileOperation, Record, Stage, WatchNote
from govsec.host.filewatch import Walk, WatchOptions, change, roots_of
from govsec.host.mounts import read_mounts

NAME = "polling"
#: About 500 bytes each.
FILES_MAX = 100_000
#: Entries looked at by one read: about 10 ms.
_STEP_MAX = 2000


class _Seen(NamedTuple):
    device: int
    inode: int
    mode: int
    uid: int
    gid: int
    size: int
    modified_ns: int
    changed_ns: int

    @property
    def identity(self) -> tuple[int, int, int, int, int]:
        """What a rename leaves as it is. The number alone is given out again at once."""
        return self.device, self.inode, stat.S_IFMT(self.mode), self.size, self.modified_ns


class Polling:
    """A source of changes below the roots, by looking every ``round_s`` seconds."""

    name = NAME
    stage = Stage.FILES
    pause_s = 0.25

    def __init__(
        self, options: WatchOptions, clock: Clock, *, round_s: float = 30.0, files_max: int = FILES_MAX
    ) -> None:
        self._options = options
        self._clock = clock
        self._round_s = round_s
        self._files_max = files_max
        self._walk = Walk(options, read_mounts(Path("/")))
        self._roots: list[bytes] = []
        self._notes: list[str] = []
        self._before: dict[bytes, _Seen] = {}
        self._now: dict[bytes, _Seen] = {}
        self._round: Iterator[None] | None = None
        self._next_at = 0.0
        self._is_limit_told = False
        self._counts = dict.fromkeys(("rounds", "changes", "files_left_out"), 0)

    def open(self) -> None:
        self._roots, self._notes = roots_of(self._options, self._walk)
        if not self._roots:
            raise SourceUnavailableError(f"{NAME}: no folder to watch: {'; '.join(self._notes) or 'none is named'}")
        for _ in self._look():
            pass
        self._before, self._now = self._now, {}
        self._next_at = self._clock.monotonic() + self._round_s

    def descriptor(self) -> int | None:
        return None

    def read(self) -> Sequence[Record]:
        time_ns = to_ns(self._clock.now())
        records: list[Record] = []
        if self._round is None and self._clock.monotonic() >= self._next_at:
            self._round = self._look()
        if self._round is not None and next(self._round, self) is self:
            self._round = None
            self._next_at = self._clock.monotonic() + self._round_s
            self._counts["rounds"] += 1
            records += self._compare(time_ns)
            self._before, self._now = self._now, {}
        records += [WatchNote(time_ns, Stage.FILES, NAME, True, text) for text in self._notes]
        self._notes.clear()
        return records

    def counters(self) -> Mapping[str, int]:
        return {**self._counts, "files": len(self._before), "folders_left_out": sum(self._walk.skipped.values())}

    def close(self) -> None:
        self._before, self._now, self._round = {}, {}, None

    def _look(self) -> Iterator[None]:
        """Go through all files; stops now and then for others to have their turn."""
        self._now.clear()
        self._walk.skipped.clear()
        self._walk.unread.clear()
        steps = 0
        stack = list(self._roots)
        for root in self._roots:
            self._see(root)
        while stack:
            path = stack.pop()
            for name, is_folder in self._walk.entries(path):
                below = path.rstrip(b"/") + b"/" + name
                if is_folder and not self._walk.may_enter(below):
                    continue
                self._see(below)
                if is_folder:
                    stack.append(below)
                steps += 1
                if steps % _STEP_MAX == 0:
                    yield

    def _see(self, path: bytes) -> None:
        if len(self._now) >= self._files_max:
            self._counts["files_left_out"] += 1
            if not self._is_limit_told:
                self._is_limit_told = True
                self._notes.append(f"more than {self._files_max} files: further ones are not seen")
            return
        try:
            status = os.lstat(path)
        except OSError:
            return  # gone between the two calls
        seen = _Seen(
            status.st_dev, status.st_ino, status.st_mode, status.st_uid, status.st_gid, status.st_size,
            status.st_mtime_ns, status.st_ctime_ns,
        )  # fmt: skip
        before = self._before.get(path)
        self._now[path] = before if before == seen and before is not None else seen  # kept once, not twice

    def _compare(self, time_ns: int) -> Iterator[Record]:
        gone = {seen.identity: path for path, seen in self._before.items() if path not in self._now}
        if self._walk.unread:
            # A folder that cannot be read any more has not lost its files: they are kept as they were.
            hidden = [(key, path) for key, path in gone.items() if not self._walk.unread.isdisjoint(_above(path))]
            for key, path in hidden:
                self._now[path] = self._before[path]
                del gone[key]
        for path, seen in self._now.items():
            before = self._before.get(path)
            if before == seen:
                continue
            is_folder = stat.S_ISDIR(seen.mode)
            old_path = gone.pop(seen.identity, None) if before is None else None
            operation = _operation(before, seen, old_path is not None)
            if operation is None:
                continue
            self._counts["changes"] += 1
            size = seen.size if stat.S_ISREG(seen.mode) else None
            yield change(time_ns, path, operation, is_directory=is_folder, old_path=old_path, size_bytes=size)
        for path in gone.values():
            self._counts["changes"] += 1
            is_folder = stat.S_ISDIR(self._before[path].mode)
            yield change(time_ns, path, FileOperation.DELETED, is_directory=is_folder)


def _above(path: bytes) -> Iterator[bytes]:
    while (path := os.path.dirname(path)) not in (b"", b"/"):  # noqa: PTH120  # of bytes, which a Path is not
        yield path


def _operation(before: _Seen | None, now: _Seen, is_renamed: bool) -> FileOperation | None:
    if before is None:
        return FileOperation.RENAMED if is_renamed else FileOperation.CREATED
    is_folder = stat.S_ISDIR(now.mode)
    is_other = (before.device, before.inode) != (now.device, now.inode)
    if is_other or (not is_folder and (before.size, before.modified_ns) != (now.size, now.modified_ns)):
        return FileOperation.MODIFIED
    if (before.mode, before.uid, before.gid) != (now.mode, now.uid, now.gid):
        return FileOperation.ATTRIBUTES
    # Of a folder, sizes and times follow from what is in it, which is told by itself.
    return None if is_folder else FileOperation.ATTRIBUTES
