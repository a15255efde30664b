"""How each center stands, from its own commit log: no key, no repository, a few small reads.

The recovery point of a job at a center is the newest snapshot of the job that the center's log says is complete there;
its age is what would be lost if only this center were left. The center's own is that of its worst job (see ``points``).
A center that cannot be read has no age, and is never green.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from govsec.centers.freeze import Freeze, read_freeze
from govsec.centers.lag import LagMeasured
from govsec.centers.log import Log, Position, read_log
from govsec.centers.pause import Pause, read_pause
from govsec.centers.points import RecoveryPoint, recovery_points, worst
from govsec.centers.records import read_record
from govsec.centers.ship import backlog, repository_of
from govsec.centers.state import CenterState, SyncState
from govsec.clock import Clock
from govsec.config import Role
from govsec.crypto.signing import TrustedKeys
from govsec.errors import GovsecError
from govsec.store.api import ReadStore


@dataclass(frozen=True, slots=True)
class CenterStatus:
    """One center at one moment."""

    center: str
    role: Role
    head: Position | None = None
    snapshot_id: str | None = None
    snapshot_time: datetime | None = None
    recovery_point_age_s: float | None = None
    #: Each job's, by name; ``snapshot_id``, its time and its age are those of the worst one that counts.
    points: tuple[RecoveryPoint, ...] = ()
    rpo_s: int = 0
    #: What the center lacks of the longest log that could be read; None when that is not known.
    backlog_commits: int | None = None
    backlog_objects: int | None = None
    backlog_bytes: int | None = None
    state: SyncState | None = None
    state_since: datetime | None = None
    outage_since: datetime | None = None
    reason: str = ""
    #: False: whoever holds production's credential can erase it. None: never probed.
    is_protected: bool | None = None
    protection: str = ""
    damaged_count: int | None = None
    verified: datetime | None = None
    flaws_count: int = 0
    pause: Pause | None = None
    freeze: Freeze | None = None
    error: str = ""

    @property
    def is_within_rpo(self) -> bool:
        """True when the newest snapshot of every job that counts is young enough."""
        return self.recovery_point_age_s is not None and self.recovery_point_age_s <= self.rpo_s

    @property
    def is_good(self) -> bool:
        """True when nothing about this center needs a person."""
        return (
            not self.error
            and self.is_within_rpo
            and not self.flaws_count
            and not self.damaged_count
            and self.state in (None, SyncState.SYNCED)
        )


@dataclass(frozen=True, slots=True)
class Status:
    """All centers of one system."""

    system: str
    time: datetime
    centers: tuple[CenterStatus, ...]
    #: What was measured and signed of the last day, by job and center.
    lags: tuple[LagMeasured, ...] = ()

    @property
    def is_good(self) -> bool:
        """True when there are centers and each of them is good."""
        return bool(self.centers) and all(center.is_good for center in self.centers)


@dataclass(frozen=True, slots=True)
class Protection:
    """What a probe with production's credential found out about a center."""

    is_protected: bool | None
    words: str


def collect_status(
    system: str,
    stores: Sequence[tuple[Role, ReadStore | GovsecError, str]],
    trusted: TrustedKeys,
    *,
    clock: Clock,
    rpo_s: int,
    states: Mapping[str, CenterState],
    protections: Mapping[str, Protection],
    jobs: Collection[str] = (),
    written_at_once: Collection[str] = (),
    threads: int = 0,
) -> Status:
    """The status of each center: role, store (or why it could not be opened) and name; ``jobs`` are those configured.

    ``states`` is what production remembers of the centers that a backup writes to, which ``written_at_once`` names: one
    of these that lacks a commit is degraded whatever was remembered, because it held all that it acknowledged.
    """
    now = clock.now()
    logs: dict[str, Log] = {}
    errors: dict[str, str] = {}
    for _, store, name in stores:
        if isinstance(store, GovsecError):
            errors[name] = str(store)
            continue
        try:
            logs[name] = read_log(store, trusted, repository=repository_of(store), threads=threads)
        except GovsecError as error:
            errors[name] = str(error)
    longest = max(logs, key=lambda name: (logs[name].epoch, logs[name].head.number), default=None)
    by_name = {name: store for _, store, name in stores if not isinstance(store, GovsecError)}
    rows = []
    for role, _, name in stores:
        protection = protections.get(name, Protection(None, ""))
        known = states.get(name)
        common = CenterStatus(
            center=name,
            role=role,
            rpo_s=rpo_s,
            state=known.state if known else None,
            state_since=known.since if known else None,
            outage_since=known.outage_since if known else None,
            reason=known.reason if known else "",
            is_protected=protection.is_protected,
            protection=protection.words,
            error=errors.get(name, ""),
        )
        if name in logs and longest is not None:
            row = _seen(common, by_name[name], logs[name], by_name[longest], trusted, clock, jobs)
            rows.append(_behind(row) if name in written_at_once else row)
        else:
            rows.append(common)
    return Status(system, now, tuple(rows))


def _behind(row: CenterStatus) -> CenterStatus:
    """The row of a center that a backup writes to: with a backlog it is not synced."""
    if not row.backlog_commits or row.state not in (None, SyncState.SYNCED):
        return row
    return replace(
        row,
        state=SyncState.DEGRADED,
        state_since=None,
        reason=f"commits that another center has and it lacks: {row.backlog_commits}",
    )


def _seen(
    row: CenterStatus,
    store: ReadStore,
    log: Log,
    longest: ReadStore,
    trusted: TrustedKeys,
    clock: Clock,
    jobs: Collection[str],
) -> CenterStatus:
    now = clock.now()
    points, warning = recovery_points(log, now, jobs)
    point = worst(points)
    newest = point.snapshot if point else None
    try:
        pending = () if store is longest else backlog(longest, store, trusted, repository_of(store))
        record = read_record(store, now)
        pause = read_pause(store, clock)
        freeze = read_freeze(store, clock)
    except GovsecError as error:
        return replace(row, error=str(error))
    return replace(
        row,
        error=row.error or warning,
        head=log.head,
        snapshot_id=newest.id if newest else None,
        snapshot_time=newest.time if newest else None,
        recovery_point_age_s=point.age_s if point else None,
        points=points,
        backlog_commits=len(pending),
        backlog_objects=sum(entry.commit.added.count for entry in pending),
        backlog_bytes=sum(entry.commit.added.size_bytes for entry in pending),
        flaws_count=len(log.flaws),
        damaged_count=record.damaged_count if record else None,
        verified=record.time if record else None,
        pause=pause,
        freeze=freeze,
    )
