"""The register from a workbook that somebody filled in.

Strict: an unknown key, a value of another type or a system that is not there is an error with sheet, row and column,
and nothing is taken over. Columns may be moved or left out, and sheets that are none of the register's are left alone.
Choices are read in either language, or by their value.

Layout: :mod:`govsec.register.sheet`; what keeps the reader safe is :mod:`govsec.register.workbook`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime
from typing import Any

from pydantic import ValidationError

from govsec.datafile import Text
from govsec.errors import ConfigurationError
from govsec.register.levels import WrittenLevel, read_level
from govsec.register.register import SYSTEMS_MAX, Register, System
from govsec.register.sheet import FIRST_ROW, Column, ColumnType, SheetLayout, layout
from govsec.register.workbook import Cell, Sheet, read_workbook

_PROBLEMS_MAX = 20
#: Columns of the sheet of systems that stand beside the entry and not in it.
_BESIDE = frozenset({"name", "title", "objectives", "jobs"})


def import_xlsx(data: bytes, name: str) -> Register:
    """The register in a workbook; ``name`` stands for the file in errors.

    Raises:
        ConfigurationError: not such a workbook, or wrong entries, each with sheet, row and column.
    """
    reading = _Reading(name)
    for sheet in read_workbook(data, name):
        reading.take(sheet)
    return reading.register()


class _Reading:
    """What was read so far, and what was wrong with it."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._problems: list[str] = []
        self._systems: dict[str, dict[str, Any]] = {}
        self._places: dict[str, dict[str, Cell]] = {}
        self._parts: dict[str, list[tuple[str, dict[str, Any], Cell]]] = defaultdict(list)
        self._seen: set[str] = set()

    def take(self, sheet: Sheet) -> None:
        """Take one sheet over; sheets that are none of the register's are left alone."""
        found = next((one for one in layout().sheets if sheet.title in (one.title.zh, one.title.en, one.id)), None)
        if found is None:
            return
        if found.id in self._seen:
            raise ConfigurationError(f"{self._name}: sheet {sheet.title!r} is there twice")
        self._seen.add(found.id)
        columns = self._columns(sheet, found)
        for row in sheet.rows:
            if row[0].row >= FIRST_ROW:
                self._row(found, columns, row)

    def register(self) -> Register:
        """The register, when nothing was wrong."""
        if "systems" not in self._seen:
            title = layout().sheet("systems").title
            raise ConfigurationError(f"{self._name}: has no sheet {title.zh!r} or {title.en!r}")
        for sheet_id, parts in self._parts.items():
            for owner, values, cell in parts:
                if owner not in self._systems:
                    self._problem(cell, f"there is no system {owner[:60]!r} on the sheet of systems")
                else:
                    self._systems[owner]["register"].setdefault(sheet_id, []).append(values)
                    index = len(self._systems[owner]["register"][sheet_id]) - 1
                    self._places[owner][f"{sheet_id}.{index}"] = cell
        if len(self._systems) > SYSTEMS_MAX:
            raise ConfigurationError(f"{self._name}: more than {SYSTEMS_MAX} systems")
        systems = list(self._validated())
        if self._problems:
            more = len(self._problems) - _PROBLEMS_MAX
            rest = f"; and {more} more" if more > 0 else ""
            raise ConfigurationError(f"{self._name}: {'; '.join(self._problems[:_PROBLEMS_MAX])}{rest}")
        return Register(systems=tuple(systems))

    def _validated(self) -> Iterator[System]:
        for name, values in self._systems.items():
            try:
                yield System.model_validate(values)
            except ValidationError as error:
                for item in error.errors(include_url=False, include_input=False):
                    self._problem(self._place(name, item["loc"]), item["msg"].removeprefix("Value error, "))

    def _place(self, name: str, steps: Sequence[int | str]) -> Cell:
        """The cell that an error of the model is about, or the nearest one around it."""
        path = [str(step) for step in steps if step != "register"]
        places = self._places[name]
        while path:
            if (found := places.get(".".join(path))) is not None:
                return found
            path.pop()
        return places["name"]

    def _columns(self, sheet: Sheet, known: SheetLayout) -> dict[int, Column]:
        keys = next((row for row in sheet.rows if row[0].row == FIRST_ROW - 1), ())
        columns: dict[int, Column] = {}
        for cell in keys:
            column = known.column(cell.value)
            if column is None or column in columns.values():
                raise ConfigurationError(
                    f"{self._name}: {cell.where}: {str(cell.value)[:60]!r} is no key, or is there twice"
                )
            columns[cell.column] = column
        first = known.columns[0].key
        if first not in {column.key for column in columns.values()}:
            raise ConfigurationError(f"{self._name}: sheet {sheet.title!r}: row 2 has no column {first!r}")
        return columns

    def _row(self, sheet: SheetLayout, columns: Mapping[int, Column], row: Sequence[Cell]) -> None:
        values: dict[str, Any] = {}
        places: dict[str, Cell] = {}
        written: dict[str, tuple[int, Cell]] = {}
        for cell in row:
            column = columns.get(cell.column)
            if column is None:
                self._problem(cell, "stands in a column without a key in row 2")
                continue
            try:
                value = _parsed(cell.value, column)
            except ValueError as error:
                self._problem(cell, str(error))
                continue
            places[column.key] = cell
            if isinstance(value, WrittenLevel):
                halves = {"s": value.s, "a": value.a} if column.key == "level" else {}
                written |= {key: (half, cell) for key, half in halves.items() if half}
                value = value.level
            _put(values, column.key, value)
        for key, (half, cell) in written.items():
            if values.setdefault(key, half) != half:
                self._problem(cell, f"says {key.upper()}{half}, and the column {key} says {values[key]}")
        owner = values.pop("system", None) if sheet.id != "systems" else values.get("name")
        if not isinstance(owner, str):
            self._problem(row[0], f"the row has no {sheet.columns[0].key}")
        elif sheet.id != "systems":
            self._parts[sheet.id].append((owner, values, row[0]))
        elif owner in self._systems:
            self._problem(places["name"], f"system {owner[:60]!r} is there twice")
        else:
            beside = {key: value for key, value in values.items() if key in _BESIDE}
            entry = {key: value for key, value in values.items() if key not in _BESIDE}
            self._systems[owner] = beside | {"register": entry}
            self._places[owner] = places

    def _problem(self, cell: Cell, what: str) -> None:
        self._problems.append(f"{cell.where}: {what}")


def _put(values: dict[str, Any], key: str, value: object) -> None:
    first, _, second = key.partition(".")
    if second:
        values.setdefault(first, {})[second] = value
    else:
        values[first] = value


def _parsed(value: object, column: Column) -> object:
    """A cell's value as the column has it. Raises ``ValueError`` with what was expected."""
    if column.type is ColumnType.DATE:
        return _day(value)
    if column.type in (ColumnType.INTEGER, ColumnType.NUMBER):
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"expected a number, found {str(value)[:40]!r}")
        return value
    text = _as_text(value)
    if column.type is ColumnType.LEVEL:
        return read_level(text)
    if column.type is ColumnType.TEXT:
        return text
    if column.type is ColumnType.FLAG:
        return _choice(text, {**layout().flag}) == "true"
    choices = layout().choices.get(column.choices)
    if column.type is ColumnType.CHOICE:
        return _choice(text, choices or {})
    names = [part.strip() for part in text.replace("；", ";").replace("、", ";").split(";")]
    return [_choice(part, choices) if choices else part for part in names if part]


def _as_text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime | date):
        raise ValueError("expected a text, found a date")
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # a number that a spreadsheet made of "11010013012"
    return str(value).strip()


def _choice(text: str, choices: Mapping[Any, Text]) -> str:
    for value, labels in choices.items():
        if text.casefold() in (str(value), labels.zh, labels.en.casefold()):
            return str(value)
    raise ValueError(f"{text[:40]!r} is none of {', '.join(labels.zh for labels in choices.values())}")


def _day(value: object) -> date:
    if isinstance(value, datetime):
        return value.date()
    if isinstance(value, date):
        return value
    if isinstance(value, str):
        try:
            return date.fromisoformat(value.strip())
        except ValueError:
            pass
    raise ValueError(f"expected a date (2026-11-22), found {str(value)[:40]!r}")
