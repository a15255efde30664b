"""Walking a snapshot's trees and writing what they hold: what each worker of a restore does.

One idea: no process plans for the others. Whoever walks a directory also makes it, writes its files and sets its
metadata; a worker that sees another without work gives away directories that it has not entered (a ``Part``), from
as high up as it can, so that the parts are large and few. Files are collected until a batch is full and are then
written pack by pack (``restorework``), so memory does not grow with the snapshot.

Directories get their metadata when everything below them is done: until then they are this process's alone. What
cannot be done by one worker makes the directories above it *late*; they and it are left to the parent: files with
several names, because the names may lie in several parts, and files so large that several workers should write them.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass

from govsec.backup.restorechoices import Choices
from govsec.backup.restoreparts import (
    Deferred,
    Late,
    Part,
    directory_at,
    file_item,
    finish_directory,
    link_key,
)
from govsec.backup.restoretally import Tally
from govsec.backup.restorework import BatchWriter, FileItem, plan_batch
from govsec.backup.target import Directory, Target
from govsec.backup.trees import TreeLoader
from govsec.backup.walk import join_path, list_names
from govsec.clock import Clock
from govsec.errors import IntegrityError, LimitError, ObjectNotFoundError
from govsec.repo.pack import ID_SIZE
from govsec.repo.repository import Repository
from govsec.repo.tree import Node, decode_tree, raw_name
from govsec.runtime.processes import Desk

#: A batch is full with so many blobs or bytes: some packs' worth, and less than a second's work at the very end, when
#: the other workers have nothing to do any more.
_BATCH_BLOBS = 4000
_BATCH_BYTES = 64 << 20
#: Files from this size on are written by all workers together.
_LARGE_BYTES = 64 << 20
#: What was done is told as often as this, so that progress is seen.
_TOLD_BYTES = 8 << 20
_DEPTH_MAX = 2000
#: Directories given away at once, and how many are walked before a worker gives away more.
_SHARED_MAX = 1000
_SHARE_AFTER = 8


@dataclass(slots=True)
class _Level:
    """A directory that the walk is in."""

    directory: Directory
    #: Subdirectories that were not entered yet, the next one last.
    pending: list[Node]
    names: set[bytes]
    is_included: bool
    is_whole: bool = True


class RestoreWork:
    """A worker that restores parts. Posts its :class:`Tally`, and what is to be done by others."""

    def __init__(self, desk: Desk, repository: Repository, target: Target, choices: Choices, clock: Clock) -> None:
        self._desk = desk
        self._repository = repository
        self._loader = TreeLoader(repository)
        self._choices = choices
        self._clock = clock
        self._tally = Tally()
        self._target = target.fresh(self._tally.note)
        self._levels: list[_Level] = []
        self._depth = 0
        self._files: list[FileItem] = []
        self._files_blobs = self._files_bytes = 0
        self._closed: list[Directory] = []
        self._unshared = 0
        self._fallbacks_told = repository.fallback_count

    def do(self, task: Part) -> None:
        """Restore all of a part."""
        directory = directory_at(task.path, was_there=task.was_there)
        # Who gave the part away sees to the directory itself.
        directory.is_late = True
        self._depth = task.path.count(b"/") if task.path != b"/" else 0
        with self._tally.phase("worker_walk", self._clock):
            self._enter(directory, task.nodes, task.is_included, is_whole=task.is_whole)
        while self._levels:
            with self._tally.phase("worker_walk", self._clock):
                is_full = self._walk()
            if is_full:
                self._finish_batch()
        self._finish_batch()

    def finish(self) -> None:
        self._target.close()

    def _walk(self) -> bool:
        """Go on until a batch is full (True) or all was seen."""
        while self._levels:
            level = self._levels[-1]
            if not level.pending:
                self._levels.pop()
                self._leave(level)
            else:
                self._descend(level, level.pending.pop())
                self._unshared += 1
                if self._unshared >= _SHARE_AFTER and self._desk.is_anyone_idle():
                    self._share()
            if self._files_blobs >= _BATCH_BLOBS or self._files_bytes >= _BATCH_BYTES:
                return True
        return False

    def _descend(self, level: _Level, node: Node) -> None:
        name = raw_name(node)
        path = join_path(level.directory.path, name)
        if self._choices.exclude.match(path):
            return
        is_included = level.is_included or self._choices.include.match(path)
        if not is_included and not self._choices.include.may_match_below(path):
            return
        if self._depth + len(self._levels) >= _DEPTH_MAX:
            raise LimitError(f"snapshot: more than {_DEPTH_MAX} directories deep")
        assert node.subtree is not None  # decode_tree refuses a directory without one
        below = Directory(level.directory, name, node, path)
        if is_included and not self._ensure(below):
            return
        try:
            nodes = decode_tree(self._loader.load(bytes.fromhex(node.subtree))).nodes
        except (IntegrityError, ObjectNotFoundError) as error:
            self._tally.note(path, f"directory cannot be read: {error}")
            return
        self._enter(below, nodes, is_included)

    def _enter(self, directory: Directory, nodes: Sequence[Node], is_included: bool, *, is_whole: bool = True) -> None:
        """Take what is no directory; the others come next."""
        pending: list[Node] = []
        for node in nodes:
            if node.type == "dir":
                pending.append(node)
                continue
            name = raw_name(node)
            path = join_path(directory.path, name)
            if self._choices.exclude.match(path):
                continue
            if is_included or self._choices.include.match(path):
                self._take(directory, name, path, node)
                if self._files_blobs >= 2 * _BATCH_BLOBS:  # one directory may hold a million files
                    self._finish_batch()
        pending.reverse()
        names = {raw_name(node) for node in nodes} if self._choices.is_deleting else set()
        self._levels.append(_Level(directory, pending, names, is_included, is_whole))

    def _leave(self, level: _Level) -> None:
        directory = level.directory
        if not directory.is_made:
            return
        if level.is_whole and level.is_included and directory.was_there and self._choices.is_deletable(directory.path):
            self._delete_others(directory, level.names)
        # A directory that was there and only leads to what was asked for keeps its own metadata.
        if directory.node is not None and (level.is_included or not directory.was_there):
            if directory.is_late:
                self._desk.post(Late(directory.path, directory.node))
            else:
                self._closed.append(directory)

    def _share(self) -> None:
        """Give away half of what was not entered on the highest level that has any."""
        if sum(len(level.pending) for level in self._levels) < 2:
            return
        for level in self._levels:
            if level.pending and level.directory.is_made:
                count = min(_SHARED_MAX, (len(level.pending) + 1) // 2)
                shared, level.pending = level.pending[:count], level.pending[count:]
                directory = level.directory
                self._desk.post(Part(directory.path, directory.was_there, level.is_included, shared[::-1]))
                _be_late(directory)
                self._unshared = 0
                return

    def _ensure(self, directory: Directory) -> bool:
        """Make a directory and those above it; False when that is not possible."""
        if directory.is_made is None:
            assert directory.above is not None  # the top is made
            if not self._ensure(directory.above):
                directory.is_made = False
                return False
            try:
                directory.is_made = self._make(directory)
            except OSError as error:
                directory.is_made = False
                self._tally.note(directory.path, f"directory cannot be made: {os.strerror(error.errno or 0)}")
        return directory.is_made

    def _make(self, directory: Directory) -> bool:
        assert directory.above is not None and directory.node is not None  # only the top has neither
        self._tally.directories += 1
        status = self._status(directory.above, directory.name)
        if status is not None and not stat.S_ISDIR(status.st_mode):
            if not self._choices.is_replaced(directory.node, status):
                why = "left out with all below: something that is no directory is there"
                self._tally.note(directory.path, why)
                return False
            if not self._choices.is_dry_run:
                self._target.remove(directory.above, directory.name)
        if not self._choices.is_dry_run:
            self._target.make_directory(directory)
        directory.was_there = status is not None and stat.S_ISDIR(status.st_mode)
        return True

    def _take(self, directory: Directory, name: bytes, path: bytes, node: Node) -> None:
        """Collect an entry that is no directory, or restore it at once when it has no content."""
        if not self._ensure(directory):
            return
        try:
            status = self._status(directory, name)
            if status is not None and not self._choices.is_replaced(node, status):
                self._tally.skipped += 1
                return
            if self._choices.is_dry_run:
                self._tally.files += node.type == "file"
                self._tally.others += node.type != "file"
                self._tally.size_bytes += node.size
                return
            if status is not None and (node.type != "file" or not stat.S_ISREG(status.st_mode)):
                # A directory is removed only when it is empty, or when everything foreign is to go.
                self._target.remove(directory, name, with_content=self._choices.is_deletable(path))
                status = None
            self._collect(directory, name, node, is_free=status is None)
        except OSError as error:
            self._tally.note(path, f"cannot be restored: {os.strerror(error.errno or 0)}")

    def _collect(self, directory: Directory, name: bytes, node: Node, *, is_free: bool) -> None:
        if link_key(node) is not None or (node.type == "file" and node.size >= _LARGE_BYTES):
            self._desk.post(Deferred(directory.path, name, node, is_free))
            _be_late(directory)
        elif node.type != "file":
            self._tally.others += self._target.make_special(directory, name, node)
        else:
            item = file_item(directory, name, node, is_free=is_free)
            self._files.append(item)
            self._files_blobs += 1 + len(item.ids) // ID_SIZE
            self._files_bytes += node.size

    def _finish_batch(self) -> None:
        files, self._files, self._files_blobs, self._files_bytes = self._files, [], 0, 0
        if files:
            with self._tally.phase("worker_write", self._clock):
                batch = plan_batch(files, self._repository.index)
                writer = BatchWriter(self._repository, self._target, batch, self._tally)
                writer.prepare()
                for unit in batch.units:
                    writer.write(unit)
                    if self._tally.size_bytes >= _TOLD_BYTES:
                        self._tell()
                writer.finish()
            if self._choices.is_verifying:
                with self._tally.phase("worker_verify", self._clock):
                    writer.verify(range(len(files)))
        with self._tally.phase("worker_metadata", self._clock):
            closed, self._closed = self._closed, []
            for directory in closed:
                if not self._choices.is_dry_run:
                    finish_directory(self._target, directory, self._tally)
        self._tell()

    def _tell(self) -> None:
        fallbacks = self._repository.fallback_count
        self._tally.fallbacks += fallbacks - self._fallbacks_told
        self._fallbacks_told = fallbacks
        self._desk.post(self._tally.take())

    def _delete_others(self, directory: Directory, names: set[bytes]) -> None:
        try:
            for name in list_names(self._target.descriptor(directory)):
                path = join_path(directory.path, name)
                if name not in names and not self._choices.exclude.match(path):
                    self._tally.deleted += 1
                    if not self._choices.is_dry_run:
                        self._target.remove(directory, name, with_content=True)
        except OSError as error:
            self._tally.note(directory.path, f"foreign entries cannot be removed: {os.strerror(error.errno or 0)}")

    def _status(self, directory: Directory, name: bytes) -> os.stat_result | None:
        if not directory.was_there:
            return None  # this run made it; what somebody puts there meanwhile is met as an error, not written over
        try:
            return self._target.status(directory, name)
        except OSError:
            if self._choices.is_dry_run:  # the directory was not made
                return None
            raise


def _be_late(directory: Directory | None) -> None:
    while directory is not None and not directory.is_late:
        directory.is_late = True
        directory = directory.above
