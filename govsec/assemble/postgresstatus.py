"""How a PostgreSQL job stands: what can be recovered from each center, and what the server keeps for us."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from govsec.assemble.access import readable_centers
from govsec.assemble.postgres import open_view
from govsec.assemble.postgresjobs import account_of
from govsec.errors import GovsecError, IntegrityError
from govsec.postgres.basebackup import MANIFEST
from govsec.postgres.connection import Connection
from govsec.postgres.manifest import verify_files
from govsec.postgres.slots import slot_state
from govsec.postgres.view import LogView
from govsec.postgres.wal import HEAD_SIZE, check_head, format_lsn
from govsec.postgres.window import windows

if TYPE_CHECKING:
    from govsec.assemble.systems import Site
    from govsec.config import BackupConfig, SystemConfig
    from govsec.postgresentry import PostgresSourceConfig

_PROBLEMS_MAX = 100


@dataclass(frozen=True, slots=True)
class WindowFacts:
    """What one base backup and the log after it can be recovered to."""

    base: str
    timeline: int
    start: datetime
    end: datetime
    start_lsn: str
    end_lsn: str
    #: What is missing behind ``end``, when there is more log behind that.
    missing_from: str | None = None
    missing_to: str | None = None


@dataclass(frozen=True, slots=True)
class CenterFacts:
    """What one center holds of a job."""

    center: str
    role: str
    error: str = ""
    snapshot: str = ""
    recovery_point: datetime | None = None
    recovery_point_age_s: float | None = None
    windows: tuple[WindowFacts, ...] = ()
    gaps: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SlotFacts:
    """What the server says of the slot."""

    error: str = ""
    is_active: bool = False
    kept_bytes: int = 0
    limit_bytes: int = 0
    status: str = ""


@dataclass(frozen=True, slots=True)
class JobStatus:
    """A job at all centers."""

    job: str
    slot: SlotFacts
    centers: tuple[CenterFacts, ...]
    findings: tuple[str, ...]


def status_of_job(site: Site, system: SystemConfig, job: BackupConfig, source: PostgresSourceConfig) -> JobStatus:
    """What can be recovered from each center that this site can read, and what of that is not as it should be."""
    slot = _slot(site, source)
    centers = tuple(_center(site, system, job, name) for name in readable_centers(site))
    findings = []
    if slot.error:
        findings.append(f"the server: {slot.error}")
    elif slot.status in ("", "lost"):
        findings.append(f"slot {source.slot}: {slot.status or 'not there'}")
    elif slot.kept_bytes > slot.limit_bytes:
        findings.append(f"slot {source.slot} keeps {slot.kept_bytes} bytes of log; the limit is {slot.limit_bytes}")
    elif not slot.is_active:
        findings.append(f"slot {source.slot}: nobody streams from it; `govsec pg stream` does")
    for center in centers:
        if center.error or not center.windows:
            findings.append(f"{center.center}: {center.error or 'there is no base backup to recover from'}")
        findings += [
            f"{center.center}: base {item.base} ends at {item.end_lsn}: the log to {item.missing_to} is missing"
            for item in center.windows
            if item.missing_to is not None
        ]
        age_s = center.recovery_point_age_s
        if age_s is not None and age_s > system.objectives.rpo_s:
            rpo_s = system.objectives.rpo_s
            findings.append(f"{center.center}: the recovery point is {age_s:.0f} s old; the RPO is {rpo_s} s")
    return JobStatus(job.name, slot, centers, tuple(findings))


def _slot(site: Site, source: PostgresSourceConfig) -> SlotFacts:
    try:
        with Connection.open(account_of(source), site.clock) as database:
            state = slot_state(database, source.slot)
    except GovsecError as error:
        return SlotFacts(error=str(error), limit_bytes=source.slot_bytes_max)
    if state is None:
        return SlotFacts(limit_bytes=source.slot_bytes_max)
    return SlotFacts("", state.is_active, state.kept_bytes, source.slot_bytes_max, state.status)


def _center(site: Site, system: SystemConfig, job: BackupConfig, name: str) -> CenterFacts:
    role = site.center(name)[1].role.value
    try:
        view = open_view(site, system, job, center=name, is_alone=True)
        found = windows(view.page, view.segments(), view.histories())
    except GovsecError as error:
        return CenterFacts(name, role, error=str(error))
    facts = tuple(
        WindowFacts(
            window.base.id,
            window.timeline,
            window.start_time,
            window.end_time,
            format_lsn(window.start),
            format_lsn(window.end),
            None if window.hole is None else format_lsn(window.hole.start),
            None if window.hole is None else format_lsn(window.hole.end),
        )
        for window in found
    )
    point = max((window.end_time for window in found), default=None)
    age_s = None if point is None else round((site.clock.now() - point).total_seconds(), 3)
    gaps = tuple(f"{gap.start} to {gap.end} ({gap.why})" for gap in view.page.gaps)
    return CenterFacts(name, role, "", view.snapshot.id, point, age_s, facts, gaps)


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What reading everything at a center found."""

    center: str
    snapshot: str
    segments: int
    files: int
    size_bytes: int
    problems: tuple[str, ...]
    problems_count: int


def verify_job(site: Site, system: SystemConfig, job: BackupConfig, center: str | None) -> VerifyReport:
    """Read every segment and every file of every base backup at a center; compare with heads and manifests.

    Raises:
        ObjectNotFoundError: the center has no log of this job.
    """
    view = open_view(site, system, job, center=center, is_alone=True)
    problems: list[str] = []
    size = segments = files = 0
    for item in view.segments():
        segments += 1
        assert item.node is not None  # a view has nodes
        try:
            data = view.content(item.node, item.segment.size)
            check_head(data[:HEAD_SIZE], item.segment, int(view.page.system_id))
            size += len(data)
        except GovsecError as error:
            problems.append(str(error))
    for window in windows(view.page, view.segments(), view.histories()):
        if window.hole is not None:
            hole = f"{format_lsn(window.hole.start)} to {format_lsn(window.hole.end)}"
            problems.append(f"base {window.base.id}: the log from {hole} is missing")
        count, length, wrong = _verify_base(view, window.base.id)
        files, size = files + count, size + length
        problems += wrong
    return VerifyReport(
        view.repository.store.name,
        view.snapshot.id,
        segments,
        files,
        size,
        tuple(problems[:_PROBLEMS_MAX]),
        len(problems),
    )


def _verify_base(view: LogView, base_id: str) -> tuple[int, int, list[str]]:
    try:
        return verify_files(view, f"base/{base_id}", MANIFEST)
    except IntegrityError as error:
        return 0, 0, [str(error)]
