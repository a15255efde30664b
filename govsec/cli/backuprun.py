"""``govsec backup run`` and ``stdin``: back up, and say what came of it."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from govsec.cli import frame, texts
from govsec.cli.where import begin_directory, problem_lines, site_of
from govsec.clock import format_time
from govsec.errors import GovsecError, UsageError

if TYPE_CHECKING:  # see govsec.cli.where
    from govsec.assemble.backup import JobReport
    from govsec.centers.near import Receipt


def run_run(args: argparse.Namespace, io: frame.IO) -> int:
    """Back up; 1 when a snapshot is incomplete.

    Jobs do not depend on each other: one that fails is named and the next is run. The exit code is then that of the
    failure, and 1 where there were several kinds. A receipt that meets the mode's demand ends with 0 also when a
    center is behind; that is said on both standard output and standard error.
    """
    if args.repo is not None:
        return _print_reports([_run_directory(args, io)], io)
    if args.paths:
        raise UsageError("paths are given with --repo; a system's paths are in the configuration")
    from govsec.assemble.backup import jobs_of, run_job

    site, system = site_of(args, io)
    jobs = jobs_of(system, tuple(args.job))
    reports: list[JobReport] = []
    failures: dict[str, GovsecError] = {}
    for job in jobs:
        try:
            reports.append(
                run_job(
                    site,
                    system,
                    job,
                    workers=args.workers,
                    is_rereading=args.reread,
                    is_clock_accepted=args.accept_clock,
                    progress=io.progress,
                )
            )
        except GovsecError as error:
            if len(jobs) == 1:
                raise
            failures[job.name] = error
    return _print_reports(reports, io, failures)


def run_stdin(args: argparse.Namespace, io: frame.IO) -> int:
    """Back up standard input."""
    import sys

    from govsec.backup.sources import StreamSource

    source = StreamSource(sys.stdin.buffer, args.name)
    opened = None if args.repo is None else begin_directory(args, io)
    from govsec.assemble.backup import jobs_of, run_directory, run_job

    if opened is not None:
        report = run_directory(
            opened,
            source,
            clock=io.clock,
            tags=tuple(args.tag),
            is_clock_accepted=args.accept_clock,
            progress=io.progress,
        )
    else:
        site, system = site_of(args, io)
        job = jobs_of(system, tuple(args.job))[0]
        report = run_job(site, system, job, source=source, is_clock_accepted=args.accept_clock, progress=io.progress)
    return _print_reports([report], io)


def _run_directory(args: argparse.Namespace, io: frame.IO) -> JobReport:
    if not args.paths:
        raise UsageError("name at least one path to back up")
    # A repository is made when everything else was found right; one that is there is opened while the rest is loaded.
    opened = None if args.create else begin_directory(args, io)
    from govsec.backup.sources import FileSource

    source = FileSource(args.paths, exclude=args.exclude, one_file_system=args.one_file_system)
    if opened is None:
        opened = begin_directory(args, io, create=True)
    from govsec.assemble.backup import run_directory

    return run_directory(
        opened,
        source,
        clock=io.clock,
        tags=tuple(args.tag),
        workers=args.workers,
        is_rereading=args.reread,
        is_clock_accepted=args.accept_clock,
        progress=io.progress,
    )


def _print_reports(reports: list[JobReport], io: frame.IO, failures: Mapping[str, GovsecError] | None = None) -> int:
    failures = failures or {}
    lines = []
    behind = []
    for report in reports:
        result = report.result
        title = f"{report.job}: " if report.job else ""
        seconds = sum(result.seconds.values())
        lines.append(
            f"{title}snapshot {result.snapshot.short_id}: {result.files} files, {texts.size(result.size_bytes)}, "
            f"{texts.size(result.summary.data_added_packed)} new, in {texts.duration(seconds)}"
        )
        if report.receipt is not None:
            lines.append(f"  held by {', '.join(report.receipt.held_by)} (commit {report.receipt.number})")
            missing = [f"{title}{line}" for line in _missing_lines(report.receipt)]
            lines += [f"  {line}" for line in missing]
            behind += missing
        lines += problem_lines(result.problems, result.problems_count)
    lines += [f"{job}: FAILED: {texts.printable(str(error))}" for job, error in failures.items()]
    errors = [
        {"job": job, "kind": frame.kind_of(error), "message": str(error), "exit_code": error.exit_code}
        for job, error in failures.items()
    ]
    io.result({"backups": [_report_facts(report) for report in reports], "errors": errors}, "\n".join(lines))
    for line in [*behind, *(f"{job}: {error}" for job, error in failures.items())]:
        io.warn(line)
    codes = {error.exit_code for error in failures.values()}
    if not all(report.result.is_complete for report in reports):
        codes.add(1)
    return 0 if not codes else codes.pop() if len(codes) == 1 else 1


def _missing_lines(receipt: Receipt) -> list[str]:
    """A line for each center that should hold the commit and does not."""
    if receipt.reached != "degraded":
        return []
    lines = []
    for name, state in receipt.states.items():
        if name not in receipt.held_by:
            since = "" if state.since is None else f", {state.state.value} since {format_time(state.since)}"
            lines.append(f"NOT at {name}: {state.reason or 'it did not take everything'}{since}")
    return lines


def _report_facts(report: JobReport) -> dict[str, Any]:
    result = report.result
    return {
        "job": report.job,
        "snapshot": result.snapshot_id,
        "time": result.snapshot.time,
        "files": result.files,
        "bytes": result.size_bytes,
        "summary": {name: getattr(result.summary, name) for name in result.summary.__struct_fields__},
        "objects": len(result.objects),
        "seconds": result.seconds,
        "problems": result.problems,
        "problems_count": result.problems_count,
        "receipt": report.receipt,
        "witness": {"nonce": report.has_nonce, "samples": report.samples_count},
    }
