"""Restoring: a snapshot, or a part of it, becomes files again.

The work goes in batches, so memory does not grow with the snapshot: a walk of the trees makes directories and collects
files until a batch is full; the files' content is then written pack by pack by forked workers, each blob fetched once
however many files hold it; links, and the metadata of the directories that are complete, come last.

What is damaged or missing at the first center is read from the repository's other stores, blob by blob. What none of
them has is a problem of the files that need it, and no reason to give up the others.

Nothing is written outside the target (``target``). Content is not synced file by file: that would make a restore many
times longer, and a restore that a crash interrupts is run again; with ``is_durable`` the file system is synced once,
at the end, before the report says that it is done.
"""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from govsec.backup.patterns import Patterns
from govsec.backup.restorework import (
    Batch,
    FileItem,
    RestoreWork,
    UnitResult,
    VerifyWork,
    plan_batch,
    verify_tasks,
)
from govsec.backup.target import Directory, Powers, Target, open_target
from govsec.backup.trees import TreeLoader
from govsec.backup.walk import Problem, join_path, list_names
from govsec.clock import Clock, SystemClock
from govsec.errors import IntegrityError, LimitError, ObjectNotFoundError, RefusedError
from govsec.progress import Progress, ProgressSink, silent
from govsec.repo.pack import ID_SIZE
from govsec.repo.repository import Repository
from govsec.repo.snapshot import Snapshot
from govsec.repo.tree import Node, decode_tree, parse_ns, raw_name
from govsec.runtime.processes import Desk, Done, Pool, workers_default

_BATCH_BLOBS = 40_000
_DEPTH_MAX = 2000
_PROBLEMS_MAX = 1000


class Overwrite(StrEnum):
    """What becomes of a file that is there already. The words are restic's."""

    ALWAYS = "always"
    #: Leave a file of the same size and modification time.
    IF_CHANGED = "if-changed"
    #: Replace only what is older than the snapshot's.
    IF_NEWER = "if-newer"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class RestoreReport:
    """What a restore did; in a dry run, what it would do."""

    snapshot_id: str
    files: int
    size_bytes: int
    directories: int
    #: Links, fifos and devices.
    others: int
    #: Files that were there and were left, by the choice of overwriting.
    skipped: int
    deleted: int
    verified: int
    #: Blobs that came from another pack or store than the one that was asked first.
    fallbacks: int
    #: The first thousand; ``problems_count`` says how many there were.
    problems: tuple[Problem, ...]
    problems_count: int
    seconds: dict[str, float]

    @property
    def is_complete(self) -> bool:
        """True when everything that was asked for is there, as it was."""
        return not self.problems_count


def restore(
    repository: Repository,
    snapshot: Snapshot,
    target: Path,
    *,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    overwrite: Overwrite = Overwrite.ALWAYS,
    is_deleting: bool = False,
    is_dry_run: bool = False,
    is_verifying: bool = False,
    is_durable: bool = False,
    allow_devices: bool = False,
    allow_set_id: bool = False,
    workers: int | None = None,
    clock: Clock | None = None,
    progress: ProgressSink = silent,
) -> RestoreReport:
    """Write ``snapshot`` below ``target``, each entry at its path.

    ``include`` and ``exclude`` are patterns for paths in the snapshot. With ``is_deleting``, what lies in restored
    directories and is not in the snapshot is removed. With ``is_verifying``, every file is read again and compared.
    Owners, devices and set-id bits need root; the latter two are restored only when allowed.

    Raises:
        RefusedError: the target cannot be used.
        ObjectNotFoundError, IntegrityError: no store gives the snapshot's root tree.
        StoreError: no store answers.
    """
    run = _Run(
        repository,
        _Choices(Patterns(include), Patterns(exclude), overwrite, is_deleting, is_dry_run, is_verifying),
        workers_default() if workers is None else workers,
        clock or SystemClock(),
        progress,
    )
    # After the snapshot was chosen: an index that is loaded later knows at least what it names.
    repository.load_index()
    # A dry run makes nothing, not even the target; what is not there is looked at as an empty directory would be.
    descriptor = os.open(os.devnull, os.O_RDONLY) if is_dry_run and not target.exists() else open_target(target)
    try:
        is_root = os.geteuid() == 0
        powers = Powers(owners=is_root, devices=is_root and allow_devices, set_id=allow_set_id)
        run.restore(snapshot, descriptor, powers)
        if is_durable and not is_dry_run:
            with run.phase("sync"):
                os.sync()
    finally:
        os.close(descriptor)
    return run.report(snapshot)


@dataclass(frozen=True, slots=True)
class _Choices:
    include: Patterns
    exclude: Patterns
    overwrite: Overwrite
    is_deleting: bool
    is_dry_run: bool
    is_verifying: bool


@dataclass(slots=True)
class _Level:
    """A directory that the walk is in, and what is left of it."""

    directory: Directory
    nodes: Iterator[Node]
    names: set[bytes]
    is_included: bool


@dataclass(frozen=True, slots=True)
class _First:
    """The first name of a file that has several, and the inode it got here; None as long as it has none."""

    directory: Directory
    name: bytes
    inode: tuple[int, int] | None


class _Run:
    """One restore under way."""

    def __init__(
        self, repository: Repository, choices: _Choices, workers: int, clock: Clock, progress: ProgressSink
    ) -> None:
        self._repository = repository
        self._loader = TreeLoader(repository)
        self._choices = choices
        self._workers = workers
        self._clock = clock
        self._progress = progress
        self._files: list[FileItem] = []
        self._files_blobs = 0
        self._links: list[tuple[Directory, bytes, tuple[int, int]]] = []
        self._closed: list[Directory] = []
        self._firsts: dict[tuple[int, int], _First] = {}
        self._deletable: tuple[bytes, ...] = ()
        self._counts = dict.fromkeys(("files", "bytes", "directories", "others", "skipped", "deleted", "verified"), 0)
        self._problems: list[Problem] = []
        self._problems_count = 0
        self._total: tuple[int | None, int | None] = (None, None)
        self._seconds: dict[str, float] = {}
        self._fallbacks = 0

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time a part of the work; parts of one name add up."""
        before = self._clock.monotonic()
        try:
            yield
        finally:
            self._seconds[name] = round(self._seconds.get(name, 0.0) + self._clock.monotonic() - before, 6)

    def report(self, snapshot: Snapshot) -> RestoreReport:
        """What was done so far."""
        counts = self._counts
        return RestoreReport(
            snapshot_id=snapshot.id,
            files=counts["files"],
            size_bytes=counts["bytes"],
            directories=counts["directories"],
            others=counts["others"],
            skipped=counts["skipped"],
            deleted=counts["deleted"],
            verified=counts["verified"],
            fallbacks=self._fallbacks + self._repository.fallback_count,
            problems=tuple(self._problems),
            problems_count=self._problems_count,
            seconds=self._seconds,
        )

    def restore(self, snapshot: Snapshot, root: int, powers: Powers) -> None:
        """Do it all."""
        if snapshot.summary is not None and not self._choices.include and not self._choices.exclude:
            self._total = (snapshot.summary.total_files_processed, snapshot.summary.total_bytes_processed)
        self._deletable = tuple(os.fsencode(path) for path in snapshot.paths)
        target = Target(root, powers, self._note)
        top = Directory(None, b"", None, b"/", is_made=True, was_there=True)
        with closing(target):
            with self.phase("plan"):
                walk = self._walk(target, top, bytes.fromhex(snapshot.tree))
            is_more = True
            while is_more:
                with self.phase("plan"):
                    is_more = next(walk, None) is not None
                self._finish_batch(target)

    def _walk(self, target: Target, top: Directory, tree_id: bytes) -> Iterator[bool]:
        """Make directories and collect files; yields when a batch is full."""
        levels = [self._enter(target, top, tree_id, not self._choices.include)]
        while levels:
            level = levels[-1]
            node = next(level.nodes, None)
            if node is None:
                levels.pop()
                self._leave(target, level)
                continue
            name = raw_name(node)
            path = join_path(level.directory.path, name)
            if self._choices.exclude.match(path):
                continue
            is_included = level.is_included or self._choices.include.match(path)
            if node.type != "dir":
                if is_included:
                    self._take(target, level.directory, name, node)
                if self._files_blobs >= _BATCH_BLOBS:
                    yield True
            elif is_included or self._choices.include.may_match_below(path):
                if len(levels) >= _DEPTH_MAX:
                    raise LimitError(f"snapshot: more than {_DEPTH_MAX} directories deep")
                assert node.subtree is not None  # decode_tree refuses a directory without one
                below = Directory(level.directory, name, node, path)
                if is_included and not self._ensure(target, below):
                    continue
                try:
                    levels.append(self._enter(target, below, bytes.fromhex(node.subtree), is_included))
                except (IntegrityError, ObjectNotFoundError) as error:
                    self._note(path, f"directory cannot be read: {error}")

    def _enter(self, target: Target, directory: Directory, tree_id: bytes, is_included: bool) -> _Level:
        nodes = decode_tree(self._loader.load(tree_id)).nodes
        names = {raw_name(node) for node in nodes} if self._choices.is_deleting else set()
        return _Level(directory, iter(nodes), names, is_included)

    def _leave(self, target: Target, level: _Level) -> None:
        directory = level.directory
        if not directory.is_made:
            return
        if self._choices.is_deleting and level.is_included and directory.was_there:
            self._delete_others(target, directory, level.names)
        # A directory that was there and only leads to what was asked for keeps its own metadata.
        if directory.node is not None and (level.is_included or not directory.was_there):
            self._closed.append(directory)

    def _ensure(self, target: Target, directory: Directory) -> bool:
        """Make a directory and those above it; False when that is not possible."""
        if directory.is_made is None:
            assert directory.above is not None  # the top is made
            if not self._ensure(target, directory.above):
                directory.is_made = False
                return False
            try:
                directory.is_made = self._make(target, directory)
            except OSError as error:
                directory.is_made = False
                self._note(directory.path, f"directory cannot be made: {os.strerror(error.errno or 0)}")
        return directory.is_made

    def _make(self, target: Target, directory: Directory) -> bool:
        assert directory.above is not None and directory.node is not None  # only the top has neither
        self._counts["directories"] += 1
        status = self._status(target, directory.above, directory.name)
        if status is not None and not stat.S_ISDIR(status.st_mode):
            if not self._is_replaced(directory.node, status):
                self._note(directory.path, "left out with all below: something that is no directory is there")
                return False
            if not self._choices.is_dry_run:
                target.remove(directory.above, directory.name)
        if not self._choices.is_dry_run:
            target.make_directory(directory)
        directory.was_there = status is not None and stat.S_ISDIR(status.st_mode)
        return True

    def _take(self, target: Target, directory: Directory, name: bytes, node: Node) -> None:
        """Collect an entry that is no directory, or restore it at once when it has no content."""
        if not self._ensure(target, directory):
            return
        path = join_path(directory.path, name)
        try:
            status = self._status(target, directory, name)
            if status is not None and not self._is_replaced(node, status):
                self._counts["skipped"] += 1
                return
            if self._choices.is_dry_run:
                self._counts["files" if node.type == "file" else "others"] += 1
                self._counts["bytes"] += node.size
                return
            if status is not None and (node.type != "file" or not stat.S_ISREG(status.st_mode)):
                # A directory is removed only when it is empty, or when everything foreign is to go.
                target.remove(directory, name, with_content=self._is_deletable(path))
                status = None
            self._collect(target, directory, name, node, is_free=status is None)
        except OSError as error:
            self._note(path, f"cannot be restored: {os.strerror(error.errno or 0)}")

    def _collect(self, target: Target, directory: Directory, name: bytes, node: Node, *, is_free: bool) -> None:
        key = _link_key(node)
        if key is not None and key in self._firsts:
            self._links.append((directory, name, key))
            return
        if node.type != "file":
            if target.make_special(directory, name, node):
                self._counts["others"] += 1
                status = target.status(directory, name)
                if key is not None and status is not None:
                    self._firsts[key] = _First(directory, name, (status.st_dev, status.st_ino))
            return
        if key is not None:
            self._firsts[key] = _First(directory, name, None)
        ids = b"".join(bytes.fromhex(blob_id) for blob_id in node.content or ())
        work_name = name if is_free else b".govsec-" + secrets.token_hex(8).encode()
        self._files.append(FileItem(directory, name, node, ids, work_name))
        self._files_blobs += 1 + len(ids) // ID_SIZE

    def _finish_batch(self, target: Target) -> None:
        files, self._files, self._files_blobs = self._files, [], 0
        with self.phase("plan"):
            batch = plan_batch(files, self._repository.index)
            failed = self._prepare(target, batch)
        with self.phase("write"):
            self._run_pool(RestoreWork, batch.units, batch, target, failed)
        with self.phase("finish"):
            self._finish_files(target, batch, failed)
            self._make_links(target)
        if self._choices.is_verifying:
            with self.phase("verify"):
                self._run_pool(VerifyWork, verify_tasks(batch, failed), batch, target, failed)
        with self.phase("finish"):
            closed, self._closed = self._closed, []
            for directory in closed:
                self._finish_directory(target, directory)
        target.close()

    def _prepare(self, target: Target, batch: Batch) -> set[int]:
        """Make the files that several workers write to; the numbers of those that cannot be restored."""
        failed: set[int] = set()
        for number, item in enumerate(batch.files):
            size = int(batch.sizes[number])
            try:
                if size < 0:
                    self._fail(failed, number, item, "the repository's index does not know all of its content")
                elif not item.is_single:
                    descriptor = target.create(item.directory, item.work_name)
                    try:
                        os.ftruncate(descriptor, size)
                    finally:
                        os.close(descriptor)
                if size >= 0 and size != item.node.size:
                    self._note(item.path, f"its content is {size} bytes, its entry says {item.node.size}")
            except OSError as error:
                self._fail(failed, number, item, f"cannot be made: {os.strerror(error.errno or 0)}")
        return failed

    def _run_pool(
        self,
        kind: type[RestoreWork] | type[VerifyWork],
        tasks: Sequence[tuple[int, int]],
        batch: Batch,
        target: Target,
        failed: set[int],
    ) -> None:
        if not tasks:
            return

        def make(desk: Desk) -> RestoreWork | VerifyWork:
            own = self._repository.clone() if self._workers else self._repository
            return kind(desk, own, target, batch)

        with Pool(tasks, make, self._workers) as pool:
            for event in pool.events():
                if isinstance(event, Done):
                    assert isinstance(event.result, UnitResult)  # what both kinds of work give
                    self._take_result(event.result, batch, failed, is_verifying=kind is VerifyWork)

    def _take_result(self, result: UnitResult, batch: Batch, failed: set[int], *, is_verifying: bool) -> None:
        for number, why in result.failures:
            self._fail(failed, number, batch.files[number], why)
        for path, what in result.notes:
            self._note(path, what)
        for number, inode in result.inodes.items():
            self._found(batch.files[number], inode)
        self._fallbacks += result.fallbacks if self._workers else 0
        self._counts["bytes"] += result.size_bytes
        self._counts["verified" if is_verifying else "files"] += result.done
        files, size_bytes = self._total
        self._progress(
            Progress(
                "verify" if is_verifying else "restore",
                done_bytes=self._counts["bytes"],
                total_bytes=size_bytes,
                done_items=self._counts["verified" if is_verifying else "files"],
                total_items=files,
            )
        )

    def _finish_files(self, target: Target, batch: Batch, failed: set[int]) -> None:
        """Metadata and final names of files of several pieces or none; what failed is taken away again."""
        for number, item in enumerate(batch.files):
            try:
                if number in failed:
                    if target.status(item.directory, item.work_name) is not None:
                        target.remove(item.directory, item.work_name)
                elif not item.is_single:
                    descriptor = target.open_for_writing(item.directory, item.work_name)
                    try:
                        target.set_file_metadata(descriptor, item.node, item.path)
                        status = os.fstat(descriptor)
                    finally:
                        os.close(descriptor)
                    if item.work_name != item.name:
                        target.rename(item.directory, item.work_name, item.name)
                    self._found(item, (status.st_dev, status.st_ino))
                    self._counts["files"] += 1
            except OSError as error:
                self._fail(failed, number, item, f"cannot be finished: {os.strerror(error.errno or 0)}")

    def _found(self, item: FileItem, inode: tuple[int, int]) -> None:
        key = _link_key(item.node)
        if key is not None:
            self._firsts[key] = _First(item.directory, item.name, inode)

    def _make_links(self, target: Target) -> None:
        links, self._links = self._links, []
        for directory, name, key in links:
            first = self._firsts[key]
            path = join_path(directory.path, name)
            if first.inode is None:
                self._note(path, "not restored: the file that it is another name of was not")
                continue
            try:
                if target.status(directory, name) is not None:
                    target.remove(directory, name)
                target.link((first.directory, first.name), first.inode, directory, name)
                self._counts["files"] += 1
            except (OSError, RefusedError) as error:
                self._note(path, f"cannot be linked: {error}")

    def _finish_directory(self, target: Target, directory: Directory) -> None:
        assert directory.node is not None  # only the top has none, and it is never closed
        if self._choices.is_dry_run:
            return
        try:
            target.set_metadata(target.descriptor(directory), directory.node, directory.path)
        except OSError as error:
            self._note(directory.path, f"metadata: {os.strerror(error.errno or 0)}")

    def _delete_others(self, target: Target, directory: Directory, names: set[bytes]) -> None:
        if not self._is_deletable(directory.path):
            return
        try:
            for name in list_names(target.descriptor(directory)):
                path = join_path(directory.path, name)
                if name not in names and not self._choices.exclude.match(path):
                    self._counts["deleted"] += 1
                    if not self._choices.is_dry_run:
                        target.remove(directory, name, with_content=True)
        except OSError as error:
            self._note(directory.path, f"foreign entries cannot be removed: {os.strerror(error.errno or 0)}")

    def _is_deletable(self, path: bytes) -> bool:
        """Whether the snapshot speaks for all of a directory: not for those that only lead to what was backed up."""
        return self._choices.is_deleting and any(
            path == root or path.startswith(root.rstrip(b"/") + b"/") for root in self._deletable
        )

    def _is_replaced(self, node: Node, status: os.stat_result) -> bool:
        overwrite = self._choices.overwrite
        if overwrite is Overwrite.IF_NEWER:
            return parse_ns(node.mtime) > status.st_mtime_ns
        if overwrite is Overwrite.IF_CHANGED:
            is_file = node.type == "file" and stat.S_ISREG(status.st_mode)
            return not (is_file and node.size == status.st_size and parse_ns(node.mtime) == status.st_mtime_ns)
        return overwrite is Overwrite.ALWAYS

    def _status(self, target: Target, directory: Directory, name: bytes) -> os.stat_result | None:
        if not directory.was_there:
            return None  # this run made it; what somebody puts there meanwhile is met as an error, not written over
        try:
            return target.status(directory, name)
        except OSError:
            if self._choices.is_dry_run:  # the directory was not made
                return None
            raise

    def _fail(self, failed: set[int], number: int, item: FileItem, why: str) -> None:
        if number not in failed:
            failed.add(number)
            self._note(item.path, why)

    def _note(self, path: bytes, what: str) -> None:
        self._problems_count += 1
        if len(self._problems) < _PROBLEMS_MAX:
            self._problems.append(Problem(os.fsdecode(path), what))


def _link_key(node: Node) -> tuple[int, int] | None:
    """What the names of one file have in common; None for a file with one name."""
    return (node.device_id, node.inode) if node.links > 1 and node.inode else None
