"""The monthly bulletin of this site: cases, drills and how each system stands, gathered from where they are kept."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

from govsec import canonical
from govsec.assemble.incident import build_desk, open_cases
from govsec.assemble.plans import history_of, plans_of
from govsec.assemble.registry import continuity_facts
from govsec.assemble.systems import Site
from govsec.clock import format_time
from govsec.config import Role, SystemConfig
from govsec.drill.history import PastDrill
from govsec.drill.result import Verdict
from govsec.errors import ConfigurationError, GovsecError, IntegrityError, RefusedError, UsageError
from govsec.incident.api import CaseStore, Query, Summary
from govsec.incident.bulletin import MONTHS_SHOWN, Month, compose_bulletin
from govsec.incident.desk import Desk, View
from govsec.incident.record import Record
from govsec.policy.continuityfacts import ContinuityFacts
from govsec.privatefile import write_private
from govsec.report.bulletin import bulletin_text, render_bulletin
from govsec.report.catalog import Lang

_PAGE = 500
FORMATS = ("html", "json", "txt")


def build_bulletin(site: Site, month: Month) -> Record:
    """The record of a month. What cannot be asked is named in it, and counts for nothing.

    Raises:
        UsageError: the month has not begun.
    """
    now = site.clock.now()
    if month.start > now:
        raise UsageError(f"{month}: has not begun")
    missing: list[str] = []
    with open_cases(site.config) as store:
        desk = build_desk(site.config, store, site.clock)
        desk.refresh()
        lines = _lines(store, month.back(MONTHS_SHOWN - 1).start)
        views = _views(desk, [line for line in lines if month.start <= line.opened_at < month.end], missing)
    return compose_bulletin(
        month,
        lines,
        views,
        drills=[drill for system in site.config.systems for drill in _drills(site, system, month, missing)],
        systems=[_standing(site, system, missing) for system in site.config.systems],
        missing=missing,
        organization=site.config.organization,
        now=now,
    )


def write_bulletin(record: Record, path: Path, lang: Lang) -> None:
    """Write it in the format of the file's ending; readable by its owner alone.

    Raises:
        UsageError: another ending.
        ConfigurationError: the file cannot be written.
    """
    ending = path.suffix.lower().removeprefix(".")
    if ending not in FORMATS:
        raise UsageError(f"{path}: its ending says the format: {', '.join(FORMATS)}")
    if ending == "json":
        data = canonical.dumps(record) + b"\n"
    else:
        data = (render_bulletin(record, lang) if ending == "html" else bulletin_text(record, lang) + "\n").encode()
    try:
        write_private(path, data)
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}") from error


def _lines(store: CaseStore, since: datetime) -> list[Summary]:
    found: list[Summary] = []
    after = None
    while page := store.find(Query(after=after, limit=_PAGE)):
        found += [line for line in page if line.opened_at >= since]
        if page[-1].opened_at < since:
            break
        after = page[-1].id
    return found


def _views(desk: Desk, lines: list[Summary], missing: list[str]) -> list[View]:
    views = []
    for line in lines:
        try:
            views.append(desk.view(line.id))
        except (IntegrityError, RefusedError, UsageError) as error:
            missing.append(str(error))
    return views


def _drills(site: Site, system: SystemConfig, month: Month, missing: list[str]) -> list[Record]:
    try:
        history = history_of(site, system.name)
    except GovsecError as error:
        missing.append(f"{system.name}: drills: {error}")
        return []
    held = [past for past in history.drills if month.start <= past.result.started < month.end]
    return [_drill(past) for past in held]


def _drill(past: PastDrill) -> Record:
    result = past.result
    return {
        "id": result.id,
        "system": result.system,
        "plan": result.plan,
        "started": format_time(result.started),
        "verdict": result.verdict.value,
        "recovery_point_age_s": _whole(result.measures.recovery_point_age_s),
        "restore_time_s": _whole(result.measures.restore_time_s),
        "rpo_s": result.objectives.rpo_s,
        "rto_s": result.objectives.rto_s,
        "digest": past.entry.digest,
    }


def _whole(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds)


def _standing(site: Site, system: SystemConfig, missing: list[str]) -> Record:
    """How a system stands today; None where it is not known."""
    facts = continuity_facts(site, system, system.register_.system_level or 2)
    # The register says itself what it lacks, and drills were asked for before.
    asked = {name: words for name, words in facts.missing.items() if name not in ("register", "drills")}
    missing += [f"{system.name}: {name}: {words}" for name, words in asked.items()]
    # What is left when production is lost.
    elsewhere = [center.newest for center in facts.centers if center.role != Role.PRODUCTION.value]
    newest = max((moment for moment in elsewhere if moment is not None), default=None)
    return {
        "system": system.name,
        "title": system.title or system.name,
        "level": system.register_.system_level,
        "newest_at": None if newest is None else format_time(newest),
        "rpo_s": system.objectives.rpo_s,
        "has_jobs": bool(system.backups),
        "is_within_rpo": _is_fresh(facts, newest),
        "is_in_all_centers": _is_everywhere(facts),
        "is_drilled": _is_drilled(site, system, facts),
        "has_emergency_plan": facts.has_emergency_plan if "register" not in facts.missing else None,
        "is_assessed": None if "register" in facts.missing else system.register_.assessment is not None,
    }


def _is_fresh(facts: ContinuityFacts, newest: datetime | None) -> bool | None:
    if newest is None:
        return None if facts.missing else False
    return facts.now - newest <= timedelta(seconds=facts.rpo_s)


def _is_everywhere(facts: ContinuityFacts) -> bool | None:
    if not facts.centers or any(center.error for center in facts.centers):
        return None
    return len(facts.centers) > 1 and all(center.newest is not None for center in facts.centers)


def _is_drilled(site: Site, system: SystemConfig, facts: ContinuityFacts) -> bool | None:
    """Every plan was drilled within its own age and passed, as it stands today."""
    if facts.drills is None or "plans" in facts.missing:
        return None
    plans = plans_of(site, system.name)
    newest = {drill.plan: drill for drill in sorted(facts.drills, key=lambda drill: drill.started)}
    return bool(plans) and all(
        plan.name in newest
        and newest[plan.name].verdict == Verdict.PASS.value
        and newest[plan.name].is_plan_current
        and facts.now - newest[plan.name].started <= timedelta(days=plan.stale_after_days)
        for plan in plans
    )
