"""The recovery plans of a configuration, and the drills that the ledger tells of them. Nothing is run here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from govsec.assemble.ledger import ledger_stores
from govsec.assemble.systems import Site
from govsec.config import SystemConfig
from govsec.drill.history import History, read_history
from govsec.drill.plan import Plan, load_plan
from govsec.errors import ConfigurationError, UsageError


def plans_of(site: Site, system: str | None = None) -> list[Plan]:
    """The plans of a system of the configuration, or of all of them.

    Raises:
        ConfigurationError: a plan is wrong, or names another system than the one that lists it.
        UsageError: there is no such system.
    """
    systems: Sequence[SystemConfig] = site.config.systems if system is None else [site.system(system)]
    plans = []
    for found in systems:
        for path in found.plans:
            plan = load_plan(path)
            if plan.system != found.name:
                raise ConfigurationError(f"plan {path}: is for system {plan.system!r}, and listed by {found.name!r}")
            plans.append(plan)
    return plans


def find_plan(site: Site, wanted: str | None, system: str | None = None) -> Plan:
    """The plan of that name, or in that file; without one the only plan of the configuration.

    Raises:
        UsageError: there is none, or several to choose from.
    """
    if wanted is not None and Path(wanted).is_file():
        return load_plan(Path(wanted))
    plans = plans_of(site, system)
    fitting = plans if wanted is None else [plan for plan in plans if plan.name == wanted]
    if len(fitting) == 1:
        return fitting[0]
    asked = "name one with --plan" if wanted is None else f"there is no single plan {wanted!r}"
    raise UsageError(f"{asked}; the configuration has: {', '.join(plan.name for plan in plans) or 'none'}")


def history_of(site: Site, system: str | None = None) -> History:
    """The drills of a system on record."""
    found = site.system(system)
    return read_history(ledger_stores(site, found), site.trusted(), system=found.name)
