"""What govsec's own record says of a system, gathered for :mod:`govsec.policy.continuity`.

Commit logs tell the jobs that ran and how long each commit took to the remote center, the ledger tells the drills, the
centers tell how they stand, configuration and register tell what was agreed. Each source that cannot be asked is
missing by name, and stays unknown; none of them is guessed from another.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from functools import partial
from typing import TypeVar

from govsec.assemble.centers import status_of
from govsec.assemble.lagrecord import lags_of
from govsec.assemble.plans import history_of, plans_of
from govsec.assemble.systems import Site
from govsec.centers import names
from govsec.centers.log import Log, read_log
from govsec.centers.ship import repository_of
from govsec.centers.status import CenterStatus
from govsec.config import Config, Role, SystemConfig
from govsec.drill.history import History, PastDrill
from govsec.drill.plan import Plan, ProbeStep
from govsec.drill.result import Outcome
from govsec.errors import GovsecError, IntegrityError
from govsec.policy.continuityfacts import CenterFact, ContinuityFacts, DrillFact, LagFact
from govsec.store.api import ReadStore

_WINDOW = timedelta(days=30)
#: Intervals of lag are signed every quarter of an hour: a week of them shows the rhythm of a week.
_MEASURED_WINDOW = timedelta(days=7)
#: Two clocks may differ by so much before a commit that seems to arrive before it was made says nothing.
_SKEW = timedelta(minutes=5)
T = TypeVar("T")


def continuity_facts(site: Site, system: SystemConfig, level: int) -> ContinuityFacts:
    """Everything about one system that can be asked from here. Never raises for what cannot be: it is missing then."""
    now = site.clock.now()
    missing: dict[str, str] = {}
    facts = ContinuityFacts(
        system=system.name,
        now=now,
        level=level,
        rpo_s=system.objectives.rpo_s,
        rto_s=system.objectives.rto_s,
        is_rpo_set="rpo_s" in system.objectives.model_fields_set,
        is_rto_set="rto_s" in system.objectives.model_fields_set,
        is_retention_set="retention" in system.model_fields_set,
        jobs=tuple(job.name for job in system.backups),
        missing=missing,
    )
    facts = _with_register(system, facts, missing)
    plans = _asked("plans", missing, lambda: plans_of(site, system.name))
    history = _asked("drills", missing, lambda: _clean(history_of(site, system.name)))
    if history is not None:
        facts = replace(facts, drills=tuple(_drill(past, plans or ()) for past in history.drills))
    if plans is not None:
        facts = replace(facts, plans=tuple(plan.name for plan in plans))
    if not site.config.centers:
        missing["centers"] = "the configuration names no centers"
        return facts
    status = _asked("centers", missing, lambda: status_of(site, system))
    if status is not None:
        facts = replace(facts, centers=tuple(_center(row, site.config) for row in status.centers))
        missing.update({f"center {row.center}": row.error for row in status.centers if row.error})
    return _with_jobs(site, system, facts, missing)


def _with_register(system: SystemConfig, facts: ContinuityFacts, missing: dict[str, str]) -> ContinuityFacts:
    """What people wrote down; of a system that nobody registered nothing is known of its data."""
    entry = system.register_
    if "register_" not in system.model_fields_set:
        missing["register"] = "the register has no entry for this system"
        return facts
    known = {job.name for job in system.backups}
    wanted = [data for data in entry.data if not data.no_backup_because]
    classes = tuple((data.name, next((job for job in data.jobs if job in known), "")) for data in wanted)
    trained = entry.trained
    return replace(
        facts,
        data_classes=classes,
        training=None if trained is None else datetime.combine(trained, time.min, UTC),
        has_emergency_plan=entry.plan is not None,
    )


def _asked(name: str, missing: dict[str, str], ask: Callable[[], T]) -> T | None:
    try:
        return ask()
    except GovsecError as error:
        missing[name] = str(error)
        return None


def _clean(history: History) -> History:
    if history.ledger.problems_count:
        raise IntegrityError(f"the ledger has {history.ledger.problems_count} problems; run: govsec ledger verify")
    return history


def _drill(past: PastDrill, plans: Sequence[Plan]) -> DrillFact:
    result = past.result
    steps = {step.name: step.probe.kind for plan in plans if plan.name == result.plan for step in _probes(plan)}
    passed = [step for step in result.steps if step.outcome is Outcome.PASSED]
    source = next((center.name for center in result.centers if center.state == "restored_from"), "")
    return DrillFact(
        id=result.id,
        plan=result.plan,
        started=result.started,
        verdict=result.verdict.value,
        scenario=str(result.scenario.get("kind", "")),
        restored_from=source,
        is_content_verified=result.content is not None and result.content.is_verified,
        restore_time_s=result.measures.restore_time_s,
        rto_s=result.objectives.rto_s,
        passed=frozenset({step.kind for step in passed} | {steps[step.name] for step in passed if step.name in steps}),
        is_plan_current=any(plan.name == result.plan and plan.digest() == result.plan_digest for plan in plans),
        digest=past.entry.digest,
    )


def _probes(plan: Plan) -> list[ProbeStep]:
    return [step for step in plan.steps if isinstance(step, ProbeStep)]


def _center(row: CenterStatus, config: Config) -> CenterFact:
    center = config.centers[row.center]
    return CenterFact(
        name=row.center,
        role=row.role.value,
        site=center.site,
        region=center.region,
        premises=center.premises,
        error=row.error,
        is_repository=row.head is not None,
        newest=row.snapshot_time,
        verified=row.verified,
        damaged_count=row.damaged_count or 0,
        flaws_count=row.flaws_count,
    )


def _with_jobs(site: Site, system: SystemConfig, facts: ContinuityFacts, missing: dict[str, str]) -> ContinuityFacts:
    """The history of the jobs, from the longest log that can be read, and when each commit was at the remote center."""
    logs: dict[str, tuple[ReadStore, Log]] = {}
    for name in site.config.centers:
        found = _asked(f"log of {name}", missing, partial(_log, site, system, name))
        if found is not None:
            logs[name] = found
    if not logs:
        return facts
    longest = max(logs.values(), key=lambda pair: (pair[1].epoch, pair[1].head.number))[1]
    since = facts.now - _WINDOW
    made = {
        (entry.commit.number, entry.digest): entry.commit.time
        for entry in longest.entries
        if entry.commit.snapshot is not None and since <= entry.commit.time
    }
    times = [entry.commit.snapshot.time for entry in longest.entries if entry.commit.snapshot is not None]
    if longest.checkpoint is not None and longest.checkpoint.newest is not None:
        times.append(longest.checkpoint.newest.time)
    facts = replace(
        facts,
        snapshots=tuple(sorted(time for time in times if since <= time <= facts.now)),
        log_digest=longest.head.digest,
    )
    remote = site.name_of(Role.REMOTE)
    if remote not in logs:
        return facts
    measured = _asked("measured lag", missing, lambda: _measured(site, system, remote, facts))
    if measured is not None:
        facts = replace(facts, lag=measured)
    lags = _asked("lag", missing, lambda: _lags(logs[remote][0], made))
    return replace(facts, lags_s=lags)


def _measured(site: Site, system: SystemConfig, remote: str | None, facts: ContinuityFacts) -> LagFact | None:
    """What shippers signed of their lag to the remote center, of the worst of its jobs.

    None unless every configured job was measured: one that runs once a day must not hide behind one that is watched.
    """
    found = {lag.job: lag for lag in lags_of(site, system, since=facts.now - _MEASURED_WINDOW) if lag.center == remote}
    jobs = set(facts.jobs or ())
    if not jobs or not jobs <= found.keys():
        return None
    lags = [found[job] for job in sorted(jobs)]
    return LagFact(
        since=min(lag.since for lag in lags),
        until=min(lag.until for lag in lags),
        covered_share=min(lag.covered_share for lag in lags),
        snapshots_count=min(lag.snapshots_count for lag in lags),
        gap_p95_s=max(lag.gap_p95_s for lag in lags),
        p95_s=max(lag.p95_s for lag in lags),
        max_s=max(lag.max_s for lag in lags),
    )


def _log(site: Site, system: SystemConfig, name: str) -> tuple[ReadStore, Log]:
    store = site.read_store(system, name)
    return store, read_log(store, site.trusted(), repository=repository_of(store))


def _lags(remote: ReadStore, made: Mapping[tuple[int, str], datetime]) -> tuple[float, ...]:
    """Seconds from each commit until the remote center had it, as that store's own clock says when it was stored.

    A commit that is not there yet has no lag, and shows as backlog; a store that keeps no times gives none.
    """
    lags = []
    for info in remote.list(names.COMMITS):
        parsed = names.parse_numbered(info.name)
        if parsed is None or parsed not in made or info.modified is None:
            continue
        lag = info.modified - made[parsed]
        if lag >= -_SKEW:
            lags.append(max(0.0, lag.total_seconds()))
    return tuple(lags)
