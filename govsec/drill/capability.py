"""Which level of GB/T 20988 the data backup and the measured times allow (能力上限), and which one is reached.

A system belongs to a level only when all seven elements reach it; a drill of data sees one of them, data backup, and
the two times. So a drill states a *limit*: the highest level that what it measured does not rule out. "Reached" is the
lowest over the limit and valid attestations for the other six elements; with one of them missing, nothing is reached.

The tables are data with source and status (``policies/gbt20988/``), one file an edition; a figure that nobody has
compared with the text of the norm carries that status into the report. Nothing here says what the norm says.
"""

from __future__ import annotations

import importlib.resources
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import cache
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Literal

from pydantic import Field, ValidationError, model_validator

from govsec.config import Model, explain, read_yaml
from govsec.datafile import FigureStatus, Text
from govsec.drill.plan import Attestation, Element
from govsec.errors import ConfigurationError

EDITIONS = ("2007", "2025")
LEVELS_COUNT = 6
_DAY_S = 86_400


class Replication(StrEnum):
    """How data get to the remote center, weakest first."""

    BATCH = "batch"
    REAL_TIME = "real_time"
    ZERO_LOSS = "zero_loss"


class Bound(Model):
    """An example time of the norm; ``max_s`` is None where it gives no upper bound."""

    text: Text
    max_s: int | None
    status: FigureStatus


class DataBackup(Model):
    """What a level asks of data backup."""

    text: Text
    full_interval_s_max: int
    offsite: bool
    transfers_per_day_min: int
    replication: Replication
    status: FigureStatus


class Level(Model):
    """One row of the table."""

    level: int = Field(ge=1, le=LEVELS_COUNT)
    title: Text
    data_backup: DataBackup
    rto: Bound
    rpo: Bound


class InForce(Model):
    """From when to when the edition holds."""

    from_: str = Field(alias="from")
    until: str | None
    note: Text


class Table(Model):
    """One edition."""

    version: Literal[1]
    edition: str
    norm: str
    title: Text
    in_force: InForce
    status: FigureStatus
    source: str
    elements: dict[Element, Text]
    levels: tuple[Level, ...]

    @model_validator(mode="after")
    def _complete(self) -> Table:
        if [level.level for level in self.levels] != list(range(1, LEVELS_COUNT + 1)):
            raise ValueError("the levels are not 1 to 6 in order")
        if set(self.elements) != set(Element):
            raise ValueError("the elements are not the seven")
        return self


@dataclass(frozen=True, slots=True)
class Measured:
    """What the drill saw. ``snapshot_times`` are those of restorable snapshots at the center, of the last 30 days."""

    is_verified: bool
    is_offsite: bool
    recovery_point_age_s: float | None
    restore_time_s: float | None
    snapshot_times: tuple[datetime, ...]
    at: datetime
    replication: Replication = Replication.BATCH


@dataclass(frozen=True, slots=True)
class Blocker:
    """Why a level is out of reach: what was asked, what was found."""

    level: int
    code: str
    required: float | str
    found: float | str | None
    status: FigureStatus


@dataclass(frozen=True, slots=True)
class ElementResult:
    """One of the seven: the level it stands at (0: none), and on what ground."""

    element: Element
    level: int
    basis: Literal["measured", "attested", "expired", "missing"]
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Capability:
    """The judgement under one edition. ``limit`` 0: not even level 1; ``reached`` None: not established."""

    edition: str
    norm: str
    status: FigureStatus
    limit: int
    reached: int | None
    blockers: tuple[Blocker, ...]
    elements: tuple[ElementResult, ...]


@cache
def load_table(edition: str) -> Table:
    """The table of an edition, as shipped; read once, because reading YAML takes longer than most drills' judging.

    Raises:
        ConfigurationError: there is no such edition, or its file is wrong.
    """
    if edition not in EDITIONS:
        raise ConfigurationError(f"GB/T 20988: no edition {edition!r}; there are: {', '.join(EDITIONS)}")
    with importlib.resources.as_file(importlib.resources.files("govsec_policies")) as policies:
        return read_table(policies / "gbt20988" / f"{edition}.yaml")


def read_table(path: Path) -> Table:
    """The table in ``path``. Raises ``ConfigurationError`` with what is wrong with it."""
    try:
        return Table.model_validate(read_yaml(path))
    except ValidationError as error:
        raise ConfigurationError(f"{path}: {explain(error)}") from error


def judge(table: Table, measured: Measured, attestations: Sequence[Attestation]) -> Capability:
    """The limit and what is reached, element by element, with everything that blocks the next level."""
    limit = 0
    blockers: tuple[Blocker, ...] = ()
    for level in table.levels:
        blockers = tuple(_blockers(level, measured))
        if blockers:
            break
        limit = level.level
    elements = [ElementResult(Element.DATA_BACKUP, limit, "measured")]
    elements += [
        _attested(element, attestations, measured.at) for element in Element if element is not elements[0].element
    ]
    lowest = min(result.level for result in elements)
    return Capability(
        edition=table.edition,
        norm=table.norm,
        status=table.status,
        limit=limit,
        reached=lowest if lowest > 0 else None,
        blockers=blockers,
        elements=tuple(elements),
    )


def longest_gap_s(times: Sequence[datetime], at: datetime) -> float | None:
    """The longest time without a restorable full state, up to ``at``; None without any snapshot."""
    ordered = sorted(time for time in times if time <= at)
    if not ordered:
        return None
    return max((later - earlier).total_seconds() for earlier, later in pairwise([*ordered, at]))


def transfers_per_day(times: Sequence[datetime], at: datetime) -> float:
    """The median of snapshots that arrived in each of the full days before ``at`` that the history covers."""
    ages = [(at - time).total_seconds() for time in times if time <= at]
    if not ages:
        return 0.0
    days_count = max(1, int(max(ages) // _DAY_S))
    return float(median(sum(day * _DAY_S <= age < (day + 1) * _DAY_S for age in ages) for day in range(days_count)))


def _blockers(level: Level, measured: Measured) -> list[Blocker]:
    asked = level.data_backup
    found = []

    def blocks(code: str, required: float | str, seen: float | str | None, status: FigureStatus) -> None:
        found.append(Blocker(level.level, code, required, seen, status))

    if not measured.is_verified:
        blocks("not_verified", "verified content", "not verified", FigureStatus.CONFIRMED)
    if asked.offsite and not measured.is_offsite:
        blocks("not_offsite", "remote", "local", asked.status)
    gap_s = longest_gap_s(measured.snapshot_times, measured.at)
    if gap_s is None or gap_s > asked.full_interval_s_max:
        blocks("full_interval", asked.full_interval_s_max, gap_s, asked.status)
    rate = transfers_per_day(measured.snapshot_times, measured.at)
    if rate < asked.transfers_per_day_min:
        blocks("transfers_per_day", asked.transfers_per_day_min, rate, asked.status)
    ranks = list(Replication)
    if ranks.index(measured.replication) < ranks.index(asked.replication):
        blocks("replication", asked.replication.value, measured.replication.value, asked.status)
    for code, bound, seconds in (
        ("recovery_point_age", level.rpo, measured.recovery_point_age_s),
        ("restore_time", level.rto, measured.restore_time_s),
    ):
        # Where the norm gives no upper bound any time will do, but there must be one.
        if seconds is None or (bound.max_s is not None and seconds > bound.max_s):
            blocks(code, "measured" if bound.max_s is None else bound.max_s, seconds, bound.status)
    return found


def _attested(element: Element, attestations: Sequence[Attestation], at: datetime) -> ElementResult:
    mine = [attestation for attestation in attestations if attestation.element is element]
    valid = [attestation for attestation in mine if attestation.valid_until > at]
    if valid:
        best = max(valid, key=lambda attestation: attestation.level)
        return ElementResult(element, best.level, "attested", f"{best.by}: {best.reference}")
    if mine:
        last = max(mine, key=lambda attestation: attestation.valid_until)
        return ElementResult(element, 0, "expired", f"{last.by}: {last.reference}")
    return ElementResult(element, 0, "missing")
