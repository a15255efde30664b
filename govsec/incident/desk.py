"""The desk: cases with everything that follows from them, asked and changed through one door.

It reads a case, lets the rules and the clock speak, writes entries, and keeps the line of the list right. Two people
who change one case at once both succeed, one after the other, unless the second's entry no longer fits; then it is
refused with the reason, as if it had come later.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone

from govsec.clock import Clock
from govsec.errors import IntegrityError, RefusedError, TryAgainError, UsageError
from govsec.incident.api import CaseStore, Query, Summary
from govsec.incident.case import AHEAD_MAX, Case, add, open_case, open_questions, replay
from govsec.incident.classify import Classification, classify
from govsec.incident.deadlines import Duty, Restart, duties
from govsec.incident.deadlinetable import DeadlineTable
from govsec.incident.entries import Entry, FactsSaid, Opened, Stage
from govsec.incident.facts import FactSheet, Since, is_sound, parse_fact, parse_facts
from govsec.incident.rulepack import RulePack, fields_of

#: Days are counted where the people are: the law's and everybody's day in China.
CHINA = timezone(timedelta(hours=8))
#: A case that is contested more often than this is contested by a program.
_TRIES_MAX = 20
_PAGE = 500


@dataclass(frozen=True, slots=True)
class View:
    """A case at one moment: what was written, what the rules make of it, and what is owed."""

    case: Case
    classification: Classification
    duties: tuple[Duty, ...]

    @property
    def is_overtaken(self) -> bool:
        """True when the facts have become worse than the level that somebody confirmed."""
        return self.case.is_overtaken(self.classification.suggested)

    def _tomorrow(self) -> datetime:
        # Once a day in any case: the rules themselves change with an upgrade, and damage is found by looking.
        return self.classification.time + timedelta(days=1)

    def summary(self) -> Summary:
        """The case as a line of the list."""
        case, opened = self.case, self.case.opened
        due = [duty.due_at for duty in self.duties if duty.is_certain and duty.is_open and duty.due_at is not None]
        return Summary(
            id=case.id,
            title=opened.title,
            system=opened.system,
            stage=case.stage,
            level=case.level_now(self.classification.suggested),
            is_confirmed=case.level is not None and not self.is_overtaken,
            opened_at=opened.time,
            updated_at=case.updated_at,
            next_due_at=min(due, default=None),
            acknowledged_by=case.acknowledged_by,
            assigned_to=case.assigned_to,
            is_exercise=opened.is_exercise,
            look_again_at=min([crossing.at for crossing in self.classification.crossings] + [self._tomorrow()]),
        )


@dataclass(frozen=True, slots=True)
class Refreshed:
    """What became of looking at every open case again: lines that changed, and cases that could not be read and why."""

    changed_count: int
    unreadable: Mapping[str, str]


class Desk:
    """Cases of one store under one set of rules."""

    def __init__(
        self,
        store: CaseStore,
        packs: Sequence[RulePack],
        table: DeadlineTable,
        clock: Clock,
        *,
        restart: Restart = Restart.FIRST_AWARENESS,
    ) -> None:
        self.store = store
        self.packs = tuple(packs)
        self.table = table
        self.fields = fields_of(self.packs)
        self._clock = clock
        self._restart = restart

    def open(self, entry: Opened, *, origin: str = "") -> View:
        """A new case; or the one that was opened for the same ``origin`` before, when a program names one.

        Raises:
            RefusedError: the entry says that somebody knew of the event before it will have happened, holds a
                moment that cannot be, or names a role that no rule knows.
        """
        strangers = [role for role in entry.roles if role not in self.table.roles]
        if strangers:
            raise RefusedError(f"role {strangers[0][:40]!r}: there are {', '.join(sorted(self.table.roles))}")
        _timely(entry, self._clock.now())
        day = entry.time.astimezone(CHINA).strftime("%Y%m%d")
        summary = self._view(open_case(day, entry), self._clock.now()).summary()
        return self.view(self.store.create(day, entry, summary, origin=origin))

    def view(self, case_id: str) -> View:
        """A case now. Raises as ``CaseStore.entries``."""
        return self._view(replay(case_id, self.store.entries(case_id)), self._clock.now())

    def add(self, case_id: str, *entries: Entry) -> View:
        """Write entries into a case, all or none.

        Raises:
            RefusedError: no such case, or an entry does not fit it, or holds a moment that cannot be.
            UsageError: a fact is not written as its field asks.
            TryAgainError: others write into the case all the time.
        """
        now = self._clock.now()
        for entry in entries:
            _timely(entry, now)
            if isinstance(entry, FactsSaid):
                self._started(self._sheet(entry.facts), now)
        for _ in range(_TRIES_MAX):
            case = before = replay(case_id, self.store.entries(case_id))
            for entry in entries:
                then = self._view(case, self._clock.now())
                case = add(case, entry, then.duties, suggested=then.classification.suggested)
            view = self._view(case, self._clock.now())
            try:
                self.store.append(case_id, before.number, entries, view.summary())
            except TryAgainError:
                continue
            return view
        raise TryAgainError(f"case {case_id}: others write into it all the time")

    def check(self, facts: Mapping[str, str]) -> None:
        """Facts as they are written, before a case exists that could hold them.

        Raises:
            UsageError: names the field, what was expected and what was found.
            RefusedError: something lasts since a moment that is still to come.
        """
        sheet = parse_facts([f"{name}={text}" for name, text in facts.items()], self.fields)
        self._started(sheet, self._clock.now())

    def questions(self, view: View) -> tuple[str, ...]:
        """What keeps a case from the next stage; empty when it may go on, or is closed."""
        ahead = list(Stage)[list(Stage).index(view.case.stage) + 1 :]
        if not ahead:
            return ()
        return open_questions(view.case, ahead[0], view.duties, view.classification.suggested)

    def refresh(self) -> Refreshed:
        """Look again at every open case whose moment has come, because time alone changes levels and deadlines.

        A case that cannot be read keeps its line as it was, is named, and keeps no other from being looked at.
        """
        seen: list[Summary] = []
        changed_count = 0
        moment = self._clock.now()
        unreadable: dict[str, str] = {}
        after = None
        while page := self.store.find(Query(is_open=True, look_again_by=moment, after=after, limit=_PAGE)):
            for line in page:
                try:
                    now = self.view(line.id).summary()
                except (IntegrityError, RefusedError, UsageError) as error:
                    unreadable[line.id] = str(error)
                    continue
                now = replace(now, updated_at=line.updated_at)
                changed_count += replace(now, look_again_at=line.look_again_at) != line
                seen.append(now)
            after = page[-1].id
        if seen:
            self.store.refresh(seen)
        return Refreshed(changed_count, unreadable)

    def _view(self, case: Case, now: datetime) -> View:
        found = classify(self.packs, self._sheet(case.facts), now)
        situation = case.situation(found.suggested, found.highest_possible)
        owed = duties(self.table, situation, now, case.receipts, case.reasons, restart=self._restart)
        return View(case, found, owed)

    def _started(self, sheet: FactSheet, now: datetime) -> None:
        for name, fact in sheet.facts.items():
            if isinstance(fact, Since) and fact.start > now + AHEAD_MAX:
                raise RefusedError(f"{name}: cannot last since a moment in the future")

    def _sheet(self, written: Mapping[str, str]) -> FactSheet:
        facts = {}
        for name, text in written.items():
            # A field of a pack that is no longer loaded stays in the case and says nothing here.
            field = self.fields.get(name)
            fact = parse_fact(field, text) if field is not None else None
            if fact is not None:
                facts[name] = fact
        return FactSheet(facts)


def _timely(entry: Entry, now: datetime) -> None:
    for name, value in entry:
        if isinstance(value, datetime) and not is_sound(value):
            raise RefusedError(f"{entry.kind}: {name} lies outside the years 2000 to 2100")
    if entry.time > now + AHEAD_MAX:
        raise RefusedError(f"{entry.kind}: time lies in the future")
