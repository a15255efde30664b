"""PostgreSQL jobs of the configuration: which there are, where they are kept, and what lies in which center."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from govsec.errors import ConfigurationError, UsageError
from govsec.lockfile import held_lock
from govsec.postgres.connection import Account
from govsec.postgresentry import PostgresSourceConfig
from govsec.privatefile import make_private_directory

if TYPE_CHECKING:  # a call of wal-push that finds its note loads none of this
    from govsec.assemble.systems import Site
    from govsec.config import BackupConfig, SystemConfig
    from govsec.postgres.streaming import StreamSettings
    from govsec.repo.repository import Repository
    from govsec.repo.snapshot import Snapshot
    from govsec.store.api import ReadStore


#: Held by whoever writes into the log's tree.
STREAM_LOCK = "stream.lock"
#: What a stream on this machine has committed lately.
COVERED = "covered.json"


def postgres_job(system: SystemConfig, name: str | None) -> tuple[BackupConfig, PostgresSourceConfig]:
    """The system's PostgreSQL job of that name; without a name the only one.

    Raises:
        UsageError: there is no such job, or several to choose from.
    """
    jobs = {job.name: job for job in system.backups if isinstance(job.source, PostgresSourceConfig)}
    if name is None and len(jobs) == 1:
        name = next(iter(jobs))
    if name is None or name not in jobs:
        asked = "name one with --job" if name is None else f"there is no PostgreSQL job {name!r}"
        raise UsageError(f"{asked}; system {system.name} has: {', '.join(jobs) or 'none'}")
    source = jobs[name].source
    assert isinstance(source, PostgresSourceConfig)  # chosen above
    return jobs[name], source


def root_of(job: BackupConfig) -> str:
    """Where a job's log and base backups lie in a snapshot."""
    return f"/postgres/{job.name}"


def base_root_of(job: BackupConfig) -> str:
    """Where a base backup lies in a snapshot of its own."""
    return f"/postgres/{job.name}/base"


def account_of(source: PostgresSourceConfig) -> Account:
    """How the server is reached."""
    return Account(source.conninfo, source.password_file)


def settings_of(source: PostgresSourceConfig) -> StreamSettings:
    """How its log is streamed."""
    from govsec.postgres.streaming import StreamSettings

    return StreamSettings(
        slot=source.slot,
        slot_bytes_max=source.slot_bytes_max,
        is_dropping_full=source.on_slot_full == "drop",
        window_s=source.window_s,
        bases_kept=source.bases_kept,
        nonce_database=source.nonce_database,
        nonce_every_s=source.nonce_every_s,
    )


def newest_log(
    site: Site, store: ReadStore, repository: Repository, job: BackupConfig, *, snapshot: str | None = None
) -> Snapshot | None:
    """The newest snapshot of the job's log at a center; or the one whose id begins so. None when there is none."""
    from govsec.assemble.jobsnapshots import snapshots_of

    found = snapshots_of(site, store, repository, job.name, root_of(job))
    return next((item for item in found if snapshot is None or item.id.startswith(snapshot)), None)


def state_of(site: Site, system: SystemConfig, job: BackupConfig) -> Path:
    """The job's own folder at this site, made when it is not there.

    Raises:
        ConfigurationError: it cannot be made.
    """
    folder = site.config.state_dir / system.name / "postgres" / job.name
    try:
        make_private_directory(folder)
    except OSError as error:
        raise ConfigurationError(f"{folder}: {error.strerror}") from error
    return folder


def alone(folder: Path, name: str, what: str) -> AbstractContextManager[None]:
    """Hold the lock file ``name``.

    Raises:
        LockedError: another process holds it.
        ConfigurationError: it cannot be made.
    """
    return held_lock(folder / name, busy=f"{what} is at work on this machine already ({folder / name} is locked)")
