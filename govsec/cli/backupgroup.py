"""``govsec backup group``: several jobs, one recovery point; what there is, and bringing all of it back."""

from __future__ import annotations

import argparse
from itertools import islice
from typing import TYPE_CHECKING, Any

from govsec.cli import frame, texts
from govsec.cli.where import site_of
from govsec.clock import format_time
from govsec.errors import UsageError

if TYPE_CHECKING:  # see govsec.cli.where
    from govsec.assemble.groups import GroupRecord

_LISTED_MAX = 100


def run_group(args: argparse.Namespace, io: frame.IO) -> int:
    """Make a recovery point of a group, list them, or bring one back."""
    if args.list and args.restore is not None:
        raise UsageError("--list and --restore are two commands")
    if args.list:
        return _list(args, io)
    if args.restore is not None:
        return _restore(args, io)
    from govsec.assemble.groups import back_up_group, group_of

    site, system = site_of(args, io)
    report = back_up_group(site, system, group_of(system, args.group), say=io.warn, progress=io.progress)
    receipt = report.receipt
    facts = {
        "record": report.record.model_dump(mode="json"),
        "snapshot": report.result.snapshot_id,
        "receipt": receipt,
    }
    held = ", ".join(receipt.held_by)
    io.result(
        facts,
        "\n".join(
            [
                f"{args.group}: snapshot {report.result.snapshot.short_id}, held by {held} (commit {receipt.number}); "
                f"the application was held for {texts.duration(report.record.held_s)}",
                *_member_lines(report.record),
            ]
        ),
    )
    return 0


def _list(args: argparse.Namespace, io: frame.IO) -> int:
    from govsec.assemble.groups import group_of
    from govsec.assemble.groupsrestore import group_points

    site, system = site_of(args, io)
    _, points = group_points(site, system, group_of(system, args.group), args.center)
    found = list(islice(points, _LISTED_MAX))
    facts: dict[str, Any] = {
        "points": [
            {"snapshot": point.snapshot.id, "center": point.center, "record": point.record.model_dump(mode="json")}
            for point in found
        ]
    }
    lines = []
    for point in found:
        lines.append(f"{point.snapshot.short_id}  {format_time(point.record.time)}  at {point.center}")
        lines += _member_lines(point.record)
    io.result(facts, "\n".join(lines) or f"{args.group}: there is no recovery point")
    return 0


def _restore(args: argparse.Namespace, io: frame.IO) -> int:
    from govsec.assemble.groups import group_of
    from govsec.assemble.groupsrestore import restore_group

    site, system = site_of(args, io)
    done = restore_group(
        site,
        system,
        group_of(system, args.group),
        args.restore,
        center=args.center,
        snapshot=args.snapshot,
        progress=io.progress,
    )
    point = done.point
    facts = {
        "directory": str(done.directory),
        "center": point.center,
        "snapshot": point.snapshot.id,
        "record": point.record.model_dump(mode="json"),
        "restore_s": done.restore_s,
    }
    io.result(
        facts,
        "\n".join(
            [
                f"{args.group}: as of {format_time(point.record.time)}, from {point.center}, "
                f"in {texts.duration(done.restore_s)}",
                *_member_lines(point.record),
                f"  each in its folder below {done.directory}",
            ]
        ),
    )
    return 0


def _member_lines(record: GroupRecord) -> list[str]:
    return [
        f"  {member.job} ({member.kind}): {member.position or 'snapshot ' + member.snapshot[:8]}"
        for member in record.members
    ]
