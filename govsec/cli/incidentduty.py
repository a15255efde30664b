"""Verbs of ``govsec incident`` around the duty daemon; ``incident`` registers them."""

from __future__ import annotations

import argparse
from typing import Any

from govsec.cli import frame, texts

_EXIT_PROBLEMS = 1
_EXIT_INTEGRITY = 6
_EXIT_COVERAGE = 7


def register(verbs: frame.Verbs[frame.Parser]) -> None:
    """Add ``run``, ``status`` and ``verify``."""
    run = frame.add_verb(
        verbs,
        "run",
        run_run,
        "take agents' findings, tell people, keep cases and evidence, until SIGTERM (usually by systemd)",
        examples=["govsec incident run", "govsec incident run --once --json   # what lies there now, then leave"],
    )
    run.add_argument("--once", action="store_true", help="do what is to be done now, then leave; 1 when a part failed")
    frame.add_verb(
        verbs,
        "status",
        run_status,
        "how the duty daemon is: sources, outbox, ledger; 1 when something is wrong, 4 when none runs",
        examples=["govsec incident status", "govsec incident status --json | jq .problems"],
    )
    frame.add_verb(
        verbs,
        "verify",
        run_verify,
        "hold every case against what was signed into the ledger; 6 when one was changed, 7 when none was signed",
        examples=["govsec incident verify", "govsec incident verify --json"],
    )


def run_run(args: argparse.Namespace, io: frame.IO) -> int:
    """Run the daemon, or one round of it."""
    from govsec.assemble.dutyrun import DutyRun, run_duty
    from govsec.config import load_config

    if not args.once:
        from govsec.cli.logs import log_as_service

        log_as_service()
        return run_duty(io.config(), io.clock, talk=io.talk, reread=lambda: load_config(io.config_path))
    with DutyRun(io.config(), io.clock) as run:
        run.settle()
        status = dict(run.status())
    io.result(status, lambda: _words(status))
    return _EXIT_PROBLEMS if status["problems"] else 0


def run_status(_: argparse.Namespace, io: frame.IO) -> int:
    """Show what the daemon said last."""
    from govsec.assemble.dutystatus import read_status

    status = read_status(io.config(), io.clock)
    io.result(status, lambda: _words(status))
    return _EXIT_PROBLEMS if status["problems"] else 0


def run_verify(_: argparse.Namespace, io: frame.IO) -> int:
    """Hold cases against the ledger."""
    from govsec.assemble.incident import open_cases
    from govsec.assemble.incidentverify import signed_heads, verify_cases
    from govsec.assemble.systems import Site

    config = io.config()
    heads = signed_heads(Site(config, io.clock))
    with open_cases(config) as store:
        report = verify_cases(store, heads)
    counts = {"cases_count": report.cases_count, "entries_count": report.entries_count}
    state = f"{len(report.faults)} CASES WERE CHANGED" if report.faults else "as they were signed"
    io.result(
        {**counts, "faults": dict(report.faults)},
        lambda: "\n".join(
            [f"{state}: {report.cases_count} cases, {report.entries_count} entries", *report.faults.values()]
        ),
    )
    if report.faults:
        return _EXIT_INTEGRITY
    return 0 if report.cases_count else _EXIT_COVERAGE


def _words(status: dict[str, Any]) -> str:
    rows = [
        (
            name,
            source.get("trouble") or ("" if source["is_there"] else "not there yet"),
            source.get("records_behind", ""),
        )
        for name, source in status["sources"].items()
    ]
    counters = {**status["counters"], **{f"outbox_{name}": count for name, count in status["outbox"].items()}}
    counted = "  ".join(f"{name}: {count}" for name, count in counters.items())
    ledger = status["ledger"]
    proved = f"ledger: {ledger['entries_signed']} entries signed, {ledger['evidence_waiting']} pieces wait"
    problems = [f"!! {problem}" for problem in status["problems"]]
    table = texts.table(("source", "state", "behind"), rows).rstrip()
    return "\n".join([f"duty {status['time']}", table, counted, proved, *problems])
