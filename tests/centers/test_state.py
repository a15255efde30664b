"""The state of a center: named, timed, on disk, and calm while the center is not."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from govsec.centers.state import States, SyncState
from govsec.errors import StoreUnavailableError
from govsec.testing.clock import FakeClock


def test_a_center_never_heard_of_is_in_step_and_usable(clock: FakeClock) -> None:
    states = States(clock)
    assert states.get("same_city").state is SyncState.SYNCED
    assert states.is_usable("same_city")


def test_the_state_is_kept_on_disk_with_its_times(tmp_path: Path, clock: FakeClock) -> None:
    path = tmp_path / "hr" / "centers.json"
    began = clock.now()
    States(clock, path).failed("same_city", "timed out")
    clock.advance(30)
    found = States(clock, path).get("same_city")
    assert (found.state, found.since, found.outage_since, found.reason) == (
        SyncState.DEGRADED,
        began,
        began,
        "timed out",
    )


def test_the_state_is_its_owners_alone_whatever_the_umask(tmp_path: Path, clock: FakeClock) -> None:
    before = os.umask(0o022)
    try:
        States(clock, tmp_path / "state" / "hr" / "centers.json").failed("same_city", "timed out")
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*")}
    assert modes == {"state": 0o700, "hr": 0o700, "centers.json": 0o600, "centers.json.lock": 0o600}


def test_reports_of_several_processes_are_all_counted(tmp_path: Path, clock: FakeClock) -> None:
    path = tmp_path / "centers.json"
    one, two = States(clock, path), States(clock, path)
    one.failed("same_city", "a")
    two.failed("same_city", "b")
    assert two.get("same_city").failures_count == 2
    one.refresh()
    assert one.get("same_city").reason == "b"


def test_a_center_that_comes_and_goes_is_left_alone_longer_each_time(clock: FakeClock) -> None:
    states = States(clock, quiet_s=60, quiet_max_s=600)
    changes = 0
    for _ in range(3600):
        if states.is_usable("same_city"):
            changes += states.get("same_city").state is SyncState.SYNCED
            states.failed("same_city", "cut off")
            states.synced("same_city") if states.get("same_city").failures_count % 2 == 0 else None
        clock.advance(1)
    assert changes <= 10, "an hour of flapping every second"


def test_the_outage_is_counted_from_its_first_failure(clock: FakeClock) -> None:
    states = States(clock)
    began = clock.now()
    states.failed("same_city", "x")
    clock.advance(100)
    states.resyncing("same_city")
    states.failed("same_city", "y")
    assert states.get("same_city").outage_since == began
    states.synced("same_city")
    assert states.get("same_city").outage_since is None


def test_a_clock_that_was_set_back_does_not_lock_a_center_out(clock: FakeClock) -> None:
    states = States(clock)
    states.failed("same_city", "x")
    assert not states.is_usable("same_city")
    clock.jump(-86400)
    assert states.is_usable("same_city")


def test_a_state_file_that_is_junk_is_an_error_and_no_green_light(tmp_path: Path, clock: FakeClock) -> None:
    path = tmp_path / "centers.json"
    path.write_text("{}}")
    with pytest.raises(StoreUnavailableError, match="not a state file"):
        States(clock, path)
