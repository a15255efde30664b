"""What is wrong with the plan of who is called, before it matters: looked for ahead, said once a day.

A flaw is nothing that stops a call (escalation passes over it and says so); it is what makes one late.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Literal

from govsec.clock import format_time
from govsec.notice.rota import Rota
from govsec.notice.workdays import Workdays
from govsec.notifyentry import NotifyConfig
from govsec.records import Notice, Severity

#: Flaws beyond are counted.
FLAWS_MAX = 200
_LISTED_MAX = 10
What = Literal["empty", "no_channel", "no_chain", "some_without_chain", "unused", "calendar", "more"]
#: What a call would meet; the rest is only untidy.
_GRAVE = frozenset({"empty", "no_channel", "no_chain", "some_without_chain"})


@dataclass(frozen=True, slots=True)
class Flaw:
    """``where``: a rota, a person's name, a year; ``when``: from and until, in the site's own time."""

    what: What
    where: str
    when: str = ""


def flaws(
    notify: NotifyConfig, rotas: Mapping[str, Rota], workdays: Workdays, zone: timezone, start: datetime, days: int
) -> tuple[Flaw, ...]:
    """Everything that is wrong from ``start``, for so many days. None is a plan that holds."""
    found = [*_of_chains(notify), *_of_calendar(notify, workdays, zone, start, days)]
    used = {step.rota for chain in notify.escalation for step in chain.steps if step.rota}
    called = {person for chain in notify.escalation for step in chain.steps for person in step.people}
    for name, rota in rotas.items():
        if name not in used:
            found.append(Flaw("unused", name))
            continue
        for watch in rota.watches(start, start + timedelta(days=days)):
            if not watch.people:
                found.append(Flaw("empty", name, span(zone, watch.starts_at, watch.ends_at)))
            called.update(watch.people)
    for person in sorted(called):
        entry = notify.people.get(person)
        if entry is None or not entry.channels:
            found.append(Flaw("no_channel", entry.name if entry else person))
    if len(found) > FLAWS_MAX:
        found[FLAWS_MAX:] = [Flaw("more", str(len(found) - FLAWS_MAX))]
    return tuple(found)


def span(zone: timezone, start: datetime, end: datetime) -> str:
    """A time from and until, on the clocks of that offset."""
    return f"{start.astimezone(zone):%Y-%m-%d %H:%M} – {end.astimezone(zone):%Y-%m-%d %H:%M}"


def flaw_key(zone: timezone, now: datetime) -> str:
    """The key of a day's notice: it is told once a day."""
    return f"rota.flawed#{now.astimezone(zone):%Y-%m-%d}"


def flaw_notice(found: tuple[Flaw, ...], zone: timezone, now: datetime) -> Notice:
    """What is wrong, for people."""
    is_grave = any(flaw.what in _GRAVE for flaw in found)
    return Notice(
        key=flaw_key(zone, now),
        kind="rota.flawed",
        severity=Severity.HIGH if is_grave else Severity.MEDIUM,
        time=now,
        subject="notify.rotas",
        summary=f"{len(found)} flaws in who would be called, seen {format_time(now)}; see govsec notify rota --check",
        facts={
            "count": len(found),
            "flaws": [{"what": flaw.what, "where": flaw.where, "when": flaw.when} for flaw in found[:_LISTED_MAX]],
        },
    )


def _of_chains(notify: NotifyConfig) -> Iterator[Flaw]:
    if not notify.escalation:
        yield Flaw("no_chain", "escalation")
    elif all(chain.systems for chain in notify.escalation):
        yield Flaw("some_without_chain", "escalation")


def _of_calendar(
    notify: NotifyConfig, workdays: Workdays, zone: timezone, start: datetime, days: int
) -> Iterator[Flaw]:
    if {shift.days for shifts in notify.rotas.values() for shift in shifts} & {"workday", "restday"}:
        last = (start + timedelta(days=days)).astimezone(zone).year
        for year in range(start.astimezone(zone).year, last + 1):
            if not workdays.knows(year):
                yield Flaw("calendar", str(year))
