"""What GB/T 22239-2019 requires at levels 1 to 4, and which lines of it a system is held to.

One idea: a requirement line has a *key* that is the same at every level (``GEN-CES-9-b``), and an *id* at each level
where it exists (``7.1.4.8.b``, ``8.1.4.9.b``), because clause numbers shift between levels. Packs name keys; reports
print ids. A system is held to lines by S, A and G (annex A), not by one level: an S2A3 system takes the lines that
protect information from level 2, and those that keep the service running, and all others, from level 3.

The words are summaries in data files (``policies/gbt22239-2019``), not the text of the standard. Nothing here judges.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from govsec.datafile import FigureStatus, Text
from govsec.errors import ConfigurationError

LEVELS = (1, 2, 3, 4)
Level = Annotated[int, Field(ge=1, le=4)]


class Scope(StrEnum):
    """General requirements and the four extensions; an extension is added to the general ones, never instead."""

    GENERAL = "general"
    CLOUD = "cloud"
    MOBILE = "mobile"
    IOT = "iot"
    ICS = "ics"


class Attribute(StrEnum):
    """What a line protects: information (S), service (A), both (G). Source: GB/T 22239-2019, annex A."""

    S = "S"
    A = "A"
    G = "G"


class Automatable(StrEnum):
    """How much of a line a program can decide: govsec's own judgement."""

    FULL = "full"
    PARTIAL = "partial"
    MANUAL = "manual"


class Kind(StrEnum):
    """The two halves of the standard."""

    TECHNICAL = "technical"
    MANAGEMENT = "management"


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One requirement line at one level."""

    id: str
    key: str
    level: int
    scope: Scope
    category: str
    category_zh: str
    category_en: str
    control_id: str
    control_zh: str
    control_en: str
    attribute: Attribute
    kind: Kind
    summary_zh: str
    summary_en: str
    evidence_hint_zh: str
    evidence_hint_en: str
    automatable: Automatable
    #: Unit of GB/T 28448-2019 that tests the line; None where its number could not be read for certain.
    assessment_unit: str | None
    #: False where only one source has the line: reports mark it.
    confirmed: bool
    #: The standard says "may" (可): not having it is reported, and is no failure.
    optional: bool
    #: The line's id at every level where it exists.
    levels: Mapping[int, str] = field(hash=False)
    #: Lowest level from which on the line is worded as here.
    since: int


@dataclass(frozen=True, slots=True)
class Levels:
    """The level of a system in its two parts: security of information (S) and assurance of service (A).

    ``level`` is that of the system; without it the higher of the two, as GB/T 22240-2020 sets it.
    """

    s: int
    a: int
    level: int = 0

    def __post_init__(self) -> None:
        if not {self.s, self.a} <= set(LEVELS) or self.level not in (0, *LEVELS):
            raise ConfigurationError(f"levels S{self.s} A{self.a}: the catalog has levels 1 to 4")
        if self.level and self.level < max(self.s, self.a):
            raise ConfigurationError(f"level {self.level} is below S{self.s}A{self.a}; the higher of the two counts")

    @property
    def system(self) -> int:
        """The system's own level, which G lines follow."""
        return self.level or max(self.s, self.a)

    def of(self, attribute: Attribute) -> int:
        """The level at which lines of this attribute are taken."""
        return {Attribute.S: self.s, Attribute.A: self.a, Attribute.G: self.system}[attribute]

    def __str__(self) -> str:
        return f"S{self.s}A{self.a}G{self.system}"


class Catalog:
    """Every line at every level. :meth:`load` gives the one that came with govsec."""

    def __init__(self, items: Collection[Item], title: Text, status: FigureStatus, source: str) -> None:
        self.title = title
        self.status = status
        self.source = source
        self._items = tuple(sorted(items, key=_order))
        self._by_id = {item.id: item for item in self._items}
        self._by_key = {(item.key, item.level): item for item in self._items}
        self._keys = {item.key for item in self._items}
        if len(self._by_id) != len(self._items) or len(self._by_key) != len(self._items):
            raise ConfigurationError("catalog: an id, or a key at one level, is there twice")

    @classmethod
    def load(cls) -> Catalog:
        """The catalog that came with govsec, read once a process.

        Raises:
            ConfigurationError: its files are damaged.
        """
        # What reads the files builds the items of this module, so it is imported when it is asked for.
        from govsec.policy.catalogfile import read_catalog

        return read_catalog()

    def __iter__(self) -> Iterator[Item]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    @property
    def keys(self) -> frozenset[str]:
        """The key of every line at any level."""
        return frozenset(self._keys)

    def item(self, item_id: str) -> Item:
        """The line with that clause number.

        Raises:
            ConfigurationError: the standard has no such line.
        """
        found = self._by_id.get(item_id)
        if found is None:
            raise ConfigurationError(f"GB/T 22239-2019 has no item {item_id[:40]!r}")
        return found

    def items(self, level: int) -> tuple[Item, ...]:
        """Every line of that level, all scopes, in the order of the standard."""
        return tuple(item for item in self._items if item.level == level)

    def by_key(self, key: str, level: int) -> Item:
        """The line of that key at that level.

        Raises:
            ConfigurationError: there is no such key, or the line does not exist at that level.
        """
        found = self._by_key.get((key, level))
        if found is None:
            self.check_key(key)
            raise ConfigurationError(f"requirement {key} does not exist at level {level}")
        return found

    def check_key(self, key: str) -> None:
        """Return when some level has a line of that key.

        Raises:
            ConfigurationError: none has.
        """
        if key not in self._keys:
            raise ConfigurationError(f"GB/T 22239-2019 has no requirement with the key {key[:40]!r}")

    def select(
        self, s: int, a: int, level: int | None = None, scopes: Collection[str] = (Scope.GENERAL,)
    ) -> tuple[Item, ...]:
        """The lines that a system of these levels is held to, in the order of the standard.

        Raises:
            ConfigurationError: a level outside 1 to 4, a system level below S or A, an unknown scope, or none.
        """
        levels = Levels(s, a, level or 0)
        unknown = set(scopes) - set(Scope)
        if unknown or not scopes:
            raise ConfigurationError(f"scopes {sorted(unknown)}: expected some of {', '.join(Scope)}")
        chosen = [item for item in self._items if item.scope in scopes and item.level == levels.of(item.attribute)]
        return tuple(sorted(chosen, key=_place))

    def unconfirmed(self) -> tuple[Item, ...]:
        """The lines that only one source has."""
        return tuple(item for item in self._items if not item.confirmed)


def _order(item: Item) -> tuple[tuple[int, ...], str]:
    """By clause as numbers, so that 8.1.4.10 stands behind 8.1.4.9; then by letter."""
    return tuple(int(part) for part in item.control_id.split(".")), item.id


def _place(item: Item) -> tuple[int, int, int, str]:
    """Where a line stands among lines of all levels: by scope and area, then by its clause at its highest level."""
    clause = item.levels[max(item.levels)].split(".")
    letter = clause[4] if len(clause) > 4 else ""
    return _SCOPES.index(item.scope), _CATEGORIES.index(item.category), int(clause[3]), letter


_SCOPES = tuple(Scope)
#: In the order of the standard.
_CATEGORIES = ("PES", "CNS", "ABS", "CES", "SMC", "PSS", "ORS", "HRS", "CMS", "MMS")
