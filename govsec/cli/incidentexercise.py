"""``govsec incident exercise``: play a scenario on its own clock, or time people who act on a case."""

from __future__ import annotations

import argparse
import getpass
import json
from pathlib import Path

from govsec.cli import frame
from govsec.errors import ConfigurationError, UsageError

_EXIT_NOT_PASSED = 1


def register(verbs: frame.Verbs[frame.Parser]) -> None:
    """Add the verb."""
    exercise = frame.add_verb(
        verbs,
        "exercise",
        run_exercise,
        "play a scenario and score its times against the plan; 1 when it is not passed",
        examples=[
            "govsec incident exercise ransomware",
            "govsec incident exercise ours.yaml --begin --by 张三",
            "govsec incident exercise ours.yaml --score 20261122-0001 --output result.json",
        ],
    )
    exercise.add_argument("scenario", metavar="SCENARIO", help="a file, or ransomware, defacement")
    exercise.add_argument("--begin", action="store_true", help="open a case for real people, marked as an exercise")
    exercise.add_argument("--score", metavar="CASE", help="take the times of a case that people acted on")
    exercise.add_argument("--by", metavar="PERSON", help="in whose name (default: this system's user)")
    exercise.add_argument("--output", type=Path, metavar="FILE", help="write the result as JSON, too")


def run_exercise(args: argparse.Namespace, io: frame.IO) -> int:
    """Play, begin or score."""
    from govsec.assemble.exercise import begin, load_scenario, play, take_times
    from govsec.privatefile import write_private
    from govsec.report.exercise import exercise_words

    if args.begin and args.score:
        raise UsageError("--begin, or --score CASE")
    scenario, sha256 = load_scenario(args.scenario)
    if args.begin:
        case = begin(io.config(), scenario, io.clock, by=args.by or getpass.getuser())
        io.result({"case": case, "scenario": scenario.id}, f"{case}  {scenario.title.zh}")
        return 0
    if args.score:
        record = take_times(io.config(), scenario, sha256, args.score, io.clock)
    else:
        record = play(io.config(), scenario, sha256, io.clock)
    if args.output is not None:
        try:
            write_private(args.output, json.dumps(record, ensure_ascii=False, indent=2).encode() + b"\n")
        except OSError as error:
            raise ConfigurationError(f"{args.output}: {error.strerror}") from error
    io.result(record, lambda: exercise_words(record, "en" if io.lang == "en" else "zh"))
    return 0 if record["verdict"] == "passed" else _EXIT_NOT_PASSED
