"""Which package a file belongs to, and what that package says its contents are: Debian's database, read directly.

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
from collections.abc import Iterable
from fcntl import F_GETLK, F_WRLCK, fcntl
from pathlib import Path

from govsec.errors import LimitError
from govsec.localfile import read_bounded

_FILE_SIZE_MAX = 64 << 20
#: Since folders were merged (usrmerge), packages list /bin/x where /usr/bin/x lies.
_MERGED = ("/bin/", "/sbin/", "/lib/", "/lib32/", "/lib64/", "/libx32/")
_HASH_SIZE_MAX = 1 << 30
_BLOCK_SIZE = 1 << 20


class DebianFiles:
    """The database below ``root``, for files below it. What cannot be read counts in ``faults_count``, as not there."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._folder = root / "var/lib/dpkg"
        #: What paths begin with that the database writes without it.
        self._prefix = str(root).rstrip("/")
        self.faults_count = 0
        self._lists: dict[str, frozenset[str]] = {}
        self._sums: dict[str, dict[str, str]] = {}
        self._versions: dict[str, str] | None = None
        self._conffiles: dict[str, dict[str, str]] = {}

    def refresh(self) -> None:
        """Forget what was read: packages may have changed."""
        self._lists.clear()
        self._sums.clear()
        self._conffiles.clear()
        self._versions = None

    def owners(self, wanted: Iterable[str]) -> dict[str, str]:
        """The package of each path that has one; of several (folders, diversions) the last by name."""
        left = set(wanted)
        owners: dict[str, str] = {}
        for name in self.versions():
            # Not kept: the lists of all packages are many megabytes.
            for path in self._listed(name):
                for place in _places(path):
                    if self._prefix + place in left:
                        owners[self._prefix + place] = name
        return owners

    def versions(self) -> dict[str, str]:
        """Installed packages and their versions, by name (``name:arch`` where files of the database are named so)."""
        if self._versions is None:
            self._versions = {}
            for stanza in self._text(self._folder / "status").split("\n\n"):
                fields = _fields(stanza)
                name = fields.get("Package", "")
                if name and fields.get("Status", "").endswith(" installed"):
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
        return said is not None and status.st_size <= _HASH_SIZE_MAX and _md5(path) == said

    def is_busy(self) -> bool:
        """A package manager is at work: what lies there now may be half of an update."""
        try:
            descriptor = os.open(self._folder / "lock", os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            # struct flock on Linux: type, whence, start, length, pid.
            asked = struct.pack("hhqqi", F_WRLCK, os.SEEK_SET, 0, 0, 0)
            return int(struct.unpack("hhqqi", fcntl(descriptor, F_GETLK, asked))[0]) == F_WRLCK
        except OSError:
            self.faults_count += 1
            return False
        finally:
            os.close(descriptor)

    def _written(self, path: str) -> tuple[str, ...]:
        """How the database may write the path."""
        return _places(path.removeprefix(self._prefix))

    def _listed(self, name: str) -> list[str]:
        text = self._text(self._folder / "info" / f"{name}.list")
        return [line for line in text.split("\n") if line.startswith("/")]

    def _sums_of(self, name: str) -> dict[str, str]:
        if name not in self._sums:
            self.versions()
            sums = dict(self._conffiles.get(name, {}))
            for line in self._text(self._folder / "info" / f"{name}.md5sums").split("\n"):
                digest, _, path = line.partition("  ")
                if path:
                    sums["/" + path] = digest
            self._sums[name] = sums
        return self._sums[name]

    def _text(self, path: Path) -> str:
        try:
            return read_bounded(path, _FILE_SIZE_MAX).decode("utf-8", "surrogateescape")
        except FileNotFoundError:
            return ""
        except (OSError, LimitError, ValueError):
            self.faults_count += 1
            return ""


def _places(path: str) -> tuple[str, ...]:
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


def _md5(path: str) -> str | None:
    hashed = hashlib.md5(usedforsecurity=False)
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
