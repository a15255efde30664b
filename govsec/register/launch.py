"""The launch gate: may a system go into service, and what is missing if not.

Pure: everything that is known stands in a :class:`LaunchRequest`, and every reason against the launch is named, not
only the first. What could not be looked at is missing: an assessment whose record does not verify, or a drill that
nobody verified, opens no gate. Figures and their sources: ``policies/register/launch.yaml``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cache
from typing import Literal

from pydantic import Field, JsonValue, TypeAdapter

from govsec.config import Model
from govsec.datafile import FigureStatus, Text
from govsec.register.duedates import findings, lacking, today_of
from govsec.register.grading import GradingRules
from govsec.register.register import Register, System
from govsec.register.words import say
from govsec.registerentry import Stage
from govsec.shipped import read_table, shipped

#: Findings on the register that close the gate; a certificate that runs out does not.
_CLOSING = frozenset({"register.platform_below", "register.platform_unknown", "register.data_without_backup",
                      "register.backup_job_unknown", "register.date_in_future"})  # fmt: skip
#: From this level on the cryptography of a system is assessed before it runs.
_CRYPTOGRAPHY_LEVEL = 3


@dataclass(frozen=True, slots=True)
class LaunchAssessment:
    """The newest self-assessment of the system."""

    id: str
    time: datetime
    s: int
    a: int
    level: int
    scopes: tuple[str, ...]
    #: None where too little was decided for one.
    rate_percent: float | None
    #: Share of the applicable items that were decided.
    coverage_percent: float
    #: Numbers of high-risk cases that are open.
    high_risk: tuple[str, ...] = ()
    #: Hosts of the register of which it has no facts.
    silent_hosts: tuple[str, ...] = ()
    #: The register named no hosts when it ran, so nobody knows whether it looked at all of the system.
    is_unlisted: bool = False
    #: Its record was verified against the ledger.
    is_verified: bool = False


@dataclass(frozen=True, slots=True)
class LaunchDrill:
    """One restore drill."""

    plan: str
    time: datetime
    verdict: Literal["pass", "partial", "fail"]
    is_content_verified: bool
    #: The plan is today what it was then.
    is_plan_current: bool


@dataclass(frozen=True, slots=True)
class LaunchRequest:
    """What is known of a system that is to go into service at ``now``."""

    system: System
    register: Register
    now: datetime
    assessment: LaunchAssessment | None = None
    drills: tuple[LaunchDrill, ...] = ()


@dataclass(frozen=True, slots=True)
class Missing:
    """One reason against the launch: a stable code, its facts and the words for people."""

    code: str
    facts: Mapping[str, JsonValue]
    text: Text


@dataclass(frozen=True, slots=True)
class LaunchDecision:
    """Whether the gate opens."""

    system: str
    time: datetime
    missing: tuple[Missing, ...]
    #: What does not close the gate and should be done.
    advice: tuple[Missing, ...] = ()

    @property
    def is_allowed(self) -> bool:
        """True when nothing is missing."""
        return not self.missing


class _Figure(Model):
    value: int = Field(ge=0)
    source: Text
    status: FigureStatus


class LaunchRules(Model):
    """The figures of the gate."""

    version: int = Field(ge=1, le=1)
    assessment_age_days_max: _Figure
    rate_percent_min: _Figure
    coverage_percent_min: _Figure
    drill_age_days_max: _Figure
    training_age_days_max: _Figure
    plan_age_days_max: _Figure


@cache
def launch_rules() -> LaunchRules:
    """The rules that came with govsec.

    Raises:
        ConfigurationError: the file is damaged.
    """
    return read_table(shipped("register").joinpath("launch.yaml"), TypeAdapter(LaunchRules))


def decide(request: LaunchRequest) -> LaunchDecision:
    """Whether the system may go into service, with everything that is missing."""
    missing = [*_registered(request), *_assessed(request), *_drilled(request), *_prepared(request)]
    advice = []
    level = request.system.entry.system_level or 0
    if level >= _CRYPTOGRAPHY_LEVEL and request.system.entry.cryptography_assessed is None:
        advice.append(_missing("launch.cryptography"))
    return LaunchDecision(request.system.name, request.now, tuple(missing), tuple(advice))


def _registered(request: LaunchRequest) -> Iterator[Missing]:
    system, entry = request.system, request.system.entry
    if entry.stage is Stage.RETIRED:
        yield _missing("launch.retired")
    if fields := lacking(system):
        yield _missing("launch.register", fields=list(fields))
    level = entry.system_level
    if level and level >= GradingRules.load().filing.filed_from_level and not (entry.filing and entry.filing.number):
        yield _missing("launch.filing", level=level)
    for finding in findings(Register(systems=_with(request)), request.now):
        if finding.subject == system.name and finding.kind in _CLOSING:
            yield Missing(finding.kind, finding.facts, say(finding.kind, finding.facts))


def _assessed(request: LaunchRequest) -> Iterator[Missing]:
    entry, assessment = request.system.entry, request.assessment
    days, level = launch_rules().assessment_age_days_max.value, entry.system_level or 0
    licensed = entry.assessment.held if entry.assessment is not None else None
    if licensed is not None and _is_recent(licensed, request, days):
        # A licensed body has looked, and its report is not judged here; what turned up since then is.
        if assessment is not None and assessment.high_risk and today_of(assessment.time) > licensed:
            yield _missing("launch.high_risk", cases=list(assessment.high_risk))
        return
    if (
        assessment is None
        or not _is_recent(today_of(assessment.time), request, days)
        or assessment.level < level
        or assessment.s < (entry.s or level)
        or assessment.a < (entry.a or level)
    ):
        yield _missing("launch.not_assessed", days=days, level=level)
        return
    yield from _judged(request, assessment)


def _judged(request: LaunchRequest, assessment: LaunchAssessment) -> Iterator[Missing]:
    """What a self-assessment of the right level and age does not show."""
    rules, named = launch_rules(), {"id": assessment.id}
    rate_min, coverage_min = rules.rate_percent_min.value, rules.coverage_percent_min.value
    if not assessment.is_verified:
        yield _missing("launch.assessment_flawed", **named)
    if narrow := sorted({"general", *(scope.value for scope in request.system.entry.scopes)} - set(assessment.scopes)):
        yield _missing("launch.assessment_narrow", **named, scopes=list(narrow))
    if assessment.is_unlisted:
        yield _missing("launch.assessment_unlisted", **named)
    if assessment.silent_hosts:
        yield _missing("launch.assessment_hosts", **named, hosts=list(assessment.silent_hosts))
    if assessment.coverage_percent < coverage_min:
        share = round(assessment.coverage_percent, 1)
        yield _missing("launch.assessment_coverage", **named, coverage_percent=share, coverage_percent_min=coverage_min)
    if assessment.rate_percent is None:
        yield _missing("launch.assessment_no_rate", **named)
    elif assessment.rate_percent < rate_min:
        rate = round(assessment.rate_percent, 1)
        yield _missing("launch.assessment_low", **named, rate_percent=rate, rate_percent_min=rate_min)
    if assessment.high_risk:
        yield _missing("launch.high_risk", **named, cases=list(assessment.high_risk))


def _drilled(request: LaunchRequest) -> Iterator[Missing]:
    days = launch_rules().drill_age_days_max.value
    since = request.now - timedelta(days=days)
    recent = [drill for drill in request.drills if since <= drill.time <= request.now]
    if not recent:
        yield _missing("launch.not_drilled", days=days)
        return
    good = [drill for drill in recent if drill.verdict == "pass" and drill.is_content_verified]
    if not good:
        yield _missing("launch.drill_not_passed", days=days)
    elif not any(drill.is_plan_current for drill in good):
        yield _missing("launch.drill_plan_changed", plan=max(good, key=lambda drill: drill.time).plan)


def _prepared(request: LaunchRequest) -> Iterator[Missing]:
    entry, rules = request.system.entry, launch_rules()
    if entry.trained is None or not _is_recent(entry.trained, request, rules.training_age_days_max.value):
        yield _missing("launch.not_trained", days=rules.training_age_days_max.value)
    days = rules.plan_age_days_max.value
    if entry.plan is None:
        yield _missing("launch.no_plan")
    elif not _is_recent(entry.plan.reviewed, request, days):
        yield _missing("launch.plan_old", last=entry.plan.reviewed.isoformat(), days=days)


def _is_recent(day: date, request: LaunchRequest, days: int) -> bool:
    # A day that has not come yet is no proof that something was done.
    return timedelta(0) <= today_of(request.now) - day <= timedelta(days=days)


def _with(request: LaunchRequest) -> tuple[System, ...]:
    """The register with this system as the request has it."""
    others = [system for system in request.register.systems if system.name != request.system.name]
    return (*others, request.system)


def _missing(code: str, **facts: JsonValue) -> Missing:
    return Missing(code, facts, say(code, facts))
