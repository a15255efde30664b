"""``govsec pg status`` and ``verify``: what can be recovered, and whether what lies there is whole."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from govsec.cli import frame, texts
from govsec.cli.where import site_of
from govsec.errors import UsageError

if TYPE_CHECKING:
    from govsec.assemble.postgresstatus import CenterFacts, JobStatus

_EXIT_FINDINGS, _EXIT_DAMAGED = 1, 6


def run_status(args: argparse.Namespace, io: frame.IO) -> int:
    """Say what can be recovered from each center."""
    from govsec.assemble.postgresjobs import postgres_job
    from govsec.assemble.postgresstatus import status_of_job

    site, system = site_of(args, io)
    job, source = postgres_job(system, args.job)
    status = status_of_job(site, system, job, source)
    io.result({"status": status}, lambda: "\n".join(_lines(status)))
    return _EXIT_FINDINGS if status.findings else 0


def run_verify(args: argparse.Namespace, io: frame.IO) -> int:
    """Read everything at a center."""
    from govsec.assemble.postgresjobs import postgres_job
    from govsec.assemble.postgresstatus import verify_job
    from govsec.config import Role

    site, system = site_of(args, io)
    job, _ = postgres_job(system, args.job)
    center = args.center or site.name_of(Role.PRODUCTION)
    if center is None:
        raise UsageError("name a center with --center; the configuration has none with the role production")
    report = verify_job(site, system, job, center)
    lines = [
        f"{report.center}: {report.segments} segments and {report.files} files of base backups, "
        f"{texts.size(report.size_bytes)} read, snapshot {report.snapshot[:8]}: "
        + ("all as they were" if not report.problems_count else f"{report.problems_count} problems"),
        *(f"  {texts.printable(problem)}" for problem in report.problems),
    ]
    io.result({"verify": report}, "\n".join(lines))
    return _EXIT_DAMAGED if report.problems_count else 0


def _lines(status: JobStatus) -> list[str]:
    slot = status.slot
    if slot.error:
        words = slot.error
    else:
        words = (
            f"slot {slot.status or 'not there'}, {'streamed from' if slot.is_active else 'nobody streams from it'}, "
            f"keeps {texts.size(slot.kept_bytes)} of {texts.size(slot.limit_bytes)}"
        )
    lines = [f"{status.job}: {words}"]
    for center in status.centers:
        lines += _center_lines(center)
    lines += [f"FINDING {texts.printable(finding)}" for finding in status.findings]
    return lines


def _center_lines(center: CenterFacts) -> list[str]:
    if center.error:
        return [f"{center.center} ({center.role}): {center.error}"]
    age = "" if center.recovery_point_age_s is None else f", recovery point {center.recovery_point_age_s:.1f} s old"
    lines = [f"{center.center} ({center.role}): snapshot {center.snapshot[:8]}{age}"]
    for window in center.windows:
        lines.append(
            f"  {window.start:%Y-%m-%d %H:%M:%SZ} to {window.end:%Y-%m-%d %H:%M:%SZ}  {window.start_lsn} to "
            f"{window.end_lsn}  timeline {window.timeline}  base {window.base}"
        )
        if window.missing_to is not None:
            lines.append(
                f"    GAP {window.missing_from} to {window.missing_to}: nothing after it from this base backup"
            )
    lines += [f"  GAP {gap}" for gap in center.gaps]
    return lines
