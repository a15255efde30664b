"""Is what came back what was backed up? Two answers that share no code with the restore.

*Repository*: the snapshot's trees are walked again, and every file at the target is read and digested blob by blob
against the ids in its tree; kinds, link targets, missing and surplus names count as well. *Witness*: samples of the
source, read at backup time by a reader of its own, are compared as whole files; so a backup that faithfully stored
the wrong thing is found too. Owners, permissions, times and the like are looked at before the tree is handed to the
drill's user, by ``metadata``.
"""

# ruff: noqa: PTH115, PTH118, PTH123, PTH208 - names are bytes here, and Path knows text only

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from govsec.backup.witness import Sample
from govsec.drill.inside import open_inside
from govsec.drill.result import MISMATCHES_MAX, ContentResult, Mismatch, MismatchKind
from govsec.errors import LimitError
from govsec.repo.pack import BlobType
from govsec.repo.repository import Repository
from govsec.repo.snapshot import Snapshot
from govsec.repo.tree import Node, raw_name

#: Deeper than any path that Linux can name; a hostile repository may claim more.
_DEPTH_MAX = 2048
_READ_SIZE = 1 << 20
#: A path in a record is there to be recognised; Linux allows four times as much.
_SHOWN_PATH_MAX = 1000
#: What the types of nodes are here; others are a service's own and are not restored.
KINDS: dict[str, Callable[[int], bool]] = {
    "file": stat.S_ISREG,
    "dir": stat.S_ISDIR,
    "symlink": stat.S_ISLNK,
    "fifo": stat.S_ISFIFO,
    "dev": stat.S_ISBLK,
    "chardev": stat.S_ISCHR,
}


@dataclass(slots=True)
class _Tally:
    files: int = 0
    size_bytes: int = 0
    samples: int = 0
    count: int = 0
    mismatches: list[Mismatch] = field(default_factory=list)

    def miss(self, path: bytes, what: MismatchKind) -> None:
        self.count += 1
        if len(self.mismatches) < MISMATCHES_MAX:
            self.mismatches.append(Mismatch(path=printable(path), what=what))


@dataclass(frozen=True, slots=True)
class Extent:
    """How much a snapshot holds."""

    files: int
    size_bytes: int


def printable(path: bytes) -> str:
    """A path for a record: UTF-8, with every byte that is none written as an escape."""
    return path.decode("utf-8", "backslashreplace")[:_SHOWN_PATH_MAX]


def measure(repository: Repository, snapshot: Snapshot, tick: Callable[[], None]) -> Extent:
    """Files and bytes that a restore will write. ``tick`` is called often and may raise to stop.

    Raises:
        GovsecError: a tree cannot be read.
    """
    files = size_bytes = 0
    for _, nodes in directories(repository, snapshot, tick):
        sizes = [node.size for node in nodes if node.type == "file"]
        files += len(sizes)
        size_bytes += sum(sizes)
    return Extent(files, size_bytes)


def check_content(
    repository: Repository,
    snapshot: Snapshot,
    target: Path,
    samples: tuple[Sample, ...] | None,
    tick: Callable[[], None],
) -> ContentResult:
    """Compare the restored tree at ``target`` with the repository, and with ``samples`` unless they are None.

    What cannot be read counts as a mismatch. ``tick`` is called often and may raise to stop.

    Raises:
        GovsecError: a tree of the snapshot cannot be read, so nobody knows what should be there.
    """
    tally = _Tally()
    root = os.fsencode(target)
    for directory, nodes in directories(repository, snapshot, tick):
        surplus = _listed(os.path.join(root, directory))
        for node in nodes:
            name = raw_name(node)
            surplus.discard(name)
            _check_node(repository, root, os.path.join(directory, name), node, tally, tick)
        for name in sorted(surplus):
            tally.miss(os.path.join(directory, name), "surplus")
    for sample in samples or ():
        tick()
        _check_sample(target, sample, tally, tick)
    return ContentResult(
        files_checked=tally.files,
        bytes_checked=tally.size_bytes,
        samples_checked=tally.samples,
        has_witness=samples is not None,
        mismatches_count=tally.count,
        mismatches=tuple(tally.mismatches),
    )


def directories(
    repository: Repository, snapshot: Snapshot, tick: Callable[[], None]
) -> Iterator[tuple[bytes, list[Node]]]:
    """Every directory of the snapshot with its nodes, the one above before those below."""
    pending: list[tuple[bytes, str]] = [(b"", snapshot.tree)]
    while pending:
        directory, tree_id = pending.pop()
        if directory.count(b"/") > _DEPTH_MAX:
            raise LimitError(f"snapshot {snapshot.short_id}: deeper than {_DEPTH_MAX} directories")
        tick()
        nodes = repository.load_tree(bytes.fromhex(tree_id)).nodes
        yield directory, nodes
        for node in nodes:
            if node.type == "dir" and node.subtree is not None:
                pending.append((os.path.join(directory, raw_name(node)), node.subtree))


def _check_node(
    repository: Repository, root: bytes, path: bytes, node: Node, tally: _Tally, tick: Callable[[], None]
) -> None:
    full = os.path.join(root, path)
    is_kind = KINDS.get(node.type)
    if is_kind is None:
        return  # a socket is a service's own, and is not restored
    try:
        status = os.lstat(full)
        if not is_kind(status.st_mode):
            tally.miss(path, "wrong_kind")
        elif node.type == "symlink":
            wanted = node.linktarget_raw or os.fsencode(node.linktarget)
            if os.readlink(full) != wanted:
                tally.miss(path, "link_elsewhere")
        elif node.type == "file":
            _check_file(repository, full, path, node, tally, tick)
    except FileNotFoundError:
        tally.miss(path, "missing")
    except OSError:
        tally.miss(path, "unreadable")


def _check_file(
    repository: Repository, full: bytes, path: bytes, node: Node, tally: _Tally, tick: Callable[[], None]
) -> None:
    descriptor = os.open(full, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb", buffering=0) as file:
        for text in node.content or ():
            tick()
            blob_id = bytes.fromhex(text)
            places = repository.index.find(BlobType.DATA, blob_id)
            if not places:
                tally.miss(path, "not_indexed")
                return
            data = _read_exactly(file.fileno(), places[0].plain_length)
            if repository.suite.digest(data) != blob_id:
                tally.miss(path, "content")
                return
            tally.size_bytes += len(data)
        if os.read(file.fileno(), 1):
            tally.miss(path, "longer")
            return
    tally.files += 1


def _read_exactly(descriptor: int, size: int) -> bytes:
    data = os.read(descriptor, size)
    if len(data) == size:
        return data
    pieces, left = [data], size - len(data)
    while left and (piece := os.read(descriptor, left)):
        pieces.append(piece)
        left -= len(piece)
    return b"".join(pieces)


def _check_sample(target: Path, sample: Sample, tally: _Tally, tick: Callable[[], None]) -> None:
    tally.samples += 1
    path = sample.path.lstrip(b"/")
    try:
        descriptor = open_inside(target, path)
        digest, size = hashlib.sha256(), 0
        with open(descriptor, "rb", buffering=0) as file:
            while data := file.read(_READ_SIZE):
                tick()
                digest.update(data)
                size += len(data)
    except FileNotFoundError:
        tally.miss(path, "sample_missing")
        return
    except OSError:
        tally.miss(path, "sample_unreadable")
        return
    if (size, digest.hexdigest()) != (sample.size_bytes, sample.sha256):
        tally.miss(path, "sample_differs")


def _listed(directory: bytes) -> set[bytes]:
    try:
        return set(os.listdir(directory))
    except OSError:
        return set()  # missing or unreadable is counted where its own node is checked
