"""Programs that give their caller more rights: set-id bits and file capabilities (capabilities(7)).

One idea: only file systems on which the kernel honours them are walked, each for itself, never over a mount: those with
``nosuid`` cannot do harm in this way, and those that may hang are not touched. The walk asks ``pause`` between folders,
so that whoever lives beside real work can wait, or tell that they are alive.
"""

from __future__ import annotations

import hashlib
import os
import stat
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

from govsec.errors import GovsecError
from govsec.host.disks import kinds_with_device
from govsec.host.tables import PrivilegedFile, TableName
from govsec.host.tree import Gaps, Tree
from govsec.localfile import read_bounded

FILES_MAX = 10_000_000
ROWS_MAX = 20_000
#: Programs are smaller; a larger one has no digest.
_DIGEST_BYTES_MAX = 64 << 20
_PAUSE_EVERY = 2000
_EXECUTABLE = stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH
_SET_ID = stat.S_ISUID | stat.S_ISGID
_ATTRIBUTE = "security.capability"
#: Names by bit (include/uapi/linux/capability.h).
CAPABILITIES = (
    "chown", "dac_override", "dac_read_search", "fowner", "fsetid", "kill", "setgid", "setuid", "setpcap",
    "linux_immutable", "net_bind_service", "net_broadcast", "net_admin", "net_raw", "ipc_lock", "ipc_owner",
    "sys_module", "sys_rawio", "sys_chroot", "sys_ptrace", "sys_pacct", "sys_admin", "sys_boot", "sys_nice",
    "sys_resource", "sys_time", "sys_tty_config", "mknod", "lease", "audit_write", "audit_control", "setfcap",
    "mac_override", "mac_admin", "syslog", "wake_alarm", "block_suspend", "audit_read", "perfmon", "bpf",
    "checkpoint_restore",
)  # fmt: skip


def read_privileged(
    tree: Tree, gaps: Gaps, skipped: tuple[str, ...], pause: Callable[[], None]
) -> tuple[PrivilegedFile, ...]:
    """Every such program, by path. ``skipped``: folders that are not walked, counted as gaps.

    Raises:
        OSError: the kernel does not say which file systems there are.
    """
    walk = _Walk(tree, gaps, frozenset(skipped), pause)
    rows: list[PrivilegedFile] = []
    for start in _starts(tree, gaps):
        for row in walk.below(start):
            if len(rows) >= ROWS_MAX:
                gaps.add(TableName.PRIVILEGED, f"more than {ROWS_MAX} programs")
                continue
            rows.append(row)
    return tuple(sorted(rows, key=lambda row: row.path))


def _starts(tree: Tree, gaps: Gaps) -> list[str]:
    """Where file systems are mounted on which set-id bits count; a part of one that is walked whole is not one more."""
    kinds = kinds_with_device(tree) | {"tmpfs"}
    starts: dict[tuple[str, str], str] = {}
    for mount in tree.mounts.by_path.values():
        if "nosuid" in mount.options:
            continue
        if mount.may_hang or tree.mounts.may_hang(mount.path):
            gaps.add(TableName.PRIVILEGED, "network or user-space file system, not walked")
        elif mount.kind in kinds:
            starts.setdefault((mount.device, mount.root), mount.path)
    whole = {
        path for (device, root), path in starts.items() if not any((device, above) in starts for above in _above(root))
    }
    return sorted(whole) or ([] if tree.mounts.by_path else ["/"])


def _above(root: str) -> Iterator[str]:
    while root != "/":
        root = root.rpartition("/")[0] or "/"
        yield root


class _Walk:
    def __init__(self, tree: Tree, gaps: Gaps, skipped: frozenset[str], pause: Callable[[], None]) -> None:
        self._tree = tree
        self._gaps = gaps
        self._skipped = skipped
        self._pause = pause
        self._count = 0

    def below(self, start: str) -> Iterator[PrivilegedFile]:
        """The programs on the file system that is mounted at ``start``."""
        pending = [start]
        while pending:
            folder = pending.pop()
            prefix = folder.rstrip("/") + "/"
            try:
                with os.scandir(self._tree.place(folder)) as entries:
                    for entry in entries:
                        self._count += 1
                        if self._count % _PAUSE_EVERY == 0:
                            self._pause()
                        if self._count > FILES_MAX:
                            self._gaps.add(TableName.PRIVILEGED, f"walk ended after {FILES_MAX} files", 0)
                            return
                        path = prefix + entry.name
                        if entry.is_dir(follow_symlinks=False):
                            if self._is_wanted(path):
                                pending.append(path)
                        elif entry.is_file(follow_symlinks=False):
                            row = self._judge(path, entry)
                            if row is not None:
                                yield row
            except (FileNotFoundError, NotADirectoryError):
                continue  # removed meanwhile
            except OSError:
                self._gaps.add(TableName.PRIVILEGED, "folder that cannot be read")

    def _is_wanted(self, path: str) -> bool:
        if path in self._skipped:
            self._gaps.add(TableName.PRIVILEGED, "folder that is not looked at")
            return False
        return path not in self._tree.mounts.by_path

    def _judge(self, path: str, entry: os.DirEntry[str]) -> PrivilegedFile | None:
        try:
            status = entry.stat(follow_symlinks=False)
        except OSError:
            return None
        if not status.st_mode & (_EXECUTABLE | _SET_ID):
            return None
        capabilities = _capabilities(entry.path)
        if not status.st_mode & _SET_ID and not capabilities:
            return None
        return PrivilegedFile(
            path=path,
            mode=stat.S_IMODE(status.st_mode),
            uid=status.st_uid,
            gid=status.st_gid,
            capabilities=capabilities,
            size_bytes=status.st_size,
            modified_ns=status.st_mtime_ns,
            digest=_digest(entry.path),
        )


def _capabilities(path: str) -> tuple[str, ...]:
    """Names of the permitted ones: u32 magic, then pairs of u32 permitted and inheritable (include/uapi/linux)."""
    try:
        value = os.getxattr(path, _ATTRIBUTE, follow_symlinks=False)
    except OSError:
        return ()
    permitted = 0
    for position in range(min(2, (len(value) - 4) // 8)):
        permitted |= struct.unpack_from("<I", value, 4 + 8 * position)[0] << (32 * position)
    names = [name for bit, name in enumerate(CAPABILITIES) if permitted >> bit & 1]
    if permitted >> len(CAPABILITIES):
        names.append("unknown")
    return tuple(names)


def _digest(path: str) -> str | None:
    try:
        return hashlib.sha256(read_bounded(Path(path), _DIGEST_BYTES_MAX)).hexdigest()
    except (OSError, GovsecError):
        return None
