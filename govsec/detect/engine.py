"""The engine of the network's detectors: the one of all judges (:mod:`govsec.findings.engine`), and packets counted."""

from __future__ import annotations

from collections.abc import Sequence

from govsec.detect.api import Detector, Observation
from govsec.findings.engine import Engine as AnyEngine
from govsec.findings.quiet import Quiet
from govsec.records import Finding

DEGRADED = "net.sensor.degraded"


class Engine(AnyEngine[Observation]):
    """The detectors of one network sensor."""

    counted = ("batches", "packets", "findings", "held_back", "cut")

    def __init__(self, detectors: Sequence[Detector], *, quiet: Quiet | None = None, findings_max: int = 1_000) -> None:
        super().__init__(detectors, degraded_kind=DEGRADED, quiet=quiet, findings_max=findings_max)

    def observe(self, observation: Observation, /) -> tuple[Finding, ...]:
        self._counts["packets"] += len(observation.packets)
        return super().observe(observation)
