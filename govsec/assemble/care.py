"""Care for what lies at a center: verify, heal, junk, release, lock, hold, unite; wired from the configuration."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from govsec.assemble.access import own_store, owner_of, owning_store, readable_stores, versioned_at
from govsec.assemble.centers import THREADS, written_at_once
from govsec.assemble.systems import Site
from govsec.centers import names
from govsec.centers.commits import SnapshotRef
from govsec.centers.freeze import refuse_if_frozen
from govsec.centers.heal import HealReport, heal, uncover
from govsec.centers.log import START, read_log
from govsec.centers.quarantine import find_junk
from govsec.centers.release import ReleaseReport, release
from govsec.centers.retain import LockReport, extend_locks, hold, kept_names
from govsec.centers.ship import repository_of
from govsec.centers.union import UnionReport, unite
from govsec.centers.verify import VerifyReport, verify
from govsec.config import Role, SystemConfig
from govsec.crypto.signing import Purpose
from govsec.errors import ConfigurationError
from govsec.progress import ProgressSink, silent


def verify_center(
    site: Site,
    system: SystemConfig,
    center: str,
    *,
    budget_bytes: int | None = None,
    threads: int = THREADS,
    progress: ProgressSink = silent,
) -> VerifyReport:
    """Verify a center against its own log and the other centers'; the record is kept where this site may write."""
    name, found = site.center(center)
    # A center that only follows is behind by design; what is older than the objective is late.
    lag_max_s = 0.0 if found.role in written_at_once(system) else float(system.objectives.rpo_s)
    return verify(
        site.read_store(system, name),
        site.trusted(),
        clock=site.clock,
        others=readable_stores(site, system, name),
        record_to=own_store(site, system, name),
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
    owned = owner_of(site, system, name)
    uncovered = () if owned is None else uncover(owned)
    before = verify_center(site, system, name, progress=progress)
    healing = heal(
        target,
        readable_stores(site, system, name),
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
    others = readable_stores(site, system, name)
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


def release_at(site: Site, system: SystemConfig, center: str, *, is_dry_run: bool = False) -> ReleaseReport:
    """Let go at a center of what production released and the system's retention does not keep.

    Raises:
        RefusedError: this center, or another one that answers, is frozen.
    """
    if not is_dry_run:
        refuse_if_frozen(readable_stores(site, system, site.center(center)[0]), site.clock)
    return release(
        owning_store(site, system, center),
        site.trusted(),
        site.signer(Purpose.RELEASE),
        lambda snapshots: kept_ids(site, system, snapshots),
        clock=site.clock,
        grace_s=system.release_grace_s,
        is_dry_run=is_dry_run,
    )


def kept_ids(site: Site, system: SystemConfig, snapshots: Sequence[SnapshotRef]) -> Collection[str]:
    """The ids of those that the system's retention keeps, by what is visible without a key."""
    from govsec.assemble.thinning import thinned_refs
    from govsec.backup.retention import apply_policy
    from govsec.repo.snapshot import Snapshot

    thin = thinned_refs(system, snapshots, now=site.clock.now())
    # Without a key hosts, paths and tags are not visible. The job is: each is a group of its own, so one that runs
    # often pushes nothing of another out.
    known = [
        Snapshot(id=ref.id, time=ref.time, tree="0" * 64, paths=(ref.job,)) for ref in snapshots if ref.id not in thin
    ]
    decisions = apply_policy(known, system.retention, now=site.clock.now())
    return {decision.snapshot.id for decision in decisions if decision.is_kept}


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


def hold_at(site: Site, system: SystemConfig, center: str, *, is_held: bool) -> tuple[int, tuple[tuple[str, str], ...]]:
    """Set or lift a legal hold on everything that a center keeps."""
    name, _ = site.center(center)
    store = versioned_at(site, system, name)
    log = read_log(store, site.trusted(), repository=repository_of(store), after=START)
    return hold(store, kept_names(store, log), is_held=is_held)


def unite_centers(site: Site, system: SystemConfig, *, progress: ProgressSink = silent) -> UnionReport:
    """Bring every center that this site may write to as far as all of them together."""
    stores = [store for name in site.config.centers if (store := own_store(site, system, name)) is not None]
    if len(stores) < 2:
        raise ConfigurationError("this site may write to fewer than two centers; there is nothing to unite")
    return unite(stores, site.trusted(), clock=site.clock, progress=progress)
