"""Restoring: all or part, in place, with damage, and against a repository or a target that means harm."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from govsec.backup.patterns import Patterns
from govsec.backup.restore import restore
from govsec.backup.restorechoices import Choices, Overwrite
from govsec.backup.restorelate import LateWork
from govsec.backup.restoretally import Tally
from govsec.backup.restorewalk import Deferred, Late, Part, RestoreWork
from govsec.backup.target import Directory, Powers, Target, open_target
from govsec.errors import IntegrityError, RefusedError, StoreFullError
from govsec.repo.layout import Kind
from govsec.repo.pack import BlobType
from govsec.repo.packer import Packer
from govsec.repo.repository import Repository, WritableRepository
from govsec.repo.snapshot import Snapshot
from govsec.repo.tree import Node, encode_tree, go_mode, quote
from govsec.runtime.processes import Desk as PoolDesk
from govsec.store.api import ObjectInfo
from govsec.store.local import LocalStore
from govsec.store.memory import MemoryStore
from govsec.testing.clock import FakeClock
from tests.backup.conftest import Desk
from tests.backup.trees import describe
from tests.support.require import require_root

TIME = "2026-01-01T00:00:00Z"


def below(target: Path, source: Path) -> Path:
    return target / source.relative_to("/")


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "target"


@pytest.mark.parametrize("workers", [0, 2])
def test_everything_comes_back(source: Path, target: Path, tmp_path: Path, clock: FakeClock, workers: int) -> None:
    desk = Desk(LocalStore(tmp_path / "repo", create=True), clock)
    (source / "large").write_bytes(os.urandom(5 << 20))
    desk.back_up(source)
    report = desk.restore(target, workers=workers)
    assert report.is_complete, report.problems
    assert describe(below(target, source)) == describe(source)
    assert (report.files, report.size_bytes) == (4, 3 + 3000 + 25_000 + (5 << 20))


def test_only_what_is_included_comes_back(desk: Desk, source: Path, target: Path) -> None:
    desk.back_up(source)
    desk.restore(target, include=[f"{source}/a/b"])
    assert sorted(path.name for path in below(target, source).rglob("*")) == ["a", "b", "three.txt"]
    assert stat.S_IMODE(below(target, source).stat().st_mode) == stat.S_IMODE(source.stat().st_mode)


def test_what_is_excluded_stays_away(desk: Desk, source: Path, target: Path) -> None:
    desk.back_up(source)
    desk.restore(target, exclude=["b"])
    assert sorted(path.name for path in below(target, source).rglob("*")) == ["a", "one.txt", "two.txt"]


def test_a_dry_run_changes_nothing_and_counts_the_same(desk: Desk, source: Path, target: Path) -> None:
    desk.back_up(source)
    planned = desk.restore(target, is_dry_run=True)
    assert not target.exists()
    done = desk.restore(target)
    assert (planned.files, planned.size_bytes, planned.directories) == (done.files, done.size_bytes, done.directories)


@pytest.mark.parametrize(
    ("overwrite", "older_is_replaced", "newer_is_replaced", "same_is_replaced"),
    [
        (Overwrite.ALWAYS, True, True, True),
        (Overwrite.IF_CHANGED, True, True, False),
        (Overwrite.IF_NEWER, True, False, False),
        (Overwrite.NEVER, False, False, False),
    ],
)
def test_the_choice_of_overwriting_holds(
    desk: Desk,
    source: Path,
    target: Path,
    overwrite: Overwrite,
    older_is_replaced: bool,
    newer_is_replaced: bool,
    same_is_replaced: bool,
) -> None:
    for name in ("older", "newer", "same"):
        (source / name).write_bytes(b"snapshot")
    desk.back_up(source)
    desk.restore(target)
    there = below(target, source)
    moment = (there / "older").stat().st_mtime_ns
    for name, shift in (("older", -(10**9)), ("newer", 10**9), ("same", 0)):
        shifted = (there / name).stat().st_mtime_ns + shift
        (there / name).write_bytes(b"mine now")  # eight bytes, as many as the snapshot's
        os.utime(there / name, ns=(shifted, shifted))
    report = desk.restore(target, overwrite=overwrite)
    replaced = [(there / name).read_bytes() == b"snapshot" for name in ("older", "newer", "same")]
    assert replaced == [older_is_replaced, newer_is_replaced, same_is_replaced]
    assert report.skipped >= 3 - sum(replaced)
    assert moment == (source / "older").stat().st_mtime_ns


def test_a_replaced_file_is_not_written_into_because_it_may_be_a_link_to_elsewhere(
    desk: Desk, source: Path, target: Path, tmp_path: Path
) -> None:
    desk.back_up(source)
    outside = tmp_path / "outside"
    outside.write_bytes(b"do not touch")
    there = below(target, source)
    there.mkdir(parents=True)
    os.link(outside, there / "one.txt")
    desk.restore(target)
    assert outside.read_bytes() == b"do not touch"
    assert (there / "one.txt").read_bytes() == b"one"


def test_a_link_in_the_target_is_never_followed(desk: Desk, source: Path, target: Path, tmp_path: Path) -> None:
    desk.back_up(source)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "victim").write_bytes(b"do not touch")
    there = below(target, source)
    there.mkdir(parents=True)
    (there / "a").symlink_to(outside)
    (there / "one.txt").symlink_to(outside / "victim")
    report = desk.restore(target)
    assert report.is_complete
    assert [path.name for path in outside.iterdir()] == ["victim"]
    assert (outside / "victim").read_bytes() == b"do not touch"
    assert (there / "a").is_dir() and not (there / "a").is_symlink()
    assert (there / "one.txt").read_bytes() == b"one"


def test_with_never_a_link_in_place_of_a_directory_stays_and_nothing_goes_through_it(
    desk: Desk, source: Path, target: Path, tmp_path: Path
) -> None:
    desk.back_up(source)
    outside = tmp_path / "outside"
    outside.mkdir()
    there = below(target, source)
    there.mkdir(parents=True)
    (there / "a").symlink_to(outside)
    report = desk.restore(target, overwrite=Overwrite.NEVER)
    assert list(outside.iterdir()) == []
    assert (there / "a").is_symlink() and not report.is_complete


def test_deleting_removes_only_what_the_snapshot_speaks_for(desk: Desk, source: Path, target: Path) -> None:
    desk.back_up(source)
    desk.restore(target)
    there = below(target, source)
    (there / "foreign").write_bytes(b"x")
    (there / "a" / "foreign-dir").mkdir()
    (there / "a" / "foreign-dir" / "deep").write_bytes(b"x")
    (there / "kept.bak").write_bytes(b"x")
    (there.parent / "neighbour").write_bytes(b"x")
    (target / "top").write_bytes(b"x")
    report = desk.restore(target, is_deleting=True, exclude=["*.bak"])
    assert report.deleted == 2
    assert sorted(path.name for path in there.iterdir()) == ["a", "kept.bak", "one.txt"]
    assert (there.parent / "neighbour").exists() and (target / "top").exists()


def test_a_directory_with_foreign_files_is_not_replaced_by_a_file(desk: Desk, source: Path, target: Path) -> None:
    desk.back_up(source)
    there = below(target, source)
    (there / "one.txt").mkdir(parents=True)
    (there / "one.txt" / "foreign").write_bytes(b"x")
    report = desk.restore(target)
    assert (there / "one.txt" / "foreign").exists()
    assert [Path(problem.path).name for problem in report.problems] == ["one.txt"]


def test_verifying_finds_what_was_changed_behind_the_restores_back(desk: Desk, source: Path, target: Path) -> None:
    desk.back_up(source)
    report = desk.restore(target, is_verifying=True)
    assert report.verified == report.files == 3
    repository = desk.readable()
    victim = below(target, source) / "one.txt"

    class Meddler(FakeClock):
        """The clock is looked at between writing and verifying: a moment when somebody else can be quicker."""

        def monotonic(self) -> float:
            if victim.exists():
                victim.write_bytes(b"0ne")
            return super().monotonic()

    report = restore(repository, repository.resolve(), target, is_verifying=True, workers=0, clock=Meddler())
    assert any("differs" in problem.what for problem in report.problems)


def damage(store: MemoryStore, change: Callable[[bytes], bytes | None], *, prefix: str = "data/") -> int:
    """Alter every object below ``prefix`` in place."""
    names = [info.name for info in store.list(prefix)]
    for name in names:
        data = store.get(name, size_max=1 << 30)
        store.delete(name)
        changed = change(data)
        if changed is not None:
            store.put(name, changed)
    return len(names)


def flipped(data: bytes) -> bytes:
    return bytes([data[0] ^ 1]) + data[1:40] + bytes([data[40] ^ 1]) + data[41:]


@pytest.mark.parametrize(
    "change", [lambda data: None, flipped, lambda data: data[: len(data) // 4], lambda data: bytes(len(data))]
)
def test_what_is_damaged_at_one_center_comes_from_another(
    desk: Desk, source: Path, target: Path, change: Callable[[bytes], bytes | None]
) -> None:
    desk.back_up(source)
    other = MemoryStore("same_city")
    for info in desk.store.list(""):
        other.put(info.name, desk.store.get(info.name, size_max=1 << 30))
    assert damage(desk.store, change) >= 2
    repository = desk.readable(other)
    report = restore(repository, repository.resolve(), target, workers=0, clock=desk.clock)
    assert report.is_complete, report.problems
    assert describe(below(target, source)) == describe(source)
    assert report.fallbacks > 0


def test_what_no_center_has_is_a_problem_of_its_files_alone(desk: Desk, source: Path, target: Path) -> None:
    desk.back_up(source / "a")
    desk.back_up(source)  # one.txt lies in a pack of its own now
    packs = {pack for _, found in desk.readable().index_files() for pack, rows in found if len(rows) == 1}
    for pack in packs:
        name = f"data/{pack.hex()[:2]}/{pack.hex()}"
        data = desk.store.get(name, size_max=1 << 30)
        rows = next(rows for _, found in desk.readable().index_files() for other, rows in found if other == pack)
        if rows["type"][0] == BlobType.DATA:
            desk.store.delete(name)
            desk.store.put(name, bytes(len(data)))
    report = desk.restore(target)
    there = below(target, source)
    assert [Path(problem.path).name for problem in report.problems] == ["one.txt"]
    assert not (there / "one.txt").exists()
    assert (there / "a" / "two.txt").read_bytes() == b"two" * 1000


def test_a_file_that_the_index_does_not_know_is_a_problem_and_no_empty_file(
    desk: Desk, source: Path, target: Path
) -> None:
    desk.back_up(source)
    repository = desk.readable()
    kept = []
    for index_id, packs in repository.index_files():
        kept += [(pack, rows) for pack, rows in packs if rows["type"][0] == BlobType.TREE]
        desk.store.delete(f"{Kind.INDEX.prefix}{index_id}")
    desk.writable().save_index(kept)
    report = desk.restore(target)
    assert report.problems_count == 3 and report.files == 0
    assert not list(below(target, source).rglob("*.txt"))


def test_set_id_bits_and_devices_come_back_only_when_asked_for(desk: Desk, source: Path, target: Path) -> None:
    require_root()
    (source / "tool").write_bytes(b"#!")
    (source / "tool").chmod(0o4755)
    os.mknod(source / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    desk.back_up(source)
    report = desk.restore(target)
    there = below(target, source)
    assert stat.S_IMODE((there / "tool").stat().st_mode) == 0o755
    assert not (there / "null").exists()
    assert {Path(problem.path).name for problem in report.problems} == {"tool", "null"}
    assert desk.restore(target, allow_devices=True, allow_set_id=True).is_complete
    assert stat.S_IMODE((there / "tool").stat().st_mode) == 0o4755
    assert stat.S_ISCHR((there / "null").lstat().st_mode)


def test_holes_come_back_as_holes(desk: Desk, tmp_path: Path, target: Path) -> None:
    root = tmp_path / "sparse"
    root.mkdir()
    with (root / "disk").open("wb") as file:
        file.seek(32 << 20)
        file.write(b"end")
    desk.back_up(root)
    desk.restore(target)
    restored = below(target, root) / "disk"
    assert restored.read_bytes() == (root / "disk").read_bytes()
    assert restored.stat().st_blocks * 512 < 1 << 20


@pytest.mark.parametrize("before", [0, 5000, 65_536])
def test_a_hole_within_a_small_file_comes_back(desk: Desk, tmp_path: Path, target: Path, before: int) -> None:
    root = tmp_path / "sparse"
    root.mkdir()
    (root / "small").write_bytes(b"x" * before + bytes(100_000) + b"y" * 5000)
    desk.back_up(root)
    desk.restore(target)
    restored = below(target, root) / "small"
    assert restored.read_bytes() == (root / "small").read_bytes()
    assert restored.stat().st_blocks * 512 < before + 5000 + 40_000


class Forge:
    """Writes trees that no honest archiver makes; the seals are right, so only the reader's care is left."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.repository: WritableRepository = desk.writable()
        self.packer = Packer(self.repository.suite)
        self.packs = []

    def blob(self, kind: BlobType, data: bytes) -> str:
        blob_id = self.repository.suite.digest(data)
        self.packer.add(kind, blob_id, data)
        return blob_id.hex()

    def snapshot(self, root: bytes) -> Snapshot:
        tree = self.blob(BlobType.TREE, root)
        for pack in self.packer.flush():
            self.repository.save_pack(pack)
            self.packs.append((pack.id, pack.rows))
        self.repository.save_index(self.packs)
        snapshot, _ = self.repository.save_snapshot(
            Snapshot(time=self.desk.clock.now(), tree=tree, paths=("/",), hostname="h")
        )
        return snapshot


def node(name: bytes, kind: str, **fields: object) -> Node:
    modes = {"file": stat.S_IFREG, "dir": stat.S_IFDIR, "symlink": stat.S_IFLNK}
    return Node(
        name=quote(name),
        type=kind,
        mode=go_mode(modes[kind] | 0o755),
        mtime=TIME,
        atime=TIME,
        ctime=TIME,
        uid=0,
        gid=0,
        **fields,
    )


@pytest.mark.parametrize("name", [b"..", b".", b"../evil", b"a/b", b"/etc/evil", b"", b"nul\0byte"])
def test_names_that_are_no_names_are_refused(desk: Desk, target: Path, name: bytes) -> None:
    forge = Forge(desk)
    content = forge.blob(BlobType.DATA, b"evil")
    inner = encode_tree([node(name, "file", size=4, content=[content])])
    snapshot = forge.snapshot(inner)
    repository = desk.readable()
    with pytest.raises(IntegrityError):
        restore(repository, snapshot, target, workers=0, clock=desk.clock)
    assert not list(target.rglob("*")) and not (target.parent / "evil").exists()


def test_the_last_line_of_defence_refuses_such_names_too(tmp_path: Path) -> None:
    descriptor = os.open(tmp_path, os.O_RDONLY)
    target = Target(descriptor, Powers(owners=False, devices=False, set_id=False), lambda path, what: None)
    top = Directory(None, b"", None, b"/", is_made=True)
    for name in (b"..", b".", b"", b"a/b", b"a\0"):
        for attempt in (
            lambda name=name: target.create(top, name),
            lambda name=name: target.status(top, name),
            lambda name=name: target.remove(top, name),
            lambda name=name: target.make_directory(Directory(top, name, None, b"/x")),
            lambda name=name: target.rename(top, b"x", name),
        ):
            with pytest.raises(IntegrityError):
                attempt()
    os.close(descriptor)


def test_a_link_followed_by_an_entry_of_the_same_name_cannot_lead_out(desk: Desk, target: Path, tmp_path: Path) -> None:
    """A tree may not hold one name twice; else a link could come first and a directory through it second."""
    forge = Forge(desk)
    content = forge.blob(BlobType.DATA, b"evil")
    inside = forge.blob(BlobType.TREE, encode_tree([node(b"evil", "file", size=4, content=[content])]))
    outside = tmp_path / "outside"
    outside.mkdir()
    twice = encode_tree([node(b"x", "symlink", linktarget=str(outside), links=1), node(b"x", "dir", subtree=inside)])
    snapshot = forge.snapshot(twice)
    with pytest.raises(IntegrityError):
        restore(desk.readable(), snapshot, target, workers=0, clock=desk.clock)
    assert not list(outside.iterdir())


def test_a_hard_link_is_made_only_to_a_file_of_this_restore(desk: Desk, target: Path) -> None:
    forge = Forge(desk)
    content = forge.blob(BlobType.DATA, b"shared")
    forged = encode_tree(
        [
            node(b"a", "file", size=6, content=[content], links=2, inode=7, device_id=1),
            node(b"b", "file", size=6, content=[content], links=2, inode=7, device_id=1),
            # Claims to be linked to something that this snapshot does not have: it is simply a file.
            node(b"c", "file", size=6, content=[content], links=9, inode=1, device_id=0),
        ]
    )
    snapshot = forge.snapshot(forged)
    assert restore(desk.readable(), snapshot, target, workers=0, clock=desk.clock).is_complete
    assert (target / "a").stat().st_ino == (target / "b").stat().st_ino != (target / "c").stat().st_ino


def test_a_size_that_the_content_does_not_have_is_reported(desk: Desk, target: Path) -> None:
    forge = Forge(desk)
    content = forge.blob(BlobType.DATA, b"four")
    snapshot = forge.snapshot(encode_tree([node(b"f", "file", size=5, content=[content], links=1)]))
    report = restore(desk.readable(), snapshot, target, workers=0, clock=desk.clock)
    assert ["says 5" in problem.what for problem in report.problems] == [True]


def test_a_subtree_that_is_missing_is_a_problem_and_the_rest_is_restored(desk: Desk, target: Path) -> None:
    forge = Forge(desk)
    content = forge.blob(BlobType.DATA, b"fine")
    tree = encode_tree([node(b"gone", "dir", subtree="1" * 64), node(b"ok", "file", size=4, content=[content])])
    report = restore(desk.readable(), forge.snapshot(tree), target, workers=0, clock=desk.clock)
    assert [problem.path for problem in report.problems] == ["/gone"]
    assert (target / "ok").read_bytes() == b"fine"


def test_a_target_that_is_a_file_is_refused(desk: Desk, source: Path, target: Path) -> None:
    desk.back_up(source)
    target.write_bytes(b"")
    with pytest.raises(RefusedError, match="target"):
        desk.restore(target)


def test_many_batches_give_the_same_as_one(
    desk: Desk, source: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The limit of a batch is far above what a test can write; links and directories must survive its border.
    monkeypatch.setattr("govsec.backup.restorewalk._BATCH_BLOBS", 1)
    os.link(source / "one.txt", source / "a" / "b" / "zz-linked")
    desk.back_up(source)
    report = desk.restore(target)
    assert report.is_complete, report.problems
    assert describe(below(target, source)) == describe(source)


@pytest.mark.parametrize("workers", [0, 3])
def test_large_files_are_written_by_all_workers_and_links_cross_their_parts(
    tmp_path: Path, source: Path, target: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    # A file that is large by the real limit would take a test too long to write.
    monkeypatch.setattr("govsec.backup.restorewalk._LARGE_BYTES", 1 << 20)
    desk = Desk(LocalStore(tmp_path / "repo", create=True), clock)
    for number in range(60):
        directory = source / f"dir-{number % 7}" / f"sub-{number}"
        directory.mkdir(parents=True)
        (directory / "own").write_bytes(b"%d" % number)
        os.link(source / "one.txt", directory / "linked")
        os.utime(directory, ns=(10**9, number * 10**9 + 5))
    (source / "dir-3" / "large").write_bytes(os.urandom(3 << 20))
    (source / "dir-3").chmod(0o500)
    os.utime(source / "dir-3", ns=(1, 2))
    desk.back_up(source)
    report = desk.restore(target, workers=workers, is_verifying=True)
    assert report.is_complete, report.problems
    assert describe(below(target, source)) == describe(source)
    assert report.files == 3 + 60 + 60 + 1 and report.verified == report.files - 60
    assert report.directories == desk.restore(target, is_dry_run=True).directories


def test_parts_that_are_given_away_at_every_occasion_make_the_same_tree(desk: Desk, source: Path, target: Path) -> None:
    for number in range(120):
        directory = source / f"a-{number % 3}" / f"b-{number % 10}" / f"c-{number}"
        directory.mkdir(parents=True)
        (directory / "own").write_bytes(b"%d" % number)
        os.link(source / "one.txt", directory / "linked")
    desk.back_up(source)
    repository, tally = desk.readable(), Tally()
    snapshot = repository.resolve()
    choices = Choices(Patterns(()), Patterns(()), Overwrite.ALWAYS, False, False, False, ())
    descriptor = open_target(target)
    opened = Target(descriptor, Powers(owners=os.geteuid() == 0, devices=False, set_id=False), tally.note)
    late = LateWork(repository, opened, choices, 0, desk.clock, tally, lambda: None)
    posted: list[object] = []
    # Here somebody is idle always; among real workers that is a matter of time.
    idle = PoolDesk(posted.append, lambda: False, lambda: True)
    workers = [RestoreWork(idle, repository, opened, choices, desk.clock) for _ in range(3)]
    posted.append(Part(b"/", True, True, repository.load_tree(bytes.fromhex(snapshot.tree)).nodes, is_whole=True))
    parts_count = 0
    while posted:
        match posted.pop():
            case Part() as part:
                parts_count += 1
                workers[parts_count % 3].do(part)
            case Deferred() as deferred:
                late.defer(deferred)
            case Late() as directory:
                late.directories.append(directory)
            case Tally() as done:
                tally.add(done)
    late.finish()
    for worker in workers:
        worker.finish()
    opened.close()
    os.close(descriptor)
    assert parts_count > 5 and tally.problems == []
    assert describe(below(target, source)) == describe(source)


@pytest.mark.parametrize("umask", [0, 0o077])
def test_modes_are_right_whatever_the_umask_is(desk: Desk, source: Path, target: Path, umask: int) -> None:
    for number, mode in enumerate((0o600, 0o644, 0o664, 0o755, 0o400, 0o777)):
        for again in range(2):
            path = source / f"file-{number}-{again}"
            path.write_bytes(b"%d %d" % (number, again))
            path.chmod(mode)
    desk.back_up(source)
    before = os.umask(umask)
    try:
        report = desk.restore(target)
    finally:
        os.umask(before)
    assert report.is_complete, report.problems
    assert describe(below(target, source)) == describe(source)


def test_what_a_directory_hands_down_to_new_files_does_not_stay(desk: Desk, source: Path, target: Path) -> None:
    """A set-group-id directory and one with a default ACL both change what a new file gets."""
    require_root()
    desk.back_up(source)
    there = below(target, source)
    there.mkdir(parents=True)
    os.chown(there, 0, 4321)
    there.chmod(0o2777)
    (there / "a").mkdir()
    subprocess.run(["setfacl", "-d", "-m", "g::---,o::---", str(there / "a")], check=True)
    assert desk.restore(target).is_complete
    found, expected = describe(below(target, source)), describe(source)
    for path in (b"one.txt", b"a/two.txt", b"a/b/three.txt"):
        assert {**found[path], "attributes": {}} == expected[path]


def test_a_time_that_is_none_is_a_problem_of_its_file_alone(desk: Desk, target: Path) -> None:
    forge = Forge(desk)
    content = forge.blob(BlobType.DATA, b"fine")
    odd = msgspec.structs.replace(node(b"odd", "file", size=4, content=[content]), mtime="yesterday", atime="yesterday")
    snapshot = forge.snapshot(encode_tree([odd, node(b"ok", "file", size=4, content=[content])]))
    report = restore(desk.readable(), snapshot, target, workers=0, clock=desk.clock)
    assert [(problem.path, "RFC 3339" in problem.what) for problem in report.problems] == [("/odd", True)]
    assert (target / "ok").read_bytes() == (target / "odd").read_bytes() == b"fine"


def test_what_took_a_files_name_meanwhile_is_neither_written_over_nor_removed(
    desk: Desk, source: Path, target: Path
) -> None:
    desk.back_up(source)
    there = below(target, source)

    class Squatter(MemoryStore):
        """Somebody takes a name at the moment when the content of the file is fetched."""

        def get(self, name: str, *, offset: int = 0, length: int | None = None, size_max: int) -> bytes:
            if there.is_dir() and not (there / "one.txt").exists():
                (there / "one.txt").write_bytes(b"somebody's")
            return desk.store.get(name, offset=offset, length=length, size_max=size_max)

        def list(self, prefix: str) -> Iterator[ObjectInfo]:
            return desk.store.list(prefix)

        def head(self, name: str) -> ObjectInfo:
            return desk.store.head(name)

    first = desk.readable()
    snapshot = first.resolve()
    repository = Repository(Squatter(), first.suite.clone(), first.config)
    report = restore(repository, snapshot, target, workers=0, clock=desk.clock)
    assert [Path(problem.path).name for problem in report.problems] == ["one.txt"]
    assert (there / "one.txt").read_bytes() == b"somebody's"


def test_a_full_target_ends_the_restore_with_one_clear_error(tmp_path: Path, source: Path, clock: FakeClock) -> None:
    require_root()
    desk = Desk(LocalStore(tmp_path / "repo", create=True), clock)
    (source / "large").write_bytes(os.urandom(6 << 20))
    desk.back_up(source)
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "govsec-test", str(small)], check=True)
    try:
        with pytest.raises(StoreFullError, match="No space left on device"):
            desk.restore(small, workers=2)
    finally:
        subprocess.run(["umount", str(small)], check=True)
