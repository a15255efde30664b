"""What a report on an event has to say: content items and their parts as data (``policies/incidents/reports.yaml``).

Source: 国家网络安全事件报告管理办法 (in force 2025-11-01), articles 7 and 8.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from enum import StrEnum
from functools import cache
from typing import Annotated, Self

from pydantic import Field, StringConstraints, TypeAdapter, model_validator

from govsec.config import Model
from govsec.datafile import FigureStatus, Text
from govsec.errors import UsageError
from govsec.incident.rulepack import Source
from govsec.shipped import read_table, shipped

_Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,39}$")]


class Report(StrEnum):
    """Kinds of report: 首报, 续报, 终报."""

    FIRST = "first"
    SUPPLEMENTARY = "supplementary"
    FINAL = "final"


class PartSource(StrEnum):
    """What a case can answer by itself."""

    ORGANIZATION = "organization"
    SYSTEM = "system"
    CONTACT = "contact"
    TIME = "time"
    KIND = "kind"
    LEVEL = "level"
    IMPACT = "impact"
    MEASURES = "measures"
    TREND = "trend"
    TRACES = "traces"
    PLAN = "plan"
    SCENE = "scene"
    COURSE = "course"
    RECOVERY = "recovery"
    LESSONS = "lessons"


class Part(Text):
    """One answer of an item."""

    id: _Name
    source: PartSource | None = Field(default=None, alias="from")
    needed: tuple[Report, ...] = ()
    #: Whether what the case knows by itself counts as an answer, or only a person's statement does.
    enough: Annotated[str, StringConstraints(pattern="^(any|statement)$")] = "any"
    if_kinds: tuple[str, ...] = Field(default=(), max_length=20)


class Item(Text):
    """One content item of the measures."""

    id: _Name
    reports: tuple[Report, ...] = Field(min_length=1)
    parts: tuple[Part, ...] = Field(min_length=1, max_length=20)
    source: _Name
    status: FigureStatus


class ReportForm(Model):
    """All items, in the order of the measures."""

    version: int = Field(ge=1, le=1)
    title: Text
    sources: Mapping[_Name, Source] = Field(min_length=1)
    items: tuple[Item, ...] = Field(min_length=1, max_length=50)

    @model_validator(mode="after")
    def _is_sound(self) -> Self:
        for item in self.items:
            if item.source not in self.sources:
                raise ValueError(f"item {item.id}: no source {item.source}")
            for part in item.parts:
                if stray := set(part.needed) - set(item.reports):
                    raise ValueError(f"part {part.id}: needed in {min(stray).value}, where item {item.id} is not")
                if part.enough == "statement" and part.source is None:
                    raise ValueError(f"part {part.id}: is a person's alone already")
        for report in Report:
            named = Counter(part.id for item in self.of(report) for part in item.parts)
            if twice := [name for name, count in named.items() if count > 1]:
                raise ValueError(f"part {twice[0]}: stands twice in a {report.value} report")
            if not any(report in part.needed for item in self.of(report) for part in item.parts):
                raise ValueError(f"a {report.value} report needs nothing: every one would be complete")
        return self

    def of(self, report: Report) -> Iterator[Item]:
        """The items of one kind of report."""
        return (item for item in self.items if report in item.reports)

    def check_part(self, name: str) -> None:
        """See whether a person may answer this part.

        Raises:
            UsageError: there is no such part; names those that there are.
        """
        names = dict.fromkeys(part.id for item in self.items for part in item.parts)
        if name not in names:
            raise UsageError(f"part {name[:40]!r}: there are {', '.join(names)}")


@cache
def shipped_form() -> ReportForm:
    """The form that came with govsec, read once a process.

    Raises:
        ConfigurationError: the table is not whole.
    """
    return read_table(shipped("incidents").joinpath("reports.yaml"), TypeAdapter(ReportForm))
