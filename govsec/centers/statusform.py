"""The status of centers for machines: JSON with stable names, and the Prometheus text format (version 0.0.4)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from govsec.centers.state import SyncState
from govsec.centers.status import CenterStatus, Status
from govsec.clock import format_time


def as_json(status: Status) -> dict[str, object]:
    """The status with stable names, for ``--json``."""
    return {
        "system": status.system,
        "time": format_time(status.time),
        "is_good": status.is_good,
        "centers": [_row_as_json(row) for row in status.centers],
        "lags": [
            {
                "job": lag.job,
                "center": lag.center,
                "since": _moment(lag.since),
                "until": _moment(lag.until),
                "covered_share": round(lag.covered_share, 4),
                "snapshots_count": lag.snapshots_count,
                "p50_s": lag.p50_s,
                "p95_s": lag.p95_s,
                "max_s": lag.max_s,
            }
            for lag in status.lags
        ],
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
        "jobs": [
            {
                "job": point.job,
                "snapshot_id": point.snapshot.id if point.snapshot else None,
                "snapshot_time": _moment(point.snapshot.time if point.snapshot else None),
                "recovery_point_age_s": point.age_s,
                "is_within_rpo": point.is_within(row.rpo_s),
                "counts": point.counts,
            }
            for point in row.points
        ],
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
        "frozen_until": _moment(row.freeze.until) if row.freeze else None,
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
        "Age of the newest complete snapshot of the job that is furthest behind.",
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
    ("govsec_center_frozen", "1 while nothing may be let go there.", lambda row: int(row.freeze is not None)),
    (
        "govsec_center_verified_timestamp_seconds",
        "When the center was last verified.",
        lambda row: row.verified.timestamp() if row.verified else None,
    ),
)


_JOB_METRIC = "govsec_center_job_recovery_point_age_seconds"


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
    lines += [
        f"# HELP {_JOB_METRIC} Age of the newest complete snapshot of a job; counts=0: it is no finding.",
        f"# TYPE {_JOB_METRIC} gauge",
    ]
    for status in statuses:
        for row in status.centers:
            lines += [
                f'{_JOB_METRIC}{{{_labels(status, row)},job="{_escaped(point.job)}",counts="{int(point.counts)}"}} '
                f"{point.age_s:.10g}"
                for point in row.points
                if point.age_s is not None
            ]
    lines += [
        "# HELP govsec_center_lag_seconds How long changes were not yet at the center, measured over the last day.",
        "# TYPE govsec_center_lag_seconds gauge",
    ]
    for status in statuses:
        for lag in status.lags:
            pairs = f'system="{_escaped(status.system)}",center="{_escaped(lag.center)}",job="{_escaped(lag.job)}"'
            for what, seconds in (("p50", lag.p50_s), ("p95", lag.p95_s), ("max", lag.max_s)):
                lines.append(f'govsec_center_lag_seconds{{{pairs},of="{what}"}} {seconds:.10g}')
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
