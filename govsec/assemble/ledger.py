"""The ledger of one system, as this site can reach it."""

from __future__ import annotations

from govsec.assemble.systems import Site
from govsec.config import CenterConfig, LocalStoreConfig, Role, SystemConfig
from govsec.crypto.signing import Purpose
from govsec.errors import ConfigurationError, StoreUnavailableError
from govsec.ledger.entry import PREFIX
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
