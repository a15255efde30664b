"""How bad an event is, and the axes that are not that.

Four axes stay apart: the level of an event says what has happened, the colour of a warning what may happen, the
technical severity belongs to a finding (``govsec.records.Severity``), and the protection level (等保) to a system. None
of them is computed from another.

Source: 国家网络安全事件报告管理办法 (2025), annex; 国家网络安全事件应急预案 (2017). The words are in
``policies/incidents/levels.yaml``.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum, StrEnum
from functools import cache

from pydantic import TypeAdapter

from govsec.config import Model
from govsec.datafile import FigureStatus, Text
from govsec.shipped import read_table, shipped


class EventLevel(IntEnum):
    """What has happened; a greater number is worse (the law counts the other way, Ⅰ to Ⅳ)."""

    GENERAL = 1
    RELATIVELY_MAJOR = 2
    MAJOR = 3
    PARTICULARLY_MAJOR = 4

    @property
    def word(self) -> str:
        """The level's name in rule packs, on command lines and in JSON."""
        return self.name.lower()


class WarningColor(StrEnum):
    """What may happen, as a warning that was issued by somebody entitled to."""

    BLUE = "blue"
    YELLOW = "yellow"
    ORANGE = "orange"
    RED = "red"


class LevelWords(Text):
    """A level for people; ``numeral`` is the law's (Ⅰ is the worst)."""

    numeral: str


class ColorWords(Text):
    """A colour for people, and the level that it goes with."""

    level: str
    status: FigureStatus


class AxisWords(Model):
    """Words for levels and colours."""

    version: int
    levels: Mapping[str, LevelWords]
    colors: Mapping[WarningColor, ColorWords]


def level_of(word: str) -> EventLevel:
    """The level of that name.

    Raises:
        KeyError: there is none.
    """
    return _BY_WORD[word]


@cache
def axis_words() -> AxisWords:
    """What came with govsec, read once a process.

    Raises:
        ConfigurationError: the table is not whole.
    """
    return read_table(shipped("incidents").joinpath("levels.yaml"), TypeAdapter(AxisWords))


_BY_WORD = {level.word: level for level in EventLevel}
