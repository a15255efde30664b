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
            data = file.read(size_max + 1)
    finally:
        os.close(descriptor)
    # It may have grown since.
    if len(data) > size_max:
        raise LimitError(f"{path}: larger than {size_max} bytes")
    return data


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
