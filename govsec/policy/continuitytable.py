"""The tables behind :mod:`govsec.policy.continuity` and :mod:`govsec.policy.watching`: titles, words, figures, items.

Data of the wheel (``policies/continuity/checks.yaml``, ``policies/watching/checks.yaml``), read once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cache
from typing import Literal

from pydantic import Field, TypeAdapter

from govsec.config import Model
from govsec.datafile import FigureStatus
from govsec.policy.results import Role, Words
from govsec.shipped import read_table, shipped

#: Named ``policies/<this>`` in the sources.
_FOLDER = "continuity"
_WATCHING = "watching"
_FILE = "checks.yaml"


class Figure(Model):
    """A number by level; 0 stands for every level that is not named."""

    values: Mapping[int, float]
    status: FigureStatus
    source: Words

    def at(self, level: int) -> float:
        """The number that is in force at ``level``."""
        return self.values.get(level, self.values[0])


class ContinuityCheck(Model):
    """One check of the table."""

    id: str = Field(pattern=r"^(continuity|watching)\.[a-z-]+$")
    title: Words
    guards: Words
    maps: Mapping[str, Role] = Field(min_length=1)
    parameters: Mapping[str, Figure] = Field(default_factory=dict)
    expectations: Mapping[str, Words] = Field(min_length=1)
    #: What a pass does not say.
    reason: Words | None = None
    #: High-risk case: the expectations whose failure is its condition.
    cases: Mapping[str, tuple[str, ...]] = Field(default_factory=dict)
    advice: Words
    commands: tuple[str, ...] = ()


class _PackHead(Model):
    id: str
    version: str


class ContinuityTable(Model):
    """All checks, in order."""

    version: Literal[1]
    pack: _PackHead
    checks: tuple[ContinuityCheck, ...] = Field(min_length=1)

    def check(self, check_id: str) -> ContinuityCheck:
        """The check of that id; there is one."""
        return next(check for check in self.checks if check.id == check_id)


@cache
def continuity_table() -> ContinuityTable:
    """The table on backup and emergency that came with govsec."""
    return read_table(shipped(_FOLDER).joinpath(_FILE), TypeAdapter(ContinuityTable))


@cache
def watching_table() -> ContinuityTable:
    """The table on watching and telling that came with govsec."""
    return read_table(shipped(_WATCHING).joinpath(_FILE), TypeAdapter(ContinuityTable))


@cache
def table_sha256(folder: str = _FOLDER) -> str:
    """The digest of a table's file, as manifests name it."""
    return hashlib.sha256(shipped(folder).joinpath(_FILE).read_bytes()).hexdigest()
