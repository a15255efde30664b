"""A clock that ran back: no backup is dated before the one it follows, and the one that was committed last is kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from govsec.assemble.backup import run_directory, run_job
from govsec.assemble.centers import ship_to
from govsec.assemble.drill import run_plan
from govsec.assemble.repo import prune_place, system_place
from govsec.assemble.systems import Site as Configured
from govsec.backup.sources import FileSource
from govsec.cli.main import main
from govsec.config import load_config
from govsec.drill.plan import load_plan
from govsec.errors import TryAgainError
from govsec.repo.repository import WritableRepository
from govsec.store.memory import MemoryStore
from govsec.testing.clock import FakeClock
from tests.cli.conftest import Site

_YEAR_S = 365 * 86400.0


@pytest.fixture
def told(site: Site) -> Configured:
    """The prepared site an hour after its backup, by a clock that can be set; it keeps the last thirty days."""
    config = load_config(site.config)
    (system,) = config.systems
    kept = system.retention.model_validate({"keep_within": "30d"})
    config = config.model_copy(update={"systems": (system.model_copy(update={"retention": kept}),)})
    clock = FakeClock()
    found = Configured(config, clock)
    # The source of that backup lay at another path, so the ones made here are a group of their own.
    (snapshot,) = found.repository(system, "main").snapshots()
    clock.jump((snapshot.time - clock.now()).total_seconds() + 3600)
    return found


def back_up(site: Configured, *, is_clock_accepted: bool = False) -> str:
    system = site.system(None)
    job = system.backups[0]
    return run_job(site, system, job, workers=0, is_clock_accepted=is_clock_accepted).result.snapshot_id


def test_a_backup_by_a_clock_that_ran_back_is_refused_until_somebody_vouches_for_it_once(told: Configured) -> None:
    assert isinstance(told.clock, FakeClock)
    newest = back_up(told)
    told.clock.jump(-_YEAR_S)
    with pytest.raises(TryAgainError, match=r"this clock says 20.* the last backup was made at 20.* --accept-clock"):
        back_up(told)
    assert newest in [snapshot.id for snapshot in told.repository(told.system(None), "main").snapshots()]
    assert len(told.repository(told.system(None), "main").snapshots()) == 2
    back_up(told, is_clock_accepted=True)
    back_up(told)


def test_what_was_committed_last_is_kept_whatever_its_time(told: Configured) -> None:
    assert isinstance(told.clock, FakeClock)
    back_up(told)
    told.clock.jump(-_YEAR_S)
    last = back_up(told, is_clock_accepted=True)
    told.clock.jump(_YEAR_S)
    prune_place(system_place(told.config, told.clock, None, None))
    assert last in [snapshot.id for snapshot in told.repository(told.system(None), "main").snapshots()]


def test_a_drill_of_another_snapshot_than_the_one_that_was_committed_last_does_not_pass(
    told: Configured, tmp_path: Path, site: Site
) -> None:
    assert isinstance(told.clock, FakeClock)
    back_up(told)
    told.clock.jump(-_YEAR_S)
    last = back_up(told, is_clock_accepted=True)
    told.clock.jump(_YEAR_S)
    ship_to(told, told.system(None), "far")
    plan = load_plan(site.directory / "plan.yaml")
    result = run_plan(told, plan, output=tmp_path / "out", is_recorded=False).result
    (why,) = [reason for reason in result.reasons if reason.code == "not_committed_last"]
    assert why.facts["last"] == last[:8]
    assert result.verdict != "pass"


def test_in_a_directory_the_clock_is_held_against_the_last_snapshot(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    clock = FakeClock()
    repository = WritableRepository.initialize(MemoryStore("m"), b"a password", clock)
    source = FileSource([tmp_path / "data"])
    run_directory(lambda: repository, source, clock=clock, workers=0)
    clock.jump(-3600)
    with pytest.raises(TryAgainError, match="--accept-clock"):
        run_directory(lambda: repository, source, clock=clock, workers=0)
    run_directory(lambda: repository, source, clock=clock, workers=0, is_clock_accepted=True)
    run_directory(lambda: repository, source, clock=clock, workers=0)


def test_the_command_line_takes_the_word_of_whoever_runs_it(site: Site) -> None:
    assert main(["backup", "run", "--accept-clock", "--quiet", "--config", str(site.config)]) == 0
