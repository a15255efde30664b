"""GB/T 39786-2021 (密评): the indicators of cryptography application at level 3, and where they meet GB/T 22239.

A list to work by, with the status of each part: govsec measures some of it (protocols, suites, encryption of backups)
and scores none of it, because the weights and strengths are not confirmed. Data: ``policies/gbt39786-2021``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import cache
from typing import Literal

from pydantic import Field, TypeAdapter

from govsec.config import Model
from govsec.datafile import FigureStatus, Text
from govsec.errors import ConfigurationError
from govsec.policy.catalog import Catalog, Kind
from govsec.shipped import read_table, shipped

FOLDER = "gbt39786-2021"


class Indicator(Text):
    """One indicator; its words are its name."""

    id: str = Field(pattern=r"^[A-Z]{3}-[1-9]$")
    strength: Literal["shall", "should", "may"] | None = None
    #: Lines of GB/T 22239 that ask for the same.
    keys: tuple[str, ...]


class Layer(Model):
    """Some indicators that are assessed together."""

    id: str = Field(pattern=r"^[A-Z]{3}$")
    title: Text
    kind: Kind
    status: FigureStatus
    indicators: tuple[Indicator, ...] = Field(min_length=1)


class _Split(Model):
    technical: int
    management: int
    status: FigureStatus


class _Weights(Model):
    of: Mapping[str, int]
    status: FigureStatus


class _Threshold(Model):
    value: int
    status: FigureStatus


class Scoring(Model):
    """How the points are given, as far as it is known."""

    split: _Split
    weights: _Weights
    threshold: _Threshold


class CryptographyCatalog(Model):
    """The indicators by layer."""

    version: int = Field(ge=1, le=1)
    norm: str
    title: Text
    level: int
    status: FigureStatus
    source: str
    links_status: FigureStatus
    counts: Mapping[Kind, int]
    scoring: Scoring
    layers: tuple[Layer, ...]

    @classmethod
    def load(cls) -> CryptographyCatalog:
        """The indicators that came with govsec, read once a process.

        Raises:
            ConfigurationError: the file is damaged, or names a requirement that the catalog does not have.
        """
        return _load()

    def indicators(self) -> tuple[Indicator, ...]:
        """All of them, in order."""
        return tuple(indicator for layer in self.layers for indicator in layer.indicators)

    def by_key(self, key: str) -> tuple[Indicator, ...]:
        """The indicators that ask for the same as a line of GB/T 22239."""
        return tuple(indicator for indicator in self.indicators() if key in indicator.keys)


@cache
def _load() -> CryptographyCatalog:
    file = shipped(FOLDER).joinpath("indicators.yaml")
    found = read_table(file, TypeAdapter(CryptographyCatalog))
    catalog = Catalog.load()
    for indicator in found.indicators():
        for key in indicator.keys:
            catalog.check_key(key)
    counts: Counter[Kind] = Counter()
    for layer in found.layers:
        counts[layer.kind] += len(layer.indicators)
    if counts != dict(found.counts):
        raise ConfigurationError(f"{file}: not as many indicators as `counts` says")
    return found
