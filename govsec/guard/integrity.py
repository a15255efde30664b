"""Files against the baseline: the edge that looks, and says of each difference whether an update explains it.

One idea: what a package manager is doing is not judged half done. While it holds its lock, differences of files that
belong to packages wait; afterwards they are an update when the new version vouches for them, and drift when not.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

from govsec.findings.api import SECOND_NS
from govsec.guard.api import Actor, Explanation, FileDifference, FileLook
from govsec.guard.filescan import FileChecker, FileScanner
from govsec.guard.filestate import NO_DIGEST, FileState, marks_of
from govsec.guard.hostbaseline import HostBaseline, KnownFiles
from govsec.guard.packagefiles import PackageFiles

#: A look lists so many differences; more are counted.
_DIFFERENCES_MAX = 500
#: A package manager that is busy for longer hides nothing any more.
_BUSY_MAX_NS = 1800 * SECOND_NS


class Integrity:
    """Looks at files. ``packages`` ``None``: a system without a database that is read; nothing is explained then."""

    def __init__(
        self, baseline: HostBaseline, files: KnownFiles, scanner: FileScanner, packages: PackageFiles | None = None
    ) -> None:
        self._baseline = baseline
        self._files = files
        self._checker = FileChecker(scanner, files.states)
        self._scanner = scanner
        self._packages = packages
        self._waiting: set[str] = set()
        self._busy_since: int | None = None
        self.touched_count = 0

    def everything(self, time_ns: int) -> FileLook:
        """A pass over all files."""
        return self._look(time_ns, self._checker.everything(), {})

    def some(self, time_ns: int, changed: Mapping[str, Actor | None]) -> FileLook:
        """A look at files that were changed, by whom; and at those that waited for a package manager."""
        waited, self._waiting = self._waiting, set()
        paths = {**dict.fromkeys(sorted(waited)), **changed}
        return self._look(time_ns, self._checker.some(list(paths)), changed)

    def covers(self, path: str) -> bool:
        """The file is one that the baseline is about."""
        return self._scanner.covers(path)

    @property
    def has_waiting(self) -> bool:
        """Some differences wait for a package manager."""
        return bool(self._waiting)

    def counters(self) -> Mapping[str, int]:
        """How many files the last pass saw, and what it had to leave out, by reason."""
        return {
            "files": self._checker.files_count,
            "touched": self.touched_count,
            "waiting": len(self._waiting),
            "package_faults": self._packages.faults_count if self._packages is not None else 0,
            **dict(self._scanner.counts),
        }

    def explain(self, path: str) -> Explanation | None:
        """The update that brought the file as it is now, when there is one."""
        if not self._may_explain():
            return None
        packed = self._files.states.get(path)
        try:
            now = FileState.unpack(marks_of(os.lstat(path)) + NO_DIGEST)
        except OSError:
            now = None
        before = FileState.unpack(packed) if packed is not None else None
        explanation = self._explain(path, self._owners([path]).get(path), before, now)
        self._refresh()
        return explanation

    def _look(
        self, time_ns: int, found: Iterable[tuple[str, bytes | None, bytes | None]], actors: Mapping[str, Actor | None]
    ) -> FileLook:
        self._refresh()
        is_busy = self._is_busy(time_ns)
        drifted: list[tuple[str, FileState | None, FileState | None]] = []
        more_count = 0
        for path, packed_before, packed_now in found:
            before = FileState.unpack(packed_before) if packed_before is not None else None
            now = FileState.unpack(packed_now) if packed_now is not None else None
            if before is not None and now is not None and before.is_same(now):
                self.touched_count += 1
                self._checker.settle(path, packed_now)
            # Asked again: it may have begun since, and what it wrote is then not in its database yet.
            elif (is_busy := is_busy or self._is_busy(time_ns)) and (path in self._files.owners or before is None):
                self._waiting.add(path)
            elif len(drifted) >= _DIFFERENCES_MAX:
                more_count += 1
            else:
                self._checker.settle(path, packed_now)
                drifted.append((path, before, now))
        owners = self._owners([path for path, _, _ in drifted]) if drifted and self._may_explain() else {}
        differences = tuple(
            FileDifference(path, before, now, self._explain(path, owners.get(path), before, now), actors.get(path))
            for path, before, now in drifted
        )
        self._refresh()
        if not self._waiting:
            self._busy_since = None  # nothing waits for this work; the next one has its own time
        return FileLook(time_ns, differences, more_count)

    def _may_explain(self) -> bool:
        """Some package is another version than at the baseline, which knows versions."""
        known = self._baseline.packages
        return self._packages is not None and bool(known) and self._packages.versions() != known

    def _owners(self, paths: list[str]) -> dict[str, str]:
        """The packages of the paths: those that the baseline knows, and for the rest one pass over the database.

        A file that is there and whose package has it no more may have gone over to another one.
        """
        if self._packages is None:
            return {}
        known = {
            path: owner
            for path in paths
            if (owner := self._files.owners.get(path)) is not None
            and (self._packages.owns(owner, path) or not os.path.lexists(path))
        }
        rest = [path for path in paths if path not in known]
        return known | (self._packages.owners(rest) if rest else {})

    def _explain(
        self, path: str, owner: str | None, was: FileState | None, now: FileState | None
    ) -> Explanation | None:
        packages = self._packages
        if packages is None or owner is None or not (packages.knows_rights or _are_rights_kept(was, now)):
            return None
        before, after = self._baseline.packages.get(owner), packages.versions().get(owner)
        if before == after:
            return None
        if os.path.lexists(path):
            is_explained = after is not None and packages.vouches(owner, path)
        else:
            # A database that is damaged, or gone, lacks packages and files that nobody removed.
            is_explained = (after is None or not packages.owns(owner, path)) and packages.is_whole
        return Explanation(owner, before, after) if is_explained else None

    def _refresh(self) -> None:
        # Lists of packages are many megabytes: they are read for a look and let go after it.
        if self._packages is not None:
            self._packages.refresh()

    def _is_busy(self, time_ns: int) -> bool:
        if self._packages is None or not self._packages.is_busy():
            self._busy_since = None
            return False
        self._busy_since = self._busy_since if self._busy_since is not None else time_ns
        return time_ns - self._busy_since < _BUSY_MAX_NS


def _are_rights_kept(was: FileState | None, now: FileState | None) -> bool:
    """Kind, rights and owner are as before, where there was a before.

    Contents are all that some packages' databases vouch for: who made a file of it set-id, gave it away, or put a link
    in its place hides behind no update.
    """
    return was is None or now is None or (was.mode, was.uid, was.gid) == (now.mode, now.uid, now.gid)
