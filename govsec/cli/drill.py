"""``govsec drill``: run recovery plans in isolation, and see what past drills say."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from govsec.cli import frame, texts

if TYPE_CHECKING:  # pydantic and numpy take their time; `govsec drill --help` does without them
    from govsec.assemble.drill import DrillRun
    from govsec.drill.history import History, PastDrill
    from govsec.drill.result import DrillResult

_PLAN_HELP = "name of a plan of the configuration, or a YAML file (default: the only plan)"


def register(parser: frame.Parser) -> None:
    """Add the verbs ``run``, ``list``, ``show`` and ``history``."""
    verbs = frame.verbs_of(parser)
    run = frame.add_verb(
        verbs,
        "run",
        run_run,
        "lose what the plan says, restore, prove it, sign the record; 1 unless it passes",
        examples=[
            "govsec drill run --plan remote-restore",
            "govsec drill run --plan ./plan.yaml --output /srv/reports --operator 'Zhang Wei'",
        ],
    )
    run.add_argument("--plan", help=_PLAN_HELP)
    run.add_argument("--system", help="the system whose plans are meant")
    run.add_argument("--operator", default="", help="who runs it, as the report says (default: the user's name)")
    run.add_argument("--scratch", type=Path, metavar="DIR", help="where to restore (default: STATE_DIR/scratch)")
    run.add_argument("--output", type=Path, metavar="DIR", help="where reports go (default: STATE_DIR/drills)")
    run.add_argument("--keep", action="store_true", help="leave the restored data in place")
    run.add_argument("--no-ledger", action="store_true", help="do not sign the record; such a report is not for filing")
    plans = frame.add_verb(
        verbs,
        "list",
        run_list,
        "the plans, their last drill, and what is wrong: never run, stale, failing; 1 when something is",
        examples=["govsec drill list --json"],
    )
    plans.add_argument("--system", help="the system (default: the only one)")
    history = frame.add_verb(
        verbs, "history", run_history, "the drills on record, from the ledger", examples=["govsec drill history"]
    )
    history.add_argument("--system", help="the system (default: the only one)")
    history.add_argument("--plan", help="only this plan")
    show = frame.add_verb(
        verbs,
        "show",
        run_show,
        "one drill on record; with --html its report again",
        examples=[
            "govsec drill show latest",
            "govsec drill show 20261120T010000Z-0a1b2c3d --html report.html --lang en",
        ],
    )
    show.add_argument("drill", help="the drill's id or its first characters, or latest")
    show.add_argument("--system", help="the system (default: the only one)")
    show.add_argument("--html", type=Path, metavar="FILE", help="write the report to this file")


def run_run(args: argparse.Namespace, io: frame.IO) -> int:
    """Run a drill."""
    from govsec.assemble.drill import run_plan
    from govsec.assemble.plans import find_plan
    from govsec.assemble.systems import Site
    from govsec.drill.result import Verdict

    site = Site(io.config(), io.clock)
    plan = find_plan(site, args.plan, args.system)
    io.talk(f"drill of plan {plan.name} for {plan.system}: {plan.scenario.kind}")
    run = run_plan(
        site,
        plan,
        operator=args.operator,
        scratch=args.scratch,
        output=args.output,
        is_kept=args.keep,
        is_recorded=not args.no_ledger,
        progress=io.progress,
    )
    entry = (
        None
        if run.entry is None
        else {"chain": run.entry.chain, "number": run.entry.number, "digest": run.entry.digest}
    )
    facts = {
        "drill": run.result.canonical(),
        "ledger": entry,
        "ledger_error": run.ledger_error,
        "files": [str(path) for path in run.files],
    }
    io.result(facts, lambda: _run_words(run, io.lang))
    # A drill that passed and could not be put on record is no evidence, and must not look like success to a timer.
    return 0 if run.result.verdict is Verdict.PASS and not run.ledger_error else 1


def run_list(args: argparse.Namespace, io: frame.IO) -> int:
    """List the plans with what is wrong."""
    from govsec.assemble.plans import history_of, plans_of
    from govsec.assemble.systems import Site
    from govsec.drill.history import drill_findings

    site = Site(io.config(), io.clock)
    system = site.system(args.system)
    plans = plans_of(site, system.name)
    history = history_of(site, system.name)
    findings = drill_findings(plans, history, io.clock.now())
    rows, values = [], []
    for plan in plans:
        past = history.newest(plan.system, plan.name)
        mine = [item.kind for item in findings if item.facts["plan"] == plan.name]
        words = "-" if past is None else f"{past.result.started:%Y-%m-%d} {past.result.verdict.value}"
        rows.append([plan.name, plan.scenario.kind, words, ", ".join(mine) or "-"])
        last = None
        if past is not None:
            last = {"id": past.result.id, "time": past.result.started, "verdict": past.result.verdict.value}
        values.append({"name": plan.name, "scenario": plan.scenario.kind, "last": last, "findings": mine})
    facts = {
        "plans": values,
        "findings": [finding.canonical() for finding in findings],
        "ledger_is_clean": history.ledger.is_clean or not history.ledger.problems_count,
    }
    io.result(facts, lambda: texts.table(["plan", "scenario", "last drill", "findings"], rows))
    _warn(io, history)
    return 1 if findings else 0


def run_history(args: argparse.Namespace, io: frame.IO) -> int:
    """List past drills."""
    from govsec.assemble.plans import history_of
    from govsec.assemble.systems import Site

    history = history_of(Site(io.config(), io.clock), args.system)
    drills = [past for past in history.drills if args.plan in (None, past.result.plan)]
    rows = [_row(past) for past in drills]
    keys = ["id", "plan", "verdict", "recovery_point_age_s", "restore_time_s", "entry"]
    header = ["drill", "plan", "verdict", "recovery point age", "restore time", "ledger"]
    facts = {
        "drills": [dict(zip(keys, row, strict=True)) for row in rows],
        "unreadable_count": history.unreadable_count,
    }
    io.result(facts, lambda: texts.table(header, [_readable(row) for row in rows]) if rows else "no drill on record")
    _warn(io, history)
    return 0


def run_show(args: argparse.Namespace, io: frame.IO) -> int:
    """Show one drill."""
    from govsec.assemble.drill import write_report
    from govsec.assemble.plans import history_of
    from govsec.assemble.systems import Site
    from govsec.errors import UsageError

    history = history_of(Site(io.config(), io.clock), args.system)
    fitting = [past for past in history.drills if past.result.id.startswith(args.drill)]
    if args.drill == "latest":
        fitting = list(history.drills[-1:])
    if len(fitting) != 1:
        raise UsageError(f"{len(fitting)} drills on record fit {args.drill!r}")
    past = fitting[0]
    if args.html is not None:
        write_report(past.result, past.entry, "en" if io.lang == "en" else "zh", args.html)
        io.talk(f"report: {args.html}")
    io.result({"drill": past.result.canonical()}, lambda: _drill_words(past, io.lang))
    _warn(io, history)
    return 0


def _run_words(run: DrillRun, lang: str) -> str:
    lines = _words(run.result, lang)
    if run.entry is not None:
        lines.append(f"ledger: entry {run.entry.number} at {', '.join(run.entry.held_by)}, {run.entry.digest}")
    if run.ledger_error:
        lines.append(f"NOT in the ledger: {run.ledger_error}")
    return "\n".join([*lines, *(str(path) for path in run.files)])


def _drill_words(past: PastDrill, lang: str) -> str:
    from govsec.report.drill import step_words

    details = step_words(past.result.canonical(), "en" if lang == "en" else "zh")
    rows = [
        [step.name, step.kind, step.outcome.value, texts.duration(step.duration_s), detail or _facts(step.facts)]
        for step, detail in zip(past.result.steps, details, strict=True)
    ]
    return "\n".join(
        [
            *_words(past.result, lang),
            "",
            texts.table(["step", "kind", "outcome", "time", "detail"], rows),
            "",
            f"ledger: entry {past.entry.number} of {past.entry.chain}, {past.entry.digest}",
        ]
    )


def _words(result: DrillResult, lang: str) -> list[str]:
    from govsec.report.drill import drill_words

    return drill_words(result.canonical(), "en" if lang == "en" else "zh")


def _facts(facts: Mapping[str, object]) -> str:
    return ", ".join(f"{name}={value}" for name, value in facts.items())


def _row(past: PastDrill) -> list[object]:
    measures = past.result.measures
    return [
        past.result.id,
        past.result.plan,
        past.result.verdict.value,
        measures.recovery_point_age_s,
        measures.restore_time_s,
        past.entry.number,
    ]


def _readable(row: list[object]) -> list[object]:
    return [texts.duration(cell) if isinstance(cell, float) else "-" if cell is None else cell for cell in row]


def _warn(io: frame.IO, history: History) -> None:
    if history.ledger.problems_count:
        io.talk(f"warning: the ledger has {history.ledger.problems_count} problems; run `govsec ledger verify`")
    for center, why in history.ledger.unreachable.items():
        io.talk(f"warning: {center} was not asked: {why}")
