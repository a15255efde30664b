"""The directory that a restore writes into, and nothing outside it.

A repository may be hostile, and so may be what already lies in the target. So every directory is entered from the one
above it by one checked name with ``O_NOFOLLOW``: there is no path to trick, no ``..`` to climb and no link that is
followed. Files are created with ``O_EXCL``: what is there is replaced by renaming, never written into, because it may
be a hard link to something elsewhere. Modes and owners are set on what is open, not on what a name happens to mean by
then.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from govsec.errors import FormatError, IntegrityError, RefusedError
from govsec.repo.tree import ExtendedAttribute, Node, parse_ns, permissions

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_WRITE = os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_LOOK = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE_MODE, _NEW_DIRECTORY_MODE = 0o600, 0o700
#: Directories that are kept open; the rest is opened again when needed.
_OPEN_MAX = 500
_SET_ID = stat.S_ISUID | stat.S_ISGID
#: An attribute that gives a program privileges, as set-id bits do.
_CAPABILITY = "security.capability"


@dataclass(slots=True, eq=False)
class Directory:
    """A directory of the snapshot and its place below the target."""

    above: Directory | None
    name: bytes
    node: Node | None
    path: bytes
    #: None: not made yet; False: could not be, so nothing goes into it.
    is_made: bool | None = None
    #: It was there before, so entries may meet others of their name.
    was_there: bool = False
    #: Something below it is not done by who walks it, so its metadata are set last of all.
    is_late: bool = False
    #: Permissions that a new file was seen to get here, with the right owner, when it was made with them.
    inborn: set[int] | None = None


@dataclass(frozen=True, slots=True)
class Powers:
    """What a restore may do beyond writing files."""

    owners: bool
    devices: bool
    set_id: bool


class Target:
    """Below ``root``. Not for two threads; a forked child makes its own with :meth:`fresh`."""

    def __init__(self, root: int, powers: Powers, note: Callable[[bytes, str], None]) -> None:
        self._root = root
        self.powers = powers
        #: Told of what could not be restored as it was.
        self._note = note
        self._open: OrderedDict[int, tuple[Directory, int]] = OrderedDict()
        self._own = (os.geteuid(), os.getegid())

    def fresh(self, note: Callable[[bytes, str], None]) -> Target:
        """The same target for a forked child."""
        return Target(self._root, self.powers, note)

    def descriptor(self, directory: Directory) -> int:
        """The directory, open. Valid until the next call. Raises ``OSError``."""
        if directory.above is None:
            return self._root
        key = id(directory)
        held = self._open.get(key)
        if held is not None:
            self._open.move_to_end(key)
            return held[1]
        descriptor = os.open(_checked(directory.name), _DIRECTORY, dir_fd=self.descriptor(directory.above))
        self._open[key] = (directory, descriptor)
        if len(self._open) > _OPEN_MAX:
            os.close(self._open.popitem(last=False)[1][1])
        return descriptor

    def close(self) -> None:
        """Close what is held open; the root stays."""
        while self._open:
            os.close(self._open.popitem()[1][1])

    def status(self, directory: Directory, name: bytes) -> os.stat_result | None:
        """What lies under a name, None when nothing does. Links are not followed. Raises ``OSError``."""
        try:
            return os.stat(_checked(name), dir_fd=self.descriptor(directory), follow_symlinks=False)
        except FileNotFoundError:
            return None

    def make_directory(self, directory: Directory) -> None:
        """Make the directory; one that is there stays. Raises ``OSError``."""
        assert directory.above is not None  # the root was made before
        above = self.descriptor(directory.above)
        try:
            os.mkdir(_checked(directory.name), _NEW_DIRECTORY_MODE, dir_fd=above)
        except FileExistsError:
            directory.was_there = True
            self.descriptor(directory)  # a file or a link of this name is an error here

    def create(self, directory: Directory, name: bytes) -> int:
        """A new, empty file, open for writing; the name was free. Raises ``OSError``."""
        return os.open(_checked(name), _CREATE, _NEW_FILE_MODE, dir_fd=self.descriptor(directory))

    def create_for(self, directory: Directory, name: bytes, node: Node) -> tuple[int, bool]:
        """As :meth:`create`, and whether the file has the owner and the mode of ``node`` already. Raises ``OSError``.

        Two system calls a file less, where the owner is this process's. What a file gets that is made here is looked
        at, once for each directory and mode, and not taken for granted: umask, set-group-id directories and default
        ACLs all have a say in it.
        """
        mode = node.mode
        if mode > 0o777 or node.extended_attributes or (self.powers.owners and (node.uid, node.gid) != self._own):
            # Not with the final mode: until the owner is right, it would give access to others than the snapshot's.
            return self.create(directory, name), False
        descriptor = os.open(_checked(name), _CREATE, mode, dir_fd=self.descriptor(directory))
        inborn = directory.inborn
        if inborn is None:
            inborn = directory.inborn = set()
        if mode in inborn:
            return descriptor, True
        status = os.fstat(descriptor)
        is_own = not self.powers.owners or (status.st_uid, status.st_gid) == self._own
        if not is_own or stat.S_IMODE(status.st_mode) != mode:
            return descriptor, False
        inborn.add(mode)
        return descriptor, True

    def open_for_writing(self, directory: Directory, name: bytes) -> int:
        """A file that this restore made. Raises ``OSError``."""
        return self._regular(os.open(_checked(name), _WRITE, dir_fd=self.descriptor(directory)))

    def open_for_reading(self, directory: Directory, name: bytes) -> int:
        """A file, for comparing. Raises ``OSError``."""
        return self._regular(os.open(_checked(name), _READ, dir_fd=self.descriptor(directory)))

    def rename(self, directory: Directory, old: bytes, new: bytes) -> None:
        """Put a finished file in its place. Raises ``OSError``."""
        base = self.descriptor(directory)
        os.rename(_checked(old), _checked(new), src_dir_fd=base, dst_dir_fd=base)

    def remove(self, directory: Directory, name: bytes, *, with_content: bool = False) -> None:
        """Remove an entry; a directory that is not empty only ``with_content``. Raises ``OSError``."""
        base = self.descriptor(directory)
        status = os.stat(_checked(name), dir_fd=base, follow_symlinks=False)
        if not stat.S_ISDIR(status.st_mode):
            os.unlink(name, dir_fd=base)
        elif with_content:
            shutil.rmtree(name, dir_fd=base)  # does not follow links either
        else:
            os.rmdir(name, dir_fd=base)

    def link(self, source: tuple[Directory, bytes], inode: tuple[int, int], directory: Directory, name: bytes) -> None:
        """A second name for a file of this restore, and for no other. Raises ``OSError``, ``RefusedError``."""
        from_directory, from_name = source
        held = os.open(_checked(from_name), _LOOK, dir_fd=self.descriptor(from_directory))
        try:
            status = os.fstat(held)
            if (status.st_dev, status.st_ino) != inode:
                raise RefusedError("what it was to be linked to was swapped for something else")
            # Through the descriptor: the name could be swapped once more after the look.
            os.link(
                f"/proc/self/fd/{held}", _checked(name), dst_dir_fd=self.descriptor(directory), follow_symlinks=True
            )
        finally:
            os.close(held)

    def make_special(self, directory: Directory, name: bytes, node: Node) -> bool:
        """A symbolic link, fifo or device with its metadata; False when it was left out (and noted why)."""
        base = self.descriptor(directory)
        path = directory.path + b"/" + name
        _checked(name)
        if node.type == "symlink":
            os.symlink(node.linktarget_raw or node.linktarget.encode(), name, dir_fd=base)
        elif node.type == "fifo":
            os.mkfifo(name, _NEW_FILE_MODE, dir_fd=base)
        elif node.type in ("dev", "chardev"):
            if not self.powers.devices:
                self._note(path, "device left out; it is restored only when asked for")
                return False
            kind = stat.S_IFBLK if node.type == "dev" else stat.S_IFCHR
            os.mknod(name, kind | _NEW_FILE_MODE, node.device, dir_fd=base)
        else:
            return False  # sockets live as long as the program that listens
        held = os.open(name, _LOOK, dir_fd=base)
        try:
            self.set_metadata(held, node, path)
        finally:
            os.close(held)
        return True

    def set_metadata(self, descriptor: int, node: Node, path: bytes) -> None:
        """Owner, attributes, mode and times of an open entry; what cannot be set is noted.

        Links and what cannot be opened to read are open with ``O_PATH``; names under ``/proc/self/fd`` lead to exactly
        what is open, a link itself included, and are the one way to reach it.
        """
        handle = b"/proc/self/fd/%d" % descriptor
        wanted = permissions(node.mode)
        if wanted & _SET_ID and node.type != "dir" and not self.powers.set_id:
            self._note(path, "set-id bits left out; they are restored only when asked for")
            wanted &= ~_SET_ID
        try:
            if self.powers.owners:
                os.chown(handle, node.uid, node.gid)
            for attribute in node.extended_attributes or ():
                self._set_attribute(handle, attribute, path)
            if node.type != "symlink":
                os.chmod(handle, wanted)  # noqa: PTH101 - bytes
            os.utime(handle, ns=(parse_ns(node.atime), parse_ns(node.mtime)))
        except (OSError, OverflowError, FormatError) as error:
            self._note(path, f"metadata: {error}")

    def set_file_metadata(self, descriptor: int, node: Node, path: bytes) -> None:
        """As :meth:`set_metadata`, for what is open otherwise than with ``O_PATH``: the fast way."""
        if node.extended_attributes or permissions(node.mode) & _SET_ID:
            self.set_metadata(descriptor, node, path)
            return
        try:
            if self.powers.owners:
                os.fchown(descriptor, node.uid, node.gid)
            os.fchmod(descriptor, permissions(node.mode))
        except (OSError, OverflowError) as error:
            self._note(path, f"metadata: {error}")
        else:
            self.set_times(descriptor, node, path)

    def set_times(self, descriptor: int, node: Node, path: bytes) -> None:
        """The times of what is open; it is noted when they cannot be set."""
        try:
            modified = parse_ns(node.mtime)
            accessed = modified if node.atime == node.mtime else parse_ns(node.atime)
            os.utime(descriptor, ns=(accessed, modified))
        except (OSError, OverflowError, FormatError) as error:
            self._note(path, f"metadata: {error}")

    def _set_attribute(self, handle: bytes, attribute: ExtendedAttribute, path: bytes) -> None:
        if attribute.name == _CAPABILITY and not self.powers.set_id:
            self._note(path, "file capabilities left out; they are restored only when asked for")
            return
        try:
            os.setxattr(handle, os.fsencode(attribute.name), attribute.value or b"")
        except OSError as error:
            self._note(path, f"attribute {attribute.name[:100]!r}: {os.strerror(error.errno or 0)}")

    @staticmethod
    def _regular(descriptor: int) -> int:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        return descriptor


def open_target(path: Path) -> int:
    """The target directory, made when it is not there (its parents must be).

    Raises:
        RefusedError: it cannot be made or opened.
    """
    try:
        path.mkdir(mode=_NEW_DIRECTORY_MODE, exist_ok=True)
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise RefusedError(f"target {path}: {os.strerror(error.errno or 0)}") from error


def _checked(name: bytes) -> bytes:
    """The name of one entry. The repository's reader refuses others already; this is where it would do harm."""
    if name in (b"", b".", b"..") or b"/" in name or b"\0" in name:
        raise IntegrityError(f"not a name of a file: {name[:80]!r}")
    return name
