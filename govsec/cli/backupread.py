"""``govsec backup list``, ``ls``, ``find``, ``diff`` and ``dump``: look into snapshots."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from govsec.cli import frame, texts
from govsec.cli.choosing import choose, fitting
from govsec.cli.where import begin_reading
from govsec.errors import UsageError

if TYPE_CHECKING:  # see govsec.cli.where
    from govsec.repo.snapshot import Snapshot

_LISTED_MAX = 1_000_000


def run_list(args: argparse.Namespace, io: frame.IO) -> int:
    """List the snapshots, oldest first."""
    repository = begin_reading(args, io)()
    found = fitting(args, io, repository)
    data = {
        "snapshots": [_snapshot_facts(snapshot) for snapshot in found],
        "unreadable": [item.name for item in repository.unreadable],
    }

    def words() -> str:
        rows = [
            (
                snapshot.short_id,
                snapshot.time.strftime("%Y-%m-%d %H:%M:%SZ"),
                snapshot.hostname,
                ",".join(snapshot.tags),
                "" if snapshot.summary is None else texts.size(snapshot.summary.total_bytes_processed),
                ", ".join(texts.printable(path) for path in snapshot.paths),
            )
            for snapshot in found
        ]
        return texts.table(("snapshot", "time", "host", "tags", "size", "paths"), rows)

    io.result(data, words)
    return 0


def run_ls(args: argparse.Namespace, io: frame.IO) -> int:
    """List entries of a snapshot."""
    import os

    from govsec.backup.listing import list_entries

    repository = begin_reading(args, io)()
    snapshot = choose(args, io, repository, args.snapshot)
    entries = list_entries(repository, snapshot, os.fsencode(args.path), recursive=args.recursive)
    return _print_many(io, "entries", (_entry_facts(entry.path, entry.node) for entry in entries), _entry_line)


def run_find(args: argparse.Namespace, io: frame.IO) -> int:
    """Find paths; 1 when there are none."""
    from govsec.backup.listing import find
    from govsec.backup.patterns import Patterns

    repository = begin_reading(args, io)()
    patterns = Patterns(args.pattern)
    snapshots = (
        fitting(args, io, repository) if args.snapshot is None else [choose(args, io, repository, args.snapshot)]
    )
    found = (
        {"snapshot": snapshot.id, **_entry_facts(entry.path, entry.node)}
        for snapshot in snapshots
        for entry in find(repository, snapshot, patterns)
    )
    count = 0

    def counted() -> Iterable[dict[str, Any]]:
        nonlocal count
        for item in found:
            count += 1
            yield item

    _print_many(io, "found", counted(), lambda item: f"{item['snapshot'][:8]}  {_entry_line(item)}")
    return 0 if count else 1


def run_diff(args: argparse.Namespace, io: frame.IO) -> int:
    """Compare two snapshots."""
    import os

    from govsec.backup.listing import diff

    repository = begin_reading(args, io)()
    before, after = (choose(args, io, repository, selector) for selector in (args.before, args.after))
    changes = (
        {"change": change.kind.value, "path": os.fsdecode(change.path)} for change in diff(repository, before, after)
    )
    return _print_many(io, "changes", changes, lambda item: f"{item['change']}    {texts.printable(item['path'])}")


def run_dump(args: argparse.Namespace, io: frame.IO) -> int:
    """Write a file's content, or a directory as tar."""
    import os

    from govsec.backup.listing import dump_file, dump_tar, find_entry

    if io.is_json:
        raise UsageError("dump writes the content itself; it has no JSON")
    repository = begin_reading(args, io)()
    snapshot = choose(args, io, repository, args.snapshot)
    path = os.fsencode(args.path)
    if path.strip(b"/") and (entry := find_entry(repository, snapshot, path)).node.type == "file":
        for piece in dump_file(repository, entry.node):
            io.raw(piece)
    else:
        dump_tar(repository, snapshot, path, _RawOutput(io))  # type: ignore[arg-type]  # write() is all that tar asks for
    return 0


def _snapshot_facts(snapshot: Snapshot) -> dict[str, Any]:
    summary = snapshot.summary
    return {
        "id": snapshot.id,
        "time": snapshot.time,
        "tree": snapshot.tree,
        "parent": snapshot.parent,
        "paths": snapshot.paths,
        "hostname": snapshot.hostname,
        "username": snapshot.username,
        "tags": snapshot.tags,
        "program_version": snapshot.program_version,
        "files": None if summary is None else summary.total_files_processed,
        "bytes": None if summary is None else summary.total_bytes_processed,
    }


def _entry_facts(path: bytes, node: Any) -> dict[str, Any]:
    import os

    return {
        "path": os.fsdecode(path),
        "type": node.type,
        "mode": node.mode,
        "uid": node.uid,
        "gid": node.gid,
        "size": node.size,
        "mtime": node.mtime,
    }


def _entry_line(item: dict[str, Any]) -> str:
    return f"{item['type']:8} {item['size']:>12} {item['mtime'][:19]} {texts.printable(item['path'])}"


def _print_many(io: frame.IO, name: str, items: Iterable[dict[str, Any]], line: Callable[[dict[str, Any]], str]) -> int:
    """Print as many lines as there are, as they come; as JSON one object, which is bounded."""
    if not io.is_json:
        for item in items:
            io.result({}, line(item))
        return 0
    kept: list[dict[str, Any]] = []
    for item in items:
        if len(kept) == _LISTED_MAX:
            raise UsageError(f"more than {_LISTED_MAX} {name}; narrow it down or leave out --json")
        kept.append(item)
    io.result({name: kept})
    return 0


class _RawOutput:
    """Standard output as the file that a tar stream is written to."""

    def __init__(self, io: frame.IO) -> None:
        self._io = io

    def write(self, data: bytes) -> int:
        self._io.raw(data)
        return len(data)
