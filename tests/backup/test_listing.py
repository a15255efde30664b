"""Looking into snapshots: ls, find, diff, dump."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest

from govsec.backup.listing import ChangeKind, diff, dump_file, dump_tar, find, find_entry, list_entries
from govsec.backup.patterns import Patterns
from govsec.errors import UsageError
from tests.backup.conftest import Desk
from tests.backup.trees import describe, make_rich_tree, without
from tests.support.require import require, require_root


def test_entries_come_with_directories_before_what_is_in_them(desk: Desk, source: Path) -> None:
    desk.back_up(source)
    repository = desk.readable()
    snapshot = repository.resolve()
    paths = [os.fsdecode(entry.path) for entry in list_entries(repository, snapshot, os.fsencode(source))]
    assert paths == [f"{source}/{name}" for name in ("a", "a/b", "a/b/three.txt", "a/two.txt", "one.txt")]
    flat = list_entries(repository, snapshot, os.fsencode(source), recursive=False)
    assert [os.fsdecode(entry.path) for entry in flat] == [f"{source}/a", f"{source}/one.txt"]
    assert [entry.node.name for entry in list_entries(repository, snapshot, os.fsencode(source / "one.txt"))] == [
        "one.txt"
    ]


@pytest.mark.parametrize("path", ["/no/such", "/one.txt/below"])
def test_a_path_that_is_not_there_is_named(desk: Desk, source: Path, path: str) -> None:
    desk.back_up(source)
    repository = desk.readable()
    with pytest.raises(UsageError, match="has no"):
        list(list_entries(repository, repository.resolve(), os.fsencode(str(source) + path)))


def test_find_matches_names_and_paths(desk: Desk, source: Path) -> None:
    desk.back_up(source)
    repository = desk.readable()
    found = [
        Path(os.fsdecode(entry.path)).name for entry in find(repository, repository.resolve(), Patterns(["t*.txt"]))
    ]
    assert found == ["three.txt", "two.txt"]


def test_diff_tells_what_kind_of_change_it_was(desk: Desk, source: Path) -> None:
    (source / "gone").mkdir()
    (source / "gone" / "deep").write_bytes(b"x")
    (source / "turned").write_bytes(b"x")
    (source / "link").symlink_to("here")
    before = desk.back_up(source).snapshot
    (source / "one.txt").write_bytes(b"other")
    (source / "a" / "two.txt").chmod(0o600)
    (source / "gone" / "deep").unlink()
    (source / "gone").rmdir()
    (source / "turned").unlink()
    (source / "turned").mkdir()
    (source / "turned" / "new").write_bytes(b"x")
    (source / "link").unlink()
    (source / "link").symlink_to("there")
    after = desk.back_up(source).snapshot
    changes = {
        os.path.relpath(os.fsdecode(change.path), source): change.kind
        for change in diff(desk.readable(), before, after)
        if os.fsdecode(change.path).startswith(f"{source}/")
    }
    assert changes == {
        "one.txt": ChangeKind.MODIFIED,
        "link": ChangeKind.MODIFIED,
        "a/two.txt": ChangeKind.METADATA,
        "gone": ChangeKind.REMOVED,
        "gone/deep": ChangeKind.REMOVED,
        "turned": ChangeKind.TYPE,
        "turned/new": ChangeKind.ADDED,
    }
    assert list(diff(desk.readable(), after, after)) == []


def test_a_dumped_file_is_the_file(desk: Desk, tmp_path: Path) -> None:
    data = os.urandom(5 << 20)
    (tmp_path / "big").write_bytes(data)
    desk.back_up(tmp_path / "big")
    repository = desk.readable()
    entry = find_entry(repository, repository.resolve(), os.fsencode(tmp_path / "big"))
    pieces = list(dump_file(repository, entry.node))
    assert b"".join(pieces) == data and len(pieces) > 1


def test_a_dumped_directory_unpacks_to_the_same_tree(desk: Desk, tmp_path: Path) -> None:
    require_root()
    require("setfacl")
    root = tmp_path / "rich"
    make_rich_tree(root)
    desk.back_up(root)
    repository = desk.readable()
    output = io.BytesIO()
    count = dump_tar(repository, repository.resolve(), os.fsencode(root), output)
    output.seek(0)
    out = tmp_path / "out"
    with tarfile.open(fileobj=output, errors="surrogateescape") as archive:
        assert len(archive.getmembers()) == count
        archive.extractall(out, filter="fully_trusted", numeric_owner=True)
    # tar has seconds, and this stream leaves links between files and attributes to `restore`.
    lost = ("mtime_ns", "names", "attributes", "has_holes")
    unpacked = without(describe(out / root.relative_to("/")), *lost)
    original = without(describe(root), *lost)
    for tree in (unpacked, original):
        del tree[b"."]
    assert unpacked == original


def test_a_directory_is_not_dumped_as_a_file(desk: Desk, source: Path) -> None:
    desk.back_up(source)
    repository = desk.readable()
    entry = find_entry(repository, repository.resolve(), os.fsencode(source))
    with pytest.raises(UsageError, match="not a file"):
        list(dump_file(repository, entry.node))
