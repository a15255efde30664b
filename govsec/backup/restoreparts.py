"""What the workers of a restore and the process that reports hand to each other.

Directories travel as paths: who gets one enters it from the target's root again, name by name.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from govsec.backup.restoretally import Tally
from govsec.backup.restorework import FileItem
from govsec.backup.target import Directory, Target
from govsec.backup.walk import join_path
from govsec.repo.tree import Node


@dataclass(frozen=True, slots=True)
class Part:
    """Entries of one directory that are to be restored with all below them."""

    path: bytes
    #: The directory was there before this restore.
    was_there: bool
    is_included: bool
    nodes: Sequence[Node]
    #: All entries of the directory: what else is there is foreign to it.
    is_whole: bool = False


@dataclass(frozen=True, slots=True)
class Deferred:
    """An entry that one worker alone should not restore."""

    path: bytes
    name: bytes
    node: Node
    #: Nothing lies under its name.
    is_free: bool


@dataclass(frozen=True, slots=True)
class Late:
    """A directory that gets its metadata when all is done."""

    path: bytes
    node: Node


def directory_at(path: bytes, *, was_there: bool = False) -> Directory:
    """A directory that was made, by its path in the snapshot."""
    directory = Directory(None, b"", None, b"/", is_made=True, was_there=True)
    for name in path.split(b"/")[1:] if path != b"/" else ():
        directory = Directory(directory, name, None, join_path(directory.path, name), is_made=True)
    directory.was_there = was_there
    return directory


def link_key(node: Node) -> tuple[int, int] | None:
    """What the names of one file have in common; None for a file with one name."""
    return (node.device_id, node.inode) if node.links > 1 and node.inode else None


def file_item(directory: Directory, name: bytes, node: Node, *, is_free: bool) -> FileItem:
    """A file to be written; when something lies under its name, under another one until it is complete."""
    ids = b"".join([bytes.fromhex(blob_id) for blob_id in node.content or ()])
    return FileItem(directory, name, node, ids, name if is_free else b".govsec-" + secrets.token_hex(8).encode())


def finish_directory(target: Target, directory: Directory, tally: Tally) -> None:
    """Set the metadata of a directory whose content is complete; what cannot be set is a problem."""
    assert directory.node is not None  # only the top has none, and it keeps its own
    try:
        target.set_file_metadata(target.descriptor(directory), directory.node, directory.path)
    except OSError as error:
        tally.note(directory.path, f"metadata: {os.strerror(error.errno or 0)}")
