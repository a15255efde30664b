"""A snapshot of a log, to read: its page, its segments, its base backups. Reads trees alone, no content but the page.

What is here comes from a repository, and a hostile center may have filled it: names that are none of the log are passed
over, and nothing is believed of a segment but its name, its size and when it last grew.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime

from govsec.backup.appending import find_tree
from govsec.clock import from_ns
from govsec.errors import FormatError, IntegrityError, LimitError
from govsec.postgres.logbook import BASE, HISTORY, LOG, PAGE, Page, read_page
from govsec.postgres.wal import PARTIAL, Branch, Segment, is_history_name, parse_history
from govsec.repo.pack import BlobType
from govsec.repo.reader import Repository
from govsec.repo.snapshot import Snapshot
from govsec.repo.tree import Node, parse_ns, raw_name

_SMALL_SIZE_MAX = 1 << 20
_FOLDERS_MAX = 100_000
_HISTORIES_MAX = 10_000


@dataclass(frozen=True, slots=True)
class StoredSegment:
    """A segment as the tree has it."""

    segment: Segment
    is_partial: bool
    #: When it last grew.
    at: datetime
    #: None for one that was found in a restored tree.
    node: Node | None = None


class LogView:
    """What a snapshot of ``root`` (``/postgres/<job>``) holds.

    Raises:
        FormatError: it is no snapshot of a log.
        ObjectNotFoundError, IntegrityError, StoreError: a tree or the page cannot be read.
    """

    def __init__(self, repository: Repository, snapshot: Snapshot, root: str) -> None:
        self.repository = repository
        self.snapshot = snapshot
        self.root = root
        steps = [os.fsencode(step) for step in root.strip("/").split("/")]
        top = find_tree(repository, bytes.fromhex(snapshot.tree), steps)
        if top is None:
            raise FormatError(f"snapshot {snapshot.short_id}: there is no directory {root}")
        self._top = top
        page = self._small(top, PAGE)
        if page is None:
            raise FormatError(f"snapshot {snapshot.short_id}: {root} has no {PAGE}")
        self.page: Page = read_page(page)

    def tree_of(self, path: str) -> bytes | None:
        """The id of a directory below the root; None when there is none."""
        return find_tree(self.repository, self._top, [os.fsencode(step) for step in path.split("/")])

    def base_tree(self, base_id: str) -> bytes | None:
        """The id of a base backup's tree; None when it is not there."""
        return self.tree_of(f"{BASE}/{base_id}")

    def segments(self) -> list[StoredSegment]:
        """All segments, by timeline and number; a whole one before what is left of a partial one."""
        found = []
        top = self.tree_of(LOG)
        folders = [] if top is None else self.repository.load_tree(top).nodes
        if len(folders) > _FOLDERS_MAX:
            raise LimitError(f"{self.root}/{LOG}: more than {_FOLDERS_MAX} folders")
        for folder in folders:
            if folder.subtree is not None and folder.name != HISTORY.rpartition("/")[2]:
                found += list(self._in_folder(folder))
        return sorted(found, key=lambda item: (item.segment, item.is_partial))

    def histories(self) -> dict[int, list[Branch]]:
        """The timelines whose history is here, each with the way that leads to it; unreadable ones are left out."""
        found: dict[int, list[Branch]] = {}
        top = self.tree_of(HISTORY)
        for node in [] if top is None else self.repository.load_tree(top).nodes[:_HISTORIES_MAX]:
            name = os.fsdecode(raw_name(node))
            if is_history_name(name):
                timeline = int(name[:8], 16)
                try:
                    found[timeline] = parse_history(self.content(node, _SMALL_SIZE_MAX), timeline)
                except FormatError:
                    continue
        return found

    def content(self, node: Node, size_max: int) -> bytes:
        """A file's bytes. Raises ``LimitError`` when it is larger, and as reading a blob does."""
        if node.size > size_max:
            raise LimitError(f"{self.root}: {node.name[:80]} has {node.size} bytes, more than {size_max}")
        data = b"".join(self.repository.load_blob(BlobType.DATA, bytes.fromhex(text)) for text in node.content or ())
        if len(data) != node.size:
            raise IntegrityError(f"{self.root}: {node.name[:80]} gives {len(data)} bytes; {node.size} were expected")
        return data

    def narrowed(self, path: str) -> Snapshot:
        """A snapshot whose root is a directory below ours: for restoring that alone. Raises ``FormatError``."""
        tree_id = self.tree_of(path)
        if tree_id is None:
            raise FormatError(f"snapshot {self.snapshot.short_id}: there is no {self.root}/{path}")
        return replace(self.snapshot, tree=tree_id.hex(), paths=("/",), summary=None)

    def _in_folder(self, folder: Node) -> Iterator[StoredSegment]:
        assert folder.subtree is not None  # the caller looked
        for node in self.repository.load_tree(bytes.fromhex(folder.subtree)).nodes:
            name = os.fsdecode(raw_name(node))
            segment = Segment.named(name.removesuffix(PARTIAL), self.page.segment_size)
            if segment is not None and node.type == "file" and node.size == segment.size:
                yield StoredSegment(segment, name.endswith(PARTIAL), from_ns(parse_ns(node.mtime)), node)

    def _small(self, tree_id: bytes, name: str) -> bytes | None:
        for node in self.repository.load_tree(tree_id).nodes:
            if node.name == name and node.type == "file":
                return self.content(node, _SMALL_SIZE_MAX)
        return None
