"""Verbs of ``govsec notify`` about people: who is on duty, what is wrong with the plan, hand-over; see ``notify``."""

from __future__ import annotations

import argparse
import getpass
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from govsec.cli import frame, texts
from govsec.cli.incidentchange import moment_of, tongue
from govsec.errors import UsageError

if TYPE_CHECKING:  # pydantic takes its time; `govsec notify --help` does without it
    from datetime import datetime

    from govsec.config import Config

_EXIT_FINDINGS = 1
_DAYS_MAX = 366
_LEVELS = ("none", "general", "relatively_major", "major", "particularly_major")
_SEVERITIES = ("info", "low", "medium", "high", "critical")


def register(verbs: frame.Verbs[frame.Parser]) -> None:
    """Add the verbs."""
    rota = frame.add_verb(
        verbs,
        "rota",
        run_rota,
        "who is on duty in the days to come; with --check only what is wrong with the plan, and 1 when something is",
        examples=["govsec notify rota", "govsec notify rota --check --days 60", "govsec notify rota --json"],
    )
    rota.add_argument("--days", type=int, default=14, metavar="N", help="so many days ahead (default 14)")
    rota.add_argument("--check", action="store_true", help="times without anybody, people without a channel")
    duty = frame.add_verb(
        verbs,
        "oncall",
        run_oncall,
        "who is on duty now, and whom something that bad would call",
        examples=["govsec notify oncall", "govsec notify oncall --level major --at 2026-10-01T03:00:00+08:00"],
    )
    duty.add_argument("--at", metavar="TIME", help="then instead of now (RFC 3339)")
    duty.add_argument("--level", choices=_LEVELS, default="particularly_major", help="(default: the worst)")
    duty.add_argument("--severity", choices=_SEVERITIES, default="critical")
    hand = frame.add_verb(
        verbs,
        "handover",
        run_handover,
        "one person's duty goes to another for a time; written down with both names, and both are told",
        examples=[
            "govsec notify handover duty --from zhang --to li --until 2026-11-23T09:00:00+08:00 --reason '出差'",
            "govsec notify handover --withdraw 3",
        ],
    )
    hand.add_argument("--from", dest="gives", metavar="PERSON", help="who hands over")
    _change(hand, "who takes over", is_many=False)
    over = frame.add_verb(
        verbs,
        "override",
        run_override,
        "other people than the rota says are on duty for a time; written down, and all are told",
        examples=["govsec notify override duty --to li --to wang --until 2026-11-23T09:00:00+08:00 --reason '演练'"],
    )
    _change(over, "who is on duty instead (again for more)", is_many=True)


def _change(parser: frame.Parser, words: str, *, is_many: bool) -> None:
    parser.add_argument("rota", nargs="?", metavar="ROTA", help="as notify.rotas names it")
    parser.add_argument("--to", dest="takes", action="append", default=[], metavar="PERSON", help=words)
    parser.add_argument("--start", metavar="TIME", help="from then on (RFC 3339; default: now)")
    parser.add_argument("--until", metavar="TIME", help="until then (RFC 3339)")
    parser.add_argument("--reason", default="")
    parser.add_argument("--by", metavar="PERSON", help="who writes it down (default: this system's user)")
    parser.add_argument("--withdraw", type=int, metavar="ID", help="take a change back")
    parser.set_defaults(is_many=is_many)


def run_rota(args: argparse.Namespace, io: frame.IO) -> int:
    """Show the plan, or what is wrong with it."""
    from govsec.assemble.rota import changes_of, flaws_of, watches_of
    from govsec.report.notice import flaw_words

    if not 1 <= args.days <= _DAYS_MAX:
        raise UsageError(f"--days: 1 to {_DAYS_MAX}")
    config, now = io.config(), io.clock.now()
    flaws = flaws_of(config, now, args.days)
    rows = [
        (name, _local(config, watch.starts_at), _local(config, watch.ends_at), _names(config, watch.people))
        for name, watches in watches_of(config, now, args.days).items()
        for watch in watches
    ]
    changes: list[dict[str, Any]] = [
        {
            "id": change.id,
            "rota": change.rota,
            "gives": change.gives,
            "takes": list(change.takes),
            "starts_at": change.starts_at,
            "ends_at": change.ends_at,
            "by": change.by,
            "reason": change.reason,
        }
        for change in changes_of(config, now)
    ]
    record = {
        "watches": [dict(zip(("rota", "from", "until", "people"), row, strict=True)) for row in rows],
        "changes": changes,
        "flaws": [{"what": flaw.what, "where": flaw.where, "when": flaw.when} for flaw in flaws],
    }

    def words() -> str:
        parts = []
        if not args.check:
            parts.append(texts.table(("ROTA", "FROM", "UNTIL", "PEOPLE"), rows))
        if changes and not args.check:
            head = ("ID", "ROTA", "FROM", "TO", "BY", "REASON")
            kept = [
                (each["id"], each["rota"], each["gives"] or "*", ", ".join(each["takes"]), each["by"], each["reason"])
                for each in changes
            ]
            parts.append(texts.table(head, kept))
        found = [flaw_words(flaw.what, flaw.where, flaw.when, tongue(io)) for flaw in flaws]
        parts.append("\n".join(map(texts.printable, found)) if found else f"{args.days} days: nothing is wrong")
        return "\n\n".join(parts)

    io.result(record, words)
    return _EXIT_FINDINGS if args.check and flaws else 0


def run_oncall(args: argparse.Namespace, io: frame.IO) -> int:
    """Show who is on duty."""
    from govsec.assemble.rota import on_duty, would_call
    from govsec.records import Severity

    config, moment = io.config(), moment_of(args.at, "--at", io)
    duty = {name: list(people) for name, people in on_duty(config, moment).items()}
    steps = would_call(config, moment, Severity[args.severity.upper()], _LEVELS.index(args.level))

    def words() -> str:
        rows = [(name, _names(config, people)) for name, people in duty.items()]
        parts = [texts.table(("ROTA", "ON DUTY"), rows)] if rows else []
        called = [
            (
                step["step"],
                _names(config, step["people"]),
                ", ".join(step["channels"]),
                f"{step['repeat_min']} min",
                f"{step['wait_min']} min",
            )
            for step in steps
        ]
        head = ("LEVEL", "CALLED", "CHANNELS", "AGAIN AFTER", "NEXT AFTER")
        parts.append(texts.table(head, called) if called else "no chain takes this: nobody is called")
        return "\n\n".join(parts)

    io.result({"on_duty": duty, "steps": steps}, words)
    return 0 if steps else _EXIT_FINDINGS


def run_handover(args: argparse.Namespace, io: frame.IO) -> int:
    """Write a hand-over down."""
    if args.withdraw is None and not args.gives:
        raise UsageError("--from: who hands over?")
    if len(args.takes) > 1:
        raise UsageError("--to: one person takes over; `override` puts several on duty")
    return _write(args, io, args.gives or "")


def run_override(args: argparse.Namespace, io: frame.IO) -> int:
    """Write an override down."""
    return _write(args, io, "")


def _write(args: argparse.Namespace, io: frame.IO, gives: str) -> int:
    from govsec.assemble.rota import change_rota, withdraw_change

    by = args.by or getpass.getuser()
    if args.withdraw is not None:
        withdraw_change(io.config(), args.withdraw, by, io.clock.now())
        io.result({"withdrawn": args.withdraw}, f"change {args.withdraw} counts no longer")
        return 0
    if not args.rota or not args.takes or not args.until or not args.reason:
        raise UsageError("a change needs ROTA, --to, --until and --reason")
    change = change_rota(
        io.config(),
        args.rota,
        gives=gives,
        takes=args.takes,
        starts_at=moment_of(args.start, "--start", io),
        ends_at=moment_of(args.until, "--until", io),
        by=by[:200],
        reason=args.reason[:500],
        now=io.clock.now(),
    )
    record = {"id": change.id, "rota": change.rota, "gives": change.gives, "takes": list(change.takes)}
    until = _local(io.config(), change.ends_at)
    giver = _names(io.config(), [change.gives]) if change.gives else "*"
    io.result(record, f"{change.id}: {change.rota}: {giver} → {_names(io.config(), change.takes)} until {until}")
    return 0


def _names(config: Config, people: Sequence[str]) -> str:
    known = config.notify.people
    return ", ".join(known[key].name if key in known else key for key in people) or "-"


def _local(config: Config, moment: datetime) -> str:
    from govsec.assemble.escalation import zone_of

    return f"{moment.astimezone(zone_of(config.notify)):%Y-%m-%d %H:%M}"
