"""How a watcher says that it stands: who needs a person, and what Prometheus reads."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest

from govsec.assemble.watchstatus import WatchRecord, as_prometheus, read_record, record_bytes
from govsec.centers.lag import LagInterval
from govsec.errors import StoreUnavailableError
from govsec.testing.clock import FakeClock
from tests.assemble.watching import prepare
from tests.centers.commands import answer, run


@pytest.fixture
def record(clock: FakeClock) -> WatchRecord:
    now = clock.now()
    lag = LagInterval(
        job="files",
        center='ne"ar',
        side="receipt",
        since=now,
        until=now,
        snapshots_count=2,
        p50_ms=1500,
        p95_ms=2000,
        max_ms=2500,
        gap_max_ms=0,
    )
    return WatchRecord(
        system="hr",
        job="files",
        pid=1,
        began=now,
        time=now,
        phase="follows",
        last=now,
        last_lag_s=2.5,
        lag=(lag,),
        counts={"packs": 4, "packs_bytes": 1000, "windows": 2},
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, ""),
        ({"phase": "stopped"}, "stopped"),
        ({"problem": "/srv: unmounted"}, "/srv: unmounted"),
        ({"unwatched": "3 folders are not watched"}, "3 folders are not watched"),
        ({"reached": "degraded"}, "degraded"),
    ],
)
def test_trouble_is_what_a_person_is_needed_for(
    record: WatchRecord, clock: FakeClock, changes: dict[str, str], words: str
) -> None:
    found = record.model_copy(update=changes).trouble(clock.now())
    assert (words in found) if words else found == ""


def test_a_watcher_that_is_silent_is_in_trouble_whatever_it_said_last(record: WatchRecord, clock: FakeClock) -> None:
    assert "not been heard of for 300 s" in record.trouble(clock.now() + timedelta(seconds=300))


def test_prometheus_gets_a_line_for_everything(record: WatchRecord, clock: FakeClock) -> None:
    lines = as_prometheus([record], clock).splitlines()
    labels = 'system="hr",job="files"'
    assert f"govsec_watch_up{{{labels}}} 1" in lines
    assert f"govsec_watch_pack_bytes_mean{{{labels}}} 250" in lines
    assert f"govsec_watch_windows_total{{{labels}}} 2" in lines
    assert f'govsec_watch_lag_seconds{{{labels},center="ne\\"ar",of="p95"}} 2' in lines


def test_a_record_is_read_as_it_was_written_and_junk_is_refused(record: WatchRecord, tmp_path: Path) -> None:
    path = tmp_path / "watch-files.json"
    assert read_record(path) is None
    path.write_bytes(record_bytes(record))
    assert read_record(path) == record
    for junk in (b"", b"[]", b'{"version": 2}', record_bytes(record)[:-20]):
        path.write_bytes(junk)
        with pytest.raises(StoreUnavailableError, match="not the state of a watcher"):
            read_record(path)


def test_the_command_says_that_nobody_ever_watched(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prepare(tmp_path)
    code, found = answer(tmp_path, capsys, "backup", "watch", "--status")
    assert (code, found["watchers"][0]["trouble"]) == (1, "never began")
    assert run(tmp_path, "backup", "watch", "nothing", "--status") == 2
    text = (tmp_path / "govsec.yaml").read_text(encoding="utf-8")
    written = json.loads(text)
    del written["systems"][0]["backups"][0]["watch"]
    (tmp_path / "govsec.yaml").write_text(json.dumps(written), encoding="utf-8")
    assert run(tmp_path, "backup", "watch", "--status") == 2
