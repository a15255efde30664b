"""Verbs of ``govsec incident`` around the duty daemon; ``incident`` registers them."""

from __future__ import annotations

import argparse
from typing import Any

from govsec.cli import frame, texts

_EXIT_PROBLEMS = 1


def register(verbs: frame.Verbs[frame.Parser]) -> None:
    """Add ``run`` and ``status``."""
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


def run_run(args: argparse.Namespace, io: frame.IO) -> int:
    """Run the daemon, or one round of it."""
    from govsec.assemble.dutyrun import DutyRun, run_duty

    if not args.once:
        import logging

        # A service's words are its log.
        logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
        return run_duty(io.config(), io.clock, talk=io.talk)
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
