"""The loop of a live sensor, on batches that a test hands it: clocks that are set back, and what is learned."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random

import pytest

from govsec.assemble.monitorlive import PRESSURE_MAX, Watch
from govsec.assemble.monitorstate import DAMAGED, NAME, BaselineFolder
from govsec.config import MonitorConfig
from govsec.findings.baseline import HOUR_NS
from govsec.net.columns import PacketBatch
from govsec.net.live import LiveCapture, LiveCounters
from govsec.net.privileges import Dropped
from govsec.records import Finding
from govsec.testing import trafficscans
from govsec.testing.clock import FakeClock
from govsec.testing.packets import SECOND, START_NS, Conversation, Frame, outside, station
from tests.detect.observations import batch_of


class Handed(LiveCapture):
    """A capture whose batches a test hands in; before each, the clock was set back where the test says so."""

    def __init__(self, parts: Sequence[Sequence[Frame]], *, steps_before: Sequence[int] = ()) -> None:
        self._parts = parts
        self._steps_before = steps_before
        self._seen = LiveCounters()
        self.fullness = 0.0
        self.is_closed = False

    def batches(self) -> Iterator[PacketBatch]:
        for number, frames in enumerate(self._parts):
            self._seen.clock_steps_back += number in self._steps_before
            self._seen.packets += len(frames)
            yield batch_of(frames)

    def counters(self) -> LiveCounters:
        return self._seen

    def pressure(self) -> float:
        return self.fullness

    def close(self) -> None:
        self.is_closed = True


def watched(capture: Handed, folder: BaselineFolder | None = None) -> tuple[Watch, list[Finding]]:
    with Watch(capture, MonitorConfig(), FakeClock(), lambda: Dropped("nobody", 0), folder=folder) as watch:
        return watch, list(watch.findings())


def scan(at_ns: int, seed: int) -> list[Frame]:
    return trafficscans.vertical_scan(Random(seed), time_ns=at_ns, ports_count=60, duration_s=3)


def test_a_clock_that_is_set_back_ends_what_was_open_and_begins_afresh() -> None:
    early = START_NS - HOUR_NS
    capture = Handed([scan(START_NS, 1), scan(early, 2)], steps_before=(1,))

    _, findings = watched(capture)

    scans = [finding for finding in findings if finding.kind == "net.scan.vertical"]
    # A sensor that went on would hold the second back as a repeat, and give it the time of the first.
    assert [finding.time.timestamp() // 600 for finding in scans] == [START_NS // SECOND // 600, early // SECOND // 600]


def test_a_batch_under_pressure_is_counted_as_not_read() -> None:
    capture = Handed([scan(START_NS, 1)])
    capture.fullness = 2 * PRESSURE_MAX

    watch, _ = watched(capture)

    assert watch.counters()["capture"]["batches_not_dissected"] == 1
    assert capture.is_closed


def upload(at_ns: int) -> list[Frame]:
    talk = Conversation(Random(at_ns), at_ns, station(77), outside("203.0.113.150"), 443).open()
    return talk.ask(bytes(5000)).answer(b"ok").close().frames


def an_hour(number: int) -> list[list[Frame]]:
    """An upload in its middle, and time that goes on until it is over."""
    return [upload(START_NS + number * HOUR_NS + offset * SECOND) for offset in (1200, 2400)]


@pytest.fixture
def folder(tmp_path: Path) -> BaselineFolder:
    return BaselineFolder(tmp_path / "live-eth1", "nobody")


def test_what_is_learned_is_saved_when_an_hour_is_over_and_known_in_the_next_run(folder: BaselineFolder) -> None:
    hours = [batch for number in range(4) for batch in an_hour(number)]

    watch, _ = watched(Handed(hours), folder)
    assert watch.counters()["baseline"] == {"saves": 3, "save_failures": 0, "set_aside": 0}

    again = BaselineFolder(folder.path, "nobody")
    watch, findings = watched(Handed([]), again)
    assert findings == []
    assert watch.counters()["baseline"]["saves"] == 0
    kept = watch.baseline.usual("192.168.10.77", "upload", START_NS // HOUR_NS + 26, weeks_min=9, days_min=1)
    assert kept == [10_000.0]


def test_under_pressure_nothing_is_saved_before_the_end(folder: BaselineFolder) -> None:
    capture = Handed([batch for number in range(4) for batch in an_hour(number)])
    capture.fullness = 0.2

    watch, _ = watched(capture, folder)

    assert watch.counters()["baseline"]["saves"] == 1


def test_a_baseline_that_was_damaged_is_told_and_the_sensor_goes_on(folder: BaselineFolder) -> None:
    (folder.path / NAME).write_bytes(b"no database" * 1000)

    watch, findings = watched(Handed([scan(START_NS, 1)]), folder)

    assert [finding.facts.get("reason", finding.kind) for finding in findings] == [
        "baseline_damaged",
        "net.scan.vertical",
    ]
    assert (folder.path / DAMAGED).exists()
    assert watch.counters()["baseline"]["set_aside"] == 1


def test_a_baseline_that_cannot_be_saved_is_told(folder: BaselineFolder) -> None:
    (folder.path / ".baseline.sqlite.new").mkdir()  # in the way, for root too

    _, findings = watched(Handed([batch for number in range(3) for batch in an_hour(number)]), folder)

    assert [finding.facts["reason"] for finding in findings] == ["baseline_not_saved"] * 2
