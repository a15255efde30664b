"""The method of risk assessment as data: scales, threats and what gives each number its value.

``policies/risk-20984/method.yaml`` explains every field and carries the status of the figures. A site may bring a copy
of its own; reports name the method by the digest of its file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError, model_validator

from govsec.config import Model
from govsec.datafile import FigureStatus, Text
from govsec.errors import ConfigurationError
from govsec.policy.catalog import Catalog
from govsec.registerentry import DataLevel
from govsec.shipped import shipped
from govsec.yamllines import read_document

_METHOD_SIZE_MAX = 1 << 20
#: 1 (very low) to 5 (very high).
Grade = Annotated[int, Field(ge=1, le=5)]


class RiskLevel(Text):
    """A band of risk values and its name."""

    level: Grade
    value_max: int


class AssetRules(Model):
    """What an asset is worth."""

    unknown: Grade
    system_level: Mapping[int, Grade]
    data_level: Mapping[DataLevel, Grade]
    critical_infrastructure: Grade
    high_availability: Grade
    personal_count: Mapping[int, Grade]


class WeaknessRules(Model):
    """How bad what is open is."""

    none: Grade
    partial: Grade
    not_conform: Grade
    high_risk: Grade
    undecided: Grade
    vulnerability: Mapping[str, Grade]


class Measure(Model):
    """What a share of conforming lines takes off."""

    share_percent_min: int = Field(ge=1, le=100)
    takes: int = Field(ge=0, le=4)


class MeasureRules(Model):
    """What existing measures take off."""

    applies_up_to: Grade
    steps: tuple[Measure, ...]


class FrequencyRules(Model):
    """What incidents make of a frequency."""

    incidents: Mapping[int, Grade]


class Threat(Text):
    """One threat; its words are its name."""

    id: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    frequency: Grade
    internet: int = Field(ge=0, le=4)
    exploits: tuple[str, ...] = Field(min_length=1)
    incidents: tuple[str, ...] = ()

    def is_let_in_by(self, key: str) -> bool:
        """Whether lacking the line of that key lets the threat in."""
        return any(key == start or key.startswith(f"{start}-") for start in self.exploits)


class Method(Model):
    """A whole method."""

    version: int = Field(ge=1, le=1)
    id: str
    norm: str
    title: Text
    status: FigureStatus
    numbers_status: FigureStatus
    source: str
    levels: tuple[RiskLevel, ...]
    treated_from_level: Grade
    asset: AssetRules
    weakness: WeaknessRules
    measures: MeasureRules
    frequency: FrequencyRules
    threats: tuple[Threat, ...] = Field(min_length=1)
    words: Mapping[str, Text]
    #: Of the file it was read from.
    sha256: str = ""

    @model_validator(mode="after")
    def _whole(self) -> Method:
        bounds = [(level.level, level.value_max) for level in self.levels]
        if [level for level, _ in bounds] != [1, 2, 3, 4, 5] or [high for _, high in bounds] != sorted(
            {high for _, high in bounds}
        ):
            raise ValueError("levels: expected 1 to 5 with rising value_max")
        if self.levels[-1].value_max != 25:
            raise ValueError("levels: the highest ends at 25, the highest value there is")
        if len({threat.id for threat in self.threats}) != len(self.threats):
            raise ValueError("threats: an id is there twice")
        return self

    def level_of(self, value: float) -> RiskLevel:
        """The band that a risk value lies in."""
        return next(level for level in self.levels if round(value) <= level.value_max)


def load_method(path: Path | None = None) -> Method:
    """The method in a file; without one, that which came with govsec.

    Raises:
        ConfigurationError: with file and line, and what is wrong there.
    """
    if path is None:
        return _shipped()
    try:
        with path.open("rb") as file:
            data = file.read(_METHOD_SIZE_MAX + 1)
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}") from error
    return _read(data, str(path))


@cache
def _shipped() -> Method:
    file = shipped("risk-20984").joinpath("method.yaml")
    return _read(file.read_bytes(), str(file))


def _read(data: bytes, name: str) -> Method:
    document = read_document(data, name)
    try:
        method = Method.model_validate(document.value)
    except ValidationError as error:
        raise ConfigurationError(document.explain(error)) from error
    keys = Catalog.load().keys
    for threat in method.threats:
        for start in threat.exploits:
            if not any(key == start or key.startswith(f"{start}-") for key in keys):
                raise ConfigurationError(f"{name}: threat {threat.id}: no requirement begins with {start!r}")
    return method.model_copy(update={"sha256": hashlib.sha256(data).hexdigest()})
