"""Rules of levels as data: which facts make an event 较大, 重大 or 特别重大, with source and status of every figure.

A pack asks questions (indicators); each has a threshold by level on one field and, where the text says so, a scope: a
choice that must hold as well. Any one indicator is enough. ``policies/incidents/cac-2025.yaml`` explains the file.

A pack with a gap (a level left out between two others) or an overlap (a worse level that is easier to reach, or
reached by what a milder one excludes) is refused when it is read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources.abc import Traversable
from itertools import pairwise
from typing import Annotated, Self

from pydantic import Field as Bound
from pydantic import StringConstraints, TypeAdapter, model_validator

from govsec.config import Model
from govsec.datafile import FigureStatus, Text
from govsec.errors import ConfigurationError, UsageError
from govsec.incident.facts import Field, FieldKind
from govsec.incident.levels import EventLevel, level_of
from govsec.shipped import read_table, shipped

_Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,39}$")]
_Id = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,39}$")]
_LevelName = Annotated[str, StringConstraints(pattern="^(relatively_major|major|particularly_major)$")]
_SHIPPED = ("cac-2025", "plan-2017")


class Source(Model):
    """Where a figure stands."""

    title: str = Bound(min_length=1, max_length=300)
    url: str | None = Bound(default=None, pattern=r"^https?://[^\s]{1,300}$")


class DegreeWord(Text):
    """One degree, with its name in facts."""

    id: _Name


class FieldEntry(Text):
    """A field as a pack says it."""

    kind: FieldKind
    unit: str = Bound(default="", max_length=10)
    choices: Mapping[_Name, Text] = Bound(default_factory=dict, max_length=50)
    degrees: tuple[DegreeWord, ...] = Bound(default=(), max_length=20)

    @model_validator(mode="after")
    def _fits_its_kind(self) -> Self:
        if (self.kind is FieldKind.CHOICE) != bool(self.choices):
            raise ValueError("a choice, and nothing else, has choices")
        if (self.kind is FieldKind.DEGREE) != (len(self.degrees) > 1):
            raise ValueError("a degree, and nothing else, has two degrees or more")
        if self.kind is FieldKind.DURATION and self.unit not in ("min", "h", "d"):
            raise ValueError("a duration is in min, h or d")
        return self

    def field(self, name: str) -> Field:
        """The field that facts are read by."""
        words = tuple(self.choices) if self.choices else tuple(degree.id for degree in self.degrees)
        return Field(name, self.kind, self.unit, words)


class Threshold(Model):
    """From where on a level holds."""

    at_least: Annotated[float, Bound(ge=0, allow_inf_nan=False)] | _Name
    of: tuple[_Name, ...] = Bound(default=(), max_length=50)
    status: FigureStatus
    source: _Name
    note: Text | None = None


class Indicator(Text):
    """One question; the worst level whose threshold is reached is its answer."""

    id: _Id
    field: _Name
    scope: _Name | None = None
    levels: Mapping[_LevelName, Threshold] = Bound(min_length=1)


class RulePack(Model):
    """All rules of one instrument."""

    version: int = Bound(ge=1, le=1)
    id: _Name
    title: Text
    effective_from: str = Bound(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$")
    #: Earlier editions of the same instrument, by id.
    supersedes: tuple[_Name, ...] = ()
    sources: Mapping[_Name, Source] = Bound(min_length=1)
    fields: Mapping[_Name, FieldEntry] = Bound(min_length=1, max_length=200)
    indicators: tuple[Indicator, ...] = Bound(min_length=1, max_length=500)

    @model_validator(mode="after")
    def _is_sound(self) -> Self:
        ids = [indicator.id for indicator in self.indicators]
        for name in {name for name in ids if ids.count(name) > 1}:
            raise ValueError(f"indicator {name}: written twice")
        for indicator in self.indicators:
            self._check(indicator)
        return self

    def rows(self) -> Iterator[Row]:
        """Every threshold, worst level first within an indicator."""
        for indicator in self.indicators:
            field = self.fields[indicator.field].field(indicator.field)
            scope = self.fields[indicator.scope].field(indicator.scope) if indicator.scope is not None else None
            levels = sorted(indicator.levels.items(), key=lambda item: -level_of(item[0]))
            for word, threshold in levels:
                yield Row(self.id, indicator, level_of(word), threshold, field, field.rank(threshold.at_least), scope)

    def _check(self, indicator: Indicator) -> None:
        where = f"indicator {indicator.id}"
        for name in filter(None, (indicator.field, indicator.scope)):
            if name not in self.fields:
                raise ValueError(f"{where}: no field {name}")
        if self.fields[indicator.field].kind is FieldKind.CHOICE:
            raise ValueError(f"{where}: field {indicator.field} has no order; it can only be a scope")
        if indicator.scope is not None and self.fields[indicator.scope].kind is not FieldKind.CHOICE:
            raise ValueError(f"{where}: scope {indicator.scope} is no choice")
        for word, threshold in indicator.levels.items():
            if threshold.source not in self.sources:
                raise ValueError(f"{where}, {word}: no source {threshold.source}")
            if bool(threshold.of) != (indicator.scope is not None):
                raise ValueError(f"{where}, {word}: `of` and the indicator's scope go together")
            unknown = set(threshold.of) - set(self.fields[indicator.scope].choices) if indicator.scope else set()
            if unknown:
                raise ValueError(f"{where}, {word}: scope {indicator.scope} has no {', '.join(sorted(unknown))}")
        try:
            rows = sorted(self._rows_of(indicator), key=lambda row: row.level)
        except UsageError as error:
            raise ValueError(f"{where}: {error}") from error
        for milder, worse in pairwise(rows):
            if worse.level != milder.level + 1:
                raise ValueError(f"{where}: a gap between {milder.level.word} and {worse.level.word}")
            if worse.rank <= milder.rank:
                raise ValueError(f"{where}: {worse.level.word} is reached no later than {milder.level.word}")
            if not set(worse.threshold.of) <= set(milder.threshold.of):
                raise ValueError(f"{where}: {worse.level.word} holds for what {milder.level.word} leaves out")

    def _rows_of(self, indicator: Indicator) -> Iterator[Row]:
        field = self.fields[indicator.field].field(indicator.field)
        for word, threshold in indicator.levels.items():
            yield Row(self.id, indicator, level_of(word), threshold, field, field.rank(threshold.at_least), None)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: this indicator makes an event of this level from this threshold on."""

    pack: str
    indicator: Indicator
    level: EventLevel
    threshold: Threshold
    field: Field
    rank: float
    scope: Field | None

    @property
    def id(self) -> str:
        """``pack:indicator:level``, the name under which it is quoted."""
        return f"{self.pack}:{self.indicator.id}:{self.level.word}"


def fields_of(packs: tuple[RulePack, ...]) -> dict[str, Field]:
    """Every field that the packs ask for.

    Raises:
        ConfigurationError: two packs mean different things by one name.
    """
    fields: dict[str, Field] = {}
    for pack in packs:
        for name, entry in pack.fields.items():
            field = entry.field(name)
            if fields.setdefault(name, field) != field:
                raise ConfigurationError(f"rule pack {pack.id}: field {name} is another in an earlier pack")
    return fields


def read_pack(file: Traversable) -> RulePack:
    """One pack.

    Raises:
        ConfigurationError: with file and line, and what is wrong there.
    """
    return read_table(file, TypeAdapter(RulePack))


@cache
def shipped_packs() -> tuple[RulePack, ...]:
    """The packs that came with govsec, read once a process."""
    return tuple(read_pack(shipped("incidents").joinpath(f"{name}.yaml")) for name in _SHIPPED)
