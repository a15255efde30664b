"""The ledger of one system, as this site can reach it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from govsec.assemble.systems import Site
from govsec.config import CenterConfig, LocalStoreConfig, Role, SystemConfig
from govsec.crypto.signing import Purpose, TrustedKeys
from govsec.errors import ConfigurationError, GovsecError, StoreUnavailableError
from govsec.ledger.anchor import newest_anchors, put_anchor
from govsec.ledger.entry import PREFIX, Head
from govsec.ledger.ledger import Ledger
from govsec.store.api import ObjectStore, ReadStore

_ORDER = (Role.PRODUCTION, Role.SAME_CITY, Role.REMOTE)


def open_ledger(site: Site, system: SystemConfig) -> Ledger:
    """The ledger that this site appends to: the first center that it may write and that answers is home.

    Which one is home may change when a center is lost; a new home first gets what its mirrors have.

    Raises:
        ConfigurationError: this site signs no evidence, pins no roots, or may write to no center.
        StoreUnavailableError: none of the centers that it may write to answers.
    """
    signer, trusted = site.signer(Purpose.EVIDENCE), site.trusted()
    writable = [site.store(system, name) for name, center in _centers(site) if _can_write(center)]
    if not writable:
        raise ConfigurationError("this site may write to no center; the ledger has no home here")
    home = next((store for store in writable if _answers(store)), None)
    if home is None:
        raise StoreUnavailableError(f"the ledger has no home: no answer from {', '.join(s.name for s in writable)}")
    mirrors = [store for store in writable if store is not home]
    return Ledger(home, signer, site.clock, trusted=trusted, mirrors=mirrors)


def ledger_stores(site: Site, system: SystemConfig) -> list[ReadStore]:
    """Every center whose ledger this site may read.

    Raises:
        ConfigurationError: there is none.
    """
    stores = [site.read_store(system, name) for name, _ in readable_centers(site)]
    if not stores:
        raise ConfigurationError("this site may read no center; there is no ledger to look at")
    return stores


def readable_centers(site: Site) -> list[tuple[str, CenterConfig]]:
    """The centers that this site has any credential for, production first."""
    return [(name, center) for name, center in _centers(site) if _can_read(center)]


@dataclass(frozen=True, slots=True)
class Anchored:
    """Where a head is anchored, where under object lock, and where it could not be: center and reason."""

    held_by: tuple[str, ...]
    locked_at: tuple[str, ...]
    missing: tuple[str, ...]


def anchor_ledger(site: Site, system: SystemConfig, head: Head) -> Anchored:
    """Put the head into every center that this site may write to, under lock where it owns one.

    To the others, shipping brings it. A center that does not take it is in what is given back.

    Raises:
        ConfigurationError: this site signs no evidence.
    """
    signer, now = site.signer(Purpose.EVIDENCE), site.clock.now()
    held: list[str] = []
    locked: list[str] = []
    missing: list[str] = []
    for name, center in _centers(site):
        if not _can_write(center):
            continue
        try:
            anchor = put_anchor(site.store(system, name), signer, head, now)
            held.append(name)
            if lock_anchors(site, system, name, [anchor]):
                locked.append(name)
        except GovsecError as error:
            missing.append(f"{name}: {error}")
    return Anchored(tuple(held), tuple(locked), tuple(missing))


def unanchored_head(site: Site, system: SystemConfig) -> Head | None:
    """The ledger's head, when it is newer than the newest anchor at some center that this site may write to.

    Raises:
        As :func:`open_ledger` and ``Ledger.head``.
    """
    head, trusted = open_ledger(site, system).head(), site.trusted()
    if head is None:
        return None
    for name, center in _centers(site):
        if _can_write(center) and not _is_anchored(head, site.store(system, name), trusted):
            return head
    return None


def _is_anchored(head: Head, store: ReadStore, trusted: TrustedKeys) -> bool:
    """True when a center has an anchor of that entry or of a later one; a center that cannot be read has none."""
    try:
        anchors = [one for one in newest_anchors(store, trusted) if isinstance(one, Head) and one.chain == head.chain]
    except GovsecError:
        return False
    return any(anchor.number >= head.number for anchor in anchors)


def lock_anchors(site: Site, system: SystemConfig, center: str, anchors: Sequence[str]) -> bool:
    """Lock anchors at a center for as long as it locks anything; False where this site locks nothing there.

    Raises:
        StoreError: the center refused.
    """
    name, found = site.center(center)
    if found.object_lock is None or found.owner_credentials_file is None:
        return False
    store = site.owner_store(system, name)
    if store is None:
        return False
    until = site.clock.now() + timedelta(days=min(found.object_lock.days, found.object_lock.days_max))
    for anchor in anchors:
        store.retain(anchor, until)
    return True


def _centers(site: Site) -> list[tuple[str, CenterConfig]]:
    return sorted(site.config.centers.items(), key=lambda item: _ORDER.index(item[1].role))


def _can_write(center: CenterConfig) -> bool:
    return isinstance(center.store, LocalStoreConfig) or center.credentials_file is not None


def _can_read(center: CenterConfig) -> bool:
    return _can_write(center) or bool(center.read_credentials_file or center.owner_credentials_file)


def _answers(store: ObjectStore) -> bool:
    try:
        next(iter(store.list(PREFIX)), None)
    except StoreUnavailableError:
        return False
    return True
