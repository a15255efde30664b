"""Which package a file belongs to, and what that package says of it: what a guard asks, and Debian's database.

One idea: a change is an update when the package that owns the file is another version than at the baseline, and the
file is, to the byte, what this package says it put there (``md5sums``, and the list of configuration files in
``status``). A file that changed while its package did not is drift, whatever the database says of it. MD5 is what the
database has: an attacker cannot make a program of his that has the MD5 of a given one, but root can rewrite the
database; then the change of version is told at least.

Formats: ``/var/lib/dpkg/info/NAME[:ARCH].list`` (a path a line) and ``.md5sums`` (``md5  path without /``);
``/var/lib/dpkg/status`` (deb-control(5); ``Conffiles:`` has `` path md5`` lines).
"""

from __future__ import annotations

import hashlib
import os
import stat
import struct
from collections import defaultdict
from collections.abc import Iterable
from fcntl import F_GETLK, F_WRLCK, fcntl
from pathlib import Path
from typing import Protocol

from govsec.errors import LimitError
from govsec.localfile import read_bounded

_FILE_SIZE_MAX = 64 << 20
#: What dpkg holds while it works, and apt around all its calls of dpkg. Source: dpkg(1).
_LOCKS = ("lock", "lock-frontend")
#: How dpkg calls what it brought where a configuration had been edited, and stays. Source: dpkg(1), --force-confold.
_BESIDE_EDITED = ".dpkg-dist"
#: States in which all files of the version are there. Source: dpkg(1), "Package states".
_UNPACKED = frozenset(("installed", "unpacked", "half-configured", "triggers-awaited", "triggers-pending"))
#: Since folders were merged (usrmerge), packages list /bin/x where /usr/bin/x lies.
_MERGED = ("/bin/", "/sbin/", "/lib/", "/lib32/", "/lib64/", "/libx32/")
#: Larger files are not hashed, and nobody vouches for them.
HASH_SIZE_MAX = 1 << 30
_BLOCK_SIZE = 1 << 20


class PackageFiles(Protocol):
    """The database of a package manager. Nothing is raised: what cannot be read counts as a fault, and as not there."""

    @property
    def faults_count(self) -> int:
        """What could not be read, ever."""

    @property
    def is_whole(self) -> bool:
        """Whatever was asked since the last :meth:`refresh` could be read: what seems not to be there is not."""

    @property
    def knows_rights(self) -> bool:
        """:meth:`vouches` is about kind, rights and owner too."""

    def refresh(self) -> None:
        """Forget what was read: packages may have changed."""

    def owners(self, wanted: Iterable[str]) -> dict[str, str]:
        """The package of each path that has one."""

    def versions(self) -> dict[str, str]:
        """Installed packages and their versions, by a name that stays the same when a package is updated."""

    def owns(self, name: str, path: str) -> bool:
        """The package lists the path."""

    def vouches(self, name: str, path: str) -> bool:
        """The file is, to the byte, what the package says it put there."""

    def is_busy(self) -> bool:
        """The package manager is at work: what lies there now may be half of an update."""


class DebianFiles:
    """The database below ``root``, for files below it. What cannot be read counts in ``faults_count``, as not there."""

    knows_rights = False

    def __init__(self, root: Path = Path("/")) -> None:
        self._folder = root / "var/lib/dpkg"
        #: What paths begin with that the database writes without it.
        self._prefix = str(root).rstrip("/")
        self.faults_count = 0
        self.is_whole = True
        self._lists: dict[str, frozenset[str]] = {}
        self._sums: dict[str, dict[str, str]] = {}
        self._versions: dict[str, str] | None = None
        self._conffiles: dict[str, dict[str, str]] = {}

    @property
    def is_there(self) -> bool:
        """There is a database."""
        return (self._folder / "status").exists()

    def refresh(self) -> None:
        """Forget what was read: packages may have changed."""
        self.is_whole = True
        self._lists.clear()
        self._sums.clear()
        self._conffiles.clear()
        self._versions = None

    def owners(self, wanted: Iterable[str]) -> dict[str, str]:
        """The package of each path that has one; of several (folders, diversions) the last by name."""
        left: dict[str, list[str]] = defaultdict(list)
        for path in wanted:
            left[_without_suffix(path)].append(path)
        owners: dict[str, str] = {}
        for name in self.versions():
            # Not kept: the lists of all packages are many megabytes.
            for path in self._listed(name):
                for place in places(path):
                    for each in left.get(self._prefix + place, ()):
                        owners[each] = name
        return owners

    def versions(self) -> dict[str, str]:
        """Packages whose files are all there and their versions, by name (``name:arch`` where it is so there)."""
        if self._versions is None:
            self._versions = {}
            for stanza in self._text(self._folder / "status", is_needed=True).split("\n\n"):
                fields = _fields(stanza)
                name = fields.get("Package", "")
                if name and fields.get("Status", "").rpartition(" ")[2] in _UNPACKED:
                    architecture = fields.get("Architecture", "")
                    if fields.get("Multi-Arch") == "same" and architecture:
                        name = f"{name}:{architecture}"
                    self._versions[name] = fields.get("Version", "")
                    self._conffiles[name] = _conffiles(fields.get("Conffiles", ""))
        return self._versions

    def files(self, name: str) -> frozenset[str]:
        """The paths that a package lists."""
        if name not in self._lists:
            self._lists[name] = frozenset(self._listed(name))
        return self._lists[name]

    def owns(self, name: str, path: str) -> bool:
        """The package lists the path."""
        listed = self.files(name)
        return any(place in listed for place in self._written(path))

    def vouches(self, name: str, path: str) -> bool:
        """The file's contents are what the package says, to the byte. Links and folders: that it lists them as such.

        Nothing of rights: the database does not know them.
        """
        try:
            status = os.lstat(path)
        except OSError:
            return False
        sums = self._sums_of(name)
        if not stat.S_ISREG(status.st_mode):
            # What has a sum is a file: a link in its place is not the package's.
            return self.owns(name, path) and not any(place in sums for place in self._written(path))
        said = next((sums[place] for place in self._written(path) if place in sums), None)
        return said is not None and status.st_size <= HASH_SIZE_MAX and digest_of(path, "md5") == said

    def is_busy(self) -> bool:
        """A package manager is at work: what lies there now may be half of an update."""
        try:
            return any(is_write_locked(self._folder / name) for name in _LOCKS)
        except OSError:
            self._count_fault()
            return False

    def _written(self, path: str) -> tuple[str, ...]:
        """How the database may write the path."""
        return places(_without_suffix(path).removeprefix(self._prefix))

    def _listed(self, name: str) -> list[str]:
        text = self._text(self._folder / "info" / f"{name}.list", is_needed=True)
        return [line for line in text.split("\n") if line.startswith("/")]

    def _sums_of(self, name: str) -> dict[str, str]:
        if name not in self._sums:
            self.versions()
            sums = dict(self._conffiles.get(name, {}))
            for line in self._text(self._folder / "info" / f"{name}.md5sums", is_needed=False).split("\n"):
                digest, _, path = line.partition("  ")
                if path:
                    sums["/" + path] = digest
            self._sums[name] = sums
        return self._sums[name]

    def _text(self, path: Path, *, is_needed: bool) -> str:
        try:
            return read_bounded(path, _FILE_SIZE_MAX).decode("utf-8", "surrogateescape")
        except FileNotFoundError:
            if is_needed:
                self._count_fault()
            return ""
        except (OSError, LimitError, ValueError):
            self._count_fault()
            return ""

    def _count_fault(self) -> None:
        self.faults_count += 1
        self.is_whole = False


def _without_suffix(path: str) -> str:
    return path.removesuffix(_BESIDE_EDITED)


def places(path: str) -> tuple[str, ...]:
    """The path, and where the same file is since (or was before) the folders were merged."""
    if path.startswith(_MERGED):
        return (path, "/usr" + path)
    if path.startswith("/usr/") and path[4:].startswith(_MERGED):
        return (path, path[4:])
    return (path,)


def _fields(stanza: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    name = ""
    for line in stanza.split("\n"):
        if line.startswith((" ", "\t")):
            if name == "Conffiles":
                fields[name] += "\n" + line.strip()
        else:
            name, _, value = line.partition(":")
            fields[name] = value.strip()
    return fields


def _conffiles(text: str) -> dict[str, str]:
    found = {}
    for line in text.split("\n"):
        parts = line.split(" ")
        if len(parts) >= 2 and parts[0].startswith("/"):
            found[parts[0]] = parts[1]
    return found


def is_write_locked(path: Path) -> bool:
    """Somebody holds a lock on the file (fcntl(2)) that excludes others; where there is no file, nobody.

    Raises:
        OSError: it cannot be asked.
    """
    try:
        # Asking needs no right to write, which a service may not have there.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        # struct flock on Linux: type, whence, start, length, pid.
        asked = struct.pack("hhqqi", F_WRLCK, os.SEEK_SET, 0, 0, 0)
        return int(struct.unpack("hhqqi", fcntl(descriptor, F_GETLK, asked))[0]) == F_WRLCK
    finally:
        os.close(descriptor)


def digest_of(path: str, algorithm: str) -> str | None:
    """The digest of a file's contents in hex, by an algorithm of hashlib; ``None`` when it cannot be read."""
    hashed = hashlib.new(algorithm, usedforsecurity=False)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        while block := os.read(descriptor, _BLOCK_SIZE):
            hashed.update(block)
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return hashed.hexdigest()
