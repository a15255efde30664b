"""Capture loss: the sensor did not see everything, so its silence means less.

Idea: a loss is judged over a minute, as a share of what came; a burst at start-up is not the state of a sensor, and one
packet in a thousand hides nothing. The kernel and the ring tell what they dropped.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pydantic import Field

from govsec.detect.api import Losses, Observation
from govsec.detect.judgement import Evidence, judge
from govsec.findings.api import SECOND_NS, Settings
from govsec.findings.judgement import Measure
from govsec.records import Finding, Severity

KIND = "net.capture.loss"
_HIGH = 0.1


class CaptureLossSettings(Settings):
    """Packets that were lost before they were read."""

    ratio_min: float = Field(default=0.001, gt=0, le=1, description="lost packets, as part of all, within the window")
    packets_min: int = Field(default=100, ge=1, description="lost packets within the window that are worth telling")
    window_s: int = Field(default=60, ge=1, le=3600, description="of event time")


class CaptureLoss:
    """Packets that nobody looked at."""

    name = "capture_loss"

    def __init__(self, settings: CaptureLossSettings) -> None:
        self._settings = settings
        self._begun: tuple[int, Losses] | None = None
        self._latest = Losses()
        self.cooldown_s = settings.cooldown_s

    def observe(self, observation: Observation) -> Iterator[Finding]:
        self._latest = observation.losses
        if self._begun is None:
            # What was lost before the first batch belongs to it.
            self._begun = (observation.time_ns, Losses())
        if observation.time_ns - self._begun[0] >= self._settings.window_s * SECOND_NS:
            yield from self._judge(observation.time_ns)

    def finish(self, time_ns: int) -> Iterator[Finding]:
        if self._begun is not None:
            yield from self._judge(time_ns)

    def state(self) -> Mapping[str, int]:
        return {"packets_dropped": self._latest.packets_dropped}

    def _judge(self, time_ns: int) -> Iterator[Finding]:
        assert self._begun is not None  # callers look first
        settings, (since_ns, before), now = self._settings, self._begun, self._latest
        self._begun = (time_ns, now)
        dropped = now.packets_dropped - before.packets_dropped
        received = now.packets_received - before.packets_received
        ratio = dropped / max(1, dropped + received)
        if dropped < settings.packets_min or ratio < settings.ratio_min:
            return
        yield judge(
            kind=KIND,
            detector=self.name,
            severity=Severity.HIGH if ratio >= _HIGH else Severity.MEDIUM,
            time_ns=time_ns,
            subject="sensor",
            summary=f"{dropped} of {dropped + received} packets ({ratio:.2%}) were lost before they were read, within "
            f"{(time_ns - since_ns) / SECOND_NS:.0f} s (threshold {settings.ratio_min:.2%}).",
            pattern=("packets",),
            measured={
                "lost": Measure(dropped, settings.packets_min, "packets"),
                "ratio": Measure(ratio, settings.ratio_min),
            },
            evidence=Evidence(since_ns, time_ns),
        )
