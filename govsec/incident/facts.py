"""What is known of an event, and how well: a value, a range, a set of possibilities, or nothing yet.

A report is due long before everything is known, so every fact has three states. A value is known; a range or a choice
of several is known in part; what is not there is unknown, and never counts as zero. A duration may say since when it
lasts: then it grows by itself, and the moment at which it reaches a threshold can be told in advance.

A fact has one written form, which command lines, files and the store share::

    portal_down_h=3            portal_down_h=2..6         portal_down_h=2..
    portal_down_h=since 2026-11-22T09:40:00Z              … until 2026-11-22T12:00:00Z
    portal_kind=prefecture_government|county_government   data_threat=serious..
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TypeAlias

from govsec.clock import format_time, parse_time
from govsec.errors import UsageError

_NUMBER = re.compile(r"[0-9]{1,15}(\.[0-9]{1,9})?")
_FIRST, _LAST = datetime(2000, 1, 1, tzinfo=UTC), datetime(2101, 1, 1, tzinfo=UTC)
_UNITS = {"min": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}


class FieldKind(StrEnum):
    """How the values of a field relate."""

    #: A time that grows while the event lasts; ``unit`` is min, h or d.
    DURATION = "duration"
    QUANTITY = "quantity"
    #: Words with an order, mildest first.
    DEGREE = "degree"
    #: Words without an order.
    CHOICE = "choice"


@dataclass(frozen=True, slots=True)
class Field:
    """A question about an event. ``words`` are the values of degrees (mildest first) and choices; empty for numbers."""

    name: str
    kind: FieldKind
    unit: str = ""
    words: tuple[str, ...] = ()

    @property
    def step(self) -> timedelta:
        """One unit of a duration."""
        return _UNITS[self.unit]

    def rank(self, value: float | str) -> float:
        """A value on the field's scale: the number itself, or the place of a degree.

        Raises:
            UsageError: no value of this field.
        """
        if isinstance(value, str):
            if value not in self.words:
                raise UsageError(f"{self.name}: {value[:40]!r} is none of {', '.join(self.words) or 'its numbers'}")
            return float(self.words.index(value))
        if self.words:
            raise UsageError(f"{self.name}: a word is expected ({', '.join(self.words)}), not {value}")
        return value


@dataclass(frozen=True, slots=True)
class Between:
    """A number or a degree from ``low`` to ``high``, both included; equal when it is known, infinite where open."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Since:
    """A duration by its begin, and its end when it is over."""

    start: datetime
    end: datetime | None = None


@dataclass(frozen=True, slots=True)
class OneOf:
    """A choice: one of these. A single one is known."""

    words: frozenset[str]


Fact: TypeAlias = Between | Since | OneOf


@dataclass(frozen=True, slots=True)
class FactSheet:
    """What is known of one event: facts by the name of their field. What is missing is unknown."""

    facts: Mapping[str, Fact]

    def interval(self, field: Field, now: datetime) -> Between:
        """Where a duration, quantity or degree lies at ``now``; everything is possible when nothing is known."""
        fact = self.facts.get(field.name)
        if isinstance(fact, Since):
            elapsed = max((fact.end or now) - fact.start, timedelta(0)) / field.step
            return Between(elapsed, elapsed)
        if isinstance(fact, Between):
            return fact
        return Between(0.0, float(len(field.words) - 1) if field.words else math.inf)

    def choices(self, field: Field) -> frozenset[str]:
        """What a choice may be; everything when nothing is known."""
        fact = self.facts.get(field.name)
        return fact.words if isinstance(fact, OneOf) else frozenset(field.words)

    def growing_since(self, field: Field) -> datetime | None:
        """Since when a duration grows; None when it does not."""
        fact = self.facts.get(field.name)
        return fact.start if isinstance(fact, Since) and fact.end is None else None


def parse_facts(lines: Sequence[str], fields: Mapping[str, Field]) -> FactSheet:
    """Facts from their written form, ``field=value``; ``field=unknown`` says nothing.

    Raises:
        UsageError: names the field, what was expected and what was found.
    """
    facts: dict[str, Fact] = {}
    for line in lines:
        name, equals, text = line.partition("=")
        field = fields.get(name.strip())
        if field is None or not equals:
            raise UsageError(f"{line[:80]!r}: expected FIELD=VALUE with a field of {', '.join(sorted(fields))}")
        if field.name in facts:
            raise UsageError(f"{field.name}: said twice")
        fact = parse_fact(field, text.strip())
        if fact is not None:
            facts[field.name] = fact
    return FactSheet(facts)


def parse_fact(field: Field, text: str) -> Fact | None:
    """One fact from its written form; None for ``unknown``.

    Raises:
        UsageError: names the field, what was expected and what was found.
    """
    if text == "unknown":
        return None
    if field.kind is FieldKind.CHOICE:
        words = frozenset(word.strip() for word in text.split("|"))
        for word in words:
            field.rank(word)
        return OneOf(words)
    if text.startswith("since "):
        return _since(field, text)
    low_text, dots, high_text = text.partition("..")
    low = _value(field, low_text.strip()) if low_text.strip() or not dots else 0.0
    top = float(len(field.words) - 1) if field.words else math.inf
    high = (_value(field, high_text.strip()) if high_text.strip() else top) if dots else low
    if high < low:
        raise UsageError(f"{field.name}: the range {text[:60]!r} ends before it begins")
    return Between(low, high)


def format_fact(field: Field, fact: Fact) -> str:
    """The written form; :func:`parse_fact` reads it back to an equal fact."""
    if isinstance(fact, OneOf):
        return "|".join(sorted(fact.words))
    if isinstance(fact, Since):
        end = f" until {format_time(fact.end)}" if fact.end is not None else ""
        return f"since {format_time(fact.start)}{end}"
    low = _word(field, fact.low)
    if fact.low == fact.high:
        return low
    is_open = math.isinf(fact.high)
    return f"{low}..{'' if is_open else _word(field, fact.high)}"


def is_sound(moment: datetime) -> bool:
    """True from 2000 to 2100: what lies outside is a slip of the pen, or made to break what counts with moments."""
    return _FIRST <= moment < _LAST


def _since(field: Field, text: str) -> Since:
    if field.kind is not FieldKind.DURATION:
        raise UsageError(f"{field.name}: only a duration has a begin")
    start_text, until, end_text = text.removeprefix("since ").partition(" until ")
    try:
        start = parse_time(start_text)
        end = parse_time(end_text) if until else None
    except ValueError as error:
        raise UsageError(f"{field.name}: {error}") from error
    if not all(is_sound(moment) for moment in (start, end) if moment is not None):
        raise UsageError(f"{field.name}: only moments of the years 2000 to 2100 are counted from")
    if end is not None and end < start:
        raise UsageError(f"{field.name}: it ends before it begins")
    return Since(start, end)


def _value(field: Field, text: str) -> float:
    if field.words:
        return field.rank(text)
    if not _NUMBER.fullmatch(text):
        raise UsageError(
            f"{field.name}: {text[:40]!r} is no number of {field.unit or 'units'}, no range A..B and no time"
        )
    return float(text)


def _word(field: Field, value: float) -> str:
    if field.words:
        return field.words[int(value)]
    return format(value, ".9f").rstrip("0").rstrip(".")
