"""What vulnerability data say of packages, whatever file they came in: ``Known``, ``Source``.

One idea: a package is held against entries for its own name and release only, and each entry ends in one of a few
states. What the data cannot decide is a state of its own, never "not affected".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from govsec.host.tables import Package


class State(StrEnum):
    """What follows for an installed version."""

    #: Affected, and a newer version is not.
    FIX = "fix"
    #: Affected, and nobody has mended it.
    NO_FIX = "no fix"
    #: Affected, and nobody will: the package or the release has reached its end.
    ENDED = "end of life"
    #: The data name the package, and do not say whether this version is affected.
    UNDETERMINED = "undetermined"


@dataclass(frozen=True, slots=True)
class Known:
    """One vulnerability of one installed source package. ``urgency``: the data's own word, in lower case, or empty."""

    id: str
    aliases: tuple[str, ...]
    state: State
    fixed_version: str
    urgency: str
    summary: str


@dataclass(frozen=True, slots=True)
class Platform:
    """Which distribution the packages are of; words of ``/etc/os-release``."""

    id: str
    version: str
    codename: str


@dataclass(frozen=True, slots=True)
class Matches:
    """What a file of data said. ``known`` by source package; ``packages``: how many were held against it.

    ``has_release``: whether the data know this distribution's release at all. ``newest``: of its entries, or of the
    file where entries have no dates (``is_file_date``). ``counters``: what was read, passed over and cut.
    """

    known: Mapping[str, tuple[Known, ...]]
    packages: int
    has_release: bool
    newest: datetime | None
    is_file_date: bool
    counters: Mapping[str, int] = field(default_factory=dict)


class VulnerabilityData(Protocol):
    """A file of vulnerability data."""

    def match(self, packages: Iterable[Package], platform: Platform) -> Matches:
        """Hold these packages against it.

        Raises:
            FormatError: the file is not what it was taken for. LimitError: it is larger than any honest one.
        """
        ...
