"""How the register looks as a workbook: sheets, columns, choices (``policies/register/sheet.yaml``)."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from functools import cache
from typing import Literal

from pydantic import Field, TypeAdapter

from govsec.config import Model
from govsec.datafile import Text
from govsec.shipped import read_table, shipped

#: Row 1 has words, row 2 keys.
FIRST_ROW = 3


class ColumnType(StrEnum):
    """What may stand in a column."""

    TEXT = "text"
    INTEGER = "integer"
    NUMBER = "number"
    DATE = "date"
    FLAG = "flag"
    CHOICE = "choice"
    NAMES = "names"
    #: 3, or as people write it: 第三级, S3A2.
    LEVEL = "level"


class Column(Text):
    """One column; its words are the header."""

    key: str = Field(pattern=r"^[a-z_]+(\.[a-z_]+)?$")
    type: ColumnType
    choices: str = ""


class SheetLayout(Model):
    """One sheet."""

    id: str
    title: Text
    columns: tuple[Column, ...]

    def column(self, key: object) -> Column | None:
        """The column of that key."""
        return next((column for column in self.columns if column.key == key), None)


class Layout(Model):
    """The whole workbook."""

    version: Literal[1]
    flag: Mapping[Literal["true", "false"], Text]
    choices: Mapping[str, Mapping[str, Text]]
    sheets: tuple[SheetLayout, ...]

    def sheet(self, sheet_id: str) -> SheetLayout:
        """The sheet of that id."""
        return next(sheet for sheet in self.sheets if sheet.id == sheet_id)


@cache
def layout() -> Layout:
    """The layout that came with govsec."""
    return read_table(shipped("register").joinpath("sheet.yaml"), TypeAdapter(Layout))
