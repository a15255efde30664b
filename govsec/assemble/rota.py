"""Rotas of this site for people: who is on duty, what is wrong with the plan before it matters, changes by hand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from govsec.assemble.escalation import (
    build_escalation,
    open_escalation_file,
    person_of,
    rotas_of,
    workdays_of,
    zone_of,
)
from govsec.assemble.notify import open_outbox
from govsec.clock import format_time, to_ns
from govsec.config import Config
from govsec.errors import RefusedError, UsageError
from govsec.notice.rota import Change, Rota, Watch
from govsec.notifyentry import NotifyConfig
from govsec.records import Notice, Severity

_FLAWS_MAX = 200


@dataclass(frozen=True, slots=True)
class Flaw:
    """Something of the plan that would leave a call without anybody. ``where``: a rota, a person, a chain."""

    what: str
    where: str
    detail: str


def watches_of(config: Config, start: datetime, days: int) -> dict[str, tuple[Watch, ...]]:
    """Who is on duty in each rota from ``start``, for so many days."""
    with open_escalation_file(config) as file:
        rotas = rotas_of(config.notify, file, workdays_of(config.notify), start)
    return {name: tuple(rota.watches(start, start + timedelta(days=days))) for name, rota in rotas.items()}


def flaws_of(config: Config, start: datetime, days: int) -> tuple[Flaw, ...]:
    """What is wrong from ``start``, for so many days; :data:`_FLAWS_MAX` at most. None is a plan that holds."""
    found = [*_chain_flaws(config.notify), *_calendar_flaws(config, start, days)]
    used = {step.rota for chain in config.notify.escalation for step in chain.steps if step.rota}
    called = {person for chain in config.notify.escalation for step in chain.steps for person in step.people}
    for name, watches in watches_of(config, start, days).items():
        for watch in watches:
            if not watch.people:
                found.append(Flaw("empty", name, f"{_span(config.notify, watch)}: nobody is on duty"))
            called.update(watch.people if name in used else ())
        if name not in used:
            found.append(Flaw("unused", name, "no chain calls this rota"))
    for person in sorted(called):
        entry = config.notify.people.get(person)
        if entry is None or not entry.channels:
            found.append(Flaw("no_channel", person, f"{entry.name if entry else person} has no channel"))
    if len(found) > _FLAWS_MAX:
        found[_FLAWS_MAX:] = [Flaw("more", "", f"{len(found) - _FLAWS_MAX} more of these")]
    return tuple(found)


def _chain_flaws(notify: NotifyConfig) -> Iterator[Flaw]:
    if not notify.escalation:
        yield Flaw("no_chain", "escalation", "no chain is configured: nobody is called")
        return
    if all(chain.systems for chain in notify.escalation):
        yield Flaw("no_chain", "escalation", "no chain takes 特别重大 of every system: some of it calls nobody")


def _calendar_flaws(config: Config, start: datetime, days: int) -> Iterator[Flaw]:
    uses = {shift.days for shifts in config.notify.rotas.values() for shift in shifts}
    if not uses & {"workday", "restday"}:
        return
    workdays, zone = workdays_of(config.notify), zone_of(config.notify)
    for year in range(start.astimezone(zone).year, (start + timedelta(days=days)).astimezone(zone).year + 1):
        if not workdays.knows(year):
            yield Flaw("calendar", str(year), "no official holidays are known of this year: weekends only")


def _span(notify: NotifyConfig, watch: Watch) -> str:
    zone = zone_of(notify)
    return f"{watch.starts_at.astimezone(zone):%Y-%m-%d %H:%M} – {watch.ends_at.astimezone(zone):%Y-%m-%d %H:%M}"


def on_duty(config: Config, moment: datetime) -> Mapping[str, tuple[str, ...]]:
    """Who is on duty at a moment, by rota; keys of people."""
    with open_escalation_file(config) as file:
        rotas = rotas_of(config.notify, file, workdays_of(config.notify), moment)
        return {name: rota.on_duty(moment) for name, rota in rotas.items()}


def would_call(config: Config, moment: datetime, severity: Severity, level: int) -> list[dict[str, Any]]:
    """Whom something that bad would call at a moment, level by level; nothing is written."""
    with open_escalation_file(config) as file:
        escalation = build_escalation(config, file)
        chain = escalation.chain_for(severity, level, "")
        if chain is None:
            return []
        found: list[dict[str, Any]] = []
        for number, step in enumerate(chain.steps):
            plan = escalation.plan(chain, number, moment)
            found.append(
                {
                    "step": number + 1,
                    "people": list(plan.people),
                    "channels": list(plan.channels),
                    "repeat_min": step.repeat_min,
                    "wait_min": step.wait_min,
                    "gaps": list(plan.gaps),
                }
            )
    return found


def change_rota(
    config: Config,
    rota: str,
    *,
    gives: str,
    takes: Sequence[str],
    starts_at: datetime,
    ends_at: datetime,
    by: str,
    reason: str,
    now: datetime,
) -> Change:
    """Write a hand-over (``gives`` is somebody) or an override down, and tell everybody whom it is about.

    Raises:
        UsageError: the rota is unknown, or its time is over or has no length.
        ConfigurationError: somebody is unknown.
        RefusedError: somebody who takes has no channel, or who gives is not on duty then.
    """
    notify = config.notify
    if rota not in notify.rotas:
        raise UsageError(f"rota {rota[:60]!r}: there are {', '.join(sorted(notify.rotas)) or 'none'}")
    if not max(starts_at, now) < ends_at:
        raise UsageError("the time ends before it begins, or is over")
    giver, takers = person_of(notify, gives) if gives else "", tuple(person_of(notify, text) for text in takes)
    for taker in takers:
        if not notify.people[taker].channels:
            raise RefusedError(f"{notify.people[taker].name} has no channel, and could not be called")
    change = Change(0, rota, giver, takers, starts_at, ends_at, by, reason, now)
    with open_escalation_file(config) as file:
        held: Rota = rotas_of(notify, file, workdays_of(notify), starts_at)[rota]
        before = {person for watch in held.watches(starts_at, ends_at) for person in watch.people}
        if giver and giver not in before:
            raise RefusedError(f"{notify.people[giver].name} is not on duty in rota {rota} at that time")
        number = file.add_change(change)
    _tell(config, change, number, before if not giver else {giver}, now)
    return Change(number, rota, giver, takers, starts_at, ends_at, by, reason, now)


def withdraw_change(config: Config, number: int, by: str) -> None:
    """A change counts no longer. Raises as ``EscalationFile.withdraw``."""
    with open_escalation_file(config) as file:
        file.withdraw(number, by)


def changes_of(config: Config, after: datetime) -> tuple[Change, ...]:
    """Changes that hold then or later."""
    with open_escalation_file(config) as file:
        return file.changes(after)


def _tell(config: Config, change: Change, number: int, before: set[str], now: datetime) -> None:
    people = config.notify.people
    zone = zone_of(config.notify)
    names = {key: people[key].name if key in people else key for key in (*before, *change.takes)}
    facts = {
        "rota": change.rota,
        "gives": "、".join(names[key] for key in sorted(before)) or "-",
        "takes": "、".join(names[key] for key in change.takes),
        "starts": f"{change.starts_at.astimezone(zone):%Y-%m-%d %H:%M}",
        "ends": f"{change.ends_at.astimezone(zone):%Y-%m-%d %H:%M}",
        "reason": change.reason,
        "by": change.by,
    }
    notice = Notice(
        key=f"rota#{number}#{to_ns(now)}",
        kind="rota.changed",
        severity=Severity.MEDIUM,
        time=now,
        subject=change.rota,
        summary=f"rota {change.rota}: {facts['gives']} to {facts['takes']} until {format_time(change.ends_at)}",
        facts=facts,
    )
    about = (*sorted(before), *change.takes)
    channels = tuple(dict.fromkeys(name for key in about if key in people for name in people[key].channels))
    if channels:
        with open_outbox(config) as outbox:
            outbox.put([notice], channels, now)
