"""Break the backup, or the drill, in many ways: the drill must fail each time, and say why. And the twin must pass."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from govsec.backup.restore import RestoreReport, restore
from govsec.backup.witness import NONCE_NAME
from govsec.config import Role
from govsec.drill.plan import Plan
from govsec.drill.result import Outcome, Verdict, parse_result
from govsec.progress import ProgressSink
from govsec.repo.repository import Repository
from govsec.repo.snapshot import Snapshot
from tests.drill.conftest import Rig, codes
from tests.support.require import require_root

pytestmark = pytest.mark.usefixtures("_as_root")


@pytest.fixture
def _as_root() -> None:
    require_root()


def test_the_twin_that_nobody_broke_passes(shipped: Rig) -> None:
    result = shipped.drill()

    assert (result.verdict, result.reasons) == (Verdict.PASS, ())
    assert result.content is not None
    assert (result.content.files_checked, result.content.samples_checked) == (27, 8)
    assert [step.outcome for step in result.steps] == [Outcome.PASSED] * len(result.steps)
    assert [control.outcome for control in result.controls] == [Outcome.PASSED]
    assert result.measures.restore_time_s is not None
    assert result.measures.restore_time_until == "ask"
    assert result.measures.recovery_point_age_s is not None
    assert {center.role: center.state for center in result.centers} == {
        "production": "lost",
        "same_city": "lost",
        "remote": "restored_from",
    }
    assert list(shipped.scratch.iterdir()) == []
    assert parse_result(result.canonical()) == result


def _source_empty(rig: Rig) -> None:
    shutil.rmtree(rig.source)
    rig.source.mkdir()
    rig.back_up()


def _wrong_path(rig: Rig) -> None:
    other = rig.base / "srv" / "other"
    shutil.copytree(rig.source, other, symlinks=True)
    rig.back_up(paths=[other])


def _exclude_that_swallows_all(rig: Rig) -> None:
    rig.back_up(exclude=["*"])


def _wrong_nonce(rig: Rig) -> None:
    rig.back_up(meanwhile=lambda: (rig.source / os.fsdecode(NONCE_NAME)).write_bytes(b"another nonce\n") and None)


def _nonce_removed(rig: Rig) -> None:
    rig.back_up(meanwhile=lambda: (rig.source / os.fsdecode(NONCE_NAME)).unlink())


def _truncated_database(rig: Rig) -> None:
    database = rig.source / "oa.db"
    os.truncate(database, database.stat().st_size // 2)
    rig.back_up()


def _emptied_table(rig: Rig) -> None:
    connection = sqlite3.connect(rig.source / "oa.db")
    with connection:
        connection.execute("DELETE FROM cases")
    connection.close()
    rig.back_up()


def _database_left_out(rig: Rig) -> None:
    rig.back_up(exclude=["*.db"])


BROKEN_BACKUPS: dict[str, tuple[Callable[[Rig], None], set[str]]] = {
    "source empty": (_source_empty, {"expect_path", "expect_files", "probe_not_run"}),
    "wrong path": (_wrong_path, {"expect_path"}),
    "exclude that swallows all": (_exclude_that_swallows_all, {"expect_path", "expect_files"}),
    "wrong nonce": (_wrong_nonce, {"nonce_wrong"}),
    "nonce removed": (_nonce_removed, {"nonce_absent"}),
    "truncated database": (_truncated_database, {"probe_failed"}),
    "emptied table": (_emptied_table, {"probe_failed"}),
    "database left out": (_database_left_out, {"expect_path", "probe_failed"}),
}


@pytest.mark.parametrize("mutation", BROKEN_BACKUPS)
def test_a_backup_of_the_wrong_thing_fails_the_drill(mutation: str, rig: Rig) -> None:
    break_it, expected = BROKEN_BACKUPS[mutation]
    break_it(rig)
    rig.ship()

    result = rig.drill()

    assert result.verdict is Verdict.FAIL
    assert expected <= codes(result)
    assert list(rig.scratch.iterdir()) == []


def _remove(pack: Path, other: Path) -> None:
    pack.unlink()


def _flip(pack: Path, other: Path) -> None:
    data = bytearray(pack.read_bytes())
    data[40] ^= 1
    _overwrite(pack, bytes(data))


def _swap(pack: Path, other: Path) -> None:
    mine, its = pack.read_bytes(), other.read_bytes()
    _overwrite(pack, its)
    _overwrite(other, mine)


def _overwrite(path: Path, data: bytes) -> None:
    path.chmod(0o600)
    path.write_bytes(data)


@pytest.mark.parametrize("damage", [_remove, _flip, _swap], ids=["missing", "flipped", "swapped"])
def test_whichever_pack_is_damaged_at_the_center_the_drill_fails(
    damage: Callable[[Path, Path], None], shipped: Rig
) -> None:
    packs = shipped.objects(Role.REMOTE, "data/")
    seen: set[str] = set()
    for position, pack in enumerate(packs):
        damage(pack, packs[position - 1])

        result = shipped.drill()

        assert result.verdict is Verdict.FAIL
        assert result.measures.restore_time_s is None
        seen |= codes(result)
        shipped.ship()
    # Damage to contents is counted object by object; damage to the upper trees stops the restore.
    assert seen & {"step_failed", "restore_problems"}


def _snapshot_removed(rig: Rig) -> None:
    for snapshot in rig.objects(Role.REMOTE, "snapshots/"):
        snapshot.unlink()


def _index_removed(rig: Rig) -> None:
    for index in rig.objects(Role.REMOTE, "index/"):
        index.unlink()


BROKEN_CENTERS: dict[str, tuple[Callable[[Rig], None], set[str]]] = {
    "snapshot removed": (_snapshot_removed, {"no_snapshot"}),
    "index removed": (_index_removed, {"step_failed"}),
    "center gone": (lambda rig: shutil.rmtree(rig.center(Role.REMOTE)), {"no_center"}),
}


@pytest.mark.parametrize("mutation", BROKEN_CENTERS)
def test_a_center_that_lost_its_bearings_fails_the_drill(mutation: str, shipped: Rig) -> None:
    break_it, expected = BROKEN_CENTERS[mutation]
    break_it(shipped)

    result = shipped.drill()

    assert result.verdict is Verdict.FAIL
    assert expected <= codes(result)
    assert result.measures.restore_time_s is None
    assert list(shipped.scratch.iterdir()) == []


def test_a_pinned_snapshot_that_is_not_the_newest_fails_the_drill(shipped: Rig) -> None:
    (old,) = shipped.repository.snapshots()
    shipped.back_up()
    shipped.ship()

    result = shipped.drill(shipped.plan(select={"snapshot": old.id[:16]}))

    assert (result.verdict, codes(result) & {"stale_pin"}) == (Verdict.FAIL, {"stale_pin"})
    newest = shipped.repository.snapshots()[-1]
    assert shipped.drill(shipped.plan(select={"snapshot": newest.id})).verdict is Verdict.PASS


@pytest.mark.parametrize(
    "argv",
    [
        ["true"],
        ["test", "-d", "{target}"],
        ["sh", "-c", "echo serving"],
        ["test", "-f", "/etc/passwd"],
    ],
)
def test_a_probe_that_also_passes_on_an_empty_directory_fails_the_drill(argv: list[str], shipped: Rig) -> None:
    probe = {"kind": "probe", "name": "ask", "timeout_s": 60, "probe": {"kind": "command", "argv": argv}}

    result = shipped.drill(shipped.plan(steps=shipped.steps(ask=probe)))

    assert (result.verdict, codes(result)) == (Verdict.FAIL, {"probe_proves_nothing"})
    assert [control.outcome for control in result.controls] == [Outcome.FAILED]


def test_a_restore_that_skips_a_directory_fails_the_drill(shipped: Rig) -> None:
    def skipping(repository: Repository, snapshot: Snapshot, target: Path, progress: ProgressSink) -> RestoreReport:
        return restore(repository, snapshot, target, exclude=[f"{shipped.source}/docs/dir2"], workers=0)

    result = shipped.drill(restorer=skipping)

    assert result.verdict is Verdict.FAIL
    assert "content_mismatch" in codes(result)
    assert result.content is not None
    assert any(item.path.endswith("docs/dir2") and item.what == "missing" for item in result.content.mismatches)


def test_a_restore_that_changes_one_byte_fails_the_drill(shipped: Rig) -> None:
    def altering(repository: Repository, snapshot: Snapshot, target: Path, progress: ProgressSink) -> RestoreReport:
        report = restore(repository, snapshot, target, workers=0)
        victim = target / str(shipped.source).lstrip("/") / "docs" / "dir1" / "公文1.txt"
        data = bytearray(victim.read_bytes())
        data[7] ^= 1
        victim.write_bytes(bytes(data))
        return report

    result = shipped.drill(restorer=altering)

    assert result.content is not None
    assert result.verdict is Verdict.FAIL
    assert result.content.mismatches[0].what == "content"


def test_a_restore_that_adds_a_file_fails_the_drill(shipped: Rig) -> None:
    def adding(repository: Repository, snapshot: Snapshot, target: Path, progress: ProgressSink) -> RestoreReport:
        report = restore(repository, snapshot, target, workers=0)
        (target / str(shipped.source).lstrip("/") / "docs" / "surplus").write_bytes(b"x")
        return report

    result = shipped.drill(restorer=adding)

    assert result.content is not None
    assert result.content.mismatches[0].what == "surplus"
    assert result.verdict is Verdict.FAIL


def test_a_plan_without_content_verification_is_partial_at_best(shipped: Rig) -> None:
    steps = [step for step in shipped.steps() if step["name"] != "content"]

    result = shipped.drill(shipped.plan(steps=steps))

    assert (result.verdict, codes(result)) == (Verdict.PARTIAL, {"no_content_probe"})


def test_a_snapshot_without_samples_of_its_source_is_partial_at_best(shipped: Rig) -> None:
    for witness in shipped.objects(Role.REMOTE, "govsec/witness/"):
        witness.unlink()
    steps = [step for step in shipped.steps() if step["name"] != "nonce"]

    result = shipped.drill(shipped.plan(steps=steps))

    assert (result.verdict, codes(result)) == (Verdict.PARTIAL, {"no_witness"})


def test_missed_objectives_fail_the_drill(shipped: Rig) -> None:
    slow: Plan = shipped.plan(objectives={"rpo_s": 3600, "rto_s": 1})

    def waiting(repository: Repository, snapshot: Snapshot, target: Path, progress: ProgressSink) -> RestoreReport:
        report = restore(repository, snapshot, target, workers=0)
        begun = shipped.clock.monotonic()
        while shipped.clock.monotonic() - begun < 1:
            os.sched_yield()
        return report

    assert codes(shipped.drill(slow, restorer=waiting)) == {"objective_rto"}
