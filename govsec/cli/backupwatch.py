"""``govsec backup watch``: continuous protection of a job's files, and how it stands."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from govsec.cli import frame, texts
from govsec.cli.where import site_of

if TYPE_CHECKING:
    from govsec.centers.near import Receipt

_WATCHDOG_EVERY_S = 20.0


def run_watch(args: argparse.Namespace, io: frame.IO) -> int:
    """Protect until SIGTERM or Ctrl-C, which end it with 0: ending is what was asked for."""
    from govsec.assemble.watch import WatchTold, watch_job, watched_job
    from govsec.runtime.ticks import Stop, notify

    site, system = site_of(args, io)
    job = watched_job(system, args.job)
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
