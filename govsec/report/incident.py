"""Cases as text for a terminal: the list, the board, one case with its deadlines and why it has its level.

What people and programs wrote stays on its line: a line break in a title cannot forge a row beside it. Works on the
records of ``govsec.incident.record`` (plain JSON values). A state is always a word; nothing is said by colour alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from govsec.clock import parse_time
from govsec.report.catalog import Catalogue, Lang, plain
from govsec.report.responsewords import why_words
from govsec.report.width import table

_HOURS = 8
_WIDTH = 160
_TITLE_COLUMN = 6
#: The rules ask in order of what is worst; a person answers a handful at a time.
_MISSING_MAX = 5
_RECEIPT_COLUMN = 5


def case_list(lines: Sequence[Mapping[str, Any]], lang: Lang) -> str:
    """The list of cases."""
    words = Catalogue("incident", lang)
    if not lines:
        return words.text("none")
    rows = [list(words.lines("list"))]
    for line in lines:
        due = _moment(words, line["next_due_at"])
        taken, given = line["acknowledged_by"] or "-", line["assigned_to"] or "-"
        rows.append(
            [line["id"], _level(words, line), _stage(words, line["stage"]), due, taken, given, _title(words, line)]
        )
    return "\n".join(_rows(rows, _TITLE_COLUMN))


def case_words(case: Mapping[str, Any], now: datetime, lang: Lang, *, questions: Sequence[str] = ()) -> str:
    """One case: its head, why it has its level, what is owed, what is kept."""
    words = Catalogue("incident", lang)
    parts = [
        words.text("title", {"id": case["id"], "title": _title(words, case)}),
        *_head(words, case),
        *_why(words, case),
    ]
    if case["duties"]:
        parts += ["", words.text("section.duties"), *_duties(words, case["duties"], now)]
    parts += _kept(words, case)
    if questions:
        parts += ["", words.text("section.open"), *(f"  {question}" for question in questions)]
    if case["timeline"]:
        parts += ["", words.text("section.timeline"), *_timeline(words, case["timeline"])]
    return "\n".join(_line(part) for part in parts)


def duty_words(duties: Sequence[Mapping[str, Any]], now: datetime, lang: Lang) -> str:
    """Reports and their deadlines as a table."""
    words = Catalogue("incident", lang)
    return "\n".join(_duties(words, duties, now)) if duties else words.text("no_rule")


def board_words(board: Mapping[str, Any], lang: Lang) -> str:
    """How things stand."""
    words = Catalogue("incident", lang)
    parts = [words.text("board.head", {"moment": _moment(words, board["time"])})]
    if not any(board["by_level"].values()):
        return "\n".join([*parts, words.text("board.none")])
    parts += [f"  {words.text(f'level.{name}')}: {count}" for name, count in board["by_level"].items() if count]
    parts += [f"  {_stage(words, name)}: {count}" for name, count in board["by_stage"].items() if count]
    if board["late_count"]:
        parts.append(words.text("board.late", {"count": board["late_count"]}))
    if board["next_due_at"]:
        parts.append(words.text("board.due", {"moment": _moment(words, board["next_due_at"])}))
    if board["unacknowledged_count"]:
        oldest = _moment(words, board["oldest_unacknowledged_at"])
        parts.append(words.text("board.waiting", {"count": board["unacknowledged_count"], "moment": oldest}))
    return "\n".join(parts)


def classification_words(found: Mapping[str, Any], lang: Lang) -> str:
    """Why an event has its level, what is missing, and when it gets worse."""
    words = Catalogue("incident", lang)
    level = words.text(f"level.{found['suggested']}")
    head = [words.text("head.level", {"level": words.text("suggested", {"level": level})})]
    return "\n".join(_line(part) for part in [*head, *_why(words, {"classification": found})])


def field_words(fields: Sequence[Mapping[str, Any]], lang: Lang) -> str:
    """The facts that the rules ask for, with the values that they know."""
    parts: list[str] = []
    for field in fields:
        unit = f" ({field['unit']})" if field["unit"] else ""
        parts.append(f"{field['field']}{unit}  {field[lang]}")
        parts += [f"    {value['value']}  {value[lang]}" for value in field["values"]]
    return "\n".join(parts)


def _head(words: Catalogue, case: Mapping[str, Any]) -> Iterator[str]:
    yield words.text("head.stage", {"stage": _stage(words, case["stage"])})
    level = words.text(f"level.{case['level']}")
    if case["confirmed_level"]:
        confirmed = words.text(f"level.{case['confirmed_level']}")
        yield words.text("head.confirmed", {"level": confirmed, "by": case["confirmed_by"]})
    if case["is_overtaken"]:
        yield words.text("head.overtaken", {"level": level})
    if not case["confirmed_level"]:
        yield words.text("head.level", {"level": words.text("suggested", {"level": level})})
        possible = case["classification"]["highest_possible"]
        if possible != case["level"]:
            yield words.text("head.possible", {"level": words.text(f"level.{possible}")})
    if case["warning_color"]:
        yield words.text("head.color", {"color": words.text(f"color.{case['warning_color']}")})
    yield words.text("head.aware", {"moment": _moment(words, case["aware_at"])})
    if case["system"]:
        yield words.text("head.system", {"system": case["system"]})
    if case["protection_level"]:
        yield words.text("head.protection", {"level": case["protection_level"]})
    yield words.text("head.class", {"class": case[f"event_class_{words.lang}"]})
    taken = case["acknowledged_by"]
    yield words.text("head.acknowledged", {"by": taken}) if taken else words.text("head.unacknowledged")
    if case["assigned_to"]:
        yield words.text("head.assigned", {"by": case["assigned_to"]})
    if case["findings_count"]:
        kinds = len({finding["kind"] for finding in case["findings"]})
        yield words.text("head.findings", {"count": case["findings_count"], "kinds": kinds})


def _why(words: Catalogue, case: Mapping[str, Any]) -> Iterator[str]:
    found = case["classification"]
    yield ""
    yield words.text("section.why")
    if not found["fired"]:
        yield "  " + words.text("no_rule")
    for row in found["fired"]:
        bound = (
            f"{row['at_least']:g} {row['unit']}".strip()
            if isinstance(row["at_least"], (int, float))
            else row["at_least"]
        )
        status = words.text(f"status.{row['status']}")
        yield "  " + words.text("row", {"words": row[words.lang], "bound": bound, "status": status})
        if row[f"note_{words.lang}"]:
            yield f"    {row[f'note_{words.lang}']}"
    if found["is_provisional"]:
        yield "  " + words.text("provisional")
    if found["crossings"]:
        yield words.text("section.crossings")
        for crossing in found["crossings"]:
            yield "  " + _crossing(words, crossing)
    if found["missing"]:
        yield words.text("section.missing")
        asked = [f"{missing[words.lang]} [{missing['field']}]" for missing in found["missing"]]
        yield from (f"  {line}" for line in asked[:_MISSING_MAX])
        if len(asked) > _MISSING_MAX:
            yield "  " + words.text("more", {"count": len(asked) - _MISSING_MAX})


def _crossing(words: Catalogue, crossing: Mapping[str, Any]) -> str:
    facts = {
        "moment": _moment(words, crossing["at"]),
        "level": words.text(f"level.{crossing['level']}"),
        "field": crossing["field"],
    }
    depends = words.text("depends", {"fields": ", ".join(crossing["depends_on"])}) if crossing["depends_on"] else ""
    return words.text("crossing", facts) + depends


def _duties(words: Catalogue, duties: Sequence[Mapping[str, Any]], now: datetime) -> Iterator[str]:
    rows = [list(words.lines("duty"))]
    for duty in duties:
        mark = words.text("ours") if duty["is_ours"] else ""
        recipient = duty[f"recipient_{words.lang}"]
        report = words.text(f"report.{duty['report']}")
        due = _moment(words, duty["due_at"]) + mark
        rows.append(
            [due, _left(words, duty, now), _state(words, duty), report, recipient, _receipt(words, duty), duty["id"]]
        )
    yield from _rows(rows, _RECEIPT_COLUMN)
    if any(duty["is_ours"] for duty in duties):
        yield words.text("ours_note")


def _rows(rows: Sequence[Sequence[str]], flexible: int) -> list[str]:
    return table([[_line(cell) for cell in row] for row in rows], width=_WIDTH, flexible=flexible)


def _line(text: str) -> str:
    return plain(text).replace("\n", "\\u000a")


def _state(words: Catalogue, duty: Mapping[str, Any]) -> str:
    state = words.text(f"state.{duty['state']}")
    if duty["warning_percent"]:
        state = words.text("warned", {"state": state, "percent": duty["warning_percent"]})
    if not duty["is_certain"]:
        state = words.text("possible", {"state": state})
    return state + (words.text("reason") if duty["needs_reason"] else "")


def _left(words: Catalogue, duty: Mapping[str, Any], now: datetime) -> str:
    if duty["state"] not in ("open", "late"):
        return "-"
    seconds = (parse_time(duty["due_at"]) - now).total_seconds()
    return words.text("left", {"left_s": seconds}) if seconds >= 0 else words.text("over", {"over_s": -seconds})


def _receipt(words: Catalogue, duty: Mapping[str, Any]) -> str:
    receipt = duty["receipt"]
    parts = []
    if receipt is not None:
        facts = {
            "taken_by": receipt["taken_by"],
            "number": receipt["number"],
            "moment": _moment(words, receipt["time"]),
        }
        parts.append(" ".join(words.text("receipt", facts).split()))
    if duty["reason"]:
        parts.append(words.text("given", {"reason": duty["reason"]}))
    return " ".join(parts) or "-"


def _kept(words: Catalogue, case: Mapping[str, Any]) -> Iterator[str]:
    tasks = [
        words.text("task.open" if task["result"] is None else "task.done", {**task, "result": task["result"] or ""})
        for task in case["tasks"]
    ]
    exhibits = [
        words.text(
            "exhibit",
            {
                "name": exhibit["name"],
                "size_bytes": exhibit["size_bytes"],
                "digest": exhibit["digest"],
                "holders": " → ".join(hand["holder"] for hand in exhibit["holders"]),
            },
        )
        for exhibit in case["evidence"]
    ]
    seen = [f"{observable['what']} {observable['value']}" for observable in case["observables"]]
    sections = (("tasks", tasks), ("evidence", exhibits), ("observables", seen), ("lessons", case["lessons"]))
    for name, lines in sections:
        if lines:
            yield ""
            yield words.text(f"section.{name}")
            yield from (f"  {line}" for line in lines)


def _timeline(words: Catalogue, entries: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for entry in entries:
        yield f"  {_moment(words, entry['time'])}  {entry['by']}  {_entry(words, entry)}"


def _entry(words: Catalogue, entry: Mapping[str, Any]) -> str:
    facts = dict(entry)
    kind = entry["kind"]
    if kind == "facts":
        facts["facts"] = ", ".join(f"{name}={value}" for name, value in entry["facts"].items())
    elif kind == "level":
        facts |= {name: words.text(f"level.{entry[name]}") for name in ("level", "suggested")}
    elif kind == "moved":
        facts["to"] = _stage(words, entry["to"])
    elif kind == "color":
        facts["color"] = words.text(f"color.{entry['color']}") if entry["color"] else "-"
    elif kind == "circumstance":
        facts["circumstance"] = words.text(f"circumstance.{entry['circumstance']}")
        facts["holds"] = words.text("holds.true_" if entry["holds"] else "holds.false_")
    elif kind == "action":
        facts["outcome"] = words.text(f"outcome.{entry['outcome']}")
        why = entry.get("facts", {}).get("error")
        if isinstance(why, str) and why:
            facts["outcome"] = words.text("because", {"outcome": facts["outcome"], "why": why_words(why, words.lang)})
    elif kind == "report_made":
        facts["report"] = words.text(f"report.{entry['report']}")
    elif kind == "handling_ended":
        facts["ended_at"] = _moment(words, entry["ended_at"])
    return words.text(f"entry.{kind}", facts).strip()


def _level(words: Catalogue, line: Mapping[str, Any]) -> str:
    level = words.text(f"level.{line['level']}")
    return level if line["is_confirmed"] else words.text("suggested", {"level": level})


def _stage(words: Catalogue, stage: str) -> str:
    return words.text(f"stage.{stage}")


def _title(words: Catalogue, line: Mapping[str, Any]) -> str:
    title: str = line["title"]
    return (words.text("exercise") if line["is_exercise"] else "") + title


def _moment(words: Catalogue, moment: str | None) -> str:
    return "-" if moment is None else words.moment(parse_time(moment), _HOURS)
