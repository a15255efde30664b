"""Which package a file belongs to, and what that package says it is: rpm's database, read directly.

One idea: as :mod:`govsec.guard.packagefiles`, and stricter, for rpm knows more: a file is what its package says when
kind, rights, owner, size and digest are, and a link when its target is (what ``rpm --verify`` compares; what packages
ask it to leave out is compared here all the same). So an update may also change rights, and a program that became
set-id is the package's only where the package says so.

Several packages may bear one name (kernels of several versions, libraries of two architectures); they are taken as one,
whose version is all of theirs. Files that a package lists and did not bring (states other than normal) are not its own;
of those that are made later (``%ghost``) it has no digest, and vouches for none.

Source: rpm's manual, "RPM Tags" (docs/manual/tags.md); ``rpmfileState`` of its library; algorithms of digests:
RFC 4880, 9.4. The lock is ``%{_rpmlock_path}``, that of transactions.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from govsec.errors import FormatError, LimitError
from govsec.guard.packagefiles import HASH_SIZE_MAX, digest_of, is_write_locked, places
from govsec.host.rpmdb import RPM_DATABASES, read_rpm_headers
from govsec.host.rpmheader import Header, Tag, full_version
from govsec.host.rpmlists import ALGORITHM_MD5, RpmFile, RpmFileList
from govsec.localfile import read_bounded

_LOCK = ".rpm.lock"
#: How rpm calls what it brought where a configuration had been edited, and stays.
_BESIDE_EDITED = ".rpmnew"
#: Names of hashlib, by the number in a header.
_ALGORITHMS = {ALGORITHM_MD5: "md5", 2: "sha1", 8: "sha256", 9: "sha384", 10: "sha512", 11: "sha224"}
#: Lists of files that are kept during a look, by the size of their headers (they take some four times as much).
_KEPT_BYTES_MAX = 8 << 20
#: A database that rpm changed while it was read is read again.
_TRIES = 3
_ACCOUNTS_SIZE_MAX = 32 << 20
_Found = TypeVar("_Found")


class RpmFiles:
    """The database below ``root``, for files below it. What cannot be read counts in ``faults_count``, as not there."""

    knows_rights = True

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root
        #: What paths begin with that the database writes without it.
        self._prefix = str(root).rstrip("/")
        self.faults_count = 0
        self.is_whole = True
        self._packages: dict[str, _Instances] | None = None
        self._lists: dict[str, tuple[RpmFileList, ...]] = {}
        self._lists_size = 0
        self._users: dict[str, int] | None = None
        self._groups: dict[str, int] | None = None

    @property
    def is_there(self) -> bool:
        """There is a database."""
        return self._place() is not None

    def refresh(self) -> None:
        """Forget what was read: packages may have changed."""
        self.is_whole = True
        self._packages = self._users = self._groups = None
        self._drop_lists()

    def owners(self, wanted: Iterable[str]) -> dict[str, str]:
        """The package of each path that has one; of several (folders, shared documentation) the last by name."""
        wanted = set(wanted)
        left = wanted | {path.removesuffix(_BESIDE_EDITED) for path in wanted}
        folders = {path.rpartition("/")[0] + "/" for path in left}

        def look(place: Path) -> tuple[dict[str, str], int]:
            owners: dict[str, str] = {}
            faults = 0
            for _, header in read_rpm_headers(place):
                try:
                    if header is None:
                        raise FormatError("not read")
                    name = header.text(Tag.NAME)
                    # Not kept: the lists of all packages are tens of megabytes.
                    for path in _wanted_paths(header, self._prefix, folders):
                        if path in left and name >= owners.get(path, ""):
                            owners[path] = name
                except FormatError:
                    faults += 1
            return owners, faults

        found = self._read(look) or {}
        pairs = ((path, found.get(path) or found.get(path.removesuffix(_BESIDE_EDITED))) for path in wanted)
        return {path: owner for path, owner in pairs if owner is not None}

    def versions(self) -> dict[str, str]:
        """Installed packages and their versions with architecture, by name; of several that bear it, all in a row."""
        return {name: one.version for name, one in self._instances().items()}

    def owns(self, name: str, path: str) -> bool:
        """The package lists the path, or it lies beside a configuration of it that was edited."""
        return bool(self._found(name, path))

    def vouches(self, name: str, path: str) -> bool:
        """The file is what the package says: kind, rights, owner, and contents to the byte, or the target of a link."""
        try:
            status = os.lstat(path)
        except OSError:
            return False
        return any(self._is_as_said(file, path, status) for file in self._found(name, path))

    def is_busy(self) -> bool:
        """rpm is at work: what lies there now may be half of an update."""
        place = self._place()
        if place is None:
            return False
        try:
            return is_write_locked(place.with_name(_LOCK))
        except OSError:
            self._count_faults(1)
            return False

    def _is_as_said(self, file: RpmFile, path: str, status: os.stat_result) -> bool:
        owner = self._numbers_of(file)
        if owner != (status.st_uid, status.st_gid):
            return False
        if stat.S_ISLNK(status.st_mode):
            # Rights of links mean nothing, and differ between file systems.
            return stat.S_ISLNK(file.mode) and _link_target(path) == file.link_target
        if status.st_mode != file.mode:
            return False
        if not stat.S_ISREG(status.st_mode):
            return stat.S_ISDIR(status.st_mode)
        if status.st_size != file.size_bytes or status.st_size > HASH_SIZE_MAX:
            return False
        algorithm = _ALGORITHMS.get(file.algorithm)
        if algorithm is None:
            self._count_faults(1)
            return False
        return bool(file.digest) and digest_of(path, algorithm) == file.digest

    def _numbers_of(self, file: RpmFile) -> tuple[int, int]:
        """Who owns a file that rpm put there: one whose owner it did not know belongs to root."""
        if self._users is None or self._groups is None:
            self._users, self._groups = self._accounts("etc/passwd"), self._accounts("etc/group")
        return self._users.get(file.user, 0), self._groups.get(file.group, 0)

    def _accounts(self, name: str) -> dict[str, int]:
        """Numbers of passwd(5) or group(5), by name; the first line of a name holds, as for the C library."""
        try:
            text = read_bounded(self._root / name, _ACCOUNTS_SIZE_MAX).decode("utf-8", "surrogateescape")
        except FileNotFoundError:
            return {}
        except (OSError, LimitError):
            self._count_faults(1)
            return {}
        numbers: dict[str, int] = {}
        for line in text.split("\n"):
            fields = line.split(":")
            if len(fields) > 2 and fields[2].isascii() and fields[2].isdecimal():
                numbers.setdefault(fields[0], int(fields[2][:10]))
        return numbers

    def _found(self, name: str, path: str) -> list[RpmFile]:
        """What the packages of this name say of the path."""
        found = self._looked_up(name, path)
        if not found and path.endswith(_BESIDE_EDITED):
            edited = self._looked_up(name, path.removesuffix(_BESIDE_EDITED))
            found = [file for file in edited if file.is_configuration]
        return found

    def _looked_up(self, name: str, path: str) -> list[RpmFile]:
        found = []
        for files in self._listed(name):
            for place in places(path.removeprefix(self._prefix)):
                try:
                    file = files.find(place)
                except FormatError:
                    self._count_faults(1)
                else:
                    found += [file] if file is not None else []
        return found

    def _listed(self, name: str) -> tuple[RpmFileList, ...]:
        if name in self._lists:
            return self._lists[name]
        instances = self._instances().get(name)
        if instances is None:
            return ()

        def look(place: Path) -> tuple[tuple[int, tuple[RpmFileList, ...]], int]:
            listed, size, faults = [], 0, 0
            for number in instances.numbers:
                found = False
                for _, header in read_rpm_headers(place, number):
                    try:
                        if header is not None and header.text(Tag.NAME) == name:
                            listed.append(RpmFileList(header))
                            size, found = size + header.size, True
                    except FormatError:
                        pass
                faults += not found
            return (size, tuple(listed)), faults

        size, listed = self._read(look) or (0, ())
        if self._lists_size + size > _KEPT_BYTES_MAX:
            self._drop_lists()
        self._lists[name] = listed
        self._lists_size += size
        return listed

    def _drop_lists(self) -> None:
        self._lists.clear()
        self._lists_size = 0

    def _instances(self) -> dict[str, _Instances]:
        if self._packages is None:
            self._packages = self._read(_instances) or {}
        return self._packages

    def _read(self, look: Callable[[Path], tuple[_Found, int]]) -> _Found | None:
        """What ``look`` finds in the database, with what it could not read counted; ``None``: there is none to be read.

        A look that rpm wrote beside is not believed: the file is read as one that nobody changes.
        """
        result: tuple[_Found, int] | None = None
        for _ in range(_TRIES):
            place = self._place()
            before = _marks(place)
            try:
                result = look(place) if place is not None else None
            except (FormatError, LimitError):
                result = None
            if _marks(place) == before:
                break
        else:
            result = None
        self._count_faults(1 if result is None else result[1])
        return result[0] if result is not None else None

    def _place(self) -> Path | None:
        """The database: of two that are not one, that which was written last (the other was left behind by a move)."""
        found: dict[Path, int] = {}
        for written in RPM_DATABASES:
            place = self._root / written[1:]
            try:
                found[place] = place.stat().st_mtime_ns
            except OSError:
                continue
        return max(found, key=lambda place: found[place], default=None)

    def _count_faults(self, count: int) -> None:
        self.faults_count += count
        self.is_whole = self.is_whole and not count


@dataclass(frozen=True, slots=True)
class _Instances:
    """The packages of one name: their versions, and where their headers are."""

    version: str
    numbers: tuple[int, ...]


def _instances(place: Path) -> tuple[dict[str, _Instances], int]:
    found: dict[str, list[tuple[str, int]]] = {}
    faults = 0
    for number, header in read_rpm_headers(place):
        try:
            if header is None or not (name := header.text(Tag.NAME)):
                raise FormatError("no package")
            version = f"{full_version(header)}.{header.text(Tag.ARCHITECTURE)}".removesuffix(".")
        except FormatError:
            faults += 1
        else:
            found.setdefault(name, []).append((version, number))
    return {
        name: _Instances(" ".join(sorted({version for version, _ in ones})), tuple(number for _, number in ones))
        for name, ones in found.items()
    }, faults


def _wanted_paths(header: Header, prefix: str, folders: set[str]) -> Iterator[str]:
    """Where the files of a package may lie, as far as it is in one of ``folders``.

    Raises:
        FormatError: the header is damaged.
    """
    files = RpmFileList(header)
    wanted = [[prefix + place for place in places(one) if prefix + place in folders] for one in files.directories]
    # Most packages have nothing there: their names need not be read.
    if any(wanted):
        for _, directory, name in files.names():
            for folder in wanted[directory]:
                yield folder + name


def _marks(place: Path | None) -> tuple[tuple[int, int, int] | None, ...]:
    """What changes when a database or its log is written."""
    if place is None:
        return ()
    found: list[tuple[int, int, int] | None] = []
    for one in (place, place.with_name(place.name + "-wal")):
        try:
            status = one.stat()
        except OSError:
            found.append(None)
        else:
            found.append((status.st_ino, status.st_size, status.st_mtime_ns))
    return tuple(found)


def _link_target(path: str) -> str | None:
    try:
        return os.readlink(path)  # noqa: PTH115  # compared as text
    except OSError:
        return None
