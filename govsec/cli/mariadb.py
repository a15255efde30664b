"""``govsec mariadb``: base backups and the binary log of MariaDB servers, and bringing them back."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from govsec.cli import frame, texts
from govsec.cli.where import site_of
from govsec.clock import format_time, parse_time
from govsec.errors import UsageError

if TYPE_CHECKING:  # pydantic and numpy take their time; `govsec mariadb --help` does without them
    from govsec.assemble.mariadb import BaseReport, WindowReport
    from govsec.assemble.mariadbstatus import JobState


def register(parser: frame.Parser) -> None:
    """Add the verbs ``backup``, ``stream``, ``status``, ``restore`` and ``verify``."""
    verbs = frame.verbs_of(parser)
    backup = frame.add_verb(
        verbs,
        "backup",
        run_backup,
        "take a base backup with mariadb-backup, streamed into the repository",
        examples=["govsec mariadb backup --job hr-db"],
    )
    stream = frame.add_verb(
        verbs,
        "stream",
        run_stream,
        "follow the server's binary log until stopped; a recovery point every second or so",
        examples=["govsec mariadb stream --job hr-db", "govsec mariadb stream --json | jq .lag_s"],
    )
    restore = frame.add_verb(
        verbs,
        "restore",
        run_restore,
        "bring a database back from any center, to the end of its log or a moment, ready to be started",
        examples=[
            "govsec mariadb restore --target /srv/recovered",
            "govsec mariadb restore --center remote --time 2026-11-22T09:59:00+08:00 --target /srv/recovered",
            "govsec mariadb restore --position bin.000042:1337 --target /srv/recovered",
        ],
    )
    restore.add_argument("--target", type=Path, required=True, metavar="DIR", help="a new or empty folder")
    restore.add_argument("--center", help="where to take it from (default: the first that can be read)")
    restore.add_argument("--time", metavar="TIME", help="as of the end of this second (RFC 3339)")
    restore.add_argument("--position", metavar="FILE:POS", help="after the transaction that ends there")
    restore.add_argument("--gtid", help="after this transaction, as 0-1-4711")
    status = frame.add_verb(
        verbs,
        "status",
        run_status,
        "what can be recovered from each center, and gaps in the log; 1 when something is wrong",
        examples=["govsec mariadb status --json"],
    )
    verify = frame.add_verb(
        verbs,
        "verify",
        run_verify,
        "read the whole log of the newest recovery point at a center, every checksum of it; 6 when it is damaged",
        examples=["govsec mariadb verify --center remote"],
    )
    verify.add_argument("--center", help="which center (default: production)")
    for verb in (backup, stream, restore, status, verify):
        _add_job(verb)


def run_backup(args: argparse.Namespace, io: frame.IO) -> int:
    """Take a base backup."""
    from govsec.assemble.mariadb import backup_base
    from govsec.assemble.mariadbjobs import mariadb_job

    site, system = site_of(args, io)
    job, source = mariadb_job(system, args.job)
    report = backup_base(site, system, job, source, progress=io.progress)
    io.result(_base_facts(report), "\n".join(_base_lines(report)))
    return 0


def run_stream(args: argparse.Namespace, io: frame.IO) -> int:
    """Follow the binary log; 0 when it was told to stop."""
    from govsec.assemble.mariadb import stream_log
    from govsec.assemble.mariadbjobs import mariadb_job
    from govsec.runtime.ticks import Stop, notify

    site, system = site_of(args, io)
    job, source = mariadb_job(system, args.job)
    stop = Stop()
    stop.on_signals()
    notify("READY=1")

    def report(window: WindowReport) -> None:
        io.result(_window_facts(window), lambda: _window_line(window))

    counters = stream_log(
        site,
        system,
        job,
        source,
        is_stopped=lambda: stop.is_set,
        say=io.warn,
        report=report,
        alive=lambda: notify("WATCHDOG=1"),
    )
    notify("STOPPING=1")
    io.talk(f"{counters.commits} transactions in {counters.windows} windows; gaps in the log: {counters.gaps}")
    return 0


def run_restore(args: argparse.Namespace, io: frame.IO) -> int:
    """Bring a database back."""
    from govsec.assemble.mariadbjobs import mariadb_job
    from govsec.assemble.mariadbrestore import restore_job
    from govsec.mariadb.target import parse_target

    site, system = site_of(args, io)
    job, source = mariadb_job(system, args.job)
    target = parse_target(_moment(args.time), args.position, args.gtid)
    done = restore_job(
        site,
        system,
        job,
        source,
        target_directory=args.target,
        target=target,
        center=args.center,
        progress=io.progress,
    )
    recovered = done.recovered
    commit = recovered.commit
    facts = {
        "datadir": str(done.datadir),
        "center": done.center,
        "snapshot": done.snapshot_id,
        "base": recovered.base.id,
        "end": None if commit is None else asdict(commit),
        "transactions": recovered.transactions,
        "earlier_behind": recovered.earlier_behind,
        "files": done.files,
        "bytes": done.size_bytes,
        "restore_s": done.restore_s,
        "seconds": dict(recovered.seconds),
    }
    where = f"base backup {recovered.base.id}" if commit is None else f"{commit.file}:{commit.position}"
    after = "" if commit is None else f" ({format_time(commit.time)}, GTID {commit.gtid or 'none'})"
    io.result(
        facts,
        f"{done.datadir}: as of {where}{after}\n"
        f"  from {done.center}, base backup {recovered.base.id} and {recovered.transactions} transactions, "
        f"in {texts.duration(done.restore_s)}",
    )
    if recovered.earlier_behind:
        io.warn(
            f"{recovered.earlier_behind} transactions behind the end say a time before it (long ones, or a session "
            "that set its own clock): they are not in; when they should be, give their --position"
        )
    return 0


def run_status(args: argparse.Namespace, io: frame.IO) -> int:
    """Say what can be recovered."""
    from govsec.assemble.mariadbjobs import mariadb_job
    from govsec.assemble.mariadbstatus import state_of

    site, system = site_of(args, io)
    job, source = mariadb_job(system, args.job)
    state = state_of(site, system, job, source)
    io.result(asdict(state) | {"is_good": state.is_good}, lambda: "\n".join(_status_lines(state)))
    return 0 if state.is_good else 1


def run_verify(args: argparse.Namespace, io: frame.IO) -> int:
    """Read a log."""
    from govsec.assemble.mariadbjobs import mariadb_job
    from govsec.assemble.mariadbstatus import verify_job
    from govsec.config import Role

    site, system = site_of(args, io)
    job, _ = mariadb_job(system, args.job)
    center = args.center or site.name_of(Role.PRODUCTION)
    if center is None:
        raise UsageError("name a center with --center; the configuration has none with the role production")
    report = verify_job(site, system, job, center, progress=io.progress)
    lines = [
        f"{report.center}: {report.transactions} transactions in {report.files} log files, "
        f"{texts.size(report.size_bytes)}; every checksum is right"
        if not report.problems
        else f"{report.center}: DAMAGED",
        *(f"  {problem}" for problem in report.problems),
    ]
    if report.gaps:
        lines.append(f"  gaps in the log: {report.gaps} (govsec mariadb status names them)")
    io.result(asdict(report), "\n".join(lines))
    return 6 if report.problems else 0


def _status_lines(state: JobState) -> list[str]:
    server = state.server
    lines = [f"{state.job}: server at {server.place}, its oldest log is {server.oldest_log}"]
    if server.error:
        lines = [f"{state.job}: {server.error}"]
    elif server.behind_bytes is not None:
        lines.append(f"  {texts.size(server.behind_bytes)} of log are in no center yet")
    for center in state.centers:
        if center.error:
            lines.append(f"{center.center} ({center.role}): {center.error}")
            continue
        age = "" if center.recovery_point_age_s is None else f", {texts.duration(center.recovery_point_age_s)} old"
        lines.append(f"{center.center} ({center.role}): snapshot {center.snapshot[:8]}{age}")
        for window in center.windows:
            lines.append(
                f"  {format_time(window.start)} to {format_time(window.end)} ({window.first} to {window.last})"
            )
            if window.broken:
                lines.append(f"    and no further: {window.broken}")
        lines += [f"  GAP {gap}" for gap in center.gaps]
    return lines


def _moment(text: str | None) -> datetime | None:
    try:
        return None if text is None else parse_time(text)
    except ValueError as error:
        raise UsageError(f"--time: {error}") from error


def _add_job(verb: frame.Parser) -> None:
    verb.add_argument("--system", help="the system (default: the only one)")
    verb.add_argument("--job", help="the MariaDB job (default: the only one)")


def _base_lines(report: BaseReport) -> list[str]:
    base, result = report.base, report.result
    place = "its binary log is OFF: it can be brought back to this moment alone"
    if base.place is not None:
        place = f"at {base.place}" + (f", GTID {base.gtid}" if base.gtid else "")
    return [
        f"base backup {base.id}: {base.files} files, {texts.size(base.size_bytes)}, "
        f"{texts.size(result.summary.data_added_packed)} new, {place}",
        f"  held by {', '.join(report.receipt.held_by)} (commit {report.receipt.number})",
    ]


def _base_facts(report: BaseReport) -> dict[str, Any]:
    return {
        "base": report.base.model_dump(mode="json"),
        "snapshot": report.result.snapshot_id,
        "bytes_added": report.result.summary.data_added_packed,
        "receipt": report.receipt,
    }


def _window_line(report: WindowReport) -> str:
    window = report.window
    held = ", ".join(report.receipt.held_by)
    if window.commit is None:
        return f"{window.place}: no whole transaction yet; held by {held}"
    return f"{window.commit}: {texts.size(window.size_bytes)}, held by {held} (commit {report.receipt.number})"


def _window_facts(report: WindowReport) -> dict[str, Any]:
    window = report.window
    return {
        "commit": None if window.commit is None else window.commit.model_dump(mode="json"),
        "place": window.place.model_dump(mode="json"),
        "bytes": window.size_bytes,
        "began": window.began,
        "lag_s": report.lag_s,
        "snapshot": report.result.snapshot_id,
        "receipt": report.receipt,
    }
