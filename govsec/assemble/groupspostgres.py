"""PostgreSQL as a member of a group: where its log stands, whether the centers have it, and bringing it back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from govsec.assemble.postgresjobs import account_of, newest_log, root_of
from govsec.errors import RefusedError
from govsec.postgres.connection import Connection
from govsec.postgres.recovery import write_recovery
from govsec.postgres.slots import slot_state
from govsec.postgres.view import LogView
from govsec.postgres.wal import parse_lsn
from govsec.postgres.window import Target, TargetKind, choose, windows
from govsec.postgresentry import PostgresSourceConfig
from govsec.progress import ProgressSink, silent

if TYPE_CHECKING:
    from govsec.assemble.systems import Site
    from govsec.config import BackupConfig
    from govsec.repo.repository import Repository
    from govsec.repo.snapshot import Snapshot
    from govsec.store.api import ReadStore

_POINT = "govsec group"


def mark(site: Site, job: BackupConfig) -> str:
    """The position of a restore point that the server wrote just now, on its disk.

    Raises:
        RefusedError: nobody streams the job's log. Else as asking the server does.
    """
    source = _source(job)
    with Connection.open(account_of(source), site.clock) as server:
        state = slot_state(server, source.slot)
        if state is None or not state.is_active:
            raise RefusedError(f"nobody streams its log; start `govsec pg stream --job {job.name}`")
        position = server.value(f"SELECT pg_create_restore_point('{_POINT}')")
    if position is None:
        raise RefusedError("the server named no position")
    return position


def covering(site: Site, store: ReadStore, repository: Repository, job: BackupConfig, position: str) -> Snapshot | None:
    """The newest snapshot of the log, when it leads to the position from a base backup. Raises as reading does."""
    snapshot = newest_log(site, store, repository, job)
    if snapshot is None:
        return None
    repository.load_index()
    view = LogView(repository, snapshot, root_of(job))
    try:
        choose(windows(view.page, view.segments(), view.histories()), _target(position))
    except RefusedError:
        return None
    return snapshot


def restore_member(
    site: Site,
    repository: Repository,
    snapshot: Snapshot,
    job: BackupConfig,
    position: str,
    directory: Path,
    progress: ProgressSink = silent,
) -> None:
    """Write a data directory that recovers to the position when it is started. Raises as ``write_recovery``."""
    _source(job)
    view = LogView(repository, snapshot, root_of(job))
    write_recovery(view, directory, _target(position), clock=site.clock, progress=progress)


def _target(position: str) -> Target:
    return Target(TargetKind.LSN, lsn=parse_lsn(position))


def _source(job: BackupConfig) -> PostgresSourceConfig:
    if not isinstance(job.source, PostgresSourceConfig):
        raise RefusedError("is no PostgreSQL job any more")
    return job.source
