"""Verbs of ``govsec incident`` that hold findings back for a while; ``incident`` registers them."""

from __future__ import annotations

import argparse
import getpass

from govsec.cli import frame, texts
from govsec.errors import UsageError

_HOURS_MAX = 24 * 30


def register(verbs: frame.Verbs[frame.Parser]) -> None:
    """Add ``silence``, ``unsilence`` and ``silences``."""
    silence = frame.add_verb(
        verbs,
        "silence",
        run_silence,
        "hold findings back for a while; what an event of 较大 or above shows is told all the same",
        examples=["govsec incident silence move-7 --kind service.slow --system portal --hours 4 --reason '机房搬迁'"],
    )
    silence.add_argument("name", metavar="NAME", help="what it is called from now on")
    silence.add_argument("--kind", default="", help="a kind, or what it begins with: host.drift")
    silence.add_argument("--subject", default="*", metavar="PATTERN", help="* and ? stand for what may differ")
    silence.add_argument("--system", default="*", metavar="PATTERN")
    silence.add_argument("--hours", type=float, required=True, metavar="N", help=f"at most {_HOURS_MAX}")
    silence.add_argument("--reason", required=True)
    silence.add_argument("--by", metavar="PERSON", help="your name (default: the user)")
    end = frame.add_verb(
        verbs,
        "unsilence",
        run_unsilence,
        "end a silence now; what it held back is told as a count",
        examples=["govsec incident unsilence move-7"],
    )
    end.add_argument("name", metavar="NAME")
    frame.add_verb(verbs, "silences", run_silences, "silences that last", examples=["govsec incident silences --json"])


def run_silence(args: argparse.Namespace, io: frame.IO) -> int:
    """Order a silence."""
    from datetime import timedelta

    from govsec.assemble.triage import build_triage, open_triage_file
    from govsec.incident.silences import Match, Silence

    if not 0 < args.hours <= _HOURS_MAX:
        raise UsageError(f"--hours: more than 0, at most {_HOURS_MAX}")
    now = io.clock.now()
    match = Match(args.kind, args.subject, args.system)
    by = args.by or getpass.getuser()
    silence = Silence(args.name, match, by, args.reason, now, now + timedelta(hours=args.hours))
    with open_triage_file(io.config()) as file:
        build_triage(io.config(), file).silence(silence)
    io.result(
        {"silence": args.name, "ends_at": silence.ends_at}, f"{args.name}: until {silence.ends_at:%Y-%m-%dT%H:%M:%SZ}"
    )
    return 0


def run_unsilence(args: argparse.Namespace, io: frame.IO) -> int:
    """End a silence."""
    from govsec.assemble.triage import build_triage, open_triage_file

    with open_triage_file(io.config()) as file:
        build_triage(io.config(), file).unsilence(args.name, io.clock.now())
    io.result({"silence": args.name, "ended": True}, f"{args.name}: ended")
    return 0


def run_silences(_: argparse.Namespace, io: frame.IO) -> int:
    """Show silences."""
    from govsec.assemble.triage import open_triage_file

    now = io.clock.now()
    with open_triage_file(io.config()) as file:
        held = [silence for silence in file.silences() if silence.ends_at > now]
    records = [
        {
            "silence": one.id,
            "kind": one.match.kind,
            "subject": one.match.subject,
            "system": one.match.system,
            "by": one.author,
            "reason": one.reason,
            "starts_at": one.starts_at,
            "ends_at": one.ends_at,
        }
        for one in held
    ]
    rows = [
        (
            one.id,
            one.match.kind or "*",
            one.match.subject,
            one.match.system,
            f"{one.ends_at:%Y-%m-%dT%H:%M:%SZ}",
            one.author,
            one.reason,
        )
        for one in held
    ]
    head = ("NAME", "KIND", "SUBJECT", "SYSTEM", "UNTIL", "BY", "REASON")
    io.result({"silences": records}, lambda: texts.table(head, rows) if rows else "no silence lasts")
    return 0
