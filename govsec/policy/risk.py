"""Risk assessment (风险评估) of one system: what could happen, how likely, how bad, and why each number is what it is.

Built from what is known already: the register gives the worth of the system, verdicts and vulnerabilities its
weaknesses, incidents the frequency of threats, conforming lines the measures that exist. For each threat::

    likelihood = √(threat × weakness)      loss = √(asset × weakness)      risk = likelihood × loss

Every number carries the reasons that made it, so that a reader can count again by hand. What nobody looked at is
assumed weak and marked; it never lowers a risk. Somebody who accepts a risk does so by a signed statement with an end
(:mod:`govsec.policy.attest`), up to a level; when the risk grows beyond it, the acceptance no longer holds.

Pure. Source: the method's data file (:mod:`govsec.policy.riskmethod`), which follows GB/T 20984.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from pydantic import JsonValue

from govsec.datafile import Text
from govsec.policy.attest import Acceptance, Record, Standing
from govsec.policy.results import Verdict
from govsec.policy.riskmethod import Method, Threat
from govsec.policy.riskreport import AcceptanceRow, Reason, RiskReport, RiskRow
from govsec.register.register import System
from govsec.register.words import fill

#: Incidents of this long count.
INCIDENT_DAYS = 365
_EXAMPLES_MAX = 5
_GRADE_MAX = 5


@dataclass(frozen=True, slots=True)
class JudgedItem:
    """A requirement line and what was found of it."""

    id: str
    key: str
    verdict: Verdict
    #: Numbers of the open high-risk cases that it brings up.
    high_risk: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Vulnerability:
    """A known flaw that is not mended."""

    id: str
    severity: Literal["low", "medium", "high", "critical"]
    object: str = ""


@dataclass(frozen=True, slots=True)
class PastIncident:
    """An incident, or a finding that stands for one, by its dotted kind."""

    kind: str
    time: datetime


@dataclass(frozen=True, slots=True)
class RiskInput:
    """Everything that is known of one system."""

    system: System
    now: datetime
    items: tuple[JudgedItem, ...] = ()
    vulnerabilities: tuple[Vulnerability, ...] = ()
    incidents: tuple[PastIncident, ...] = ()
    acceptances: tuple[Record, ...] = ()


def assess_risk(known: RiskInput, method: Method) -> RiskReport:
    """The risks of the system, highest first; equal ones in the method's order."""
    rows = [_row(known, method, threat) for threat in method.threats]
    order = sorted(range(len(rows)), key=lambda position: (-rows[position].value, position))
    return RiskReport(
        system=known.system.name,
        time=known.now,
        method=method.id,
        method_sha256=method.sha256,
        method_status=method.status,
        numbers_status=method.numbers_status,
        rows=tuple(rows[position] for position in order),
    )


def _row(known: RiskInput, method: Method, threat: Threat) -> RiskRow:
    asset = _decided("asset", method, list(_asset(known, method)))
    frequency = _decided("threat", method, list(_frequency(known, method, threat)))
    weakness = _decided("weakness", method, list(_weakness(known, method, threat)))
    measures = _measures(known, method, threat, _value(weakness))
    severity = max(1, _value(weakness) - (measures.value if measures else 0))
    likelihood = math.sqrt(_value(frequency) * severity)
    loss = math.sqrt(_value(asset) * severity)
    value = round(likelihood * loss, 2)
    level = method.level_of(value)
    reasons = (*asset, *frequency, *weakness, *((measures,) if measures else ()))
    return RiskRow(
        threat=threat.id,
        title=Text(zh=threat.zh, en=threat.en),
        asset=_value(asset),
        frequency=_value(frequency),
        weakness=severity,
        likelihood=round(likelihood, 2),
        loss=round(loss, 2),
        value=value,
        level=level.level,
        level_title=Text(zh=level.zh, en=level.en),
        reasons=reasons,
        is_assumed=any(reason.code in _ASSUMED and reason.decides for reason in reasons),
        is_treated=level.level >= method.treated_from_level,
        acceptance=_acceptance(known, threat, level.level),
    )


@dataclass(frozen=True, slots=True)
class _Count:
    """A candidate for a number: the highest of its term decides."""

    code: str
    value: int
    facts: Mapping[str, JsonValue]


_ASSUMED = frozenset({"asset.unknown", "weakness.undecided", "weakness.nothing_asked"})


def _asset(known: RiskInput, method: Method) -> Iterator[_Count]:
    entry, rules = known.system.entry, method.asset
    level = entry.system_level
    if level is None:
        yield _Count("asset.unknown", rules.unknown, {})
    else:
        yield _Count("asset.system_level", rules.system_level[level], {"level": level})
    for data in entry.data:
        facts: dict[str, JsonValue] = {"data": data.name, "data_level": data.level.value}
        yield _Count("asset.data_level", rules.data_level[data.level], facts)
    if entry.critical_infrastructure:
        yield _Count("asset.critical_infrastructure", rules.critical_infrastructure, {})
    if entry.high_availability:
        yield _Count("asset.high_availability", rules.high_availability, {})
    persons = sum(data.personal_count for data in entry.data)
    if reached := [value for count, value in rules.personal_count.items() if persons >= count]:
        yield _Count("asset.personal_count", max(reached), {"persons": persons})


def _frequency(known: RiskInput, method: Method, threat: Threat) -> Iterator[_Count]:
    yield _Count("threat.frequency", threat.frequency, {})
    if known.system.entry.internet and threat.internet:
        yield _Count("threat.internet", min(_GRADE_MAX, threat.frequency + threat.internet), {})
    since = known.now - timedelta(days=INCIDENT_DAYS)
    recent = [one for one in known.incidents if since <= one.time <= known.now]
    count = sum(one.kind.startswith(threat.incidents) for one in recent)
    if reached := [value for least, value in method.frequency.incidents.items() if count >= least]:
        yield _Count("threat.incidents", max(reached), {"count": count})


def _weakness(known: RiskInput, method: Method, threat: Threat) -> Iterator[_Count]:
    rules = method.weakness
    asked = _asked(known, threat)
    if not asked:
        yield _Count("weakness.nothing_asked", rules.undecided, {})
    grades = {
        Verdict.NOT_CONFORM: rules.not_conform,
        Verdict.PARTIAL: rules.partial,
        Verdict.UNDECIDED: rules.undecided,
    }
    for verdict, grade in grades.items():
        if items := [item.id for item in asked if item.verdict is verdict]:
            yield _Count(f"weakness.{verdict.value}", grade, {"items": _few(items)})
    if cases := sorted({case for item in asked for case in item.high_risk}):
        yield _Count("weakness.high_risk", rules.high_risk, {"cases": _few(cases)})
    # Flaws of software are what GEN-CES-4-e asks to mend: they let in what that line keeps out.
    if known.vulnerabilities and threat.is_let_in_by("GEN-CES-4-e"):
        worst = max(known.vulnerabilities, key=lambda one: rules.vulnerability[one.severity])
        grade = rules.vulnerability[worst.severity]
        examples = sorted({one.id for one in known.vulnerabilities if one.severity == worst.severity})
        facts: dict[str, JsonValue] = {"count": len(known.vulnerabilities), "severity": worst.severity}
        yield _Count("weakness.vulnerability", grade, {**facts, "examples": _few(examples)})
    if asked and all(item.verdict is Verdict.CONFORM for item in asked):
        yield _Count("weakness.none", rules.none, {})


def _measures(known: RiskInput, method: Method, threat: Threat, weakness: int) -> Reason | None:
    """What conforming lines take off the severity; None where none was asked."""
    asked = _asked(known, threat)
    if not asked:
        return None
    conform = sum(item.verdict is Verdict.CONFORM for item in asked)
    share = 100 * conform / len(asked)
    takes = max((step.takes for step in method.measures.steps if share >= step.share_percent_min), default=0)
    if weakness > method.measures.applies_up_to:
        takes = 0  # an open door is open, however well the others are locked
    text = _text(method, "measures.share", {"conform": conform, "asked": len(asked)})
    return Reason(term="measures", code="measures.share", value=takes, decides=takes > 0, text=text)


def _asked(known: RiskInput, threat: Threat) -> list[JudgedItem]:
    return [
        item for item in known.items if item.verdict is not Verdict.NOT_APPLICABLE and threat.is_let_in_by(item.key)
    ]


def _decided(term: str, method: Method, counts: Sequence[_Count]) -> list[Reason]:
    highest = max(count.value for count in counts)
    return [
        Reason(
            term=term,
            code=count.code,
            value=count.value,
            decides=count.value == highest,
            text=_text(method, count.code, count.facts),
        )
        for count in counts
    ]


def _value(reasons: Sequence[Reason]) -> int:
    return max(reason.value for reason in reasons)


def _text(method: Method, code: str, facts: Mapping[str, JsonValue]) -> Text:
    return fill(method.words[code], facts)


def _few(names: Sequence[str]) -> str:
    more = len(names) - _EXAMPLES_MAX
    return ", ".join(names[:_EXAMPLES_MAX]) + (f" (+{more})" if more > 0 else "")


def _acceptance(known: RiskInput, threat: Threat, level: int) -> AcceptanceRow | None:
    """The newest acceptance that covers the risk at its level today."""
    fitting = [
        (record, record.statement)
        for record in known.acceptances
        if isinstance(record.statement, Acceptance)
        and record.statement.system == known.system.name
        and record.statement.risk == threat.id
        and record.statement.level_max >= level
        and record.standing(known.now) is Standing.VALID
    ]
    if not fitting:
        return None
    record, statement = max(fitting, key=lambda pair: pair[1].made)
    return AcceptanceRow(
        id=record.id,
        owner=statement.by,
        approver=record.approver or "",
        made=statement.made,
        valid_until=statement.valid_until,
        level_max=statement.level_max,
        reason=statement.reason,
    )
