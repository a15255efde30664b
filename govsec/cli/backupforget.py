"""``govsec backup forget``: what a retention policy keeps and what it lets go."""

from __future__ import annotations

import argparse

from govsec.cli import frame, texts
from govsec.cli.where import begin_directory, begin_reading, site_of
from govsec.errors import UsageError

#: The options of a retention policy that take a value.
POLICY_OPTIONS = (
    *(f"keep_{name}" for name in ("last", "hourly", "daily", "weekly", "monthly", "yearly")),
    *(f"keep_within{name}" for name in ("", "_hourly", "_daily", "_weekly", "_monthly", "_yearly")),
)


def run_forget(args: argparse.Namespace, io: frame.IO) -> int:
    """Apply a retention policy to the snapshots of one directory, or show what a system's policy decides."""
    from govsec.assemble.backup import forget, with_policy
    from govsec.assemble.order import committed_order
    from govsec.backup.retention import apply_policy
    from govsec.config import RetentionPolicy

    changes = {name: getattr(args, name) for name in POLICY_OPTIONS}
    changes["keep_tags"] = tuple(tuple(tags.split(",")) for tags in args.keep_tag)
    if args.repo is not None:
        policy = with_policy(RetentionPolicy(), changes)
        repository = begin_directory(args, io)()
        decisions = forget(repository, policy, clock=io.clock, is_dry_run=args.dry_run)
    else:
        if not args.dry_run:
            raise UsageError(
                "a system's snapshots are released by `govsec repo prune` and `govsec center release`; add --dry-run"
            )
        site, system = site_of(args, io)
        policy = with_policy(system.retention, changes)
        read = begin_reading(args, io)()
        committed = committed_order(site, read.store)
        decisions = apply_policy(read.snapshots(strict=True), policy, now=io.clock.now(), committed=committed)
    removed = sum(not decision.is_kept for decision in decisions)
    data = {
        "dry_run": args.dry_run,
        "removed": removed,
        "decisions": [
            {"snapshot": item.snapshot.id, "time": item.snapshot.time, "keep": item.is_kept, "reasons": item.reasons}
            for item in decisions
        ],
    }

    def words() -> str:
        rows = [
            (
                "keep" if item.is_kept else "remove",
                item.snapshot.short_id,
                item.snapshot.time.strftime("%Y-%m-%d %H:%M:%SZ"),
                item.snapshot.hostname,
                "; ".join(item.reasons),
            )
            for item in decisions
        ]
        return texts.table(("", "snapshot", "time", "host", "reasons"), rows)

    io.result(data, words)
    return 0
