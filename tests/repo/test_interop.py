"""govsec and stock restic on one repository, in a directory and on real S3 servers: both read, check, add and prune."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from govsec.backup.archive import archive
from govsec.backup.restore import restore
from govsec.backup.sources import FileSource
from govsec.clock import SystemClock
from govsec.config import S3StoreConfig
from govsec.crypto.api import Suite
from govsec.errors import GovsecError, IntegrityError, LockedError, RefusedError, WrongPasswordError
from govsec.repo.adopt import adopt
from govsec.repo.check import CheckReport, Scope, check
from govsec.repo.keys import add_key, change_password, list_keys, remove_key
from govsec.repo.lock import list_locks, remove_locks
from govsec.repo.prune import prune
from govsec.repo.pruneplan import PrunePolicy
from govsec.repo.repository import Repository, WritableRepository
from govsec.store.api import ObjectStore
from govsec.store.credentials import Credentials
from govsec.store.local import LocalStore
from govsec.store.s3 import S3Store
from tests.repo.odd import fingerprint, make_tree, noise
from tests.repo.small import FAST_KDF, names
from tests.support.restic import Restic, local_restic, s3_restic
from tests.support.servers import S3Server

PASSWORD = "correct horse battery staple"
NOW = timedelta(0)
CLOCK = SystemClock()


@dataclass
class Place:
    """One repository and both programs that work on it."""

    store: ObjectStore
    restic: Restic
    root: Path | None = None

    def initialize(self) -> WritableRepository:
        return WritableRepository.initialize(self.store, PASSWORD.encode(), CLOCK)

    def open(self, password: str = PASSWORD) -> WritableRepository:
        return WritableRepository.open(self.store, password.encode())


@pytest.fixture
def place(tmp_path: Path) -> Place:
    root = tmp_path / "repository"
    return Place(LocalStore(root, create=True), local_restic(root, PASSWORD, tmp_path), root)


def s3_place(server: S3Server, scratch: Path, prefix: str) -> Place:
    identity = server.owner
    config = S3StoreConfig(kind="s3", endpoint=server.http, bucket=server.bucket, prefix=prefix)
    restic = s3_restic(
        f"{server.http}/{server.bucket}/{prefix}",
        PASSWORD,
        scratch,
        access_key=identity.access_key,
        secret_key=identity.secret_key,
        ca=None,
    )
    return Place(S3Store(config, Credentials(identity.access_key, identity.secret_key), name=server.kind), restic)


def back_up(repository: WritableRepository, path: Path) -> str:
    result = archive(repository, FileSource([path]), clock=CLOCK, workers=0)
    assert not result.problems
    return result.snapshot_id


def all_data(repository: Repository, workers: int = 0) -> CheckReport:
    return check(repository, clock=CLOCK, scope=Scope.ALL_DATA, workers=workers)


def govsec_restores(repository: Repository, snapshot_id: str, source: Path, target: Path) -> None:
    repository.load_index()
    restore(repository, repository.load_snapshot(snapshot_id), target, workers=0, allow_set_id=True)
    assert fingerprint(target / source.relative_to("/")) == fingerprint(source)


def restic_restores(restic: Restic, snapshot_id: str, source: Path, target: Path) -> None:
    restic.ok("restore", snapshot_id, "--target", target)
    assert fingerprint(target / source.relative_to("/")) == fingerprint(source)


def test_restic_lists_checks_and_restores_what_govsec_wrote(place: Place, tmp_path: Path) -> None:
    source = make_tree(tmp_path / "source")
    repository = place.initialize()
    first = back_up(repository, source)
    before = fingerprint(source)
    make_tree(source, seed="2")
    second = back_up(repository, source)

    place.restic.assert_clean()
    assert [snapshot["id"] for snapshot in place.restic.snapshots()] == [first, second]
    listed = place.restic.json_lines("ls", second)
    assert sum(entry.get("struct_type") == "node" for entry in listed) == len(before) + len(source.parts) - 1
    restic_restores(place.restic, second, source, tmp_path / "by restic")
    place.restic.ok("restore", first, "--target", tmp_path / "first")
    assert fingerprint(tmp_path / "first" / source.relative_to("/")) == before


def test_govsec_checks_and_restores_what_restic_wrote_and_pruned(place: Place, tmp_path: Path) -> None:
    source = tmp_path / "source"
    place.restic.ok("init")
    for seed in ("1", "2", "3"):
        make_tree(source, seed=seed)
        place.restic.ok("backup", source)
    place.restic.ok("forget", "--keep-last", "2", "--prune", "--max-unused", "0")

    repository = place.open()
    report = all_data(repository)
    assert report.is_good and report.problem_counts == {} and report.snapshots_count == 2
    assert report.used_blobs_count == report.blobs_count == report.blobs_read_count
    govsec_restores(repository, repository.resolve().id, source, tmp_path / "by govsec")


def test_both_add_to_one_repository_and_both_prune_it(place: Place, tmp_path: Path) -> None:
    source = make_tree(tmp_path / "source")
    repository = place.initialize()
    back_up(repository, source)
    place.restic.ok("backup", source)
    make_tree(source, seed="2")
    back_up(repository, source)
    place.restic.ok("backup", source)
    assert all_data(repository, workers=2).problem_counts == {}
    place.restic.assert_clean()

    place.restic.ok("forget", "--keep-last", "3", "--group-by", "")
    result = prune(repository, clock=CLOCK, grace=NOW, policy=PrunePolicy(unused_max=0))
    assert result.released and result.unused_bytes
    assert all_data(repository).problem_counts == {}
    place.restic.assert_clean()

    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").write_bytes(noise("other", 300_000))
    back_up(repository, tmp_path / "other")
    place.restic.ok("forget", "--keep-last", "1", "--group-by", "paths", "--prune", "--max-unused", "0")
    repository = place.open()
    assert all_data(repository).problem_counts == {}
    assert len(repository.snapshots()) == 2
    govsec_restores(repository, repository.resolve(paths=[str(source)]).id, source, tmp_path / "by govsec")
    restic_restores(place.restic, repository.resolve(paths=[str(source)]).id, source, tmp_path / "by restic")
    back_up(repository, source)
    place.restic.assert_clean()


def test_packs_that_wait_for_their_grace_are_no_error_to_restic(place: Place, tmp_path: Path) -> None:
    source = make_tree(tmp_path / "source")
    repository = place.initialize()
    old = back_up(repository, source)
    make_tree(source, seed="2")
    new = back_up(repository, source)
    place.restic.ok("forget", old)
    result = prune(repository, clock=CLOCK, grace=timedelta(days=7), policy=PrunePolicy(unused_max=0))
    assert result.waiting_count and set(all_data(repository).problem_counts) == {"pack_orphan"}
    checked = place.restic.check()
    assert checked.is_clean and "no errors were found" in checked.stdout
    restic_restores(place.restic, new, source, tmp_path / "by restic")
    # Its own prune knows no grace.
    place.restic.ok("prune")
    assert all_data(repository).problem_counts == {}


def test_on_s3_each_reads_checks_adds_to_and_prunes_what_the_other_wrote(s3_server: S3Server, tmp_path: Path) -> None:
    source = make_tree(tmp_path / "source")
    place = s3_place(s3_server, tmp_path, f"interop-{os.getpid()}-{tmp_path.name}")
    repository = place.initialize()
    first = back_up(repository, source)
    place.restic.assert_clean()
    restic_restores(place.restic, first, source, tmp_path / "by restic")

    make_tree(source, seed="2")
    place.restic.ok("backup", source)
    assert check(repository, clock=CLOCK, scope=Scope.ALL_DATA, workers=2).problem_counts == {}
    govsec_restores(place.open(), place.open().resolve().id, source, tmp_path / "by govsec")

    place.restic.ok("forget", first)
    prune(repository, clock=CLOCK, grace=NOW, policy=PrunePolicy(unused_max=0))
    place.restic.assert_clean()
    back_up(place.open(), source)
    place.restic.ok("forget", "--keep-last", "1", "--group-by", "", "--prune", "--max-unused", "0")
    report = all_data(place.open())
    assert report.problem_counts == {} and report.snapshots_count == 1 and report.is_good
    restic_restores(place.restic, place.open().resolve().id, source, tmp_path / "again by restic")


def test_on_s3_a_repository_that_restic_made_is_adopted(s3_server: S3Server, tmp_path: Path) -> None:
    source = make_tree(tmp_path / "source")
    place = s3_place(s3_server, tmp_path, f"adopt-{os.getpid()}-{tmp_path.name}")
    place.restic.ok("init")
    place.restic.ok("backup", source)
    adoption = adopt(place.open(), clock=CLOCK)
    assert adoption.is_adoptable and adoption.snapshots_count == 1 and adoption.check.packs_read_count
    back_up(place.open(), source)
    place.restic.assert_clean()


def test_an_adopted_repository_says_what_will_be_different(place: Place, tmp_path: Path) -> None:
    source = make_tree(tmp_path / "source")
    place.restic.ok("init")
    place.restic.ok("backup", source)
    before = names(place.store, "")
    adoption = adopt(place.open(), clock=CLOCK)
    assert names(place.store, "") == before
    assert adoption.is_adoptable and any("stored anew" in note for note in adoption.notes)
    # Unchanged files are shared with what restic stored; nothing of them is stored a second time.
    blobs_before = len(place.open().load_index())
    back_up(place.open(), source)
    added = len(place.open().load_index()) - blobs_before
    assert added < 12  # trees alone


def test_a_repository_of_version_1_is_read_and_checked_but_neither_written_nor_adopted(
    place: Place, tmp_path: Path
) -> None:
    source = make_tree(tmp_path / "source")
    place.restic.ok("init", "--repository-version", "1")
    place.restic.ok("backup", source)
    repository = Repository.open(place.store, PASSWORD.encode())
    assert all_data(repository).problem_counts == {}
    govsec_restores(repository, repository.resolve().id, source, tmp_path / "by govsec")
    with pytest.raises(RefusedError, match="version 1"):
        adopt(repository, clock=CLOCK)
    with pytest.raises(RefusedError, match="version 1"):
        place.open()
    place.restic.ok("migrate", "upgrade_repo_v2")
    assert adopt(place.open(), clock=CLOCK).is_adoptable


def test_passwords_are_added_changed_and_removed_by_either(place: Place, tmp_path: Path) -> None:
    repository = place.initialize()
    master = repository.suite.master  # type: ignore[attr-defined]
    new = tmp_path / "new-password"
    new.write_text("a second password\n")

    place.restic.ok("key", "add", "--new-password-file", new)
    second = place.open("a second password")
    assert second.config == repository.config

    ours = add_key(place.store, master, b"a third password", CLOCK, hostname="host", username="user", kdf=FAST_KDF)
    third = local_restic(place.root or Path(), "a third password", _made(tmp_path / "third"))
    assert ours[:8] in third.ok("key", "list")
    third.assert_clean()

    new.write_text("a fourth password\n")
    third.ok("key", "passwd", "--new-password-file", new)
    with pytest.raises(WrongPasswordError):
        place.open("a third password")
    fourth = place.open("a fourth password")

    change_password(place.store, master, b"a fifth password", CLOCK, used_key_id=fourth.key_id, kdf=FAST_KDF)
    fifth = local_restic(place.root or Path(), "a fifth password", _made(tmp_path / "fifth"))
    fifth.ok("snapshots")
    assert not local_restic(place.root or Path(), "a fourth password", _made(tmp_path / "4")).run("snapshots").is_clean

    remove_key(place.store, second.key_id, used_key_id=repository.key_id)
    with pytest.raises(WrongPasswordError):
        place.open("a second password")
    place.restic.ok("key", "remove", place.open("a fifth password").key_id)
    assert [key.id for key in list_keys(place.store)] == [repository.key_id]
    place.restic.assert_clean()


def test_a_backup_of_restic_that_runs_keeps_prune_and_key_changes_away(place: Place) -> None:
    repository = place.initialize()
    back_up(repository, Path(__file__))
    with running_backup(place, repository.suite):
        (lock,) = list_locks(place.store, repository.suite)
        assert lock.info is not None and not lock.info.exclusive
        with pytest.raises(LockedError, match="locked"):
            prune(repository, clock=CLOCK, grace=NOW)
        with repository.lock(CLOCK):  # two may share
            assert len(names(place.store, "locks/")) == 2
        assert not remove_locks(place.store, repository.suite, CLOCK)
    assert not names(place.store, "locks/")
    prune(repository, clock=CLOCK, grace=NOW)


def test_a_lock_of_a_restic_that_was_killed_stops_nobody(place: Place) -> None:
    repository = place.initialize()
    back_up(repository, Path(__file__))
    with running_backup(place, repository.suite) as process:
        process.kill()
        process.wait()
    assert len(names(place.store, "locks/")) == 1
    prune(repository, clock=CLOCK, grace=NOW)
    assert remove_locks(place.store, repository.suite, CLOCK)
    assert not names(place.store, "locks/")


def test_our_locks_keep_restic_away(place: Place) -> None:
    repository = place.initialize()
    back_up(repository, Path(__file__))
    with repository.lock(CLOCK, exclusive=True):
        refused = place.restic.run("backup", __file__)
        assert not refused.is_clean and "already locked" in refused.stderr
    with repository.lock(CLOCK):
        refused = place.restic.run("prune")
        assert not refused.is_clean and "already locked" in refused.stderr
        assert len(place.restic.snapshots()) == 1
        place.restic.ok("backup", __file__)
    place.restic.ok("prune")
    place.restic.assert_clean()


def _pack(store: LocalStore, position: int) -> str:
    return names(store, "data/")[position]


DAMAGE: dict[str, Callable[[Path, LocalStore], object]] = {
    "a pack is gone": lambda root, store: (root / _pack(store, 0)).unlink(),
    "a pack is cut": lambda root, store: _edit(root / _pack(store, 1), lambda data: data[:-1]),
    "a pack is longer": lambda root, store: _edit(root / _pack(store, 0), lambda data: data + b"\0"),
    "a byte of a pack is flipped": lambda root, store: _edit(root / _pack(store, 1), _flipped),
    "the header's length is wrong": lambda root, store: _edit(root / _pack(store, 0), lambda data: data[:-1] + b"\1"),
    "two packs are swapped": lambda root, store: _swap(root / _pack(store, 0), root / _pack(store, 1)),
    "an index file is flipped": lambda root, store: _edit(root / names(store, "index/")[0], _flipped),
    "all index files are gone": lambda root, store: [(root / name).unlink() for name in names(store, "index/")],
    "a snapshot is flipped": lambda root, store: _edit(root / names(store, "snapshots/")[0], _flipped),
    "a snapshot is empty": lambda root, store: _edit(root / names(store, "snapshots/")[0], lambda data: b""),
}


#: restic asks for each blob of such a pack again and again, for three quarters of a minute.
SLOW = {"a pack is gone", "two packs are swapped"}


@pytest.mark.parametrize(
    "damages",
    [
        pytest.param(sorted(DAMAGE.keys() - SLOW), id="quick"),
        pytest.param(sorted(SLOW), id="slow", marks=pytest.mark.soak),
    ],
)
def test_whatever_damage_restic_finds_govsec_finds(place: Place, tmp_path: Path, damages: list[str]) -> None:
    assert place.root is not None
    source = make_tree(tmp_path / "source")
    repository = place.initialize()
    back_up(repository, source)
    make_tree(source, seed="2")
    back_up(repository, source)
    roots = {what: tmp_path / f"damaged {number}" for number, what in enumerate(damages)}
    for what, root in roots.items():
        shutil.copytree(place.root, root)
        DAMAGE[what](root, LocalStore(root))
    # restic tries a damaged object again and again: side by side they wait together.
    with ThreadPoolExecutor(len(roots)) as pool:
        runs = pool.map(lambda root: local_restic(root, PASSWORD, _made(root / "scratch")).check(), roots.values())
        by_restic = dict(zip(roots, runs, strict=True))
    for what, root in roots.items():
        found = all_data(WritableRepository(LocalStore(root), repository.suite, repository.config))
        assert not by_restic[what].is_clean, what
        assert found.exit_code == IntegrityError.exit_code and found.errors_count, what


def test_what_is_no_repository_of_ours_is_refused_by_one_error(place: Place) -> None:
    with pytest.raises(GovsecError, match="no key files"):
        place.open()
    place.initialize()
    with pytest.raises(WrongPasswordError):
        place.open("wrong")


@contextmanager
def running_backup(place: Place, suite: Suite) -> Iterator[subprocess.Popen[bytes]]:
    """A restic that backs up its standard input, which does not end before the block does."""
    restic = place.restic
    process = subprocess.Popen(
        [str(restic.program), "--repo", restic.repository, "--no-cache", "backup", "--stdin"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={"PATH": os.environ["PATH"], "RESTIC_PASSWORD_FILE": str(restic.password_file), "HOME": "/nonexistent"},
    )
    assert process.stdin is not None
    try:
        deadline = time.monotonic() + 60
        while not any(lock.info for lock in list_locks(place.store, suite)):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
        yield process
    finally:
        process.stdin.close()
        process.wait(60)


def _made(path: Path) -> Path:
    path.mkdir()
    return path


def _edit(path: Path, change: Callable[[bytes], bytes]) -> None:
    data = change(path.read_bytes())
    path.chmod(0o600)
    path.write_bytes(data)


def _flipped(data: bytes) -> bytes:
    return data[:40] + bytes([data[40] ^ 4]) + data[41:]


def _swap(first: Path, second: Path) -> None:
    one = first.read_bytes()
    _edit(first, lambda _: second.read_bytes())
    _edit(second, lambda _: one)
