"""What the three ways of watching files have in common: which folders, and how a change becomes a record."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from govsec.host.events import FileChange, FileOperation
from govsec.host.mounts import MountTable
from govsec.host.processtree import Node

#: Kinds of file systems that hold no files of anybody.
_NO_FILES = frozenset(
    {"proc", "sysfs", "cgroup", "cgroup2", "devpts", "devtmpfs", "debugfs", "tracefs", "securityfs", "bpf", "pstore"}
    | {"configfs", "mqueue", "hugetlbfs", "binfmt_misc", "fusectl", "selinuxfs", "efivarfs", "nsfs", "rpc_pipefs"}
)


@dataclass(frozen=True)
class WatchOptions:
    """Which files are watched: all below ``roots`` but what lies below ``excluded``; absolute paths without links."""

    roots: tuple[Path, ...]
    excluded: tuple[Path, ...] = ()
    #: About 300 bytes each where handles are kept; inotify needs one of its watches for each.
    folders_max: int = 100_000
    #: Tell of writes when they are made, not only when the file is closed (inotify alone does).
    has_writes: bool = False


@dataclass
class Walk:
    """Folders below ``start`` in an order in which parents come first; counts what it leaves out and why."""

    options: WatchOptions
    mounts: MountTable
    #: Reason -> how many folders were left out for it.
    skipped: dict[str, int] = field(default_factory=dict)
    #: Folders that could not be read since this was last emptied.
    unread: set[bytes] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._excluded = {os.fsencode(path) for path in self.options.excluded}
        self._mounts = {os.fsencode(path): mount for path, mount in self.mounts.by_path.items()}

    def is_excluded(self, path: bytes) -> bool:
        """Asked of each new folder; what is below an excluded one is never met."""
        return path in self._excluded

    def is_mount(self, path: bytes) -> bool:
        return path in self._mounts

    def may_enter(self, path: bytes) -> bool:
        """No, where it is excluded, has no files of anybody, or may hang; the last is counted."""
        if path in self._excluded:
            return False
        mount = self._mounts.get(path)
        if mount is None or mount.path == "/":
            return True
        if mount.may_hang:
            self.skip("on a network or user-space file system")
        return not mount.may_hang and mount.kind not in _NO_FILES

    def entries(self, folder: bytes) -> Iterator[tuple[bytes, bool]]:
        """Names in the folder and whether they are folders; nothing of one that cannot be read or is gone."""
        try:
            with os.scandir(folder) as found:
                for entry in found:
                    yield entry.name, entry.is_dir(follow_symlinks=False)
        except FileNotFoundError:
            return
        except OSError as error:
            self.unread.add(folder)
            self.skip(f"cannot be read ({error.strerror})")

    def skip(self, reason: str) -> None:
        """One more folder that is left out."""
        self.skipped[reason] = self.skipped.get(reason, 0) + 1


def roots_of(options: WatchOptions, walk: Walk) -> tuple[list[bytes], list[str]]:
    """The roots that can be watched, and a sentence for each that cannot."""
    kept, told = [], []
    for root in options.roots:
        path = os.fsencode(root)
        if any(_is_covered(root, other, options) for other in options.roots):
            continue
        if walk.mounts.may_hang(os.fspath(root)):
            told.append(f"{root}: on a network or user-space file system, not watched")
        elif not root.is_absolute() or root.resolve() != root or not root.is_dir():
            told.append(f"{root}: not a folder by a path without links, not watched")
        elif path not in kept:
            kept.append(path)
    return kept, told


def _is_covered(root: Path, other: Path, options: WatchOptions) -> bool:
    """``root`` is watched with ``other`` already."""
    if root == other or not root.is_relative_to(other):
        return False
    return not any(root.is_relative_to(each) and each.is_relative_to(other) for each in options.excluded)


def change(
    time_ns: int,
    path: bytes,
    operation: FileOperation,
    *,
    is_directory: bool,
    old_path: bytes | None = None,
    pid: int | None = None,
    node: Node | None = None,
    size_bytes: int | None = None,
) -> FileChange:
    """The record; ``node`` is who did it."""
    return FileChange(
        time_ns,
        os.fsdecode(path),
        operation,
        is_directory,
        os.fsdecode(old_path) if old_path is not None else None,
        pid,
        node.process if node is not None else None,
        node.ancestors if node is not None else (),
        size_bytes,
    )


def size_of(path: bytes) -> int | None:
    """Of the regular file at ``path``; ``None`` when there is none any more."""
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None
