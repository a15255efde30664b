"""High-risk cases (高风险判例): which failed requirement is a high risk for which system.

One idea: the risk is no fixed property of a requirement. A case applies from a level up, some only where the service
must not stop or in key industries, and most name something that may lower the rating. Data and their status are in
``policies/high-risk-2025``; whether a mitigation was found is judged elsewhere.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from enum import StrEnum
from functools import cache

from pydantic import Field, TypeAdapter

from govsec.config import Model
from govsec.datafile import FigureStatus, Text
from govsec.errors import ConfigurationError
from govsec.policy.catalog import Catalog, Level, Scope
from govsec.shipped import read_table, shipped

FOLDER = "high-risk-2025"
#: The guide's chapters follow the standard's: general requirements first, then the extensions.
_CHAPTERS = {"6": Scope.GENERAL, "7": Scope.CLOUD, "8": Scope.MOBILE, "9": Scope.IOT, "10": Scope.ICS}


class Only(StrEnum):
    """What a system must be for some cases to apply."""

    HIGH_AVAILABILITY = "high_availability"
    KEY_INDUSTRY = "key_industry"


class HighRiskCase(Model):
    """One case of the guide."""

    id: str = Field(pattern=r"^(10|[6-9])(\.[1-9][0-9]?){3}$")
    title: Text
    min_level: Level = Field(alias="level")
    only: tuple[Only, ...] = ()
    keys: tuple[str, ...] = Field(min_length=1)
    condition: Text = Field(alias="when")
    mitigation: Text | None = Field(default=None, alias="mitigated")

    @property
    def scope(self) -> Scope:
        """The part of the standard it belongs to."""
        return _CHAPTERS[self.id.split(".", 1)[0]]

    def applies(self, *, level: int, high_availability: bool, key_industry: bool) -> bool:
        """Whether a system of that level and kind can have this case."""
        has = {Only.HIGH_AVAILABILITY: high_availability, Only.KEY_INDUSTRY: key_industry}
        return level >= self.min_level and all(has[only] for only in self.only)


class HighRiskCatalog(Model):
    """The guide's cases, in its order."""

    version: int = Field(ge=1, le=1)
    norm: str
    title: Text
    #: Of numbers, names, levels, flags and requirements.
    status: FigureStatus
    #: Of conditions and mitigations.
    wording_status: FigureStatus
    source: str
    counts: Mapping[Scope, int]
    cases: tuple[HighRiskCase, ...]

    @classmethod
    def load(cls) -> HighRiskCatalog:
        """The cases that came with govsec, read once a process.

        Raises:
            ConfigurationError: the file is damaged, or names a requirement that the catalog does not have.
        """
        return _load()

    def __len__(self) -> int:
        return len(self.cases)

    def case(self, case_id: str) -> HighRiskCase:
        """The case of that number.

        Raises:
            ConfigurationError: the guide has none.
        """
        for case in self.cases:
            if case.id == case_id:
                return case
        raise ConfigurationError(f"the high-risk guide has no case {case_id[:40]!r}")

    def by_key(self, key: str) -> tuple[HighRiskCase, ...]:
        """The cases that a requirement line brings up when it is not met."""
        return tuple(case for case in self.cases if key in case.keys)

    def applying(
        self, *, level: int, high_availability: bool, key_industry: bool, scopes: Collection[str]
    ) -> Iterator[HighRiskCase]:
        """The cases that a system of that level, kind and scopes can have."""
        for case in self.cases:
            if case.scope in scopes and case.applies(
                level=level, high_availability=high_availability, key_industry=key_industry
            ):
                yield case


@cache
def _load() -> HighRiskCatalog:
    file = shipped(FOLDER).joinpath("cases.yaml")
    found = read_table(file, TypeAdapter(HighRiskCatalog))
    catalog = Catalog.load()
    for case in found.cases:
        for key in case.keys:
            catalog.check_key(key)
    if len({case.id for case in found.cases}) != len(found.cases):
        raise ConfigurationError(f"{file}: a case is there twice")
    if Counter(case.scope for case in found.cases) != dict(found.counts):
        raise ConfigurationError(f"{file}: not as many cases in each scope as `counts` says")
    return found
