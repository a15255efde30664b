"""The baseline of a live sensor in a folder of its own: saved by a process that has no rights left.

One idea: the folder is opened while there are rights, and made over to the user that the sensor becomes. From then on
everything goes through that descriptor, so folders above may be closed to the user. A save is a new file that is
renamed over the old one, so a crash leaves the one or the other. What cannot be read is set aside under another name,
and told: the sensor begins to learn afresh instead of not starting.

The folder is the sensor's, and a sensor reads hostile bytes: so nothing in it is followed, and no other user's program
believes what it finds there.
"""

from __future__ import annotations

import errno
import os
import pwd
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from govsec.errors import ConfigurationError, FormatError, GovsecError, LimitError, TryAgainError
from govsec.findings.baseline import Baseline
from govsec.privatefile import make_private_directory

NAME = "baseline.sqlite"
#: The latest that could not be read, for a person to look at.
DAMAGED = "baseline.sqlite.damaged"
_NEW = ".baseline.sqlite.new"
#: Twice what a baseline holds by its own bounds: pages that are free are saved too.
_SIZE_MAX = 128 << 20


@dataclass(slots=True)
class StateCounters:
    """What was done, and what could not be."""

    saves: int = 0
    save_failures: int = 0
    set_aside: int = 0


class BaselineFolder:
    """Where one interface's baseline lies between runs."""

    def __init__(self, folder: Path, user: str) -> None:
        """Made when it is not there, and made over to ``user`` when this process is root.

        Raises:
            ConfigurationError: it cannot be made or opened, or is a link.
        """
        self.path = folder
        self.counters = StateCounters()
        self._saved_changes_count = 0
        try:
            make_private_directory(folder.parent)
            with suppress(FileExistsError):
                folder.mkdir(mode=0o700)
            self._folder = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            if os.geteuid() == 0:
                with suppress(KeyError):  # dropping privileges says that there is no such user
                    os.fchown(self._folder, pwd.getpwnam(user).pw_uid, -1)
        except OSError as error:
            raise ConfigurationError(f"the folder of the baseline {folder}: {error.strerror}") from error

    def close(self) -> None:
        """Nothing more is read or saved."""
        os.close(self._folder)

    def load(self, baseline: Baseline) -> str | None:
        """Put what was saved into ``baseline``; to be called without rights.

        Gives what was wrong with it, when it is damaged or closed to this user; it was set aside then. Nothing saved so
        far is no fault.
        """
        try:
            baseline.restore(self._read())
        except FileNotFoundError:
            return None
        except (GovsecError, OSError) as error:
            self._set_aside()
            return str(error)
        self._saved_changes_count = baseline.changes_count
        return None

    def is_due(self, baseline: Baseline) -> bool:
        """True when something was learned since it was saved."""
        return baseline.changes_count != self._saved_changes_count

    def save(self, baseline: Baseline) -> None:
        """Put ``baseline`` on the disk, wholly or not at all.

        Raises:
            TryAgainError: it cannot be written now; what was saved before is still there. Counted.
        """
        # Also after a failure: a full disk is not asked again before the next hour.
        self._saved_changes_count = baseline.changes_count
        data = baseline.dump()
        try:
            with self._new_file() as descriptor, os.fdopen(descriptor, "wb", closefd=False) as file:
                file.write(data)
                file.flush()
                os.fsync(descriptor)
            os.rename(_NEW, NAME, src_dir_fd=self._folder, dst_dir_fd=self._folder)
            os.fsync(self._folder)
        except OSError as error:
            self.counters.save_failures += 1
            raise TryAgainError(f"{self.path / NAME}: {error.strerror}") from error
        self.counters.saves += 1

    @contextmanager
    def _new_file(self) -> Iterator[int]:
        with suppress(FileNotFoundError):  # left from a process that died
            os.unlink(_NEW, dir_fd=self._folder)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(_NEW, flags, 0o600, dir_fd=self._folder)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def _read(self) -> bytes:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(NAME, flags, dir_fd=self._folder)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise OSError(errno.EINVAL, "not a regular file", NAME)
            data = file.read(_SIZE_MAX + 1)
        if len(data) > _SIZE_MAX:
            raise LimitError(f"{NAME}: larger than {_SIZE_MAX} bytes")
        if not data:
            raise FormatError(f"{NAME}: empty")
        return data

    def _set_aside(self) -> None:
        """Out of the way; when even that fails, the next save replaces it."""
        self.counters.set_aside += 1
        with suppress(OSError):
            os.rename(NAME, DAMAGED, src_dir_fd=self._folder, dst_dir_fd=self._folder)
