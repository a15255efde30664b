"""A log as a tree of growing files: what each snapshot holds, how it carries on, and that nothing is stored twice."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from govsec.backup.appending import AppendTree, find_tree, latest_of
from govsec.backup.archive import ArchiveResult
from govsec.backup.live import LiveWriter
from govsec.errors import GovsecError, IntegrityError, LimitError, StoreUnavailableError, UsageError
from govsec.repo.repository import WritableRepository
from govsec.store.memory import MemoryStore
from govsec.testing.clock import FakeClock
from govsec.testing.faults import FaultKind, FaultStore, Moment, sweep
from tests.backup.conftest import Desk

ROOT = "/postgres/main"


def open_tree(desk: Desk, root: str = ROOT) -> AppendTree:
    """As a new process does it."""
    repository = desk.writable()
    parent = latest_of(repository, root)
    repository.load_index()
    return AppendTree(LiveWriter(repository, clock=desk.clock, hostname="db"), root, parent=parent)


def restored(desk: Desk, result: ArchiveResult, target: Path, root: str = ROOT) -> dict[str, bytes]:
    desk.restore(target, selector=result.snapshot_id)
    top = target / root.strip("/")
    return {path.relative_to(top).as_posix(): path.read_bytes() for path in sorted(top.rglob("*")) if path.is_file()}


def test_every_snapshot_holds_the_whole_log_up_to_its_moment(desk: Desk, tmp_path: Path) -> None:
    tree = open_tree(desk)
    tree.append("log/a/1", b"one")
    first = tree.save()
    tree.append("log/a/1", b"two")
    tree.append("log/b/2", b"three")
    second = tree.save()
    assert restored(desk, first, tmp_path / "first") == {"log/a/1": b"one"}
    assert restored(desk, second, tmp_path / "second") == {"log/a/1": b"onetwo", "log/b/2": b"three"}
    assert second.snapshot.parent == first.snapshot_id


def test_a_new_process_carries_on_where_the_last_one_saved(desk: Desk, tmp_path: Path) -> None:
    tree = open_tree(desk)
    tree.append("log/1", b"one", mtime_ns=5_000_000_000)
    tree.save()
    again = open_tree(desk)
    assert (again.size("log/1"), again.mtime_ns("log/1"), list(again.paths())) == (3, 5_000_000_000, ["log/1"])
    again.append("log/1", b"two")
    assert again.read("log/1", size_max=6) == b"onetwo"
    assert restored(desk, again.save(), tmp_path / "out") == {"log/1": b"onetwo"}


def test_what_was_stored_is_not_stored_again(desk: Desk) -> None:
    tree = open_tree(desk)
    tree.append("log/1", bytes(range(256)) * 8000)
    large = tree.save()
    tree.append("log/1", b"a little more")
    small = tree.save()
    assert large.summary.data_added > 2_000_000
    assert small.summary.data_blobs == 1
    assert small.summary.data_added < 3000  # 13 bytes, and the trees above them


def test_padding_fills_a_file_up_in_snapshots_only(desk: Desk, tmp_path: Path) -> None:
    tree = open_tree(desk)
    tree.append("log/1.partial", b"begin")
    tree.pad("log/1.partial", 3_000_001)
    first = tree.save()
    padded = b"begin".ljust(3_000_001, b"\0")
    assert restored(desk, first, tmp_path / "first") == {"log/1.partial": padded}
    assert tree.size("log/1.partial") == 5
    again = open_tree(desk)
    again.truncate("log/1.partial", 5)
    again.append("log/1.partial", b"end")
    again.rename("log/1.partial", "log/1")
    assert restored(desk, again.save(), tmp_path / "second") == {"log/1": b"beginend"}


def test_cutting_back_between_pieces_is_refused(desk: Desk) -> None:
    tree = open_tree(desk)
    tree.append("log/1", b"piece")
    tree.save()
    with pytest.raises(IntegrityError, match="no piece of it ends at 3"):
        tree.truncate("log/1", 3)
    with pytest.raises(UsageError, match="no such file"):
        tree.truncate("log/2", 0)


def test_a_stored_tree_is_grafted_by_its_id(desk: Desk, tmp_path: Path, source: Path) -> None:
    base = desk.back_up(source)
    steps = [part.encode() for part in str(source).strip("/").split("/")]
    tree_id = find_tree(desk.readable(), bytes.fromhex(base.snapshot.tree), steps)
    assert tree_id is not None
    tree = open_tree(desk)
    tree.append("log/1", b"x")
    tree.graft("base/monday", tree_id)
    assert tree.subtree("base/monday") == tree_id
    result = tree.save()
    assert result.summary.data_blobs == 1
    found = restored(desk, result, tmp_path / "out")
    assert found["base/monday/one.txt"] == b"one"
    assert found["base/monday/a/b/three.txt"] == b"three" * 5000
    tree.remove("base/monday")
    assert restored(desk, tree.save(), tmp_path / "without") == {"log/1": b"x"}


def test_inside_of_a_graft_nothing_is_changed(desk: Desk, source: Path) -> None:
    tree = open_tree(desk)
    tree.graft("base", bytes.fromhex(desk.back_up(source).snapshot.tree))
    tree._writer.repository.load_index()  # the backup was another process's
    name = tree.names("base")[0]
    with pytest.raises(UsageError, match="grafted"):
        tree.append(f"base/{name}/new", b"x")


@pytest.mark.parametrize("path", ["", "/a", "a//b", "a/../b", "./a", "a\0b"])
def test_what_is_no_path_in_the_tree_is_refused(desk: Desk, path: str) -> None:
    with pytest.raises(UsageError):
        open_tree(desk).append(path, b"x")


def test_a_file_that_is_too_large_is_not_read(desk: Desk) -> None:
    tree = open_tree(desk)
    tree.append("log/1", b"12345")
    with pytest.raises(LimitError):
        tree.read("log/1", size_max=4)


@pytest.mark.parametrize("moment", list(Moment))
def test_a_save_that_failed_at_any_call_loses_nothing(clock: FakeClock, tmp_path: Path, moment: Moment) -> None:
    for faults in sweep(FaultKind.ERROR, moment, operations=frozenset({"put"})):
        store = MemoryStore()
        desk = Desk(store, clock)
        tree = open_tree(desk)
        tree.append("log/1", b"one")
        tree.save()
        plain = desk.writable()
        repository = WritableRepository(FaultStore(store, faults), plain.suite, plain.config)
        repository.load_index()
        again = AppendTree(LiveWriter(repository, clock=clock, hostname="db"), ROOT, parent=tree.parent)
        again.append("log/1", b"two")
        again.append("log/2", b"three")
        saves = []
        with suppress(StoreUnavailableError):
            saves.append(again.save())
        again.append("log/2", b"four")
        while len(saves) < 2:  # the fault strikes once
            with suppress(StoreUnavailableError):
                saves.append(again.save())
        found = restored(desk, saves[-1], tmp_path / str(faults.call))
        assert found == {"log/1": b"onetwo", "log/2": b"threefour"}


@settings(max_examples=40)
@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(["append", "replace", "remove", "save", "reopen"]),
            st.sampled_from(["a", "d/a", "d/e/a", "f/b"]),
            st.binary(max_size=40),
        ),
        max_size=25,
    )
)
def test_the_tree_is_what_a_dictionary_of_files_would_be(steps: list[tuple[str, str, bytes]]) -> None:
    desk = Desk(MemoryStore(), FakeClock())
    tree = open_tree(desk)
    tree.append("seed", b"s")
    tree.save()
    model, stored = {"seed": b"s"}, {"seed": b"s"}
    for what, path, data in steps:
        if what == "append":
            tree.append(path, data)
            model[path] = model.get(path, b"") + data
        elif what == "replace":
            tree.replace(path, data)
            model[path] = data
        elif what == "remove":
            tree.remove(path)
            model.pop(path, None)
        elif what == "save":
            desk.clock.advance(1)
            tree.save()
            stored = dict(model)
        else:
            tree, model = open_tree(desk), dict(stored)
        assert sorted(tree.paths()) == sorted(model)
    assert {path: tree.read(path, size_max=10_000) for path in tree.paths()} == model


def test_junk_in_place_of_the_last_snapshots_tree_is_named(desk: Desk, source: Path) -> None:
    other = desk.back_up(source).snapshot
    with pytest.raises(GovsecError, match="no directory /postgres/main"):
        AppendTree(LiveWriter(desk.writable(), clock=desk.clock), ROOT, parent=other)
