"""Objects as files under one directory, in the layout that stock restic reads (``data/ab/abcd…``).

A put writes a temporary file in ``.incoming/``, syncs it, renames (or, for ``if_absent``, links) it into place and
syncs the directory: after any crash an object is wholly there or not at all. What a crash leaves in ``.incoming/`` is
no object (no name can begin with a dot, so listings never show it) and is removed after a day.

Paths are walked segment by segment with ``O_NOFOLLOW``: a symbolic link inside the store is damage, never a way out of
it. A root that does not exist is an error, not an empty store: it is how a disk that is not mounted looks.

Nothing here can keep an object from a process that may write the directory; the capability probe says so.
"""

from __future__ import annotations

import errno
import logging
import os
import secrets
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from govsec.errors import (
    ConfigurationError,
    GovsecError,
    IntegrityError,
    ObjectExistsError,
    ObjectNotFoundError,
    RefusedError,
    StoreDeniedError,
    StoreFullError,
    StoreUnavailableError,
)
from govsec.store.api import ObjectInfo, Piece, check_name, check_prefix, check_range

log = logging.getLogger(__name__)

_INCOMING = ".incoming"
#: No put takes a day; what is older is left from a process that died.
_LEFTOVER_AGE_S = 86_400
#: Fits the cache of a processor, and makes few system calls of a pack.
_PIECE_SIZE = 1 << 20
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
#: O_NONBLOCK: opening a planted fifo must not hang; it means nothing for regular files.
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_DENIED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
#: ELOOP is how O_NOFOLLOW reports a symbolic link, ENOTDIR how O_DIRECTORY reports a file.
_DAMAGED = frozenset({errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.ENXIO})


class LocalStore:
    """An ``ObjectStore`` under ``root``. With ``create`` the root is made when it is not there.

    A root that is no directory when it is used is a store that cannot be reached: where several stores stand together,
    the others go on without it.

    Raises:
        ConfigurationError: ``root`` is to be made and something that is no directory is in its place.
    """

    def __init__(self, root: Path, *, name: str = "local", create: bool = False) -> None:
        self._name = name
        self._root = root
        self._is_tidied = False
        self._spare_buffers: list[bytearray] = []
        with self._translated("(root)"):
            if create:
                try:
                    root.mkdir(mode=0o700, parents=True, exist_ok=True)
                except (FileExistsError, NotADirectoryError) as error:
                    raise ConfigurationError(f"{name}: {root} is not a directory, nor can one be made there") from error

    @property
    def name(self) -> str:
        return self._name

    @property
    def root(self) -> Path:
        """The directory that the objects lie under."""
        return self._root

    def get(self, name: str, *, offset: int = 0, length: int | None = None, size_max: int) -> bytes:
        with self._opened(name) as (descriptor, status):
            start, wanted = check_range(name, status.st_size, offset, length, size_max)
            parts = []
            while wanted:
                part = os.pread(descriptor, wanted, start)
                if not part:
                    raise StoreUnavailableError(f"{self._name}: {name} became shorter while it was read")
                parts.append(part)
                start, wanted = start + len(part), wanted - len(part)
            return parts[0] if len(parts) == 1 else b"".join(parts)

    def pieces(self, name: str, *, size_max: int) -> Iterator[Piece]:
        with self._opened(name) as (descriptor, status), self._buffer() as buffer:
            _, rest = check_range(name, status.st_size, 0, None, size_max)
            while rest:
                count = os.readv(descriptor, [buffer[: min(rest, _PIECE_SIZE)]])
                if not count:
                    raise StoreUnavailableError(f"{self._name}: {name} became shorter while it was read")
                rest -= count
                yield buffer[:count]

    def head(self, name: str) -> ObjectInfo:
        with self._opened(name) as (_, status):
            return self._info(name, status)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        check_prefix(prefix)
        folder = prefix.rpartition("/")[0]
        with self._translated(prefix or "(root)"):
            try:
                descriptor = self._open_directory(folder)
            except FileNotFoundError:
                return
        try:
            yield from self._walk(descriptor, folder + "/" if folder else "", prefix)
        finally:
            os.close(descriptor)

    def clone(self) -> LocalStore:
        return LocalStore(self._root, name=self._name)

    def put(
        self, name: str, data: bytes, *, if_absent: bool = False, retain_until: datetime | None = None
    ) -> ObjectInfo:
        if retain_until is not None:
            raise RefusedError(f"{self._name}: a local directory cannot keep {name} from deletion")
        return self._store(name, (data,), if_absent=if_absent)

    def put_pieces(self, name: str, pieces: Iterable[Piece]) -> ObjectInfo:
        return self._store(name, pieces, if_absent=False)

    def delete(self, name: str) -> None:
        check_name(name)
        folder, _, leaf = name.rpartition("/")
        with self._translated(name):
            try:
                directory = self._open_directory(folder)
            except FileNotFoundError:
                return
            try:
                if _remove_if_there(directory, leaf):
                    os.fsync(directory)
            finally:
                os.close(directory)

    def _store(self, name: str, pieces: Iterable[Piece], *, if_absent: bool) -> ObjectInfo:
        check_name(name)
        folder, _, leaf = name.rpartition("/")
        with self._translated(name):
            incoming = self._open_directory(_INCOMING, create=True)
            temporary = f"{leaf[:64]}.{os.getpid()}.{secrets.token_hex(8)}"
            try:
                status = _write_file(incoming, temporary, pieces)
                self._tidy(incoming, status.st_mtime)
                self._publish(incoming, temporary, folder, leaf, if_absent=if_absent)
            except FileExistsError as error:
                raise ObjectExistsError(f"{self._name}: {name} exists") from error
            finally:
                # After a rename there is nothing left to remove; after a link, or a failure of any kind, there is.
                _remove_if_there(incoming, temporary)
                os.close(incoming)
        return self._info(name, status)

    @contextmanager
    def _buffer(self) -> Iterator[memoryview]:
        """A buffer that nobody else has; kept for the next object, because new pages of memory are what costs."""
        buffer = self._spare_buffers.pop() if self._spare_buffers else bytearray(_PIECE_SIZE)
        try:
            yield memoryview(buffer)
        finally:
            if not self._spare_buffers:
                self._spare_buffers.append(buffer)

    def _tidy(self, incoming: int, now_s: float) -> None:
        """Once for each store, remove what dead processes left; ``now_s`` is the file system's own time."""
        if self._is_tidied:
            return
        self._is_tidied = True
        with os.scandir(incoming) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):  # another process tidies too
                    status = entry.stat(follow_symlinks=False)
                    if stat.S_ISREG(status.st_mode) and now_s - status.st_mtime > _LEFTOVER_AGE_S:
                        log.info("leftover removed", extra={"store": self._name, "file": entry.name})
                        _remove_if_there(incoming, entry.name)

    def _publish(self, incoming: int, temporary: str, folder: str, leaf: str, *, if_absent: bool) -> None:
        directory = self._open_directory(folder, create=True)
        try:
            if if_absent:
                os.link(temporary, leaf, src_dir_fd=incoming, dst_dir_fd=directory, follow_symlinks=False)
            else:
                os.rename(temporary, leaf, src_dir_fd=incoming, dst_dir_fd=directory)
            os.fsync(directory)
        finally:
            os.close(directory)

    @contextmanager
    def _opened(self, name: str) -> Iterator[tuple[int, os.stat_result]]:
        check_name(name)
        folder, _, leaf = name.rpartition("/")
        with self._translated(name):
            try:
                directory = self._open_directory(folder)
                try:
                    descriptor = os.open(leaf, _READ, dir_fd=directory)
                finally:
                    os.close(directory)
            except FileNotFoundError as error:
                raise ObjectNotFoundError(f"{self._name}: there is no object {name}") from error
            try:
                status = os.fstat(descriptor)
                if stat.S_ISDIR(status.st_mode):
                    raise ObjectNotFoundError(f"{self._name}: there is no object {name}")
                if not stat.S_ISREG(status.st_mode):
                    raise IntegrityError(f"{self._name}: {name} is not a regular file")
                yield descriptor, status
            finally:
                os.close(descriptor)

    def _open_directory(self, folder: str, *, create: bool = False) -> int:
        # The root itself may be a link: where the store lies is the operator's choice.
        try:
            descriptor = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise StoreUnavailableError(
                f"{self._name}: there is no directory {self._root} (is its disk mounted?)"
            ) from error
        except NotADirectoryError as error:
            # Unlike a file within the store, which is damage to it.
            raise StoreUnavailableError(
                f"{self._name}: {self._root} is not a directory, or lies below a file"
            ) from error
        for segment in folder.split("/") if folder else ():
            parent = descriptor
            try:
                descriptor = _open_segment(parent, segment, create=create)
            finally:
                os.close(parent)
        return descriptor

    def _walk(self, directory: int, path: str, prefix: str) -> Iterator[ObjectInfo]:
        start = prefix[len(path) :].partition("/")[0] if prefix.startswith(path) else ""
        with self._translated(path or "(root)"):
            found = sorted(_entries(directory, start))
        for leaf in found:
            full = path + leaf
            if leaf.startswith(".") or not (full.startswith(prefix) or prefix.startswith(full)):
                continue
            with self._translated(full):
                try:
                    below = os.open(leaf[:-1], _DIRECTORY, dir_fd=directory) if leaf.endswith("/") else -1
                    status = os.stat(leaf, dir_fd=directory, follow_symlinks=False) if below < 0 else None
                except FileNotFoundError:
                    continue  # deleted since the folder was read
            if status is None:
                try:
                    yield from self._walk(below, full, prefix)
                finally:
                    os.close(below)
            elif full.startswith(prefix) and self._is_object(full, status):
                yield self._info(full, status)

    def _is_object(self, name: str, status: os.stat_result) -> bool:
        try:
            check_name(name)
        except RefusedError:
            is_named = False
        else:
            is_named = True
        if not is_named or not stat.S_ISREG(status.st_mode):
            log.warning("not an object, left out of the list", extra={"store": self._name, "object": name[:200]})
            return False
        return True

    def _info(self, name: str, status: os.stat_result) -> ObjectInfo:
        modified = datetime.fromtimestamp(status.st_mtime, UTC)
        return ObjectInfo(name, status.st_size, modified, (self._name,))

    @contextmanager
    def _translated(self, name: str) -> Iterator[None]:
        try:
            yield
        except GovsecError:
            raise
        except OSError as error:
            raise _translate(error, f"{self._name}: {name}: {error.strerror}") from error


def _translate(error: OSError, message: str) -> GovsecError:
    if error.errno in _FULL:
        return StoreFullError(message)
    if error.errno in _DENIED:
        return StoreDeniedError(message)
    if error.errno in _DAMAGED:
        return IntegrityError(f"{message} (the path holds a link or a file where a folder belongs)")
    return StoreUnavailableError(message)


def _open_segment(parent: int, segment: str, *, create: bool) -> int:
    try:
        return os.open(segment, _DIRECTORY, dir_fd=parent)
    except FileNotFoundError:
        if not create:
            raise
    with suppress(FileExistsError):  # another writer may be faster
        os.mkdir(segment, mode=0o700, dir_fd=parent)
    os.fsync(parent)
    return os.open(segment, _DIRECTORY, dir_fd=parent)


def _write_file(directory: int, name: str, pieces: Iterable[Piece]) -> os.stat_result:
    descriptor = os.open(name, _CREATE, mode=0o600, dir_fd=directory)
    try:
        position = 0
        for piece in pieces:
            rest = memoryview(piece)
            while rest:
                count = os.write(descriptor, rest[:_PIECE_SIZE])
                rest = rest[count:]
                if count == _PIECE_SIZE:
                    # Linux begins to write dirty pages to the disk when it is advised that nobody needs them soon (and
                    # keeps them, because they are being written): so the disk works while the next piece is hashed,
                    # and fsync has less to wait for.
                    os.posix_fadvise(descriptor, position, count, os.POSIX_FADV_DONTNEED)
                position += count
        os.fsync(descriptor)
        return os.fstat(descriptor)
    finally:
        os.close(descriptor)


def _entries(directory: int, start: str) -> list[str]:
    """The names that begin with ``start``, folders with a slash at the end: so "a-b" sorts before "a/b", as in S3."""
    if not start:
        with os.scandir(directory) as entries:
            return [entry.name + "/" if entry.is_dir(follow_symlinks=False) else entry.name for entry in entries]
    # Of a log of a million commits one is asked for: names alone are read, and few are looked at.
    found = []
    for name in os.listdir(directory):
        if name.startswith(start):
            with suppress(FileNotFoundError):  # deleted since the folder was read
                mode = os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode
                found.append(name + "/" if stat.S_ISDIR(mode) else name)
    return found


def _remove_if_there(directory: int, name: str) -> bool:
    try:
        os.unlink(name, dir_fd=directory)
    except FileNotFoundError:
        return False
    return True
