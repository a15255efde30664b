"""A case, its list and the board as plain JSON values: what ``--json`` prints and reports are made of. Stable names."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from pydantic import JsonValue

from govsec.clock import format_time
from govsec.incident.api import Board, Summary
from govsec.incident.case import Case
from govsec.incident.classify import Classification, Crossing
from govsec.incident.deadlines import Duty
from govsec.incident.desk import View
from govsec.incident.entries import Entry, Stage
from govsec.incident.eventclasses import shipped_classes
from govsec.incident.levels import EventLevel
from govsec.incident.rulepack import Row, RulePack

Record = dict[str, JsonValue]


def view_record(view: View, entries: Sequence[Entry] = ()) -> Record:
    """A case with its classification and duties; ``entries`` as its timeline."""
    case, opened = view.case, view.case.opened
    return {
        **summary_record(view.summary()),
        "aware_at": format_time(opened.aware_at),
        "roles": list(opened.roles),
        "event_class": opened.event_class,
        **_class_words(opened.event_class),
        "protection_level": opened.protection_level,
        "warning_color": case.color.value if case.color is not None else None,
        "confirmed_by": case.confirmed_by,
        "confirmed_level": case.level.word if case.level is not None else None,
        "is_overtaken": view.is_overtaken,
        "entries_count": case.number,
        "facts": dict(case.facts),
        "circumstances": [circumstance.value for circumstance in sorted(case.circumstances)],
        "findings_count": case.findings_count,
        "findings": [
            {"kind": joined.finding, "subject": joined.subject, "severity": joined.severity, "summary": joined.summary}
            for joined in case.findings.values()
        ],
        "reached": {stage.value: format_time(moment) for stage, moment in sorted(case.reached.items())},
        "classification": classification_record(view.classification),
        "duties": [duty_record(duty) for duty in view.duties],
        **_kept(case),
        "timeline": [entry.model_dump(mode="json") for entry in entries],
    }


def summary_record(line: Summary) -> Record:
    """One line of the list."""
    return {
        "id": line.id,
        "title": line.title,
        "system": line.system,
        "stage": line.stage.value,
        "level": line.level.word,
        "is_confirmed": line.is_confirmed,
        "opened_at": format_time(line.opened_at),
        "updated_at": format_time(line.updated_at),
        "next_due_at": _moment(line.next_due_at),
        "acknowledged_by": line.acknowledged_by,
        "assigned_to": line.assigned_to,
        "is_exercise": line.is_exercise,
    }


def duty_record(duty: Duty) -> Record:
    """One report that is or was owed to one recipient."""
    receipt = duty.receipt
    recipient = duty.rule.to[duty.recipient]
    return {
        "id": duty.id,
        "rule": duty.rule.id,
        "recipient": duty.recipient,
        "recipient_zh": recipient.zh,
        "recipient_en": recipient.en,
        "report": duty.rule.report.value,
        "state": duty.state.value,
        "warning_percent": round(duty.warning * 100),
        "is_certain": duty.is_certain,
        "clock": duty.rule.clock.value,
        "within": duty.rule.within,
        "is_ours": duty.rule.is_ours,
        "started_at": _moment(duty.started_at),
        "due_at": _moment(duty.due_at),
        "spent_percent": min(round(duty.spent * 100), 100_000),
        "needs_reason": duty.needs_reason,
        "reason": duty.reason.text if duty.reason is not None else None,
        "receipt": None
        if receipt is None
        else {
            "time": format_time(receipt.time),
            "taken_by": receipt.taken_by,
            "number": receipt.number,
            "handed_in_by": receipt.handed_in_by,
            "channel": receipt.channel,
        },
        "status": duty.rule.status.value,
        "source": duty.rule.source,
        "clause": duty.rule.clause,
    }


def classification_record(found: Classification) -> Record:
    """What the rules make of the facts."""
    return {
        "time": format_time(found.time),
        "suggested": found.suggested.word,
        "highest_possible": found.highest_possible.word,
        "is_provisional": found.is_provisional,
        "fired": [_row(row) for row in found.fired],
        "undecided": [row.id for row in found.undecided],
        "missing": [{"field": name, "zh": words.zh, "en": words.en} for name, words in found.missing.items()],
        "crossings": [_crossing(crossing) for crossing in found.crossings],
    }


def board_record(board: Board, now: datetime) -> Record:
    """How things stand."""
    return {
        "time": format_time(now),
        "by_stage": {stage.value: board.by_stage.get(stage, 0) for stage in Stage if stage is not Stage.CLOSED},
        "by_level": {level.word: board.by_level.get(level, 0) for level in sorted(EventLevel, reverse=True)},
        "late_count": board.late_count,
        "unacknowledged_count": board.unacknowledged_count,
        "oldest_unacknowledged_at": _moment(board.oldest_unacknowledged_at),
        "next_due_at": _moment(board.next_due_at),
    }


def fields_record(packs: Sequence[RulePack]) -> list[Record]:
    """The facts that the packs ask for, each once."""
    found: dict[str, Record] = {}
    for pack in packs:
        for name, entry in pack.fields.items():
            words = [{"value": word, "zh": text.zh, "en": text.en} for word, text in entry.choices.items()]
            words += [{"value": degree.id, "zh": degree.zh, "en": degree.en} for degree in entry.degrees]
            line: Record = {
                "field": name,
                "kind": entry.kind.value,
                "unit": entry.unit,
                "zh": entry.zh,
                "en": entry.en,
                "values": [{**word} for word in words],
            }
            found.setdefault(name, line)
    return list(found.values())


def _class_words(name: str) -> Record:
    words = shipped_classes().classes.get(name)
    return {"event_class_zh": words.zh if words else name, "event_class_en": words.en if words else name}


def _kept(case: Case) -> Record:
    return {
        "observables": [{"what": what, "value": value} for what, value in sorted(case.observables)],
        "evidence": [
            {
                "name": exhibit.name,
                "digest": exhibit.digest,
                "size_bytes": exhibit.size_bytes,
                "holders": [{"time": format_time(moment), "holder": holder} for moment, holder in exhibit.holders],
            }
            for exhibit in case.exhibits.values()
        ],
        "tasks": [
            {
                "id": task.id,
                "title": task.title,
                "owner": task.owner,
                "due_at": _moment(task.due_at),
                "result": task.result,
            }
            for task in case.tasks.values()
        ],
        "lessons": list(case.lessons),
        "statements": [
            {"part": said.part, "text": said.text, "by": said.by, "time": format_time(said.time)}
            for said in case.statements.values()
        ],
        "reports": [
            {
                "report": made.report,
                "time": format_time(made.time),
                "by": made.by,
                "digest": made.digest,
                "needed_count": made.needed_count,
                "answered_count": made.answered_count,
            }
            for made in case.reports
        ],
        "handling_ended_at": _moment(case.handling_ended_at),
        "recovered_at": _moment(case.recovered_at),
    }


def _row(row: Row) -> Record:
    threshold, indicator = row.threshold, row.indicator
    return {
        "row": row.id,
        "level": row.level.word,
        "field": row.field.name,
        "unit": row.field.unit,
        "at_least": threshold.at_least,
        "zh": indicator.zh,
        "en": indicator.en,
        "source": threshold.source,
        "status": threshold.status.value,
        "note_zh": threshold.note.zh if threshold.note is not None else None,
        "note_en": threshold.note.en if threshold.note is not None else None,
    }


def _crossing(crossing: Crossing) -> Record:
    return {
        "at": format_time(crossing.at),
        "level": crossing.row.level.word,
        "row": crossing.row.id,
        "field": crossing.row.field.name,
        "depends_on": list(crossing.depends_on),
    }


def _moment(moment: datetime | None) -> str | None:
    return None if moment is None else format_time(moment)
