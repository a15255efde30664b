"""Until when a distribution gets security updates (``policies/lifecycle``): no update waits for a host past that day.

A pure look-up by what the host says of itself. A distribution that is in no row, or that does not say which release it
is, has no date, and what follows from that is for the checks to say: not knowing is no maintenance.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from typing import Annotated

from pydantic import Field, TypeAdapter

from govsec.clock import format_time
from govsec.collect.facts import Platform
from govsec.config import Model
from govsec.datafile import FigureStatus, Text
from govsec.shipped import read_table, shipped

_RELEASE = re.compile(r"([0-9][0-9.]*)(?: \(([^()]+)\))?")
_Release = Annotated[str, Field(pattern=f"^{_RELEASE.pattern}$", max_length=60)]


class _Source(Text):
    status: FigureStatus


class _System(Model):
    id: str = Field(min_length=1, max_length=60)
    source: _Source
    #: The last day with updates, by release.
    releases: Mapping[_Release, date]


class _Table(Model):
    version: int
    systems: tuple[_System, ...]


_SHAPE = TypeAdapter(_Table)


@cache
def _systems() -> Mapping[str, _System]:
    systems = read_table(shipped("lifecycle").joinpath("systems.yaml"), _SHAPE).systems
    return {system.id: system for system in systems}


def maintained_until(platform: Platform) -> datetime | None:
    """The moment from which this release gets no more security updates; None where that is not known.

    Raises:
        ConfigurationError: the table is damaged.
    """
    system = _systems().get(platform.os_id)
    if system is None or not platform.version:
        return None
    names = (platform.version, platform.version.split(".")[0])
    # The release as it is written goes before its first number, and what names more before what names less.
    for name in names:
        for is_named in (True, False):
            for release, last in system.releases.items():
                found = _RELEASE.fullmatch(release)
                assert found is not None  # the model has seen to that
                if found[1] == name and bool(found[2]) is is_named and _is_in(found[2], platform.pretty_name):
                    return datetime.combine(last + timedelta(days=1), time(), UTC)
    return None


def platform_variable(platform: Platform) -> dict[str, object]:
    """What expressions see as ``platform``; ``maintained_until`` is a timestamp as text, or empty."""
    until = maintained_until(platform)
    return {**platform.model_dump(mode="json"), "maintained_until": format_time(until) if until else ""}


def _is_in(part: str | None, pretty_name: str) -> bool:
    # As words of their own: "LTS-SP1" is not in "LTS-SP10", and "LTS" alone is the release before its service packs.
    return part is None or re.search(rf"(?<![\w-]){re.escape(part)}(?![\w-])", pretty_name) is not None
