"""Who must report what to whom, by when, as data; ``policies/incidents/deadlines.yaml`` explains the file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum
from functools import cache
from importlib.resources.abc import Traversable
from typing import Annotated, Self

from pydantic import AfterValidator, Field, StringConstraints, TypeAdapter, model_validator

from govsec.config import Model
from govsec.datafile import FigureStatus, Text
from govsec.incident.levels import EventLevel, level_of
from govsec.incident.rulepack import Source
from govsec.shipped import read_table, shipped

_WITHIN = re.compile(r"([1-9][0-9]{0,3})(min|h|d)")
_UNITS = {"min": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}


def _within(text: str) -> str:
    if not _WITHIN.fullmatch(text):
        raise ValueError("a limit is a number of min, h or d")
    return text


_Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,39}$")]
_Id = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,39}$")]
_LevelName = Annotated[str, StringConstraints(pattern="^(general|relatively_major|major|particularly_major)$")]


class StartsAt(StrEnum):
    """The moment that a limit runs from."""

    #: The event was found, or somebody told of it: not when it happened, and not when it was given a level.
    AWARE = "aware_at"
    #: A report from below came in, by its receipt.
    RECEIVED = "received_at"
    HANDLING_ENDED = "handling_ended_at"
    #: Each time that important new facts turn up.
    NEW_FACTS = "new_facts_at"


class Circumstance(StrEnum):
    """What makes a duty hold besides the level."""

    CRIME = "is_crime_suspected"
    PRODUCT_RISK = "is_product_risk"
    PERSONAL_DATA = "is_personal_data_leaked"


class ReportKind(StrEnum):
    """What is to be handed in."""

    FIRST = "first"
    RELAY = "relay"
    SUPPLEMENTARY = "supplementary"
    FINAL = "final"
    NOTICE = "notice"


class Rule(Model):
    """One line of the table."""

    id: _Id
    roles: tuple[_Name, ...] = Field(min_length=1, max_length=20)
    from_: _LevelName = Field(default="general", alias="from")
    when: Circumstance | None = None
    report: ReportKind
    clock: StartsAt
    within: Annotated[str, AfterValidator(_within)]
    is_ours: bool = False
    to: Mapping[_Name, Text] = Field(min_length=1, max_length=20)
    status: FigureStatus
    source: _Name
    clause: str = Field(default="", max_length=40)

    @property
    def limit(self) -> timedelta:
        """From the clock's start to the last moment that is in time."""
        number, unit = _WITHIN.fullmatch(self.within).groups()  # type: ignore[union-attr]  # checked when it was read
        return int(number) * _UNITS[unit]

    @property
    def from_level(self) -> EventLevel:
        """The mildest level for which the duty holds."""
        return level_of(self.from_)


class OtherRule(Text):
    """A rule without a timer, shown beside the others."""

    id: _Id
    status: FigureStatus
    source: _Name
    clause: str = Field(default="", max_length=40)


class DeadlineTable(Model):
    """All rules."""

    version: int = Field(ge=1, le=1)
    title: Text
    sources: Mapping[_Name, Source] = Field(min_length=1)
    roles: Mapping[_Name, Text] = Field(min_length=1)
    reports: Mapping[ReportKind, Text]
    duties: tuple[Rule, ...] = Field(min_length=1, max_length=200)
    other: tuple[OtherRule, ...] = Field(default=(), max_length=200)

    @model_validator(mode="after")
    def _is_sound(self) -> Self:
        lines: tuple[Rule | OtherRule, ...] = (*self.duties, *self.other)
        ids = [line.id for line in lines]
        for name in {name for name in ids if ids.count(name) > 1}:
            raise ValueError(f"rule {name}: written twice")
        for line in lines:
            if line.source not in self.sources:
                raise ValueError(f"rule {line.id}: no source {line.source}")
        for rule in self.duties:
            strangers = [role for role in rule.roles if role not in self.roles]
            if strangers:
                raise ValueError(f"rule {rule.id}: no role {', '.join(strangers)}")
        for kind in ReportKind:
            if kind not in self.reports:
                raise ValueError(f"reports: no words for {kind}")
        return self


def read_deadlines(file: Traversable) -> DeadlineTable:
    """A table of deadlines.

    Raises:
        ConfigurationError: with file and line, and what is wrong there.
    """
    return read_table(file, TypeAdapter(DeadlineTable))


@cache
def shipped_deadlines() -> DeadlineTable:
    """The table that came with govsec, read once a process."""
    return read_deadlines(shipped("incidents").joinpath("deadlines.yaml"))
