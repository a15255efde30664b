"""What a snapshot says of its maker: entries that govsec made itself, which no disk had, and the counts of a run."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import datetime
from pwd import getpwuid

from govsec.backup.blobs import BlobCounts
from govsec.backup.walk import Counts
from govsec.clock import format_time
from govsec.repo.snapshot import Summary
from govsec.repo.tree import MODE_DIR, Node, quote


def own_user_name() -> str:
    """The name of the user that this process runs as, or its number where it has none."""
    try:
        return getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def own_file(name: bytes, time: str, content: Sequence[str], size: int, *, mode: int = 0o600) -> Node:
    """A regular file of this process's user. ``time`` as a node has it, ``content`` ids of blobs, ``size`` in bytes."""
    return Node(
        name=quote(name),
        type="file",
        mode=mode,
        mtime=time,
        atime=time,
        ctime=time,
        uid=os.getuid(),
        gid=os.getgid(),
        user=own_user_name(),
        size=size,
        links=1,
        content=[*content],
    )


def own_directory(name: bytes, time: str, tree_id: bytes, *, mode: int = 0o700) -> Node:
    """A directory of this process's user that holds the tree ``tree_id``."""
    return Node(
        name=quote(name),
        type="dir",
        mode=MODE_DIR | mode,
        mtime=time,
        atime=time,
        ctime=time,
        uid=os.getuid(),
        gid=os.getgid(),
        user=own_user_name(),
        subtree=tree_id.hex(),
    )


def summary_of(began: datetime, ended: datetime, counts: Counts, blobs: Sequence[BlobCounts]) -> Summary:
    """What was counted, in restic's fields."""
    return Summary(
        backup_start=format_time(began),
        backup_end=format_time(ended),
        files_new=counts.files_new,
        files_changed=counts.files_changed,
        files_unmodified=counts.files_unmodified,
        dirs_new=counts.dirs_new,
        dirs_changed=counts.dirs_changed,
        dirs_unmodified=counts.dirs_unmodified,
        data_blobs=sum(part.data_blobs for part in blobs),
        tree_blobs=sum(part.tree_blobs for part in blobs),
        data_added=sum(part.added_bytes for part in blobs),
        data_added_packed=sum(part.packed_bytes for part in blobs),
        total_files_processed=counts.files,
        total_bytes_processed=counts.total_bytes,
    )
