"""From facts to a level: what the rules suggest, what is still possible, and what one must find out.

Facts are three-valued, so every row of a rule pack holds, does not hold, or cannot be told yet (Kleene's logic). The
level suggested is the worst that certainly holds; the highest possible one is the worst that nothing excludes. Between
them lie the facts that are missing. Nothing here decides: a named person confirms or overrides, with a reason.

Worse facts never lower a level: every row is a lower bound on an ordered field within a scope.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from govsec.datafile import FigureStatus, Text
from govsec.incident.facts import FactSheet, Field, FieldKind
from govsec.incident.levels import EventLevel
from govsec.incident.rulepack import Row, RulePack

#: Crossings further ahead say nothing that a person could act on.
_AHEAD_MAX = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Crossing:
    """A row that will hold at ``at`` if things go on as they do; ``depends_on`` must turn out to apply as well."""

    row: Row
    at: datetime
    depends_on: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Classification:
    """What the rules make of the facts at ``time``."""

    time: datetime
    suggested: EventLevel
    highest_possible: EventLevel
    #: Rows that certainly hold, worst first; for each indicator its worst only.
    fired: tuple[Row, ...]
    #: Rows above the suggested level that cannot be told yet, worst first.
    undecided: tuple[Row, ...]
    #: Fields whose answer would settle them, in order of the first row that asks, with their words.
    missing: Mapping[str, Text]
    #: Soonest first.
    crossings: tuple[Crossing, ...]

    @property
    def is_provisional(self) -> bool:
        """True when the suggested level rests on figures alone that are not confirmed."""
        deciding = [row for row in self.fired if row.level == self.suggested]
        return bool(deciding) and all(row.threshold.status is not FigureStatus.CONFIRMED for row in deciding)


def classify(packs: Sequence[RulePack], facts: FactSheet, now: datetime) -> Classification:
    """What all packs together make of the facts at ``now``; the worst counts."""
    fired: list[Row] = []
    undecided: list[Row] = []
    crossings: list[Crossing] = []
    seen: set[tuple[str, str]] = set()
    rows = [row for pack in packs for row in pack.rows()]
    for row in rows:
        holds = _holds(row, facts, now)
        if holds is None:
            undecided.append(row)
        elif holds and (row.pack, row.indicator.id) not in seen:
            fired.append(row)
            seen.add((row.pack, row.indicator.id))
        crossing = _crossing(row, facts, now)
        if crossing is not None:
            crossings.append(crossing)
    suggested = max((row.level for row in fired), default=EventLevel.GENERAL)
    open_rows = [row for row in undecided if row.level > suggested]
    possible = max((row.level for row in open_rows), default=suggested)
    words = {name: entry for pack in reversed(packs) for name, entry in pack.fields.items()}
    missing = {name: words[name] for row in open_rows for name in _unknown(row, facts, now)}
    return Classification(
        time=now,
        suggested=suggested,
        highest_possible=possible,
        fired=tuple(sorted(fired, key=lambda row: -row.level)),
        undecided=tuple(sorted(open_rows, key=lambda row: -row.level)),
        missing=missing,
        crossings=tuple(sorted(crossings, key=lambda crossing: (crossing.at, -crossing.row.level))),
    )


def _holds(row: Row, facts: FactSheet, now: datetime) -> bool | None:
    """Whether the row holds; None when the facts do not tell."""
    found = facts.interval(row.field, now)
    reached = True if found.low >= row.rank else False if found.high < row.rank else None
    return _both(reached, _in_scope(row, facts))


def _in_scope(row: Row, facts: FactSheet) -> bool | None:
    if row.scope is None:
        return True
    possible, wanted = facts.choices(row.scope), set(row.threshold.of)
    return True if possible <= wanted else None if possible & wanted else False


def _both(first: bool | None, second: bool | None) -> bool | None:
    if first is False or second is False:
        return False
    return None if first is None or second is None else True


def _unknown(row: Row, facts: FactSheet, now: datetime) -> list[str]:
    found = facts.interval(row.field, now)
    names = [row.field.name] if found.low < row.rank else []
    if row.scope is not None and _in_scope(row, facts) is None:
        names.append(row.scope.name)
    return names


def _crossing(row: Row, facts: FactSheet, now: datetime) -> Crossing | None:
    if row.field.kind is not FieldKind.DURATION:
        return None
    start = facts.growing_since(row.field)
    if start is None:
        return None
    at = _moment(start, row.field, row.rank)
    in_scope = _in_scope(row, facts)
    if at <= now or at - now > _AHEAD_MAX or in_scope is False:
        return None
    return Crossing(row, at, (row.scope.name,) if row.scope is not None and in_scope is None else ())


def _moment(start: datetime, field: Field, rank: float) -> datetime:
    return start + field.step * rank
