"""The engine: each pattern once a cool-down, each detector on its own, everything held back counted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pytest

from govsec.detect.api import Observation
from govsec.detect.engine import Engine
from govsec.detect.judgement import judge
from govsec.errors import FormatError
from govsec.findings.judgement import Measure
from govsec.records import Finding, Severity
from tests.detect.observations import empty_observation

HOUR_NS = 3600 * 10**9


class Scripted:
    """Tells the patterns it is given, one list a batch; an error is raised where it stands."""

    def __init__(self, name: str, *batches: list[str | Exception], cooldown_s: int = 3600) -> None:
        self.name = name
        self.cooldown_s = cooldown_s
        self._batches = list(batches)

    def observe(self, observation: Observation) -> Iterable[Finding]:
        for item in self._batches.pop(0) if self._batches else []:
            if isinstance(item, Exception):
                raise item
            yield told(self.name, item, observation.time_ns)

    def finish(self, time_ns: int) -> Iterable[Finding]:
        yield told(self.name, "end", time_ns)

    def state(self) -> Mapping[str, int]:
        return {"left": len(self._batches)}


def told(name: str, pattern: str, time_ns: int) -> Finding:
    """A finding of ``pattern``; one that ends in ``!`` is worse, and of the same pattern as without."""
    return judge(
        kind="net.test.thing",
        detector=name,
        severity=Severity.HIGH if pattern.endswith("!") else Severity.LOW,
        time_ns=time_ns,
        subject="host",
        summary="seen",
        pattern=(pattern.rstrip("!"),),
    )


def patterns(findings: Iterable[Finding]) -> list[Any]:
    return [finding.facts["pattern"] for finding in findings]


def test_a_pattern_is_told_once_a_cooldown_and_then_says_what_was_held_back() -> None:
    engine = Engine([Scripted("a", ["x"], ["x", "y"], ["x"], cooldown_s=3600)])

    first = engine.observe(empty_observation(0))
    second = engine.observe(empty_observation(HOUR_NS - 1000))
    third = engine.observe(empty_observation(HOUR_NS))

    assert patterns(first) == ["net.test.thing|x"]
    assert patterns(second) == ["net.test.thing|y"]
    assert patterns(third) == ["net.test.thing|x"]
    assert third[0].facts["repeats_held_back"] == 1
    assert engine.counters()["held_back"] == {"net.test.thing": 1}
    assert engine.counters()["engine"]["findings"] == 3


def test_findings_of_a_batch_come_by_time_kind_and_pattern() -> None:
    engine = Engine([Scripted("b", ["z", "m"]), Scripted("a", ["c"])])

    assert patterns(engine.observe(empty_observation(5))) == [f"net.test.thing|{name}" for name in "cmz"]


def test_a_detector_that_fails_keeps_what_it_was_sure_of_and_the_others_go_on() -> None:
    engine = Engine([Scripted("bad", ["sure", FormatError("torn"), "never"]), Scripted("good", ["fine"])])

    found = engine.observe(empty_observation(7))

    assert sorted(patterns(found)) == [
        "net.sensor.degraded|detector|bad|failed",
        "net.test.thing|fine",
        "net.test.thing|sure",
    ]
    failed = next(finding for finding in found if finding.kind == "net.sensor.degraded")
    assert failed.facts["failed"] == "bad"
    assert "torn" in failed.summary


def test_a_detector_that_fails_again_and_again_is_stopped_and_that_is_told() -> None:
    engine = Engine([Scripted("bad", *[[FormatError("torn")]] * 9), Scripted("good", [], [], [], ["fine"])])

    found = [finding for time in range(4) for finding in engine.observe(empty_observation(time * 1000))]

    assert patterns(found)[-2:] == ["net.sensor.degraded|detector|bad|stopped", "net.test.thing|fine"]
    assert engine.counters()["engine"]["detectors_stopped"] == 1
    assert engine.counters()["bad"] == {"left": 6}
    assert patterns(engine.finish(9000)) == ["net.test.thing|end"]


def test_a_bug_in_a_detector_is_not_hidden() -> None:
    engine = Engine([Scripted("bad", [ZeroDivisionError("a bug")])])

    with pytest.raises(ZeroDivisionError):
        engine.observe(empty_observation(0))


def test_a_storm_of_findings_is_cut_and_counted() -> None:
    engine = Engine([Scripted("a", [f"{number:02}" for number in range(20)])], findings_max=5)

    assert len(engine.observe(empty_observation(0))) == 5
    assert engine.counters()["engine"]["cut"] == 15


def test_a_finding_lists_a_bounded_number_of_hosts_and_says_how_many_there_were() -> None:
    finding = judge(
        kind="net.test.thing",
        detector="a",
        severity=Severity.LOW,
        time_ns=1_500_000_000,
        subject="host",
        summary="seen",
        pattern=("x", 1),
        originators=[f"h{number % 40}" for number in range(100)],
        measured={"rate": Measure(1 / 3, 0.25, "1/s"), "count": Measure(np.int64(7), 5)},
    )

    assert len(finding.facts["originators"]) == 16  # type: ignore[arg-type]
    assert finding.facts["originators_count"] == 40
    assert finding.facts["measured"] == {
        "rate": {"value": 0.333, "threshold": 0.25, "unit": "1/s"},
        "count": {"value": 7, "threshold": 5},
    }
    assert finding.facts["pattern"] == "net.test.thing|x|1"
    assert finding.time.microsecond == 500_000


def test_what_became_worse_is_told_though_its_pattern_was_told_just_now() -> None:
    engine = Engine([Scripted("a", ["x"], ["x!"], ["x!", "x"])])

    severities = [
        [finding.severity for finding in engine.observe(empty_observation(HOUR_NS + number))] for number in range(3)
    ]
    assert severities == [[Severity.LOW], [Severity.HIGH], []]


def test_a_batch_that_is_cut_keeps_the_worst_and_what_was_cut_may_come_again() -> None:
    noise = [f"n{number:02}" for number in range(20)]
    engine = Engine([Scripted("a", [*noise, "worst!"], noise)], findings_max=5)

    first = engine.observe(empty_observation(HOUR_NS))
    assert len(first) == 5
    assert Severity.HIGH in {finding.severity for finding in first}
    assert engine.counters()["engine"]["cut"] == 16
    second = engine.observe(empty_observation(HOUR_NS + 1))
    assert len(second) == 5
    assert not set(patterns(first)) & set(patterns(second))
