"""Latency, errors, traffic and saturation against what is usual at this hour of the week."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from govsec.clock import to_ns
from govsec.findings.baseline import Baseline, hour_of
from govsec.serviceentry import ServiceConfig, UsualConfig
from govsec.services.memory import MemoryFile, ServiceMemory
from govsec.services.probe import Prober
from govsec.services.usual import span_of
from govsec.testing.clock import FakeClock
from tests.services.portals import PATIENT_S, Asked, Portal, Reply

NOW = datetime(2026, 11, 18, 9, 30, tzinfo=UTC)
WEEK_S = 7 * 86_400


class Watched:
    """A portal that takes as long as it is told, by the fake clock, and tells figures of itself."""

    def __init__(self, portal: Portal, **entries: object) -> None:
        self.clock = FakeClock(NOW)
        self.seconds, self.sessions, self.status = 0.2, 100.0, 200
        portal.routes["/"] = self._home
        portal.routes["/stats"] = self._stats
        portal.routes["/metrics"] = lambda asked: (200, {}, b'# HELP x\nrequests_total{a="b"} 5\nload 7 17000\n')
        config = {
            "name": "portal",
            "timeout_s": PATIENT_S,
            "families": ["ipv4"],
            "steps": [{"name": "home", "url": portal.url()}],
            **entries,
        }
        self.baseline = Baseline()
        self.prober = Prober(
            ServiceConfig.model_validate(config),
            memory=ServiceMemory(),
            baseline=self.baseline,
            pages={},
            clock=self.clock,
            resolve=portal.resolve,
        )

    def _home(self, asked: Asked) -> Reply:
        self.clock.advance(self.seconds)
        return self.status, {}, b""

    def _stats(self, asked: Asked) -> Reply:
        return 200, {}, json.dumps({"sessions": self.sessions}).encode()

    def learn(self, metric: str, subject: str, value: float, weeks: int = 4) -> None:
        """The same hour of earlier weeks came to this."""
        for week in range(weeks, 0, -1):
            hour = hour_of(to_ns(NOW)) - week * 168
            self.baseline.add(hour, {(f"portal {subject}", metric): value + 0.01 * week})

    def kinds(self, count: int) -> list[list[str]]:
        """What so many probes, five minutes apart, have to say."""
        found = []
        for _ in range(count):
            found.append([finding.kind for finding in self.prober.probe().findings])
            self.clock.advance(60)
        return found


def test_a_service_that_grew_slow_is_told_after_so_many_of_so_many(portal: Portal) -> None:
    watched = Watched(portal)
    watched.learn("latency home", "ipv4", 0.2)
    assert watched.kinds(2) == [[], []]

    watched.seconds = 4.0

    assert watched.kinds(3) == [[], ["service.slow"], ["service.slow"]]


def test_a_slow_hour_that_is_slow_every_week_is_silent(portal: Portal) -> None:
    watched = Watched(portal)
    watched.learn("latency home", "ipv4", 4.0)
    watched.seconds = 4.4

    assert watched.kinds(3) == [[], [], []]


def test_one_slow_answer_among_quick_ones_is_silent(portal: Portal) -> None:
    watched = Watched(portal)
    watched.learn("latency home", "ipv4", 0.2)
    found = []
    for seconds in (0.2, 5.0, 0.2, 0.2, 5.0, 0.2):
        watched.seconds = seconds
        found += watched.kinds(1)

    assert found == [[]] * 6


def test_a_fixed_bound_counts_before_anything_is_usual(portal: Portal) -> None:
    steps = [{"name": "home", "url": portal.url(), "latency_max_s": 1}]
    watched = Watched(portal, steps=steps)
    watched.seconds = 2.0

    assert watched.kinds(2) == [[], ["service.slow"]]


def test_what_an_hour_came_to_is_usual_in_the_weeks_after(portal: Portal) -> None:
    watched = Watched(portal, usual={"weeks_min": 2})
    for _ in range(3):
        watched.kinds(2)
        watched.clock.advance(WEEK_S - 120)
    watched.kinds(1)
    watched.seconds = 9.0

    assert watched.kinds(2)[-1] == ["service.slow"]


def test_a_service_that_fails_now_and_then_is_told_while_it_answers(portal: Portal) -> None:
    watched = Watched(portal, confirm={"failures": 2, "of": 2, "pause_s": 1})
    found = []
    for status in (200, 200, 500, 200, 500, 200):
        watched.status = status
        # The failing attempt is followed by one that passes, within the same probe.
        watched.clock.sleep = lambda seconds, clock=watched.clock: setattr(watched, "status", 200)  # type: ignore[method-assign,misc]
        found += watched.kinds(1)

    assert found[:3] == [[], [], []]
    assert found[4] == ["service.errors"]


@pytest.mark.parametrize(
    ("sessions", "kind"), [(900.0, "service.traffic"), (3.0, "service.traffic"), (120.0, None), (80.0, None)]
)
def test_traffic_out_of_the_usual_is_told_both_ways(portal: Portal, sessions: float, kind: str | None) -> None:
    signal = {"name": "sessions", "kind": "traffic", "url": portal.url("/stats"), "json": "sessions"}
    watched = Watched(portal, signals=[signal])
    watched.learn("sessions", "signal", 100.0)
    watched.sessions = sessions

    assert watched.kinds(2)[-1] == ([kind] if kind else [])


def test_a_figure_that_cannot_be_had_is_told_and_a_counter_is_its_growth(portal: Portal) -> None:
    page = portal.url("/metrics")
    watched = Watched(
        portal,
        signals=[
            {"name": "requests", "kind": "traffic", "url": page, "metric": 'requests_total{a="b"}', "is_counter": True},
            {"name": "load", "kind": "saturation", "url": page, "metric": "load", "value_max": 5},
            {"name": "missing", "kind": "errors", "url": page, "metric": "nothing"},
        ],
    )

    assert watched.kinds(2) == [["service.unmeasured"], ["service.saturation", "service.unmeasured"]]
    values = {result.name: result.value for result in watched.prober.probe().seen.signals}
    assert values == {"requests": 0.0, "load": 7.0, "missing": None}


def test_the_span_is_the_median_and_its_deviation_whatever_one_wild_week_was() -> None:
    config = UsualConfig(deviations=3, ratio_min=1.1)

    span = span_of([10, 12, 8, 11, 900], config, is_two_sided=True)

    assert span.middle == 11
    assert span.high == pytest.approx(11 + 3 * 1.4826)
    assert span.low == pytest.approx(11 - 3 * 1.4826)


def test_a_memory_goes_through_its_file_and_a_damaged_file_is_refused(tmp_path: Path) -> None:
    memory = ServiceMemory()
    memory.outcome("ipv4", has_passed=False, of=3)
    memory.sample("ipv4", "latency home", 0.25, of=3)
    file = MemoryFile(tmp_path / "deep" / "services.json")
    assert file.read() == {}

    file.write({"portal": memory})

    assert file.read() == {"portal": memory}
    assert (tmp_path / "deep" / "services.json").stat().st_mode & 0o777 == 0o600
