"""Reading a file of this machine that somebody else may have put there: bounded, and nothing but a file.

A link could make this program read what only it may read; a pipe would hold it for ever, and a device never ends. So
the last part of a path is not followed, and what was opened is looked at before anything is read of it. Folders above
it are the caller's to trust.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from govsec.errors import ConfigurationError, LimitError

_GROWN_SIZE = 1 << 20


def read_bounded(path: Path, size_max: int) -> bytes:
    """The bytes of the regular file at ``path``, at most ``size_max``.

    Raises:
        OSError: it cannot be read, or is a link, a folder, a pipe or a device.
        LimitError: it is larger; its bytes were not taken in.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        if status.st_size > size_max:
            raise LimitError(f"{path}: larger than {size_max} bytes")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            # Not size_max at once: a buffer of what is asked for is made first, and a limit may be large.
            parts = [file.read(status.st_size + 1)]
            size = len(parts[0])
            # It may have grown since it was looked at, and files of the kernel say that they are empty.
            while status.st_size < size <= size_max and (more := file.read(_GROWN_SIZE)):
                parts.append(more)
                size += len(more)
    finally:
        os.close(descriptor)
    if size > size_max:
        raise LimitError(f"{path}: larger than {size_max} bytes")
    return parts[0] if len(parts) == 1 else b"".join(parts)


def read_given(path: Path, size_max: int) -> bytes:
    """As :func:`read_bounded`, of a file that a person or the configuration named.

    Raises:
        ConfigurationError: it cannot be read, or is no file; names it and the reason.
        LimitError: it is larger.
    """
    try:
        return read_bounded(path, size_max)
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}") from error
