"""Lock files: one process at a time, and the lock goes with the process, however that ends."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from govsec.errors import ConfigurationError, GovsecError, LockedError
from govsec.privatefile import make_private_directory


@contextmanager
def held_lock(
    path: Path,
    *,
    busy: str | None,
    busy_error: type[GovsecError] = LockedError,
    file_error: type[GovsecError] = ConfigurationError,
) -> Iterator[None]:
    """Hold the lock file at ``path``, made with its directory where it is missing; ``busy`` None waits for it.

    Raises:
        busy_error: another process holds it; its words are ``busy``.
        file_error: the file or its directory cannot be made or locked.
    """
    try:
        make_private_directory(path.parent)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise file_error(f"{error.filename or path}: {error.strerror}") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if busy is None else fcntl.LOCK_NB))
        except BlockingIOError as error:
            raise busy_error(busy) from error
        except OSError as error:
            raise file_error(f"{path}: {error.strerror}") from error
        yield
    finally:
        os.close(descriptor)
