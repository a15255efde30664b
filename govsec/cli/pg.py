"""``govsec pg``: base backups and the log of PostgreSQL servers, and bringing them back to a moment."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from govsec.cli import frame, texts
from govsec.cli.pgview import run_status, run_verify
from govsec.cli.pgwal import run_fetch, run_push
from govsec.cli.where import site_of
from govsec.errors import UsageError

if TYPE_CHECKING:  # pydantic and numpy take their time; `govsec pg --help` does without them
    from govsec.postgres.logbook import Logbook
    from govsec.postgres.streaming import WindowReport


def register(parser: frame.Parser) -> None:
    """Add the verbs."""
    verbs = frame.verbs_of(parser)
    backup = frame.add_verb(
        verbs,
        "backup",
        run_backup,
        "take a base backup, streamed into the repository without a temporary copy",
        examples=["govsec pg backup --job hr-db"],
    )
    backup.add_argument("--spread", action="store_true", help="let the server spread its checkpoint over time")
    stream = frame.add_verb(
        verbs,
        "stream",
        run_stream,
        "follow the server's log until stopped; a recovery point every window (default two seconds)",
        examples=["govsec pg stream --job hr-db"],
    )
    status = frame.add_verb(
        verbs,
        "status",
        run_status,
        "what can be recovered from each center, with gaps, and what the slot keeps; 1 when something is wrong",
        examples=["govsec pg status", "govsec pg status --json"],
    )
    restore = frame.add_verb(
        verbs,
        "restore",
        run_restore,
        "write a data directory that recovers to a moment when it is started",
        examples=[
            "govsec pg restore --to /srv/pg --center remote --time 2026-11-22T13:05:00+08:00",
            "govsec pg restore --to /srv/pg --lsn 0/3000158",
        ],
    )
    _add_restore(restore)
    verify = frame.add_verb(
        verbs,
        "verify",
        run_verify,
        "read every segment and every base backup at a center against heads and manifests; 6 when one is damaged",
        examples=["govsec pg verify --center remote"],
    )
    verify.add_argument("--center", help="which center (default: production)")
    push = frame.add_verb(
        verbs,
        "wal-push",
        run_push,
        "for archive_command: return when the centers hold this file of the log",
        examples=["archive_command = 'govsec pg wal-push %p'"],
    )
    push.add_argument("path", type=Path, metavar="PATH", help="%%p of archive_command")
    fetch = frame.add_verb(
        verbs,
        "wal-fetch",
        run_fetch,
        "for restore_command: write this file of the log; 1 when there is none, 200 and more when nobody can say",
        examples=["restore_command = 'govsec pg wal-fetch %f %p'"],
    )
    fetch.add_argument("name", metavar="NAME", help="%%f of restore_command")
    fetch.add_argument("path", type=Path, metavar="PATH", help="%%p of restore_command")
    fetch.add_argument("--center", help="from which center (default: the first that can be read)")
    for verb in (backup, stream, status, restore, verify, push, fetch):
        verb.add_argument("--system", help="the system (default: the only one)")
        verb.add_argument("--job", help="the PostgreSQL job (default: the only one)")


def run_backup(args: argparse.Namespace, io: frame.IO) -> int:
    """Take a base backup."""
    from govsec.assemble.postgres import backup_base
    from govsec.assemble.postgresjobs import postgres_job

    site, system = site_of(args, io)
    job, source = postgres_job(system, args.job)
    report = backup_base(site, system, job, source, is_fast=not args.spread, say=io.warn, progress=io.progress)
    base, result = report.base, report.result
    facts = {
        "base": base.model_dump(mode="json"),
        "snapshot": result.snapshot_id,
        "bytes_added": result.summary.data_added_packed,
        "receipt": report.receipt,
        "is_in_log": report.is_in_log,
    }
    io.result(
        facts,
        f"base backup {base.id}: {texts.size(base.size_bytes)}, {texts.size(result.summary.data_added_packed)} new, "
        f"from {base.start} to {base.stop} on timeline {base.timeline}\n"
        f"  held by {', '.join(report.receipt.held_by)} (commit {report.receipt.number})"
        + ("" if report.is_in_log else "; the stream takes it into the log's tree with its next window"),
    )
    return 0


def run_stream(args: argparse.Namespace, io: frame.IO) -> int:
    """Follow the log; 0 when it was told to stop."""
    from govsec.assemble.postgres import stream_log
    from govsec.assemble.postgresjobs import postgres_job
    from govsec.runtime.ticks import Stop, notify

    site, system = site_of(args, io)
    job, source = postgres_job(system, args.job)
    stop = Stop()
    stop.on_signals()
    notify("READY=1")

    def committed(logbook: Logbook, report: WindowReport) -> None:
        if report.receipt is not None:
            page = logbook.known
            facts = {"timeline": page.timeline, "position": page.position, "lag_s": report.lag_s}
            lag = "" if report.lag_s is None else f", {report.lag_s:.3f} s after the server sent it"
            io.result({"window": facts}, f"timeline {page.timeline} up to {page.position}{lag}")

    streamer = stream_log(
        site,
        system,
        job,
        source,
        is_stopped=lambda: stop.is_set,
        say=io.warn,
        committed=committed,
        alive=lambda: notify("WATCHDOG=1"),
    )
    notify("STOPPING=1")
    io.talk(f"{streamer.windows_count} windows committed")
    return 0


def run_restore(args: argparse.Namespace, io: frame.IO) -> int:
    """Write a data directory."""
    from govsec.assemble.postgres import recover
    from govsec.assemble.postgresjobs import postgres_job
    from govsec.postgres.isolated import target_of, time_of
    from govsec.postgres.wal import format_lsn

    site, system = site_of(args, io)
    job, _ = postgres_job(system, args.job)
    places = dict(_place(text) for text in args.tablespace)
    wanted = target_of(time=None if args.time is None else time_of(args.time), lsn=args.lsn, point=args.point)
    began = io.clock.monotonic()
    done = recover(
        site,
        system,
        job,
        args.to,
        wanted,
        center=args.center,
        snapshot=args.snapshot,
        base_id=args.base,
        places=places,
        is_pausing=args.pause,
        progress=io.progress,
    )
    elapsed_s = round(io.clock.monotonic() - began, 3)
    window = done.window
    facts = {
        "data": str(done.target / "data"),
        "base": window.base.id,
        "timeline": window.timeline,
        "target": str(wanted),
        "log_end": format_lsn(window.end),
        "log_end_time": window.end_time,
        "segments": done.segments_count,
        "files": done.files,
        "bytes": done.size_bytes,
        "restore_s": elapsed_s,
    }
    io.result(
        facts,
        f"{done.target / 'data'}: base backup {window.base.id}, {done.segments_count} segments of log, in "
        f"{texts.duration(elapsed_s)}\n  it recovers to {wanted} when its server is started on it, as its owner: "
        f"pg_ctl -D {done.target / 'data'} start",
    )
    return 0


def _add_restore(verb: frame.Parser) -> None:
    verb.add_argument("--to", type=Path, required=True, metavar="DIR", help="an empty or new directory")
    verb.add_argument("--center", help="from which center (default: the first that can be read)")
    verb.add_argument("--time", metavar="TIME", help="to the last commit before this moment (RFC 3339, with its zone)")
    verb.add_argument("--lsn", metavar="LSN", help="to this position of the log")
    verb.add_argument("--point", metavar="NAME", help="to this point (pg_create_restore_point)")
    verb.add_argument("--base", metavar="ID", help="from this base backup (default: the newest that reaches)")
    verb.add_argument("--snapshot", metavar="ID", help="from this snapshot of the log (default: the newest)")
    verb.add_argument(
        "--tablespace", action="append", default=[], metavar="OLD=DIR", help="put a tablespace (path or number) there"
    )
    verb.add_argument("--pause", action="store_true", help="stop at the target and wait, instead of going on from it")


def _place(text: str) -> tuple[str, Path]:
    old, equals, new = text.rpartition("=")
    if not equals or not old or not new:
        raise UsageError(f"--tablespace {text!r}: OLD=DIR is wanted")
    return old, Path(new)
