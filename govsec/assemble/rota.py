"""Rotas of this site for people: who is on duty, what is wrong with the plan before it matters, changes by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
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
from govsec.notice.rotacheck import Flaw, flaws
from govsec.records import Notice, Severity


def watches_of(config: Config, start: datetime, days: int) -> dict[str, tuple[Watch, ...]]:
    """Who is on duty in each rota from ``start``, for so many days."""
    with open_escalation_file(config) as file:
        rotas = rotas_of(config.notify, file, workdays_of(config.notify), start)
    return {name: tuple(rota.watches(start, start + timedelta(days=days))) for name, rota in rotas.items()}


def flaws_of(config: Config, start: datetime, days: int) -> tuple[Flaw, ...]:
    """What is wrong with the plan from ``start``, for so many days."""
    notify, workdays = config.notify, workdays_of(config.notify)
    with open_escalation_file(config) as file:
        rotas = rotas_of(notify, file, workdays, start)
    return flaws(notify, rotas, workdays, zone_of(notify), start, days)


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
    _tell(config, "rota.changed", replace(change, id=number), before if not giver else {giver}, now)
    return Change(number, rota, giver, takers, starts_at, ends_at, by, reason, now)


def withdraw_change(config: Config, number: int, by: str, now: datetime) -> None:
    """A change counts no longer; whom it was about is told. Raises as ``EscalationFile.withdraw``."""
    with open_escalation_file(config) as file:
        held = [change for change in file.changes(now) if change.id == number]
        file.withdraw(number, by)
    for change in held:
        _tell(config, "rota.withdrawn", replace(change, by=by), {change.gives} - {""}, now)


def changes_of(config: Config, after: datetime) -> tuple[Change, ...]:
    """Changes that hold then or later."""
    with open_escalation_file(config) as file:
        return file.changes(after)


def _tell(config: Config, kind: str, change: Change, before: set[str], now: datetime) -> None:
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
        key=f"{kind}#{change.id}#{to_ns(now)}",
        kind=kind,
        severity=Severity.MEDIUM,
        time=now,
        subject=change.rota,
        summary=f"{kind}: {change.rota}: {facts['gives']} to {facts['takes']} until {format_time(change.ends_at)}",
        facts=facts,
    )
    about = (*sorted(before), *change.takes)
    channels = tuple(dict.fromkeys(name for key in about if key in people for name in people[key].channels))
    if channels:
        with open_outbox(config) as outbox:
            outbox.put([notice], channels, now)
