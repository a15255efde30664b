"""A baseline that is not what people signed (ATT&CK T1562, T1565.001): altered, swapped, or half of it gone.

Idea: who changed the machine has a reason to change what it is compared with. A baseline whose signature does not hold
is not used; that it lies there is the finding. Nothing drifts until people accept a new one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from govsec.findings.api import Settings
from govsec.guard.api import BaselineRefused, Observation
from govsec.guard.forms import tell
from govsec.records import Finding, Severity

KIND = "host.tamper.baseline"


class BaselineRefusedSettings(Settings):
    """The guard's own baseline. There is nothing to set but the cool-down."""


class RefusedBaseline:
    """Tells that the baseline could not be trusted."""

    name = "baseline_refused"

    def __init__(self, settings: BaselineRefusedSettings) -> None:
        self.cooldown_s = settings.cooldown_s

    def observe(self, observation: Observation) -> Iterator[Finding]:
        for record in observation.records:
            if isinstance(record, BaselineRefused):
                yield tell(
                    kind=KIND,
                    detector=self.name,
                    severity=Severity.CRITICAL,
                    time_ns=record.time_ns,
                    subject="baseline",
                    summary=f"The baseline of this host was refused: {record.reason}. Drift is not judged.",
                    pattern=("baseline",),
                    attack=("T1562", "T1565.001"),
                    facts={"cause": record.reason},
                )

    def finish(self, time_ns: int) -> Iterator[Finding]:
        yield from ()

    def state(self) -> Mapping[str, int]:
        return {}
