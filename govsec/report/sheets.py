"""Sheets of text and numbers, and nothing else: what a cell of a host's choosing may not become.

A spreadsheet runs what looks like a formula, also when somebody edits a cell that was text. So every text is written
as text, what begins like a formula is marked as such besides (quote prefix), and what XML forbids is escaped.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from typing import Any

from govsec.report.office import office_extra, xml_text
from govsec.report.width import columns

#: A cell holds 32,767 characters (Excel's limit).
_CELL_CHARS_MAX = 32_000
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
_FILLS = {
    "conform": "E7F4ED",
    "pass": "E7F4ED",
    "partial": "FDF3DD",
    "not_conform": "FBEAEA",
    "fail": "FBEAEA",
    "error": "FBEAEA",
    "unknown": "EDEFF2",
    "undecided": "EDEFF2",
    "not_applicable": "F7F8FA",
    "notapplicable": "F7F8FA",
    "open": "FBEAEA",
    "danger": "FBEAEA",
    "high_risk": "FBEAEA",
    "mitigated": "E7F4ED",
    "supporting": "FDF3DD",
}
#: ECMA-376 part 1, 18.3.1.63.
_PAPER_A4, _PAPER_A3 = 9, 8
#: Wider sheets would be too small to read on A4.
_A4_CHARS_MAX = 200
#: Programs do not agree on the height of rows nobody gave one; long outputs are scrolled, not unrolled.
_LINE_POINTS, _LINES_MAX = 17, 14
_HEADER_FILL = "12355B"
#: How much of a text its height is measured by.
_MEASURED_CHARS_MAX = 4_000


class Coded(str):
    """A cell's text with the code that colours it."""

    __slots__ = ("code",)
    code: str

    def __new__(cls, text: str, code: str) -> Coded:
        cell = super().__new__(cls, text)
        cell.code = code
        return cell


Cell = str | int | float | None


class Book:
    """A workbook being written, sheet by sheet and row by row."""

    def __init__(self) -> None:
        with office_extra():
            from openpyxl import Workbook, styles
            from openpyxl.cell import WriteOnlyCell
            from openpyxl.utils import get_column_letter
            from openpyxl.worksheet.properties import PageSetupProperties
        self._styles = styles
        self._cell = WriteOnlyCell
        self._letter = get_column_letter
        self._one_page_wide = PageSetupProperties(fitToPage=True)
        self._book = Workbook(write_only=True)
        self._fills: dict[str, Any] = {}
        side = self._styles.Side(style="thin", color="D9DFE6")
        self._border = self._styles.Border(left=side, right=side, top=side, bottom=side)
        self._wrap = self._styles.Alignment(wrap_text=True, vertical="top")

    def sheet(
        self,
        title: str,
        widths: Sequence[int],
        rows: Iterable[Sequence[Cell]],
        *,
        frozen: str = "A2",
        has_filter: bool = True,
    ) -> None:
        """Add a sheet; the first of ``rows`` is its header."""
        sheet = self._book.create_sheet(title)
        for position, width in enumerate(widths, 1):
            sheet.column_dimensions[self._letter(position)].width = width
        sheet.freeze_panes = frozen if has_filter else None
        sheet.page_setup.orientation = "landscape"
        sheet.page_setup.paperSize = _PAPER_A3 if sum(widths) > _A4_CHARS_MAX else _PAPER_A4
        sheet.page_setup.fitToWidth, sheet.page_setup.fitToHeight = 1, 0
        sheet.sheet_properties.pageSetUpPr = self._one_page_wide
        sheet.print_title_rows = "1:1"
        count = 0
        for count, row in enumerate(rows, 1):
            cells = [self._written(sheet, value, is_header=count == 1) for value in row]
            sheet.row_dimensions[count].height = _height(cells, widths)
            sheet.append(cells)
        if has_filter:
            sheet.auto_filter.ref = f"A1:{self._letter(len(widths))}{max(count, 1)}"

    def save(self) -> bytes:
        out = io.BytesIO()
        self._book.save(out)
        return out.getvalue()

    def _written(self, sheet: Any, value: Cell, *, is_header: bool) -> Any:
        cell = self._cell(sheet)
        if isinstance(value, str):
            text = xml_text(value, _CELL_CHARS_MAX)
            cell.value = text
            # openpyxl takes what begins with "=" for a formula, and "#N/A" for an error; a text stays a text.
            cell.data_type = "s"
            if text.startswith(_FORMULA_STARTS):
                cell.number_format = "@"
                cell.quotePrefix = True
        else:
            cell.value = value
        cell.border = self._border
        cell.alignment = self._wrap
        if is_header:
            cell.font = self._styles.Font(bold=True, color="FFFFFF")
            cell.fill = self._fill(_HEADER_FILL)
        elif isinstance(value, Coded) and value.code in _FILLS:
            cell.fill = self._fill(_FILLS[value.code])
        return cell

    def _fill(self, colour: str) -> Any:
        if colour not in self._fills:
            self._fills[colour] = self._styles.PatternFill("solid", fgColor=colour)
        return self._fills[colour]


def _height(cells: Sequence[Any], widths: Sequence[int]) -> int:
    """Points that the fullest of ``cells`` needs, within reason."""
    lines = 1
    for cell, width in zip(cells, widths, strict=False):
        if isinstance(cell.value, str):
            lines = max(
                lines, sum(1 + columns(line) // (width - 2) for line in cell.value[:_MEASURED_CHARS_MAX].split("\n"))
            )
    return _LINE_POINTS * min(lines, _LINES_MAX)
