"""``govsec backup restore``."""

from __future__ import annotations

import argparse
from pathlib import Path

from govsec.cli import frame, texts
from govsec.cli.choosing import choose
from govsec.cli.where import begin_reading, problem_lines
from govsec.errors import CoverageError, UsageError


def run_restore(args: argparse.Namespace, io: frame.IO) -> int:
    """Restore; 1 when something could not be restored as it was, 7 when nothing is what was asked for."""
    if args.delete and args.target == Path("/") and not args.include:
        raise UsageError("--delete into / needs --include: it would remove what the snapshot never saw")
    opened = begin_reading(args, io)
    from govsec.backup.restore import restore
    from govsec.backup.restorechoices import Overwrite

    repository = opened()
    snapshot = choose(args, io, repository, args.snapshot)
    report = restore(
        repository,
        snapshot,
        args.target,
        include=args.include,
        exclude=args.exclude,
        overwrite=Overwrite(args.overwrite),
        is_deleting=args.delete,
        is_dry_run=args.dry_run,
        is_verifying=args.verify,
        is_durable=args.sync,
        allow_devices=args.devices,
        allow_set_id=args.set_id,
        workers=args.workers,
        clock=io.clock,
        progress=io.progress,
    )
    verb = "would restore" if args.dry_run else "restored"
    lines = [
        f"{verb} {report.files} files ({texts.size(report.size_bytes)}), {report.directories} directories, "
        f"{report.others} others of snapshot {snapshot.short_id} to {args.target}"
    ]
    if report.skipped or report.deleted:
        lines.append(f"left as they were: {report.skipped}, removed: {report.deleted}")
    if report.fallbacks:
        lines.append(f"read from another place than asked first: {report.fallbacks} blobs")
    lines += problem_lines(report.problems, report.problems_count)
    io.result({"restore": report}, "\n".join(lines))
    # A directory is made only on the way to what is matched, so none means that nothing was.
    if args.include and not (report.directories or report.files or report.others or report.problems_count):
        asked = ", ".join(texts.printable(pattern) for pattern in args.include)
        raise CoverageError(f"snapshot {snapshot.short_id}: no entry matches --include {asked}; nothing was restored")
    return 0 if report.is_complete else 1
