"""A file of lines, one JSON object each: for a site that reads notices by itself, and for drills.

A line is on the disk before the receipt is given. Whoever reads the file tells doubles apart by ``key``.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from govsec.canonical import dumps
from govsec.clock import Clock
from govsec.notice.api import DeliveryError, Limits, Receipt, ReceiptState
from govsec.records import Notice


class FileChannel:
    """Appends to ``path``, which is made when it is not there; never through a link, never into a device."""

    def __init__(self, name: str, path: Path, clock: Clock, *, size_max_bytes: int = 1 << 30) -> None:
        self.name = name
        self.limits = Limits()
        self._path = path
        self._clock = clock
        self._size_max = size_max_bytes

    def send(self, notice: Notice) -> Receipt:
        """Append a line. Raises as ``Channel.send``."""
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        line = dumps(notice.canonical()) + b"\n"
        try:
            descriptor = os.open(self._path, flags, 0o640)
            try:
                status = os.fstat(descriptor)
                if not stat.S_ISREG(status.st_mode):
                    raise DeliveryError(f"channel {self.name}: {self._path} is no regular file", is_retryable=False)
                if status.st_size + len(line) > self._size_max:
                    raise DeliveryError(f"channel {self.name}: {self._path} has grown too large", is_retryable=True)
                written = os.write(descriptor, line)
                if written != len(line):
                    os.ftruncate(descriptor, status.st_size)
                    raise DeliveryError(f"channel {self.name}: {self._path}: no room on the disk", is_retryable=True)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise DeliveryError(f"channel {self.name}: {self._path}: {error.strerror}", is_retryable=True) from error
        return Receipt(ReceiptState.UNKNOWN, self._clock.now())
