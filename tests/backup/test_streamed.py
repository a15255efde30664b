"""Trees that are written as they arrive: what is restored is what was sent, in turns or not."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from govsec.backup.restore import restore
from govsec.backup.streamed import OPEN_MAX, StreamedTree
from govsec.errors import FormatError, LimitError
from govsec.repo.check import Scope, check
from govsec.repo.chunker import CHUNK_SIZE_MAX
from govsec.repo.layout import Kind
from tests.backup.conftest import Desk

ROOT = "/mariadb/main/base"


def noise(seed: int, size: int) -> bytes:
    return random.Random(seed).randbytes(size)


def test_files_that_are_sent_in_turns_come_back_each_as_it_was(desk: Desk, tmp_path: Path) -> None:
    first, second = noise(1, CHUNK_SIZE_MAX + 700_000), noise(2, 3_000_000)

    with StreamedTree(desk.writable(), desk.clock, ROOT) as tree:
        one, two, empty = tree.begin("b1/db/one.ibd", mode=0o600), tree.begin("b1/redo"), tree.begin("b1/empty")
        for start in range(0, len(first), 900_000):
            one.write(first[start : start + 900_000])
            two.write(second[start : start + 900_000])
        tree.directory("b1/db", mode=0o700)
        tree.link("b1/link", b"db/one.ibd")
        for file in (one, two, empty):
            file.close()
        result = tree.save()

    restore(desk.readable(), result.snapshot, tmp_path / "out", workers=0)
    base = tmp_path / "out" / ROOT[1:] / "b1"
    assert (base / "db" / "one.ibd").read_bytes() == first
    assert (base / "redo").read_bytes() == second
    assert (base / "empty").read_bytes() == b""
    assert (base / "link").readlink() == Path("db/one.ibd")
    assert (base / "db").stat().st_mode & 0o777 == 0o700
    assert result.files == 3
    assert check(desk.readable(), clock=desk.clock, scope=Scope.ALL_DATA, workers=0).is_good


def test_what_did_not_change_between_two_streams_is_stored_once(desk: Desk) -> None:
    data = noise(3, 6_000_000)

    def send(name: str) -> int:
        with StreamedTree(desk.writable(), desk.clock, ROOT) as tree:
            file = tree.begin(f"{name}/t.ibd")
            file.write(data)
            file.close()
            return tree.save().summary.data_added

    assert send("b1") >= len(data)
    assert send("b2") < 10_000


def test_a_subtree_has_the_id_that_the_snapshot_names(desk: Desk) -> None:
    with StreamedTree(desk.writable(), desk.clock, ROOT) as tree:
        tree.begin("b1/x").close()
        tree.save()
        found = tree.subtree("b1")

    loaded = desk.readable()
    loaded.load_index()
    assert [node.name for node in loaded.load_tree(found).nodes] == ["x"]


def test_a_file_that_was_not_closed_makes_no_snapshot(desk: Desk) -> None:
    with pytest.raises(FormatError, match="b1/x"), StreamedTree(desk.writable(), desk.clock, ROOT) as tree:
        tree.begin("b1/y").close()
        tree.begin("b1/x").write(b"half")
        tree.save()

    assert not list(desk.readable().snapshots())


def test_a_stream_without_files_makes_no_snapshot(desk: Desk) -> None:
    with pytest.raises(FormatError, match="single file"), StreamedTree(desk.writable(), desk.clock, ROOT) as tree:
        tree.save()


def test_what_was_stored_before_an_error_is_indexed(desk: Desk) -> None:
    with pytest.raises(ZeroDivisionError), StreamedTree(desk.writable(), desk.clock, ROOT, pack_size=4 << 20) as tree:
        file = tree.begin("b1/x")
        for seed in range(4):
            file.write(noise(seed, CHUNK_SIZE_MAX))
        raise ZeroDivisionError

    assert desk.readable().object_ids(Kind.INDEX)


def test_renamed_and_removed_entries_are_where_the_stream_left_them(desk: Desk, tmp_path: Path) -> None:
    with StreamedTree(desk.writable(), desk.clock, ROOT) as tree:
        for name in ("a", "b", "c"):
            file = tree.begin(name)
            file.write(name.encode())
            file.close()
        tree.rename("a", "d/a")
        tree.remove("b")
        tree.remove("never sent")
        with pytest.raises(FormatError):
            tree.rename("never sent", "x")
        result = tree.save()

    restore(desk.readable(), result.snapshot, tmp_path / "out", workers=0)
    base = tmp_path / "out" / ROOT[1:]
    assert sorted(path.relative_to(base).as_posix() for path in base.rglob("*")) == ["c", "d", "d/a"]


@pytest.mark.parametrize("path", ["", "/etc/passwd", "../x", "a/../b", "a//b", "a/\0", "./a", "x" * 256])
def test_a_path_outside_the_tree_is_refused(desk: Desk, path: str) -> None:
    with StreamedTree(desk.writable(), desk.clock, ROOT) as tree, pytest.raises(FormatError):
        tree.begin(path)


def test_more_open_files_than_a_backup_tool_has_are_refused(desk: Desk) -> None:
    with StreamedTree(desk.writable(), desk.clock, ROOT) as tree, pytest.raises(LimitError):
        for number in range(OPEN_MAX + 1):
            tree.begin(f"f{number}")
