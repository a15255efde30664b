"""Which snapshot a drill restores: the newest eligible one, looked up now; a pinned one only when it is just that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from govsec.drill.judge import reason
from govsec.drill.plan import Plan, RollbackBefore, Selection
from govsec.drill.result import Reason, SnapshotRef, Verdict
from govsec.repo.snapshot import Snapshot

#: How far back the history of snapshots is looked at for the capability level.
_HISTORY = timedelta(days=30)
#: What a backup tags its snapshot with when files of the source could not be read.
_INCOMPLETE_TAG = "incomplete"


@dataclass(frozen=True, slots=True)
class Choice:
    """The snapshot, unless ``reasons`` hold one that fails the drill; the newest eligible one is named either way."""

    snapshot: Snapshot | None
    reference: SnapshotRef | None
    #: Times of the eligible snapshots with the chosen one's paths, of the last 30 days before the disaster.
    times: tuple[datetime, ...]
    reasons: tuple[Reason, ...]


def disaster_at(plan: Plan, started: datetime) -> datetime:
    """The moment that the recovery point's age runs to."""
    declared = plan.scenario.time if isinstance(plan.scenario, RollbackBefore) else plan.disaster_at
    return declared or started


def choose_snapshot(
    plan: Plan, snapshots: Sequence[Snapshot], started: datetime, role: str, committed: Sequence[str] = ()
) -> Choice:
    """Choose from ``snapshots`` (oldest first) of the center with ``role``.

    ``committed`` are the ids of snapshots in the order of their commits.
    """
    moment = disaster_at(plan, started)
    is_rollback = isinstance(plan.scenario, RollbackBefore)
    fitting = [snapshot for snapshot in snapshots if _fits(plan.select, snapshot)]
    eligible = [item for item in fitting if (item.time < moment if is_rollback else item.time <= moment)]
    reasons = []
    if not is_rollback and plan.disaster_at is None and len(eligible) < len(fitting):
        reasons.append(reason("snapshots_future", Verdict.PARTIAL, count=len(fitting) - len(eligible)))
    if not eligible:
        return Choice(None, None, (), (*reasons, reason("no_snapshot", center_role=role)))
    newest = eligible[-1]
    reference = SnapshotRef(
        id=newest.id,
        time=newest.time,
        hostname=newest.hostname,
        paths=tuple(newest.paths),
        tags=tuple(newest.tags),
        eligible_count=len(eligible),
        is_newest=True,
    )
    # Another job's snapshots say nothing of how often these data arrive.
    alike = [item for item in eligible if set(item.paths) == set(newest.paths)]
    times = tuple(item.time for item in alike if item.time > moment - _HISTORY)
    if plan.select.snapshot is not None and not newest.id.startswith(plan.select.snapshot):
        reasons.append(reason("stale_pin", pinned=plan.select.snapshot[:16], newest=newest.short_id))
        return Choice(None, reference, times, tuple(reasons))
    # Of the same source only: another job's snapshot that was begun earlier may well be committed later.
    group = (newest.hostname, set(newest.paths))
    known = {item.id: item for item in eligible if (item.hostname, set(item.paths)) == group}
    last = next((known[snapshot_id] for snapshot_id in reversed(committed) if snapshot_id in known), newest)
    if last is not newest:
        reasons.append(reason("not_committed_last", Verdict.PARTIAL, snapshot=newest.short_id, last=last.short_id))
    if len(alike) < len(eligible) and not plan.select.paths and not plan.select.tags:
        # Which job's snapshot came last is chance; a drill of one job must not pass for the other.
        reasons.append(reason("several_sources", Verdict.PARTIAL, paths=", ".join(newest.paths)[:500]))
    if _INCOMPLETE_TAG in newest.tags:
        reasons.append(reason("snapshot_incomplete", Verdict.PARTIAL, snapshot=newest.short_id))
    return Choice(newest, reference, times, tuple(reasons))


def _fits(select: Selection, snapshot: Snapshot) -> bool:
    return (
        (select.host is None or snapshot.hostname == select.host)
        and set(select.tags) <= set(snapshot.tags)
        and (not select.paths or set(select.paths) == set(snapshot.paths))
    )
