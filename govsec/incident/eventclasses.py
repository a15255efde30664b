"""What kind of event it is: the classes of GB/T 20986-2023, and which findings suggest which."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache

from pydantic import Field, TypeAdapter

from govsec.config import Model
from govsec.datafile import FigureStatus, Text
from govsec.shipped import read_table, shipped


class EventClass(Text):
    """One class. ``code`` is the standard's (annex B); empty until somebody has read it there."""

    code: str | None = Field(default=None, max_length=20)
    #: Kinds of findings that suggest the class, or the words that they begin with.
    kinds: tuple[str, ...] = ()


class EventClasses(Model):
    """All classes of one edition."""

    version: int = Field(ge=1, le=1)
    norm: str
    status: FigureStatus
    classes: Mapping[str, EventClass] = Field(min_length=1)

    def suggest(self, kinds: Iterable[str]) -> str:
        """The class that the kinds of an incident's findings suggest; the longest match counts, ``other`` without one.

        ``kinds`` in the order in which they were found: of two that match equally long the earlier one decides.
        """
        best, name = 0, "other"
        for kind in kinds:
            for candidate, entry in self.classes.items():
                for prefix in entry.kinds:
                    if (kind == prefix or kind.startswith(f"{prefix}.")) and len(prefix) > best:
                        best, name = len(prefix), candidate
        return name


@cache
def shipped_classes() -> EventClasses:
    """The classes that came with govsec, read once a process.

    Raises:
        ConfigurationError: the table is not whole.
    """
    return read_table(shipped("incidents").joinpath("gbt20986-2023.yaml"), TypeAdapter(EventClasses))
