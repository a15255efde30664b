"""The status of centers in words: a table that fits a terminal of 100 columns, and below it what needs a sentence."""

from __future__ import annotations

from govsec.centers.points import RecoveryPoint
from govsec.centers.state import SyncState
from govsec.centers.status import CenterStatus, Status
from govsec.cli import texts

_HEADER = ("center", "job", "newest", "age", "backlog", "state", "verified")
#: Names of centers and jobs are cut here; what is cut is whole in the lines below and in --json.
_NAME_WIDTH = 16


def status_words(status: Status) -> str:
    """The table of one system: a line for each job at each center, and the notes."""
    rows = [cells for center in status.centers for cells in _lines(center)]
    rpo_s = status.centers[0].rpo_s if status.centers else 0
    title = f"{status.system}: a recovery point may be {texts.duration(rpo_s)} old"
    return "\n".join([title, texts.table(_HEADER, rows), *_notes(status), *_lags(status)])


def _lines(row: CenterStatus) -> list[tuple[str, ...]]:
    first = (_backlog(row), _state(row), "never" if row.verified is None else f"{row.verified:%Y-%m-%d}")
    if not row.points:
        return [(_cut(row.center), "", "none", "?", *first)]
    lines = [(_job(point), _newest(point), _age(point, row.rpo_s)) for point in row.points]
    rest = [("", *line, "", "", "") for line in lines[1:]]
    return [(_cut(row.center), *lines[0], *first), *rest]


def _job(point: RecoveryPoint) -> str:
    return _cut(point.job or "(no job)")


def _newest(point: RecoveryPoint) -> str:
    return point.snapshot.id[:8] if point.snapshot else "none"


def _age(point: RecoveryPoint, rpo_s: int) -> str:
    age = "never" if point.age_s is None else texts.duration(point.age_s)
    if not point.counts:
        return f"({age})"
    return age if point.is_within(rpo_s) else f"{age} MISSED"


def _cut(name: str) -> str:
    return name if len(name) <= _NAME_WIDTH else name[: _NAME_WIDTH - 1] + "…"


def _backlog(row: CenterStatus) -> str:
    if row.backlog_objects is None or row.backlog_bytes is None:
        return "?"
    return "-" if not row.backlog_commits else f"{row.backlog_objects} / {texts.size(row.backlog_bytes)}"


def _state(row: CenterStatus) -> str:
    if row.error and row.head is None:
        return "unreachable"
    return "follows" if row.state is None else row.state.value


def _lags(status: Status) -> list[str]:
    """What was measured of the last day, a line for each job and center."""
    return [
        f"lag of {_cut(lag.job or '(no job)')} at {_cut(lag.center)}: p50 {texts.duration(lag.p50_s)}, "
        f"p95 {texts.duration(lag.p95_s)}, max {texts.duration(lag.max_s)} ({lag.snapshots_count} snapshots, "
        f"measured {lag.covered_share:.0%} of the time until {lag.until:%Y-%m-%d %H:%M}Z)"
        for lag in status.lags
    ]


def _notes(status: Status) -> list[str]:
    notes = []
    for row in status.centers:
        found = [row.error] if row.error else []
        if row.state not in (None, SyncState.SYNCED):
            since = f" since {row.state_since:%Y-%m-%d %H:%M}Z" if row.state_since else ""
            found.append(f"{row.state.value}{since}" + (f": {row.reason}" if row.reason else ""))
        late = [point.job or "(no job)" for point in row.points if point.counts and not point.is_within(row.rpo_s)]
        if late and len(row.points) > 1:
            found.append(f"no recent snapshot of {', '.join(late)}")
        if row.damaged_count:
            found.append(f"{row.damaged_count} damaged objects")
        if row.flaws_count:
            found.append(f"{row.flaws_count} flaws in the commit log")
        if row.pause:
            found.append(f"paused by {row.pause.by} until {row.pause.until:%Y-%m-%d %H:%M}Z: {row.pause.reason}")
        if row.freeze:
            found.append(f"frozen by {row.freeze.by} until {row.freeze.until:%Y-%m-%d %H:%M}Z: {row.freeze.reason}")
        if row.protection:
            found.append(row.protection)
        notes += [f"{row.center}: {words}" for words in found]
    return notes
