"""Reads the catalog of GB/T 22239-2019; ``policies/gbt22239-2019/catalog.yaml`` explains the fields of its files."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from importlib.resources.abc import Traversable
from types import MappingProxyType
from typing import Annotated

from pydantic import Field, TypeAdapter

from govsec.config import Model
from govsec.datafile import FigureStatus, Text
from govsec.errors import ConfigurationError
from govsec.policy.catalog import Attribute, Automatable, Catalog, Item, Kind, Level, Scope
from govsec.shipped import read_table, shipped

FOLDER = "gbt22239-2019"


class _Category(Text):
    kind: Kind


class _ScopeHead(Text):
    counts: Mapping[Level, int]


class _Head(Model):
    version: int = Field(ge=1, le=1)
    norm: str
    title: Text
    status: FigureStatus
    source: str
    categories: Mapping[str, _Category]
    scopes: Mapping[Scope, _ScopeHead]


class _Wording(Model):
    zh: str | None = None
    en: str | None = None
    automatable: Automatable | None = None
    show: Text | None = None


_Unit = Annotated[str, Field(pattern=r"^L[1-4]-[A-Z]{3}[1-5]-[0-9]{2}$")]


class _Line(Model):
    key: str = Field(pattern=r"^(GEN|CLD|MOB|IOT|ICS)-[A-Z]{3}-[0-9]{1,2}(-[a-z])?(@L[24])?$")
    letters: Mapping[Level, Annotated[str, Field(pattern=r"^[a-z]?$")]] = Field(min_length=1)
    units: Mapping[Level, Annotated[str, Field(pattern=r"^L[1-4]-[A-Z]{3}[1-5]-[0-9]{2}$")]] = Field(
        default_factory=dict
    )
    unconfirmed: tuple[Level, ...] = ()
    from_: Mapping[Level, _Wording] = Field(alias="from", min_length=1)


class _Control(Model):
    category: str
    zh: str
    en: str
    attribute: Attribute = Attribute.G
    optional: bool = False
    clauses: Mapping[Level, Annotated[str, Field(pattern=r"^[6-9](\.[1-9][0-9]?){3}$")]]
    items: tuple[_Line, ...] = Field(min_length=1)


_HEAD = TypeAdapter(_Head)
_CONTROLS = TypeAdapter(tuple[_Control, ...])


@cache
def read_catalog() -> Catalog:
    """The catalog that came with govsec, read once a process; :meth:`Catalog.load` is its door."""
    folder = shipped(FOLDER)
    head = read_table(folder.joinpath("catalog.yaml"), _HEAD)
    items = [item for scope in Scope for item in _read_scope(folder.joinpath(f"{scope.value}.yaml"), scope, head)]
    for scope in Scope:
        for level, count in head.scopes[scope].counts.items():
            found = sum(item.scope is scope and item.level == level for item in items)
            if found != count:
                raise ConfigurationError(f"{FOLDER}: {scope.value} has {found} items at level {level}, not {count}")
    return Catalog(items, head.title, head.status, head.source)


def _read_scope(file: Traversable, scope: Scope, head: _Head) -> list[Item]:
    controls = read_table(file, _CONTROLS)
    # A line whose control point has another name at another level stands under both names, with the same key.
    ids: dict[str, dict[int, str]] = defaultdict(dict)
    for control in controls:
        for line in control.items:
            for level, letter in line.letters.items():
                ids[line.key][level] = ".".join(filter(None, (control.clauses[level], letter)))
    known = {key: MappingProxyType(dict(sorted(levels.items()))) for key, levels in ids.items()}
    items = [
        item for control in controls for line in control.items for item in _items(control, line, scope, head, known)
    ]
    since: dict[tuple[str, str, str], int] = {}
    for item in sorted(items, key=lambda item: item.level):
        since.setdefault((item.key, item.summary_zh, item.summary_en), item.level)
    return [replace(item, since=since[item.key, item.summary_zh, item.summary_en]) for item in items]


def _items(
    control: _Control, line: _Line, scope: Scope, head: _Head, ids: Mapping[str, Mapping[int, str]]
) -> Iterator[Item]:
    category = head.categories[control.category]
    wording = _Wording()
    for level in sorted(line.letters):
        if step := line.from_.get(level):
            wording = wording.model_copy(update={name: getattr(step, name) for name in step.model_fields_set})
        if not (wording.zh and wording.en and wording.automatable and wording.show):
            raise ConfigurationError(f"{FOLDER}: {line.key} has no whole wording at level {level}")
        yield Item(
            id=ids[line.key][level],
            key=line.key,
            level=level,
            scope=scope,
            category=control.category,
            category_zh=category.zh,
            category_en=category.en,
            control_id=control.clauses[level],
            control_zh=control.zh,
            control_en=control.en,
            attribute=control.attribute,
            kind=category.kind,
            summary_zh=wording.zh,
            summary_en=wording.en,
            evidence_hint_zh=wording.show.zh,
            evidence_hint_en=wording.show.en,
            automatable=wording.automatable,
            assessment_unit=line.units.get(level),
            confirmed=level not in line.unconfirmed,
            optional=control.optional,
            levels=ids[line.key],
            since=level,
        )
