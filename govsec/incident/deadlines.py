"""Which duties an event brings, how much time is left for each, and which are met.

Every limit runs from the moment that its rule names, in wall-clock time. The level decides whether a duty holds, not
when its time began: an event that grows from 较大 to 重大 is judged from the first awareness, unless the site has
decided otherwise (``Restart``). A duty is met by a receipt (who took the report, when, under which number); a report
without a receipt is not handed in, and a receipt from before the clock's start belongs to something else. A duty that
is late stays late, also when it is met in the end, and asks for a reason.

While the level is not settled, duties that only the highest possible level would bring are shown as possible: their
time runs all the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TypeVar

from govsec.incident.deadlinetable import Circumstance, DeadlineTable, ReportKind, Rule, StartsAt
from govsec.incident.levels import EventLevel

#: Shares of the time after which people are warned.
WARNED_AT = (0.5, 0.75, 0.9)
#: Clocks of two machines or of a telephone's display differ by so much; a receipt from before cannot belong to a duty.
SLACK = timedelta(minutes=5)


class DutyState(StrEnum):
    """Where a duty stands."""

    #: Its clock has not started.
    WAITING = "waiting"
    OPEN = "open"
    LATE = "late"
    MET = "met"
    MET_LATE = "met_late"


class Restart(StrEnum):
    """What a higher level does to a clock that runs."""

    #: The stricter reading, and the default.
    FIRST_AWARENESS = "first_awareness"
    #: The limit runs from the moment at which the level was reached.
    LEVEL_REACHED = "level_reached"


@dataclass(frozen=True, slots=True)
class Receipt:
    """Somebody took a report: by whom it was handed in, who took it, when, and the number they gave."""

    duty: str
    time: datetime
    taken_by: str
    number: str
    handed_in_by: str
    channel: str


@dataclass(frozen=True, slots=True)
class LateReason:
    """Why a duty was not met in time, by a named person."""

    duty: str
    time: datetime
    by: str
    text: str


_Said = TypeVar("_Said", Receipt, LateReason)


@dataclass(frozen=True, slots=True)
class Situation:
    """What the rules ask about an event and about who reports it."""

    roles: frozenset[str]
    level: EventLevel
    highest_possible: EventLevel
    aware_at: datetime
    received_at: datetime | None = None
    handling_ended_at: datetime | None = None
    #: When important new facts turned up, oldest first.
    new_facts_at: tuple[datetime, ...] = ()
    circumstances: frozenset[Circumstance] = frozenset()
    #: When each level was reached first; needed only where ``Restart.LEVEL_REACHED`` is chosen.
    level_reached_at: Mapping[EventLevel, datetime] | None = None


@dataclass(frozen=True, slots=True)
class Duty:
    """One report to one recipient. ``id`` is ``rule/recipient``, with ``#n`` where a rule asks again and again."""

    id: str
    rule: Rule
    recipient: str
    state: DutyState
    #: False while only the highest possible level would bring it.
    is_certain: bool
    started_at: datetime | None
    due_at: datetime | None
    #: Share of the time that is gone at the moment asked, 0 to 1 and beyond; 0 before the clock starts.
    spent: float
    receipt: Receipt | None
    reason: LateReason | None

    @property
    def warning(self) -> float:
        """The greatest of :data:`WARNED_AT` that is reached while the duty is open; 0 when none is."""
        if self.state is not DutyState.OPEN:
            return 0.0
        return max((share for share in WARNED_AT if self.spent >= share), default=0.0)

    @property
    def needs_reason(self) -> bool:
        """True when it was or is late and nobody has said why."""
        return self.state in (DutyState.LATE, DutyState.MET_LATE) and self.reason is None

    @property
    def is_open(self) -> bool:
        """True when something is still to be handed in; such a duty keeps a case from being closed."""
        return self.state in (DutyState.OPEN, DutyState.LATE)


def duties(
    table: DeadlineTable,
    situation: Situation,
    now: datetime,
    receipts: Sequence[Receipt] = (),
    reasons: Sequence[LateReason] = (),
    *,
    restart: Restart = Restart.FIRST_AWARENESS,
) -> tuple[Duty, ...]:
    """Every duty of this situation at ``now``: late ones first, then by the time that is left, waiting ones last."""
    taken, said = _by_duty(receipts), _by_duty(reasons)
    found: list[Duty] = []
    for rule in table.duties:
        if not _concerns(rule, situation):
            continue
        is_certain = situation.level >= rule.from_level
        for suffix, start in _starts(rule, situation, restart):
            for recipient in rule.to:
                name = f"{rule.id}/{recipient}{suffix}"
                since = counts_from(rule, start, situation.aware_at)
                receipt = min(_after(since, taken.get(name, ())), key=lambda held: held.time, default=None)
                reason = max(_after(since, said.get(name, ())), key=lambda held: held.time, default=None)
                found.append(_duty(name, rule, recipient, start, now, is_certain, receipt, reason))
    return tuple(sorted(found, key=_order))


def counts_from(rule: Rule, start: datetime | None, aware_at: datetime) -> datetime | None:
    """The earliest moment at which a receipt can belong to a duty whose clock starts at ``start``; None before that.

    Where a site lets a higher level restart the clock, what was handed in before that is handed in all the same.
    """
    if start is None:
        return None
    return (aware_at if rule.clock is StartsAt.AWARE else start) - SLACK


def next_change(found: Sequence[Duty], now: datetime) -> datetime | None:
    """The next moment at which one of the duties warns or becomes late; None when nothing is pending."""
    moments = [
        duty.started_at + share * duty.rule.limit
        for duty in found
        if duty.state is DutyState.OPEN and duty.started_at is not None
        for share in (*WARNED_AT, 1.0)
    ]
    return min((moment for moment in moments if moment > now), default=None)


def _concerns(rule: Rule, situation: Situation) -> bool:
    if not situation.roles.intersection(rule.roles):
        return False
    if rule.when is not None and rule.when not in situation.circumstances:
        return False
    return max(situation.level, situation.highest_possible) >= rule.from_level


def _starts(rule: Rule, situation: Situation, restart: Restart) -> list[tuple[str, datetime | None]]:
    if rule.clock is StartsAt.NEW_FACTS:
        return [(f"#{number}", moment) for number, moment in enumerate(situation.new_facts_at, 1)]
    if rule.clock is StartsAt.RECEIVED:
        return [("", situation.received_at)]
    if rule.clock is StartsAt.HANDLING_ENDED:
        return [("", situation.handling_ended_at)]
    start = situation.aware_at
    if restart is Restart.LEVEL_REACHED and rule.report is ReportKind.FIRST and situation.level_reached_at:
        reached = [at for level, at in situation.level_reached_at.items() if level >= rule.from_level]
        start = max(start, min(reached, default=start))
    return [("", start)]


def _by_duty(said: Sequence[_Said]) -> dict[str, list[_Said]]:
    found: dict[str, list[_Said]] = {}
    for one in said:
        found.setdefault(one.duty, []).append(one)
    return found


def _after(since: datetime | None, said: Sequence[_Said]) -> list[_Said]:
    return [one for one in said if since is not None and one.time >= since]


def _duty(
    name: str,
    rule: Rule,
    recipient: str,
    start: datetime | None,
    now: datetime,
    is_certain: bool,
    receipt: Receipt | None,
    reason: LateReason | None,
) -> Duty:
    if start is None:
        return Duty(name, rule, recipient, DutyState.WAITING, is_certain, None, None, 0.0, receipt, reason)
    due = start + rule.limit
    if receipt is not None:
        state = DutyState.MET if receipt.time <= due else DutyState.MET_LATE
    else:
        # "At the latest" includes the moment itself.
        state = DutyState.OPEN if now <= due else DutyState.LATE
    end = receipt.time if receipt is not None else now
    spent = max((end - start) / rule.limit, 0.0)
    return Duty(name, rule, recipient, state, is_certain, start, due, spent, receipt, reason)


_FIRST_STATES = (DutyState.LATE, DutyState.OPEN, DutyState.WAITING, DutyState.MET_LATE, DutyState.MET)


def _order(duty: Duty) -> tuple[int, float, str]:
    return _FIRST_STATES.index(duty.state), duty.due_at.timestamp() if duty.due_at else 0.0, duty.id
