"""``govsec assess risk`` and ``accept``: what could happen to a system, and who answers for it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from govsec.cli import frame, texts
from govsec.cli.assesspeople import add_statement, keep
from govsec.cli.assessrun import site_of

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
    accept.add_argument("--reason", required=True, help="why (10 characters at least)")
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
    io.result(facts, lambda: _why(run, args.why, io.lang) if args.why else _words(run, io.lang))
    for missing in run.missing:
        io.warn(missing)
    if run.ledger_error:
        io.warn(f"not on record: {run.ledger_error}")
    return _EXIT_FINDINGS if run.ledger_error or any(row.is_open for row in run.report.rows) else 0


def _words(run: RiskRun, lang: str) -> str:
    name = "en" if lang == "en" else "zh"
    rows = [
        [
            row.threat,
            getattr(row.title, name),
            *(getattr(row, number) for number in _NUMBERS),
            getattr(row.level_title, name),
            row.acceptance.owner if row.acceptance is not None else ("open" if row.is_open else "-"),
        ]
        for row in run.report.rows
    ]
    head = f"{run.report.system}: {run.report.method}, numbers {run.report.numbers_status.value}"
    lines = [head, texts.table(["threat", "", *_NUMBERS, "", "accepted by"], rows)]
    for change in run.difference.changes if run.difference is not None else ():
        if change.direction != "same" or change.is_acceptance_changed:
            values = f"{change.value_before or '-'} -> {change.value_after or '-'}"
            lines.append(f"{change.direction}: {change.threat} {values}")
    return "\n".join([*lines, str(run.path)])


def _why(run: RiskRun, threat: str, lang: str) -> str:
    row = next(row for row in run.report.rows if row.threat == threat)
    name = "en" if lang == "en" else "zh"
    lines = [f"{row.threat}: {getattr(row.title, name)}", *(f"{one}: {getattr(row, one)}" for one in _NUMBERS)]
    for reason in row.reasons:
        mark = "*" if reason.decides else "-"
        lines.append(f"  {mark} {reason.term} {reason.value}: {getattr(reason.text, name)}")
    return "\n".join(lines)
