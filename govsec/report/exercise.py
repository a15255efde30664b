"""The result of an exercise as text: each goal with its time against the plan, deeds, what was late or went wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from govsec.clock import parse_time
from govsec.report.catalog import Catalogue, Lang, plain
from govsec.report.width import table

_HOURS = 8
_WIDTH = 120
_GOAL_COLUMN = 0


def exercise_words(result: Mapping[str, Any], lang: Lang) -> str:
    """The result in words."""
    words = Catalogue("exercise", lang)
    states = Catalogue("response", lang)
    head = {
        "verdict": words.text(f"verdict.{result['verdict']}"),
        "mode": words.text(f"mode.{result['mode']}"),
        "case": result["case"],
        "moment": _moment(words, result["began"]),
    }
    parts = [words.text("title", {"title": result[lang]}), words.text("head", head), ""]
    rows = [list(words.lines("columns"))]
    for goal in result["goals"]:
        rows.append(
            [
                words.text(f"goal.{goal['goal']}"),
                _moment(words, goal["at"]) if goal["at"] else "-",
                words.duration(goal["taken_s"]) if goal["taken_s"] is not None else "-",
                words.duration(goal["limit_s"]) if goal["limit_s"] is not None else "-",
                words.text(f"outcome.{goal['outcome']}"),
            ]
        )
    parts += table(rows, width=_WIDTH, flexible=_GOAL_COLUMN)
    if result["deeds"]:
        parts += ["", words.text("deeds")]
    for deed in result["deeds"]:
        said = {
            "verb": deed["verb"],
            "arguments": " ".join(f"{name}={value}" for name, value in deed["arguments"].items()),
            "state": states.text(f"state.{deed['state']}"),
            "names": ", ".join(deed["approved_by"]) or words.text("nobody"),
        }
        parts.append(words.text("deed", said))
    if result["late_reports"]:
        parts.append(words.text("late", {"duties": ", ".join(result["late_reports"])}))
    parts += [words.text("problem", {"problem": problem}) for problem in result["problems"]]
    return "\n".join(plain(part).replace("\n", "\\n") for part in parts)


def _moment(words: Catalogue, text: str) -> str:
    return words.moment(parse_time(text), _HOURS)
