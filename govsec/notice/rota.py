"""Who is on duty at a moment: shifts by the calendar, what people changed by hand, and where nobody is.

A shift belongs to the day on which it begins, so the night of Friday is Friday's until Saturday morning. All shifts
that hold at a moment are on duty together. An override puts other people in their place for a time; a hand-over puts
one person in another's place. Both are written down with names and reason, and the later one counts.

Time is of one fixed offset: China has no summer time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone

from govsec.notice.workdays import Workdays
from govsec.rotaentry import ShiftConfig

_DAY = timedelta(days=1)
_WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
#: Turns by the shift are counted day by day from `since`; a rota that is older is wound up wrong, not read slowly.
_COUNTED_MAX_DAYS = 20 * 366


@dataclass(frozen=True, slots=True)
class Change:
    """What people changed: ``gives`` hands over to ``takes``; where nobody gives, ``takes`` are on duty alone."""

    id: int
    rota: str
    gives: str
    takes: tuple[str, ...]
    starts_at: datetime
    ends_at: datetime
    by: str
    reason: str
    written_at: datetime

    def holds(self, moment: datetime) -> bool:
        """True while it counts."""
        return self.starts_at <= moment < self.ends_at


@dataclass(frozen=True, slots=True)
class Watch:
    """Who is on duty, from a moment on until something changes. No people: nobody is."""

    people: tuple[str, ...]
    starts_at: datetime
    ends_at: datetime


class Rota:
    """One rota. ``changes``: of this rota, in the order in which they were written."""

    def __init__(
        self,
        name: str,
        shifts: Sequence[ShiftConfig],
        workdays: Workdays,
        zone: timezone,
        changes: Sequence[Change] = (),
    ) -> None:
        self.name = name
        self._shifts = tuple(shifts)
        self._workdays = workdays
        self._zone = zone
        self._counted: dict[ShiftConfig, tuple[date, int]] = {}
        self._changes = tuple(change for change in changes if change.rota == name)

    def on_duty(self, moment: datetime) -> tuple[str, ...]:
        """The people on duty, each once."""
        people: list[str] = []
        local = moment.astimezone(self._zone)
        for shift in self._shifts:
            # What began yesterday may last until today.
            for day in (local.date() - _DAY, local.date()):
                begin, end = self._span(shift, day)
                if begin <= moment < end and self._is_on(shift, day):
                    people += self._turn_of(shift, day)
        for change in self._changes:
            if change.holds(moment):
                people = _changed(people, change)
        return tuple(dict.fromkeys(people))

    def watches(self, start: datetime, end: datetime) -> Iterator[Watch]:
        """Who is on duty from ``start`` to ``end``, one watch after the other; each differs from the next."""
        edges = sorted({start, *(edge for edge in self._edges(start, end) if start < edge < end)})
        current = Watch(self.on_duty(start), start, end)
        for edge in edges[1:]:
            people = self.on_duty(edge)
            if people != current.people:
                yield Watch(current.people, current.starts_at, edge)
                current = Watch(people, edge, end)
        yield current

    def _edges(self, start: datetime, end: datetime) -> Iterator[datetime]:
        day, last = start.astimezone(self._zone).date() - _DAY, end.astimezone(self._zone).date()
        while day <= last:
            for shift in self._shifts:
                yield from self._span(shift, day)
            day += _DAY
        for change in self._changes:
            yield change.starts_at
            yield change.ends_at

    def _span(self, shift: ShiftConfig, day: date) -> tuple[datetime, datetime]:
        start, end = time.fromisoformat(shift.start), time.fromisoformat(shift.end)
        last = day + _DAY if end <= start else day
        return datetime.combine(day, start, self._zone), datetime.combine(last, end, self._zone)

    def _is_on(self, shift: ShiftConfig, day: date) -> bool:
        if isinstance(shift.days, tuple):
            return _WEEKDAYS[day.weekday()] in shift.days
        return shift.days == "every" or self._workdays.is_workday(day) == (shift.days == "workday")

    def _turn_of(self, shift: ShiftConfig, day: date) -> tuple[str, ...]:
        if shift.turn == "together" or len(shift.people) < 2 or shift.since is None:
            return shift.people
        return (shift.people[self._turns(shift, shift.since, day) % len(shift.people)],)

    def _turns(self, shift: ShiftConfig, since: date, day: date) -> int:
        """How many turns have passed since the first; negative before it."""
        if shift.turn == "week":
            return (day - (since - timedelta(days=since.weekday()))).days // 7
        if day < since:
            return -self._shifts_between(shift, day, since)
        # Asked for one day after the other, it need not count from the beginning each time.
        begin, turns = self._counted.get(shift, (since, 0))
        if begin > day:
            begin, turns = since, 0
        turns += self._shifts_between(shift, begin, day)
        self._counted[shift] = day, turns
        return turns

    def _shifts_between(self, shift: ShiftConfig, first: date, last: date) -> int:
        count = min((last - first).days, _COUNTED_MAX_DAYS)
        return sum(self._is_on(shift, first + timedelta(days=number)) for number in range(count))


def _changed(people: Sequence[str], change: Change) -> list[str]:
    if not change.gives:
        return list(change.takes)
    # Who hands over what somebody else has by now hands over nothing.
    return [taker for person in people for taker in (change.takes if person == change.gives else (person,))]
