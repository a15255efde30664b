"""Bringing a MariaDB job back from any center: to the end of its log, a time, a position or a GTID."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from govsec.assemble.mariadbjobs import base_snapshots, log_record, log_snapshots, point_record
from govsec.drill.plan import Isolation
from govsec.drill.sandbox import account_of, open_sandbox
from govsec.errors import GovsecError, ObjectNotFoundError, RefusedError, SourceError
from govsec.mariadb.base import DATA
from govsec.mariadb.record import RECORD_FILE, LogRecord, base_root_of, log_path, root_of
from govsec.mariadb.recover import Recovered, Recovery
from govsec.mariadb.target import Choice, End, Target, choices, files_between
from govsec.progress import ProgressSink, silent

if TYPE_CHECKING:
    from govsec.assemble.systems import Site
    from govsec.backup.restore import RestoreReport
    from govsec.config import BackupConfig, SystemConfig
    from govsec.mariadbentry import MariadbSourceConfig
    from govsec.repo.repository import Repository
    from govsec.repo.snapshot import Snapshot

_TIMEOUT_S = 7 * 86400.0
_MEMORY_BYTES = 8 << 30


@dataclass(frozen=True, slots=True)
class MariadbRestore:
    """A recovered data folder."""

    center: str
    snapshot_id: str
    datadir: Path
    recovered: Recovered
    files: int
    size_bytes: int
    restore_s: float


def restore_job(
    site: Site,
    system: SystemConfig,
    job: BackupConfig,
    source: MariadbSourceConfig,
    *,
    target_directory: Path,
    target: Target,
    center: str | None = None,
    snapshot_id: str | None = None,
    progress: ProgressSink = silent,
) -> MariadbRestore:
    """Bring the job back into ``target_directory``, which is new or empty; ``datadir`` in it is ready to be started.

    ``snapshot_id`` names the recovery point to take it from; without, the newest that leads there is found. Where no
    center is named, the first with a role that can be opened is used. Programs run as the job's ``server_user`` without
    a network where this process is root, else as this user.

    Raises:
        RefusedError: the target folder is not empty, or nothing here leads to what is asked for.
        IntegrityError: the log or what was restored is damaged. SourceError: a program could not.
    """
    begun = site.clock.monotonic()
    make_empty(target_directory)
    name, repository = open_center(site, system, center)
    store = site.read_store(system, name)
    errors: list[GovsecError] = []
    after: datetime | None = None
    for snapshot, record in _points(site, system, job, name, repository, snapshot_id):
        if after is not None and (record.lines or snapshot.time <= after):
            continue
        try:
            for choice in choices(record, target):
                report = _restore(site, repository, snapshot, job, choice, target_directory, progress)
                recovered = _recover(site, job, source, target, target_directory)
                if recovered is None:
                    _empty(target_directory)
                    continue
                return MariadbRestore(
                    store.name,
                    snapshot.id,
                    target_directory / DATA,
                    recovered,
                    report.files,
                    report.size_bytes,
                    round(site.clock.monotonic() - begun, 3),
                )
        except RefusedError as error:
            errors.append(error)
            _empty(target_directory)
            if isinstance(target, End):
                # What the newest one does not lead to is not the end in an older one: only a base backup that was made
                # since, and is in no recovery point with log yet, can be newer.
                after = record.written
    raise errors[0] if errors else RefusedError(f"center {name}: there is no recovery point of job {job.name}")


def _points(
    site: Site,
    system: SystemConfig,
    job: BackupConfig,
    center: str,
    repository: Repository,
    snapshot_id: str | None,
) -> Iterator[tuple[Snapshot, LogRecord]]:
    """The job's recovery points at a center, newest first; base backups alone come after those with log."""
    repository.load_index()
    if snapshot_id is not None:
        chosen = repository.load_snapshot(snapshot_id)
        yield chosen, point_record(repository, chosen, job.name)
        return
    store = site.read_store(system, center)
    for snapshot in log_snapshots(site, store, repository, job.name):
        yield snapshot, log_record(repository, snapshot, job.name)
    for snapshot in base_snapshots(site, store, repository, job.name):
        yield snapshot, point_record(repository, snapshot, job.name)


def _restore(
    site: Site,
    repository: Repository,
    snapshot: Snapshot,
    job: BackupConfig,
    choice: Choice,
    target: Path,
    progress: ProgressSink,
) -> RestoreReport:
    from govsec.backup.restore import restore

    include = [f"{base_root_of(job.name)}/{choice.base.id}"]
    line = choice.line
    if line is not None and choice.base.place is not None:
        names = files_between(choice.base.place.file, line.end.file)
        include.append(f"{root_of(job.name)}/{RECORD_FILE}")
        include += [f"{root_of(job.name)}/{log_path(line.number, name)}" for name in names]
    report = restore(repository, snapshot, target, include=include, clock=site.clock, progress=progress)
    if report.problems_count:
        first = report.problems[0]
        raise SourceError(f"{report.problems_count} objects could not be restored, first {first.path!a}: {first.what}")
    if not report.files:
        raise ObjectNotFoundError(f"snapshot {snapshot.short_id} has no base backup {choice.base.id}")
    return report


def _recover(
    site: Site, job: BackupConfig, source: MariadbSourceConfig, target: Target, directory: Path
) -> Recovered | None:
    isolation = Isolation(
        user=source.server_user,
        memory_bytes=_MEMORY_BYTES,
        cpu_s=int(_TIMEOUT_S),
        processes_max=4096,
        allow_unisolated=os.geteuid() != 0,
    )
    with closing(open_sandbox(isolation, directory, site.clock)) as cell:
        if not cell.reason:
            _hand_over(directory, *account_of(isolation))
        recovery = Recovery(cell, site.clock, root_of(job.name))
        recovered = recovery.recover(target, _TIMEOUT_S)
        if recovered is not None:
            recovery.hand_out(recovered, DATA)
    return recovered


def _hand_over(directory: Path, uid: int, gid: int) -> None:
    """What was restored becomes the server's; nothing of it has run yet, so nothing changes under our hands."""
    for above, folders, files in os.walk(directory):
        os.chown(above, uid, gid, follow_symlinks=False)
        for name in (*folders, *files):
            os.chown(Path(above) / name, uid, gid, follow_symlinks=False)


def open_center(site: Site, system: SystemConfig, center: str | None) -> tuple[str, Repository]:
    """The name of a center and the system's repository there: the one that is named, or the first that opens.

    Raises:
        StoreError, ConfigurationError: none can be opened.
    """
    from govsec.config import Role

    if center is not None:
        name = site.center(center)[0]
        return name, site.repository(system, name)
    errors: list[GovsecError] = []
    for role in (Role.PRODUCTION, Role.SAME_CITY, Role.REMOTE):
        found = site.name_of(role)
        if found is None:
            continue
        try:
            return found, site.repository(system, found)
        except GovsecError as error:
            errors.append(error)
    raise errors[0] if errors else RefusedError("centers: none is configured")


def make_empty(directory: Path) -> None:
    """Make a folder, or see that it is empty. Raises ``RefusedError`` when it is not."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if any(directory.iterdir()):
            raise RefusedError(f"{directory}: is not empty; a database is brought back into a new folder")
        directory.chmod(0o700)
    except OSError as error:
        raise RefusedError(f"{directory}: {error.strerror}") from error


def _empty(directory: Path) -> None:
    for path in directory.iterdir():
        shutil.rmtree(path)
