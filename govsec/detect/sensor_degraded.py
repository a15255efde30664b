"""A sensor that works with less than it should: flows not kept under flood, rows evicted, conversations not read.

Idea: what is left out is counted where it happens; here it is told once a person can act on it, with what it means.
Detectors that work on packet columns (floods) do not depend on flows and go on; those that work on flows see a part.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pydantic import Field

from govsec.detect.api import Losses, Observation
from govsec.detect.judgement import Evidence, judge
from govsec.findings.api import SECOND_NS, Settings
from govsec.findings.judgement import Measure
from govsec.records import Finding, Severity

KIND = "net.sensor.degraded"


class SensorDegradedSettings(Settings):
    """When leaving out is worth telling."""

    evicted_min: int = Field(default=1000, ge=1, description="flows put out of a full table within the window")
    cut_min: int = Field(
        default=10_000, ge=1, description="pieces of conversations that were not read within the window"
    )
    window_s: int = Field(default=60, ge=1, le=3600, description="of event time")


class SensorDegraded:
    """The sensor's own limits, where they were met."""

    name = "sensor_degraded"

    def __init__(self, settings: SensorDegradedSettings) -> None:
        self._settings = settings
        self._begun: tuple[int, Losses] | None = None
        self._latest = Losses()
        self._is_degraded = False
        self.cooldown_s = settings.cooldown_s

    def observe(self, observation: Observation) -> Iterator[Finding]:
        self._latest = observation.losses
        if self._begun is None:
            self._begun = (observation.time_ns, Losses())
        flows = observation.flows
        if flows.degraded and not self._is_degraded:
            packets = flows.sketch.packets if flows.sketch is not None else 0
            yield self._flood(observation.time_ns, packets, observation.losses.flows_evicted)
        self._is_degraded = flows.degraded
        if observation.time_ns - self._begun[0] >= self._settings.window_s * SECOND_NS:
            yield from self._judge(observation.time_ns)

    def finish(self, time_ns: int) -> Iterator[Finding]:
        if self._begun is not None:
            yield from self._judge(time_ns)

    def state(self) -> Mapping[str, int]:
        return {"flows_evicted": self._latest.flows_evicted, "messages_cut": self._latest.messages_cut}

    def _flood(self, time_ns: int, packets: int, evicted: int) -> Finding:
        return judge(
            kind=KIND,
            detector=self.name,
            severity=Severity.MEDIUM,
            time_ns=time_ns,
            subject="sensor",
            summary=f"New flows come faster than they are kept ({packets} packets of none, {evicted} flows evicted); "
            "rates are still counted, detectors of flows see a part.",
            pattern=("flows",),
            measured={"packets_of_no_flow": Measure(packets), "flows_evicted": Measure(evicted)},
            evidence=Evidence(time_ns, time_ns),
            facts={"reason": "too_many_flows"},
        )

    def _judge(self, time_ns: int) -> Iterator[Finding]:
        assert self._begun is not None  # callers look first
        settings, (since_ns, before), now = self._settings, self._begun, self._latest
        self._begun = (time_ns, now)
        for name, count, threshold, what in (
            ("flows_evicted", now.flows_evicted - before.flows_evicted, settings.evicted_min, "flows were evicted"),
            ("messages_cut", now.messages_cut - before.messages_cut, settings.cut_min, "pieces of talk were not read"),
            (
                "batches_not_dissected",
                now.batches_not_dissected - before.batches_not_dissected,
                1,
                "batches passed without their talk being read, so that no packet was lost",
            ),
        ):
            if count >= threshold:
                yield judge(
                    kind=KIND,
                    detector=self.name,
                    severity=Severity.MEDIUM,
                    time_ns=time_ns,
                    subject="sensor",
                    summary=f"{count} {what} within {(time_ns - since_ns) / SECOND_NS:.0f} s (threshold {threshold}).",
                    pattern=(name,),
                    measured={name: Measure(count, threshold)},
                    evidence=Evidence(since_ns, time_ns),
                    facts={"reason": name},
                )
