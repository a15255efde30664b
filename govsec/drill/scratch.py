"""The scratch directory of one drill: made for its owner alone, filled by the restore, wiped at the end.

The restored tree lies one level below, so that it can be handed to the drill's user while nobody else on the machine
gets past the directory above it. What the plan writes into the tree is written relative to descriptors and follows no
link: a repository that holds ``etc -> /etc`` must not lead a configuration step out of the target.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

from govsec.drill.inside import parent_inside
from govsec.drill.plan import ConfigFile
from govsec.errors import ConfigurationError, GovsecError, RefusedError

#: Room that a restore needs besides the files' bytes: directories, inodes, what the service writes.
_RESERVE_BYTES = 64 << 20


class Scratch:
    """One drill's directory below ``base``, mode 0700."""

    def __init__(self, base: Path, drill_id: str) -> None:
        """Make it.

        Raises:
            ConfigurationError: ``base`` is not a directory that can be written.
        """
        self.path = base / f"drill-{drill_id}"
        self.tree = self.path / "tree"
        self.control = self.path / "control"
        try:
            for directory in (self.path, self.tree, self.control):
                directory.mkdir(mode=0o700)
                directory.chmod(0o700)
        except OSError as error:
            raise ConfigurationError(f"scratch directory {self.path}: {error.strerror}") from error

    def free_bytes(self) -> int:
        """Room on its file system, less a reserve."""
        return max(0, shutil.disk_usage(self.path).free - _RESERVE_BYTES)

    def lend(self, uid: int, gid: int) -> None:
        """Give the two empty directories to the drill's user, so that commands can stand in them from the start."""
        for directory in (self.tree, self.control):
            os.chown(directory, uid, gid)

    def hand_over(self, uid: int, gid: int, tick: Callable[[], None]) -> int:
        """Give what was restored to the drill's user; gives how many entries changed hands.

        Device nodes stay root's: whoever owns one has the disk behind it.

        Raises:
            GovsecError: an entry cannot be changed.
        """
        count = 0
        try:
            for _, directories, files, descriptor in os.fwalk(self.tree, follow_symlinks=False):
                tick()
                for name in (*directories, *files):
                    mode = os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_mode
                    if not stat.S_ISBLK(mode) and not stat.S_ISCHR(mode):
                        os.chown(name, uid, gid, dir_fd=descriptor, follow_symlinks=False)
                        count += 1
        except OSError as error:
            raise GovsecError(f"the restored tree cannot be given to the drill's user: {error}") from error
        return count

    def wipe(self) -> str:
        """Remove everything; gives what is in the way, or nothing."""
        return wipe_directory(self.path)


def wipe_directory(directory: Path) -> str:
    """Remove what a run left; gives what is in the way, or nothing."""
    failures: list[str] = []

    def note(_function: object, path: str, failure: tuple[type[BaseException], BaseException, object]) -> None:
        failures.append(f"{os.fsencode(path).decode('utf-8', 'backslashreplace')}: {failure[1]}")

    _open_up(directory)
    shutil.rmtree(directory, onerror=note)
    return failures[0][:500] if failures else ""


def write_config(tree: Path, file: ConfigFile, content: str, owner: tuple[int, int] | None) -> None:
    """Write one file of the plan inside ``tree``, whole or not at all.

    Raises:
        RefusedError: a link is in the way, or a directory is missing.
        ConfigurationError: the file must exist and does not.
    """
    try:
        with parent_inside(tree, file.path.encode()) as (directory, name):
            if file.must_exist and not _is_file(name, directory):
                raise ConfigurationError(f"{file.path}: was to be replaced, and was not restored")
            temporary = b"." + name + b".govsec-new"
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            handle = os.open(temporary, flags, 0o600, dir_fd=directory)
            with os.fdopen(handle, "w", encoding="utf-8") as output:
                output.write(content)
                os.fchmod(handle, file.mode)
                if owner is not None:
                    os.fchown(handle, *owner)
            os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
    except OSError as error:
        raise RefusedError(f"{file.path}: cannot be written inside the restored tree: {error.strerror}") from error


def _is_file(name: bytes, directory: int) -> bool:
    try:
        return stat.S_ISREG(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return False


def _open_up(path: Path) -> None:
    """Make restored directories without write permission removable for a user who is not root."""
    if os.geteuid() == 0:
        return
    for directory, names, _ in os.walk(path):
        for name in names:
            inner = Path(directory, name)
            if not inner.is_symlink():
                inner.chmod(0o700)
