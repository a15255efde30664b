"""The repository that a command is about: a system's at a center, or one in a directory without any configuration."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from govsec.assemble.access import readable_stores
from govsec.assemble.systems import Site
from govsec.clock import Clock
from govsec.config import Config, Role, SystemConfig, read_secret
from govsec.crypto.passwords import refuse_weak
from govsec.crypto.restic import MasterKey, ResticSuite
from govsec.errors import ConfigurationError, RefusedError, UsageError
from govsec.progress import ProgressSink, silent
from govsec.repo.prune import Commit, Forget, PruneResult, prune
from govsec.repo.pruneplan import PrunePolicy
from govsec.repo.repository import Repository, WritableRepository
from govsec.repo.snapshot import Snapshot
from govsec.store.api import ObjectInfo, ObjectStore, ReadStore
from govsec.store.local import LocalStore

if TYPE_CHECKING:
    from govsec.centers.adoption import Adopted
    from govsec.centers.init import KeySyncReport
    from govsec.centers.near import Near, Receipt

#: Between release and removal for a directory that no configuration speaks of.
#: What a prune waits for continuous backups to give way; they look for it every twenty seconds.
_WAIT_S = 90.0
GRACE_DEFAULT = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a repository lies and how it is opened; nothing is opened before it is asked for."""

    name: str
    clock: Clock
    _password: Callable[[], bytes]
    _read_store: Callable[[], ReadStore]
    _store: Callable[[bool], ObjectStore]
    _record_store: Callable[[], ObjectStore]
    grace: timedelta = GRACE_DEFAULT
    site: Site | None = None
    system: SystemConfig | None = None
    role: Role | None = None

    def repository(self) -> Repository:
        """The repository, to read."""
        return Repository.open(self._read_store(), self._password())

    def writable(self) -> WritableRepository:
        """The repository, to write."""
        return WritableRepository.open(self._store(False), self._password())

    def initialize(self) -> WritableRepository:
        """A new repository there."""
        password = self._password()
        refuse_weak(password, f"the password of {self.name}")
        return WritableRepository.initialize(self._store(True), password, self.clock)

    def record_store(self) -> ObjectStore:
        """Where it is remembered which packs were verified."""
        return self._record_store()

    @property
    def record_name(self) -> str:
        """Under which name that is remembered: the center's, or ``local`` for a directory."""
        return "local" if self.site is None else self.name

    @property
    def has_near(self) -> bool:
        """Whether other centers hold what is here, and the commit log tells them of changes."""
        return self.site is not None and self.role is Role.PRODUCTION and len(self.site.config.centers) > 1


def directory_place(directory: Path, password_file: Path | None, clock: Clock) -> Place:
    """A repository in a directory."""
    if password_file is None:
        raise UsageError("--repo needs --password-file")

    def store(create: bool) -> LocalStore:
        return LocalStore(directory, name=str(directory), create=create)

    return Place(
        str(directory),
        clock,
        lambda: read_secret(password_file),
        lambda: store(False),
        store,
        lambda: store(False),
    )


def system_place(config: Config, clock: Clock, system_name: str | None, center_name: str | None) -> Place:
    """A system's repository at a center; production's when none is named.

    Raises:
        UsageError: no such system or center, or several to choose from.
    """
    site = Site(config, clock)
    system = site.system(system_name)
    wanted = center_name or site.name_of(Role.PRODUCTION)
    if wanted is None:
        raise UsageError(f"name a center with --center; the configuration has: {', '.join(config.centers)}")
    name, center = site.center(wanted)

    def record_store() -> ObjectStore:
        try:
            return site.store(system, name)
        except ConfigurationError:
            # This site only reads there: it remembers for itself.
            return LocalStore(config.state_dir / "verified" / system.name, name="state", create=True)

    return Place(
        name,
        clock,
        lambda: site.password(system),
        lambda: site.read_store(system, name),
        lambda create: site.store(system, name, create=create),
        record_store,
        timedelta(seconds=system.release_grace_s),
        site,
        system,
        center.role,
    )


def prune_place(
    place: Place,
    *,
    grace: timedelta | None = None,
    policy: PrunePolicy | None = None,
    is_dry_run: bool = False,
    is_emptying_allowed: bool = False,
    is_forgetting: bool = True,
    progress: ProgressSink = silent,
) -> PruneResult:
    """Prune a directory, or production: then new packs go to the near centers, and the log names what is released.

    At production the snapshots that the system's retention does not keep go as well, unless ``is_forgetting`` is False.

    Raises:
        RefusedError: the center is not production; each other center lets go under its own retention. Or a center is
            frozen.
    """
    if place.site is not None and place.role is not Role.PRODUCTION:
        raise RefusedError(
            f"{place.name} is not production: it lets go of what production released with `govsec center release`"
        )
    if not is_dry_run:
        _refuse_if_frozen(place)
    with _near(place) if place.has_near and not is_dry_run else nullcontext() as near:
        if near is None:
            repository, own, commit = place.writable(), None, None
        else:
            near.resync()
            repository = WritableRepository.open(near, place._password())
            own, commit = near.production, _committer(near)
        return prune(
            repository,
            clock=place.clock,
            grace=place.grace if grace is None else grace,
            policy=policy,
            is_dry_run=is_dry_run,
            is_emptying_allowed=is_emptying_allowed,
            forget=_forgetter(place, repository.store) if is_forgetting else None,
            own=own,
            commit=commit,
            wait_s=0.0 if near is None else _WAIT_S,
            progress=progress,
        )


def commit_adopted(place: Place, *, is_releasing: bool = False) -> tuple[Adopted, Receipt | None] | None:
    """Give the snapshots of a repository that was adopted their commits; None where there are no other centers.

    With ``is_releasing``, what was committed and production no longer has is committed as released; the receipt is
    that commit's.
    """
    if not place.has_near:
        return None
    if is_releasing:
        _refuse_if_frozen(place)
    from govsec.assemble.centers import adopt, attach_key
    from govsec.centers.adoption import release_absent

    with _near(place) as near:
        receipt = None
        if is_releasing:
            attach_key(near, WritableRepository.open(near, place._password()))
            receipt = release_absent(near)
        near.resync()
        return adopt(near, WritableRepository.open(near, place._password())), receipt


def master_of(repository: Repository) -> MasterKey:
    """The master key of an open repository, for wrapping it under another password.

    Raises:
        RefusedError: its suite keeps the key elsewhere.
    """
    if not isinstance(repository.suite, ResticSuite):
        raise RefusedError(f"{repository.store.name}: the keys of suite {repository.suite.name} are managed elsewhere")
    return repository.suite.master


def sync_keys_of(place: Place) -> KeySyncReport:
    """Make the key files of all centers those of production."""
    from govsec.assemble.centers import sync_center_keys

    if place.site is None or place.system is None:
        raise UsageError("keys are synced between the centers of a system: name one with --system, not a directory")
    return sync_center_keys(place.site, place.system)


def _near(place: Place) -> AbstractContextManager[Near]:
    from govsec.assemble.centers import open_near

    assert place.site is not None and place.system is not None  # has_near said so
    return closing(open_near(place.site, place.system))


def _refuse_if_frozen(place: Place) -> None:
    if place.site is None or place.system is None:
        return
    from govsec.centers.freeze import refuse_if_frozen

    refuse_if_frozen(readable_stores(place.site, place.system, ""), place.clock)


def _forgetter(place: Place, store: ReadStore) -> Forget | None:
    site, system = place.site, place.system
    if site is None or system is None:
        return None
    from govsec.assemble.order import newest_committed
    from govsec.assemble.thinning import thinned_snapshots
    from govsec.backup.retention import apply_policy

    def forget(snapshots: Sequence[Snapshot]) -> list[str]:
        committed = newest_committed(site, store)
        thin = thinned_snapshots(system, snapshots, now=place.clock.now())
        rest = [snapshot for snapshot in snapshots if snapshot.id not in thin]
        decisions = apply_policy(rest, system.retention, now=place.clock.now(), committed=committed)
        return [*thin, *(decision.snapshot.id for decision in decisions if not decision.is_kept)]

    return forget


def _committer(near: Near) -> Commit:
    from govsec.centers.near import Change

    def commit(added: Sequence[ObjectInfo], released: Sequence[ObjectInfo]) -> object:
        return near.commit(Change(added, released=[(item.name, item.size_bytes) for item in released]))

    return commit
