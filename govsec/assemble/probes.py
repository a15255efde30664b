"""Probing a center, and the records that probes leave at a site: what `status` and the stores go by."""

from __future__ import annotations

from pydantic import ValidationError

from govsec.assemble.access import may_write
from govsec.assemble.systems import Site
from govsec.centers.status import Protection
from govsec.config import CenterConfig, LocalStoreConfig, Role, SystemConfig
from govsec.errors import ConfigurationError, UsageError
from govsec.privatefile import make_private_directory, write_private
from govsec.store.capabilities import StoreCapabilities
from govsec.store.credentials import read_credentials
from govsec.store.probe import probe


def probe_center(site: Site, system: SystemConfig, center: str) -> StoreCapabilities:
    """Try a center with the credential that this site writes with, and remember what was found for ``status``.

    Raises:
        UsageError: that credential is the center's own, which may remove by design; a probe of it would tell nothing.
    """
    name, found = site.center(center)
    if _writes_as_owner(found):
        raise UsageError(
            f"center {name}: credentials_file is the owner's credential, which may remove by design; "
            "probe with what the other sites write with"
        )
    record = probe(site.store(system, name), site.clock)
    path = site.probe_path(system, name)
    try:
        make_private_directory(path.parent)
        write_private(path, record.model_dump_json().encode())
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}") from error
    return record


def protection_of(site: Site, system: SystemConfig, center: str) -> Protection:
    """What is known of a center's protection from the credential that this site writes with."""
    name, found = site.center(center)
    if isinstance(found.store, LocalStoreConfig):
        return Protection(False, "not protected from production: a directory")
    if found.credentials_file is None:
        return Protection(None, "this site has no credential that writes there")
    try:
        record = StoreCapabilities.model_validate_json(site.probe_path(system, name).read_bytes())
    except FileNotFoundError:
        return Protection(None, f"never probed; run: govsec center probe {name}")
    except (OSError, ValidationError):
        return Protection(None, f"the record of the probe cannot be read; run: govsec center probe {name}")
    when = f"{record.time:%Y-%m-%d}"
    if record.is_protected:
        return Protection(True, f"protected (probed {when})")
    production = site.name_of(Role.PRODUCTION)
    thief = "production" if production is not None and may_write(site, production) else "this site's credential"
    return Protection(False, f"not protected from {thief}: {'; '.join(record.weaknesses())} (probed {when})")


def _writes_as_owner(center: CenterConfig) -> bool:
    paths = (center.credentials_file, center.owner_credentials_file)
    if center.role is Role.PRODUCTION or None in paths:
        return False
    return len({read_credentials(path).access_key for path in paths if path is not None}) == 1
