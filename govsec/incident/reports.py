"""A report on an event (首报, 续报, 终报) as a record: what the case knows, what people said, and what is missing.

Nothing is invented: a part is answered by the case's own facts, by a named person's statement, or it is named as
missing. A report that lacks something can be made all the same, because the time runs; its meter says what it lacks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import JsonValue

from govsec.clock import format_time
from govsec.incident.deadlines import Duty
from govsec.incident.deadlinetable import ReportKind
from govsec.incident.desk import View
from govsec.incident.entries import Entry
from govsec.incident.record import Record, duty_record, summary_record
from govsec.incident.reportform import Item, Part, Report, ReportForm
from govsec.incident.reportparts import Unit, part_lines
from govsec.incident.rulepack import RulePack

FORMAT = "govsec.incident-report.v1"
#: What is owed as which kind of report. A report that is passed on, and a notice, carry what a first report carries.
_OWED_AS: Mapping[Report, frozenset[ReportKind]] = {
    Report.FIRST: frozenset({ReportKind.FIRST, ReportKind.RELAY, ReportKind.NOTICE}),
    Report.SUPPLEMENTARY: frozenset({ReportKind.SUPPLEMENTARY}),
    Report.FINAL: frozenset({ReportKind.FINAL}),
}


def compose_report(
    report: Report,
    view: View,
    written: Sequence[Entry],
    *,
    form: ReportForm,
    unit: Unit,
    packs: Sequence[RulePack],
    by: str,
) -> Record:
    """The record of a report at the moment of ``view``; ``written`` are the entries of its case."""
    items = [_item(number, item, report, view, written, unit, packs) for number, item in enumerate(form.of(report), 1)]
    needed = [part for item in items for part in _parts(item) if part["is_needed"]]
    earlier = [made for made in view.case.reports if made.report == report.value]
    return {
        "format": FORMAT,
        "report": report.value,
        "number": len(earlier) + 1,
        "made_at": format_time(view.classification.time),
        "made_by": by,
        "organization": unit.organization,
        "case": summary_record(view.summary()),
        "case_entries_count": view.case.number,
        "is_exercise": view.case.opened.is_exercise,
        "is_provisional": view.classification.is_provisional,
        "owed": [duty_record(duty) for duty in view.duties if _is_for(duty, report)],
        "items": [*items],
        "meter": {
            "needed_count": len(needed),
            "answered_count": sum(part["is_answered"] is True for part in needed),
            "items_count": len(items),
            "complete_count": sum(item["state"] == "complete" for item in items),
            "missing": [part["id"] for part in needed if not part["is_answered"]],
        },
    }


def _item(
    number: int,
    item: Item,
    report: Report,
    view: View,
    written: Sequence[Entry],
    unit: Unit,
    packs: Sequence[RulePack],
) -> Record:
    parts = [
        _part(part, report, view, part_lines(part.source, view, written, unit, packs) if part.source else [])
        for part in item.parts
        if _is_asked(part, view)
    ]
    answered = [bool(part["is_answered"]) for part in parts]
    needed = [bool(part["is_answered"]) for part in parts if part["is_needed"]]
    is_complete = all(needed) if needed else any(answered)
    state = "complete" if is_complete else "partial" if any(answered) else "empty"
    return {
        "number": number,
        "id": item.id,
        "zh": item.zh,
        "en": item.en,
        "status": item.status.value,
        # Nothing of it is needed yet: it may stay empty in this report.
        "is_needed": bool(needed),
        "state": state,
        "parts": [*parts],
    }


def _part(part: Part, report: Report, view: View, lines: Sequence[Mapping[str, JsonValue]]) -> Record:
    said = view.case.statements.get(part.id)
    is_answered = said is not None or (bool(lines) and part.enough == "any")
    return {
        "id": part.id,
        "zh": part.zh,
        "en": part.en,
        "is_needed": report in part.needed,
        "is_answered": is_answered,
        "lines": [dict(line) for line in lines],
        "said": None if said is None else {"text": said.text, "by": said.by, "time": format_time(said.time)},
    }


def _parts(item: Record) -> list[Record]:
    parts = item["parts"]
    return [part for part in parts if isinstance(part, dict)] if isinstance(parts, list) else []


def _is_asked(part: Part, view: View) -> bool:
    if not part.if_kinds or part.id in view.case.statements:
        return True
    kinds = {joined.finding for joined in view.case.findings.values()}
    return any(kind == asked or kind.startswith(f"{asked}.") for kind in kinds for asked in part.if_kinds)


def _is_for(duty: Duty, report: Report) -> bool:
    return duty.rule.report in _OWED_AS[report] and duty.started_at is not None
