"""Did owners, permissions, times, attributes, ACLs, hard links and devices come back as they were?

Looked at right after the restore, before the tree is handed to the drill's user: giving a file away changes its owner,
takes set-id bits and capabilities with it, and says nothing about the restore. *Repository*: every entry against its
node in the snapshot's trees. *Witness*: the sampled files against what another reader saw of the source, where the
witness holds that (:class:`govsec.backup.witness.Entry`).

What is not there at all, is of another kind or differs in content is found by ``content``. Access times are not looked
at: the repository keeps none. What cannot be compared is counted with the reason, and never as equal.
"""

# ruff: noqa: PTH118 - names are bytes here, and Path knows text only

from __future__ import annotations

import errno
import os
import stat
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from govsec.backup.witness import Sample, read_entry
from govsec.drill.content import KINDS, directories, printable
from govsec.drill.inside import open_inside
from govsec.drill.result import MISMATCHES_MAX, MetadataResult, Mismatch, MismatchKind, NotCompared
from govsec.errors import FormatError
from govsec.repo.repository import Repository
from govsec.repo.snapshot import Snapshot
from govsec.repo.tree import Node, go_text, parse_ns, permissions, raw_name

_SET_ID = stat.S_ISUID | stat.S_ISGID
_ACL = "system.posix_acl_"
#: Attributes that nobody but a person or a program sets. Others may come by themselves: labels of the security modules
#: of this machine, what a network file system shows of itself.
_SET_BY_HAND = ("user.", _ACL, "security.capability")
#: File systems without extended attributes.
_NO_XATTRS = {errno.ENOTSUP, errno.EOPNOTSUPP}
#: Not every file system keeps the last three digits.
_TIME_STEP_NS = 1000


@dataclass(slots=True)
class _Group:
    """The names of one file, as far as they were met."""

    path: bytes
    inode: tuple[int, int]
    links_count: int
    names_count: int = 1


@dataclass(slots=True)
class _Tally:
    entries: int = 0
    compared: Counter[str] = field(default_factory=Counter)
    skipped: Counter[tuple[str, str]] = field(default_factory=Counter)
    count: int = 0
    mismatches: list[Mismatch] = field(default_factory=list)
    groups: dict[tuple[int, int], _Group] = field(default_factory=dict)

    def compare(self, path: bytes, what: MismatchKind, expected: object, found: object) -> None:
        if expected != found:
            self.count += 1
            if len(self.mismatches) < MISMATCHES_MAX:
                self.mismatches.append(
                    Mismatch(path=printable(path), what=what, expected=str(expected)[:200], found=str(found)[:200])
                )

    def result(self) -> MetadataResult:
        left_out = [NotCompared(what=what, why=why, count=count) for (what, why), count in sorted(self.skipped.items())]
        return MetadataResult(
            entries=self.entries,
            compared=dict(sorted(self.compared.items())),
            not_compared=tuple(left_out),
            mismatches_count=self.count,
            mismatches=tuple(self.mismatches),
        )


def check_metadata(
    repository: Repository,
    snapshot: Snapshot,
    target: Path,
    samples: tuple[Sample, ...] | None,
    tick: Callable[[], None],
) -> MetadataResult:
    """Compare what was restored to ``target`` with the snapshot's nodes, and with ``samples`` unless they are None.

    ``tick`` is called often and may raise to stop.

    Raises:
        GovsecError: a tree of the snapshot cannot be read.
    """
    tally = _Tally()
    root = os.fsencode(target)
    for directory, nodes in directories(repository, snapshot, tick):
        for node in nodes:
            path = os.path.join(directory, raw_name(node))
            try:
                _check_entry(os.path.join(root, path), path, node, tally)
            except OSError as error:
                tally.compare(path, "unreadable", "", error.strerror)
    for group in tally.groups.values():
        # More names than the snapshot has would be a link to something that is not of this file.
        tally.compare(group.path, "hard_link", group.names_count, group.links_count)
    for sample in samples or ():
        tick()
        _check_sample(target, sample, tally)
    return tally.result()


def _check_entry(full: bytes, path: bytes, node: Node, tally: _Tally) -> None:
    is_kind = KINDS.get(node.type)
    if is_kind is None:
        tally.skipped["entry", "socket"] += 1
        return
    try:
        status = os.lstat(full)
    except FileNotFoundError:
        return
    if not is_kind(status.st_mode):
        return
    tally.entries += 1
    _check_owner(path, node, status, tally)
    if node.type != "symlink":
        _check_mode(path, node, status, tally)
    _check_time(path, node, status, tally)
    _check_attributes(full, path, node, tally)
    if node.type in ("dev", "chardev"):
        tally.compared["device"] += 1
        tally.compare(path, "device", _device(node.device), _device(status.st_rdev))
    if node.type != "dir":
        _check_links(path, node, status, tally)


def _check_owner(path: bytes, node: Node, status: os.stat_result, tally: _Tally) -> None:
    expected, found = f"{node.uid}:{node.gid}", f"{status.st_uid}:{status.st_gid}"
    if expected != found and os.geteuid() != 0:
        tally.skipped["owner", "not_root"] += 1
        return
    tally.compared["owner"] += 1
    tally.compare(path, "owner", expected, found)


def _check_mode(path: bytes, node: Node, status: os.stat_result, tally: _Tally) -> None:
    expected, found = permissions(node.mode), stat.S_IMODE(status.st_mode)
    if os.geteuid() != 0 and (expected ^ found) & _SET_ID:
        # Whoever may not give the group may not let others act as it.
        tally.skipped["mode", "not_root"] += 1
        return
    tally.compared["mode"] += 1
    tally.compare(path, "mode", f"{expected:04o}", f"{found:04o}")


def _check_time(path: bytes, node: Node, status: os.stat_result, tally: _Tally) -> None:
    try:
        expected = parse_ns(node.mtime)
    except FormatError:
        tally.skipped["time", "no_time"] += 1
        return
    tally.compared["time"] += 1
    if expected // _TIME_STEP_NS != status.st_mtime_ns // _TIME_STEP_NS:
        tally.compare(path, "time", expected, status.st_mtime_ns)


def _check_attributes(full: bytes, path: bytes, node: Node, tally: _Tally) -> None:
    expected = {attribute.name: attribute.value or b"" for attribute in node.extended_attributes or ()}
    names = {go_text(os.fsencode(name)): name for name in _attribute_names(full)}
    for name, value in expected.items():
        tally.compared["acl" if name.startswith(_ACL) else "attribute"] += 1
        held = os.getxattr(full, names[name], follow_symlinks=False) if name in names else None
        if held != value:
            tally.compare(path, _attribute_kind(name), name, "absent" if held is None else "another value")
    for name in sorted(names.keys() - expected.keys()):
        if name.startswith(_SET_BY_HAND):
            tally.compare(path, _attribute_kind(name), "absent", name)


def _attribute_kind(name: str) -> MismatchKind:
    return "acl" if name.startswith(_ACL) else "attribute"


def _attribute_names(full: bytes) -> list[str]:
    try:
        return os.listxattr(full, follow_symlinks=False)
    except OSError as error:
        if error.errno in _NO_XATTRS:
            return []
        raise


def _check_links(path: bytes, node: Node, status: os.stat_result, tally: _Tally) -> None:
    """Names of one file in the snapshot are names of one file here; :func:`check_metadata` counts them at the end."""
    if node.links < 2 or not node.inode:
        tally.compare(path, "hard_link", 1, status.st_nlink)
        return
    tally.compared["hard_link"] += 1
    inode = (status.st_dev, status.st_ino)
    group = tally.groups.get((node.device_id, node.inode))
    if group is None:
        tally.groups[node.device_id, node.inode] = _Group(path, inode, status.st_nlink)
        return
    group.names_count += 1
    if group.inode != inode:
        tally.compare(path, "hard_link", printable(group.path), "a file of its own")


def _device(number: int) -> str:
    return f"{os.major(number)}:{os.minor(number)}"


def _check_sample(target: Path, sample: Sample, tally: _Tally) -> None:
    path, seen = sample.path.lstrip(b"/"), sample.entry
    if seen is None:
        tally.skipped["sample", "not_recorded"] += 1
        return
    try:
        descriptor = open_inside(target, path)
    except OSError:
        return
    try:
        found = read_entry(descriptor)
    except OSError as error:
        tally.compare(path, "sample_unreadable", "", error.strerror)
        return
    finally:
        os.close(descriptor)
    tally.compared["sample"] += 1
    if os.geteuid() == 0 or seen.owner == found.owner:
        tally.compare(path, "sample_owner", seen.owner, found.owner)
    if os.geteuid() == 0 or not (seen.mode ^ found.mode) & _SET_ID:
        tally.compare(path, "sample_mode", f"{seen.mode:04o}", f"{found.mode:04o}")
    if seen.mtime_ns // _TIME_STEP_NS != found.mtime_ns // _TIME_STEP_NS:
        tally.compare(path, "sample_time", seen.mtime_ns, found.mtime_ns)
    lost = [name for name, digest in seen.attributes.items() if _is_lost(name, digest, found.attributes)]
    tally.compare(path, "sample_attribute", "", " ".join(sorted(lost)))


def _is_lost(name: str, digest: str, found: Mapping[str, str]) -> bool:
    # What this machine's own security module says of a file need not be what the source's said.
    return name.startswith(_SET_BY_HAND) and found.get(name) != digest
