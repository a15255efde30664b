"""Several snapshots become one: a tree that holds all of theirs, each entry at its own path.

Nothing is read but the directories that more than one of them has, and nothing is stored but those: what lies below is
named by the id that it has already.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import msgspec

from govsec.backup.live import LiveWindow
from govsec.backup.made import own_directory, own_file
from govsec.clock import format_time
from govsec.errors import RefusedError
from govsec.repo.pack import BlobType
from govsec.repo.repository import Repository
from govsec.repo.tree import Node, encode_tree, raw_name

#: Directories that lead to what was backed up; deeper than that, two jobs back up the same files.
_DEPTH_MAX = 200


def merge_trees(repository: Repository, window: LiveWindow, trees: Sequence[bytes], depth: int = 0) -> bytes:
    """The id of a tree with the entries of all ``trees``; directories of the same name are merged.

    Raises:
        RefusedError: two of them have different entries of one name.
        IntegrityError, ObjectNotFoundError: a tree cannot be read.
    """
    if len(set(trees)) == 1:
        return trees[0]
    if depth > _DEPTH_MAX:
        raise RefusedError(f"the snapshots share directories more than {_DEPTH_MAX} levels deep")
    nodes: dict[bytes, list[Node]] = {}
    for tree_id in trees:
        for node in repository.load_tree(tree_id).nodes:
            nodes.setdefault(raw_name(node), []).append(node)
    merged = [_merged(repository, window, name, same, depth) for name, same in sorted(nodes.items())]
    return window.save(BlobType.TREE, encode_tree(merged))


def single_file_tree(window: LiveWindow, path: str, data: bytes) -> bytes:
    """The id of a tree that leads to one file, at ``path`` with ``/`` between names."""
    *above, name = os.fsencode(path.strip("/")).split(b"/")
    moment = format_time(window.began)
    file = own_file(name, moment, [window.save(BlobType.DATA, data).hex()], len(data))
    tree_id = window.save(BlobType.TREE, encode_tree([file]))
    for level in reversed(above):
        tree_id = window.save(BlobType.TREE, encode_tree([own_directory(level, moment, tree_id)]))
    return tree_id


def _merged(repository: Repository, window: LiveWindow, name: bytes, nodes: list[Node], depth: int) -> Node:
    first = nodes[0]
    if all(node == first for node in nodes):
        return first
    subtrees = [bytes.fromhex(node.subtree) for node in nodes if node.subtree is not None]
    if len(subtrees) != len(nodes):
        raise RefusedError(
            f"two members of the group have different files at {name[:200]!r}; give them different paths"
        )
    merged = merge_trees(repository, window, subtrees, depth + 1)
    return msgspec.structs.replace(first, subtree=merged.hex())
