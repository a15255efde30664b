"""``govsec doctor``: one page on what would go wrong on this machine."""

from __future__ import annotations

import argparse

from govsec.cli import frame, texts

_MARKS = {"good": "ok", "warning": "!", "problem": "!!"}


def register(parser: frame.Parser) -> None:
    """``doctor`` is a topic without verbs."""
    parser.epilog = (
        "exit codes: 0 nothing is wrong (there may be warnings), 1 something is\n\n"
        "examples:\n"
        "  govsec doctor\n"
        "  govsec doctor --config ./govsec.yaml --json | jq '.observations[] | select(.state == \"problem\")'"
    )
    parser.set_defaults(run=run_doctor)


def run_doctor(args: argparse.Namespace, io: frame.IO) -> int:
    """Look at everything and print what was found; 1 when something is wrong."""
    from govsec.assemble.doctor import State, examine, worst

    is_named = io.config_path != frame.CONFIG_DEFAULT
    observations = list(examine(io.config_path, io.clock, is_config_expected=is_named))
    counts = {state.value: sum(seen.state is state for seen in observations) for state in State}
    rows = [(_MARKS[seen.state], seen.subject, seen.found, seen.advice) for seen in observations]
    io.result(
        {"observations": observations, "counts": counts},
        lambda: (
            texts.table(("", "what", "found", "advice"), rows)
            + f"\n{counts['problem']} problems, {counts['warning']} warnings, {counts['good']} good"
        ),
    )
    return 1 if worst(observations) is State.PROBLEM else 0
