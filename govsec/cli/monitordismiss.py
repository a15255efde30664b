"""``govsec monitor dismiss`` and ``dismissals``: one pattern is not told again, for a reason, for a time."""

from __future__ import annotations

import argparse
import getpass
from datetime import timedelta

from govsec.cli import frame, texts

_DAYS_MAX = 366


def register(verbs: frame.Verbs[frame.Parser]) -> None:
    """Add the verbs ``dismiss`` and ``dismissals``."""
    dismiss = frame.add_verb(
        verbs,
        "dismiss",
        run_dismiss,
        "do not tell one pattern again, for a reason and for a time; what it holds back is counted",
        examples=[
            "govsec monitor dismiss 'net.beacon.periodic|10.1.2.3|203.0.113.9|443|TCP' --reason 'weather service'",
            "govsec monitor dismiss 'net.beacon.periodic|10.1.2.3|203.0.113.9|443|TCP' --withdraw",
        ],
    )
    dismiss.add_argument("pattern", metavar="PATTERN", help="facts.pattern of the finding, as replay --json prints it")
    dismiss.add_argument("--reason", default="", help="why this is no attack; needed but to withdraw")
    dismiss.add_argument("--owner", default="", help="who answers for it (default: the user's name)")
    dismiss.add_argument("--days", type=int, default=90, help=f"how long it holds, 1 to {_DAYS_MAX} (default: 90)")
    dismiss.add_argument("--withdraw", action="store_true", help="take the dismissal back")
    frame.add_verb(
        verbs,
        "dismissals",
        run_dismissals,
        "what is dismissed, by whom, why, and until when; and what the configuration allows",
        examples=["govsec monitor dismissals --json"],
    )


def run_dismiss(args: argparse.Namespace, io: frame.IO) -> int:
    """Dismiss a pattern, or take that back."""
    from pydantic import ValidationError

    from govsec.assemble.monitorlearned import dismissals_of
    from govsec.config import explain
    from govsec.errors import UsageError
    from govsec.findings.quiet import Dismissal

    file = dismissals_of(io.config())
    if args.withdraw:
        file.withdraw(args.pattern)
        io.result({"withdrawn": args.pattern}, f"{args.pattern}: told again from now on")
        return 0
    if not 1 <= args.days <= _DAYS_MAX:
        raise UsageError(f"--days is 1 to {_DAYS_MAX}, not {args.days}")
    now = io.clock.now().replace(microsecond=0)
    try:
        dismissal = Dismissal(
            pattern=args.pattern,
            reason=args.reason,
            owner=args.owner or getpass.getuser(),
            made=now,
            expires=now + timedelta(days=args.days),
        )
    except ValidationError as error:
        raise UsageError(f"{explain(error)} (a pattern is a kind and its hosts, never a whole kind)") from error
    file.add(dismissal)
    io.result(
        {"dismissed": dismissal.model_dump(mode="json")},
        f"{dismissal.pattern}: not told until {dismissal.expires:%Y-%m-%d} ({dismissal.owner}: {dismissal.reason})",
    )
    return 0


def run_dismissals(args: argparse.Namespace, io: frame.IO) -> int:
    """List what is dismissed and allowed."""
    from govsec.assemble.monitorlearned import dismissals_of

    config, now = io.config(), io.clock.now()
    dismissals = dismissals_of(config).read()
    facts = {
        "dismissals": [{**one.model_dump(mode="json"), "is_over": one.expires <= now} for one in dismissals],
        "allowed": [
            {**one.model_dump(mode="json"), "is_over": one.expires <= now.date()} for one in config.monitor.allow
        ],
    }
    rows = [[one.pattern, f"{one.expires:%Y-%m-%d}", one.owner, one.reason] for one in dismissals]
    rows += [
        [f"{one.name}: {', '.join(one.kinds)}", f"{one.expires:%Y-%m-%d}", one.owner, one.reason]
        for one in config.monitor.allow
    ]
    header = ["pattern or allowance", "until", "owner", "reason"]
    io.result(facts, lambda: texts.table(header, rows) if rows else "nothing is dismissed or allowed")
    return 0
