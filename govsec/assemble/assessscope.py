"""What is asked of whom: the system of the register, its items by S, A and G, and its hosts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from govsec.assemble.hosts import Target, targets_of
from govsec.assemble.systems import Site
from govsec.config import SystemConfig
from govsec.policy.catalog import Catalog, Item, Levels
from govsec.policy.run import ExtentRow, SystemRow
from govsec.registerentry import HostRole, RegisterEntry

#: What a host is assessed at when nobody said.
LEVEL_DEFAULT = 3
_SCOPES_DEFAULT = ("general",)


@dataclass(frozen=True, slots=True)
class Request:
    """What a person asks for. What is empty comes from the register, or from the defaults."""

    system: str | None = None
    #: Names of the configuration's hosts; ``local`` is this machine.
    hosts: tuple[str, ...] = ()
    level: int | None = None
    s: int | None = None
    a: int | None = None
    scopes: tuple[str, ...] = ()
    #: Ids of the packs to use; all of them without any.
    packs: tuple[str, ...] = ()
    operator: str = ""
    #: Run to compare with: an id, ``latest``, or empty for none.
    compare: str = "latest"
    is_recorded: bool = True
    #: Walk over the whole file systems of the hosts (minutes); else what an earlier walk found counts, with its age.
    is_walking: bool = False


@dataclass(frozen=True, slots=True)
class Scope:
    """What is asked of whom."""

    #: None where there is no configuration: then it is this machine alone.
    system: SystemConfig | None
    entry: RegisterEntry
    row: SystemRow
    levels: Levels
    scopes: tuple[str, ...]
    items: tuple[Item, ...]
    targets: tuple[Target, ...]
    extent: ExtentRow
    #: The hosts of each role that the register names.
    hosts_of: Mapping[HostRole, tuple[str, ...]]


def scope_of(site: Site, request: Request) -> Scope:
    """The system, its items and its hosts.

    Raises:
        UsageError: there is no such system or host, or several systems to choose from.
        ConfigurationError: levels or scopes that the catalog does not have.
    """
    system = site.system(request.system) if request.system or site.config.systems else None
    entry = system.register_ if system is not None else RegisterEntry()
    level = request.level or entry.system_level or LEVEL_DEFAULT
    s, a = request.s or entry.s or level, request.a or entry.a or level
    # A level that a person asks for in place of the registered ones stands for S and A as well.
    if request.level is not None and request.s is None and request.a is None:
        s = a = level
    levels = Levels(s, a, max(level, s, a))
    scopes = request.scopes or tuple(scope.value for scope in entry.scopes) or _SCOPES_DEFAULT
    targets = targets_of(site.config, request.hosts or entry.hosts)
    name = system.name if system is not None else targets[0].name
    row = SystemRow(
        name=name,
        title=system.title if system is not None else "",
        kind=entry.kind.value if entry.kind else "",
        owner=entry.owner,
        responsible=tuple(str(person) for person in entry.responsible),
        filing_number=entry.filing.number if entry.filing else "",
        is_high_availability=entry.high_availability,
        is_key_industry=entry.key_industry,
        is_registered=system is not None and "register_" in system.model_fields_set,
    )
    items = Catalog.load().select(s, a, levels.system, scopes)
    extent = _extent(site, system, targets)
    hosts_of = {role: tuple(one.name for one in _targets(site, entry.hosts_of(role))) for role in HostRole}
    return Scope(system, entry, row, levels, scopes, items, targets, extent, hosts_of)


def _targets(site: Site, names: tuple[str, ...]) -> tuple[Target, ...]:
    """As :func:`targets_of`, and none without names."""
    return targets_of(site.config, names) if names else ()


def _extent(site: Site, system: SystemConfig | None, targets: tuple[Target, ...]) -> ExtentRow:
    """Whether these are all hosts of the system, as far as its register says."""
    if system is None:
        return ExtentRow(kind="machine")
    if not system.register_.hosts:
        return ExtentRow(kind="unlisted")
    asked = {target.name for target in targets}
    registered = (target.name for target in targets_of(site.config, system.register_.hosts))
    left_out = tuple(name for name in registered if name not in asked)
    return ExtentRow(kind="part" if left_out else "whole", left_out=left_out)
