"""Reads a workbook (XLSX) that somebody sent: bounded, without formulas, macros or anything from outside.

One idea: the file is looked at as a ZIP archive before any reader of spreadsheets sees it. Sizes are added up from its
directory (which no reader can exceed), each XML part is searched for a document type (OOXML forbids one, and entities
need one), and rows and columns are counted while they are read. Macros and links to other workbooks are never opened.
A formula is refused and not computed: what it would show depends on the program that opens it.

Source: ECMA-376 part 2 (packages), part 1 section 18 (spreadsheets).
"""

from __future__ import annotations

import io
import warnings
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from govsec.errors import ConfigurationError

FILE_SIZE_MAX = 16 << 20
#: All parts unpacked; a register of ten thousand systems takes about 20 MB.
UNPACKED_SIZE_MAX = 96 << 20
_PARTS_MAX = 500
ROWS_MAX = 50_000
COLUMNS_MAX = 100
#: Empty rows that programs write behind the last one are passed over, up to so many.
_EMPTY_ROWS_MAX = 2_000


@dataclass(frozen=True, slots=True)
class Cell:
    """A value and where it stands."""

    value: object
    sheet: str
    row: int
    column: int

    @property
    def where(self) -> str:
        """``sheet!B3``, as spreadsheets say it."""
        letters, column = "", self.column
        while column:
            column, digit = divmod(column - 1, 26)
            letters = chr(ord("A") + digit) + letters
        return f"{self.sheet}!{letters}{self.row}"


@dataclass(frozen=True, slots=True)
class Sheet:
    """The rows of one sheet that are not empty."""

    title: str
    rows: tuple[tuple[Cell, ...], ...]


def read_workbook(data: bytes, name: str) -> tuple[Sheet, ...]:
    """The sheets of the workbook in ``data``; ``name`` stands for it in errors.

    Raises:
        ConfigurationError: no workbook, too large in any way, or a cell that holds a formula or an error.
    """
    openpyxl = load_openpyxl()
    _check_package(data, name)
    try:
        # It warns of extensions that it passes over, which every second spreadsheet program writes.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            return tuple(_sheets(openpyxl, data, name))
    except _FOREIGN as error:
        raise ConfigurationError(f"{name}: not a workbook that can be read: {type(error).__name__}") from error


#: What openpyxl, and the ZIP and XML parsers below it, raise on mutated files: found by changing some thousand. It
#: looks styles and shared texts up by numbers that the file names, so a wrong one ends as an error of Python's own.
_FOREIGN = (
    zipfile.BadZipFile, zlib.error, SyntaxError, OSError, EOFError, NotImplementedError,
    KeyError, IndexError, ValueError, TypeError, AttributeError, OverflowError,
)  # fmt: skip


def _sheets(openpyxl: Any, data: bytes, name: str) -> Iterator[Sheet]:
    book = openpyxl.load_workbook(io.BytesIO(data), read_only=True, data_only=False, keep_vba=False, keep_links=False)
    try:
        for sheet in book.worksheets:
            if sheet.sheet_state == "visible":
                yield Sheet(sheet.title, tuple(_rows(sheet, name)))
    finally:
        book.close()


def load_openpyxl() -> Any:
    """The library; raises ``ConfigurationError`` when the extra ``office`` is not installed."""
    try:
        import openpyxl  # an extra, and half a second to import
    except ImportError as error:
        raise ConfigurationError("workbooks need openpyxl: pip install 'govsec[office]'") from error
    return openpyxl


def _check_package(data: bytes, name: str) -> None:
    if len(data) > FILE_SIZE_MAX:
        raise ConfigurationError(f"{name}: larger than {FILE_SIZE_MAX} bytes")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as package:
            parts = package.infolist()
            if len(parts) > _PARTS_MAX or len({part.filename for part in parts}) != len(parts):
                raise ConfigurationError(f"{name}: more than {_PARTS_MAX} parts, or one twice")
            unpacked = sum(part.file_size for part in parts)
            if unpacked > UNPACKED_SIZE_MAX:
                raise ConfigurationError(f"{name}: unpacks to {unpacked} bytes, more than {UNPACKED_SIZE_MAX}")
            for part in parts:
                if part.filename.endswith((".xml", ".rels", ".vml")):
                    _check_part(package.read(part), f"{name}: {part.filename[:100]}")
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError, ValueError) as error:
        raise ConfigurationError(f"{name}: not a workbook (XLSX): {type(error).__name__}") from error


def _check_part(part: bytes, where: str) -> None:
    # In another encoding than UTF-8 the search below could miss what the parser sees.
    head = part[:200].lower()
    if b"\x00" in part[:8] or part[:2] in (b"\xff\xfe", b"\xfe\xff") or (b"encoding" in head and b"utf-8" not in head):
        raise ConfigurationError(f"{where}: not UTF-8")
    if b"<!DOCTYPE" in part or b"<!ENTITY" in part:
        raise ConfigurationError(f"{where}: declares a document type, which no workbook does")


def _rows(sheet: Any, name: str) -> Iterator[tuple[Cell, ...]]:
    sheet.reset_dimensions()  # what the sheet says of its size is not to be believed
    empty = 0
    for number, raw in enumerate(sheet.iter_rows(max_col=COLUMNS_MAX + 1), start=1):
        if number > ROWS_MAX:
            raise ConfigurationError(f"{name}: sheet {sheet.title!r} has more than {ROWS_MAX} rows")
        cells = tuple(_cells(raw, sheet.title, number, name))
        if cells:
            empty = 0
            yield cells
        elif (empty := empty + 1) > _EMPTY_ROWS_MAX:
            raise ConfigurationError(
                f"{name}: sheet {sheet.title!r} has more than {_EMPTY_ROWS_MAX} empty rows in a row"
            )


def _cells(raw: Sequence[Any], title: str, number: int, name: str) -> Iterator[Cell]:
    for position, cell in enumerate(raw, start=1):
        if cell.value is None or (isinstance(cell.value, str) and not cell.value.strip()):
            continue
        found = Cell(cell.value, title, number, position)
        if position > COLUMNS_MAX:
            raise ConfigurationError(f"{name}: {found.where}: more than {COLUMNS_MAX} columns")
        if cell.data_type == "f":
            raise ConfigurationError(f"{name}: {found.where}: a formula; paste its value instead")
        if cell.data_type == "e":
            raise ConfigurationError(f"{name}: {found.where}: an error value ({str(cell.value)[:20]})")
        yield found
