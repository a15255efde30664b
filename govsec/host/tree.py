"""Reading files of a machine below a root: bounded, never through a mount that may hang, and counting what is left out.

One idea: every reader of a table gets a ``Tree`` and a ``Gaps``. The tree is the running system (``/``), one that is
mounted elsewhere (``/host`` in a container) or one that was recorded for a test; the readers cannot tell. Paths are
given as the machine itself says them. What raises ``OSError`` or our own errors here makes a table unavailable, or is a
gap of it, as its reader decides.
"""

from __future__ import annotations

import errno
import os
import stat
from collections import Counter
from pathlib import Path

from govsec.errors import GovsecError, LimitError
from govsec.host.mounts import MountTable, read_mounts
from govsec.host.tables import Gap, TableName
from govsec.localfile import read_bounded

#: More entries than this has no folder that a table is read from, but one that is meant to exhaust us.
NAMES_MAX = 100_000
#: As the kernel (path_resolution(7)).
_LINKS_MAX = 40


class Gaps:
    """Counts of what the tables lack, for the reasons that there are."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[TableName, str]] = Counter()

    def add(self, table: TableName, reason: str, count: int = 1) -> None:
        """``count`` more things that ``table`` does not show; ``reason`` is one of a few constant clauses."""
        self._counts[table, reason] += count

    def rows(self) -> tuple[Gap, ...]:
        """All gaps, in the order of tables and reasons."""
        return tuple(Gap(table, reason, count) for (table, reason), count in sorted(self._counts.items()))


class Tree:
    """The files below ``root``; ``mounts`` says where not to go."""

    def __init__(self, root: Path, mounts: MountTable) -> None:
        self.root = root
        self.mounts = mounts
        self._prefix = "" if root == Path("/") else os.fspath(root)

    @classmethod
    def at(cls, root: Path = Path("/")) -> Tree:
        """The tree at ``root`` with the mounts that are there now."""
        return cls(root, read_mounts(root))

    @property
    def is_running_system(self) -> bool:
        """The tree is this system's own, so its kernel may be asked directly."""
        return self._prefix == ""

    def place(self, path: str) -> str:
        """Where the file that the machine calls ``path`` lies for us.

        Raises:
            OSError: it lies on a mount that may hang (EREMOTE).
        """
        if self.mounts.may_hang(path):
            raise OSError(errno.EREMOTE, "on a network or user-space file system, not looked at", path)
        return self._prefix + path

    def read(self, path: str, size_max: int) -> bytes:
        """The bytes of the regular file at ``path``, not following a link in its last part.

        Raises:
            OSError: it cannot be read, is no regular file, or lies on a mount that may hang.
            LimitError: it is larger than ``size_max``.
        """
        return read_bounded(Path(self.place(path)), size_max)

    def read_text(self, path: str, size_max: int) -> str:
        """As ``read``, as text; bytes that are no UTF-8 become surrogates."""
        return self.read(path, size_max).decode("utf-8", "surrogateescape")

    def names(self, path: str) -> list[str]:
        """The sorted names in the folder ``path``.

        Raises:
            OSError: it cannot be listed.
            LimitError: it has more than ``NAMES_MAX`` entries.
        """
        names: list[str] = []
        with os.scandir(self.place(path)) as entries:
            for entry in entries:
                if len(names) >= NAMES_MAX:
                    raise LimitError(f"{path}: more than {NAMES_MAX} entries")
                names.append(entry.name)
        return sorted(names)

    def link(self, path: str) -> str:
        """What the symbolic link at ``path`` says.

        Raises:
            OSError: it is no link, or cannot be read.
        """
        return os.readlink(self.place(path))  # noqa: PTH115  # a path of the machine is text

    def resolve(self, path: str) -> str:
        """The path without links that ``path`` leads to within the tree, nowhere over a mount that may hang.

        Raises:
            OSError: it is not there, leads in a circle, or to a mount that may hang.
        """
        done: list[str] = []
        left = [part for part in reversed(path.split("/")) if part not in ("", ".")]
        links_left = _LINKS_MAX
        while left:
            part = left.pop()
            if part == "..":
                del done[-1:]
                continue
            here = "/" + "/".join((*done, part))
            if not stat.S_ISLNK(os.lstat(self.place(here)).st_mode):
                done.append(part)
                continue
            links_left -= 1
            if links_left < 0:
                raise OSError(errno.ELOOP, "too many links", path)
            target = self.link(here)
            if target.startswith("/"):
                done.clear()
            left += [part for part in reversed(target.split("/")) if part not in ("", ".")]
        return "/" + "/".join(done)


def reason_of(error: OSError | GovsecError) -> str:
    """Why something could not be read, as one clause."""
    if isinstance(error, OSError) and error.errno is not None:
        where = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes) else ""
        return f"{where}{os.strerror(error.errno) if error.errno != errno.EREMOTE else error.strerror}"
    return str(error)
