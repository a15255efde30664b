"""Opening something inside the restored tree without ever being led out of it.

The tree comes from a repository that may be hostile: a directory of an expected path may be a link to the host's own.
Every step of a path is opened relative to the one before and follows no link.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
#: O_NONBLOCK: a fifo in a file's place must not hang the drill.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@contextmanager
def parent_inside(tree: Path, path: bytes) -> Iterator[tuple[int, bytes]]:
    """A descriptor of the directory that holds ``path`` below ``tree``, and the last name of ``path``.

    Raises:
        OSError: a directory of the path is missing, or is a link.
    """
    *parents, name = [part for part in path.split(b"/") if part not in (b"", b".")] or [b"."]
    if b".." in (*parents, name):
        raise FileNotFoundError(2, "leads out of the restored tree", os.fsdecode(path))
    descriptor = os.open(tree, _DIRECTORY)
    try:
        for parent in parents:
            inner = os.open(parent, _DIRECTORY, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = inner
        yield descriptor, name
    finally:
        os.close(descriptor)


def exists_inside(tree: Path, path: bytes) -> bool:
    """True when ``path`` names anything below ``tree``, a link included."""
    try:
        with parent_inside(tree, path) as (directory, name):
            os.stat(name, dir_fd=directory, follow_symlinks=False)
    except OSError:
        return False
    return True


def open_inside(tree: Path, path: bytes) -> int:
    """A descriptor to read the file at ``path`` below ``tree``. Raises ``OSError``."""
    with parent_inside(tree, path) as (directory, name):
        return os.open(name, _FILE, dir_fd=directory)
