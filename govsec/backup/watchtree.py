"""The tree of the last snapshot, brought up to date where marks say that something changed: nothing else is looked at.

One idea: a directory without a mark keeps its tree blob, whatever lies below it; a marked one is listed, its files are
compared with the nodes of the last snapshot, and those that changed are read; the directories above get new nodes. So
a window costs what changed and the depth it lies at, not the size of the source.

A directory that is new is walked wholly. One whose times changed without a mark is listed as well: its event comes
with the next window, or was lost, and both are covered. Reading is ``walk``'s, with its guards against links and fifos.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping, Set

from govsec.backup.live import LiveWindow
from govsec.backup.marks import Mark
from govsec.backup.previous import PreviousTree, decode_node, subtree_named
from govsec.backup.sources import FileSource
from govsec.backup.trees import TreeLoader
from govsec.backup.walk import Counts, TreeWalker, explain, join_path, list_names
from govsec.clock import to_ns
from govsec.errors import FormatError, SourceError
from govsec.repo.repository import WritableRepository
from govsec.repo.tree import parse_ns

_BELOW = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_GIVEN = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
#: File systems count time in ticks of up to 10 ms: a file that changes twice within one looks as if it had once. What
#: changed less than two ticks before it was read to its end is read again by the next window.
_TICK_NS = 20_000_000
#: What a directory's node ends with, between its head and its tree.
_SUBTREE = 'null,"subtree":"'


class TreeUpdate:
    """One window's work on the tree of a source. ``advance`` is told of files and bytes as they are read."""

    def __init__(
        self,
        source: FileSource,
        repository: WritableRepository,
        window: LiveWindow,
        *,
        renamed: Mapping[bytes, bytes],
        reread: Set[bytes],
        is_stopped: Callable[[], bool],
        advance: Callable[[int, int, bytes], None],
    ) -> None:
        self._renamed = renamed
        #: Files that changed a moment before they were read to their end.
        self.hot = hot = list[bytes]()
        clock = window.clock

        def was_read(path: bytes, status: os.stat_result) -> None:
            if abs(to_ns(clock.now()) - status.st_ctime_ns) <= _TICK_NS:
                hot.append(path)

        self._last_id: bytes | None = None
        self._roots = source.roots()
        self._is_one_file_system = source.one_file_system
        self._walker = TreeWalker(
            source,
            window.saver,
            repository.index,
            TreeLoader(repository),
            repository.config.chunker_polynomial,
            is_stopped=is_stopped,
            advance=advance,
            was_read=was_read,
            reread=reread,
        )
        self._device_id = 0

    @property
    def counts(self) -> Counts:
        """What was met so far."""
        return self._walker.counts

    def save(self, tree_id: bytes, marks: Mark) -> bytes:
        """The id of the root tree, from that of the last snapshot.

        Raises:
            SourceError: a path of the source is not there, or is no directory any more; it is not left out.
            Stopped: told to stop. What the store raises.
        """
        self._last_id = tree_id
        if self._roots == (b"/",):
            descriptor = os.open(b"/", _GIVEN)
            try:
                self._device_id = os.fstat(descriptor).st_dev
                return self._listed(descriptor, b"/", tree_id, marks)
            finally:
                os.close(descriptor)
        return self._given(b"/", tree_id, marks)

    def _given(self, path: bytes, tree_id: bytes | None, marks: Mark) -> bytes:
        """The tree of a directory above the roots: it holds what leads to them and nothing else."""
        previous = self._walker.previous(tree_id)
        start = path.rstrip(b"/") + b"/"
        leading = sorted({root[len(start) :].split(b"/")[0] for root in self._roots if root.startswith(start)})
        pieces = []
        for name in leading:
            below = start + name
            try:
                descriptor = os.open(below, _GIVEN)
            except OSError as error:
                raise SourceError(f"{os.fsdecode(below)}: {explain(error)}") from error
            try:
                status = os.fstat(descriptor)
                head = self._walker.directory_head(descriptor, name, status)
                below_id = subtree_named(previous, name)
                mark = marks.below.get(name, Mark(is_listed=below in self._roots))
                if below not in self._roots:
                    tree = self._given(below, below_id, mark)
                else:
                    self._device_id = status.st_dev
                    tree = self._directory(descriptor, below, below_id, mark)
            except OSError as error:
                raise SourceError(f"{os.fsdecode(below)}: {explain(error)}") from error
            finally:
                os.close(descriptor)
            pieces.append(_directory_node(head, tree))
        return self._walker.finish_directory(pieces, previous)

    def _directory(self, descriptor: int, path: bytes, tree_id: bytes | None, mark: Mark) -> bytes:
        """The tree of an open directory."""
        previous = self._walker.previous(tree_id)
        if mark.is_whole or previous.tree_id is None:
            node = self._walker.save_directory(descriptor, path, b".", self._device_id, tree_id)
            tree = None if node is None else decode_node(node).subtree
            if tree is None:
                raise OSError(0, "cannot be read any more")
            return bytes.fromhex(tree)
        if mark.is_listed:
            return self._listed(descriptor, path, tree_id, mark)
        pieces = []
        for name, node in previous.items():
            below = mark.below.get(name)
            fresh = node if below is None else self._below(descriptor, path, name, below, previous)
            if fresh is not None:
                pieces.append(fresh)
        return self._walker.finish_directory(pieces, previous)

    def _listed(self, descriptor: int, path: bytes, tree_id: bytes | None, mark: Mark) -> bytes:
        previous = self._walker.previous(tree_id)
        known = dict(previous.items())
        files: list[bytes] = []
        nodes: list[tuple[bytes, bytes]] = []
        for name in list_names(descriptor):
            below_path = join_path(path, name)
            if self._walker.is_excluded(below_path):
                continue
            try:
                status = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
            except FileNotFoundError:
                continue  # it went between the two calls; its event comes
            if not stat.S_ISDIR(status.st_mode):
                files.append(name)
                continue
            node = known.get(name)
            below = mark.below.get(name)
            if below is None and node is not None and _is_same_directory(node, status):
                nodes.append((name, node))
                continue
            fresh = self._below(descriptor, path, name, below or Mark(is_listed=True), previous)
            if fresh is not None:
                nodes.append((name, fresh))
        nodes += self._walker.save_flat(descriptor, path, files, tree_id)
        return self._walker.finish_directory([node for _, node in sorted(nodes)], previous)

    def _below(self, base: int, path: bytes, name: bytes, mark: Mark, previous: PreviousTree) -> bytes | None:
        """The node of a directory in an open one; None when it is gone, or is no directory any more."""
        below_path = join_path(path, name)
        try:
            descriptor = os.open(name, _BELOW, dir_fd=base)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            self._walker.counts.problem(below_path, explain(error))
            return None
        try:
            status = os.fstat(descriptor)
            head = self._walker.directory_head(descriptor, name, status)
            if self._is_one_file_system and status.st_dev != self._device_id:
                return self._walker.save_directory(base, below_path, name, self._device_id, None)
            tree_id = subtree_named(previous, name)
            old_path = self._renamed.get(below_path)
            if old_path is not None:
                # All that it holds keeps its times when a directory is renamed: nothing is read again.
                tree_id, mark = self._tree_at(old_path), Mark(is_whole=True)
            return _directory_node(head, self._directory(descriptor, below_path, tree_id, mark))
        except OSError as error:
            self._walker.counts.problem(below_path, explain(error))
            return None
        finally:
            os.close(descriptor)

    def _tree_at(self, path: bytes) -> bytes | None:
        """The tree that the last snapshot has at ``path``."""
        tree_id = self._last_id
        for name in path.strip(b"/").split(b"/"):
            if tree_id is not None:
                tree_id = subtree_named(self._walker.previous(tree_id), name)
        return tree_id


def refuse_emptied(source: FileSource, repository: WritableRepository, tree_id: bytes) -> None:
    """Return when no path of the source looks like the place of a file system that is not mounted.

    A folder that is empty, is not the one that the last snapshot saw, and had entries then.

    Raises:
        SourceError: one does.
    """
    loader = TreeLoader(repository)

    def previous(tree: bytes | None) -> PreviousTree:
        return PreviousTree.nothing() if tree is None else PreviousTree(tree, loader.load(tree))

    for root in source.roots():
        found, node = tree_id, None
        for name in root.strip(b"/").split(b"/"):
            above = previous(found)
            node, below = above.find(name), subtree_named(above, name)
            if below is None:
                break
            found = below
        else:
            try:
                is_empty = not os.listdir(root)  # noqa: PTH208 - bytes
                inode = os.stat(root).st_ino  # noqa: PTH116 - bytes
            except OSError as error:
                raise SourceError(f"{os.fsdecode(root)}: {explain(error)}") from error
            if is_empty and node is not None and node.inode != inode and previous(found).nodes:
                raise SourceError(
                    f"{os.fsdecode(root)}: empty, and not the folder that was backed up before; is its file system "
                    "mounted? (--accept-source when it was emptied on purpose)"
                )


def _directory_node(head: str, tree_id: bytes) -> bytes:
    return f'{head}{_SUBTREE}{tree_id.hex()}"}}'.encode()


def _is_same_directory(data: bytes, status: os.stat_result) -> bool:
    """Whether the last snapshot saw this directory, with these entries and attributes: all of them move its ctime."""
    try:
        node = decode_node(data)
        return node.type == "dir" and node.inode == status.st_ino and parse_ns(node.ctime) == status.st_ctime_ns
    except FormatError:
        return False
