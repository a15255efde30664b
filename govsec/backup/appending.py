"""A tree of files that grow: the log of a database as one small snapshot after the other.

A log is written once, at its end. So the tree of the last snapshot is kept in memory, as far as it was needed; a file's
list of blobs grows by what came, and only the trees from that file up to the root are written again. Every snapshot
holds all of the log that is kept: any other one may be forgotten, and stock restic brings the whole log back as plain
files with one command. Directories are to stay small (a few hundred files): a tree is written anew with each change.

What is appended waits in memory for :meth:`AppendTree.save`. Nothing is forgotten when saving fails, so that the same
call works when the store is back; who cannot wait throws the tree away and carries on from the last snapshot.

*Grafts.* A tree that is stored already (a base backup) becomes a directory of this one by its id, at the cost of one
node; its inside is not looked at.

*Padding.* A log file that has a fixed length is kept filled up with zeros to that length while it grows, as its readers
expect; the zeros are blobs of powers of two, so that all padding of a repository takes a few hundred bytes once.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import msgspec

from govsec.backup.archive import ArchiveResult
from govsec.backup.live import LiveWindow, LiveWriter
from govsec.backup.made import own_directory, own_file
from govsec.backup.walk import Counts
from govsec.clock import to_ns
from govsec.errors import FormatError, IntegrityError, LimitError, UsageError
from govsec.repo.pack import BlobType
from govsec.repo.reader import Repository
from govsec.repo.snapshot import Snapshot
from govsec.repo.tree import Node, encode_tree, format_ns, parse_ns, quote, raw_name

#: Longest blob of a log: it is never deduplicated, and a reader that wants a part of it reads all.
PIECE_SIZE = 1 << 20
#: Padding of a file up to 2 GiB; longer zeros are several of the largest.
_PAD_SIZE_MAX = 1 << 20
_SEPARATOR = "/"


@dataclass(slots=True)
class _File:
    node: Node
    #: What the last snapshot lacks, and where the file is to end in the tree.
    pending: bytearray = field(default_factory=bytearray)
    padded_to: int = 0
    #: The content without padding; the node's own counts the zeros.
    content: list[str] = field(default_factory=list)
    size: int = 0

    @property
    def is_changed(self) -> bool:
        return bool(self.pending)


@dataclass(slots=True)
class _Directory:
    #: None when something below has changed since it was stored.
    tree_id: bytes | None
    #: None when it was not loaded yet, and for a graft.
    entries: dict[bytes, _File | _Directory | Node] | None
    mtime_ns: int
    is_graft: bool = False


class AppendTree:
    """The live tree below ``root``, such as ``/postgres/main``; paths are relative to it, with ``/`` between names.

    ``parent`` is the snapshot that it carries on from; see :func:`latest_of`. Not for two threads.
    """

    def __init__(
        self, writer: LiveWriter, root: str, *, parent: Snapshot | None = None, tags: Sequence[str] = ()
    ) -> None:
        self._writer = writer
        self._levels = tuple(os.fsencode(part) for part in root.strip(_SEPARATOR).split(_SEPARATOR))
        self.root = _SEPARATOR + root.strip(_SEPARATOR)
        self._tags = tuple(tags)
        self.parent = parent
        self._zero_ids: dict[int, str] = {}
        now = to_ns(writer.clock.now())
        self._top = _Directory(None, {}, now)
        if parent is not None:
            tree_id = find_tree(writer.repository, bytes.fromhex(parent.tree), self._levels)
            if tree_id is None:
                raise FormatError(f"snapshot {parent.short_id}: there is no directory {self.root}")
            self._top = _Directory(tree_id, None, now)

    @property
    def pending_bytes(self) -> int:
        """What waits in memory for the next :meth:`save`."""
        return sum(len(file.pending) for file in self._changed(self._top))

    def append(self, path: str, data: bytes, *, mtime_ns: int | None = None) -> None:
        """Put ``data`` at the end of a file, which is made when it is not there. In memory until :meth:`save`."""
        file = self._writable(path)
        file.pending += data
        self._touch(file, mtime_ns)

    def replace(self, path: str, data: bytes, *, mtime_ns: int | None = None) -> None:
        """Make ``data`` the whole content of a file."""
        file = self._writable(path)
        file.content, file.size, file.padded_to = [], 0, 0
        file.pending[:] = data
        self._touch(file, mtime_ns)

    def truncate(self, path: str, size: int) -> None:
        """Cut a file back to its first ``size`` bytes, which must end where a piece ends.

        Raises:
            UsageError: there is no such file.
            IntegrityError: no piece ends there, or the index lacks one.
        """
        file = self._file(path)
        if file is None:
            raise UsageError(f"{self.root}/{path}: there is no such file")
        kept, total = 0, 0
        while total < size and kept < len(file.content):
            total += self._length(file.content[kept])
            kept += 1
        if total != size:
            raise IntegrityError(f"{self.root}/{path}: no piece of it ends at {size}")
        file = self._writable(path)
        file.content, file.size, file.padded_to = file.content[:kept], size, 0
        file.pending.clear()

    def pad(self, path: str, size: int) -> None:
        """Let the file appear ``size`` bytes long in snapshots, zeros at its end; 0 ends that."""
        self._writable(path).padded_to = size

    def remove(self, path: str) -> None:
        """Remove a file or a directory; nothing happens when it is not there."""
        parent, name = self._parent(path, create=False)
        if parent is not None and name in self._load(parent):
            self._dirty(path)
            del self._load(parent)[name]

    def rename(self, path: str, new: str) -> None:
        """Give a file another path. Raises ``UsageError`` when it is not there, or the new one is."""
        parent, name = self._parent(path, create=False)
        entry = self._load(parent).get(name) if parent is not None else None
        target, new_name = self._parent(new, create=True)
        assert target is not None  # it was just made
        if parent is None or not isinstance(entry, _File) or new_name in self._load(target):
            raise UsageError(f"{self.root}: {path} cannot become {new}")
        self._dirty(path)
        self._dirty(new)
        del self._load(parent)[name]
        entry.node = msgspec.structs.replace(entry.node, name=quote(new_name))
        self._load(target)[new_name] = entry

    def graft(self, path: str, tree_id: bytes) -> None:
        """Make a stored tree the directory at ``path``."""
        parent, name = self._parent(path, create=True)
        assert parent is not None  # it was just made
        self._dirty(path)
        self._load(parent)[name] = _Directory(tree_id, None, to_ns(self._writer.clock.now()), is_graft=True)

    def subtree(self, path: str) -> bytes | None:
        """The id of the stored tree at ``path``; None when there is none, or it has changed since it was stored."""
        entry = self._entry(path)
        return entry.tree_id if isinstance(entry, _Directory) else None

    def names(self, path: str = "") -> list[str]:
        """The names in a directory, in order; none when it is not there."""
        entry = self._entry(path)
        return [os.fsdecode(name) for name in sorted(self._load(entry))] if isinstance(entry, _Directory) else []

    def paths(self, path: str = "") -> Iterator[str]:
        """The paths of all files below a directory, grafts left out, in order."""
        entry = self._entry(path)
        if isinstance(entry, _Directory) and not entry.is_graft:
            for name in self.names(path):
                yield from self.paths(f"{path}/{name}" if path else name)
        elif isinstance(entry, _File):
            yield path

    def size(self, path: str) -> int | None:
        """The bytes of a file with what waits and without padding; None when there is none."""
        file = self._file(path)
        return None if file is None else file.size + len(file.pending)

    def mtime_ns(self, path: str) -> int | None:
        """When a file last grew, in nanoseconds since 1970; None when there is none."""
        file = self._file(path)
        return None if file is None else parse_ns(file.node.mtime)

    def pieces_count(self, path: str) -> int:
        """Of how many blobs a file is made; many small ones are worth a :meth:`replace` by the whole."""
        file = self._file(path)
        return 0 if file is None else len(file.content)

    def read(self, path: str, *, size_max: int) -> bytes:
        """A whole file with what waits, without padding.

        Raises:
            UsageError: there is no such file.
            LimitError: it is larger than ``size_max``.
            ObjectNotFoundError, IntegrityError: a blob cannot be had.
        """
        file = self._file(path)
        if file is None:
            raise UsageError(f"{self.root}/{path}: there is no such file")
        if file.size + len(file.pending) > size_max:
            raise LimitError(f"{self.root}/{path}: more than {size_max} bytes")
        load = self._writer.repository.load_blob
        return b"".join([*(load(BlobType.DATA, bytes.fromhex(text)) for text in file.content), bytes(file.pending)])

    def save(self) -> ArchiveResult:
        """A snapshot of the tree as it is now, stored with all it names, ready to be committed.

        Raises:
            StoreError, IntegrityError: from the store; nothing is lost, and the same call may be made again.
        """
        with self._writer.window() as window:
            stored: dict[int, list[str]] = {}
            counts = Counts()
            for file in self._changed(self._top):
                stored[id(file)] = _pieces(window, file.pending)
                counts.files_changed += 1
                counts.total_bytes += len(file.pending)
            trees: dict[int, bytes] = {}
            tree_id = self._save_directory(window, self._top, stored, trees)
            for level in reversed(self._levels):
                node = own_directory(level, format_ns(self._top.mtime_ns), tree_id)
                tree_id = window.save(BlobType.TREE, encode_tree([node]))
            result = window.finish(tree_id, paths=(self.root,), tags=self._tags, parent=self.parent, counts=counts)
        # Only now: whatever failed above leaves everything as it was.
        for file in list(self._changed(self._top)):
            file.content = [*file.content, *stored[id(file)]]
            file.size += len(file.pending)
            file.pending = bytearray()
        self._settle(self._top, trees)
        self.parent = result.snapshot
        return result

    def _save_directory(
        self, window: LiveWindow, directory: _Directory, stored: dict[int, list[str]], trees: dict[int, bytes]
    ) -> bytes:
        if directory.tree_id is not None:
            return directory.tree_id
        nodes = []
        for name, entry in sorted(self._load(directory).items()):
            if isinstance(entry, _Directory):
                tree_id = self._save_directory(window, entry, stored, trees)
                nodes.append(own_directory(name, format_ns(entry.mtime_ns), tree_id))
            elif isinstance(entry, _File):
                nodes.append(self._file_node(window, entry, stored.get(id(entry), [])))
            else:
                nodes.append(entry)
        tree_id = trees[id(directory)] = window.save(BlobType.TREE, encode_tree(nodes))
        return tree_id

    def _file_node(self, window: LiveWindow, file: _File, more: list[str]) -> Node:
        size = file.size + len(file.pending)
        content = [*file.content, *more]
        left = max(0, file.padded_to - size)
        while left:
            part = min(1 << (left.bit_length() - 1), _PAD_SIZE_MAX)
            content.append(window.save(BlobType.DATA, bytes(part)).hex())
            left -= part
        file.node = msgspec.structs.replace(file.node, size=max(size, file.padded_to), content=content)
        return file.node

    def _settle(self, directory: _Directory, trees: dict[int, bytes]) -> None:
        if directory.tree_id is None:
            directory.tree_id = trees[id(directory)]
            for entry in (directory.entries or {}).values():
                if isinstance(entry, _Directory):
                    self._settle(entry, trees)

    def _changed(self, directory: _Directory) -> Iterator[_File]:
        if directory.tree_id is None:
            for entry in (directory.entries or {}).values():
                if isinstance(entry, _Directory):
                    yield from self._changed(entry)
                elif isinstance(entry, _File) and entry.is_changed:
                    yield entry

    def _load(self, directory: _Directory) -> dict[bytes, _File | _Directory | Node]:
        if directory.entries is None:
            assert directory.tree_id is not None  # what is not loaded is stored
            directory.entries = {}
            for node in self._writer.repository.load_tree(directory.tree_id).nodes:
                directory.entries[raw_name(node)] = _entry_of(node)
        return directory.entries

    def _entry(self, path: str) -> _File | _Directory | Node | None:
        if not path:
            return self._top
        parent, name = self._parent(path, create=False)
        return None if parent is None else self._load(parent).get(name)

    def _file(self, path: str) -> _File | None:
        entry = self._entry(path)
        return entry if isinstance(entry, _File) else None

    def _parent(self, path: str, *, create: bool) -> tuple[_Directory | None, bytes]:
        *above, name = _steps(path)
        directory = self._top
        for step in above:
            entry = self._load(directory).get(step)
            if entry is None and create:
                entry = self._load(directory)[step] = _Directory(None, {}, to_ns(self._writer.clock.now()))
            if not isinstance(entry, _Directory):
                if create:
                    raise UsageError(f"{self.root}/{path}: {os.fsdecode(step)} is no directory")
                return None, name
            directory = entry
        return directory, name

    def _writable(self, path: str) -> _File:
        parent, name = self._parent(path, create=True)
        assert parent is not None  # it was just made
        entry = self._load(parent).get(name)
        if entry is None:
            entry = self._load(parent)[name] = _File(self._new_node(name))
        if not isinstance(entry, _File):
            raise UsageError(f"{self.root}/{path} is no file")
        self._dirty(path)
        return entry

    def _dirty(self, path: str) -> None:
        directory = self._top
        directory.tree_id = None
        for step in _steps(path)[:-1]:
            entry = self._load(directory)[step]
            assert isinstance(entry, _Directory)  # _parent went this way
            if entry.is_graft:
                raise UsageError(f"{self.root}/{path}: what was grafted is not changed")
            self._load(entry)
            entry.tree_id = None
            directory = entry

    def _touch(self, file: _File, mtime_ns: int | None) -> None:
        moment = format_ns(to_ns(self._writer.clock.now()) if mtime_ns is None else mtime_ns)
        file.node = msgspec.structs.replace(file.node, mtime=moment, atime=moment, ctime=moment)

    def _new_node(self, name: bytes) -> Node:
        return own_file(name, format_ns(to_ns(self._writer.clock.now())), [], 0)

    def _length(self, text: str) -> int:
        places = self._writer.repository.index.find(BlobType.DATA, bytes.fromhex(text))
        if not places:
            raise IntegrityError(f"{self.root}: blob {text} is in no index")
        return places[0].plain_length


def latest_of(repository: Repository, root: str, hostname: str | None = None) -> Snapshot | None:
    """The snapshot of the tree ``root`` with the latest time, of any host or of one; None when there is none.

    For a directory without a commit log; where there is one, its order counts, which no clock that jumps can change.
    """
    fitting = [
        snapshot
        for snapshot in repository.snapshots()
        if snapshot.paths == (root,) and hostname in (None, snapshot.hostname)
    ]
    return fitting[-1] if fitting else None


def find_tree(repository: Repository, tree_id: bytes, steps: Sequence[bytes]) -> bytes | None:
    """The id of the directory that ``steps`` lead to from the tree ``tree_id``; None when there is none."""
    for step in steps:
        nodes = repository.load_tree(tree_id).nodes
        found = next((node for node in nodes if raw_name(node) == step and node.subtree is not None), None)
        if found is None or found.subtree is None:
            return None
        tree_id = bytes.fromhex(found.subtree)
    return tree_id


def _steps(path: str) -> list[bytes]:
    steps = path.split(_SEPARATOR)
    if not all(step not in ("", ".", "..") and "\0" not in step for step in steps):
        raise UsageError(f"{path!r} is no path in the tree")
    return [os.fsencode(step) for step in steps]


def _entry_of(node: Node) -> _File | _Directory | Node:
    if node.type == "dir" and node.subtree is not None:
        return _Directory(bytes.fromhex(node.subtree), None, parse_ns(node.mtime))
    if node.type == "file":
        return _File(node, content=list(node.content or ()), size=node.size)
    return node


def _pieces(window: LiveWindow, data: bytearray) -> list[str]:
    with memoryview(data) as view:
        return [
            window.save(BlobType.DATA, bytes(view[start : start + PIECE_SIZE])).hex()
            for start in range(0, len(view), PIECE_SIZE)
        ]
