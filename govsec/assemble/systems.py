"""From the configuration to the objects that work on one system: stores, repositories, keys.

A :class:`Site` is what one machine knows: its configuration and its clock. It opens things when they are asked for,
never ahead, so that a machine that holds no password or no credential can still do what needs none.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from pydantic import ValidationError

from govsec.clock import Clock
from govsec.config import CenterConfig, Config, LocalStoreConfig, Role, S3StoreConfig, SystemConfig, read_secret
from govsec.crypto.signing import Purpose, Signer, TrustedKeys
from govsec.errors import ConfigurationError, UsageError
from govsec.repo.keys import KeySearch
from govsec.store.api import ObjectStore, ReadStore, VersionedStore
from govsec.store.capabilities import StoreCapabilities
from govsec.store.credentials import Credentials, read_credentials
from govsec.store.limit import ByteRate, LimitStore
from govsec.store.local import LocalStore
from govsec.store.readonly import ReadOnlyStore
from govsec.store.retry import RetryStore, RetryVersionedStore

if TYPE_CHECKING:
    from govsec.repo.repository import Repository


class _Known(TypedDict, total=False):
    has_conditional_put: bool
    checks_content_md5: bool


class Site:
    """What the configuration of this machine gives: systems, centers, their stores and keys."""

    def __init__(self, config: Config, clock: Clock) -> None:
        self.config = config
        self.clock = clock
        self._rates: dict[str, ByteRate] = {}

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
        # Who may only write, or owns the center, can read too; the narrowest credential that this site has is taken.
        fields = ("read_credentials_file", "credentials_file", "owner_credentials_file")
        return ReadOnlyStore(self._open(system, center, fields))

    def store(self, system: SystemConfig, center: str, *, create: bool = False) -> ObjectStore:
        """The system's repository at a center, with what this site writes with; ``create`` makes the system's folder.

        Raises:
            ConfigurationError: this site may not write there, or the center's own directory is not there.
        """
        return self._open(system, center, ("credentials_file",), create=create)

    def check_place(self, center: str) -> None:
        """Return when the directory of a center is there; a bucket is looked at when it is used.

        Raises:
            ConfigurationError: it is not there. It is never made here: a disk that is not mounted looks like that.
        """
        name, found = self.center(center)
        if isinstance(found.store, LocalStoreConfig) and not found.store.path.is_dir():
            raise ConfigurationError(
                f"center {name}: there is no directory {found.store.path}; make it, or mount its disk"
            )

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

    def repository(self, system: SystemConfig, center: str, *, others: Sequence[str] = ()) -> Repository:
        """The system's repository at a center, to read; what is missing or damaged there is looked for at ``others``.

        Raises:
            WrongPasswordError: no key file there opens with this site's password.
            StoreError: there is none, or it cannot be reached.
        """
        search = self.begin_search(system, center, others=others)
        from govsec.repo.repository import Repository  # numpy and more; shipping, verifying and status do without

        return Repository.opened(search)

    def begin_search(self, system: SystemConfig, center: str, *, others: Sequence[str] = ()) -> KeySearch:
        """The search for the key of :meth:`repository`, for who has something else to do meanwhile."""
        fallbacks = [self.read_store(system, other) for other in others]
        return KeySearch(self.read_store(system, center), self.password(system), fallbacks=fallbacks)

    def owner_store(self, system: SystemConfig, center: str) -> VersionedStore | None:
        """The system's objects and their versions at a center, with the center's own credential.

        None where the center is a directory: it keeps no versions and no retention.

        Raises:
            ConfigurationError: this site does not own that center.
        """
        from govsec.store.s3versions import OwnedS3Store

        name, found = self.center(center)
        if isinstance(found.store, LocalStoreConfig):
            return None
        where, credentials = self._s3(system, name, found, found.store, ("owner_credentials_file",))
        mode = found.object_lock.mode if found.object_lock else "compliance"
        known = self._known_of(system, name)
        store = OwnedS3Store(where, credentials, name=name, clock=self.clock, lock_mode=mode, **known)
        return RetryVersionedStore(store, self.clock, attempts_max=where.attempts_max)

    def probe_path(self, system: SystemConfig, center: str) -> Path:
        """Where this site keeps what a probe of a center found (``govsec center probe``)."""
        return self.config.state_dir / system.name / f"probe-{center}.json"

    def probed(self, system: SystemConfig, center: str) -> StoreCapabilities | None:
        """What the last probe of a center from this site found; None where there was none, or its record is damaged."""
        try:
            return StoreCapabilities.model_validate_json(self.probe_path(system, center).read_bytes())
        except (OSError, ValidationError):
            return None  # `center status` tells a damaged record from one that was never made

    def _open(self, system: SystemConfig, center: str, fields: Sequence[str], *, create: bool = False) -> ObjectStore:
        name, found = self.center(center)
        if isinstance(found.store, LocalStoreConfig):
            if create:
                self.check_place(name)
            store: ObjectStore = LocalStore(found.store.path / system.name, name=name, create=create)
        else:
            from govsec.store.s3 import S3Store  # boto3 takes a third of a second to import; directories do without it

            where, credentials = self._s3(system, name, found, found.store, fields)
            inner = S3Store(where, credentials, name=name, clock=self.clock, **self._known_of(system, name))
            store = RetryStore[ObjectStore](inner, self.clock, attempts_max=where.attempts_max)
        if found.rate_bytes_per_s is not None or found.rate_schedule:
            store = LimitStore[ObjectStore](store, self._rate(name, found))
        return store

    def _s3(
        self, system: SystemConfig, name: str, center: CenterConfig, where: S3StoreConfig, fields: Sequence[str]
    ) -> tuple[S3StoreConfig, Credentials]:
        """Where the system's objects lie in the bucket, and the first credential of ``fields`` that this site has."""
        path = next((path for field in fields if (path := getattr(center, field)) is not None), None)
        if path is None:
            raise ConfigurationError(f"center {name}: {fields[0]} is not set; this site has no such access there")
        prefix = f"{where.prefix.strip('/')}/{system.name}".lstrip("/")
        return where.model_copy(update={"prefix": prefix}), read_credentials(path)

    def _known_of(self, system: SystemConfig, center: str) -> _Known:
        """What a probe saw of the server: what it only pretends is then done without, or refused by name."""
        record = self.probed(system, center)
        if record is None:
            return {}
        return {
            "has_conditional_put": record.has_conditional_put,
            "checks_content_md5": record.checks_content_md5 is not False,
        }

    def _rate(self, name: str, found: CenterConfig) -> ByteRate:
        # One bucket for all stores of a center: the line is shared, whatever is opened over it.
        rate = ByteRate(found.rate_bytes_per_s, self.clock, schedule=found.rate_schedule)
        return self._rates.setdefault(name, rate)
