"""Which file systems are mounted where, and which of them may keep a reader waiting for ever.

One idea: a hung server is not to be found out by asking it. The kernel's own list (``/proc/self/mountinfo``, proc(5))
says the kind of every mount without touching it; network and user-space kinds are not touched at all, not even by a
``stat`` of the folder they are mounted on.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

#: No machine of ours has more mounts; the rest is not looked at.
MOUNTS_MAX = 20_000
_SIZE_MAX = 16 << 20
_ESCAPED = re.compile(rb"\\([0-7]{3})")
#: Kinds that ask a server, or a process of some user (fuse and all fuse.*), and can wait for it without end.
_MAY_HANG = frozenset(
    (
        "nfs",
        "nfs4",
        "cifs",
        "smb3",
        "smbfs",
        "ncpfs",
        "afs",
        "coda",
        "ceph",
        "9p",
        "lustre",
        "glusterfs",
        "beegfs",
        "gpfs",
        "orangefs",
        "pvfs2",
        "panfs",
        "davfs",
        "autofs",
        "fuse",
    )
)


@dataclass(frozen=True, slots=True)
class Mount:
    """One line of the list. ``root``: the part of the file system that is mounted; ``device``: ``major:minor``."""

    device: str
    root: str
    path: str
    options: frozenset[str]
    kind: str
    source: str

    @property
    def may_hang(self) -> bool:
        """Looking at it may wait for a server or a process that does not answer."""
        return self.kind in _MAY_HANG or self.kind.startswith("fuse.")


class MountTable:
    """The mounts of a machine; later ones hide earlier ones on the same path."""

    def __init__(self, mounts: Iterable[Mount]) -> None:
        self.mounts = tuple(mounts)
        self.by_path = {mount.path: mount for mount in self.mounts}
        # What lies under a mount that hangs cannot be reached, whatever is mounted there. A machine without disks has
        # its root on one (also rootless containers): this program came from there, and nothing can be read otherwise.
        self._hanging = tuple(sorted(path for path, mount in self.by_path.items() if mount.may_hang and path != "/"))

    def may_hang(self, path: str) -> bool:
        """``path`` is, or lies under, a mount that may hang."""
        return any(path == place or path.startswith(place + "/") for place in self._hanging)


def parse_mounts(data: bytes) -> tuple[Mount, ...]:
    """The mounts that the text of ``mountinfo`` names, at most ``MOUNTS_MAX``; lines that are none are left out."""
    mounts = []
    for line in data.split(b"\n")[:MOUNTS_MAX]:
        front, separator, back = line.partition(b" - ")
        fields, more = front.split(b" "), back.split(b" ")
        if not separator or len(fields) < 6 or len(more) < 2:
            continue
        options = frozenset(_text(fields[5]).split(",")) | frozenset(_text(more[2]).split(",") if more[2:] else ())
        mounts.append(
            Mount(_text(fields[2]), _text(fields[3]), _text(fields[4]), options, _text(more[0]), _text(more[1]))
        )
    return tuple(mounts)


def read_mounts(root: Path) -> MountTable:
    """The mounts of the machine whose tree is at ``root``; none where the list cannot be read.

    The list of process 1 is taken for a tree elsewhere: it shows the machine's mounts, not those of our container. Of
    our own tree the list is our own, with the options that process 1 sees on the same mount: the sandbox of a service
    makes every mount ``nosuid`` or read-only for that service alone (systemd.exec(5), NoNewPrivileges, ProtectSystem),
    which says nothing of the machine.
    """
    first = _listed(root / "proc/1/mountinfo")
    if root != Path("/"):
        return MountTable(first)
    own = _listed(root / "proc/self/mountinfo")
    there = {(mount.path, mount.root, mount.device): mount.options for mount in first}
    return MountTable(
        replace(mount, options=there.get((mount.path, mount.root, mount.device), mount.options)) for mount in own
    )


def _listed(place: Path) -> tuple[Mount, ...]:
    try:
        with place.open("rb") as file:
            return parse_mounts(file.read(_SIZE_MAX))
    except OSError:
        return ()


def _text(field: bytes) -> str:
    """A field with its blanks back: the kernel writes them, tabs, line ends and backslashes as octal."""
    plain = _ESCAPED.sub(lambda match: bytes([int(match[1], 8) & 0xFF]), field)
    return plain.decode("utf-8", "surrogateescape")
