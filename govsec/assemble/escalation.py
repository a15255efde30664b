"""Escalation of this site's cases, from its configuration: called on each turn of whatever keeps watch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from govsec.assemble.notify import channels_of
from govsec.clock import to_ns
from govsec.config import Config
from govsec.errors import ConfigurationError, GovsecError
from govsec.incident.api import CaseStore, Query, Summary
from govsec.incident.entries import Acknowledged, Entry, FindingJoined
from govsec.incident.levels import EventLevel
from govsec.notice.escalation import Escalation, Matter
from govsec.notice.escalationfile import EscalationFile
from govsec.notice.outbox import Outbox
from govsec.notice.rota import Rota
from govsec.notice.rotacheck import flaw_key, flaw_notice, flaws
from govsec.notice.workdays import Workdays, read_workdays, shipped_workdays
from govsec.notifyentry import NotifyConfig
from govsec.records import Severity

_PAGE = 1000
#: More open cases than this are a flood; the oldest are told of by the list and the board.
_CASES_MAX = 20_000
_TEXT_MAX = 300
#: Over the longest holiday that there was, so that there is a workday to mend the plan on.
_AHEAD_DAYS = 10
#: Cases that are read before what they say is written down.
_BATCH = 200


@dataclass(frozen=True, slots=True)
class Escalated:
    """What one turn did: calls put into the outbox, cases that wait for a person, calls that reached nobody on duty."""

    calls_count: int
    waiting_count: int
    unreached_count: int


def zone_of(notify: NotifyConfig) -> timezone:
    """The offset of this site's clocks."""
    hours, _, minutes = notify.zone[1:].partition(":")
    offset = timedelta(hours=int(hours), minutes=int(minutes))
    return timezone(-offset if notify.zone[0] == "-" else offset)


def workdays_of(notify: NotifyConfig) -> Workdays:
    """The calendar of this site. Raises ``ConfigurationError`` when its own cannot be used."""
    return shipped_workdays() if notify.workdays is None else read_workdays(notify.workdays)


@contextmanager
def open_escalation_file(config: Config) -> Iterator[EscalationFile]:
    """The file below ``state_dir``, made when it is not there. Raises as ``govsec.database.Database``."""
    file = EscalationFile(config.state_dir / "incidents" / "escalation.db")
    try:
        yield file
    finally:
        file.close()


@contextmanager
def open_escalation(config: Config) -> Iterator[Escalation]:
    """Escalation as the configuration says. Raises as :func:`open_escalation_file` and :func:`workdays_of`."""
    with open_escalation_file(config) as file:
        yield build_escalation(config, file)


def build_escalation(config: Config, file: EscalationFile) -> Escalation:
    """Escalation over a file that is open."""
    notify, workdays = config.notify, workdays_of(config.notify)

    def rotas(moment: datetime) -> Mapping[str, Rota]:
        return rotas_of(notify, file, workdays, moment)

    return Escalation(file, notify.escalation, notify.people, rotas, tuple(notify.channels), zone_of(notify))


def rotas_of(notify: NotifyConfig, file: EscalationFile, workdays: Workdays, moment: datetime) -> dict[str, Rota]:
    """The rotas, with what people have changed for that moment and later."""
    changes = file.changes(moment)
    return {name: Rota(name, shifts, workdays, zone_of(notify), changes) for name, shifts in notify.rotas.items()}


def escalate(config: Config, cases: CaseStore, escalation: Escalation, outbox: Outbox, now: datetime) -> Escalated:
    """Look at the open cases, call whom it is time to call, and have the calls in the outbox when it returns.

    Does nothing where no chain is configured. A case that cannot be read is called for by what its line says; when the
    cases cannot be listed, those that are known are called all the same, and the trouble is raised afterwards.
    """
    if not config.notify.escalation:
        return Escalated(0, 0, 0)
    trouble: GovsecError | None = None
    try:
        _look(cases, escalation, now)
    except GovsecError as error:
        trouble = error
    called = _call(escalation, outbox, now)
    _tell_flaws(config.notify, escalation, outbox, now)
    if trouble is not None:
        raise trouble
    return called


def _tell_flaws(notify: NotifyConfig, escalation: Escalation, outbox: Outbox, now: datetime) -> None:
    """Once a day, what is wrong with the plan for the days to come."""
    zone = zone_of(notify)
    if outbox.has(flaw_key(zone, now)):
        return
    if found := flaws(notify, escalation.rotas(now), workdays_of(notify), zone, now, _AHEAD_DAYS):
        notice = flaw_notice(found, zone, now)
        outbox.put([notice], channels_of(notice, notify) or tuple(notify.channels), now)


def _call(escalation: Escalation, outbox: Outbox, now: datetime) -> Escalated:
    escalation.unreached(outbox.is_undeliverable, now)
    calls = escalation.step(now)
    for call in calls:
        outbox.put([call.notice], call.channels, now)
    escalation.told(calls)
    return Escalated(len(calls), escalation.waiting_count(), sum(bool(call.notice.facts["gaps"]) for call in calls))


def _look(cases: CaseStore, escalation: Escalation, now: datetime) -> None:
    known = escalation.marks()
    lines = _open_cases(cases)
    news = [line for line in lines if known.get(line.id) != _mark(line)]
    for begin in range(0, len(news), _BATCH):
        read = [(line, _entries(cases, line.id)) for line in news[begin : begin + _BATCH]]
        escalation.watch([_matter(line, entries) for line, entries in read], now)
    gone = known.keys() - {line.id for line in lines}
    if gone and len(lines) < _CASES_MAX:  # else the oldest are not over, but beyond what was listed
        escalation.ended(sorted(gone))


def _open_cases(cases: CaseStore) -> list[Summary]:
    found: list[Summary] = []
    after: str | None = None
    while len(found) < _CASES_MAX:
        page = cases.find(Query(is_open=True, limit=_PAGE, after=after))
        found += page
        if len(page) < _PAGE:
            break
        after = page[-1].id
    return found


def _entries(cases: CaseStore, case_id: str) -> Sequence[Entry]:
    try:
        return cases.entries(case_id)
    except GovsecError:
        # A damaged case is named by the list; that it waits for a person holds all the same.
        return ()


def _mark(line: Summary) -> str:
    return f"{to_ns(line.updated_at)}/{int(line.level)}/{line.acknowledged_by}"


def _matter(line: Summary, entries: Sequence[Entry]) -> Matter:
    words = [entry.by for entry in entries if isinstance(entry, Acknowledged)]
    if not entries and line.acknowledged_by:
        words = [line.acknowledged_by]
    severities = [Severity[entry.severity.upper()] for entry in entries if isinstance(entry, FindingJoined)]
    # A case that a person opened has no finding: it is worth a person's look, and more from 较大 on.
    least = Severity.CRITICAL if line.level >= EventLevel.RELATIVELY_MAJOR else Severity.HIGH
    return Matter(
        key=line.id,
        mark=_mark(line),
        severity=max(severities, default=least),
        level=int(line.level),
        system=line.system[:200],
        subject=line.id,
        summary=line.title[:_TEXT_MAX],
        is_exercise=line.is_exercise,
        acknowledged_count=len(words),
        acknowledged_by=words[-1] if words else "",
    )


def person_of(notify: NotifyConfig, text: str) -> str:
    """The key of a person, who is named by it or by their name.

    Raises:
        ConfigurationError: nobody, or more than one, is called so.
    """
    if text in notify.people:
        return text
    named = [key for key, person in notify.people.items() if person.name == text]
    if len(named) != 1:
        raise ConfigurationError(f"notify.people: {'several are' if named else 'nobody is'} called {text[:60]!r}")
    return named[0]
