"""``govsec assess risk`` and ``accept``: what could happen to a system, and who answers for it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from govsec.cli import frame, texts
from govsec.cli.assesspeople import add_statement, keep
from govsec.cli.assessrun import site_of
from govsec.cli.assesswords import heads, lang_of, words_of

if TYPE_CHECKING:  # see govsec.cli.assessrun
    from govsec.assemble.risk import RiskRun

_EXIT_FINDINGS = 1
_NUMBERS = ("asset", "frequency", "weakness", "likelihood", "loss", "value", "level")


def register(verbs: frame.Verbs[frame.Parser]) -> None:
    """Add the verbs."""
    risk = frame.add_verb(
        verbs,
        "risk",
        run_risk,
        "what could happen, how likely, how bad, and why each number is what it is; 1 while a risk is open",
        examples=["govsec assess risk --system permits", "govsec assess risk --why ransomware --lang en"],
    )
    risk.add_argument("--system", help="the system (default: the only one)")
    risk.add_argument("--method", type=Path, metavar="FILE", help="a method of your own (YAML)")
    risk.add_argument("--why", metavar="THREAT", help="explain every number of this threat")
    risk.add_argument("--no-ledger", action="store_true", help="do not sign the report")
    accept = frame.add_verb(
        verbs,
        "accept",
        run_accept,
        "answer for a risk up to a level and a day; counts once another person has approved it",
        examples=[
            "govsec assess accept --risk ransomware --level-max 3 --days 90 --by 'Zhang Wei' --key zhang.key "
            "--reason 'Immutable copies come with the new center in March'"
        ],
    )
    accept.add_argument("--risk", required=True, metavar="THREAT", help="the threat, as `assess risk` calls it")
    accept.add_argument("--level-max", required=True, type=int, choices=(1, 2, 3, 4, 5), help="up to this level")
    accept.add_argument("--reason", required=True, help="why (10 letters or 4 Chinese characters at least)")
    add_statement(accept)


def run_accept(args: argparse.Namespace, io: frame.IO) -> int:
    """Accept a risk."""
    from govsec.policy.attest import Acceptance

    return keep(args, io, Acceptance, {"risk": args.risk, "level_max": args.level_max, "reason": args.reason})


def run_risk(args: argparse.Namespace, io: frame.IO) -> int:
    """Assess the risks."""
    from govsec.assemble.risk import run_risk as assess
    from govsec.errors import UsageError

    site = site_of(io)
    run = assess(site, site.system(args.system), method=args.method, is_recorded=not args.no_ledger)
    rows = [row for row in run.report.rows if args.why in (None, row.threat)]
    if not rows:
        raise UsageError(f"the method has no threat {args.why!r}: {', '.join(row.threat for row in run.report.rows)}")
    facts: dict[str, object] = {
        "report": run.report.canonical(),
        "difference": run.difference,
        "file": str(run.path),
        "ledger": None if run.entry is None else {"number": run.entry.number, "digest": run.entry.digest},
        "ledger_error": run.ledger_error,
        "missing": list(run.missing),
    }
    io.result(facts, lambda: _why(run, args.why, io) if args.why else _words(run, io))
    for missing in run.missing:
        io.warn(missing)
    if run.ledger_error:
        io.warn(f"not on record: {run.ledger_error}")
    return _EXIT_FINDINGS if run.ledger_error or any(row.is_open for row in run.report.rows) else 0


def _words(run: RiskRun, io: frame.IO) -> str:
    name, words = lang_of(io), words_of(io)
    rows = [
        [
            row.threat,
            getattr(row.title, name),
            *(getattr(row, number) for number in _NUMBERS),
            getattr(row.level_title, name),
            row.acceptance.owner if row.acceptance is not None else (words.text("risk.open") if row.is_open else "-"),
        ]
        for row in run.report.rows
    ]
    status = words.text(f"status.{run.report.numbers_status.value}")
    told = {"system": run.report.system, "method": run.report.method, "status": status}
    (threat, accepted), numbers = heads(words, "threat", "accepted"), [words.text(f"risk.{one}") for one in _NUMBERS]
    lines = [words.text("risk.numbers", told), texts.table([threat, "", *numbers, "", accepted], rows)]
    for change in run.difference.changes if run.difference is not None else ():
        if change.direction != "same" or change.is_acceptance_changed:
            facts = {
                "direction": words.text(f"direction.{change.direction}"),
                "threat": change.threat,
                "before": change.value_before or "-",
                "after": change.value_after or "-",
            }
            lines.append(words.text("risk.changed", facts))
    return "\n".join([*lines, str(run.path)])


def _why(run: RiskRun, threat: str, io: frame.IO) -> str:
    row = next(row for row in run.report.rows if row.threat == threat)
    name, words = lang_of(io), words_of(io)
    lines = [f"{row.threat}: {getattr(row.title, name)}"]
    lines += [f"{words.text('risk.' + one)}: {getattr(row, one)}" for one in _NUMBERS]
    for reason in row.reasons:
        mark = "*" if reason.decides else "-"
        term = words.text(f"risk.{reason.term}")
        lines.append(f"  {mark} {term} {reason.value}: {getattr(reason.text, name)}")
    return "\n".join(lines)
