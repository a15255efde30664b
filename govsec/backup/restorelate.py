"""What the workers of a restore left: large files, files of several names, and the directories above them.

Large files and the first name of each linked file are written batch by batch, each batch by all workers, pack by pack.
The other names are links to the first, and only to it: what is found under its name must be the very inode that this
restore made. Directories come last, the deepest first, so that nothing is made in one that has its metadata already.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from govsec.backup.restorechoices import Choices
from govsec.backup.restoreparts import Deferred, Late, directory_at, file_item, finish_directory, link_key
from govsec.backup.restoretally import Tally
from govsec.backup.restorework import Batch, BatchWriter, FileItem, Inode, UnitResult, plan_batch
from govsec.backup.target import Directory, Target
from govsec.backup.walk import join_path
from govsec.clock import Clock
from govsec.errors import RefusedError
from govsec.repo.pack import ID_SIZE
from govsec.repo.repository import Repository
from govsec.repo.tree import Node
from govsec.runtime.processes import Done, Pool

_BATCH_BLOBS = 40_000
#: Files that a worker reads again before it takes the next task.
_VERIFY_FILES = 100
Key = tuple[int, int]


@dataclass(frozen=True, slots=True)
class _First:
    """The first name of a file that has several, and the inode that it got here."""

    directory: Directory
    name: bytes
    inode: Inode


class LateWork:
    """Collects what is deferred while the workers walk, and does it afterwards. ``tell`` hears when something is done.

    Not while workers of another pool are at work: it starts its own.
    """

    def __init__(
        self,
        repository: Repository,
        target: Target,
        choices: Choices,
        workers: int,
        clock: Clock,
        tally: Tally,
        tell: Callable[[], None],
    ) -> None:
        self._repository = repository
        self._target = target
        self._choices = choices
        self._workers = workers
        self._clock = clock
        self._tally = tally
        self._tell = tell
        self.directories: list[Late] = []
        self._entries: list[Deferred] = []
        #: Further names of files of which one name is deferred.
        self._links: list[tuple[Directory, bytes, Key]] = []
        self._known: set[Key] = set()
        self._firsts: dict[Key, _First] = {}
        self._places: dict[bytes, Directory] = {b"/": directory_at(b"/", was_there=True)}

    def defer(self, entry: Deferred) -> None:
        """Take note of an entry for later."""
        key = link_key(entry.node)
        if key is not None and key in self._known:
            self._links.append((self._directory(entry.path), entry.name, key))
            return
        if key is not None:
            self._known.add(key)
        self._entries.append(entry)

    def finish(self) -> None:
        """Restore everything that was deferred; then the directories."""
        entries, self._entries = self._entries, []
        files: list[FileItem] = []
        blobs_count = 0
        for entry in entries:
            directory = self._directory(entry.path)
            if entry.node.type != "file":
                self._make_special(directory, entry.name, entry.node)
                continue
            item = file_item(directory, entry.name, entry.node, is_free=entry.is_free)
            files.append(item)
            blobs_count += 1 + len(item.ids) // ID_SIZE
            if blobs_count >= _BATCH_BLOBS:
                self._write(files)
                files, blobs_count = [], 0
        if files:
            self._write(files)
        self._make_links()
        self._finish_directories()

    def _directory(self, path: bytes) -> Directory:
        """The directory at a path; one object for each, however many entries it holds."""
        found = self._places.get(path)
        if found is None:
            above, _, name = path.rpartition(b"/")
            found = self._places[path] = Directory(self._directory(above or b"/"), name, None, path, is_made=True)
        return found

    def _make_special(self, directory: Directory, name: bytes, node: Node) -> None:
        try:
            if not self._target.make_special(directory, name, node):
                return
            self._tally.others += 1
            self._found(directory, name, node, self._target.status(directory, name))
        except OSError as error:
            self._tally.note(join_path(directory.path, name), f"cannot be restored: {os.strerror(error.errno or 0)}")

    def _found(self, directory: Directory, name: bytes, node: Node, status: os.stat_result | None) -> None:
        key = link_key(node)
        if key is not None and status is not None:
            self._firsts[key] = _First(directory, name, (status.st_dev, status.st_ino))

    def _write(self, files: Sequence[FileItem]) -> None:
        batch = plan_batch(files, self._repository.index)
        writer = BatchWriter(self._repository, self._target, batch, self._tally)
        writer.prepare()
        self._run(_WriteWork, batch, writer, batch.units)
        writer.finish()
        for number, inode in writer.inodes.items():
            item = files[number]
            key = link_key(item.node)
            if key is not None:
                self._firsts[key] = _First(item.directory, item.name, inode)
        if self._choices.is_verifying:
            ranges = [(start, min(start + _VERIFY_FILES, len(files))) for start in range(0, len(files), _VERIFY_FILES)]
            self._run(_VerifyWork, batch, writer, ranges)

    def _run(
        self,
        kind: type[_WriteWork] | type[_VerifyWork],
        batch: Batch,
        writer: BatchWriter,
        tasks: Sequence[tuple[int, int]],
    ) -> None:
        def make(_: object) -> _WriteWork | _VerifyWork:
            own = self._repository.clone() if self._workers else self._repository
            return kind(own, self._target, batch, writer.failures)

        if not tasks:
            return
        with Pool(tasks, make, self._workers) as pool:
            for event in pool.events():
                if isinstance(event, Done):
                    assert isinstance(event.result, UnitResult)  # what both kinds of work give
                    writer.failures |= event.result.failures
                    writer.inodes |= event.result.inodes
                    self._tally.add(event.result.tally)
                    self._tell()

    def _make_links(self) -> None:
        links, self._links = self._links, []
        for directory, name, key in links:
            first = self._firsts.get(key)
            path = join_path(directory.path, name)
            if first is None:
                self._tally.note(path, "not restored: the file that it is another name of was not")
                continue
            try:
                if self._target.status(directory, name) is not None:
                    self._target.remove(directory, name)
                self._target.link((first.directory, first.name), first.inode, directory, name)
                self._tally.files += 1
            except (OSError, RefusedError) as error:
                self._tally.note(path, f"cannot be linked: {error}")

    def _finish_directories(self) -> None:
        late, self.directories = self.directories, []
        late.sort(key=lambda one: one.path.count(b"/"), reverse=True)
        for one in late:
            directory = self._directory(one.path)
            directory.node = one.node
            finish_directory(self._target, directory, self._tally)


class _WriteWork:
    """A worker that writes units of a batch."""

    def __init__(self, repository: Repository, target: Target, batch: Batch, failures: dict[int, str]) -> None:
        self._repository = repository
        self._tally = Tally()
        self._target = target.fresh(self._tally.note)
        self._writer = BatchWriter(repository, self._target, batch, self._tally)
        self._writer.failures.update(failures)
        self._fallbacks_told = repository.fallback_count

    def do(self, task: tuple[int, int]) -> UnitResult:
        before = set(self._writer.failures)
        self._writer.write(task)
        self._tally.fallbacks += self._repository.fallback_count - self._fallbacks_told
        self._fallbacks_told = self._repository.fallback_count
        new = {number: why for number, why in self._writer.failures.items() if number not in before}
        return UnitResult(self._tally.take(), new, self._writer.inodes)

    def finish(self) -> None:
        self._target.close()


class _VerifyWork:
    """A worker that reads restored files again. A task is a range of the batch's files."""

    def __init__(self, repository: Repository, target: Target, batch: Batch, failures: dict[int, str]) -> None:
        self._tally = Tally()
        self._target = target.fresh(self._tally.note)
        self._writer = BatchWriter(repository, self._target, batch, self._tally)
        self._writer.failures.update(failures)

    def do(self, task: tuple[int, int]) -> UnitResult:
        self._writer.verify(range(*task))
        return UnitResult(self._tally.take())

    def finish(self) -> None:
        self._target.close()
