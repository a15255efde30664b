"""Secret files: read by one function, and without the configuration's models, which take their time to import."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from govsec.errors import ConfigurationError

_SECRET_SIZE_MAX = 64 << 10


def read_secret(path: Path) -> bytes:
    """The content of a secret file, without the newline at its end.

    Raises:
        ConfigurationError: unreadable, empty, or open to group or others.
    """
    actual = credential_path(path)
    try:
        # Without O_NONBLOCK a fifo in the secret's place would hang the program before it can be refused.
        descriptor = os.open(actual, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            data = file.read(_SECRET_SIZE_MAX + 1)
    except OSError as error:
        raise ConfigurationError(f"secret file {actual}: {error.strerror}") from error
    if not stat.S_ISREG(status.st_mode) or status.st_mode & 0o077:
        raise ConfigurationError(
            f"secret file {actual}: must be a regular file that only its owner can read (chmod 600)"
        )
    secret = data.rstrip(b"\r\n")
    if not secret or len(data) > _SECRET_SIZE_MAX:
        raise ConfigurationError(f"secret file {actual}: empty or too long")
    return secret


def credential_path(path: Path) -> Path:
    """Where a secret file lies, with ``${CREDENTIALS_DIRECTORY}`` put in.

    Raises:
        ConfigurationError: the path asks for that directory, and the environment does not name it.
    """
    marker = "${CREDENTIALS_DIRECTORY}"
    text = str(path)
    if marker not in text:
        return path
    directory = os.environ.get("CREDENTIALS_DIRECTORY")
    if not directory:
        raise ConfigurationError(
            f"secret file {text}: CREDENTIALS_DIRECTORY is not set; start this from its systemd unit, or export it"
        )
    # The path was joined to the configuration's directory when it was loaded; only what follows the marker counts.
    return Path(directory + text.split(marker, 1)[1])
