"""What the kernel tells of a source's files, for a watcher: the host room's inotify behind the backup room's interface.

Beyond the events themselves two things are looked at: whether each path is still the folder that was opened, and
whether each file system that was mounted at or below it still is. Both can change without any event.
"""

from __future__ import annotations

import os
import select
from collections.abc import Mapping, Sequence
from pathlib import Path

from govsec.backup.api import Change, Changes
from govsec.clock import Clock
from govsec.errors import SourceError
from govsec.host.api import SourceUnavailableError
from govsec.host.events import EventsLost, FileChange
from govsec.host.filewatch import WatchOptions
from govsec.host.inotify import Inotify
from govsec.host.mounts import read_mounts

#: About 300 bytes each; the kernel's own limit is smaller as a rule.
_FOLDERS_MAX = 2_000_000


class KernelChanges:
    """A :class:`govsec.backup.api.ChangeSource`. ``mounts`` are those that were there when an earlier run ended."""

    def __init__(self, roots: Sequence[bytes], clock: Clock, *, mounts: frozenset[str] = frozenset()) -> None:
        self._roots = tuple(Path(os.fsdecode(root)) for root in roots)
        self._clock = clock
        #: File systems at or below the roots that must be there.
        self.mounts = mounts
        self._source: Inotify | None = None
        self._identities: dict[Path, tuple[int, int]] = {}

    @property
    def name(self) -> str:
        return "inotify" if self._source is None else self._source.name

    def open(self) -> None:
        self.close()
        table = read_mounts(Path("/"))
        present = frozenset(path for path in table.by_path if self._is_ours(path))
        missing = sorted(self.mounts - present)
        if missing:
            raise SourceError(f"{missing[0]}: a file system was mounted here and is not any more")
        for root in self._roots:
            if table.may_hang(os.fspath(root)):
                raise SourceError(
                    f"{root}: on a network or user-space file system, whose changes the kernel does not tell"
                )
            try:
                status = root.lstat()
            except OSError as error:
                raise SourceError(f"{root}: {error.strerror}") from error
            if not root.is_dir() or root.resolve() != root:
                raise SourceError(f"{root}: not a folder by a path without links; only such can be watched")
            self._identities[root] = (status.st_dev, status.st_ino)
        options = WatchOptions(self._roots, folders_max=_FOLDERS_MAX, has_writes=True)
        source = Inotify(options, self._clock)
        try:
            source.open()
        except SourceUnavailableError as error:
            raise SourceError(str(error)) from error
        self._source, self.mounts = source, present

    def wait(self, seconds: float) -> bool:
        descriptor = None if self._source is None else self._source.descriptor()
        if descriptor is None:
            self._clock.sleep(seconds)
            return False
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        return bool(poll.poll(max(0.0, seconds) * 1000))

    def read(self) -> Changes:
        if self._source is None:
            raise SourceError("the source is not watched")
        try:
            records = self._source.read()
        except SourceUnavailableError as error:
            raise SourceError(str(error)) from error
        lost = next((record.reason for record in records if isinstance(record, EventsLost)), "")
        if lost:
            # Folders may have been made that nobody watches yet. All are watched before the comparison begins that a
            # loss leads to; what else was told is found by it as well.
            self.open()
            return Changes((), lost)
        return Changes([_change(record) for record in records if isinstance(record, FileChange)])

    def trouble(self) -> str:
        for root, identity in self._identities.items():
            try:
                status = root.lstat()
            except OSError as error:
                return f"{root}: {error.strerror}"
            if (status.st_dev, status.st_ino) != identity:
                return f"{root}: another folder than the one that was watched"
        present = frozenset(path for path in read_mounts(Path("/")).by_path if self._is_ours(path))
        if present != self.mounts:
            changed = sorted(present ^ self.mounts)[0]
            return f"{changed}: a file system was {'mounted' if changed in present else 'unmounted'} here"
        return ""

    def unwatched(self) -> str:
        left_out = 0 if self._source is None else self._source.counters()["folders_left_out"]
        if not left_out:
            return ""
        return (
            f"{left_out} folders are not watched (fs.inotify.max_user_watches, or not to be read): "
            "their changes are found when everything is compared"
        )

    def counters(self) -> Mapping[str, int]:
        return {} if self._source is None else self._source.counters()

    def close(self) -> None:
        if self._source is not None:
            self._source.close()
            self._source = None

    def _is_ours(self, path: str) -> bool:
        return any(Path(path).is_relative_to(root) for root in self._roots)


def _change(record: FileChange) -> Change:
    old = None if record.old_path is None else os.fsencode(record.old_path)
    return Change(os.fsencode(record.path), record.is_directory, old)
