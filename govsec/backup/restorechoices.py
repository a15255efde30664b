"""What somebody chose of a restore: which part of the snapshot, and what becomes of what is there already."""

from __future__ import annotations

import stat
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from os import stat_result

from govsec.backup.patterns import Patterns
from govsec.repo.tree import Node, parse_ns


class Overwrite(StrEnum):
    """What becomes of a file that is there already. The words are restic's."""

    ALWAYS = "always"
    #: Leave a file of the same size and modification time.
    IF_CHANGED = "if-changed"
    #: Replace only what is older than the snapshot's.
    IF_NEWER = "if-newer"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class Choices:
    """One restore's choices."""

    include: Patterns
    exclude: Patterns
    overwrite: Overwrite
    is_deleting: bool
    is_dry_run: bool
    is_verifying: bool
    #: What was backed up: below these paths, and nowhere else, the snapshot speaks for all of a directory.
    deletable: Sequence[bytes]

    def is_replaced(self, node: Node, status: stat_result) -> bool:
        """Whether ``node`` takes the place of what is there."""
        if self.overwrite is Overwrite.IF_NEWER:
            return parse_ns(node.mtime) > status.st_mtime_ns
        if self.overwrite is Overwrite.IF_CHANGED:
            is_file = node.type == "file" and stat.S_ISREG(status.st_mode)
            return not (is_file and node.size == status.st_size and parse_ns(node.mtime) == status.st_mtime_ns)
        return self.overwrite is Overwrite.ALWAYS

    def is_deletable(self, path: bytes) -> bool:
        """Whether what is foreign at ``path`` goes: not in directories that only lead to what was backed up."""
        return self.is_deleting and any(
            path == root or path.startswith(root.rstrip(b"/") + b"/") for root in self.deletable
        )
