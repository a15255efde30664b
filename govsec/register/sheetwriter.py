"""The register as a workbook.

Four sheets (systems, responsible persons, data classes, training); row 1 has words, row 2 the keys that the reader goes
by, entries follow. Choices are written in the reader's language. What looks like a formula is written as text and
marked so (quote prefix): names in a register come from many hands, and a spreadsheet would run them.

Layout: :mod:`govsec.register.sheet`. The way back is :mod:`govsec.register.sheetreader`.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from datetime import date
from enum import StrEnum
from typing import Any, Literal

from govsec.register.register import Register
from govsec.register.sheet import FIRST_ROW, Column, ColumnType, SheetLayout, layout
from govsec.register.workbook import load_openpyxl

#: What spreadsheets take for the beginning of a formula.
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
_WIDTH_MIN, _WIDTH_MAX = 12, 40
_HEADER_FILL = "DCE6F1"
#: So many rows offer their choices; more can be written by hand.
_CHOICE_ROWS = 1000


def export_xlsx(register: Register, lang: Literal["zh", "en"] = "zh") -> bytes:
    """The register as a workbook.

    Raises:
        ConfigurationError: openpyxl (the extra ``office``) is not installed.
    """
    openpyxl = load_openpyxl()
    book = openpyxl.Workbook()
    book.remove(book.active)
    rows = _plain_rows(register)
    for sheet in layout().sheets:
        _write_sheet(openpyxl, book.create_sheet(getattr(sheet.title, lang)), sheet, rows[sheet.id], lang)
    target = io.BytesIO()
    book.save(target)
    return target.getvalue()


def _plain_rows(register: Register) -> dict[str, list[dict[str, Any]]]:
    """The rows of each sheet, by key."""
    rows: dict[str, list[dict[str, Any]]] = {sheet.id: [] for sheet in layout().sheets}
    for system in register.systems:
        entry = system.entry
        beside = {"name": system.name, "title": system.title, "objectives": system.objectives, "jobs": system.jobs}
        row = {}
        for column in layout().sheet("systems").columns:
            first, _, second = column.key.partition(".")
            value = beside[first] if first in beside else getattr(entry, first)
            row[column.key] = getattr(value, second) if second and value is not None else value
        rows["systems"].append(row)
        for name, parts in (("responsible", entry.responsible), ("data", entry.data), ("training", entry.training)):
            keys = [column.key for column in layout().sheet(name).columns[1:]]
            rows[name] += [{"system": system.name} | {key: getattr(part, key) for key in keys} for part in parts]
    return rows


def _write_sheet(openpyxl: Any, target: Any, sheet: SheetLayout, rows: Sequence[Mapping[str, Any]], lang: str) -> None:
    from openpyxl.styles import Font, PatternFill
    from openpyxl.utils import get_column_letter
    from openpyxl.worksheet.datavalidation import DataValidation

    for position, column in enumerate(sheet.columns, start=1):
        header = target.cell(1, position, getattr(column, lang))
        header.font, header.fill = Font(bold=True), PatternFill("solid", fgColor=_HEADER_FILL)
        target.cell(2, position, column.key).font = Font(color="808080", size=9)
        letter = get_column_letter(position)
        target.column_dimensions[letter].width = min(_WIDTH_MAX, max(_WIDTH_MIN, 2 * len(getattr(column, lang))))
        labels = _labels(column, lang)
        if labels and column.type is not ColumnType.NAMES:
            choice = DataValidation(type="list", formula1=f'"{",".join(labels.values())}"', allow_blank=True)
            choice.add(f"{letter}{FIRST_ROW}:{letter}{FIRST_ROW + _CHOICE_ROWS - 1}")
            target.add_data_validation(choice)
    for number, row in enumerate(rows, start=FIRST_ROW):
        for position, column in enumerate(sheet.columns, start=1):
            _write_cell(target.cell(number, position), _shown(row[column.key], column, lang))
    target.freeze_panes = target.cell(FIRST_ROW, 3)


def _write_cell(cell: Any, value: object) -> None:
    if value is None or value == "":
        return
    cell.value = value
    if isinstance(value, str):
        # openpyxl takes what begins with "=" for a formula, and "#N/A" for an error; a text stays a text.
        cell.data_type = "s"
        if value.startswith(_FORMULA_STARTS):
            cell.quotePrefix = True
    elif isinstance(value, date):
        cell.number_format = "yyyy-mm-dd"


def _labels(column: Column, lang: str) -> dict[str, str]:
    if column.type is ColumnType.FLAG:
        return {value: getattr(text, lang) for value, text in layout().flag.items()}
    return {value: getattr(text, lang) for value, text in layout().choices.get(column.choices, {}).items()}


def _shown(value: Any, column: Column, lang: str) -> Any:
    labels = _labels(column, lang)
    if isinstance(value, bool):
        return labels["true" if value else "false"]
    if isinstance(value, tuple):
        return "; ".join(labels.get(str(part), str(part)) for part in value) or None
    if isinstance(value, StrEnum):
        return labels.get(value.value, value.value)
    return value
