"""Whether an upgrade put another file where the removed file of a running program was.

Idea: only root upgrades what everybody runs. An empty file in the place of a removed one costs one command, so what
stands there must be a program, of the same owner as the one that runs, and nobody but root may have put it there: each
folder above it is a real one, of root, that others may not write. Who is root can still put a program of root there.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path


def has_successor(pid: int, path: str) -> bool:
    """Whether a program that only root can have put there stands at ``path``, as process ``pid`` sees the file system.

    ``path``: absolute, of the removed file that the process runs. What cannot be looked at is none.
    """
    root = f"/proc/{pid}/root"
    try:
        running = Path(f"/proc/{pid}/exe").stat()
        # The link to the root itself is the kernel's; none below it is followed: links lead out of a container.
        if not _is_roots_own(Path(root).stat()):
            return False
        for end, character in enumerate(path):
            if end and character == "/" and not _is_roots_own(os.lstat(root + path[:end])):
                return False
        found = os.lstat(root + path)
    except (OSError, ValueError):
        return False
    is_program = stat.S_ISREG(found.st_mode) and bool(found.st_mode & 0o111) and found.st_size > 0
    return is_program and found.st_uid == running.st_uid


def _is_roots_own(folder: os.stat_result) -> bool:
    return stat.S_ISDIR(folder.st_mode) and folder.st_uid == 0 and not folder.st_mode & 0o022
