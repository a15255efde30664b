"""With stock restic, both ways: what one wrote the other checks, restores, lists and continues."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from govsec.backup.archive import archive
from govsec.backup.listing import find_entry
from govsec.backup.restore import restore
from govsec.backup.sources import FileSource, StreamSource
from govsec.clock import SystemClock
from govsec.repo.repository import Repository, WritableRepository
from govsec.store.local import LocalStore
from tests.backup.conftest import CHEAP, PASSWORD
from tests.backup.trees import describe, make_rich_tree, without
from tests.support.require import require, require_root
from tests.support.restic import Restic, local_restic

#: What restic 0.14 does not keep: holes without --sparse, and which links are one link.
RESTIC_LOSES = ("has_holes", "names")


@pytest.fixture
def rich(tmp_path: Path) -> Path:
    require_root()
    require("setfacl")
    root = tmp_path / "rich"
    make_rich_tree(root)
    return root


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    return tmp_path / "repo"


@pytest.fixture
def restic(repo: Path, tmp_path: Path) -> Restic:
    return local_restic(repo, PASSWORD.decode(), tmp_path)


@pytest.fixture
def ours(repo: Path) -> Iterator[WritableRepository]:
    store = LocalStore(repo, create=True)
    yield WritableRepository.initialize(store, PASSWORD, SystemClock(), kdf=CHEAP)


def restored(root: Path, source: Path) -> Path:
    return root / source.relative_to("/")


def test_restic_checks_and_restores_what_govsec_wrote(
    ours: WritableRepository, restic: Restic, rich: Path, tmp_path: Path
) -> None:
    result = archive(ours, FileSource([rich]), clock=SystemClock(), workers=2)
    assert result.is_complete, result.problems
    restic.assert_clean()
    out = tmp_path / "out"
    restic.ok("restore", "latest", "--target", out)
    assert without(describe(restored(out, rich)), *RESTIC_LOSES) == without(describe(rich), *RESTIC_LOSES)


def test_govsec_restores_everything_that_it_wrote(
    ours: WritableRepository, repo: Path, rich: Path, tmp_path: Path
) -> None:
    archive(ours, FileSource([rich]), clock=SystemClock(), workers=2)
    repository = Repository.open(LocalStore(repo), PASSWORD)
    out = tmp_path / "out"
    report = restore(
        repository,
        repository.resolve(),
        out,
        allow_devices=True,
        allow_set_id=True,
        is_verifying=True,
        workers=2,
    )
    assert report.is_complete, report.problems
    assert describe(restored(out, rich)) == describe(rich)
    assert report.verified > 0


def test_govsec_restores_what_restic_wrote(restic: Restic, repo: Path, rich: Path, tmp_path: Path) -> None:
    restic.ok("init")
    restic.ok("backup", rich)
    repository = Repository.open(LocalStore(repo), PASSWORD)
    out = tmp_path / "out"
    report = restore(repository, repository.resolve(), out, allow_devices=True, allow_set_id=True, workers=2)
    assert report.is_complete, report.problems
    # restic stores no holes as such and no second names of links; all other facts must be there.
    assert without(describe(restored(out, rich)), *RESTIC_LOSES) == without(describe(rich), *RESTIC_LOSES)


def test_govsec_continues_a_repository_of_restic_without_reading_unchanged_files_again(
    restic: Restic, repo: Path, rich: Path
) -> None:
    restic.ok("init")
    restic.ok("backup", rich)
    repository = WritableRepository.open(LocalStore(repo), PASSWORD)
    result = archive(repository, FileSource([rich]), clock=SystemClock(), workers=2)
    assert result.snapshot.parent == restic.snapshots()[0]["id"]
    assert result.summary.files_unmodified == result.files > 20
    assert result.summary.data_blobs == 0
    restic.assert_clean()


def test_restic_continues_a_repository_of_govsec_without_reading_unchanged_files_again(
    ours: WritableRepository, restic: Restic, rich: Path
) -> None:
    first = archive(ours, FileSource([rich]), clock=SystemClock(), workers=2)
    summary = restic.json_lines("backup", rich)[-1]
    assert summary["message_type"] == "summary"
    assert (summary["files_new"], summary["files_changed"], summary["data_blobs"]) == (0, 0, 0)
    assert summary["files_unmodified"] == first.files
    restic.assert_clean()


def test_an_unchanged_backup_after_our_own_finds_every_directory_unchanged(
    ours: WritableRepository, repo: Path, rich: Path
) -> None:
    first = archive(ours, FileSource([rich]), clock=SystemClock(), workers=2)
    again = WritableRepository.open(LocalStore(repo), PASSWORD)
    second = archive(again, FileSource([rich]), clock=SystemClock(), workers=2)
    # The directories that lead to the source are others' as well, and may change between the two: then the second has
    # trees that an index read before does not know.
    reader = WritableRepository.open(LocalStore(repo), PASSWORD)
    trees = [
        find_entry(reader, snapshot, os.fsencode(rich)).node.subtree for snapshot in (first.snapshot, second.snapshot)
    ]
    assert trees[0] == trees[1]
    assert second.summary.dirs_unmodified >= first.summary.dirs_new - len(rich.parts)
    assert (second.summary.data_blobs, second.summary.files_unmodified) == (0, first.files)


def test_restic_lists_finds_and_dumps_what_govsec_wrote(
    ours: WritableRepository, restic: Restic, tmp_path: Path
) -> None:
    root = tmp_path / "docs"
    (root / "公文").mkdir(parents=True)
    (root / "公文" / "通知.txt").write_bytes("关于备份的通知".encode())
    archive(ours, FileSource([root]), clock=SystemClock(), workers=0)
    assert "通知.txt" in restic.ok("ls", "latest")
    assert restic.ok("dump", "latest", str(root / "公文" / "通知.txt")) == "关于备份的通知"


def test_restic_reads_a_stream_that_govsec_backed_up(ours: WritableRepository, restic: Restic, tmp_path: Path) -> None:
    data = (b"row of a dump\n" * 1000 + bytes(3_000_000)) * 3
    path = tmp_path / "dump"
    path.write_bytes(data)
    with path.open("rb") as stream:
        archive(ours, StreamSource(stream, "dump.sql"), clock=SystemClock())
    restic.assert_clean()
    out = tmp_path / "out"
    restic.ok("restore", "latest", "--target", out)
    assert (out / "dump.sql").read_bytes() == data
