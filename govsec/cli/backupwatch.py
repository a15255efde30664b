"""``govsec backup watch``: continuous protection of a job's files, and how it stands."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from govsec.cli import frame, texts
from govsec.cli.where import site_of
from govsec.clock import format_time
from govsec.errors import UsageError

if TYPE_CHECKING:
    from govsec.assemble.watchstatus import WatchRecord
    from govsec.centers.near import Receipt

_WATCHDOG_EVERY_S = 20.0
EXIT_FINDINGS = 1


def run_watch(args: argparse.Namespace, io: frame.IO) -> int:
    """Protect until SIGTERM or Ctrl-C, which end it with 0: ending is what was asked for."""
    if args.status or args.prometheus:
        return _print_status(args, io)
    from govsec.assemble.watch import WatchTold, watch_job, watched_job
    from govsec.runtime.ticks import Stop, notify

    site, system = site_of(args, io)
    job = watched_job(system, args.job or "")
    heard = [io.clock.monotonic()]

    def alive() -> None:
        if io.clock.monotonic() - heard[0] >= _WATCHDOG_EVERY_S:
            heard[0] = io.clock.monotonic()
            notify("WATCHDOG=1")

    def receipt(found: Receipt, lag_s: float | None) -> None:
        facts = {
            "job": job.name,
            "commit": found.number,
            "snapshot": found.snapshot_id,
            "held_by": list(found.held_by),
            "reached": found.reached,
            "time": found.time,
            "lag_s": None if lag_s is None else round(lag_s, 3),
        }
        oldest = "no change" if lag_s is None else f"oldest change {texts.duration(lag_s)} old"
        held = ", ".join(found.held_by)
        io.result(
            facts, f"{job.name}: {(found.snapshot_id or '')[:8]} held by {held} (commit {found.number}), {oldest}"
        )

    stop = Stop()
    stop.on_signals()

    def is_stopped() -> bool:
        alive()
        return stop.is_set

    notify("READY=1")
    watch_job(
        site,
        system,
        job,
        is_stopped=is_stopped,
        told=WatchTold(io.talk, receipt, alive),
        is_source_accepted=args.accept_source,
        workers=args.workers,
    )
    notify("STOPPING=1")
    return 0


def _print_status(args: argparse.Namespace, io: frame.IO) -> int:
    """How the watchers stand, of one job or of all that are watched; 1 when a person is needed."""
    from govsec.assemble.watchstatus import as_prometheus, read_record, state_path

    site, system = site_of(args, io)
    jobs = [job.name for job in system.backups if job.watch is not None and args.job in (None, job.name)]
    if not jobs:
        raise UsageError(f"system {system.name} has no job {args.job or ''} that is watched (`watch: {{}}`)")
    records = {job: read_record(state_path(site, system, job)) for job in jobs}
    found = [record for record in records.values() if record is not None]
    if args.prometheus:
        io.raw(as_prometheus(found, io.clock).encode())
        return 0
    now = io.clock.now()
    troubles = {job: "never began" if record is None else record.trouble(now) for job, record in records.items()}
    facts = [
        {
            "job": job,
            "trouble": troubles[job],
            "pack_size_mean_bytes": None if record is None else round(record.pack_size_mean),
            "watcher": None if record is None else record.model_dump(mode="json"),
        }
        for job, record in records.items()
    ]
    lines = [line for job, record in records.items() for line in _status_lines(job, record, troubles[job])]
    io.result({"system": system.name, "watchers": facts}, "\n".join(lines))
    return EXIT_FINDINGS if any(troubles.values()) else 0


def _status_lines(job: str, record: WatchRecord | None, trouble: str) -> list[str]:
    lines = [f"{job}: {trouble or 'follows'}"]
    if record is None:
        return lines
    counts = record.counts
    since = f" since {format_time(record.problem_since)}" if record.problem_since else ""
    lines.append(f"  {record.phase}{since}; last receipt {format_time(record.last) if record.last else 'never'}")
    lines.append(
        f"  {counts.get('windows', 0)} windows, {counts.get('heartbeats', 0)} without changes, "
        f"{counts.get('scans', 0)} comparisons, {counts.get('losses', 0)} times events were lost, "
        f"{counts.get('failures', 0)} failures"
    )
    lines.append(f"  {counts.get('packs', 0)} packs of {texts.size(round(record.pack_size_mean))} on average")
    for interval in record.lag:
        p50, p95, largest = (
            texts.duration(value / 1000) for value in (interval.p50_ms, interval.p95_ms, interval.max_ms)
        )
        lines.append(
            f"  {interval.center}: lag p50 {p50}, p95 {p95}, max {largest} of {interval.snapshots_count} snapshots"
        )
    return lines
