"""The manifest of a base backup against what the repository holds, without restoring it.

``backup_manifest`` is JSON that the server wrote: every file with its size and SHA-256, and a digest of itself. So the
content that any center holds is compared with what the server had, by a check that shares nothing with how it was
stored; ``pg_verifybackup`` does the same to restored files.

Source: PostgreSQL documentation, appendix "Backup Manifest Format", version 1.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from typing import Any

from govsec.errors import FormatError, GovsecError
from govsec.postgres.view import LogView
from govsec.repo.pack import BlobType
from govsec.repo.tree import Node, raw_name

_MANIFEST_SIZE_MAX = 512 << 20
_PROBLEMS_MAX = 100


def verify_files(view: LogView, base: str, manifest: str) -> tuple[int, int, list[str]]:
    """Files and bytes that were read of a base backup, and what is wrong with it (the first hundred).

    Raises:
        FormatError: the manifest is none, or not whole.
        IntegrityError, StoreError: it cannot be read.
    """
    nodes = dict(_files(view, f"{base}/data", ""))
    for name in _names(view, f"{base}/tablespaces"):
        nodes |= {f"pg_tblspc/{name}/{path}": node for path, node in _files(view, f"{base}/tablespaces/{name}", "")}
    own = nodes.pop(manifest, None)
    if own is None:
        raise FormatError(f"{view.root}/{base}: there is no {manifest}")
    listed = parse_manifest(view.content(own, _MANIFEST_SIZE_MAX))
    problems: list[str] = []
    size = 0
    for path, (length, digest) in listed.items():
        node = nodes.pop(path, None)
        if node is None:
            problems.append(f"{base}/{path}: missing")
            continue
        try:
            found = hashlib.sha256()
            for text in node.content or ():
                found.update(view.repository.load_blob(BlobType.DATA, bytes.fromhex(text)))
        except GovsecError as error:
            problems.append(f"{base}/{path}: {error}")
            continue
        size += node.size
        if node.size != length or found.hexdigest() != digest:
            problems.append(f"{base}/{path}: its content is not what the server's manifest says")
    # The log and its folder are not in a manifest; neither are settings that a tool may write.
    surplus = [path for path in nodes if not path.startswith("pg_wal/") and path != "postgresql.auto.conf"]
    problems += [f"{base}/{path}: not in the manifest" for path in surplus]
    return len(listed), size, problems[:_PROBLEMS_MAX]


def parse_manifest(data: bytes) -> dict[str, tuple[int, str]]:
    """Size and SHA-256 of every file by its path. Raises ``FormatError``."""
    head, mark, rest = data.rpartition(b'"Manifest-Checksum"')
    try:
        body: Any = json.loads(data)
        claimed = body["Manifest-Checksum"]
        files = {}
        for item in body["Files"]:
            path = item.get("Path") or os.fsdecode(bytes.fromhex(item["Encoded-Path"]))
            if item.get("Checksum-Algorithm") != "SHA256":
                raise FormatError(f"backup_manifest: {path[:200]} has no SHA-256")
            files[str(path)] = (int(item["Size"]), str(item["Checksum"]).lower())
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise FormatError(f"backup_manifest: not a manifest: {type(error).__name__}") from error
    # The digest is of everything up to the line that it stands on.
    if not mark or not rest or hashlib.sha256(head).hexdigest() != claimed:
        raise FormatError("backup_manifest: its own digest is wrong")
    return files


def _names(view: LogView, path: str) -> list[str]:
    tree_id = view.tree_of(path)
    if tree_id is None:
        return []
    return [os.fsdecode(raw_name(node)) for node in view.repository.load_tree(tree_id).nodes if node.subtree]


def _files(view: LogView, path: str, prefix: str) -> Iterator[tuple[str, Node]]:
    tree_id = view.tree_of(path)
    pending = [] if tree_id is None else [(tree_id, prefix)]
    while pending:
        current, above = pending.pop()
        for node in view.repository.load_tree(current).nodes:
            name = above + os.fsdecode(raw_name(node))
            if node.subtree is not None:
                pending.append((bytes.fromhex(node.subtree), f"{name}/"))
            elif node.type == "file":
                yield name, node
