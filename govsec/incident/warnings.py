"""What time alone makes worth telling of a case: a limit that comes near or has passed, a level that was reached.

Functions of a case and a moment. Each notice has a key of its own (case, duty, share of the time): made again it is the
same, and an outbox tells it once. Of a case that was not looked at for long only what holds now is told, not each step
on the way there.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from pydantic import JsonValue

from govsec.clock import format_time
from govsec.incident.deadlines import WARNED_AT, Duty, DutyState, next_change
from govsec.incident.desk import View
from govsec.incident.levels import EventLevel
from govsec.records import Notice, Severity

#: How bad a notice of a duty is by the share of its time that is gone.
_SEVERITIES = {0.5: Severity.MEDIUM, 0.75: Severity.HIGH, 0.9: Severity.CRITICAL}
_LEVELS = {
    EventLevel.GENERAL: Severity.MEDIUM,
    EventLevel.RELATIVELY_MAJOR: Severity.HIGH,
    EventLevel.MAJOR: Severity.CRITICAL,
    EventLevel.PARTICULARLY_MAJOR: Severity.CRITICAL,
}
#: Rules change with an upgrade, and a clock may have been set: nothing is left alone for longer.
LOOK_AGAIN = timedelta(hours=1)


def case_notices(view: View) -> tuple[Notice, ...]:
    """What is to be told of an open case now; always the same while nothing changes."""
    if not view.summary().is_open:
        return ()
    return (*_of_case(view), *(notice for duty in view.duties for notice in _of_duty(view, duty)))


def next_look(view: View) -> datetime:
    """When a case is to be looked at again at the latest, if nobody writes into it."""
    now = view.classification.time
    moments = [crossing.at for crossing in view.classification.crossings]
    if (change := next_change(view.duties, now)) is not None:
        # The last moment is in time: late is what comes after it.
        moments.append(change + timedelta(seconds=1))
    return min([*(moment for moment in moments if moment > now), now + LOOK_AGAIN])


def _of_case(view: View) -> Iterator[Notice]:
    case, level = view.case, view.case.level_now(view.classification.suggested)
    due = view.summary().next_due_at
    facts: dict[str, JsonValue] = {
        "level": level.word, "is_confirmed": case.level is not None, "due_at": _moment(due),
        "highest_possible": view.classification.highest_possible.word, "title": case.opened.title,
    }  # fmt: skip
    words = f"case {case.id}: {case.opened.title}; level {level.word}"
    yield _notice(view, f"case#{case.id}", "incident.case_opened", _LEVELS[level], words, facts)
    if level >= EventLevel.RELATIVELY_MAJOR:
        key = f"level#{case.id}#{level.word}"
        yield _notice(view, key, "incident.level_reached", _LEVELS[level], words, facts)


def _of_duty(view: View, duty: Duty) -> Iterator[Notice]:
    if duty.started_at is None or duty.due_at is None:
        return
    recipient = duty.rule.to[duty.recipient]
    facts: dict[str, JsonValue] = {
        "duty": duty.id, "due_at": format_time(duty.due_at), "recipient_zh": recipient.zh, "recipient_en": recipient.en,
        "is_certain": duty.is_certain, "report": duty.rule.report.value, "title": view.case.opened.title,
    }  # fmt: skip
    key = f"duty#{view.case.id}#{duty.id}#{int(duty.started_at.timestamp())}"
    words = f"case {view.case.id}: {duty.id} is due at {format_time(duty.due_at)}"
    if duty.state is DutyState.LATE and duty.is_certain:
        yield _notice(view, f"{key}#late", "incident.duty_late", Severity.CRITICAL, f"{words} and is late", facts)
    elif duty.state is DutyState.OPEN and duty.warning in WARNED_AT:
        percent = round(duty.warning * 100)
        # What only the worst possible level would bring is told, so that somebody settles the level in time.
        severity = _SEVERITIES[duty.warning] if duty.is_certain else Severity.MEDIUM
        told = f"{words}; {percent} % of the time is gone" + ("" if duty.is_certain else " (if the worst holds)")
        # What was possible and has become certain is news, and worse.
        mark = f"{key}#{percent}" if duty.is_certain else f"{key}#{percent}#possible"
        yield _notice(view, mark, "incident.duty_warned", severity, told, {**facts, "percent": percent})


def _notice(view: View, key: str, kind: str, severity: Severity, words: str, facts: dict[str, JsonValue]) -> Notice:
    opened = view.case.opened
    # An exercise moves people, and nobody else.
    severity = min(severity, Severity.LOW) if opened.is_exercise else severity
    return Notice(
        key=key[:200],
        kind=kind,
        severity=severity,
        time=view.classification.time,
        system=opened.system,
        subject=view.case.id,
        summary=words[:2000],
        facts={**facts, "case": view.case.id, "is_exercise": opened.is_exercise},
    )


def _moment(moment: datetime | None) -> str | None:
    return None if moment is None else format_time(moment)
