"""Reading a directory tree into tree blobs: the worker's half of a backup.

Every directory is entered through the one above it (``openat`` with ``O_NOFOLLOW``), every file is opened relative to
its directory and looked at again after opening: whoever can write to the source cannot lead the walk out of it by
swapping names for links, nor hang it with a fifo. A directory's entries are taken in the order of their names' bytes,
which is the order of a tree; the descent keeps its own stack, so depth is bounded by descriptors and not by recursion.

What cannot be read is a :class:`Problem` and is not in the snapshot: an empty stand-in would be restored as if it were
the file. A file that changed while it was read is in the snapshot as it was read, with restic's ``error`` field set.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import Callable, Iterable, Set
from dataclasses import dataclass, field, fields, replace
from typing import TypeVar

from govsec.backup.blobs import BlobSaver
from govsec.backup.contents import ContentReader
from govsec.backup.nodes import NodeWriter, device, entry_attributes, link_target, own_attributes
from govsec.backup.previous import (
    PreviousTree,
    content_tail,
    ids_in_contents,
    is_content,
    is_unchanged,
    subtree_in,
    subtree_named,
)
from govsec.backup.sources import FileSource
from govsec.backup.trees import TreeLoader
from govsec.errors import IntegrityError, ObjectNotFoundError
from govsec.repo.index import Index
from govsec.repo.pack import ID_SIZE, BlobType
from govsec.repo.tree import join_nodes

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
#: O_NONBLOCK: a file that became a fifo must not hang the walk; it means nothing for regular files.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
#: Each level holds a descriptor; common limits are 1024.
_DEPTH_MAX = 700
#: Content ids of unchanged files are looked up in the index so many at a time.
_CHECK_COUNT = 20_000
PROBLEMS_MAX = 1000
#: What ``os.fsencode`` does, without its look at the argument's type.
_ENCODING, _ENCODING_ERRORS = sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()
CHANGED_WHILE_READ = "changed while it was read"


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is not in the snapshot as it should be."""

    path: str
    what: str


@dataclass(slots=True)
class Counts:
    """What a walk met. Bytes are those of the files' content."""

    files_new: int = 0
    files_changed: int = 0
    files_unmodified: int = 0
    others: int = 0
    dirs_new: int = 0
    dirs_changed: int = 0
    dirs_unmodified: int = 0
    total_bytes: int = 0
    problems_count: int = 0
    #: The first :data:`PROBLEMS_MAX`; ``problems_count`` says how many there were.
    problems: list[Problem] = field(default_factory=list)

    @property
    def files(self) -> int:
        """Regular files in the snapshot."""
        return self.files_new + self.files_changed + self.files_unmodified

    def add(self, other: Counts) -> None:
        """Count what ``other`` counted."""
        for item in fields(self):
            if item.name != "problems":
                setattr(self, item.name, getattr(self, item.name) + getattr(other, item.name))
        self.problems += other.problems[: PROBLEMS_MAX - len(self.problems)]

    def problem(self, path: bytes, what: str) -> None:
        """Note one."""
        self.problems_count += 1
        if len(self.problems) < PROBLEMS_MAX:
            self.problems.append(Problem(os.fsdecode(path), what))


class Stopped(Exception):
    """The walk was told to stop. Not an error: what is done is kept."""


class _MissingBlobError(Exception):
    """The parent's files name content that the index does not have: trust nothing of the parent in this unit."""


@dataclass(slots=True)
class _Level:
    """A directory that the walk is in."""

    path: bytes
    name: bytes
    descriptor: int
    head: str
    previous: PreviousTree
    entries: list[tuple[bytes, os.stat_result]]
    position: int = 0
    #: Unchanged files that nobody was told of yet.
    unchanged_files: int = 0
    unchanged_bytes: int = 0
    pieces: list[bytes] = field(default_factory=list)


@dataclass(slots=True)
class _Reading:
    """The file that is being read."""

    path: bytes = b""


ResultT = TypeVar("ResultT")
#: Names and finished nodes.
Nodes = list[tuple[bytes, bytes]]


class TreeWalker:
    """Saves directories and files of one source. One per process.

    ``advance`` is told of files and bytes as they are read or found unchanged, and where; ``was_read`` of each file
    that was read, with its status at the end. Files in ``reread`` are read whatever the parent says.
    """

    def __init__(
        self,
        source: FileSource,
        saver: BlobSaver,
        index: Index,
        loader: TreeLoader,
        chunker_polynomial: str,
        *,
        is_stopped: Callable[[], bool],
        advance: Callable[[int, int, bytes], None],
        was_read: Callable[[bytes, os.stat_result], None] = lambda path, status: None,
        reread: Set[bytes] = frozenset(),
    ) -> None:
        self._was_read = was_read
        self._reread = reread
        self._patterns = source.patterns
        self._is_one_file_system = source.one_file_system
        self._saver = saver
        self._index = index
        self._loader = loader
        self._is_stopped = is_stopped
        self._advance = advance
        self._nodes = NodeWriter()
        # An object of its own: a walker that refers to itself is kept, with all the memory of its saver, until the
        # collector finds the circle; and a continuous backup makes a walker every few seconds.
        self._reading = reading = _Reading()
        self._contents = ContentReader(saver, chunker_polynomial, lambda count: advance(0, count, reading.path))
        self._is_parent_trusted = True
        self._unchecked: list[bytes] = []
        self.counts = Counts()

    def save_directory(
        self, base: int, path: bytes, name: bytes, device_id: int, tree_id: bytes | None
    ) -> bytes | None:
        """The node of directory ``name`` in the open directory ``base``, with everything below it saved.

        ``path`` is what people call it, ``device_id`` the file system to stay on when the source says so, ``tree_id``
        its tree in the parent. None when it cannot be read. Raises :class:`Stopped`, and what the store raises.
        """
        return self._with_trust(lambda: self._descend(base, path, name, device_id, tree_id))

    def save_flat(self, base: int, path: bytes, names: Iterable[bytes], tree_id: bytes | None) -> Nodes:
        """The nodes of some of an open directory's entries, in order of their names; none may be a directory."""

        def save() -> Nodes:
            level = _Level(path, b"", base, "", self.previous(tree_id), [])
            nodes: Nodes = []
            for name in sorted(names):
                status = self._status(level, name)
                if status is not None:
                    self._save_entry(level, name, status)
                if level.pieces:
                    nodes.append((name, level.pieces.pop()))
            self._tell(level)
            return nodes

        return self._with_trust(save)

    def previous(self, tree_id: bytes | None) -> PreviousTree:
        """The parent's directory, or nothing when it cannot be read: then everything is read anew."""
        if tree_id is None:
            return PreviousTree.nothing()
        try:
            return PreviousTree(tree_id, self._loader.load(tree_id))
        except (IntegrityError, ObjectNotFoundError):
            return PreviousTree.nothing()

    def directory_head(self, descriptor: int, name: bytes, status: os.stat_result) -> str:
        """The head of a directory's node. Raises ``OSError`` when its attributes cannot be read."""
        return self._nodes.head(name, status, own_attributes(descriptor))

    def finish_directory(self, pieces: list[bytes], previous: PreviousTree) -> bytes:
        """The id of the directory with these nodes, which is saved when it is new."""
        # It was loaded, so the index has it.
        if previous.tree_id is not None and pieces == previous.nodes:
            self.counts.dirs_unmodified += 1
            return previous.tree_id
        if previous.tree_id is None:
            self.counts.dirs_new += 1
        else:
            self.counts.dirs_changed += 1
        return self._saver.save(BlobType.TREE, join_nodes(pieces))

    def is_excluded(self, path: bytes) -> bool:
        """Whether the operator's patterns leave this path out."""
        return bool(self._patterns) and self._patterns.match(path)

    def _with_trust(self, save: Callable[[], ResultT]) -> ResultT:
        """Run ``save``; when the parent turns out to name content that is gone, again without believing the parent.

        So a backup heals what the repository lost, and the usual case needs no look into the index for each file.
        """
        before = replace(self.counts, problems=list(self.counts.problems))
        try:
            result = save()
            self._check_unchecked()
        except _MissingBlobError:
            self.counts = before
            self._unchecked.clear()
            self._is_parent_trusted = False
            try:
                result = save()
            finally:
                self._is_parent_trusted = True
        return result

    def _descend(self, base: int, path: bytes, name: bytes, device_id: int, tree_id: bytes | None) -> bytes | None:
        level = self._open(base, path, name, device_id, tree_id)
        levels = [] if level is None else [level]
        node: bytes | None = None
        try:
            while levels:
                level = levels[-1]
                if level.position == len(level.entries):
                    self._tell(level)
                    tree = self.finish_directory(level.pieces, level.previous)
                    node = f'{level.head}null,"subtree":"{tree.hex()}"}}'.encode()
                    os.close(levels.pop().descriptor)
                    if levels:
                        levels[-1].pieces.append(node)
                    continue
                below_name = self._save_up_to_directory(level)
                if below_name is None:
                    continue
                path = join_path(level.path, below_name)
                if len(levels) >= _DEPTH_MAX:
                    self.counts.problem(path, f"not read: more than {_DEPTH_MAX} directories deep")
                elif (
                    below := self._open(level.descriptor, path, below_name, device_id, None, level.previous)
                ) is not None:
                    levels.append(below)
        finally:
            for level in levels:
                os.close(level.descriptor)
        return node

    def _save_up_to_directory(self, level: _Level) -> bytes | None:
        """Save entries up to the next directory and give its name; None at the end."""
        entries = level.entries
        for position in range(level.position, len(entries)):
            name, status = entries[position]
            if stat.S_ISDIR(status.st_mode):
                level.position = position + 1
                return name
            self._save_entry(level, name, status)
        level.position = len(entries)
        return None

    def _open(
        self,
        base: int,
        path: bytes,
        name: bytes,
        device_id: int,
        tree_id: bytes | None,
        above: PreviousTree | None = None,
    ) -> _Level | None:
        """Enter a directory; its tree in the parent is ``tree_id``, or what ``above`` says of it."""
        self._look_up()
        try:
            descriptor = os.open(name, _DIRECTORY, dir_fd=base)
        except OSError as error:
            self.counts.problem(path, explain(error))
            return None
        try:
            status = os.fstat(descriptor)
            head = self.directory_head(descriptor, name, status)
            if above is not None:
                tree_id = self._subtree(above, head, name)
            entries: list[tuple[bytes, os.stat_result]] = []
            level = _Level(path, name, descriptor, head, self.previous(tree_id), entries)
            # A mount point is kept, as restic does, as an empty directory.
            if not self._is_one_file_system or status.st_dev == device_id:
                for entry in sorted(list_names(descriptor)):
                    if self._patterns and self._patterns.match(join_path(path, entry)):
                        continue
                    entry_status = self._status(level, entry)
                    if entry_status is not None:
                        entries.append((entry, entry_status))
        except OSError as error:
            os.close(descriptor)
            self.counts.problem(path, explain(error))
            return None
        except BaseException:
            os.close(descriptor)
            raise
        return level

    def _subtree(self, above: PreviousTree, head: str, name: bytes) -> bytes | None:
        """The tree of directory ``name`` in the parent, whatever else of it changed."""
        start = head.encode()
        known = above.match(start)
        if known is not None and (tree_id := subtree_in(known[len(start) :])) is not None:
            return tree_id
        return subtree_named(above, name)

    def _status(self, level: _Level, name: bytes) -> os.stat_result | None:
        try:
            return os.stat(name, dir_fd=level.descriptor, follow_symlinks=False)
        except OSError as error:
            self.counts.problem(join_path(level.path, name), explain(error))
            return None

    def _save_entry(self, level: _Level, name: bytes, status: os.stat_result) -> None:
        """Append the node of an entry that is no directory, or note why there is none."""
        path = join_path(level.path, name)
        try:
            extra = entry_attributes(path, level.descriptor, name)
            kind = stat.S_IFMT(status.st_mode)
            if kind == stat.S_IFREG:
                node = self._file(level, name, path, status, extra)
            else:
                if kind == stat.S_IFLNK:
                    extra = link_target(os.readlink(name, dir_fd=level.descriptor)) + extra
                elif kind in (stat.S_IFBLK, stat.S_IFCHR):
                    extra += device(status)
                node = (self._nodes.head(name, status, extra) + "null}").encode()
                level.previous.match(node)
                self.counts.others += 1
        except OSError as error:
            self.counts.problem(path, explain(error))
            return
        if node is not None:
            level.pieces.append(node)

    def _file(self, level: _Level, name: bytes, path: bytes, status: os.stat_result, extra: str) -> bytes | None:
        counts = self.counts
        head = self._nodes.head(name, status, extra).encode()
        known = level.previous.match(head)
        if self._reread and path in self._reread:
            known = None
        parent_node = level.previous.find(name) if known is None else None
        tail = b""
        if known is not None:
            tail = known[len(head) :]
        elif parent_node is not None and path not in self._reread and is_unchanged(parent_node, status):
            tail = content_tail(parent_node)
        if is_content(tail) and self._is_known(tail):
            counts.files_unmodified += 1
            counts.total_bytes += status.st_size
            level.unchanged_files += 1
            level.unchanged_bytes += status.st_size
            return head + tail if known is None else known
        node = self._read(level, name, path, extra, status, head)
        if node is not None:
            if known is None and parent_node is None:
                counts.files_new += 1
            else:
                counts.files_changed += 1
            self._advance(1, 0, path)
        return node

    def _read(
        self, level: _Level, name: bytes, path: bytes, extra: str, seen: os.stat_result, head: bytes
    ) -> bytes | None:
        """The node of a file that is read now; ``head`` is what it is as long as the file is as it was ``seen``."""
        self._look_up()
        self._reading.path = path
        descriptor = open_file(name, level.descriptor)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                self.counts.problem(path, "was swapped for something that is no file")
                return None
            ids, size = self._contents.save_file(descriptor, status)
            after = os.fstat(descriptor)
            self._was_read(path, after)
        finally:
            os.close(descriptor)
        # The times are those from before the reading: when they were the later ones, the next backup would take what
        # was torn here for unchanged.
        if size != seen.st_size or _state(status) != _state(seen):
            head = self._nodes.head(name, status, extra, size).encode()
        node = head + _content(b"".join(ids))
        self.counts.total_bytes += size
        if size != status.st_size or (after.st_mtime_ns, after.st_ctime_ns) != (status.st_mtime_ns, status.st_ctime_ns):
            self.counts.problem(path, CHANGED_WHILE_READ)
            node = node[:-1] + f',"error":"{CHANGED_WHILE_READ}"}}'.encode()
        return node

    def _is_known(self, tail: bytes) -> bool:
        """Whether the repository has all blobs of this content; while the parent is trusted, the look comes later."""
        if not self._is_parent_trusted:
            ids = ids_in_contents([tail])
            return ids is not None and bool(self._index.contains_many(BlobType.DATA, ids).all())
        self._unchecked.append(tail)
        if len(self._unchecked) >= _CHECK_COUNT:
            self._check_unchecked()
        return True

    def _check_unchecked(self) -> None:
        ids = ids_in_contents(self._unchecked)
        self._unchecked.clear()
        if ids is None or not self._index.contains_many(BlobType.DATA, ids).all():
            raise _MissingBlobError

    def _tell(self, level: _Level) -> None:
        if level.unchanged_files:
            self._advance(level.unchanged_files, level.unchanged_bytes, level.path)

    def _look_up(self) -> None:
        if self._is_stopped():
            raise Stopped


def list_names(descriptor: int) -> list[bytes]:
    """The names in an open directory, as bytes."""
    return [name.encode(_ENCODING, _ENCODING_ERRORS) for name in os.listdir(descriptor)]


def join_path(directory: bytes, name: bytes) -> bytes:
    """The path of an entry, as people write it."""
    return directory + name if directory == b"/" else directory + b"/" + name


def open_file(name: bytes, base: int) -> int:
    """A descriptor for reading, without following a link and, where that is allowed, without touching ``atime``."""
    try:
        return os.open(name, _FILE | os.O_NOATIME, dir_fd=base)
    except PermissionError:
        # Only the owner (or a capability) may leave atime alone; whoever else may read, reads.
        return os.open(name, _FILE, dir_fd=base)


def explain(error: OSError) -> str:
    """Why an entry could not be read, for people."""
    if error.errno == errno.ENOENT:
        return "vanished before it was read"
    return f"cannot be read: {os.strerror(error.errno) if error.errno else error}"


def _state(status: os.stat_result) -> tuple[object, ...]:
    """All that a node is made of: mode, inode, device, links, owner, group, size, times."""
    return (*status[:7], status.st_mtime_ns, status.st_ctime_ns)


def _content(ids: bytes) -> bytes:
    """The tail of a file's node; ``ids`` are 32 bytes each in a row."""
    texts = [ids[start : start + ID_SIZE].hex() for start in range(0, len(ids), ID_SIZE)]
    return ("[" + ",".join([f'"{text}"' for text in texts]) + "]}").encode()
