"""Files and directories that are their owner's alone, whatever umask the program was started with."""

from __future__ import annotations

import os
from pathlib import Path


def make_private_directory(directory: Path) -> None:
    """Make ``directory`` and those above it that are missing, open to nobody else; what is there stays as it is.

    Raises:
        OSError: it cannot be made.
    """
    # ``mkdir(parents=True)`` gives its mode to the last one only.
    for path in (*reversed(directory.parents), directory):
        if not path.is_dir():
            path.mkdir(mode=0o700, exist_ok=True)


def write_private(path: Path, data: bytes) -> None:
    """Put a file with mode 0600 at ``path``, wholly or not at all, on the disk when this returns.

    Raises:
        OSError: it cannot be written; what was there before is still there.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.new")
    temporary.unlink(missing_ok=True)  # left from a process of the same number that died
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
