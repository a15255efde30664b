"""Looking into snapshots: ``ls``, ``find``, ``diff``, and ``dump`` of one file or of a directory as a tar stream.

Everything here reads and yields as it goes; nothing is collected that grows with the snapshot.
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import BinaryIO

from govsec.backup.patterns import Patterns
from govsec.backup.trees import TreeLoader
from govsec.backup.walk import join_path
from govsec.errors import IntegrityError, LimitError, UsageError
from govsec.repo.pack import BlobType
from govsec.repo.repository import Repository
from govsec.repo.snapshot import Snapshot
from govsec.repo.tree import Node, decode_tree, parse_ns, permissions, raw_name

_DEPTH_MAX = 2000


@dataclass(frozen=True, slots=True)
class Entry:
    """A node at its place in a snapshot."""

    path: bytes
    node: Node


class ChangeKind(StrEnum):
    """What happened to an entry from one snapshot to the next; the signs are restic's."""

    ADDED = "+"
    REMOVED = "-"
    #: The content, or the target of a link.
    MODIFIED = "M"
    #: Only mode, owner, times or attributes.
    METADATA = "U"
    TYPE = "T"


@dataclass(frozen=True, slots=True)
class Change:
    """One difference between two snapshots."""

    kind: ChangeKind
    path: bytes
    before: Node | None
    after: Node | None


def list_entries(
    repository: Repository, snapshot: Snapshot, path: bytes = b"/", *, recursive: bool = True
) -> Iterator[Entry]:
    """The entries below ``path`` (or the one file that it names), directories before what is in them.

    Raises:
        UsageError: the snapshot has no such path.
        IntegrityError: a tree that leads there cannot be read.
    """
    loader = TreeLoader(repository)
    tree_id = bytes.fromhex(snapshot.tree)
    if path.strip(b"/"):
        entry = find_entry(repository, snapshot, path, loader)
        if entry.node.type != "dir" or entry.node.subtree is None:
            yield entry
            return
        tree_id = bytes.fromhex(entry.node.subtree)
    yield from _entries(loader, tree_id, b"/" + path.strip(b"/"), recursive)


def find_entry(repository: Repository, snapshot: Snapshot, path: bytes, loader: TreeLoader | None = None) -> Entry:
    """The entry at ``path``. Raises ``UsageError`` when there is none."""
    loader = loader or TreeLoader(repository)
    tree_id: bytes | None = bytes.fromhex(snapshot.tree)
    node: Node | None = None
    for name in [part for part in path.split(b"/") if part]:
        if tree_id is None:
            node = None
            break
        nodes = decode_tree(loader.load(tree_id)).nodes
        node = next((other for other in nodes if raw_name(other) == name), None)
        if node is None:
            break
        tree_id = bytes.fromhex(node.subtree) if node.subtree is not None else None
    if node is None:
        raise UsageError(f"snapshot {snapshot.short_id} has no {os.fsdecode(path)!a}")
    return Entry(b"/" + b"/".join(part for part in path.split(b"/") if part), node)


def find(repository: Repository, snapshot: Snapshot, patterns: Patterns) -> Iterator[Entry]:
    """The entries whose path is matched."""
    for entry in list_entries(repository, snapshot):
        if patterns.match(entry.path):
            yield entry


def diff(repository: Repository, before: Snapshot, after: Snapshot) -> Iterator[Change]:
    """What changed from one snapshot to the other. Equal directories are not entered."""
    loader = TreeLoader(repository)
    stack = [(b"/", before.tree, after.tree)]
    while stack:
        directory, tree_before, tree_after = stack.pop()
        if tree_before == tree_after:
            continue
        nodes_before = _by_name(loader, tree_before)
        nodes_after = _by_name(loader, tree_after)
        below = []
        for name in sorted(nodes_before.keys() | nodes_after.keys()):
            path = join_path(directory, name)
            old, new = nodes_before.get(name), nodes_after.get(name)
            kind = _change(old, new)
            if kind is not None:
                yield Change(kind, path, old, new)
            for node, is_new in ((old, False), (new, True)):
                other = new if not is_new else old
                if node is not None and node.subtree is not None and (other is None or other.subtree is None):
                    once = ChangeKind.ADDED if is_new else ChangeKind.REMOVED
                    for entry in _entries(loader, bytes.fromhex(node.subtree), path, True):
                        yield Change(once, entry.path, None if is_new else entry.node, entry.node if is_new else None)
            if old is not None and new is not None and old.subtree is not None and new.subtree is not None:
                below.append((path, old.subtree, new.subtree))
        stack.extend(reversed(below))


def dump_file(repository: Repository, node: Node) -> Iterator[bytes]:
    """The content of a file, piece by piece. Raises ``UsageError`` for what is no file, else as ``load_blob``."""
    if node.type != "file":
        raise UsageError(f"{node.name[:100]!a} is a {node.type}, not a file")
    for blob_id in node.content or ():
        yield repository.load_blob(BlobType.DATA, bytes.fromhex(blob_id))


def dump_tar(repository: Repository, snapshot: Snapshot, path: bytes, output: BinaryIO) -> int:
    """A directory as a tar stream (PAX) to ``output``; how many entries it holds. Sockets are left out.

    Raises:
        IntegrityError: a file's content is not as long as its entry says; the stream is cut off there.
    """
    count = 0
    with tarfile.open(fileobj=output, mode="w|", format=tarfile.PAX_FORMAT, errors="surrogateescape") as archive:
        for entry in list_entries(repository, snapshot, path):
            info = _tar_info(entry)
            if info is None:
                continue
            count += 1
            if entry.node.type == "file":
                archive.addfile(info, _BlobReader(dump_file(repository, entry.node)))  # type: ignore[arg-type]  # read() is all it asks for
            else:
                archive.addfile(info)
    return count


class _BlobReader:
    """Pieces as the file that ``tarfile`` reads from."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = b""

    def read(self, size: int) -> bytes:
        parts = []
        while size:
            if not self._rest:
                self._rest = next(self._pieces, b"")
                if not self._rest:
                    raise IntegrityError("a file's content is shorter than its entry says")
            part, self._rest = self._rest[:size], self._rest[size:]
            parts.append(part)
            size -= len(part)
        return b"".join(parts)


def _entries(loader: TreeLoader, tree_id: bytes, directory: bytes, recursive: bool) -> Iterator[Entry]:
    stack = [(directory, iter(decode_tree(loader.load(tree_id)).nodes))]
    while stack:
        directory, nodes = stack[-1]
        node = next(nodes, None)
        if node is None:
            stack.pop()
            continue
        entry = Entry(join_path(directory, raw_name(node)), node)
        yield entry
        if recursive and node.subtree is not None:
            if len(stack) >= _DEPTH_MAX:
                raise LimitError(f"snapshot: more than {_DEPTH_MAX} directories deep")
            stack.append((entry.path, iter(decode_tree(loader.load(bytes.fromhex(node.subtree))).nodes)))


def _by_name(loader: TreeLoader, tree: str) -> dict[bytes, Node]:
    return {raw_name(node): node for node in decode_tree(loader.load(bytes.fromhex(tree))).nodes}


def _change(before: Node | None, after: Node | None) -> ChangeKind | None:
    if before is None:
        return ChangeKind.ADDED
    if after is None:
        return ChangeKind.REMOVED
    if before.type != after.type:
        return ChangeKind.TYPE
    contents = [(node.content, node.linktarget, node.linktarget_raw, node.device) for node in (before, after)]
    if contents[0] != contents[1]:
        return ChangeKind.MODIFIED
    metadata = [(node.mode, node.mtime, node.uid, node.gid, node.extended_attributes) for node in (before, after)]
    return ChangeKind.METADATA if metadata[0] != metadata[1] else None


_TAR_TYPES = {
    "file": tarfile.REGTYPE,
    "dir": tarfile.DIRTYPE,
    "symlink": tarfile.SYMTYPE,
    "fifo": tarfile.FIFOTYPE,
    "dev": tarfile.BLKTYPE,
    "chardev": tarfile.CHRTYPE,
}


def _tar_info(entry: Entry) -> tarfile.TarInfo | None:
    node = entry.node
    kind = _TAR_TYPES.get(node.type)
    if kind is None:
        return None
    info = tarfile.TarInfo(os.fsdecode(entry.path.lstrip(b"/")))
    info.type = kind
    info.mode = permissions(node.mode)
    info.uid, info.gid, info.uname, info.gname = node.uid, node.gid, node.user, node.group
    info.mtime = parse_ns(node.mtime) // 1_000_000_000
    if node.type == "file":
        info.size = node.size
    elif node.type == "symlink":
        info.linkname = os.fsdecode(node.linktarget_raw or node.linktarget.encode())
    elif node.type in ("dev", "chardev"):
        info.devmajor, info.devminor = os.major(node.device), os.minor(node.device)
    return info
