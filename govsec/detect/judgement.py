"""One form for every detector's findings: which hosts, which numbers against which thresholds, which technique.

``facts`` of a finding (all lists are bounded, and say how many there were)::

    detector      name of the detector, as in the configuration
    attack        technique ids of MITRE ATT&CK
    originators, responders, ports     who did it to whom; *_count where there were more than are listed
    measured      {name: {value, threshold, unit}}: what was seen, and what it was held against
    first, last   first and last packet that counts for it
    flows         community ids of flows to look at
    pattern       stable key of what a person would dismiss: not this moment, but this behaviour of these hosts
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from govsec.clock import format_time, from_ns
from govsec.records import Finding, Severity

#: What a person reads in one finding; the count beside it says when there is more.
LISTED_MAX = 16


@dataclass(frozen=True, slots=True)
class Measure:
    """A number that was seen, and the threshold it was held against."""

    value: float
    threshold: float | None = None
    unit: str = ""

    def canonical(self) -> dict[str, JsonValue]:
        """Rounded to what a person reads, so that the last bits of a division do not show."""
        fact: dict[str, JsonValue] = {"value": _rounded(self.value)}
        if self.threshold is not None:
            fact["threshold"] = _rounded(self.threshold)
        if self.unit:
            fact["unit"] = self.unit
        return fact


@dataclass(frozen=True, slots=True)
class Evidence:
    """The part of a finding that comes from packets: between which moments, on which flows."""

    first_ns: int
    last_ns: int
    flows: Sequence[str] = ()


def judge(
    *,
    kind: str,
    detector: str,
    severity: Severity,
    time_ns: int,
    subject: str,
    summary: str,
    pattern: Sequence[str | int],
    attack: Sequence[str] = (),
    originators: Iterable[str] = (),
    responders: Iterable[str] = (),
    ports: Iterable[int] = (),
    measured: Mapping[str, Measure] | None = None,
    evidence: Evidence | None = None,
    facts: Mapping[str, JsonValue] | None = None,
) -> Finding:
    """A finding in the common form; ``pattern`` is joined behind the kind. Orders are kept, repeats are not."""
    common: dict[str, JsonValue] = {"detector": detector, "attack": list(attack)}
    for name, values in (("originators", originators), ("responders", responders), ("ports", ports)):
        _list(common, name, values)
    measures: dict[str, JsonValue] = {name: measure.canonical() for name, measure in (measured or {}).items()}
    common["measured"] = measures
    if evidence is not None:
        common["first"] = format_time(from_ns(evidence.first_ns))
        common["last"] = format_time(from_ns(evidence.last_ns))
        _list(common, "flows", evidence.flows)
    common["pattern"] = "|".join([kind, *(str(part) for part in pattern)])
    return Finding(
        kind=kind,
        severity=severity,
        time=from_ns(time_ns),
        subject=subject[:500],
        summary=summary[:2000],
        facts={**common, **(facts or {})},
    )


def is_address(host: str) -> bool:
    """False for hosts that are known by their card alone."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def pattern_of(finding: Finding) -> str:
    """The stable key of the behaviour that a detector's finding is about."""
    return str(finding.facts["pattern"])


def _list(facts: dict[str, JsonValue], name: str, values: Iterable[str | int]) -> None:
    different: list[JsonValue] = []
    different.extend(dict.fromkeys(values))
    if not different:
        return
    facts[name] = list(different[:LISTED_MAX])
    if len(different) > LISTED_MAX:
        facts[f"{name}_count"] = len(different)


def _rounded(value: float) -> float | int:
    rounded = round(float(value), 3)
    return int(rounded) if rounded == int(rounded) else rounded
