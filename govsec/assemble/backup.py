"""Backing up and restoring by the configuration, or without one in a single directory: what ``govsec backup`` runs."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from govsec.backup.archive import ArchiveResult, archive
from govsec.backup.sources import ByteSource, CommandSource, FileSource, Source
from govsec.backup.witness import PREFIX, observe, save_witness
from govsec.clock import Clock, format_time
from govsec.errors import ConfigurationError, RefusedError, TryAgainError, UsageError
from govsec.progress import ProgressSink, silent
from govsec.repo.repository import Repository, WritableRepository
from govsec.secretfile import read_secret
from govsec.store.local import LocalStore

if TYPE_CHECKING:  # the configuration's models take longer to import than a directory takes to look through
    from govsec.assemble.systems import Site
    from govsec.backup.retention import Decision
    from govsec.centers.near import Receipt
    from govsec.config import BackupConfig, RetentionPolicy, SystemConfig

#: How far this clock may be behind the last backup's before one of the two counts as wrong.
_BEHIND_MAX = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class JobReport:
    """A backup job that ended with a snapshot."""

    job: str
    result: ArchiveResult
    #: Where the snapshot and all it names are held; None for a single directory, which has no commit log.
    receipt: Receipt | None
    samples_count: int
    has_nonce: bool


def open_directory(path: Path, password_file: Path, *, create: bool, clock: Clock) -> WritableRepository:
    """The repository in a directory, made first when it is to be and is not there.

    Raises:
        WrongPasswordError, ConfigurationError, StoreError: as opening a repository and reading a secret do.
    """
    store = LocalStore(path, create=create)
    password = read_secret(password_file)
    if create and next(iter(store.list("config")), None) is None:
        return WritableRepository.initialize(store, password, clock)
    return WritableRepository.open(store, password)


def run_directory(
    repository: WritableRepository,
    source: Source,
    *,
    clock: Clock,
    tags: tuple[str, ...] = (),
    workers: int | None = None,
    is_rereading: bool = False,
    is_clock_accepted: bool = False,
    progress: ProgressSink = silent,
) -> JobReport:
    """Back a source up into a single directory: no centers, no receipt, no witness.

    Raises:
        TryAgainError: this clock is behind the last backup's, and nobody vouched for it.
    """
    if not is_clock_accepted:
        snapshots = repository.snapshots()
        # What another one names as its parent came before it, whatever its time.
        parents = {snapshot.parent for snapshot in snapshots}
        last = max((snapshot.time for snapshot in snapshots if snapshot.id not in parents), default=None)
        _check_clock(last, clock.now())
    result = archive(
        repository, source, clock=clock, tags=tags, workers=workers, is_rereading=is_rereading, progress=progress
    )
    return JobReport("", result, None, 0, False)


def jobs_of(system: SystemConfig, names: tuple[str, ...]) -> list[BackupConfig]:
    """The system's backup jobs of these names; without names all of them.

    Raises:
        UsageError: there is no such job, or none at all.
    """
    jobs = {job.name: job for job in system.backups}
    unknown = [name for name in names if name not in jobs]
    if unknown or not jobs:
        raise UsageError(
            f"system {system.name} has no backup {', '.join(unknown) or 'at all'}; it has: {', '.join(jobs) or 'none'}"
        )
    return [jobs[name] for name in names] if names else list(jobs.values())


def run_job(
    site: Site,
    system: SystemConfig,
    job: BackupConfig,
    *,
    source: ByteSource | None = None,
    workers: int | None = None,
    is_rereading: bool = False,
    is_clock_accepted: bool = False,
    progress: ProgressSink = silent,
) -> JobReport:
    """Run one job: nonce and samples, snapshot, witness, commit; the receipt names the centers that hold it all.

    Raises:
        TryAgainError: this clock is behind the last backup's, and nobody vouched for it.
        SourceError: nothing was backed up.
        RefusedError, StoreError: the centers do not take it as the mode asks.
    """
    from govsec.assemble.centers import adopt, commit_result, open_near
    from govsec.assemble.order import last_committed_at

    chosen = source_of(job) if source is None else source
    with closing(open_near(site, system)) as near:
        near.resync()
        if not is_clock_accepted:
            _check_clock(last_committed_at(site, near), site.clock.now())
        repository = WritableRepository.open(near, site.password(system))
        # What an earlier run or stock restic left without a commit gets one before anything is built on it.
        adopt(near, repository)
        seen = None
        if isinstance(chosen, FileSource) and (job.nonce or job.samples_count):
            seen = observe(chosen, clock=site.clock, samples_count=job.samples_count, is_planting=job.nonce)
        result = archive(
            repository,
            chosen,
            clock=site.clock,
            tags=job.tags,
            workers=workers,
            is_rereading=is_rereading,
            pack_size=job.pack_size_bytes,
            progress=progress,
        )
        digest = None
        witness = None if seen is None else seen.confirm(result.snapshot_id)
        if witness is not None:
            digest = save_witness(near, repository.suite, witness).name.removeprefix(PREFIX)
        receipt = commit_result(near, result, witness=digest)
    return JobReport(
        job.name,
        result,
        receipt,
        0 if witness is None else len(witness.samples),
        witness is not None and witness.nonce is not None,
    )


def source_of(job: BackupConfig) -> Source:
    """What a job reads."""
    source = job.source
    if source.kind == "files":
        return FileSource(source.paths, exclude=source.exclude, one_file_system=source.one_file_system)
    return CommandSource(source.argv, source.filename, source.timeout_s)


def open_for_reading(site: Site, system: SystemConfig, center: str | None) -> Repository:
    """The system's repository at a center (the first that has a role, when none is named), others as fallbacks.

    Raises:
        ConfigurationError: there is no center.
    """
    from govsec.config import Role

    wanted = (Role.PRODUCTION, Role.SAME_CITY, Role.REMOTE)
    names = [name for role in wanted if (name := site.name_of(role)) is not None]
    if not names:
        raise ConfigurationError("centers: none is configured")
    first = names[0] if center is None else site.center(center)[0]
    others = [name for name in names if name != first and _is_readable(site, name)]
    return site.repository(system, first, others=others)


def forget(
    repository: WritableRepository, policy: RetentionPolicy, *, clock: Clock, is_dry_run: bool
) -> list[Decision]:
    """Decide by the policy and, unless it is a dry run, remove the snapshots that nothing keeps. Frees no space.

    For a single directory: where there are centers, each of them releases under its own retention.

    Raises:
        RefusedError: the policy is empty, or would keep nothing at all.
        LockedError: somebody works in the repository.
    """
    from govsec.backup.retention import apply_policy

    with repository.lock(clock, exclusive=not is_dry_run):
        # Strict: a snapshot that cannot be read just now must not look like one that is not there.
        decisions = apply_policy(repository.snapshots(strict=True), policy, now=clock.now())
        if decisions and not any(decision.is_kept for decision in decisions):
            raise RefusedError("the policy would remove every snapshot; nothing was removed")
        if not is_dry_run:
            for decision in decisions:
                if not decision.is_kept:
                    repository.object_store.delete(f"snapshots/{decision.snapshot.id}")
    return decisions


def with_policy(policy: RetentionPolicy, changes: dict[str, object]) -> RetentionPolicy:
    """The policy with what the command line says instead; the command line alone when it says anything."""
    from govsec.config import RetentionPolicy

    given = {name: value for name, value in changes.items() if value}
    return RetentionPolicy.model_validate(given) if given else policy


def _check_clock(last: datetime | None, now: datetime) -> None:
    """Refuse to date a backup before the one that it follows.

    Retention and "latest" go by the time in a snapshot: one that is dated too early is the first to be let go.

    Raises:
        TryAgainError: the clock is behind the last backup's.
    """
    if last is not None and now < last - _BEHIND_MAX:
        raise TryAgainError(
            f"this clock says {format_time(now)}, and the last backup was made at {format_time(last)}: one of the two "
            "is wrong; set the clock right and run again, or, when it is this clock that is right, say so with "
            "--accept-clock"
        )


def _is_readable(site: Site, name: str) -> bool:
    center = site.center(name)[1]
    if center.store.kind == "local":
        return center.store.path.is_dir()
    return bool(center.read_credentials_file or center.credentials_file or center.owner_credentials_file)
