"""Findings on the register: what ends, what is overdue, what does not fit together.

Pure: a register and a moment in, findings out, the same for the same input. Figures (how long a certificate holds, how
often a level is assessed) come from ``policies/gbt22240-2020`` and carry their status into the finding; sentences for
people come from :mod:`govsec.register.words` by the finding's kind. Days are those of the calendar in China.

Retired systems are left alone; planned ones are only held to what must be true before they run.
"""

from __future__ import annotations

import calendar
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from enum import StrEnum

from pydantic import JsonValue

from govsec.datafile import FigureStatus
from govsec.records import Finding, Severity
from govsec.register.grading import GradingRules
from govsec.register.register import Register, System
from govsec.register.words import say
from govsec.registerentry import DataClass, DataLevel, Filing, LastAssessment, Stage

#: How long before it is due something is told; certificates have a term of their own.
DUE_DAYS = 30
#: A running system that nobody and nothing saw for so long is a zombie (僵尸系统).
ZOMBIE_DAYS = 90
_CHINA = timezone(timedelta(hours=8))


class DueKind(StrEnum):
    """What has a date by which it must be done anew."""

    CERTIFICATE = "certificate"
    ASSESSMENT = "assessment"
    TRAINING = "training"
    PLAN = "plan"


@dataclass(frozen=True, slots=True)
class Due:
    """A date of one system. ``until`` is the last good day; None where what it counts from was never done."""

    kind: DueKind
    last: date | None
    until: date | None
    #: From this day on it is told.
    told_from: date | None
    status: FigureStatus


def today_of(now: datetime) -> date:
    """The day that a moment is in China."""
    return now.astimezone(_CHINA).date()


def add_months(day: date, months: int) -> date:
    """The same day ``months`` later, or the last one of that month."""
    years, month = divmod(day.month - 1 + months, 12)
    year, month = day.year + years, month + 1
    return date(year, month, min(day.day, calendar.monthrange(year, month)[1]))


def certificate_end(filing: Filing, assessment: LastAssessment | None) -> date | None:
    """The last day of a certificate of filing: as printed, or counted from its issue.

    Three years, and one more when an assessment was passed within them; certificates issued before 2025 are counted
    from its first day. None when neither day is known.
    """
    rules = GradingRules.load().filing
    if filing.valid_until is not None:
        return filing.valid_until
    if filing.issued is None:
        return None
    start = max(filing.issued, rules.certificates_count_from)
    end = add_months(start, 12 * rules.certificate_valid_years)
    if assessment is not None and start <= assessment.held <= end:
        end = add_months(end, 12 * rules.assessment_adds_years)
    return end


def due_dates(system: System) -> tuple[Due, ...]:
    """Every date that the register's rules set for a running system of a known level."""
    entry, rules = system.entry, GradingRules.load()
    level = entry.system_level
    if entry.stage is not Stage.RUNNING or level is None:
        return ()
    found: list[Due] = []
    if level >= rules.filing.filed_from_level:
        filing = entry.filing or Filing()
        end = certificate_end(filing, entry.assessment) if filing.number else None
        told = add_months(end, -rules.filing.renew_before_months) if end else None
        found.append(Due(DueKind.CERTIFICATE, filing.issued, end, told, rules.filing.status))
    # What level 4 is held to, level 5 is held to at least.
    rule = next((rule for rule in rules.assessment if rule.level == min(level, 4)), None)
    if rule is not None:
        held = entry.assessment.held if entry.assessment else None
        found.append(_due(DueKind.ASSESSMENT, held, rule.interval_months, rule.status))
    reviews = {review.id: review for review in rules.reviews}
    for kind, last, name in (
        (DueKind.TRAINING, entry.trained, "training"),
        (DueKind.PLAN, entry.plan.reviewed if entry.plan else None, "plan_review"),
    ):
        found.append(_due(kind, last, reviews[name].months, reviews[name].status))
    return tuple(found)


def findings(
    register: Register,
    now: datetime,
    *,
    seen: Mapping[str, datetime] | None = None,
    zombie_days: int = ZOMBIE_DAYS,
) -> tuple[Finding, ...]:
    """What is wrong with the register at ``now``, system by system.

    ``seen`` says when each system was last seen (a backup, an assessment, a heartbeat); a running system that is not in
    it was never seen. None: nothing can tell, and nobody is called a zombie.
    """
    found: list[Finding] = []
    for system in register.systems:
        if system.entry.stage is Stage.RETIRED:
            continue
        desk = _Desk(system, register, now)
        found += desk.incomplete()
        found += desk.dates()
        found += desk.platform()
        found += desk.data()
        if seen is not None and system.entry.stage is Stage.RUNNING:
            found += desk.zombie(seen.get(system.name), zombie_days)
    return tuple(found)


def lacking(system: System) -> tuple[str, ...]:
    """The fields that every system of the register has to have, and this one does not."""
    entry = system.entry
    known = {
        "title": system.title,
        "kind": entry.kind,
        "owner": entry.owner,
        "responsible": entry.responsible,
        "level": entry.system_level,
        "s": entry.s,
        "a": entry.a,
        "objectives": system.objectives,
        "data": entry.data,
    }
    return tuple(name for name, value in known.items() if not value)


def _due(kind: DueKind, last: date | None, months: int, status: FigureStatus) -> Due:
    until = add_months(last, months) if last else None
    return Due(kind, last, until, until - timedelta(days=DUE_DAYS) if until else None, status)


#: How bad each is; the date kinds by what they are about.
_SEVERITIES = {
    "register.incomplete": Severity.LOW,
    "register.certificate_missing": Severity.MEDIUM,
    "register.certificate_expired": Severity.HIGH,
    "register.certificate_expiring": Severity.MEDIUM,
    "register.assessment_missing": Severity.HIGH,
    "register.assessment_overdue": Severity.HIGH,
    "register.assessment_due": Severity.MEDIUM,
    "register.training_missing": Severity.MEDIUM,
    "register.training_overdue": Severity.MEDIUM,
    "register.training_due": Severity.LOW,
    "register.plan_missing": Severity.HIGH,
    "register.plan_overdue": Severity.MEDIUM,
    "register.plan_due": Severity.LOW,
    "register.date_in_future": Severity.MEDIUM,
    "register.platform_below": Severity.HIGH,
    "register.platform_unknown": Severity.MEDIUM,
    "register.data_without_backup": Severity.HIGH,
    "register.backup_job_unknown": Severity.HIGH,
    "register.zombie": Severity.MEDIUM,
    "register.never_seen": Severity.MEDIUM,
}
_LATE = {DueKind.CERTIFICATE: ("expired", "expiring")}


class _Desk:
    """One system at one moment."""

    def __init__(self, system: System, register: Register, now: datetime) -> None:
        self._system, self._register, self._now = system, register, now
        self._today = today_of(now)

    def incomplete(self) -> Iterator[Finding]:
        if missing := lacking(self._system):
            yield self._finding("register.incomplete", {"fields": list(missing)})

    def dates(self) -> Iterator[Finding]:
        yield from self._future()
        for due in due_dates(self._system):
            late, soon = _LATE.get(due.kind, ("overdue", "due"))
            facts: dict[str, JsonValue] = {"level": self._system.entry.system_level, "status": due.status.value}
            if due.until is None or due.told_from is None:
                yield self._finding(f"register.{due.kind.value}_missing", facts)
                continue
            facts |= {"due": due.until.isoformat(), "days_left": (due.until - self._today).days}
            if due.last is not None:
                facts["last"] = due.last.isoformat()
            if due.kind is DueKind.CERTIFICATE:
                facts["renew_before_months"] = GradingRules.load().filing.renew_before_months
            if self._today > due.until:
                yield self._finding(f"register.{due.kind.value}_{late}", facts)
            elif self._today >= due.told_from:
                yield self._finding(f"register.{due.kind.value}_{soon}", facts)

    def _future(self) -> Iterator[Finding]:
        """A day that has not come yet would keep its date green for ever."""
        entry = self._system.entry
        days = {
            "assessment": entry.assessment.held if entry.assessment else None,
            "certificate": entry.filing.issued if entry.filing else None,
            "plan": entry.plan.reviewed if entry.plan else None,
            "training": entry.trained,
        }
        for what, day in days.items():
            if day is not None and day > self._today:
                yield self._finding("register.date_in_future", {"what": what, "date": day.isoformat()})

    def platform(self) -> Iterator[Finding]:
        entry = self._system.entry
        if entry.platform is None:
            return
        levels = [] if entry.platform.level is None else [entry.platform.level]
        for other in self._register.systems:
            if other.name == entry.platform.system and other.entry.system_level is not None:
                levels.append(other.entry.system_level)
        facts: dict[str, JsonValue] = {"platform": entry.platform.name, "level": entry.system_level}
        if not levels:
            yield self._finding("register.platform_unknown", facts)
        # Where the tenant's entry and the platform's own disagree, the lower one is believed.
        elif entry.system_level is not None and min(levels) < entry.system_level:
            yield self._finding("register.platform_below", {**facts, "platform_level": min(levels), "case": "7.2.1.1"})

    def data(self) -> Iterator[Finding]:
        for data in self._system.entry.data:
            facts: dict[str, JsonValue] = {"data": data.name, "data_level": data.level.value}
            if not data.jobs and not _is_excused(data):
                yield self._finding("register.data_without_backup", facts)
            for job in data.jobs:
                if job not in self._system.jobs:
                    yield self._finding("register.backup_job_unknown", {**facts, "job": job})

    def zombie(self, seen: datetime | None, zombie_days: int) -> Iterator[Finding]:
        if seen is None:
            yield self._finding("register.never_seen", {})
        elif (days := (self._now - seen).days) > zombie_days:
            facts: dict[str, JsonValue] = {"days": days, "days_max": zombie_days, "last": today_of(seen).isoformat()}
            yield self._finding("register.zombie", facts)

    def _finding(self, kind: str, facts: Mapping[str, JsonValue]) -> Finding:
        summary = f"{self._system.label()}: {say(kind, facts).en}"
        return Finding(
            kind=kind,
            severity=_SEVERITIES[kind],
            time=self._now,
            subject=self._system.name,
            summary=summary[:2000],
            facts=facts,
        )


def _is_excused(data: DataClass) -> bool:
    # Core and important data are backed up, whatever reason somebody gives.
    return bool(data.no_backup_because) and data.level is DataLevel.GENERAL
