"""What each check of :mod:`govsec.policy.continuity` looks for, one function a check, from facts to expectations.

No words and no figures here: both come from the table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise

from govsec.policy.continuityfacts import CenterFact, ContinuityFacts, DrillFact, LagFact, percentile_95
from govsec.policy.continuitytable import ContinuityCheck

_HOME_REGION = "CN"
_DAY_S = 86_400
#: Measuring may rest now and then, for a restart or an update; and the newest interval is signed when it is over.
_COVERED_MIN = 0.95
_INTERVALS_SILENT = 3
Fact = str | int | float


@dataclass(frozen=True, slots=True)
class Seen:
    """One expectation as it was found. ``holds`` is None where it could not be looked at."""

    name: str
    holds: bool | None
    is_needed: bool = True
    facts: Mapping[str, Fact] | None = None


@dataclass(frozen=True, slots=True)
class View:
    """The facts with the figures that are in force for one check."""

    facts: ContinuityFacts
    check: ContinuityCheck

    def figure(self, name: str) -> float:
        """The figure of the table at the level of the system."""
        return self.check.parameters[name].at(self.facts.level)

    def drills(self) -> list[DrillFact]:
        """The drills that are young enough for the check, newest first."""
        return self.facts.recent_drills(self.figure("drill_age_days_max"))

    def drill_seen(self, fitting: list[DrillFact], *, name: str = "drill") -> Seen:
        """Is there a fitting drill? Not known when the ledger could not be read."""
        holds = None if self.facts.drills is None else bool(fitting)
        return Seen(name, holds, facts={"age_days_max": int(self.figure("drill_age_days_max"))})


def _local_restore(view: View) -> list[Seen]:
    facts = view.facts
    near = [center for center in facts.centers if center.role != "remote"]
    newest = max((center.newest for center in near if center.newest is not None), default=None)
    # One center that does not answer may hold what the other lacks.
    is_known = newest is not None or (bool(facts.centers) and not any(center.error for center in near))
    seen = [_jobs(facts), Seen("copies", newest is not None if is_known else None)]
    if newest is not None:
        age = {"age_s": facts.age_s(newest), "rpo_s": facts.rpo_s}
        seen.append(Seen("recent_copy", facts.is_recent(newest), False, age))
        seen.append(_gap(facts, "no_gap", view.figure("gap_factor_max")))
    drills = view.drills()
    return [*seen, view.drill_seen(drills), *_drill_quality(drills)]


def _jobs(facts: ContinuityFacts) -> Seen:
    return Seen("jobs", None if facts.jobs is None else bool(facts.jobs))


def _gap(facts: ContinuityFacts, name: str, factor: float) -> Seen:
    """The longest time without a backup in the window, until now; one snapshot has no gap before it."""
    limit = int(facts.rpo_s * factor)
    if not facts.snapshots:
        return Seen(name, None if facts.snapshots is None else False, False, {"gap_s": 0, "gap_s_max": limit})
    moments = [*facts.snapshots, facts.now]
    gap = max(int((later - earlier).total_seconds()) for earlier, later in pairwise(moments))
    return Seen(name, gap <= limit, False, {"gap_s": gap, "gap_s_max": limit, "rpo_s": facts.rpo_s})


def _drill_quality(drills: list[DrillFact]) -> list[Seen]:
    """What the newest drill came to: a failed one is no proof, a partial or unverified one is half a proof."""
    if not drills:
        return []
    newest = drills[0]
    name = {"drill": newest.id, "verdict": newest.verdict}
    return [
        Seen("drill_came_back", newest.verdict != "fail", True, name),
        Seen("content_verified", newest.is_content_verified, False, name),
        Seen("drill_passed", newest.verdict == "pass", False, name),
    ]


def _remote_copy(view: View) -> list[Seen]:
    facts, remote, production = view.facts, view.facts.center("remote"), view.facts.center("production")
    # A site without any centers may be one whose configuration was not given; only who has centers lacks a remote one.
    if remote is None:
        return [Seen("remote", False if facts.centers else None)]
    seen = [Seen("remote", True)]
    sites = (production.site if production else "", remote.site)
    if all(sites):
        seen.append(Seen("other_site", sites[0] != sites[1], facts={"site": remote.site}))
    else:
        seen.append(Seen("site_named", None))
    if remote.error:
        return [*seen, Seen("copy", None)]
    seen.append(Seen("copy", remote.newest is not None))
    if remote.newest is not None:
        age = {"age_s": facts.age_s(remote.newest), "rpo_s": facts.rpo_s}
        seen.append(Seen("recent_copy", facts.is_recent(remote.newest), True, age))
    # Level 2 asks for scheduled copies; from level 3 on the copy is to be in real time.
    return seen if facts.level <= 2 else [*seen, *_real_time(view)]


def _real_time(view: View) -> list[Seen]:
    facts, samples_min = view.facts, int(view.figure("samples_min"))
    interval_max, lag_max = view.figure("interval_s_max"), view.figure("lag_s_max")
    if facts.lag is not None:
        return _measured(facts, facts.lag, samples_min, interval_max, lag_max, view.figure("window_hours_min"))
    if facts.snapshots is None or facts.lags_s is None:
        return [Seen("continuous", None), Seen("lag", None)]
    gaps = tuple((later - earlier).total_seconds() for earlier, later in pairwise(facts.snapshots))
    interval = percentile_95(gaps) if gaps else 0.0
    is_continuous = len(facts.snapshots) >= samples_min and interval <= interval_max
    seen = [
        Seen(
            "continuous",
            is_continuous,
            False,
            {"samples": len(facts.snapshots), "interval_s": int(interval), "interval_s_max": int(interval_max)},
        )
    ]
    lag = percentile_95(facts.lags_s) if facts.lags_s else 0.0
    worst = max(facts.lags_s, default=0.0)
    words = {"lag_s": int(lag), "lag_s_worst": int(worst), "lag_s_max": int(lag_max)}
    seen.append(Seen("lag", bool(facts.lags_s) and lag <= lag_max, False, words))
    return seen


def _measured(
    facts: ContinuityFacts, lag: LagFact, samples_min: int, interval_max: float, lag_max: float, hours_min: float
) -> list[Seen]:
    """What continuous protection measured itself: nearly all of the time, until now, and within the figures."""
    silent_s = facts.age_s(lag.until)
    is_whole = lag.covered_share >= _COVERED_MIN and silent_s <= _INTERVALS_SILENT * interval_max
    is_continuous = lag.snapshots_count >= samples_min and lag.gap_p95_s <= interval_max
    since_h = (lag.until - lag.since).total_seconds() / 3600
    gaps: dict[str, Fact] = {
        "samples": lag.snapshots_count,
        "interval_s": int(lag.gap_p95_s),
        "interval_s_max": int(interval_max),
    }
    lags: dict[str, Fact] = {"lag_s": int(lag.p95_s), "lag_s_worst": int(lag.max_s), "lag_s_max": int(lag_max)}
    return [
        Seen("measured", is_whole, False, {"percent": int(lag.covered_share * 100), "silent_s": silent_s}),
        Seen("measured_long", since_h >= hours_min, False, {"since_h": int(since_h), "since_h_min": int(hours_min)}),
        Seen("continuous", is_continuous, False, gaps),
        Seen("lag", lag.p95_s <= lag_max, False, lags),
    ]


def _redundancy(view: View) -> list[Seen]:
    drills = [drill for drill in view.drills() if drill.verdict != "fail"]
    seen = [view.drill_seen(drills)]
    for drill in drills[:1]:
        seen.append(_in_time(drill, is_needed=False))
        seen.append(Seen("application", bool({"start", "command", "sqlite"} & drill.passed), False))
    return seen


def _in_time(drill: DrillFact, *, is_needed: bool) -> Seen:
    time_s = drill.restore_time_s
    words: dict[str, Fact] = {"restore_time_s": -1 if time_s is None else int(time_s), "rto_s": drill.rto_s}
    return Seen("in_time", None if time_s is None else time_s <= drill.rto_s, is_needed, words)


def _site_switch(view: View) -> list[Seen]:
    remote = view.facts.center("remote")
    if remote is None:
        return [Seen("remote", False if view.facts.centers else None)]
    drills = [drill for drill in view.drills() if drill.restored_from == remote.name]
    seen = [Seen("remote", True), view.drill_seen(drills)]
    for drill in drills[:1]:
        name = {"drill": drill.id}
        seen.append(Seen("drill_passed", drill.verdict == "pass", drill.verdict == "fail", name))
        seen.append(Seen("switched", "switch_address" in drill.passed, False, name))
        seen.append(_in_time(drill, is_needed=False))
    return seen


def _backup_scope(view: View) -> list[Seen]:
    classes, jobs = view.facts.data_classes, view.facts.jobs
    # Nobody has said what must be backed up: that is the requirement itself, not a thing that could not be looked at.
    seen = [Seen("classes", None if classes is None else bool(classes)), _jobs(view.facts)]
    if classes and jobs is not None:
        without = [name for name, job in classes if job not in jobs]
        seen.append(Seen("covered", not without, len(without) == len(classes), {"classes": ", ".join(without)[:500]}))
    return seen


def _backup_method(view: View) -> list[Seen]:
    facts = view.facts
    holders = [center for center in facts.centers if center.newest is not None]
    is_known = bool(facts.centers) and (len(holders) > 1 or not any(center.error for center in facts.centers))
    return [
        _jobs(facts),
        Seen("frequency_set", facts.is_rpo_set if facts.jobs is not None else None, False),
        Seen("retention_set", facts.is_retention_set if facts.jobs is not None else None, False),
        Seen("second_medium", len(holders) > 1 if is_known else None, False),
        _gap(facts, "frequency_kept", 1.0),
    ]


def _strategy(view: View) -> list[Seen]:
    facts = view.facts
    has_plan = None if facts.plans is None else bool(facts.plans)
    current = [drill for drill in view.drills() if drill.is_plan_current and drill.verdict != "fail"]
    return [
        Seen("objectives_set", None if facts.plans is None else facts.is_rpo_set and facts.is_rto_set, False),
        Seen("plan", has_plan),
        Seen(
            "rehearsed",
            None if facts.drills is None else bool(current),
            False,
            {"age_days_max": int(view.figure("drill_age_days_max"))},
        ),
    ]


def _emergency_plan(view: View) -> list[Seen]:
    facts = view.facts
    is_known = facts.has_emergency_plan or facts.plans is not None
    return [Seen("plan", facts.has_emergency_plan or bool(facts.plans) if is_known else None)]


def _emergency_drill(view: View) -> list[Seen]:
    facts, drills, days = view.facts, view.drills(), view.figure("training_age_days_max")
    quality = [one for one in _drill_quality(drills) if one.name != "drill_came_back"]
    held = facts.training
    is_trained = held is not None and facts.is_past(held) and facts.age_s(held) <= days * _DAY_S
    # A drill that failed was held all the same, and is what this line asks for; it is not what 8.1.4.9.a asks for.
    trained = Seen("trained", is_trained, False, {"training_age_days_max": int(days)})
    return [view.drill_seen(drills), *quality, trained]


def _rollback(view: View) -> list[Seen]:
    fitting = [drill for drill in view.drills() if drill.scenario == "rollback_before" and drill.verdict != "fail"]
    return [view.drill_seen(fitting)]


def _sealed(view: View) -> list[Seen]:
    centers, days = view.facts.centers, view.figure("verified_days_max")
    readable = [center for center in centers if not center.error]
    is_known = bool(centers) and len(readable) == len(centers)
    bare = [center.name for center in readable if not center.is_repository]
    late = [center.name for center in readable if not _is_verified(view.facts, center, days)]
    damaged = [center.name for center in readable if center.damaged_count]
    return [
        _none_of("repository", bare, is_known, is_needed=True),
        _none_of("verified", late, is_known, is_needed=False, verified_days_max=int(days)),
        _none_of("undamaged", damaged, is_known, is_needed=False),
    ]


def _is_verified(facts: ContinuityFacts, center: CenterFact, days: float) -> bool:
    seen = center.verified
    return seen is not None and facts.is_past(seen) and facts.age_s(seen) <= days * _DAY_S


def _none_of(name: str, centers: list[str], is_known: bool, *, is_needed: bool, **facts: Fact) -> Seen:
    """That no center is at fault: known to be wrong as soon as one is, known to hold only when all were looked at."""
    holds = False if centers else (True if is_known else None)
    return Seen(name, holds, is_needed, {"centers": ", ".join(centers), **facts})


def _tenant_copy(view: View) -> list[Seen]:
    facts = view.facts
    own = [center for center in facts.centers if center.premises == "own"]
    if not own and (not facts.centers or any(not center.premises for center in facts.centers)):
        return [Seen("premises_named", None)]
    seen = [Seen("own_center", bool(own))]
    if own:
        holds = any(facts.is_recent(center.newest) for center in own)
        seen.append(
            Seen("recent_copy", holds or (None if any(c.error for c in own) else False), True, {"rpo_s": facts.rpo_s})
        )
        drills = [drill for drill in view.drills() if drill.restored_from in {center.name for center in own}]
        quality = [one for one in _drill_quality(drills) if one.name != "drill_came_back"]
        failed = [
            Seen("drill_passed", False, True, {"drill": drill.id}) for drill in drills[:1] if drill.verdict == "fail"
        ]
        seen += [view.drill_seen(drills), *(failed or quality)]
    return seen


def _failed(drill: DrillFact) -> bool:
    return drill.verdict == "fail"


def _location(view: View) -> list[Seen]:
    centers = view.facts.centers
    if not centers:
        return [Seen("centers", None)]
    bare = [center.name for center in centers if not (center.site and center.region)]
    silent = [center.name for center in centers if center.error]
    return [
        Seen("some_named", len(bare) < len(centers)),
        Seen("all_named", not bare, False, {"centers": ", ".join(bare)}),
        Seen("answered", None if silent else True, False, {"centers": ", ".join(silent)}),
    ]


def _replicas(view: View) -> list[Seen]:
    facts, days = view.facts, view.figure("verified_days_max")
    holders = [center for center in facts.centers if center.newest is not None]
    least = int(view.figure("replicas_min"))
    is_known = bool(facts.centers) and not any(center.error for center in facts.centers)
    count: dict[str, Fact] = {"replicas": len(holders), "replicas_min": least}
    late = [center.name for center in holders if not _is_verified(facts, center, days)]
    bad = [center.name for center in holders if center.damaged_count or center.flaws_count]
    old = [center.name for center in holders if not facts.is_recent(center.newest)]
    has_enough = len(holders) >= least
    return [
        Seen("replicas", True if has_enough else (False if is_known else None), True, count),
        _none_of("verified", late, True, is_needed=False, verified_days_max=int(days)),
        _none_of("undamaged", bad, True, is_needed=False),
        _none_of("in_step", old, True, is_needed=False, rpo_s=facts.rpo_s),
    ]


def _move_out(view: View) -> list[Seen]:
    own = {center.name for center in view.facts.centers if center.premises == "own"}
    fitting = [drill for drill in view.drills() if drill.restored_from in own and drill.verdict == "pass"]
    return [view.drill_seen(fitting)]


def _region(view: View) -> list[Seen]:
    centers = view.facts.centers
    bare = [center.name for center in centers if not center.region]
    abroad = [center.name for center in centers if center.region and center.region.split("-")[0] != _HOME_REGION]
    return [
        Seen("named", None if bare or not centers else True, True, {"centers": ", ".join(bare)}),
        Seen("inside", not abroad, True, {"centers": ", ".join(abroad)}),
    ]


JUDGES: Mapping[str, Callable[[View], list[Seen]]] = {
    "continuity.local-restore": _local_restore,
    "continuity.remote-copy": _remote_copy,
    "continuity.redundancy": _redundancy,
    "continuity.site-switch": _site_switch,
    "continuity.backup-scope": _backup_scope,
    "continuity.backup-method": _backup_method,
    "continuity.strategy": _strategy,
    "continuity.emergency-plan": _emergency_plan,
    "continuity.emergency-drill": _emergency_drill,
    "continuity.rollback": _rollback,
    "continuity.sealed": _sealed,
    "continuity.tenant-copy": _tenant_copy,
    "continuity.location": _location,
    "continuity.replicas": _replicas,
    "continuity.move-out": _move_out,
    "continuity.region": _region,
}
