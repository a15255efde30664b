"""Which days are worked: weekends, official holidays, and the weekends that are worked in exchange for them.

A year that the table does not have is its weekends alone, and :meth:`Workdays.knows` says so: the next year's holidays
are set in autumn, and a rota that reaches into it must not be trusted before.

"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from functools import cache
from importlib.resources.abc import Traversable
from typing import Self

from pydantic import Field, TypeAdapter, model_validator

from govsec.config import Model
from govsec.datafile import FigureStatus, Text
from govsec.shipped import read_table, shipped

#: The longest so far was nine days.
_OFF_MAX = timedelta(days=31)


class Source(Model):
    """Where a year's days are written."""

    title: str = Field(min_length=1, max_length=300)
    url: str | None


class DaysOff(Text):
    """Days in a row that are not worked."""

    from_: date = Field(alias="from")
    to: date


class Year(Model):
    """One year, as its notice says it."""

    year: int = Field(ge=2000, le=2200)
    status: FigureStatus
    source: Source
    off: tuple[DaysOff, ...] = Field(min_length=1, max_length=30)
    working: tuple[date, ...] = Field(default=(), max_length=30)

    @model_validator(mode="after")
    def _is_sound(self) -> Self:
        for span in self.off:
            if not span.from_ <= span.to <= span.from_ + _OFF_MAX:
                raise ValueError(f"{span.from_}: ends on {span.to}")
        off = set(self.days_off())
        for day in sorted({*off, *self.working}):
            if day.year != self.year:
                raise ValueError(f"{day}: not in {self.year}")
        for day in self.working:
            if day in off:
                raise ValueError(f"{day}: off and worked")
            if day.weekday() < 5:
                raise ValueError(f"{day}: no Saturday or Sunday; it is worked in any case")
        return self

    def days_off(self) -> Iterator[date]:
        """Every day off."""
        for span in self.off:
            for number in range((span.to - span.from_).days + 1):
                yield span.from_ + timedelta(days=number)


class WorkdayTable(Model):
    """The file."""

    version: int = Field(ge=1, le=1)
    title: Text
    years: tuple[Year, ...] = Field(max_length=100)

    @model_validator(mode="after")
    def _has_each_year_once(self) -> Self:
        years = [year.year for year in self.years]
        for year in {year for year in years if years.count(year) > 1}:
            raise ValueError(f"{year}: written twice")
        return self


class Workdays:
    """The days of a table."""

    def __init__(self, table: WorkdayTable) -> None:
        self._years = frozenset(year.year for year in table.years)
        self._off = frozenset(day for year in table.years for day in year.days_off())
        self._working = frozenset(day for year in table.years for day in year.working)

    def is_workday(self, day: date) -> bool:
        """True when ``day`` is worked."""
        return day in self._working or (day not in self._off and day.weekday() < 5)

    def knows(self, year: int) -> bool:
        """False when only the weekends of that year are known."""
        return year in self._years


def read_workdays(file: Traversable) -> Workdays:
    """A table.

    Raises:
        ConfigurationError: with file and line, and what is wrong there.
    """
    return Workdays(read_table(file, TypeAdapter(WorkdayTable)))


@cache
def shipped_workdays() -> Workdays:
    """The table that came with govsec, read once a process."""
    return read_workdays(shipped("rota").joinpath("workdays-cn.yaml"))
