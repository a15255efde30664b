"""The centers of one system, from the configuration: what the topics ``center`` and ``backup`` and the agents run."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from govsec.assemble.locks import Locking, lock_shipped
from govsec.assemble.systems import Site
from govsec.centers import names
from govsec.centers.commits import SnapshotRef
from govsec.centers.heal import HealReport, heal, uncover
from govsec.centers.init import (
    InitReport,
    KeySyncReport,
    holder,
    initialise,
    join,
    make_signing_keys,
    pin,
    refuse_orphan,
    sync_keys,
)
from govsec.centers.log import START, read_log
from govsec.centers.near import Adopted, Change, Near, Receipt
from govsec.centers.quarantine import find_junk
from govsec.centers.release import ReleaseReport, release
from govsec.centers.retain import LockReport, extend_locks, hold, kept_names
from govsec.centers.ship import ShipReport, repository_of, ship
from govsec.centers.state import States
from govsec.centers.status import Protection, Status, collect_status
from govsec.centers.union import UnionReport, unite
from govsec.centers.verify import VerifyReport, verify
from govsec.config import CenterConfig, LocalStoreConfig, Mode, Role, S3StoreConfig, SystemConfig
from govsec.crypto.signing import PublicKey, Purpose
from govsec.errors import ConfigurationError, GovsecError, StoreError, UsageError
from govsec.ledger.replicate import ReplicateReport, replicate
from govsec.privatefile import make_private_directory, write_private
from govsec.progress import ProgressSink, silent
from govsec.store.api import ObjectStore, ReadStore, VersionedStore
from govsec.store.capabilities import StoreCapabilities
from govsec.store.credentials import read_credentials
from govsec.store.probe import probe

if TYPE_CHECKING:
    from govsec.backup.archive import ArchiveResult
    from govsec.repo.repository import Repository

#: How long one call to a directory may take before its center counts as not answering (a network file system that is
#: gone blocks for ever). S3 stores have time-outs of their own; the quorum waits for all their attempts.
_DIRECTORY_TIMEOUT_S = 300.0
_THREADS = 4


def open_near(site: Site, system: SystemConfig, *, create: bool = False) -> Near:
    """The near centers of a system as one store, with the commit log. Close it when done.

    Raises:
        ConfigurationError: there is no center with the role production, or no signing key or roots at this site.
    """
    production = site.name_of(Role.PRODUCTION)
    if production is None:
        raise ConfigurationError("centers: none has the role production")
    same_city = site.name_of(Role.SAME_CITY)
    chosen = [production] if same_city is None else [production, same_city]
    return Near(
        site.store(system, production, create=create),
        None if same_city is None else site.store(system, same_city, create=create),
        system.mode,
        states=States(site.clock, _state_path(site, system)),
        signer=site.signer(Purpose.COMMIT),
        trusted=site.trusted(),
        clock=site.clock,
        timeout_s=max(_timeout_s(site, center) for center in chosen),
        threads=_THREADS,
    )


def commit_result(near: Near, result: ArchiveResult, *, job: str = "", witness: str | None = None) -> Receipt:
    """Commit what a job's backup made; ``witness`` is the digest of its witness, whose object is part of the commit."""
    snapshot = SnapshotRef(id=result.snapshot_id, time=result.snapshot.time, job=job)
    objects = list(result.objects)
    if witness is not None:
        objects.append(near.head(names.WITNESSES + witness))
    return near.commit(Change(objects, snapshot, witness=witness))


def attach_key(near: Near, repository: Repository) -> None:
    """Let ``near`` complete what died before its commit, with the key of ``repository``, which was opened over it.

    Before a backup puts its snapshot; without it a snapshot may rest on objects that no commit names.
    """
    from govsec.centers.closure import RepositoryKeyHolder
    from govsec.repo.repository import Repository

    # A reader of its own, which loads no index before it is asked.
    near.key_holder = RepositoryKeyHolder(Repository(near, repository.suite.clone(), repository.config))


def adopt(near: Near, repository: Repository) -> Adopted:
    """Give commits to snapshots that have none; ``repository`` was opened over ``near``."""
    attach_key(near, repository)
    return near.adopt()


@dataclass(frozen=True, slots=True)
class Shipped:
    """What one round brought, of data and of evidence, and what was locked; no ``locking`` where there was no need."""

    report: ShipReport
    evidence: ReplicateReport
    locking: Locking | None

    @property
    def lock_problem(self) -> str | None:
        """Why something that arrived is not locked, though this site is to lock it."""
        return None if self.locking is None else self.locking.problem


def ship_to(
    site: Site,
    system: SystemConfig,
    target: str,
    *,
    source: str | None = None,
    threads: int = _THREADS,
    progress: ProgressSink = silent,
) -> Shipped:
    """One round of shipping to a center, commits and evidence; from ``source``, or from the nearest that answers.

    Where the center has object lock and this site its owner's credential, what arrived is locked then.
    """
    name, center = site.center(target)
    if center.role is Role.PRODUCTION and source is None:
        raise UsageError(f"{name} is production; say with --from which center it is to be filled from")
    errors: list[GovsecError] = []
    store, trusted = site.store(system, name), site.trusted()
    for candidate in _sources(site, name, source):
        try:
            origin = site.read_store(system, candidate)
            report = ship(origin, store, trusted, clock=site.clock, threads=threads, progress=progress)
            evidence = replicate(origin, store, trusted)
        except StoreError as error:
            errors.append(error)
            continue
        return Shipped(report, evidence, lock_shipped(site, system, name, report.commits_count, progress=progress))
    raise errors[0] if errors else UsageError(f"there is no center that {name} could be shipped from")


def verify_center(
    site: Site,
    system: SystemConfig,
    center: str,
    *,
    budget_bytes: int | None = None,
    threads: int = _THREADS,
    progress: ProgressSink = silent,
) -> VerifyReport:
    """Verify a center against its own log and the other centers'; the record is kept where this site may write."""
    name, found = site.center(center)
    # A center that only follows is behind by design; what is older than the objective is late.
    lag_max_s = 0.0 if found.role in _written_at_once(system) else float(system.objectives.rpo_s)
    return verify(
        site.read_store(system, name),
        site.trusted(),
        clock=site.clock,
        others=_readable(site, system, name),
        record_to=_own_store(site, system, name),
        budget_bytes=budget_bytes,
        lag_max_s=lag_max_s,
        is_production=found.role is Role.PRODUCTION,
        threads=threads,
        progress=progress,
    )


@dataclass(frozen=True, slots=True)
class Healed:
    """What lay under junk and was laid open, the verification then, what healing made of it, and the one after."""

    uncovered: tuple[str, ...]
    before: VerifyReport
    healing: HealReport
    after: VerifyReport


def heal_center(site: Site, system: SystemConfig, center: str, *, progress: ProgressSink = silent) -> Healed:
    """Verify a center whole, replace what is damaged from the others, verify again."""
    name, _ = site.center(center)
    target = owning_store(site, system, name)
    owned = _owner(site, system, name)
    uncovered = () if owned is None else uncover(owned)
    before = verify_center(site, system, name, progress=progress)
    healing = heal(
        target,
        _readable(site, system, name),
        [damage.name for damage in before.damaged],
        repository=before.repository,
        versions=owned,
        retaining=owned,
        progress=progress,
    )
    return Healed(uncovered, before, healing, verify_center(site, system, name, progress=progress))


def junk_at(site: Site, system: SystemConfig, center: str, *, in_flight_s: float) -> tuple[str, ...]:
    """Junk at a center. Keys are compared with those of the remote center, which no production can write to."""
    name, _ = site.center(center)
    others = _readable(site, system, name)
    remote = site.name_of(Role.REMOTE)
    known_keys = None
    if remote is not None and remote != name:
        known_keys = {info.name for info in site.read_store(system, remote).list(names.KEYS)}
    return find_junk(
        site.read_store(system, name),
        site.trusted(),
        clock=site.clock,
        others=others,
        in_flight_s=in_flight_s,
        known_keys=known_keys,
    )


def owning_store(site: Site, system: SystemConfig, center: str) -> ObjectStore:
    """The center with the widest credential of this site: the owner's, else the one it writes with."""
    name, _ = site.center(center)
    store = _own_store(site, system, name)
    if store is None:
        raise ConfigurationError(f"center {name}: this site has no credential that may write there")
    return store


def release_at(site: Site, system: SystemConfig, center: str, *, is_dry_run: bool = False) -> ReleaseReport:
    """Let go at a center of what production released and the system's retention does not keep."""
    return release(
        owning_store(site, system, center),
        site.trusted(),
        site.signer(Purpose.RELEASE),
        lambda snapshots: kept_ids(site, system, snapshots),
        clock=site.clock,
        grace_s=system.release_grace_s,
        is_dry_run=is_dry_run,
    )


def lock_at(
    site: Site, system: SystemConfig, center: str, *, is_clock_trusted: bool = False, progress: ProgressSink = silent
) -> LockReport:
    """Extend the object locks of a center."""
    name, found = site.center(center)
    if found.object_lock is None:
        raise ConfigurationError(f"center {name}: object_lock is not configured")
    return extend_locks(
        versioned_at(site, system, name),
        site.trusted(),
        found.object_lock,
        clock=site.clock,
        is_clock_trusted=is_clock_trusted,
        progress=progress,
    )


def versioned_at(site: Site, system: SystemConfig, center: str) -> VersionedStore:
    """The center with its own credential. Raises ``ConfigurationError`` for a directory, which can lock nothing."""
    store = site.owner_store(system, center)
    if store is None:
        raise ConfigurationError(
            f"center {center}: a directory has no object lock; it is not protected from production"
        )
    return store


def unite_centers(site: Site, system: SystemConfig, *, progress: ProgressSink = silent) -> UnionReport:
    """Bring every center that this site may write to as far as all of them together."""
    stores = [store for name in site.config.centers if (store := _own_store(site, system, name)) is not None]
    if len(stores) < 2:
        raise ConfigurationError("this site may write to fewer than two centers; there is nothing to unite")
    return unite(stores, site.trusted(), clock=site.clock, progress=progress)


def init_centers(site: Site, system: SystemConfig) -> tuple[InitReport, list[PublicKey]]:
    """Make this site's signing keys and pin them, and give every center that it may write to its config and keys.

    They are made at production, or, at a site that may not write there, copied from a center that has them. Whether
    this can work is asked before the first file is written. What is there already is left alone.

    Raises:
        ConfigurationError: what is missing: a directory, a credential, a password, or a center that was initialised.
        RefusedError: a center holds a different repository.
        StoreError: production, or every center that could be copied from, does not answer.
    """
    from govsec.repo.repository import WritableRepository

    production = site.name_of(Role.PRODUCTION)
    writable = [name for name in site.config.centers if _may_write(site, name)]
    if not writable:
        raise ConfigurationError("this site may write to no center; there is nothing to initialise")
    for name in writable:
        site.check_place(name)
    source: ReadStore | None = None
    if production not in writable:
        source = holder(_begun(site, system))
        if source is None:
            raise ConfigurationError(
                "no center that this site can read was initialised; run center init at the production site first"
            )
    elif holder(_begun(site, system, production)) is None:
        site.password(system)
        for store in _begun(site, system):
            refuse_orphan(store)
    keys = _prepare_keys(site)

    def create(store: ObjectStore) -> None:
        WritableRepository.initialize(store, site.password(system), site.clock)

    others = [site.store(system, name, create=True) for name in writable if name != production]
    if source is not None:
        return join(source, others), keys
    assert production is not None  # it is one of the writable ones
    return initialise(site.store(system, production, create=True), others, create), keys


def _begun(site: Site, system: SystemConfig, only: str | None = None) -> list[ReadStore]:
    """The centers that can be read, in the order of their roles, but directories where the system has no folder yet."""
    order = list(Role)
    found: list[ReadStore] = []
    for name, center in sorted(site.config.centers.items(), key=lambda item: order.index(item[1].role)):
        where = center.store
        is_empty = isinstance(where, LocalStoreConfig) and not (where.path / system.name).exists()
        if only in (None, name) and _has_access(site, name) and not is_empty:
            found.append(site.read_store(system, name))
    return found


def _prepare_keys(site: Site) -> list[PublicKey]:
    """Make the signing keys that the configuration names and this site lacks, and pin their public halves."""
    signing = site.config.signing
    if signing.roots_file is None:
        raise ConfigurationError("signing.roots_file is not set; say where the pinned keys are to lie")
    place = site_name(site)
    wanted = [
        (purpose, path, f"{place} {purpose.value}".strip())
        for purpose, path in (
            (Purpose.COMMIT, signing.commit_key_file),
            (Purpose.EVIDENCE, signing.evidence_key_file),
            (Purpose.RELEASE, signing.release_key_file),
        )
        if path is not None
    ]
    keys = make_signing_keys(wanted)
    pin(signing.roots_file, keys)
    return keys


def site_name(site: Site) -> str:
    """How people call this site: as the center that it owns, else as the one that it writes to, production first."""
    centers = sorted(
        site.config.centers.items(),
        key=lambda item: (
            item[1].owner_credentials_file is None,
            not _may_write(site, item[0]),
            item[1].role is not Role.PRODUCTION,
        ),
    )
    return next((center.site or name for name, center in centers), "")


def hold_at(site: Site, system: SystemConfig, center: str, *, is_held: bool) -> tuple[int, tuple[tuple[str, str], ...]]:
    """Set or lift a legal hold on everything that a center keeps."""
    name, _ = site.center(center)
    store = versioned_at(site, system, name)
    log = read_log(store, site.trusted(), repository=repository_of(store), after=START)
    return hold(store, kept_names(store, log), is_held=is_held)


def sync_center_keys(site: Site, system: SystemConfig) -> KeySyncReport:
    """Make the key files of all centers those of production; names the centers that were not reached."""
    production = site.name_of(Role.PRODUCTION)
    if production is None:
        raise ConfigurationError("centers: none has the role production")
    others = [name for name in site.config.centers if name != production]
    stores = [store for name in others if (store := _own_store(site, system, name)) is not None]
    report = sync_keys(site.read_store(system, production), stores)
    reached = {store.name for store in stores}
    unwritable = tuple((name, "this site has no credential there") for name in others if name not in reached)
    return KeySyncReport(report.added, report.removed, (*report.not_reached, *unwritable))


def status_of(site: Site, system: SystemConfig) -> Status:
    """Every center of a system, also those that cannot be read."""
    stores: list[tuple[Role, ReadStore | GovsecError, str]] = []
    for name, center in site.config.centers.items():
        try:
            stores.append((center.role, site.read_store(system, name), name))
        except GovsecError as error:
            stores.append((center.role, error, name))
    known = States(site.clock, _state_path(site, system)).all()
    near = {name for name, center in site.config.centers.items() if center.role in _written_at_once(system)}
    return collect_status(
        system.name,
        stores,
        site.trusted(),
        clock=site.clock,
        rpo_s=system.objectives.rpo_s,
        states={name: state for name, state in known.items() if name in near},
        jobs=[job.name for job in system.backups],
        written_at_once=near,
        protections={name: protection_of(site, system, name) for name in site.config.centers},
        threads=_THREADS,
    )


def _written_at_once(system: SystemConfig) -> frozenset[Role]:
    """The roles of the centers that a backup itself writes to; the others follow by shipping."""
    if system.mode is Mode.MAXIMUM_PERFORMANCE:
        return frozenset({Role.PRODUCTION})
    return frozenset({Role.PRODUCTION, Role.SAME_CITY})


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
    path = _probe_path(site, system, name)
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
        record = StoreCapabilities.model_validate_json(_probe_path(site, system, name).read_bytes())
    except FileNotFoundError:
        return Protection(None, f"never probed; run: govsec center probe {name}")
    except (OSError, ValidationError):
        return Protection(None, f"the record of the probe cannot be read; run: govsec center probe {name}")
    when = f"{record.time:%Y-%m-%d}"
    if record.is_protected:
        return Protection(True, f"protected (probed {when})")
    production = site.name_of(Role.PRODUCTION)
    thief = "production" if production is not None and _may_write(site, production) else "this site's credential"
    return Protection(False, f"not protected from {thief}: {'; '.join(record.weaknesses())} (probed {when})")


def _writes_as_owner(center: CenterConfig) -> bool:
    paths = (center.credentials_file, center.owner_credentials_file)
    if center.role is Role.PRODUCTION or None in paths:
        return False
    return len({read_credentials(path).access_key for path in paths if path is not None}) == 1


def centers_to_ship(site: Site) -> list[str]:
    """The centers that this site ships to: those with a credential to write, other than production."""
    return [
        name
        for name, center in site.config.centers.items()
        if center.role is not Role.PRODUCTION and _may_write(site, name)
    ]


def readable_centers(site: Site) -> list[str]:
    """The centers that this site can read."""
    return [name for name in site.config.centers if _has_access(site, name)]


def writable_centers(site: Site) -> list[str]:
    """The centers that this site may write to."""
    return [
        name
        for name, center in site.config.centers.items()
        if _may_write(site, name) or center.owner_credentials_file is not None
    ]


def _sources(site: Site, target: str, source: str | None) -> list[str]:
    if source is not None:
        return [site.center(source)[0]]
    # Same-city first: production is to serve its users, and its line is the expensive one.
    order = (Role.SAME_CITY, Role.PRODUCTION, Role.REMOTE)
    return [name for role in order if (name := site.name_of(role)) is not None and name != target]


def _readable(site: Site, system: SystemConfig, but: str) -> list[ReadStore]:
    found: list[ReadStore] = []
    for name in site.config.centers:
        if name != but and _has_access(site, name):
            found.append(site.read_store(system, name))
    return found


def _own_store(site: Site, system: SystemConfig, name: str) -> ObjectStore | None:
    owned = _owner(site, system, name)
    if owned is not None:
        return owned
    return site.store(system, name) if _may_write(site, name) else None


def _owner(site: Site, system: SystemConfig, name: str) -> VersionedStore | None:
    center = site.config.centers[name]
    return site.owner_store(system, name) if center.owner_credentials_file is not None else None


def _may_write(site: Site, name: str) -> bool:
    center = site.config.centers[name]
    return isinstance(center.store, LocalStoreConfig) or center.credentials_file is not None


def _has_access(site: Site, name: str) -> bool:
    center = site.config.centers[name]
    return (
        _may_write(site, name) or center.read_credentials_file is not None or center.owner_credentials_file is not None
    )


def kept_ids(site: Site, system: SystemConfig, snapshots: Sequence[SnapshotRef]) -> Collection[str]:
    """The ids of those that the system's retention keeps, by what is visible without a key."""
    from govsec.backup.retention import apply_policy
    from govsec.repo.snapshot import Snapshot

    # Without a key hosts, paths and tags are not visible. The job is: each is a group of its own, so one that runs
    # often pushes nothing of another out.
    known = [Snapshot(id=ref.id, time=ref.time, tree="0" * 64, paths=(ref.job,)) for ref in snapshots]
    decisions = apply_policy(known, system.retention, now=site.clock.now())
    return {decision.snapshot.id for decision in decisions if decision.is_kept}


def _state_path(site: Site, system: SystemConfig) -> Path:
    return site.config.state_dir / system.name / "centers.json"


def _probe_path(site: Site, system: SystemConfig, center: str) -> Path:
    return site.config.state_dir / system.name / f"probe-{center}.json"


def _timeout_s(site: Site, center: str) -> float:
    store = site.config.centers[center].store
    if isinstance(store, S3StoreConfig):
        return (store.connect_timeout_s + store.read_timeout_s) * (store.attempts_max + 1)
    return _DIRECTORY_TIMEOUT_S
