"""Changes of files where fanotify cannot be had: inotify, one watch a folder. It does not say who made them.

One idea: a new folder is watched first and looked at after, so nothing that appears in it is missed; what was there
already is told as created, once. Folders past the system's limit of watches are not seen, and that is told. A watch
follows its folder through renames.

A message, in the machine's byte order: watch s32, what u32, cookie u32, size u32, name padded with zero bytes. Rights:
none but to read the folders; after rights were dropped, new folders that this user may not read are told as left out.
Source: inotify(7).
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from govsec.clock import Clock, to_ns
from govsec.host.api import SourceUnavailableError
from govsec.host.events import EventsLost, FileOperation, Record, Stage, WatchNote
from govsec.host.filewatch import Walk, WatchOptions, change, roots_of, size_of
from govsec.host.mounts import read_mounts

NAME = "inotify"
_READ_SIZE = 64 << 10
_BATCH_MAX = 8192
_MODIFY, _ATTRIBUTES, _CLOSE_WRITE, _MOVED_FROM, _MOVED_TO = 0x2, 0x4, 0x8, 0x40, 0x80
_CREATE, _DELETE, _OVERFLOW, _IGNORED = 0x100, 0x200, 0x4000, 0x8000
_ON_FOLDER = 0x40000000
_ONLY_FOLDERS, _NO_LINKS, _NOT_UNLINKED = 0x01000000, 0x02000000, 0x04000000
_MASK = (
    _ATTRIBUTES | _CLOSE_WRITE | _MOVED_FROM | _MOVED_TO | _CREATE | _DELETE
    | _ONLY_FOLDERS | _NO_LINKS | _NOT_UNLINKED
)  # fmt: skip
_HEAD = struct.Struct("=iIII")
_REWALK_PAUSE_S = 30.0


class _Message(NamedTuple):
    watch: int
    what: int
    cookie: int
    name: bytes


class Kernel:
    """The calls. Tests bring one that lacks some."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)

    def init(self) -> int:
        """A descriptor for messages.

        Raises:
            OSError: the limit of instances is reached, or not in this kernel.
        """
        return self._checked(self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))

    def watch(self, descriptor: int, path: bytes, more: int = 0) -> int:
        """The number of a watch of the folder at ``path``; ``more`` are kinds of messages beyond the usual.

        Raises:
            OSError: gone, not to be read, or the limit of watches is reached (ENOSPC).
        """
        return self._checked(self._libc.inotify_add_watch(descriptor, path, ctypes.c_uint32(_MASK | more)))

    def unwatch(self, descriptor: int, watch: int) -> None:
        """Give the watch back; one that is gone already is no error."""
        self._libc.inotify_rm_watch(descriptor, watch)

    @staticmethod
    def _checked(result: int) -> int:
        if result < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        return result


class Inotify:
    """A source of changes below the roots."""

    name = NAME
    stage = Stage.FILES
    pause_s = 0.02

    def __init__(self, options: WatchOptions, clock: Clock, *, kernel: Kernel | None = None) -> None:
        self._options = options
        self._clock = clock
        self._kernel = kernel or Kernel()
        self._descriptor = -1
        self._walk = Walk(options, read_mounts(Path("/")))
        self._paths: dict[int, bytes] = {}
        self._watches: dict[bytes, int] = {}
        #: New folders that were not where they had been made when they were to be watched: renamed, or gone again.
        self._missed: set[bytes] = set()
        self._roots: list[bytes] = []
        self._notes: list[str] = []
        self._told: set[bytes] = set()
        #: Those of the read before: the kernel's message may come only now.
        self._told_before: set[bytes] = set()
        self._left_out = 0
        self._is_limit_told = False
        self._is_rewalk_due = False
        self._walked_at = 0.0
        self._time_ns = 0
        self._counts = dict.fromkeys(("messages", "changes", "overflows", "rewalks"), 0)

    def open(self) -> None:
        try:
            self._descriptor = self._kernel.init()
        except (OSError, AttributeError) as error:
            raise SourceUnavailableError(f"{NAME}: {error}") from error
        self._paths.clear()
        self._watches.clear()
        self._missed.clear()
        self._roots, self._notes = roots_of(self._options, self._walk)
        self._walk_all()
        if not self._watches:
            self.close()
            raise SourceUnavailableError(f"{NAME}: no folder to watch: {'; '.join(self._notes) or 'none is named'}")

    def descriptor(self) -> int | None:
        return self._descriptor if self._descriptor >= 0 else None

    def read(self) -> Sequence[Record]:
        self._time_ns = to_ns(self._clock.now())
        records: list[Record] = []
        found: list[_Message] = []
        while len(found) < _BATCH_MAX:
            try:
                found += _messages(os.read(self._descriptor, _READ_SIZE))
            except BlockingIOError:
                break
            except OSError as error:
                raise SourceUnavailableError(f"{NAME}: {error.strerror}") from error
        self._counts["messages"] += len(found)
        self._told_before, self._told = self._told, set()
        self._tell(found, records)
        if self._missed and not found:
            self._give_up_missed(records)
        if self._is_rewalk_due and self._clock.monotonic() - self._walked_at >= _REWALK_PAUSE_S:
            self._counts["rewalks"] += 1
            self._walk_all()
        records += [WatchNote(self._time_ns, Stage.FILES, NAME, True, text) for text in self._notes]
        self._notes.clear()
        return records

    def counters(self) -> Mapping[str, int]:
        skipped = sum(self._walk.skipped.values())
        return {**self._counts, "folders": len(self._watches), "folders_left_out": self._left_out + skipped}

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _walk_all(self) -> None:
        self._walked_at = self._clock.monotonic()
        self._is_rewalk_due = False
        self._walk.skipped.clear()
        for root in self._roots:
            if self._watch(root):
                self._walk_below(root, None)
        self._notes += [f"{count} folders: {reason}, not watched" for reason, count in self._walk.skipped.items()]

    def _walk_below(self, path: bytes, records: list[Record] | None) -> None:
        """Watch all folders below; with ``records``, what is there already is told as created."""
        stack = [path]
        while stack:
            path = stack.pop()
            for name, is_folder in self._walk.entries(path):
                below = path.rstrip(b"/") + b"/" + name
                if records is not None and below not in self._told:
                    self._told.add(below)
                    self._add(records, below, FileOperation.CREATED, is_folder)
                if is_folder and self._walk.may_enter(below) and self._watch(below):
                    stack.append(below)

    def _watch(self, path: bytes) -> bool:
        try:
            if len(self._watches) >= self._options.folders_max and path not in self._watches:
                raise OSError(errno.ENOSPC, "limit of the configuration")
            if self._options.has_writes:
                watch = self._kernel.watch(self._descriptor, path, _MODIFY)
            else:
                watch = self._kernel.watch(self._descriptor, path)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.ENOMEM):
                self._left_out += 1
                if not self._is_limit_told:
                    self._is_limit_told = True
                    self._notes.append(
                        f"{len(self._watches)} folders are the limit of watches: further ones are not seen"
                    )
            elif error.errno not in (errno.ENOENT, errno.ENOTDIR):
                self._walk.skip(f"cannot be watched ({error.strerror})")
            return False
        before = self._paths.get(watch)
        if before is not None and before != path and self._watches.get(before) == watch:
            del self._watches[before]
        self._paths[watch] = path
        self._watches[path] = watch
        return True

    def _tell(self, found: list[_Message], records: list[Record]) -> None:
        arrived = {message.cookie for message in found if message.what & _MOVED_TO and message.watch in self._paths}
        left: dict[int, bytes] = {}
        for message in found:
            if message.what & _OVERFLOW:
                self._overflowed(records)
                continue
            base = self._paths.get(message.watch)
            if base is None:
                continue
            if message.what & _IGNORED:
                del self._paths[message.watch]
                if self._watches.get(base) == message.watch:
                    del self._watches[base]
                continue
            if not message.name:
                if message.what & _ATTRIBUTES and base in self._roots:
                    self._add(records, base, FileOperation.ATTRIBUTES, True)
                continue  # others' own changes are told by the folder above
            self._changed(base.rstrip(b"/") + b"/" + message.name, message, records, arrived, left)

    def _changed(
        self, path: bytes, message: _Message, records: list[Record], arrived: set[int], left: dict[int, bytes]
    ) -> None:
        what, is_folder = message.what, bool(message.what & _ON_FOLDER)
        if what & _CREATE:
            if path in self._told or path in self._told_before:
                self._told.discard(path)
                self._told_before.discard(path)
            else:
                self._add(records, path, FileOperation.CREATED, is_folder)
            if is_folder:
                self._enter(path, records)
        elif what & _MOVED_FROM:
            if message.cookie in arrived:
                left[message.cookie] = path
                return
            # It went out of what is watched, or its arrival comes with the next batch and is told as one from outside.
            self._add(records, path, FileOperation.DELETED, is_folder)
            if is_folder:
                self._forget_below(path)
                self._missed -= {each for each in self._missed if each == path or each.startswith(path + b"/")}
        elif what & _MOVED_TO:
            old_path = left.pop(message.cookie, None)
            self._add(records, path, FileOperation.RENAMED, is_folder, old_path)
            if is_folder and old_path is not None:
                self._rename_below(old_path, path)
                self._enter(path, records)
                self._enter_missed(old_path, path, records)
            elif is_folder:
                self._enter(path, None)
        elif what & _DELETE:
            self._add(records, path, FileOperation.DELETED, is_folder)
            if is_folder:
                self._missed -= {each for each in self._missed if each == path or each.startswith(path + b"/")}
        elif what & (_CLOSE_WRITE | _MODIFY):
            self._add(records, path, FileOperation.MODIFIED, is_folder)
        elif what & _ATTRIBUTES:
            self._add(records, path, FileOperation.ATTRIBUTES, is_folder)

    def _enter(self, path: bytes, records: list[Record] | None) -> None:
        """Watch a folder and all below it, unless it is the very folder that is watched by this name already.

        A name alone says nothing: a folder may have been made, filled, renamed and another one made in its place before
        the first of these messages is read.
        """
        if not self._walk.may_enter(path):
            return
        known = self._watches.get(path)
        if not self._watch(path):
            if not os.path.lexists(path):
                self._missed.add(path)
        elif self._watches[path] != known:
            self._walk_below(path, records)

    def _enter_missed(self, old_path: bytes, path: bytes, records: list[Record]) -> None:
        """What was made in a folder just before that was renamed, too late to be watched, has a new name now."""
        for each in [each for each in self._missed if each == old_path or each.startswith(old_path + b"/")]:
            self._missed.discard(each)
            if each != old_path:
                self._enter(path + each[len(old_path) :], records)

    def _give_up_missed(self, records: list[Record]) -> None:
        """Nothing more comes that could say where they are: somebody has to look at everything."""
        unexplained = [path for path in self._missed if os.path.lexists(os.path.dirname(path))]  # noqa: PTH120 - bytes
        self._missed.clear()
        if unexplained:
            scope = tuple(os.fsdecode(root) for root in self._roots)
            reason = "a new folder was not there any more when it was to be watched"
            records.append(EventsLost(self._time_ns, Stage.FILES, reason, len(unexplained), scope))

    def _below(self, path: bytes) -> list[bytes]:
        start = path + b"/"
        return [each for each in self._watches if each == path or each.startswith(start)]

    def _rename_below(self, old_path: bytes, path: bytes) -> None:
        for each in self._below(old_path):
            watch = self._watches.pop(each)
            now = path + each[len(old_path) :]
            self._paths[watch] = now
            self._watches[now] = watch

    def _forget_below(self, path: bytes) -> None:
        for each in self._below(path):
            watch = self._watches.pop(each)
            self._paths.pop(watch, None)
            self._kernel.unwatch(self._descriptor, watch)

    def _overflowed(self, records: list[Record]) -> None:
        self._counts["overflows"] += 1
        self._is_rewalk_due = True
        scope = tuple(os.fsdecode(root) for root in self._roots)
        records.append(EventsLost(self._time_ns, Stage.FILES, "the kernel's queue of file changes overran", 0, scope))

    def _add(
        self,
        records: list[Record],
        path: bytes,
        operation: FileOperation,
        is_folder: bool,
        old_path: bytes | None = None,
    ) -> None:
        self._counts["changes"] += 1
        has_size = not is_folder and operation in (FileOperation.CREATED, FileOperation.MODIFIED)
        size = size_of(path) if has_size else None
        records.append(
            change(self._time_ns, path, operation, is_directory=is_folder, old_path=old_path, size_bytes=size)
        )


def _messages(data: bytes) -> Iterator[_Message]:
    position = 0
    while position + _HEAD.size <= len(data):
        watch, what, cookie, size = _HEAD.unpack_from(data, position)
        position += _HEAD.size
        yield _Message(watch, what, cookie, data[position : position + size].rstrip(b"\0"))
        position += size
