"""Changes of files as the kernel tells them, with who made them: fanotify.

One idea: one mark on a whole file system tells of every change in it, by the handle of the folder, the name in it and
the process; what lies below no watched root is left out after one look-up. So watching costs the same for ten folders
and for a hundred thousand, and there is no moment in which a new folder is not yet watched. Messages gather for 20 ms
before they are read: reading one by one slows down whoever writes more than it costs us.

Where a file system cannot be marked whole (a subvolume of btrfs), or ``is_whole`` is false, each folder is marked by
itself, new ones as they appear, and what was in them before is told as created. Marks on mounts are not used: the
kernel tells no names through them.

An overflow of the kernel's queue (16,384 messages by default) is told as :class:`EventsLost`, its ``scope`` is what to
look at anew, and the map of folders is walked again. Changes through shared memory are told when the file is closed;
``truncate(2)`` of a file that nobody opens is not told.

Rights: ``CAP_SYS_ADMIN`` to open, and to read the folders that are walked; none after that, but sizes are told only of
files whose folders this process may enter. Kernel 5.9 or newer; the process by descriptor from 5.15, names on both ends
of a rename from 5.17, before that two messages are put together. Source: fanotify(7).
"""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path

from govsec.clock import Clock, to_ns
from govsec.host import fanotifykernel as wire
from govsec.host.api import SourceUnavailableError
from govsec.host.events import EventsLost, FileOperation, Record, Stage, WatchNote
from govsec.host.filewatch import Walk, WatchOptions, change, roots_of, size_of
from govsec.host.foldermap import FolderMap
from govsec.host.mounts import read_mounts
from govsec.host.processtree import Node, ProcessTree

NAME = "fanotify"
#: About 400 messages with the descriptors of their processes, far below the limit of open files.
_READ_SIZE = 48 << 10
#: Handled by one read, so that other sources get their turn.
_BATCH_MAX = 8192
_REWALK_PAUSE_S = 30.0
_EVENTS = wire.CLOSE_WRITE | wire.ATTRIBUTES | wire.CREATE | wire.DELETE | wire.ON_FOLDER
_MOVES = wire.MOVED_FROM | wire.MOVED_TO
#: Best first; an older kernel says EINVAL to what it does not know.
_FEATURES = (wire.REPORT_PIDFD | wire.REPORT_TARGET, wire.REPORT_PIDFD, 0)
#: A mark of a whole file system is refused, one of a folder may be taken.
_NOT_WHOLE = (errno.EXDEV, errno.EOPNOTSUPP, errno.ENODEV)


class Fanotify:
    """A source of changes below the roots. ``tree`` says who a number is."""

    name = NAME
    stage = Stage.FILES
    pause_s = 0.02

    def __init__(
        self,
        options: WatchOptions,
        tree: ProcessTree,
        clock: Clock,
        *,
        is_whole: bool = True,
        kernel: wire.Kernel | None = None,
    ) -> None:
        self._options = options
        self._tree = tree
        self._clock = clock
        self._is_whole = is_whole
        self._kernel = kernel or wire.Kernel()
        self._descriptor = -1
        self._features = 0
        self._mask = 0
        self._map = FolderMap(options.folders_max)
        self._walk = Walk(options, read_mounts(Path("/")))
        self._systems: dict[bytes, bytes] = {}
        self._notes: list[str] = []
        self._roots: list[bytes] = []
        #: Paths told as created when their new folder was looked at; the kernel may tell of them again.
        self._told: set[bytes] = set()
        #: Those of the read before: the kernel's message may come only now.
        self._told_before: set[bytes] = set()
        self._nodes: dict[int, Node | None] = {}
        self._time_ns = 0
        self._is_rewalk_due = False
        self._walked_at = 0.0
        self._counts = dict.fromkeys(("messages", "changes", "outside", "overflows", "rewalks", "unnamed"), 0)

    def open(self) -> None:
        for self._features in _FEATURES:
            try:
                self._descriptor = self._kernel.init(self._features)
                break
            except OSError as error:
                if error.errno != errno.EINVAL or not self._features:
                    raise SourceUnavailableError(f"{NAME}: {_reason(error)}") from error
        self._mask = _EVENTS | (wire.RENAME if self._has_target else _MOVES)
        try:
            self._walk_all()
            if not self._roots:
                raise SourceUnavailableError(f"{NAME}: no folder to watch: {'; '.join(self._notes) or 'none is named'}")
        except BaseException:
            self.close()
            raise

    def descriptor(self) -> int | None:
        return self._descriptor if self._descriptor >= 0 else None

    def read(self) -> Sequence[Record]:
        self._time_ns = to_ns(self._clock.now())
        self._nodes.clear()
        records: list[Record] = []
        found: list[wire.Message] = []
        while len(found) < _BATCH_MAX:
            try:
                data = os.read(self._descriptor, _READ_SIZE)
            except BlockingIOError:
                break
            except OSError as error:
                raise SourceUnavailableError(f"{NAME}: {_reason(error)}") from error
            chunk = list(wire.messages(data))
            self._name_processes(chunk)
            found += chunk
        if found:
            self._counts["messages"] += len(found)
            self._tell(found, records)
        self._rewalk_when_due()
        self._tell_notes(records)
        return records

    def counters(self) -> Mapping[str, int]:
        skipped = sum(self._walk.skipped.values())
        return {**self._counts, "folders": len(self._map), "folders_left_out": self._map.refused_count + skipped}

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    @property
    def _has_target(self) -> bool:
        return bool(self._features & wire.REPORT_TARGET)

    # Folders.

    def _walk_all(self) -> None:
        """Fill the map anew. Marks come first, so that what appears meanwhile is told by the kernel."""
        self._map.clear()
        self._systems.clear()
        self._walk.skipped.clear()
        self._walked_at = self._clock.monotonic()
        self._is_rewalk_due = False
        self._roots, told = roots_of(self._options, self._walk)
        self._notes += told
        for root in self._roots:
            handle = self._enter(root, None)
            if handle is not None:
                self._map.add_root(handle, root)
                self._walk_below(root, handle, None)
        if self._map.refused_count:
            self._notes.append(f"more than {self._options.folders_max} folders: {self._map.refused_count} are not seen")
        self._notes += [f"{count} folders: {reason}, not watched" for reason, count in self._walk.skipped.items()]

    def _walk_below(self, path: bytes, handle: wire.Handle, records: list[Record] | None) -> None:
        """All folders below; with ``records``, what is there already is told as created."""
        stack = [(path, handle)]
        while stack:
            path, handle = stack.pop()
            for name, is_folder in self._walk.entries(path):
                below = path.rstrip(b"/") + b"/" + name
                if records is not None and below not in self._told:
                    self._told.add(below)
                    self._add(records, below, FileOperation.CREATED, None, is_folder)
                if is_folder and self._walk.may_enter(below):
                    below_handle = self._enter(below, handle)
                    if below_handle is not None and self._map.put(below_handle, handle, name):
                        stack.append((below, below_handle))

    def _enter(self, path: bytes, parent: wire.Handle | None) -> wire.Handle | None:
        """Mark the folder, or its file system where that is new; the folder's handle, ``None`` when it is gone."""
        try:
            if parent is None or self._walk.is_mount(path):
                system = wire.file_system_of(path)
                if system not in self._systems:
                    self._systems[system] = path
                    self._mark_system(path)
            else:
                system = parent[:8]
            if not self._is_whole:
                self._kernel.mark(self._descriptor, path, self._mask, is_whole=False)
            return self._kernel.handle(path, system)
        except FileNotFoundError:
            return None
        except OSError as error:
            if parent is None or error.errno == errno.EPERM:
                raise SourceUnavailableError(f"{NAME}: {os.fsdecode(path)}: {_reason(error)}") from error
            self._walk.skip(f"cannot be marked ({error.strerror})")
            return None

    def _mark_system(self, path: bytes) -> None:
        if not self._is_whole:
            return
        try:
            self._kernel.mark(self._descriptor, path, self._mask, is_whole=True)
        except OSError as error:
            if error.errno not in _NOT_WHOLE:
                raise
            self._is_whole = False
            self._notes.append(f"the file system of {os.fsdecode(path)} cannot be marked whole: its folders one by one")

    def _rewalk_when_due(self) -> None:
        if self._is_rewalk_due and self._clock.monotonic() - self._walked_at >= _REWALK_PAUSE_S:
            self._counts["rewalks"] += 1
            self._walk_all()

    def _tell_notes(self, records: list[Record]) -> None:
        records += [WatchNote(self._time_ns, Stage.FILES, NAME, True, text) for text in self._notes]
        self._notes.clear()

    # Messages.

    def _name_processes(self, chunk: list[wire.Message]) -> None:
        """Who each number is, looked up once a batch; descriptors of processes are closed."""
        for message in chunk:
            if message.pid > 0 and message.pid not in self._nodes:
                self._nodes[message.pid] = self._node(message.pid, message.pidfd)
            if message.pidfd >= 0:
                os.close(message.pidfd)

    def _node(self, pid: int, pidfd: int) -> Node | None:
        if self._tree.is_fed:
            return self._tree.find(pid)
        if pidfd == wire.NO_PIDFD and self._features & wire.REPORT_PIDFD:
            return self._tree.known(pid)  # gone: whoever has the number now is another
        node = self._tree.find(pid)
        if pidfd >= 0:
            try:
                signal.pidfd_send_signal(pidfd, 0)
            except ProcessLookupError:
                return None  # it went while we looked, and may have been another already
            except PermissionError:
                pass  # it is there
        return node

    def _tell(self, found: list[wire.Message], records: list[Record]) -> None:
        self._told_before, self._told = self._told, set()
        gone: list[wire.Handle] = []
        renamed: list[wire.Message] = []
        if not self._has_target:
            found = _paired(found)
        for message in found:
            what = message.what
            if what & wire.OVERFLOW:
                self._overflowed(records)
                continue
            if what & (wire.RENAME | _MOVES):
                self._moved(message, records)
                if what & wire.ON_FOLDER:
                    renamed.append(message)
                if not what & ~(wire.RENAME | _MOVES | wire.ON_FOLDER):
                    continue
            self._changed(message, records, gone)
        # What was made and removed within a batch is one message at its beginning: others still name the folder.
        for handle in gone:
            self._map.drop(handle)
        self._check_renamed(renamed)

    def _changed(self, message: wire.Message, records: list[Record], gone: list[wire.Handle]) -> None:
        base = self._map.path(message.folder)
        if base is None:
            self._counts["outside"] += 1
            return
        path = base if message.name in (b"", b".") else base.rstrip(b"/") + b"/" + message.name
        what = message.what
        is_folder = bool(what & wire.ON_FOLDER)
        if what & wire.CREATE:
            if path in self._told or path in self._told_before:
                self._told.discard(path)
                self._told_before.discard(path)
            else:
                self._add(records, path, FileOperation.CREATED, message, is_folder)
            if is_folder:
                self._learn(path, message, records)
        if what & wire.ATTRIBUTES:
            self._add(records, path, FileOperation.ATTRIBUTES, message, is_folder)
        if what & wire.CLOSE_WRITE:
            self._add(records, path, FileOperation.MODIFIED, message, is_folder)
        if what & wire.DELETE:
            self._add(records, path, FileOperation.DELETED, message, is_folder)
            if is_folder and message.target is not None:
                gone.append(message.target)

    def _learn(self, path: bytes, message: wire.Message, records: list[Record]) -> None:
        """A new folder."""
        if message.folder is None or self._walk.is_excluded(path):
            return
        handle = message.target if self._is_whole else None
        if handle is None:
            handle = self._enter(path, message.folder)
            if handle is None:
                return
        if not self._map.put(handle, message.folder, message.name):
            if self._map.refused_count == 1:
                self._notes.append(f"more than {self._options.folders_max} folders: new ones are not seen")
        elif not self._is_whole or message.target is None:
            self._walk_below(path, handle, records)

    def _moved(self, message: wire.Message, records: list[Record]) -> None:
        old_base, base = self._map.path(message.old_folder), self._map.path(message.folder)
        is_folder = bool(message.what & wire.ON_FOLDER)
        old_path = old_base.rstrip(b"/") + b"/" + message.old_name if old_base is not None else None
        if base is None:
            if old_path is None:
                self._counts["outside"] += 1
                return
            self._add(records, old_path, FileOperation.DELETED, message, is_folder)
            if is_folder and message.target is not None:
                self._map.drop(message.target)
                self._map.stale()
            return
        path = base.rstrip(b"/") + b"/" + message.name
        self._add(records, path, FileOperation.RENAMED, message, is_folder, old_path)
        if is_folder and message.folder is not None:
            handle = message.target
            if handle is None or (not self._is_whole and handle not in self._map):
                handle = self._enter(path, message.folder)
            is_known = handle is not None and handle in self._map
            if handle is not None and self._map.put(handle, message.folder, message.name) and not is_known:
                self._walk_below(path, handle, None)

    def _check_renamed(self, renamed: list[wire.Message]) -> None:
        """Equal renames of one folder are merged by the kernel, whatever lay between: look where it is."""
        for message in renamed:
            path = self._map.path(message.target)
            if path is None or message.target is None:
                continue
            try:
                is_right = self._kernel.handle(path, message.target[:8]) == message.target
            except OSError:
                is_right = False
            self._is_rewalk_due |= not is_right

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
        message: wire.Message | None,
        is_folder: bool,
        old_path: bytes | None = None,
    ) -> None:
        node = self._nodes.get(message.pid) if message is not None else None
        has_size = not is_folder and operation in (FileOperation.CREATED, FileOperation.MODIFIED)
        self._counts["changes"] += 1
        self._counts["unnamed"] += node is None
        records.append(
            change(
                self._time_ns,
                path,
                operation,
                is_directory=is_folder,
                old_path=old_path,
                pid=message.pid if message is not None and message.pid > 0 else None,
                node=node,
                size_bytes=size_of(path) if has_size else None,
            )
        )


def _paired(found: list[wire.Message]) -> list[wire.Message]:
    """Before 5.17 a rename is two messages without a common number; the kernel tells them one after the other."""
    paired: list[wire.Message] = []
    waiting: dict[tuple[int, int], int] = {}
    for message in found:
        key = (message.pid, message.what & wire.ON_FOLDER)
        if message.what & wire.MOVED_FROM:
            if rest := message.what & ~(_MOVES | wire.ON_FOLDER):
                paired.append(message._replace(what=rest | message.what & wire.ON_FOLDER))
            waiting[key] = len(paired)
            what = message.what & (_MOVES | wire.ON_FOLDER)
            old = message._replace(what=what, folder=None, old_folder=message.folder, old_name=message.name)
            paired.append(old)
        elif message.what & wire.MOVED_TO and key in waiting:
            position = waiting.pop(key)
            from_ = paired[position]
            paired[position] = message._replace(old_folder=from_.old_folder, old_name=from_.old_name)
        else:
            paired.append(message)
    return paired


def _reason(error: OSError) -> str:
    if error.errno in (errno.EPERM, errno.EACCES):
        return "not permitted (CAP_SYS_ADMIN)"
    if error.errno in (errno.EINVAL, errno.ENOSYS):
        return "not in this kernel (5.9 or newer has it)"
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return "the system's limit of fanotify groups or open files is reached"
    return error.strerror or str(error)
