"""Responses as text for a terminal: runs, one deed with all that happened to it, playbooks.

Works on the records of ``govsec.response.record``. What findings and helpers said stays on its line. Arguments stay as
they are written on a command line.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from govsec.clock import parse_time
from govsec.report.catalog import Catalogue, Lang, plain
from govsec.report.responsewords import hit_words, why_words
from govsec.report.width import table

_HOURS = 8
_WIDTH = 160
_SHOWN = 12
_SUBJECT_COLUMN = 3
_ARGUMENTS_COLUMN = 2
_KINDS_COLUMN = 2


def run_list(runs: Sequence[Mapping[str, Any]], lang: Lang) -> str:
    """Runs, a line each."""
    words = Catalogue("response", lang)
    if not runs:
        return words.text("none")
    rows = [list(words.lines("list"))]
    for run in runs:
        deeds = ", ".join(f"{deed['verb']} {_state(words, deed)}" for deed in run["deeds"])
        playbook = run["playbook"] or words.text("by_hand")
        rows.append([run["id"], _moment(words, run["created"]), playbook, run["subject"], run["case"] or "-", deeds])
    return "\n".join(_table(rows, _SUBJECT_COLUMN))


def run_words(run: Mapping[str, Any], lang: Lang) -> str:
    """One run with its deeds."""
    words = Catalogue("response", lang)
    head = {"id": run["id"], "playbook": run["playbook"] or words.text("by_hand"), "subject": run["subject"]}
    parts = [_line(words.text("run", head))]
    parts += [_line("  " + words.text("left_out", {"why": why_words(why, lang)})) for why in run["left_out"]]
    if run["deeds"]:
        rows = [list(words.lines("deeds"))]
        for deed in run["deeds"]:
            ends = _moment(words, deed["ends"]) if deed["ends"] else "-"
            needed = str(deed["approvals_needed"])
            rows.append([deed["deed"][:12], deed["verb"], _pairs(deed["arguments"]), _state(words, deed), needed, ends])
        parts += _table(rows, _ARGUMENTS_COLUMN)
    return "\n".join(parts)


def deed_words(deed: Mapping[str, Any], lang: Lang) -> str:
    """One deed with its approvals and steps."""
    words = Catalogue("response", lang)
    names = ", ".join(deed["approved_by"]) or words.text("nobody")
    parts = [
        words.text("deed", deed),
        words.text("arguments", {"arguments": _pairs(deed["arguments"])}),
        words.text("status", {"state": _state(words, deed)}),
        words.text("approvals", {"names": names, "count": deed["approvals_needed"]}),
        words.text("hits", {"facts": hit_words(deed["facts"], lang, _SHOWN)}),
    ]
    if deed["error"]:
        parts.append(words.text("error", {"error": why_words(deed["error"], lang)}))
    if deed["ends"]:
        parts.append(words.text("ends", {"moment": _moment(words, deed["ends"])}))
    elif deed["state"] == "proposed":
        parts.append(words.text("until", {"moment": _moment(words, deed["approve_until"])}))
    if deed["state"] == "tried":
        parts.append(words.text("dry", {"verb": deed["verb"]}))
    parts += ["", words.text("steps")]
    for step in deed["steps"]:
        said = {
            "moment": _moment(words, step["time"]),
            "step": words.text(f"step.{step['step']}"),
            "by": step["by"] or "",
        }
        parts.append(words.text("step_line", said).rstrip())
    return "\n".join(_line(part) for part in parts)


def playbook_words(playbooks: Sequence[Mapping[str, Any]], lang: Lang) -> str:
    """Playbooks, a line each."""
    words = Catalogue("response", lang)
    rows = [list(words.lines("playbooks"))]
    for book in playbooks:
        deeds = ", ".join(f"{action['verb']} ({action['approvals']})" for action in book["actions"])
        rows.append([book["id"], book[lang], " ".join(book["kinds"]), deeds])
    return "\n".join(_table(rows, _KINDS_COLUMN))


def stepped_words(stepped: Mapping[str, Any], lang: Lang) -> str:
    """What one call moved."""
    words = Catalogue("response", lang)
    parts = [words.text("done", {"moved": stepped["moved"], "told": stepped["told"]})]
    parts += [_line(words.text("problem", {"problem": why_words(problem, lang)})) for problem in stepped["problems"]]
    return "\n".join(parts)


def _state(words: Catalogue, deed: Mapping[str, Any]) -> str:
    return words.text(f"state.{deed['state']}")


def _pairs(facts: Mapping[str, Any]) -> str:
    shown = [f"{name}={value}" for name, value in list(facts.items())[:_SHOWN]]
    return " ".join(shown) or "-"


def _moment(words: Catalogue, text: str) -> str:
    return words.moment(parse_time(text), _HOURS)


def _table(rows: Sequence[Sequence[str]], flexible: int) -> list[str]:
    return table([[_line(cell) for cell in row] for row in rows], width=_WIDTH, flexible=flexible)


def _line(text: str) -> str:
    return plain(text).replace("\n", "\\n")
