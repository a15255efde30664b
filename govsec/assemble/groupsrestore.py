"""The recovery points of a group in a center, and all of its members brought back as of one of them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from govsec.assemble.groups import (
    RECORD_FILE,
    RECORD_SIZE_MAX,
    GroupRecord,
    MemberRecord,
    group_root_of,
    read_group_record,
)
from govsec.assemble.mariadbrestore import make_empty, open_center, restore_job
from govsec.errors import FormatError, GovsecError, IntegrityError, LimitError, RefusedError, SourceError
from govsec.mariadb.target import parse_target
from govsec.mariadbentry import MariadbSourceConfig
from govsec.progress import ProgressSink, silent

if TYPE_CHECKING:
    from govsec.assemble.systems import Site
    from govsec.config import BackupConfig, SystemConfig
    from govsec.groupentry import GroupConfig
    from govsec.repo.repository import Repository
    from govsec.repo.snapshot import Snapshot

_LOOK_BACK_MAX = 10_000


@dataclass(frozen=True, slots=True)
class GroupPoint:
    """A recovery point, its record verified."""

    center: str
    snapshot: Snapshot
    record: GroupRecord


@dataclass(frozen=True, slots=True)
class GroupRestore:
    """A group that was brought back; each member lies in a folder of its name."""

    point: GroupPoint
    directory: Path
    members: tuple[str, ...]
    restore_s: float


def group_points(
    site: Site, system: SystemConfig, group: GroupConfig, center: str | None = None
) -> tuple[Repository, Iterator[GroupPoint]]:
    """A center's repository and the group's recovery points in it, newest first, in the order of their commits."""
    name, repository = open_center(site, system, center)
    return repository, _points(site, system, group, name, repository)


def restore_group(
    site: Site,
    system: SystemConfig,
    group: GroupConfig,
    directory: Path,
    *,
    center: str | None = None,
    snapshot: str | None = None,
    progress: ProgressSink = silent,
) -> GroupRestore:
    """Bring every member back into ``directory``, which is new or empty, each as of the group's one moment.

    ``snapshot`` is the begin of an id; without, the newest recovery point is taken. When a member cannot be brought
    back, what was restored is left where it is, and the error names the member.

    Raises:
        RefusedError: there is no recovery point, or the folder is not empty. IntegrityError: a record is not what a
        trusted key signed. GovsecError: as restoring the member does.
    """
    begun = site.clock.monotonic()
    repository, points = group_points(site, system, group, center)
    point = next((found for found in points if snapshot is None or found.snapshot.id.startswith(snapshot)), None)
    if point is None:
        raise RefusedError(f"group {group.name}: there is no recovery point{f' {snapshot}' if snapshot else ''} here")
    make_empty(directory)
    jobs = {job.name: job for job in system.backups}
    for member in point.record.members:
        try:
            job = jobs.get(member.job)
            if job is None:
                raise RefusedError("the configuration has no such job any more")
            _restore(site, system, job, repository, point, member, directory / member.job, progress)
        except GovsecError as error:
            raise type(error)(f"member {member.job}: {error}") from error
    restore_s = round(site.clock.monotonic() - begun, 3)
    return GroupRestore(point, directory, tuple(member.job for member in point.record.members), restore_s)


def _restore(
    site: Site,
    system: SystemConfig,
    job: BackupConfig,
    repository: Repository,
    point: GroupPoint,
    member: MemberRecord,
    directory: Path,
    progress: ProgressSink,
) -> None:
    if member.kind == "mariadb":
        if not isinstance(job.source, MariadbSourceConfig):
            raise RefusedError("is no MariaDB job any more")
        restore_job(
            site,
            system,
            job,
            job.source,
            target_directory=directory,
            target=parse_target(None, member.position or None, None),
            center=point.center,
            snapshot_id=point.snapshot.id,
            progress=progress,
        )
        return
    if member.kind == "postgres":
        from govsec.assemble.groupspostgres import restore_member

        restore_member(site, repository, point.snapshot, job, member.position, directory, progress)
        return
    from govsec.backup.restore import restore

    # The member's own tree has the same ids as the group's; its own snapshot may be gone by now.
    own = [path for path in point.snapshot.paths if not path.startswith(("/groups/", "/mariadb/", "/postgres/"))]
    report = restore(repository, point.snapshot, directory, include=own, clock=site.clock, progress=progress)
    if report.problems_count:
        first = report.problems[0]
        raise SourceError(f"{report.problems_count} files could not be restored, first {first.path!a}: {first.what}")


def _points(
    site: Site, system: SystemConfig, group: GroupConfig, center: str, repository: Repository
) -> Iterator[GroupPoint]:
    from govsec.centers.log import START, read_log, snapshots_in_order
    from govsec.centers.ship import repository_of
    from govsec.repo.layout import Kind

    store = site.read_store(system, center)
    repository.load_index()
    there = set(repository.object_ids(Kind.SNAPSHOT))
    seen: set[str] = set()
    for after in (None, START):
        log = read_log(store, site.trusted(), repository=repository_of(store), after=after, threads=4)
        for reference in reversed(snapshots_in_order(log)):
            if reference.job != group.name or reference.id not in there or reference.id in seen:
                continue
            seen.add(reference.id)
            if len(seen) > _LOOK_BACK_MAX:
                return
            snapshot = repository.load_snapshot(reference.id)
            if group_root_of(group.name) in snapshot.paths:
                yield GroupPoint(center, snapshot, _record(site, repository, snapshot, system, group))


def _record(
    site: Site, repository: Repository, snapshot: Snapshot, system: SystemConfig, group: GroupConfig
) -> GroupRecord:
    from govsec.backup.listing import dump_file, find_entry

    path = f"{group_root_of(group.name)}/{RECORD_FILE}"
    node = find_entry(repository, snapshot, os.fsencode(path)).node
    if node.type != "file":
        raise FormatError(f"snapshot {snapshot.short_id}: {path} is no file")
    if node.size > RECORD_SIZE_MAX:
        raise LimitError(f"snapshot {snapshot.short_id}: {path} has {node.size} bytes")
    record = read_group_record(b"".join(dump_file(repository, node)), site.trusted())
    if (record.system, record.group) != (system.name, group.name):
        raise IntegrityError(f"snapshot {snapshot.short_id}: its record is of group {record.group} of {record.system}")
    return record
