"""From the configuration to the objects that work on one system: stores, repositories, keys.

A :class:`Site` is what one machine knows: its configuration and its clock. It opens things when they are asked for,
never ahead, so that a machine that holds no password or no credential can still do what needs none.
"""

from __future__ import annotations

from pathlib import Path

from govsec.clock import Clock
from govsec.config import CenterConfig, Config, LocalStoreConfig, Role, S3StoreConfig, SystemConfig, read_secret
from govsec.crypto.signing import Purpose, Signer, TrustedKeys
from govsec.errors import ConfigurationError, UsageError
from govsec.store.api import ObjectStore, ReadStore
from govsec.store.local import LocalStore


class Site:
    """What the configuration of this machine gives: systems, centers, their stores and keys."""

    def __init__(self, config: Config, clock: Clock) -> None:
        self.config = config
        self.clock = clock

    def system(self, name: str | None = None) -> SystemConfig:
        """The system of that name; without a name the only one.

        Raises:
            UsageError: there is no such system, or several to choose from.
        """
        systems = {system.name: system for system in self.config.systems}
        if name is None and len(systems) == 1:
            return next(iter(systems.values()))
        if name in systems:
            return systems[name]
        wanted = "name one with --system" if name is None else f"there is no system {name!r}"
        raise UsageError(f"{wanted}; the configuration has: {', '.join(systems) or 'none'}")

    def center(self, name: str) -> tuple[str, CenterConfig]:
        """The center of that name or role, with its name.

        Raises:
            UsageError: there is none.
        """
        for known, center in self.config.centers.items():
            if name in (known, center.role.value):
                return known, center
        raise UsageError(f"there is no center {name!r}; the configuration has: {', '.join(self.config.centers)}")

    def name_of(self, role: Role) -> str | None:
        """The name of the center that has this role."""
        return next((name for name, center in self.config.centers.items() if center.role is role), None)

    def read_store(self, system: SystemConfig, center: str) -> ReadStore:
        """The system's repository at a center, to read; with the read-only credential where there is one."""
        return self._open(system, center, "read_credentials_file", create=False)

    def store(self, system: SystemConfig, center: str, *, create: bool = False) -> ObjectStore:
        """The system's repository at a center, with what this site writes with."""
        return self._open(system, center, "credentials_file", create=create)

    def password(self, system: SystemConfig) -> bytes:
        """What opens the system's repository.

        Raises:
            ConfigurationError: this site holds no password of the system, or its file is open to others.
        """
        if system.password_file is None:
            raise ConfigurationError(f"system {system.name}: password_file is not set; this needs the key")
        return read_secret(system.password_file)

    def signer(self, purpose: Purpose) -> Signer:
        """The key that this site signs with for ``purpose`` (commit, evidence or release).

        Raises:
            ConfigurationError: this site has none.
        """
        field = f"{purpose.value}_key_file"
        path: Path | None = getattr(self.config.signing, field, None)
        if path is None:
            raise ConfigurationError(f"signing.{field} is not set; this site does not sign {purpose.value}s")
        return Signer.load(path, purpose)

    def trusted(self) -> TrustedKeys:
        """The public keys that people pinned at this site.

        Raises:
            ConfigurationError: there is no roots file; nothing is trusted by default.
        """
        if self.config.signing.roots_file is None:
            raise ConfigurationError("signing.roots_file is not set; nothing can be verified without pinned keys")
        return TrustedKeys.load(self.config.signing.roots_file)

    def _open(self, system: SystemConfig, center: str, credential: str, *, create: bool) -> ObjectStore:
        name, found = self.center(center)
        match found.store:
            case LocalStoreConfig(path=path):
                return LocalStore(path / system.name, name=name, create=create)
            case S3StoreConfig():
                raise ConfigurationError(f"center {name}: S3 is not wired yet")
