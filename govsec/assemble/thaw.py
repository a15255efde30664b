"""The owner of a center ends what is frozen there, with a reason that stands in the ledger first."""

from __future__ import annotations

from pydantic import JsonValue

from govsec.assemble.access import owning_store, versioned_at
from govsec.assemble.ledger import open_ledger
from govsec.assemble.systems import Site
from govsec.centers.freeze import Freeze, read_freeze, thaw
from govsec.clock import format_time
from govsec.config import LocalStoreConfig, Role, SystemConfig
from govsec.errors import RefusedError, TryAgainError
from govsec.records import Evidence
from govsec.store.api import ObjectStore

KIND = "center.thawed"


def thaw_center(site: Site, system: SystemConfig, center: str, *, by: str, reason: str) -> tuple[Freeze, ...]:
    """End every freeze that holds at a center; gives those that it ended.

    The ledger has who, why and what before anything is removed: what cannot be put on record stays frozen.

    Raises:
        RefusedError: nothing is frozen there. ConfigurationError: this site does not own the center, or signs no
            evidence. TryAgainError, StoreError: the ledger or the center could not be written; a freeze may be left.
    """
    name, found = site.center(center)
    is_own = found.role is Role.PRODUCTION or isinstance(found.store, LocalStoreConfig)
    # Elsewhere the credential that writes must not be the one that ends a freeze.
    store: ObjectStore = owning_store(site, system, name) if is_own else versioned_at(site, system, name)
    ended: list[Freeze] = []
    while (frozen := read_freeze(store, site.clock)) is not None:
        if frozen.id in {each.id for each in ended}:
            raise TryAgainError(f"{store.name}: freeze {frozen.id} was removed, and is there again")
        open_ledger(site, system).append(_evidence(site, system, name, frozen, by, reason))
        thaw(store, site.clock, frozen.id)
        ended.append(frozen)
    if not ended:
        raise RefusedError(f"{store.name}: nothing is frozen there")
    return tuple(ended)


def _evidence(site: Site, system: SystemConfig, center: str, frozen: Freeze, by: str, reason: str) -> Evidence:
    facts: dict[str, JsonValue] = {
        "center": center, "by": by, "reason": reason, "freeze": frozen.id, "frozen_by": frozen.by,
        "frozen_for": frozen.reason, "until": format_time(frozen.until),
    }  # fmt: skip
    return Evidence(kind=KIND, time=site.clock.now(), subject=system.name, facts=facts)
