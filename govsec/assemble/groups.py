"""Application-consistent groups: several jobs, one recovery point.

The application is brought to rest by a hook; each member takes its point: files are backed up, databases say where
their log stands; the application goes on. Then the logs of the databases are waited for, and one snapshot is made
whose tree is all of theirs, with a signed record of every member's snapshot and place in it. So a group is restored and
drilled as any snapshot, from any center, and stock restic brings all of it back with one command.

It is all or nothing: a member that fails makes the group fail by its name, the members' own snapshots stay what they
are, and there is no recovery point of half a group. The hook that lets the application go on is run whatever happened,
Ctrl-C included.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from govsec.clock import Clock
from govsec.config import explain
from govsec.crypto.document import open_document, sign_document
from govsec.crypto.signing import Purpose, TrustedKeys
from govsec.drill.process import run_command
from govsec.errors import FormatError, GovsecError, SourceError, UsageError
from govsec.groupentry import GroupConfig, HookConfig
from govsec.lockfile import held_lock
from govsec.mariadbentry import MariadbSourceConfig
from govsec.progress import ProgressSink, silent
from govsec.records import Moment
from govsec.runtime.children import child_environment
from govsec.runtime.signals import deferred_signals

if TYPE_CHECKING:
    from govsec.assemble.systems import Site
    from govsec.backup.archive import ArchiveResult
    from govsec.centers.near import Receipt
    from govsec.config import BackupConfig, SystemConfig
    from govsec.repo.repository import WritableRepository
    from govsec.repo.snapshot import Snapshot
    from govsec.store.api import ObjectStore

RECORD_FILE = "record.json"
RECORD_SIZE_MAX = 1 << 20
_POLL_S = 0.3
_SAID_MAX = 500


class MemberRecord(BaseModel):
    """What one job gave: its snapshot, and for a database the place in its log that belongs to the group."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    job: str = Field(max_length=200)
    kind: Literal["files", "mariadb", "postgres"]
    snapshot: str = Field(pattern=r"^[0-9a-f]{64}$")
    time: Moment
    #: ``FILE:POSITION`` of MariaDB, an LSN of PostgreSQL; empty for files.
    position: str = Field(default="", max_length=300)


class GroupRecord(BaseModel):
    """A group's recovery point."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    kind: Literal["group"] = "group"
    system: str
    group: str
    time: Moment
    #: How long the application was held still.
    held_s: float = Field(ge=0)
    members: tuple[MemberRecord, ...] = Field(min_length=1, max_length=64)


@dataclass(frozen=True, slots=True)
class GroupReport:
    """A group's recovery point that is committed."""

    record: GroupRecord
    result: ArchiveResult
    receipt: Receipt


@dataclass(frozen=True, slots=True)
class _Taken:
    """A member that took its point; ``snapshot`` of a database comes when its log has arrived."""

    job: BackupConfig
    kind: Literal["files", "mariadb", "postgres"]
    time: datetime
    position: str = ""
    snapshot: Snapshot | None = None


def group_of(system: SystemConfig, name: str) -> GroupConfig:
    """The system's group of that name. Raises ``UsageError`` when there is none."""
    groups = {group.name: group for group in system.groups}
    if name not in groups:
        raise UsageError(f"there is no group {name!r}; system {system.name} has: {', '.join(groups) or 'none'}")
    return groups[name]


def back_up_group(
    site: Site,
    system: SystemConfig,
    group: GroupConfig,
    *,
    say: Callable[[str], None] = lambda text: None,
    progress: ProgressSink = silent,
) -> GroupReport:
    """Make the group's recovery point and commit it.

    Raises:
        GovsecError: of the member that failed, its name first; there is no recovery point then.
        SourceError: a hook failed, or a log did not arrive in time. LockedError: the group is being made already.
    """
    from govsec.assemble.backup import jobs_of

    jobs = jobs_of(system, group.members)
    lock = site.config.state_dir / system.name / "groups" / f"{group.name}.lock"
    with held_lock(lock, busy=f"group {group.name} is being backed up on this machine already"):
        began = site.clock.monotonic()
        taken: list[_Taken] = []
        with _held(group, site.clock, system.name):
            for job in sorted(jobs, key=_slowest_last):
                with _named(job):
                    taken.append(_take(site, system, job, say, progress))
            held_s = round(site.clock.monotonic() - began, 3)
        return _finish(site, system, group, taken, held_s)


def read_group_record(data: bytes, trusted: TrustedKeys) -> GroupRecord:
    """The record in a signed document.

    Raises:
        FormatError: it is none. IntegrityError: nobody who is trusted signed it.
    """
    body = open_document(trusted, Purpose.COMMIT, data, size_max=RECORD_SIZE_MAX)
    try:
        return GroupRecord.model_validate(body)
    except ValidationError as error:
        raise FormatError(f"record of a group: {explain(error)}") from error


def group_root_of(name: str) -> str:
    """Where a group's record lies in its snapshots."""
    return f"/groups/{name}"


def _slowest_last(job: BackupConfig) -> bool:
    # Databases say where they are in a moment; the sooner, the nearer they are to each other.
    return job.source.kind in ("files", "command")


def _take(
    site: Site, system: SystemConfig, job: BackupConfig, say: Callable[[str], None], progress: ProgressSink
) -> _Taken:
    if isinstance(job.source, MariadbSourceConfig):
        return _take_mariadb(site, system, job, job.source, say, progress)
    if job.source.kind == "postgres":
        from govsec.assemble.groupspostgres import mark

        return _Taken(job, "postgres", site.clock.now(), mark(site, job))
    from govsec.assemble.backup import run_job

    report = run_job(site, system, job, progress=progress)
    if not report.result.is_complete:
        first = report.result.problems[0]
        raise SourceError(f"{report.result.problems_count} files could not be read, first {first.path!a}: {first.what}")
    return _Taken(job, "files", report.result.snapshot.time, "", report.result.snapshot)


def _take_mariadb(
    site: Site,
    system: SystemConfig,
    job: BackupConfig,
    source: MariadbSourceConfig,
    say: Callable[[str], None],
    progress: ProgressSink,
) -> _Taken:
    from govsec.assemble.mariadb import backup_base, is_streamed
    from govsec.mariadb.server import Server, address_of

    with Server(address_of(source)) as server:
        if is_streamed(server, system, job):
            facts = server.facts()
            return _Taken(job, "mariadb", site.clock.now(), f"{facts.log_file}:{facts.log_position}")
    say(f"{job.name}: nobody streams its log, so the group takes a base backup; the application is held meanwhile")
    report = backup_base(site, system, job, source, progress)
    place = "" if report.base.place is None else str(report.base.place)
    return _Taken(job, "mariadb", report.base.ended, place, report.result.snapshot)


def _finish(site: Site, system: SystemConfig, group: GroupConfig, taken: list[_Taken], held_s: float) -> GroupReport:
    """Wait for the logs, then make and commit the one snapshot."""
    from govsec.assemble.centers import adopt, commit_result, open_near
    from govsec.repo.keys import KeySearch
    from govsec.repo.repository import WritableRepository

    with closing(open_near(site, system)) as near:
        near.resync()
        repository = WritableRepository.opened(KeySearch(near, site.password(system)))
        adopt(near, repository)
        # Nobody may prune between the moment a member's snapshot is found and the group's names its trees.
        with repository.lock(site.clock) as lock:
            deadline = site.clock.monotonic() + group.wait_s
            members = []
            for member in taken:
                with _named(member.job):
                    members.append(_arrived(site, system, near, repository, member, deadline, lock.keep_alive))
            repository.load_index()
            record = GroupRecord(
                system=system.name,
                group=group.name,
                time=site.clock.now(),
                held_s=held_s,
                members=tuple(
                    MemberRecord(
                        job=member.job.name,
                        kind=member.kind,
                        snapshot=snapshot.id,
                        time=member.time,
                        position=member.position,
                    )
                    for member, snapshot in members
                ),
            )
            snapshots = [snapshot for _, snapshot in members]
            result = _save(site, repository, group, record, snapshots)
            witness = _witness(near, repository, snapshots, result.snapshot_id)
        receipt = commit_result(near, result, job=group.name, witness=witness)
    return GroupReport(record, result, receipt)


def _arrived(
    site: Site,
    system: SystemConfig,
    near: ObjectStore,
    repository: WritableRepository,
    member: _Taken,
    deadline: float,
    keep_alive: Callable[[], None],
) -> tuple[_Taken, Snapshot]:
    """The snapshot that reaches the member's place, as soon as the centers have it."""
    if member.snapshot is not None:
        return member, member.snapshot
    while True:
        keep_alive()
        if member.kind == "mariadb":
            from govsec.assemble.mariadbjobs import covering_snapshot

            found = covering_snapshot(site, near, repository, member.job.name, member.position)
        else:
            from govsec.assemble.groupspostgres import covering

            found = covering(site, near, repository, member.job, member.position)
        if found is not None:
            return member, found
        if site.clock.monotonic() > deadline:
            raise SourceError(f"its log did not reach {member.position} in the centers in time; is its stream at work?")
        site.clock.sleep(_POLL_S)


def _save(
    site: Site, repository: WritableRepository, group: GroupConfig, record: GroupRecord, snapshots: list[Snapshot]
) -> ArchiveResult:
    from govsec.backup.live import LiveWriter
    from govsec.backup.merging import merge_trees, single_file_tree
    from govsec.backup.thinning import GROUP_TAG

    writer = LiveWriter(repository, clock=site.clock)
    document = sign_document(site.signer(Purpose.COMMIT), record.model_dump(mode="json"))
    with writer.window() as window:
        # The record is a file like any other, so stock restic brings it back too.
        own = single_file_tree(window, f"{group_root_of(group.name)}/{RECORD_FILE}", document)
        window.saver.flush()
        writer.save_index()
        merged = merge_trees(repository, window, [own, *(bytes.fromhex(snapshot.tree) for snapshot in snapshots)])
        paths = dict.fromkeys(path for snapshot in snapshots for path in snapshot.paths)
        return window.finish(merged, paths=(group_root_of(group.name), *paths), tags=(GROUP_TAG, f"group:{group.name}"))


def _witness(
    near: ObjectStore, repository: WritableRepository, snapshots: list[Snapshot], snapshot_id: str
) -> str | None:
    """What the first member with a witness saw of its source holds for the group's snapshot as well."""
    from govsec.backup.witness import PREFIX, find_witness, save_witness

    for snapshot in snapshots:
        witness = find_witness(near, repository.suite, snapshot.id)
        if witness is not None:
            stored = save_witness(near, repository.suite, replace(witness, snapshot_id=snapshot_id))
            return stored.name.removeprefix(PREFIX)
    return None


@contextmanager
def _held(group: GroupConfig, clock: Clock, system: str) -> Iterator[None]:
    """The application at rest: ``pre`` before, ``post`` after, whatever happened in between."""
    try:
        if group.pre is not None:
            _run_hook("pre", group, group.pre, clock, system)
        yield
    finally:
        if group.post is not None:
            # A Ctrl-C in the middle of it would leave the application still.
            with deferred_signals():
                _run_hook("post", group, group.post, clock, system)


def _run_hook(name: str, group: GroupConfig, hook: HookConfig, clock: Clock, system: str) -> None:
    environment = child_environment() | {"GOVSEC_GROUP": group.name, "GOVSEC_SYSTEM": system}
    outcome = run_command(hook.argv, environment=environment, cwd="/", timeout_s=hook.timeout_s, clock=clock)
    if outcome.exit_code != 0:
        said = ascii(outcome.output.decode("utf-8", "backslashreplace").strip()[-_SAID_MAX:])
        how = outcome.note or f"ended with exit code {outcome.exit_code}"
        raise SourceError(f"group {group.name}: its {name} hook {hook.argv[0]!r} {how}; it said: {said}")


@contextmanager
def _named(job: BackupConfig) -> Iterator[None]:
    """Errors say which member failed; there is no recovery point of the others alone."""
    try:
        yield
    except GovsecError as error:
        raise type(error)(f"member {job.name}: {error}; the group has no recovery point from this run") from error
