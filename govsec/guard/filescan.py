"""Passes over files: the metadata of everything, the contents of what changed.

One idea: a pass asks the kernel for the marks of each file (one call) and compares them with those it knows; only a
file whose marks are others is read and hashed. Files that are known come first, whatever else was put beside them: who
makes files without end hides no change. Links are not followed and file systems not crossed: a hung network mount below
a root is not entered. What could not be read is counted by reason, and a file that vanishes meanwhile is no fault.
"""

from __future__ import annotations

import fnmatch
import hashlib
import os
import re
import stat
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from govsec.guard.filestate import NO_DIGEST, marks_of

_BLOCK_SIZE = 1 << 20


class FileScanner:
    """Goes over the files below ``roots``, but those that match a pattern of ``exclude``.

    ``files_max``: more are counted, not given; those that are known count among them. ``hash_size_max``: of larger
    files the marks alone count. ``pass_size_max``: so much is read of changed files in one pass over known ones.
    """

    def __init__(
        self,
        roots: Sequence[str],
        exclude: Sequence[str],
        *,
        files_max: int = 1_000_000,
        hash_size_max: int = 1 << 30,
        pass_size_max: int = 1 << 33,
    ) -> None:
        self.roots = tuple(roots)
        self._is_excluded = _matcher(exclude)
        self._files_max = files_max
        self.pass_size_max = pass_size_max
        self._hash_size_max = hash_size_max
        self.counts: Counter[str] = Counter()

    def covers(self, path: str) -> bool:
        """The path lies below a root and is not excluded, nor is a folder above it."""
        if not any(path == root or path.startswith(root.rstrip("/") + "/") for root in self.roots):
            return False
        parts = path.split("/")
        return not any(self._is_excluded("/".join(parts[:count])) for count in range(2, len(parts) + 1))

    def walk(self, known: Collection[str] = ()) -> Iterator[tuple[str, os.stat_result]]:
        """Every file and folder that is not known with its metadata, in no order; the roots themselves too."""
        given = len(known)
        for root in self.roots:
            for found in self._below(root, known):
                if given >= self._files_max:
                    self.counts["over_limit"] += 1
                    continue
                given += 1
                yield found

    def digest(self, path: str, status: os.stat_result) -> bytes:
        """SHA-256 of what the file holds, or of where the link points; zeros where there is nothing to hash.

        A file that cannot be read, or is another one by now, is counted and has zeros.
        """
        try:
            if stat.S_ISLNK(status.st_mode):
                return hashlib.sha256(os.fsencode(os.readlink(path))).digest()  # noqa: PTH115  # bytes, and hot
            if not stat.S_ISREG(status.st_mode):
                return NO_DIGEST
            if status.st_size > self._hash_size_max:
                self.counts["not_hashed"] += 1
                return NO_DIGEST
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            self.counts["unreadable"] += 1
            return NO_DIGEST
        try:
            return self._hash(descriptor)
        except OSError:
            self.counts["unreadable"] += 1
            return NO_DIGEST
        finally:
            os.close(descriptor)

    def _hash(self, descriptor: int) -> bytes:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            self.counts["unreadable"] += 1
            return NO_DIGEST
        hashed, left = hashlib.sha256(), self._hash_size_max
        while left > 0 and (block := os.read(descriptor, min(_BLOCK_SIZE, left))):
            hashed.update(block)
            left -= len(block)
        return hashed.digest()

    def _below(self, root: str, known: Collection[str]) -> Iterator[tuple[str, os.stat_result]]:
        try:
            status = os.lstat(root)
        except OSError:
            self.counts["roots_missing"] += 1
            return
        if root not in known:
            yield root, status
        device, folders, is_excluded = status.st_dev, [root] if stat.S_ISDIR(status.st_mode) else [], self._is_excluded
        while folders:
            try:
                with os.scandir(folders.pop()) as entries:
                    for entry in entries:
                        path = entry.path
                        if is_excluded(path):
                            continue
                        is_known = path in known
                        try:
                            if is_known and not entry.is_dir(follow_symlinks=False):
                                continue
                            status = entry.stat(follow_symlinks=False)
                        except OSError:
                            self.counts["vanished"] += 1
                            continue
                        if not is_known:
                            yield path, status
                        if stat.S_ISDIR(status.st_mode):
                            if status.st_dev == device:
                                folders.append(path)
                            else:
                                self.counts["other_file_systems"] += 1
            except OSError:
                self.counts["unreadable"] += 1


class FileChecker:
    """Compares files with what is known of them: marks, and a digest behind them (:mod:`govsec.guard.filestate`)."""

    def __init__(self, scanner: FileScanner, known: Mapping[str, bytes]) -> None:
        self._scanner = scanner
        self._known = known
        self._left_size = scanner.pass_size_max
        #: Marks of files that were hashed and are as known, or were told: not hashed again until they change.
        self._settled: dict[str, bytes] = {}
        self.files_count = 0

    def everything(self) -> Iterator[tuple[str, bytes | None, bytes | None]]:
        """(path, known, now) of each file whose marks are others: it may be touched only, with an equal digest."""
        counts = self._scanner.counts
        counts.clear()
        self._left_size = self._scanner.pass_size_max
        there_count = new_count = 0
        for path, before in self._known.items():
            try:
                status = os.lstat(path)
            except (FileNotFoundError, NotADirectoryError):
                yield path, before, None
                continue
            except OSError:
                counts["unreadable"] += 1
                continue
            there_count += 1
            marks = marks_of(status)
            if not before.startswith(marks) and self._settled.get(path) != marks:
                yield path, before, marks + self._digest(path, status)
        for path, status in self._scanner.walk(self._known):
            new_count += 1
            marks = marks_of(status)
            if self._settled.get(path) != marks:
                yield path, None, marks + self._digest(path, status)
        self.files_count = there_count + new_count

    def some(self, paths: Sequence[str]) -> Iterator[tuple[str, bytes | None, bytes | None]]:
        """The same for some paths; those that the scanner does not cover are left out."""
        for path in paths:
            if not self._scanner.covers(path):
                continue
            before = self._known.get(path)
            try:
                status = os.lstat(path)
            except OSError:
                if before is not None:
                    yield path, before, None
                continue
            marks = marks_of(status)
            if (before is None or not before.startswith(marks)) and self._settled.get(path) != marks:
                yield path, before, marks + self._scanner.digest(path, status)

    def settle(self, path: str, now: bytes | None) -> None:
        """What was found here has been dealt with: quiet until it changes again."""
        if now is None:
            self._settled.pop(path, None)
        else:
            self._settled[path] = now[: -len(NO_DIGEST)]

    def _digest(self, path: str, status: os.stat_result) -> bytes:
        """What the file holds; zeros where a pass has read enough."""
        if stat.S_ISREG(status.st_mode):
            if status.st_size > self._left_size:
                self._scanner.counts["not_hashed"] += 1
                return NO_DIGEST
            self._left_size -= status.st_size
        return self._scanner.digest(path, status)


def _matcher(patterns: Sequence[str]) -> Callable[[str], object]:
    """Truth for paths that match one of the shell patterns (``*`` also goes over ``/``)."""
    if not patterns:
        return lambda path: False
    return re.compile("|".join(fnmatch.translate(pattern) for pattern in patterns), re.DOTALL).match
