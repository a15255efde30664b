"""Recovery points: the newest snapshot of each job that a log names, and so what would be lost of each.

A system has several jobs, and one that is broken must not hide behind another that runs: every job has its own recovery
point, and the worst of those that count decides. The jobs that count are those that the site configures; a site that
configures none for the system takes the log's word. Snapshots that no job made (stock restic's, or those of a run that
died before its commit) count only where no job is known.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from govsec.centers.commits import SnapshotRef
from govsec.centers.log import Log
from govsec.centers.state import age_s
from govsec.clock import format_time

#: How far two clocks may differ before one of them counts as wrong.
_SKEW_MAX = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class RecoveryPoint:
    """The newest snapshot of one job at a center; ``job`` is empty for snapshots that no job made."""

    job: str
    #: None: a job that is configured and has no snapshot here.
    snapshot: SnapshotRef | None
    age_s: float | None
    #: False: the job is not configured any more, or made no snapshot by itself; its age is no finding.
    counts: bool = True

    def is_within(self, rpo_s: float) -> bool:
        """True when the snapshot is young enough."""
        return self.age_s is not None and self.age_s <= rpo_s


def recovery_points(log: Log, now: datetime, jobs: Collection[str]) -> tuple[tuple[RecoveryPoint, ...], str]:
    """One recovery point a job, by the job's name, and what is wrong with the snapshots that were committed last.

    A snapshot from the future is no recovery point of age zero: it would be the newest for as long as the clock was
    ahead, and hide that backups have stopped.
    """
    named: dict[str, list[SnapshotRef]] = {}
    for snapshot in _snapshots(log):
        named.setdefault(snapshot.job, []).append(snapshot)
    expected = set(jobs) or named.keys() - {""} or {""} & named.keys()
    points, ahead = [], []
    for job in sorted(named.keys() | expected):
        found = named.get(job, [])
        past = [snapshot for snapshot in found if snapshot.time <= now + _SKEW_MAX]
        newest = max(past, key=lambda snapshot: snapshot.time, default=None)
        points.append(RecoveryPoint(job, newest, age_s(newest.time, now) if newest else None, job in expected))
        if found and found[-1].time > now + _SKEW_MAX:
            ahead.append(found[-1].time)
    if not ahead:
        return tuple(points), ""
    return (
        tuple(points),
        f"the snapshot that was committed last says {format_time(max(ahead))}: a clock, there or here, is wrong",
    )


def worst(points: Iterable[RecoveryPoint]) -> RecoveryPoint | None:
    """Of the points that count the one that is oldest, or has no snapshot at all; None when none counts."""
    counting = [point for point in points if point.counts]
    return max(counting, key=lambda point: (point.age_s is None, point.age_s or 0.0), default=None)


def _snapshots(log: Log) -> list[SnapshotRef]:
    """What the log names, in the order of commits; of what a checkpoint covers the newest of each job."""
    found = [] if log.checkpoint is None else list(log.checkpoint.newest_by_job)
    return found + [entry.commit.snapshot for entry in log.entries if entry.commit.snapshot is not None]
