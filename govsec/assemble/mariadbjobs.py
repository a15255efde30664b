"""The snapshots of MariaDB jobs: which there are in which center, and the records in them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from govsec.backup.listing import dump_file, find_entry
from govsec.errors import FormatError, LimitError, UsageError
from govsec.mariadb.record import (
    RECORD_FILE,
    RECORD_SIZE_MAX,
    BaseRecord,
    LogPlace,
    LogRecord,
    base_root_of,
    parse_base_record,
    parse_log_record,
    root_of,
)
from govsec.mariadb.target import line_of
from govsec.mariadbentry import MariadbSourceConfig

if TYPE_CHECKING:
    from govsec.assemble.systems import Site
    from govsec.config import BackupConfig, SystemConfig
    from govsec.repo.repository import Repository
    from govsec.repo.snapshot import Snapshot
    from govsec.store.api import ReadStore


def mariadb_job(system: SystemConfig, name: str | None) -> tuple[BackupConfig, MariadbSourceConfig]:
    """The system's MariaDB job of that name; without a name the only one.

    Raises:
        UsageError: there is no such job, or several to choose from.
    """
    jobs = {job.name: job for job in system.backups if isinstance(job.source, MariadbSourceConfig)}
    if name is None and len(jobs) == 1:
        name = next(iter(jobs))
    if name is None or name not in jobs:
        asked = "name one with --job" if name is None else f"there is no MariaDB job {name!r}"
        raise UsageError(f"{asked}; system {system.name} has: {', '.join(jobs) or 'none'}")
    source = jobs[name].source
    assert isinstance(source, MariadbSourceConfig)  # chosen above
    return jobs[name], source


def log_snapshots(site: Site, store: ReadStore, repository: Repository, job: str) -> Iterator[Snapshot]:
    """The snapshots of the job's log at a center, the newest first, in the order of their commits."""
    from govsec.assemble.jobsnapshots import snapshots_of

    return snapshots_of(site, store, repository, job, root_of(job))


def covering_snapshot(site: Site, store: ReadStore, repository: Repository, job: str, position: str) -> Snapshot | None:
    """The newest snapshot of the log, when with a base backup in it it leads to a place of the server's log.

    Raises:
        FormatError, IntegrityError: it cannot be read.
    """
    file, _, offset = position.rpartition(":")
    place = LogPlace(file=file, position=int(offset))
    snapshot = next(log_snapshots(site, store, repository, job), None)
    if snapshot is None:
        return None
    repository.load_index()
    record = log_record(repository, snapshot, job)
    for base in record.bases:
        line = line_of(record, base)
        if line is None or line.broken or base.place is None:
            continue
        if base.place.order <= place.order <= line.end.order:
            return snapshot
    return None


def base_snapshots(site: Site, store: ReadStore, repository: Repository, job: str) -> Iterator[Snapshot]:
    """The snapshots of the job's base backups alone, the newest first."""
    from govsec.assemble.jobsnapshots import snapshots_of

    return snapshots_of(site, store, repository, job, base_root_of(job))


def log_record(repository: Repository, snapshot: Snapshot, job: str) -> LogRecord:
    """What a snapshot of the log holds. Raises ``FormatError``, and as reading a snapshot does."""
    return parse_log_record(_read(repository, snapshot, f"{root_of(job)}/{RECORD_FILE}"))


def point_record(repository: Repository, snapshot: Snapshot, job: str) -> LogRecord:
    """What a snapshot holds, with or without log. Raises as :func:`log_record`."""
    try:
        return log_record(repository, snapshot, job)
    except UsageError:  # there is no such file: base backups alone
        bases = tuple(base_records(repository, snapshot, job))
        return LogRecord(job=job, written=snapshot.time, bases=bases)


def base_records(repository: Repository, snapshot: Snapshot, job: str) -> list[BaseRecord]:
    """What a snapshot of base backups holds. Raises as :func:`log_record`."""
    node = find_entry(repository, snapshot, os.fsencode(base_root_of(job))).node
    assert node.subtree is not None  # find_entry went through it, or it is a file
    names = [entry.name for entry in repository.load_tree(bytes.fromhex(node.subtree)).nodes if entry.type == "dir"]
    return [
        parse_base_record(_read(repository, snapshot, f"{base_root_of(job)}/{name}/{RECORD_FILE}")) for name in names
    ]


def subtree_of(repository: Repository, snapshot: Snapshot, path: str) -> bytes:
    """The id of a folder's tree. Raises ``UsageError`` when it is none."""
    node = find_entry(repository, snapshot, os.fsencode(path)).node
    if node.subtree is None:
        raise UsageError(f"snapshot {snapshot.short_id}: {path} is no folder")
    return bytes.fromhex(node.subtree)


def _read(repository: Repository, snapshot: Snapshot, path: str) -> bytes:
    node = find_entry(repository, snapshot, os.fsencode(path)).node
    if node.type != "file":
        raise FormatError(f"snapshot {snapshot.short_id}: {path} is no file")
    if node.size > RECORD_SIZE_MAX:
        raise LimitError(f"snapshot {snapshot.short_id}: {path} has {node.size} bytes")
    return b"".join(dump_file(repository, node))
