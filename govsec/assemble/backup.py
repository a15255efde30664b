"""Backing up and restoring by the configuration, or without one in a single directory: what ``govsec backup`` runs."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from govsec.backup.sources import ByteSource, CommandSource, FileSource, Source
from govsec.clock import Clock, format_time
from govsec.errors import RefusedError, TryAgainError, UsageError
from govsec.progress import ProgressSink, silent
from govsec.repo.keys import KeySearch

if TYPE_CHECKING:  # what takes long to import is imported while a key is searched for, and only where it is used
    from govsec.assemble.systems import Site
    from govsec.backup.archive import ArchiveResult
    from govsec.backup.retention import Decision
    from govsec.centers.near import Receipt
    from govsec.config import BackupConfig, RetentionPolicy, SystemConfig
    from govsec.repo.repository import WritableRepository

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


def run_directory(
    opened: Callable[[], WritableRepository],
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

    ``opened`` gives the repository (:mod:`govsec.assemble.opening`); it is asked when all else is there.

    Raises:
        TryAgainError: this clock is behind the last backup's, and nobody vouched for it.
    """
    from govsec.backup.archive import archive

    repository = opened()
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
    """The system's backup jobs of these names; without names all but databases, which have topics of their own.

    Raises:
        UsageError: there is no such job, or none at all.
    """
    jobs = {job.name: job for job in system.backups}
    unknown = [name for name in names if name not in jobs]
    if unknown or not jobs:
        raise UsageError(
            f"system {system.name} has no backup {', '.join(unknown) or 'at all'}; it has: {', '.join(jobs) or 'none'}"
        )
    if names:
        return [jobs[name] for name in names]
    # A nightly run of a system whose databases are streamed backs up its files, and is no failure.
    found = [job for job in jobs.values() if job.source.kind in ("files", "command")]
    if not found:
        raise UsageError(f"system {system.name} has backups of databases alone: `govsec pg` and `govsec mariadb`")
    return found


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
        search = KeySearch(near, site.password(system))
        from govsec.backup.archive import archive
        from govsec.backup.witness import PREFIX, observe, save_witness
        from govsec.repo.repository import WritableRepository

        repository = WritableRepository.opened(search)
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
        receipt = commit_result(near, result, job=job.name, witness=digest)
    return JobReport(
        job.name,
        result,
        receipt,
        0 if witness is None else len(witness.samples),
        witness is not None and witness.nonce is not None,
    )


def source_of(job: BackupConfig) -> Source:
    """What a job reads.

    Raises:
        UsageError: a database, which has a topic of its own.
    """
    source = job.source
    if source.kind == "files":
        return FileSource(source.paths, exclude=source.exclude, one_file_system=source.one_file_system)
    if source.kind == "command":
        return CommandSource(source.argv, source.filename, source.timeout_s)
    topic = {"postgres": "pg"}.get(source.kind, source.kind)
    raise UsageError(f"backup {job.name} is of a database: `govsec {topic} backup` and `govsec {topic} stream`")


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
