"""The assessment on one screen of a terminal: conclusion, rates with their status and coverage, counts by category,
high-risk cases, what to do first. Whoever wants more asks for another format.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from govsec.report import rectify
from govsec.report.assessment import VERDICTS, Reading
from govsec.report.catalog import Lang, plain
from govsec.report.width import table, wrapped

_CASES_MAX = 8
_FIRST_COUNT = 5
_UNSEEN_MAX = 8
_NAMES_MAX = 4
_WIDTH_MIN = 40


def render_text(record: Mapping[str, Any], lang: Lang, *, width: int = 100) -> str:
    """A record (``govsec.assessment.v1``) in lines of at most ``width`` columns (40 at least)."""
    width = max(width, _WIDTH_MIN)
    reading = Reading(record, lang)
    lines = [*_head(reading), "", *_counts(reading, width), "", *_cases(reading), "", *_first(reading)]
    return "\n".join(part for line in lines for part in wrapped(_line(line), width)) + "\n"


def _head(reading: Reading) -> Iterator[str]:
    text, record = reading.words.text, reading.record
    facts = {"system": reading.system(), "level": reading.level(), "time": reading.moment(record["ended"])}
    yield f"{text('title')} · {text('disclaimer')}"
    yield text("text.head", facts)
    yield from (text("text.extent_mark", {"words": words}) for words in reading.extent())
    if record["rates"]:
        yield text("text.conclusion", {"words": reading.say(record["rates"][0]["conclusion_words"])})
    share = text("text.coverage", {"share": reading.share(), "of": text("label.coverage_of", record["coverage"])})
    for rate in record["rates"]:
        status = text("label.confirmed_rate" if rate["is_confirmed"] else "label.unconfirmed_rate")
        facts = {
            "title": reading.say(rate["title"]),
            "value": reading.value(rate),
            "status": status,
            "note": text("label.rate_all"),
            "decided": reading.value(rate, "value_decided"),
            "share": reading.share(),
        }
        yield text("text.rate", facts)
    yield share
    unseen = [thing for thing in record["objects"].values() if thing["state"] != "collected"]
    for thing in unseen[:_UNSEEN_MAX]:
        why = reading.why(thing)
        reason = f" ({why})" if why else ""
        yield f"! {thing['name']}{text('colon')}{text('object_state.' + thing['state'])}{reason}"
    if len(unseen) > _UNSEEN_MAX:
        yield f"! {text('text.more', {'count': len(unseen) - _UNSEEN_MAX})}"


def _counts(reading: Reading, width: int) -> list[str]:
    text = reading.words.text
    rows = [[text("label.category"), *(text(f"verdict_short.{name}") for name in VERDICTS), text("label.total")]]
    for part in reading.categories:
        numbers = [str(part.counts[name]) for name in VERDICTS]
        rows.append([f"{part.id} {part.name}", *numbers, str(sum(part.counts.values()))])
    totals = [str(reading.counts[name]) for name in VERDICTS]
    rows.append([text("label.total"), *totals, str(len(reading.requirements))])
    return table(rows, width=width, flexible=0)


def _cases(reading: Reading) -> Iterator[str]:
    text, cases = reading.words.text, reading.cases()
    yield text("text.cases", {"open": len(reading.open_cases()), "count": len(cases)})
    for case in cases[:_CASES_MAX]:
        where = _names(reading, case["objects"])
        mark = "" if case["is_confirmed"] else f" [{text('label.unconfirmed')}]"
        state = text("case_state." + case["state"])
        yield f"  {case['case']} {reading.say(case['title'])}{mark}{text('colon')}{state} ({where})"
    if len(cases) > _CASES_MAX:
        yield f"  {text('text.more', {'count': len(cases) - _CASES_MAX})}"
    yield text("text.dangers", {"count": len(reading.record["dangers"])})


def _first(reading: Reading) -> Iterator[str]:
    text = reading.words.text
    steps = rectify.plan(reading.record)["steps"]
    yield text("section.first") if steps else text("empty.first")
    for step in steps[:_FIRST_COUNT]:
        facts = {
            "number": step["number"],
            "priority": text("priority." + step["priority"]),
            # Advice alone may be the same for two checks: the state to reach says what it is for.
            "title": text("colon").join(filter(None, (reading.say(step["title"]), reading.say(step["advice"])))),
            "objects": _names(reading, [thing["name"] for thing in step["objects"]]),
        }
        yield f"  {text('text.first', facts)}"
    if len(steps) > _FIRST_COUNT:
        yield f"  {text('text.more', {'count': len(steps) - _FIRST_COUNT})}"


def _names(reading: Reading, names: list[str]) -> str:
    more = f" +{len(names) - _NAMES_MAX}" if len(names) > _NAMES_MAX else ""
    return reading.words.text("list_comma").join(names[:_NAMES_MAX]) + more


def _line(text: str) -> str:
    """``text`` on one line, with nothing in it that steers a terminal."""
    return plain(text).replace("\n", " ").replace("\t", " ").rstrip()
