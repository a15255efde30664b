"""What a case answers by itself in a report, part by part: lines of plain values that ``report`` puts into words.

A line is a key of the report's catalogue with facts. A fact that has words of its own in both languages is
``{"zh": …, "en": …}``, a moment is ``{"moment": …}``; nothing here is a sentence.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from pydantic import JsonValue

from govsec.clock import format_time
from govsec.incident import entries as e
from govsec.incident.desk import View
from govsec.incident.entries import Entry
from govsec.incident.eventclasses import shipped_classes
from govsec.incident.facts import Between, Fact, OneOf, Since, parse_fact
from govsec.incident.reportform import PartSource
from govsec.incident.rulepack import FieldEntry, RulePack

Line: TypeAlias = dict[str, JsonValue]
#: What a page of a report can bear of one sort; the rest is counted, and stands in the case.
LINES_MAX = 40
_NUMBER_DIGITS = 12


@dataclass(frozen=True, slots=True)
class Unit:
    """Who reports, and what the register knows of the system; facts are plain values, missing ones are left out."""

    organization: str
    system: Mapping[str, JsonValue]
    contacts: Sequence[Mapping[str, JsonValue]] = ()


def part_lines(
    source: PartSource, view: View, written: Sequence[Entry], unit: Unit, packs: Sequence[RulePack]
) -> list[Line]:
    """The lines of one part; none when the case does not know it. Beyond :data:`LINES_MAX` they are counted."""
    lines = list(_LINES[source](_Case(view, written, unit, packs)))
    if len(lines) > LINES_MAX:
        return [*lines[:LINES_MAX], _line("more", count=len(lines) - LINES_MAX)]
    return lines


@dataclass(frozen=True, slots=True)
class _Case:
    view: View
    written: Sequence[Entry]
    unit: Unit
    packs: Sequence[RulePack]


def _line(key: str, **facts: JsonValue) -> Line:
    return {"key": key, "facts": facts}


def _organization(case: _Case) -> Iterator[Line]:
    if case.unit.organization:
        yield _line("text", text=case.unit.organization)


def _system(case: _Case) -> Iterator[Line]:
    for name, value in case.unit.system.items():
        yield _line(f"system.{name}", value=value)
    if case.unit.system and case.view.case.opened.protection_level and "level" not in case.unit.system:
        yield _line("system.level", value=case.view.case.opened.protection_level)


def _contact(case: _Case) -> Iterator[Line]:
    for person in case.unit.contacts:
        if person.get("contact"):
            yield _line("contact", name=person["name"], role=person.get("role") or "", contact=person["contact"])


def _time(case: _Case) -> Iterator[Line]:
    opened = case.view.case.opened
    yield _line("time.aware", at={"moment": format_time(opened.aware_at)})
    begun = [fact.start for _, fact in _facts(case) if isinstance(fact, Since)]
    if begun:
        yield _line("time.begun", at={"moment": format_time(min(begun))})


def _kind(case: _Case) -> Iterator[Line]:
    name = case.view.case.opened.event_class
    words = shipped_classes().classes.get(name)
    if name != "other" and words is not None:
        yield _line("kind", event={"zh": words.zh, "en": words.en})
    kinds: dict[str, int] = {}
    for joined in case.view.case.findings.values():
        kinds[joined.finding] = kinds.get(joined.finding, 0) + 1
    for finding, count in sorted(kinds.items(), key=lambda pair: (-pair[1], pair[0])):
        yield _line("finding_kind", finding=finding, count=count)


def _level(case: _Case) -> Iterator[Line]:
    found, held = case.view.classification, case.view.case
    if held.level is not None:
        yield _line("level.confirmed", level=held.level.word, by=held.confirmed_by)
    if held.level is None or case.view.is_overtaken:
        yield _line("level.suggested", level=held.level_now(found.suggested).word)
    for row in found.fired:
        words = {"zh": row.indicator.zh, "en": row.indicator.en}
        yield _line("level.row", words={**words}, status=row.threshold.status.value)


def _impact(case: _Case) -> Iterator[Line]:
    for entry, fact in _facts(case):
        facts: dict[str, JsonValue] = {"field": {"zh": entry.zh, "en": entry.en}, "unit": entry.unit}
        match fact:
            case Since():
                yield _lasting(fact, facts, case.view.classification.time)
            case OneOf():
                words = [entry.choices[word] for word in sorted(fact.words)]
                named = {"zh": "、".join(word.zh for word in words), "en": ", ".join(word.en for word in words)}
                yield _line("fact.one_of" if len(words) > 1 else "fact.known", **facts, value={**named})
            case Between(low, high) if low == high:
                yield _line("fact.known", **facts, value=_value(entry, low))
            case Between(low, high) if math.isinf(high):
                yield _line("fact.from", **facts, value=_value(entry, low))
            case Between(low, high):
                yield _line("fact.between", **facts, value=_value(entry, low), high=_value(entry, high))
    if case.view.case.findings_count:
        yield _line("findings", count=case.view.case.findings_count, things=len(case.view.case.findings))


def _lasting(fact: Since, facts: dict[str, JsonValue], now: datetime) -> Line:
    lasted_s = max(round(((fact.end or now) - fact.start).total_seconds()), 0)
    start: JsonValue = {"moment": format_time(fact.start)}
    if fact.end is None:
        return _line("fact.since", **facts, start=start, lasted_s=lasted_s)
    return _line("fact.ended", **facts, start=start, end={"moment": format_time(fact.end)}, lasted_s=lasted_s)


def _measures(case: _Case) -> Iterator[Line]:
    titles = {task.id: task.title for task in case.view.case.tasks.values()}
    for entry in case.written:
        at: JsonValue = {"moment": format_time(entry.time)}
        if isinstance(entry, e.ActionTaken) and entry.outcome != "dry_run":
            yield _line("action", at=at, action=entry.action, outcome=entry.outcome)
        elif isinstance(entry, e.TaskDone):
            yield _line("task_done", at=at, title=titles.get(entry.task, entry.task), result=entry.result)


def _trend(case: _Case) -> Iterator[Line]:
    for crossing in case.view.classification.crossings:
        indicator = crossing.row.indicator
        yield _line(
            "crossing",
            at={"moment": format_time(crossing.at)},
            level=crossing.row.level.word,
            words={"zh": indicator.zh, "en": indicator.en},
        )
    found = case.view.classification
    situation = case.view.case.situation(found.suggested, found.highest_possible)
    if situation.highest_possible > situation.level:
        yield _line("possible", level=found.highest_possible.word)


def _traces(case: _Case) -> Iterator[Line]:
    for what, value in sorted(case.view.case.observables):
        yield _line("observable", what=what, value=value)


def _plan(case: _Case) -> Iterator[Line]:
    for task in case.view.case.tasks.values():
        if task.result is None:
            yield _line("task", title=task.title, owner=task.owner)


def _scene(case: _Case) -> Iterator[Line]:
    for exhibit in case.view.case.exhibits.values():
        holder = exhibit.holders[-1][1]
        yield _line("exhibit", name=exhibit.name, size_bytes=exhibit.size_bytes, digest=exhibit.digest, holder=holder)


def _course(case: _Case) -> Iterator[Line]:
    for stage, moment in sorted(case.view.case.reached.items(), key=lambda pair: pair[1]):
        yield _line("stage", stage=stage.value, at={"moment": format_time(moment)})
    yield from _measures(case)
    if case.view.case.handling_ended_at is not None:
        yield _line("ended", at={"moment": format_time(case.view.case.handling_ended_at)})


def _recovery(case: _Case) -> Iterator[Line]:
    for entry in case.written:
        if isinstance(entry, e.RecoveryProved):
            yield _line("recovered", at={"moment": format_time(entry.time)}, text=entry.text, by=entry.by)


def _lessons(case: _Case) -> Iterator[Line]:
    for lesson in case.view.case.lessons:
        yield _line("text", text=lesson)


def _facts(case: _Case) -> Iterator[tuple[FieldEntry, Fact]]:
    entries: dict[str, FieldEntry] = {}
    for pack in case.packs:
        entries = {**pack.fields, **entries}
    for name, written in case.view.case.facts.items():
        if name in entries and (fact := parse_fact(entries[name].field(name), written)) is not None:
            yield entries[name], fact


def _value(entry: FieldEntry, number: float) -> JsonValue:
    if entry.degrees:
        degree = entry.degrees[int(min(number, len(entry.degrees) - 1))]
        return {"zh": degree.zh, "en": degree.en}
    return f"{number:.{_NUMBER_DIGITS}g}" if math.isfinite(number) else ""


_LINES = {
    PartSource.ORGANIZATION: _organization,
    PartSource.SYSTEM: _system,
    PartSource.CONTACT: _contact,
    PartSource.TIME: _time,
    PartSource.KIND: _kind,
    PartSource.LEVEL: _level,
    PartSource.IMPACT: _impact,
    PartSource.MEASURES: _measures,
    PartSource.TREND: _trend,
    PartSource.TRACES: _traces,
    PartSource.PLAN: _plan,
    PartSource.SCENE: _scene,
    PartSource.COURSE: _course,
    PartSource.RECOVERY: _recovery,
    PartSource.LESSONS: _lessons,
}
