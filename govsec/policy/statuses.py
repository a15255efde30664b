"""Which figures of the shipped tables are not confirmed: what every report has to mark.

One idea: a table says how far a figure can be trusted where the figure stands, by a field ``status`` (or one that ends
in ``_status``). This walks the tables and gives every place whose status is not ``confirmed``, so that no report keeps
a list of its own that could fall behind the data.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources.abc import Traversable

from pydantic import JsonValue

from govsec.datafile import FigureStatus
from govsec.errors import ConfigurationError
from govsec.policy.catalog import Catalog
from govsec.shipped import shipped
from govsec.yamllines import read_document

#: Folders below ``policies/`` that hold tables of norms.
TABLES = ("gbt20988", "gbt22240-2020", "gbt39786-2021", "high-risk-2025", "risk-20984")


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure, or a group of them, whose status is not ``confirmed``."""

    #: File below ``policies/``.
    table: str
    norm: str
    #: Where in the file: ``levels.4.rto``; empty for all of it.
    place: str
    #: What of it: ``status``, ``wording_status``, …
    aspect: str
    status: FigureStatus


@cache
def unconfirmed_figures() -> tuple[Figure, ...]:
    """Every figure of the shipped tables that is not confirmed, by table and place.

    Raises:
        ConfigurationError: a table is damaged, or has a status that is none.
    """
    found = []
    for folder in TABLES:
        files = sorted(shipped(folder).iterdir(), key=lambda file: file.name)
        found += [figure for file in files if file.name.endswith(".yaml") for figure in _read(folder, file)]
    for item in Catalog.load().unconfirmed():
        found.append(Figure("gbt22239-2019", "GB/T 22239-2019", item.id, "status", FigureStatus.UNCONFIRMED))
    return tuple(found)


def _read(folder: str, file: Traversable) -> Iterator[Figure]:
    name = f"{folder}/{file.name}"
    value = read_document(file.read_bytes(), name).value
    if not isinstance(value, dict) or not isinstance(value.get("norm"), str):
        raise ConfigurationError(f"{name}: names no norm")
    norm = str(value["norm"])
    for place, aspect, status in _statuses(value, ""):
        if status is not FigureStatus.CONFIRMED:
            yield Figure(name, norm, place, aspect, status)


def _statuses(value: JsonValue, place: str) -> Iterator[tuple[str, str, FigureStatus]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == "status" or key.endswith("_status"):
                yield place, key, _status(inner, place)
            else:
                yield from _statuses(inner, f"{place}.{key}" if place else key)
    elif isinstance(value, list):
        for position, inner in enumerate(value):
            # An entry of a list is called by what names it in the table, where it has a name.
            name = inner.get("id", inner.get("level", position)) if isinstance(inner, dict) else position
            yield from _statuses(inner, f"{place}.{name}")


def _status(value: JsonValue, place: str) -> FigureStatus:
    try:
        return FigureStatus(str(value))
    except ValueError as error:
        raise ConfigurationError(f"{place}: status {value!r} is none of {', '.join(FigureStatus)}") from error
