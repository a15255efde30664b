"""The centers of one system, from the configuration: writing to them, filling them, beginning, and how they stand."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from govsec.assemble.access import has_access, may_write, own_store
from govsec.assemble.lagrecord import lags_of
from govsec.assemble.ledger import lock_anchors
from govsec.assemble.locks import Locking, lock_shipped
from govsec.assemble.probes import protection_of
from govsec.assemble.systems import Site
from govsec.centers import adoption, names
from govsec.centers.commits import SnapshotRef
from govsec.centers.following import Following
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
from govsec.centers.near import Change, Near, Receipt
from govsec.centers.ship import ShipReport, ship
from govsec.centers.state import States
from govsec.centers.status import Status, collect_status
from govsec.config import LocalStoreConfig, Mode, Role, S3StoreConfig, SystemConfig
from govsec.crypto.passwords import refuse_weak
from govsec.crypto.signing import PublicKey, Purpose
from govsec.errors import ConfigurationError, GovsecError, StoreError, UsageError
from govsec.ledger.anchor import replicate_anchors
from govsec.ledger.replicate import ReplicateReport, replicate
from govsec.progress import ProgressSink, silent
from govsec.store.api import ObjectStore, ReadStore

if TYPE_CHECKING:
    from govsec.backup.archive import ArchiveResult
    from govsec.repo.repository import Repository

log = logging.getLogger(__name__)

#: The lag that status shows is that of the last day.
_LAG_WINDOW = timedelta(days=1)
#: How long one call to a directory may take before its center counts as not answering (a network file system that is
#: gone blocks for ever). S3 stores have time-outs of their own; the quorum waits for all their attempts.
_DIRECTORY_TIMEOUT_S = 300.0
THREADS = 4


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
        threads=THREADS,
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


def adopt(near: Near, repository: Repository) -> adoption.Adopted:
    """Give commits to snapshots that have none; ``repository`` was opened over ``near``."""
    attach_key(near, repository)
    return adoption.adopt(near)


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
    threads: int = THREADS,
    progress: ProgressSink = silent,
) -> Shipped:
    """One round of shipping to a center, commits and evidence; from ``source``, or from the nearest that answers.

    Where the center has object lock and this site its owner's credential, what arrived is locked then.
    """
    return Shipper(site, system, target, source=source, threads=threads).round(progress=progress)


class Shipper:
    """Ships one system to one center, round after round: what was opened and what is known stay from one to the next.

    Evidence is brought with the first round and then every ``evidence_every_s``; it is small, and listing it is not.
    """

    def __init__(
        self,
        site: Site,
        system: SystemConfig,
        target: str,
        *,
        source: str | None = None,
        threads: int = THREADS,
        evidence_every_s: float = 60.0,
    ) -> None:
        self._site = site
        self._system = system
        self.target, center = site.center(target)
        if center.role is Role.PRODUCTION and source is None:
            raise UsageError(f"{self.target} is production; say with --from which center it is to be filled from")
        self._candidates = _sources(site, self.target, source)
        self._threads = threads
        self._evidence_every_s = evidence_every_s
        self._evidence_at: float | None = None
        self._stores: dict[str, ReadStore] = {}
        self._own: ObjectStore | None = None
        self._following = Following(site.clock)

    def round(self, *, progress: ProgressSink = silent) -> Shipped:
        """One round, from the nearest center that answers. Raises as :func:`ship_to`; the next round begins anew."""
        try:
            return self._round(progress)
        except BaseException:
            # Connections and what was known may be why.
            self._stores, self._own, self._evidence_at = {}, None, None
            self._following.failed()
            raise

    def _round(self, progress: ProgressSink) -> Shipped:
        site, system, name, trusted = self._site, self._system, self.target, self._site.trusted()
        errors: list[GovsecError] = []
        store = self._own = self._own or site.store(system, name)
        for candidate in self._candidates:
            try:
                origin = self._stores.get(candidate) or site.read_store(system, candidate)
                self._stores[candidate] = origin
                report = ship(
                    origin,
                    store,
                    trusted,
                    clock=site.clock,
                    threads=self._threads,
                    following=self._following,
                    progress=progress,
                )
                evidence, anchors = self._bring_evidence(origin, store)
            except StoreError as error:
                errors.append(error)
                continue
            locking = lock_shipped(site, system, name, report.commits_count, progress=progress)
            try:
                lock_anchors(site, system, name, anchors)
            except GovsecError as error:
                locking = Locking(locking.report if locking is not None else None, error)
            return Shipped(report, evidence, locking)
        raise errors[0] if errors else UsageError(f"there is no center that {name} could be shipped from")

    def _bring_evidence(self, origin: ReadStore, store: ObjectStore) -> tuple[ReplicateReport, tuple[str, ...]]:
        now = self._site.clock.monotonic()
        if self._evidence_at is not None and now - self._evidence_at < self._evidence_every_s:
            return ReplicateReport((), ()), ()
        trusted = self._site.trusted()
        evidence = replicate(origin, store, trusted)
        anchors = replicate_anchors(origin, store, trusted)
        self._evidence_at = now
        return evidence, anchors


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
    writable = [name for name in site.config.centers if may_write(site, name)]
    if not writable:
        raise ConfigurationError("this site may write to no center; there is nothing to initialise")
    for name in writable:
        site.check_place(name)
    source: ReadStore | None = None
    if production not in writable:
        source = holder(begun(site, system))
        if source is None:
            raise ConfigurationError(
                "no center that this site can read was initialised; run center init at the production site first"
            )
    elif holder(begun(site, system, production)) is None:
        refuse_weak(site.password(system), f"secret file {system.password_file}")
        for store in begun(site, system):
            refuse_orphan(store)
    keys = prepare_keys(site)

    def create(store: ObjectStore) -> None:
        WritableRepository.initialize(store, site.password(system), site.clock)

    others = [site.store(system, name, create=True) for name in writable if name != production]
    if source is not None:
        return join(source, others), keys
    assert production is not None  # it is one of the writable ones
    return initialise(site.store(system, production, create=True), others, create), keys


def begun(site: Site, system: SystemConfig, only: str | None = None) -> list[ReadStore]:
    """The centers that can be read, in the order of their roles, but directories where the system has no folder yet."""
    order = list(Role)
    found: list[ReadStore] = []
    for name, center in sorted(site.config.centers.items(), key=lambda item: order.index(item[1].role)):
        where = center.store
        is_empty = isinstance(where, LocalStoreConfig) and not (where.path / system.name).exists()
        if only in (None, name) and has_access(site, name) and not is_empty:
            found.append(site.read_store(system, name))
    return found


def prepare_keys(site: Site) -> list[PublicKey]:
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
            not may_write(site, item[0]),
            item[1].role is not Role.PRODUCTION,
        ),
    )
    return next((center.site or name for name, center in centers), "")


def sync_center_keys(site: Site, system: SystemConfig) -> KeySyncReport:
    """Make the key files of all centers those of production; names the centers that were not reached."""
    production = site.name_of(Role.PRODUCTION)
    if production is None:
        raise ConfigurationError("centers: none has the role production")
    others = [name for name in site.config.centers if name != production]
    stores = [store for name in others if (store := own_store(site, system, name)) is not None]
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
    near = {name for name, center in site.config.centers.items() if center.role in written_at_once(system)}
    status = collect_status(
        system.name,
        stores,
        site.trusted(),
        clock=site.clock,
        rpo_s=system.objectives.rpo_s,
        states={name: state for name, state in known.items() if name in near},
        jobs=[job.name for job in system.backups],
        written_at_once=near,
        protections={name: protection_of(site, system, name) for name in site.config.centers},
        threads=THREADS,
    )
    try:
        lags = lags_of(site, system, since=site.clock.now() - _LAG_WINDOW)
    except GovsecError as error:
        # What the centers say of themselves does not wait for the ledger; a lag that is not known is not shown.
        log.warning("measured lag not read", extra={"system": system.name, "error": str(error)})
        lags = []
    return replace(status, lags=tuple(lags))


def written_at_once(system: SystemConfig) -> frozenset[Role]:
    """The roles of the centers that a backup itself writes to; the others follow by shipping."""
    if system.mode is Mode.MAXIMUM_PERFORMANCE:
        return frozenset({Role.PRODUCTION})
    return frozenset({Role.PRODUCTION, Role.SAME_CITY})


def _sources(site: Site, target: str, source: str | None) -> list[str]:
    if source is not None:
        return [site.center(source)[0]]
    # Same-city first: production is to serve its users, and its line is the expensive one.
    order = (Role.SAME_CITY, Role.PRODUCTION, Role.REMOTE)
    return [name for role in order if (name := site.name_of(role)) is not None and name != target]


def _state_path(site: Site, system: SystemConfig) -> Path:
    return site.config.state_dir / system.name / "centers.json"


def _timeout_s(site: Site, center: str) -> float:
    store = site.config.centers[center].store
    if isinstance(store, S3StoreConfig):
        return (store.connect_timeout_s + store.read_timeout_s) * (store.attempts_max + 1)
    return _DIRECTORY_TIMEOUT_S
