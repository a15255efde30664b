"""Mounted file systems and the room in them. What may hang is never asked: its kind is known from the mount list."""

from __future__ import annotations

import os

from govsec.host.mounts import Mount
from govsec.host.tables import Disk, TableName
from govsec.host.tree import Gaps, Tree

DISKS_MAX = 2000
_FILE_SYSTEMS_BYTES_MAX = 64 << 10
#: Kinds that the kernel lists as needing no device, and that hold people's data all the same.
_WITHOUT_DEVICE = frozenset(("overlay", "zfs", "btrfs", "bcachefs", "virtiofs"))


def read_disks(tree: Tree, gaps: Gaps) -> tuple[Disk, ...]:
    """Every mounted file system with storage behind it, once, at the first place where it is mounted.

    Raises:
        OSError: the kernel does not say which kinds have devices.
    """
    kinds = kinds_with_device(tree)
    rows: dict[tuple[str, str], Disk] = {}
    for mount in tree.mounts.by_path.values():
        if mount.may_hang or tree.mounts.may_hang(mount.path):
            gaps.add(TableName.DISKS, "network or user-space file system, not asked")
            continue
        key = (mount.device, mount.kind)
        if mount.kind not in kinds or key in rows:
            continue
        if len(rows) >= DISKS_MAX:
            gaps.add(TableName.DISKS, f"more than {DISKS_MAX} file systems")
            continue
        try:
            rows[key] = _disk(tree, mount)
        except OSError:
            gaps.add(TableName.DISKS, "could not be asked")
    return tuple(sorted(rows.values(), key=lambda disk: disk.mount))


def kinds_with_device(tree: Tree) -> frozenset[str]:
    """Kinds of file systems that keep people's data on something.

    Raises:
        OSError, GovsecError: the kernel does not say.
    """
    lines = tree.read_text("/proc/filesystems", _FILE_SYSTEMS_BYTES_MAX).splitlines()
    return _WITHOUT_DEVICE | {line.strip() for line in lines if not line.startswith("nodev")}


def _disk(tree: Tree, mount: Mount) -> Disk:
    room = os.statvfs(tree.place(mount.path))
    return Disk(
        mount=mount.path,
        device=mount.source,
        kind=mount.kind,
        total_bytes=room.f_blocks * room.f_frsize,
        available_bytes=room.f_bavail * room.f_frsize,
        files_total=room.f_files,
        files_available=room.f_favail,
        is_read_only="ro" in mount.options,
    )
