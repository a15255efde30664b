"""What a live sensor has learned is there after a restart, also without rights; damage is set aside and told."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from govsec.assemble.monitorstate import DAMAGED, NAME, BaselineFolder
from govsec.errors import ConfigurationError, TryAgainError
from govsec.findings.baseline import Baseline
from tests.support.require import require_root

#: 2026-06-01 00:00 UTC, a Monday.
MONDAY = 494_328


def learned(hours: int = 5) -> Baseline:
    baseline = Baseline()
    for day in range(hours):
        baseline.add(MONDAY + 24 * day, {("h", "upload"): 100.0 * day})
    return baseline


def usual(baseline: Baseline) -> list[float]:
    return [*baseline.usual("h", "upload", MONDAY + 24 * 6, weeks_min=9, days_min=1)]


@pytest.fixture
def folder(tmp_path: Path) -> BaselineFolder:
    return BaselineFolder(tmp_path / "monitor" / "live-eth1", "nobody")


def restored(folder: BaselineFolder) -> tuple[Baseline, str | None]:
    """What the next run finds, and what it says of it."""
    baseline = Baseline()
    return baseline, BaselineFolder(folder.path, "nobody").load(baseline)


def test_what_was_saved_is_known_in_the_next_run(folder: BaselineFolder) -> None:
    assert folder.load(Baseline()) is None  # nothing yet
    folder.save(learned())

    baseline, problem = restored(folder)

    assert problem is None
    assert usual(baseline) == [0, 100, 200, 300, 400]
    assert stat.S_IMODE((folder.path / NAME).stat().st_mode) == 0o600
    assert [path.name for path in folder.path.iterdir()] == [NAME]


def test_a_save_is_due_when_something_was_learned_since(folder: BaselineFolder) -> None:
    baseline = learned()
    assert folder.is_due(baseline)

    folder.save(baseline)
    assert not folder.is_due(baseline)

    baseline.add(MONDAY + 200, {("h", "upload"): 1.0})
    assert folder.is_due(baseline)


def truncated(data: bytes) -> bytes:
    return data[: len(data) // 2]


def flipped(data: bytes) -> bytes:
    """A page of the tree is no page any more."""
    return data[:4096] + bytes(byte ^ 0xFF for byte in data[4096:8192]) + data[8192:]


def of_others(_: bytes) -> bytes:
    import sqlite3

    with sqlite3.connect(":memory:") as store:
        store.execute("CREATE TABLE other (a)")
        store.execute("PRAGMA user_version = 2")
        return store.serialize()


def with_trigger(data: bytes) -> bytes:
    import sqlite3

    store = sqlite3.connect(":memory:")
    store.deserialize(data)
    store.execute("CREATE TRIGGER t AFTER INSERT ON weeks BEGIN DELETE FROM peers; END")
    store.commit()
    return store.serialize()


@pytest.mark.parametrize(
    "damage",
    [truncated, flipped, of_others, with_trigger, lambda _: b"", lambda _: b"no database" * 1000],
    ids=["truncated", "flipped", "of others", "with a trigger", "empty", "no database"],
)
def test_a_damaged_file_is_set_aside_and_told_and_learning_begins_afresh(
    folder: BaselineFolder, damage: Callable[[bytes], bytes]
) -> None:
    folder.save(learned())
    broken = damage((folder.path / NAME).read_bytes())
    (folder.path / NAME).write_bytes(broken)

    baseline, problem = restored(folder)

    assert problem
    assert usual(baseline) == []
    assert (folder.path / DAMAGED).read_bytes() == broken
    again = BaselineFolder(folder.path, "nobody")
    again.save(learned())
    assert usual(restored(folder)[0]) == [0, 100, 200, 300, 400]


def test_a_link_a_pipe_or_a_folder_in_its_place_is_not_read(folder: BaselineFolder, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(learned().dump())
    makers: tuple[Callable[[Path], object], ...] = (
        lambda path: path.symlink_to(secret),
        os.mkfifo,
        lambda path: path.mkdir(),
    )
    for make in makers:
        make(folder.path / NAME)

        baseline, problem = restored(folder)

        assert problem
        assert usual(baseline) == []
        place = folder.path / DAMAGED
        (place.rmdir if place.is_dir() and not place.is_symlink() else place.unlink)()


def test_a_folder_that_is_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "live-eth1").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(ConfigurationError, match="live-eth1"):
        BaselineFolder(tmp_path / "live-eth1", "nobody")


def test_a_save_that_fails_leaves_the_old_file_and_is_counted(folder: BaselineFolder) -> None:
    folder.save(learned())
    (folder.path / ".baseline.sqlite.new").mkdir()  # in the way, for root too

    with pytest.raises(TryAgainError, match=NAME):
        folder.save(learned(hours=2))

    assert (folder.counters.saves, folder.counters.save_failures) == (1, 1)
    assert usual(restored(folder)[0]) == [0, 100, 200, 300, 400]


def test_a_process_without_rights_saves_below_a_folder_that_is_closed_to_it(tmp_path: Path) -> None:
    require_root()
    (tmp_path / "closed").mkdir(mode=0o700)
    folder = BaselineFolder(tmp_path / "closed" / "monitor" / "live-eth1", "nobody")
    child = os.fork()
    if not child:
        status = 1
        try:
            from govsec.net.privileges import drop_privileges

            drop_privileges("nobody", writable=[folder.path])
            assert folder.load(Baseline()) is None
            folder.save(learned())
            again = Baseline()
            assert folder.load(again) is None
            status = 0 if usual(again) == [0, 100, 200, 300, 400] else 2
        finally:
            os._exit(status)

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert usual(restored(folder)[0]) == [0, 100, 200, 300, 400]
    assert (folder.path / NAME).stat().st_uid != 0
