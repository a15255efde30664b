"""What this site may do at which center, by the credentials that it has, and the stores that follow from that."""

from __future__ import annotations

from govsec.assemble.systems import Site
from govsec.config import LocalStoreConfig, Role, SystemConfig
from govsec.errors import ConfigurationError
from govsec.store.api import ObjectStore, ReadStore, VersionedStore


def centers_to_ship(site: Site) -> list[str]:
    """The centers that this site ships to: those with a credential to write, other than production."""
    return [
        name
        for name, center in site.config.centers.items()
        if center.role is not Role.PRODUCTION and may_write(site, name)
    ]


def readable_centers(site: Site) -> list[str]:
    """The centers that this site can read."""
    return [name for name in site.config.centers if has_access(site, name)]


def writable_centers(site: Site) -> list[str]:
    """The centers that this site may write to."""
    return [
        name
        for name, center in site.config.centers.items()
        if may_write(site, name) or center.owner_credentials_file is not None
    ]


def owning_store(site: Site, system: SystemConfig, center: str) -> ObjectStore:
    """The center with the widest credential of this site: the owner's, else the one it writes with."""
    name, _ = site.center(center)
    store = own_store(site, system, name)
    if store is None:
        raise ConfigurationError(f"center {name}: this site has no credential that may write there")
    return store


def versioned_at(site: Site, system: SystemConfig, center: str) -> VersionedStore:
    """The center with its own credential. Raises ``ConfigurationError`` for a directory, which can lock nothing."""
    store = site.owner_store(system, center)
    if store is None:
        raise ConfigurationError(
            f"center {center}: a directory has no object lock; it is not protected from production"
        )
    return store


def own_store(site: Site, system: SystemConfig, name: str) -> ObjectStore | None:
    """As :func:`owning_store`; None where this site may not write."""
    owned = owner_of(site, system, name)
    if owned is not None:
        return owned
    return site.store(system, name) if may_write(site, name) else None


def owner_of(site: Site, system: SystemConfig, name: str) -> VersionedStore | None:
    """The center with its owner's credential; None where this site has none, and for a directory."""
    center = site.config.centers[name]
    return site.owner_store(system, name) if center.owner_credentials_file is not None else None


def readable_stores(site: Site, system: SystemConfig, but: str) -> list[ReadStore]:
    """Every center that this site can read, ``but`` one."""
    found: list[ReadStore] = []
    for name in site.config.centers:
        if name != but and has_access(site, name):
            found.append(site.read_store(system, name))
    return found


def may_write(site: Site, name: str) -> bool:
    """True when this site has what it takes to write there, apart from the owner's credential."""
    center = site.config.centers[name]
    return isinstance(center.store, LocalStoreConfig) or center.credentials_file is not None


def has_access(site: Site, name: str) -> bool:
    """True when this site can read there."""
    center = site.config.centers[name]
    return (
        may_write(site, name) or center.read_credentials_file is not None or center.owner_credentials_file is not None
    )
