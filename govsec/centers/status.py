"""How each center stands, from its own commit log: no key, no repository, a few small reads.

The recovery point of a center is the newest snapshot that its log says is complete there; its age is what would be lost
if only this center were left. A center that cannot be read has no age, and is never green.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from govsec.centers.commits import SnapshotRef
from govsec.centers.log import Log, Position, read_log
from govsec.centers.pause import Pause, read_pause
from govsec.centers.records import read_record
from govsec.centers.ship import backlog, repository_of
from govsec.centers.state import CenterState, SyncState, age_s
from govsec.clock import Clock, format_time
from govsec.config import Role
from govsec.crypto.signing import TrustedKeys
from govsec.errors import GovsecError
from govsec.store.api import ReadStore

#: How far two clocks may differ before one of them counts as wrong.
_SKEW_MAX = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class CenterStatus:
    """One center at one moment."""

    center: str
    role: Role
    head: Position | None = None
    snapshot_id: str | None = None
    snapshot_time: datetime | None = None
    recovery_point_age_s: float | None = None
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
    error: str = ""

    @property
    def is_within_rpo(self) -> bool:
        """True when the newest snapshot there is young enough."""
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
    written_at_once: Collection[str] = (),
    threads: int = 0,
) -> Status:
    """The status of each center: role, store (or why it could not be opened) and name.

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
            row = _seen(common, by_name[name], logs[name], by_name[longest], trusted, clock, now)
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
    now: datetime,
) -> CenterStatus:
    newest, warning = _recovery_point(log, now)
    try:
        pending = () if store is longest else backlog(longest, store, trusted, repository_of(store))
        record = read_record(store, now)
        pause = read_pause(store, clock)
    except GovsecError as error:
        return replace(row, error=str(error))
    return replace(
        row,
        error=row.error or warning,
        head=log.head,
        snapshot_id=newest.id if newest else None,
        snapshot_time=newest.time if newest else None,
        recovery_point_age_s=age_s(newest.time, now) if newest else None,
        backlog_commits=len(pending),
        backlog_objects=sum(entry.commit.added.count for entry in pending),
        backlog_bytes=sum(entry.commit.added.size_bytes for entry in pending),
        flaws_count=len(log.flaws),
        damaged_count=record.damaged_count if record else None,
        verified=record.time if record else None,
        pause=pause,
    )


def _recovery_point(log: Log, now: datetime) -> tuple[SnapshotRef | None, str]:
    """The newest snapshot that can be believed, and what is wrong with the one that was committed last.

    A snapshot from the future is no recovery point of age zero: it would be the newest for as long as the clock was
    ahead, and hide that backups have stopped.
    """
    named = [entry.commit.snapshot for entry in log.entries if entry.commit.snapshot is not None]
    if log.checkpoint is not None and log.checkpoint.newest is not None:
        named.insert(0, log.checkpoint.newest)
    past = [snapshot for snapshot in named if snapshot.time <= now + _SKEW_MAX]
    newest = max(past, key=lambda snapshot: snapshot.time, default=None)
    if named and named[-1].time > now + _SKEW_MAX:
        ahead = format_time(named[-1].time)
        return newest, f"the snapshot that was committed last says {ahead}: a clock, there or here, is wrong"
    return newest, ""


def as_json(status: Status) -> dict[str, object]:
    """The status with stable names, for ``--json``."""
    return {
        "system": status.system,
        "time": format_time(status.time),
        "is_good": status.is_good,
        "centers": [_row_as_json(row) for row in status.centers],
    }


def _row_as_json(row: CenterStatus) -> dict[str, object]:
    return {
        "center": row.center,
        "role": row.role.value,
        "is_good": row.is_good,
        "head": None if row.head is None else {"number": row.head.number, "digest": row.head.digest},
        "snapshot_id": row.snapshot_id,
        "snapshot_time": _moment(row.snapshot_time),
        "recovery_point_age_s": row.recovery_point_age_s,
        "rpo_s": row.rpo_s,
        "is_within_rpo": row.is_within_rpo,
        "backlog_commits": row.backlog_commits,
        "backlog_objects": row.backlog_objects,
        "backlog_bytes": row.backlog_bytes,
        "state": row.state.value if row.state else None,
        "state_since": _moment(row.state_since),
        "outage_since": _moment(row.outage_since),
        "reason": row.reason,
        "is_protected": row.is_protected,
        "protection": row.protection,
        "damaged_count": row.damaged_count,
        "verified": _moment(row.verified),
        "flaws_count": row.flaws_count,
        "paused_until": _moment(row.pause.until) if row.pause else None,
        "error": row.error,
    }


def _moment(moment: datetime | None) -> str | None:
    return None if moment is None else format_time(moment)


#: Metric, help, and the value for a row (None: not known, then the sample is left out).
_METRICS = (
    ("govsec_center_up", "1 when the center could be read.", lambda row: 0 if row.error else 1),
    ("govsec_center_good", "1 when nothing about the center needs a person.", lambda row: int(row.is_good)),
    (
        "govsec_center_recovery_point_age_seconds",
        "Age of the newest complete snapshot.",
        lambda row: row.recovery_point_age_s,
    ),
    ("govsec_center_rpo_seconds", "The agreed recovery point objective.", lambda row: row.rpo_s),
    ("govsec_center_head", "Number of the newest commit.", lambda row: row.head.number if row.head else None),
    ("govsec_center_backlog_commits", "Commits that the center lacks.", lambda row: row.backlog_commits),
    ("govsec_center_backlog_objects", "Objects that the center lacks.", lambda row: row.backlog_objects),
    ("govsec_center_backlog_bytes", "Bytes that the center lacks.", lambda row: row.backlog_bytes),
    ("govsec_center_damaged_objects", "Objects known to be damaged.", lambda row: row.damaged_count),
    ("govsec_center_log_flaws", "Objects in the commit log that do not belong there.", lambda row: row.flaws_count),
    (
        "govsec_center_protected",
        "1 when production's credential can erase nothing there.",
        lambda row: None if row.is_protected is None else int(row.is_protected),
    ),
    ("govsec_center_paused", "1 while a person paused the center.", lambda row: int(row.pause is not None)),
    (
        "govsec_center_verified_timestamp_seconds",
        "When the center was last verified.",
        lambda row: row.verified.timestamp() if row.verified else None,
    ),
)


def as_prometheus(statuses: Sequence[Status]) -> str:
    """The statuses in the Prometheus text format, version 0.0.4."""
    lines = []
    for metric, words, value_of in _METRICS:
        lines += [f"# HELP {metric} {words}", f"# TYPE {metric} gauge"]
        for status in statuses:
            for row in status.centers:
                value = value_of(row)
                if value is not None:
                    lines.append(f"{metric}{{{_labels(status, row)}}} {value:.10g}")
    lines += ["# HELP govsec_center_state 1 for the state that the center is in.", "# TYPE govsec_center_state gauge"]
    for status in statuses:
        for row in status.centers:
            if row.state is not None:
                lines += [
                    f'govsec_center_state{{{_labels(status, row)},state="{state.value}"}} {int(state is row.state)}'
                    for state in SyncState
                ]
    return "\n".join(lines) + "\n"


def _labels(status: Status, row: CenterStatus) -> str:
    pairs = (("system", status.system), ("center", row.center), ("role", row.role.value))
    return ",".join(f'{key}="{_escaped(value)}"' for key, value in pairs)


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
