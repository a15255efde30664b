"""Backing up: what is read, what is reported, what is kept when things go wrong."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

import pytest

from govsec.backup.archive import INCOMPLETE_TAG, archive
from govsec.backup.listing import dump_file, find_entry, list_entries
from govsec.backup.sources import FileSource
from govsec.errors import SourceError, StoreUnavailableError, WorkerError
from govsec.progress import Progress
from govsec.repo.check import Scope, check
from govsec.repo.layout import Kind
from govsec.repo.repository import WritableRepository
from govsec.repo.snapshot import Snapshot
from govsec.store.local import LocalStore
from govsec.store.memory import MemoryStore
from govsec.testing.clock import FakeClock
from govsec.testing.faults import FaultKind, FaultStore, no_faults, sweep
from tests.backup.conftest import Desk
from tests.support.require import require_root


def paths_in(desk: Desk, selector: str = "latest") -> set[str]:
    repository = desk.readable()
    return {os.fsdecode(entry.path) for entry in list_entries(repository, repository.resolve(selector))}


def content(desk: Desk, path: Path) -> bytes:
    repository = desk.readable()
    return b"".join(dump_file(repository, find_entry(repository, repository.resolve(), os.fsencode(path)).node))


def tree_of(desk: Desk, snapshot: Snapshot, path: Path) -> str | None:
    """The tree of the source itself: the directories that lead to it are others' as well, and may change."""
    return find_entry(desk.readable(), snapshot, os.fsencode(path)).node.subtree


def assert_good(desk: Desk) -> None:
    report = check(desk.readable(), clock=desk.clock, scope=Scope.ALL_DATA, workers=0)
    assert report.is_good, report.problems


def test_a_path_lies_in_the_snapshot_below_the_directories_that_lead_to_it(desk: Desk, source: Path) -> None:
    desk.back_up(source)
    assert content(desk, source / "a" / "b" / "three.txt") == b"three" * 5000
    assert str(source.parent) in paths_in(desk)
    assert_good(desk)


def test_several_paths_and_single_files_make_one_tree(desk: Desk, source: Path) -> None:
    desk.back_up(source / "a" / "b", source / "one.txt")
    assert content(desk, source / "one.txt") == b"one"
    assert str(source / "a" / "two.txt") not in paths_in(desk)
    assert_good(desk)


def test_an_unchanged_file_is_not_opened(desk: Desk, source: Path) -> None:
    desk.back_up(source)
    # Reading sets the access time back from the future to now; a file that was not opened keeps it.
    future = 4_000_000_000 * 10**9
    status = (source / "one.txt").stat()
    os.utime(source / "one.txt", ns=(future, status.st_mtime_ns))
    changed = (source / "one.txt").stat()
    second = desk.back_up(source)
    assert second.summary.files_changed == 1  # utime changed the ctime, so this run reads it
    third = desk.back_up(source)
    assert (third.summary.files_unmodified, third.summary.files_changed) == (3, 0)
    assert (source / "one.txt").stat().st_atime_ns == changed.st_atime_ns


def test_an_unchanged_source_gives_the_same_tree_and_no_new_data(desk: Desk, source: Path) -> None:
    first, second = desk.back_up(source), desk.back_up(source)
    assert tree_of(desk, first.snapshot, source) == tree_of(desk, second.snapshot, source)
    assert second.summary.data_blobs == 0 and second.snapshot.parent == first.snapshot_id


@pytest.mark.parametrize("workers", [0, 2])
def test_a_changed_file_is_found_by_its_size_times_or_inode(
    desk: Desk, source: Path, tmp_path: Path, workers: int
) -> None:
    local = Desk(LocalStore(tmp_path / "repo", create=True), desk.clock)
    local.back_up(source, workers=workers)
    status = (source / "one.txt").stat()
    (source / "one.txt").write_bytes(b"ONE")
    os.utime(source / "one.txt", ns=(status.st_atime_ns, status.st_mtime_ns))  # same size, same mtime: ctime tells
    result = local.back_up(source, workers=workers)
    assert (result.summary.files_changed, result.summary.files_unmodified) == (1, 2)
    assert content(local, source / "one.txt") == b"ONE"


def test_rereading_reads_everything_and_stores_nothing_twice(desk: Desk, source: Path) -> None:
    first = desk.back_up(source)
    again = desk.back_up(source, is_rereading=True)
    assert again.summary.files_new == 3
    assert again.summary.data_blobs == 0
    assert tree_of(desk, again.snapshot, source) == tree_of(desk, first.snapshot, source)


def test_content_that_the_repository_lost_is_stored_again_though_nothing_changed(desk: Desk, source: Path) -> None:
    desk.back_up(source)
    for kind in (Kind.INDEX, Kind.PACK):
        for info in list(desk.store.list(kind.prefix)):
            desk.store.delete(info.name)
    healed = desk.back_up(source)
    assert healed.summary.data_blobs == 3
    assert content(desk, source / "a" / "two.txt") == b"two" * 1000


def test_lost_data_alone_is_stored_again_when_the_index_no_longer_names_it(desk: Desk, source: Path) -> None:
    """The parent's trees can be read, but the blobs that its files name are gone from the index."""
    from govsec.repo.pack import BlobType

    result = desk.back_up(source)
    repository = desk.readable()
    kept = []
    for index_id, packs in repository.index_files():
        kept += [(pack, rows) for pack, rows in packs if rows["type"][0] == BlobType.TREE]
        desk.store.delete(f"index/{index_id}")
    desk.writable().save_index(kept)
    healed = desk.back_up(source)
    assert healed.summary.data_blobs == 3 and healed.snapshot.parent == result.snapshot_id
    assert_good(desk)


def test_excluded_paths_are_not_in_the_snapshot(desk: Desk, source: Path) -> None:
    desk.back_up(source, exclude=["two.txt", f"{source}/a/b"])
    assert {os.path.basename(path) for path in paths_in(desk) if path.startswith(str(source))} == {
        "source",
        "one.txt",
        "a",
    }


def test_one_file_system_keeps_mount_points_as_empty_directories(desk: Desk) -> None:
    require_root()
    # /proc/self/fd is of no use as a source; /dev is another file system than / everywhere that this runs.
    if Path("/").stat().st_dev == Path("/dev").stat().st_dev:
        pytest.skip("no second file system to look at")
    source = FileSource(
        [Path("/")],
        one_file_system=True,
        exclude=["/*/*", *(f"/{name.name}" for name in Path("/").iterdir() if name.name != "dev")],
    )
    archive(desk.writable(), source, clock=desk.clock, workers=0)
    assert paths_in(desk) == {"/dev"}


def test_a_missing_path_is_reported_and_marks_the_snapshot(desk: Desk, source: Path) -> None:
    result = desk.back_up(source, source.parent / "missing")
    assert [problem.what for problem in result.problems] == ["is not there"]
    assert INCOMPLETE_TAG in result.snapshot.tags and not result.is_complete


def test_nothing_but_missing_paths_makes_no_snapshot(desk: Desk, source: Path) -> None:
    with pytest.raises(SourceError, match="missing"):
        desk.back_up(source / "missing")
    assert desk.readable().snapshots() == []


def test_a_complete_snapshot_is_not_marked(desk: Desk, source: Path) -> None:
    result = desk.back_up(source, tags=["weekly"])
    assert result.snapshot.tags == ("weekly",) and result.is_complete


def test_a_file_that_vanishes_during_the_run_is_reported(desk: Desk, source: Path) -> None:
    # The patterns are asked about every entry after its directory was listed: the moment in between.
    chosen = FileSource([source], exclude=["no-such-name"])
    real = chosen.patterns.match

    def match(path: bytes) -> bool:
        if path.endswith(b"two.txt"):
            Path(os.fsdecode(path)).unlink()
        return real(path)

    chosen.patterns.match = match
    result = archive(desk.writable(), chosen, clock=desk.clock, workers=0)
    assert [(Path(problem.path).name, problem.what) for problem in result.problems] == [
        ("two.txt", "vanished before it was read")
    ]
    assert INCOMPLETE_TAG in result.snapshot.tags
    assert str(source / "a" / "two.txt") not in paths_in(desk)
    assert_good(desk)


class GrowingStore(MemoryStore):
    """Appends to a file of the source while a pack of it is being stored."""

    growing: Path | None = None

    def put(self, name: str, data: bytes, **options: object) -> object:
        if self.growing is not None and name.startswith("data/"):
            with self.growing.open("ab") as file:
                file.write(b"more")
        return super().put(name, data, **options)


def test_a_file_that_changes_while_it_is_read_is_stored_marked_and_read_again_next_time(
    clock: FakeClock, tmp_path: Path
) -> None:
    store = GrowingStore()
    desk = Desk(store, clock)
    root = tmp_path / "growing"
    root.mkdir()
    (root / "big.log").write_bytes(os.urandom(12 << 20))
    store.growing = root / "big.log"
    result = desk.back_up(root, pack_size=4 << 20)
    store.growing = None
    assert [problem.what for problem in result.problems] == ["changed while it was read"]
    assert INCOMPLETE_TAG in result.snapshot.tags
    repository = desk.readable()
    node = find_entry(repository, repository.resolve(), os.fsencode(root / "big.log")).node
    assert node.error and node.size == sum(len(piece) for piece in dump_file(repository, node))
    again = desk.back_up(root)
    assert again.summary.files_changed == 1 and again.is_complete
    assert content(desk, root / "big.log") == (root / "big.log").read_bytes()
    assert_good(desk)


def test_what_may_not_be_read_is_reported_and_the_rest_is_there(source: Path) -> None:
    require_root()
    (source / "one.txt").chmod(0)
    (source / "a").chmod(0)
    for path in (source, *source.parents[:4]):  # one more than pytest makes, for workers that run beside each other
        path.chmod(path.stat().st_mode | 0o755)
    child = os.fork()
    if child == 0:
        # Only another user than root can be refused; the process ends here whatever happens.
        status = 1
        try:
            os.setgid(65534)
            os.setuid(65534)
            result = Desk(MemoryStore(), FakeClock()).back_up(source)
            said = {(Path(problem.path).name, problem.what) for problem in result.problems}
            expected = {("one.txt", "cannot be read: Permission denied"), ("a", "cannot be read: Permission denied")}
            status = 0 if said == expected and INCOMPLETE_TAG in result.snapshot.tags else 2
        finally:
            os._exit(status)
    _, code = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(code) == 0


def test_a_fifo_does_not_hang_the_backup(desk: Desk, source: Path) -> None:
    os.mkfifo(source / "fifo")
    result = desk.back_up(source)
    assert result.is_complete and result.files == 3


def test_with_one_process_the_calls_to_the_store_are_always_the_same(source: Path) -> None:
    counts = []
    for _ in range(2):
        clock = FakeClock()
        desk = Desk(MemoryStore(), clock)
        faults = no_faults()
        repository = WritableRepository(FaultStore(desk.store, faults), desk.first.suite.clone(), desk.first.config)
        archive(repository, FileSource([source]), clock=clock, workers=0)
        counts.append(faults.calls_count)
    assert counts[0] == counts[1] > 5


def test_a_backup_that_fails_at_any_call_leaves_a_good_repository_and_the_next_goes_through(source: Path) -> None:
    swept = 0
    for faults in sweep(FaultKind.ERROR):
        clock = FakeClock()
        desk = Desk(MemoryStore(), clock)
        desk.back_up(source)
        (source / "one.txt").write_bytes(os.urandom(10))
        repository = WritableRepository(FaultStore(desk.store, faults), desk.first.suite.clone(), desk.first.config)
        with contextlib.suppress(StoreUnavailableError):
            archive(repository, FileSource([source]), clock=clock, workers=0)
        assert_good(desk)
        clock.sleep(2 * 3600)  # past the lock that a failed release may have left
        assert desk.back_up(source).is_complete
        swept += faults.injected_count
    assert swept > 10


def test_objects_are_reported_in_the_order_packs_index_snapshot(desk: Desk, source: Path) -> None:
    result = desk.back_up(source)
    kinds = [info.name.split("/")[0] for info in result.objects]
    assert kinds == sorted(kinds, key=["data", "index", "snapshots"].index)
    assert all(info.held_by == (desk.store.name,) for info in result.objects)
    assert {info.name for info in result.objects} <= {info.name for info in desk.store.list("")}


def test_progress_counts_files_and_bytes(desk: Desk, source: Path, tmp_path: Path) -> None:
    seen: list[Progress] = []
    local = Desk(LocalStore(tmp_path / "repo", create=True), desk.clock)
    result = local.back_up(source, workers=1, progress=seen.append)
    assert (seen[-1].done_items, seen[-1].done_bytes) == (result.files, result.size_bytes) == (3, 28_003)


def test_a_worker_that_is_killed_ends_the_backup_with_its_name(clock: FakeClock, tmp_path: Path) -> None:
    root = tmp_path / "tree"
    root.mkdir()
    (root / "file").write_bytes(b"x")
    store = KillingStore(tmp_path / "repo", os.getpid())
    desk = Desk(store, clock)
    with pytest.raises(WorkerError, match="SIGKILL"):
        desk.back_up(root, workers=1)
    assert desk.readable().snapshots() == []


class KillingStore(LocalStore):
    """Kills the process that puts a pack, when it is not the test's own."""

    def __init__(self, root: Path, spared: int) -> None:
        super().__init__(root, create=True)
        self.spared = spared

    def clone(self) -> KillingStore:
        return KillingStore(self.root, self.spared)

    def put(self, name: str, data: bytes, **options: object) -> object:
        if name.startswith("data/") and os.getpid() != self.spared:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().put(name, data, **options)


def test_a_link_in_place_of_a_directory_is_stored_and_not_followed(desk: Desk, source: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    (source / "way-out").symlink_to(outside)
    desk.back_up(source)
    assert str(source / "way-out" / "secret") not in paths_in(desk)
    repository = desk.readable()
    node = find_entry(repository, repository.resolve(), os.fsencode(source / "way-out")).node
    assert node.type == "symlink" and node.linktarget == str(outside)


def test_directories_deeper_than_a_path_may_be_long_are_backed_up(desk: Desk, tmp_path: Path) -> None:
    root = tmp_path / "deep"
    root.mkdir()
    descriptor = os.open(root, os.O_RDONLY)
    for _ in range(60):
        os.mkdir("d" * 100, dir_fd=descriptor)
        below = os.open("d" * 100, os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = below
    os.close(os.open("end", os.O_CREAT | os.O_WRONLY, dir_fd=descriptor))
    os.close(descriptor)
    result = desk.back_up(root)
    assert result.is_complete and result.files == 1
    assert any(len(path) > 6000 and path.endswith("/end") for path in paths_in(desk))


def test_the_summary_has_restics_counts(desk: Desk, source: Path) -> None:
    first = desk.back_up(source).summary
    assert (first.files_new, first.data_blobs, first.total_files_processed) == (3, 3, 3)
    assert first.total_bytes_processed == 3 + 3000 + 25_000
    (source / "one.txt").write_bytes(b"changed")
    second = desk.back_up(source).summary
    assert (second.files_new, second.files_changed, second.files_unmodified) == (0, 1, 2)
    assert (second.dirs_unmodified, second.data_blobs) == (2, 1)
