"""One form for every finding: which numbers against which thresholds, which technique, which pattern.

``facts`` of a finding (all lists are bounded, and say how many there were)::

    detector      name of the detector, as in the configuration
    attack        technique ids of MITRE ATT&CK
    measured      {name: {value, threshold, unit}}: what was seen, and what it was held against
    pattern       stable key of what a person would dismiss: not this moment, but this behaviour

Rooms add what they know: hosts and flows, or processes and files. Texts of a machine may hold bytes that are no text;
:func:`clean` writes them as escapes, for a finding must have a canonical form.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from govsec.clock import from_ns
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
    measured: Mapping[str, Measure] | None = None,
    facts: Mapping[str, JsonValue] | None = None,
) -> Finding:
    """A finding in the common form; ``pattern`` is joined behind the kind. ``facts`` come in between, as they are."""
    measures: dict[str, JsonValue] = {name: measure.canonical() for name, measure in (measured or {}).items()}
    return Finding(
        kind=kind,
        severity=severity,
        time=from_ns(time_ns),
        subject=clean(subject)[:500] or "unknown",
        summary=clean(summary)[:2000],
        facts={
            "detector": detector,
            "attack": list(attack),
            **(facts or {}),
            "measured": measures,
            "pattern": clean("|".join([kind, *(str(part) for part in pattern)])),
        },
    )


def pattern_of(finding: Finding) -> str:
    """The stable key of the behaviour that a detector's finding is about."""
    return str(finding.facts["pattern"])


def put_list(facts: dict[str, JsonValue], name: str, values: Iterable[str | int]) -> None:
    """``values`` into ``facts``, each once, in their order, bounded; nothing when there are none."""
    different: list[JsonValue] = []
    different.extend(dict.fromkeys(values))
    if not different:
        return
    facts[name] = list(different[:LISTED_MAX])
    if len(different) > LISTED_MAX:
        facts[f"{name}_count"] = len(different)


def clean(text: str) -> str:
    """``text`` with what UTF-8 cannot hold (names and lines of a machine are bytes) written as escapes."""
    if text.isascii():
        return text
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _rounded(value: float) -> float | int:
    rounded = round(float(value), 3)
    return int(rounded) if rounded.is_integer() else rounded
