"""PostgreSQL jobs, run: a base backup, the stream of the log, and recovery from any center."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from govsec import canonical
from govsec.assemble.jobsnapshots import snapshots_of
from govsec.assemble.lagrecord import LagRecord
from govsec.assemble.live import LiveSession
from govsec.assemble.postgresjobs import (
    COVERED,
    STREAM_LOCK,
    account_of,
    alone,
    base_root_of,
    newest_log,
    root_of,
    settings_of,
    state_of,
)
from govsec.backup.appending import AppendTree, find_tree
from govsec.backup.streamed import StreamedTree
from govsec.centers.near import Receipt
from govsec.errors import IntegrityError, LimitError, LockedError, ObjectNotFoundError, StoreError
from govsec.localfile import read_bounded
from govsec.postgres.basebackup import stream_base
from govsec.postgres.connection import Connection
from govsec.postgres.logbook import PAGE, Base, Logbook, base_of
from govsec.postgres.recovery import Recovered, write_recovery
from govsec.postgres.replication import identify, log_end, segment_size
from govsec.postgres.slots import create_slot, slot_state, take_place
from govsec.postgres.streaming import Streamer, WindowReport
from govsec.postgres.view import LogView
from govsec.postgres.wal import Segment, parse_lsn
from govsec.postgres.window import Target
from govsec.privatefile import make_private_directory, write_private
from govsec.progress import ProgressSink, silent
from govsec.repo.pack import BlobType

if TYPE_CHECKING:
    from govsec.assemble.systems import Site
    from govsec.backup.archive import ArchiveResult
    from govsec.config import BackupConfig, SystemConfig
    from govsec.postgresentry import PostgresSourceConfig
    from govsec.repo.repository import Repository

_BASES = "bases"
#: How long an interval of measured lag is, in the ledger.
_LAG_EVERY_S = 600.0
#: How often the commit log is asked for base backups that were taken elsewhere.
_LOOK_EVERY_S = 300.0
_WORD_SIZE_MAX, _WORDS_MAX = 64 << 10, 100
_BASE_TAG, _LOG_TAG = "postgres-base", "postgres-log"
_BASE_LOCK = "base.lock"


class _Word(BaseModel):
    """Left by a base backup for whoever holds the log's tree."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    base: Base
    #: The id of its tree; empty in the tree itself.
    tree: str = Field(default="", pattern=r"^([0-9a-f]{64})?$")
    system_id: str
    server_version: int
    segment_size: int


@dataclass(frozen=True, slots=True)
class BaseReport:
    """A base backup that is committed."""

    base: Base
    result: ArchiveResult
    receipt: Receipt
    #: False when a stream at work takes it into the log's tree with its next window.
    is_in_log: bool


def backup_base(
    site: Site,
    system: SystemConfig,
    job: BackupConfig,
    source: PostgresSourceConfig,
    *,
    is_fast: bool = True,
    say: Callable[[str], None] = lambda text: None,
    progress: ProgressSink = silent,
) -> BaseReport:
    """Take a base backup and commit it; then it is part of the log's tree, or will be with a stream's next window.

    The slot is made before, so that no log after the base backup is lost also when nobody streams yet.

    Raises:
        HostUnreachableError: the server is away, or died in the middle; there is no base backup.
        LockedError: another base backup of this job is under way on this machine.
        IntegrityError: the server is another one than before.
        RefusedError, StoreError: the centers do not take it as the mode asks.
    """
    state = state_of(site, system, job)
    with (
        alone(state, _BASE_LOCK, f"a base backup of {job.name}"),
        LiveSession(site, system, job=job.name, pack_size=job.pack_size_bytes, say=say) as session,
    ):
        logbook = open_logbook(site, session, job)
        with Connection.open(account_of(source), site.clock, is_replication=True) as server:
            identity = identify(server)
            size = segment_size(server)
            _ensure_slot(site, source, server)
            logbook.begin(
                system_id=identity.system_id,
                server_version=server.version,
                size=size,
                timeline=identity.timeline,
                position=Segment.at(identity.position, identity.timeline, size).start,
            )
            began = site.clock.now()
            with StreamedTree(
                session.repository,
                site.clock,
                base_root_of(job),
                tags=(_BASE_TAG, *job.tags),
                pack_size=job.pack_size_bytes,
                progress=progress,
            ) as tree:
                folder = f"{began:%Y%m%dT%H%M%SZ}"
                found = stream_base(server, tree, label=f"govsec {folder}", folder=folder, is_fast=is_fast)
                # The server's clock, as the moments of its commits are by it.
                with Connection.open(account_of(source), site.clock) as database:
                    ended = log_end(database)[1]
                base = base_of(found, began=began, ended=ended)
                word = _Word(
                    base=base,
                    system_id=str(identity.system_id),
                    server_version=server.version,
                    segment_size=size,
                )
                # For a stream on another machine, which finds the base backup by its commit.
                file = tree.begin(f"{folder}/{PAGE}", mode=0o600)
                file.write(canonical.dumps(word.model_dump(mode="json")))
                file.close()
                result = tree.save()
                tree_id = tree.subtree(folder)
        receipt = session.commit(result)
        word = word.model_copy(update={"tree": tree_id.hex()})
        _leave_word(state, word)
        try:
            with alone(state, STREAM_LOCK, "a stream"), holding_place(site, job, source, session):
                _take_in(site, session, job, source, state)
        except LockedError:
            return BaseReport(base, result, receipt, is_in_log=False)
        return BaseReport(base, result, receipt, is_in_log=True)


def stream_log(
    site: Site,
    system: SystemConfig,
    job: BackupConfig,
    source: PostgresSourceConfig,
    *,
    is_stopped: Callable[[], bool],
    say: Callable[[str], None] = lambda text: None,
    committed: Callable[[Logbook, WindowReport], None] = lambda logbook, report: None,
    alive: Callable[[], None] = lambda: None,
) -> Streamer:
    """Follow the server's log until told to stop; what has come by then is committed.

    Raises:
        LockedError: another stream of this job is at work, here or elsewhere.
        and as :meth:`govsec.postgres.streaming.Streamer.run`.
    """
    state = state_of(site, system, job)
    with (
        alone(state, STREAM_LOCK, f"a stream of {job.name}"),
        LiveSession(site, system, job=job.name, pack_size=job.pack_size_bytes, say=say) as session,
    ):
        logbook = open_logbook(site, session, job)

        lags = LagRecord(site, system, "receipt", every_s=_LAG_EVERY_S)
        for store in session.near.centers:
            lags.expect(job.name, store.name)

        def done(book: Logbook, report: WindowReport) -> None:
            # An older one than those that are kept is not wanted either.
            oldest = min((base.id for base in book.known.bases), default="")
            for word in _words(state):
                if word.base.id <= oldest or word.base.id in {base.id for base in book.known.bases}:
                    (state / _BASES / f"{word.base.id}.json").unlink(missing_ok=True)
            _note(state, book)
            if report.lag_s is not None and isinstance(report.receipt, Receipt):
                for center in report.receipt.held_by:
                    lags.add(job.name, center, report.lag_s, site.clock.now())
            lags.tell(say)
            committed(book, report)

        looked_at = -_LOOK_EVERY_S

        def new_bases() -> list[tuple[Base, bytes]]:
            nonlocal looked_at
            known = {base.id for base in logbook.known.bases}
            words = _words(state)
            if site.clock.monotonic() - looked_at >= _LOOK_EVERY_S:
                looked_at = site.clock.monotonic()
                words += _committed_words(site, session, job)
            newest = max(known, default="")
            return [
                (word.base, bytes.fromhex(word.tree))
                for word in words
                if word.base.id not in known and (word.base.id > newest or not known)
            ]

        streamer = Streamer(
            logbook,
            session,
            account_of(source),
            settings_of(source),
            site.clock,
            place=_place(session, job),
            say=say,
            new_bases=new_bases,
            committed=done,
            alive=alive,
        )
        try:
            streamer.run(is_stopped)
        finally:
            lags.tell(say, is_last=True)
        return streamer


def recover(
    site: Site,
    system: SystemConfig,
    job: BackupConfig,
    target: Path,
    wanted: Target,
    *,
    center: str | None = None,
    snapshot: str | None = None,
    base_id: str | None = None,
    places: Mapping[str, Path] | None = None,
    is_pausing: bool = False,
    workers: int | None = None,
    progress: ProgressSink = silent,
) -> Recovered:
    """Write a data directory that recovers to ``wanted``, from one center; the others stand in for what it lacks.

    Raises:
        ObjectNotFoundError: the center has no log of this job.
        and as :func:`govsec.postgres.recovery.write_recovery`.
    """
    view = open_view(site, system, job, center=center, snapshot=snapshot)
    return write_recovery(
        view,
        target,
        wanted,
        base_id=base_id,
        places=places,
        is_pausing=is_pausing,
        workers=workers,
        clock=site.clock,
        progress=progress,
    )


def open_view(
    site: Site,
    system: SystemConfig,
    job: BackupConfig,
    *,
    center: str | None = None,
    snapshot: str | None = None,
    is_alone: bool = False,
) -> LogView:
    """The newest snapshot of the log at a center (or the named one), to read.

    Other centers stand in for what it lacks, unless ``is_alone``: then it is about what that center holds itself.

    Raises:
        ObjectNotFoundError: there is none.
    """
    from govsec.assemble.opening import begin_system

    if is_alone and center is not None:
        repository: Repository = site.repository(system, site.center(center)[0])
    else:
        repository = begin_system(site, system, center)()
    found = newest_log(site, repository.store, repository, job, snapshot=snapshot)
    if found is None:
        raise ObjectNotFoundError(f"{repository.store.name}: no snapshot of {root_of(job)} is there")
    repository.load_index()
    return LogView(repository, found, root_of(job))


def open_logbook(site: Site, session: LiveSession, job: BackupConfig) -> Logbook:
    """The log's tree as the last commit left it, to add to. Hold the job's stream lock."""
    parent = newest_log(site, session.near, session.repository, job)
    tree = AppendTree(session.writer, root_of(job), parent=parent, tags=(_LOG_TAG, *job.tags))
    return Logbook(tree, site.clock)


def _ensure_slot(site: Site, source: PostgresSourceConfig, server: Connection) -> None:
    with Connection.open(account_of(source), site.clock) as database:
        if slot_state(database, source.slot) is None:
            create_slot(server, source.slot)


def _take_in(site: Site, session: LiveSession, job: BackupConfig, source: PostgresSourceConfig, state: Path) -> None:
    """Put base backups that wait into the log's tree and commit that."""
    logbook = open_logbook(site, session, job)
    words = _words(state)
    for word in words:
        start = Segment.at(parse_lsn(word.base.start), word.base.timeline, word.segment_size).start
        logbook.begin(
            system_id=int(word.system_id),
            server_version=word.server_version,
            size=word.segment_size,
            timeline=word.base.timeline,
            position=start,
        )
        logbook.add_base(word.base, bytes.fromhex(word.tree), kept=source.bases_kept)
    session.commit(logbook.save())
    for word in words:
        (state / _BASES / f"{word.base.id}.json").unlink(missing_ok=True)


def _note(state: Path, book: Logbook) -> None:
    """How far a receipt reaches, for ``wal-push`` on this machine; lost with the machine, and no harm in that."""
    page = book.known
    body = {"system_id": page.system_id, "finished": dict(book.finished)}
    write_private(state / COVERED, canonical.dumps(body))


def _place(session: LiveSession, job: BackupConfig) -> str:
    return f"{session.repository.config.id} {root_of(job)}"


@contextmanager
def holding_place(site: Site, job: BackupConfig, source: PostgresSourceConfig, session: LiveSession) -> Iterator[None]:
    """Be the only one who writes the job's log, on any machine. Raises ``LockedError``."""
    with Connection.open(account_of(source), site.clock, database=source.nonce_database) as database:
        take_place(database, _place(session, job))
        yield


def _committed_words(site: Site, session: LiveSession, job: BackupConfig) -> list[_Word]:
    """The newest base backup that is committed, wherever it was taken. None that cannot be read just now."""
    root = base_root_of(job)
    try:
        snapshot = next(snapshots_of(site, session.near, session.repository, job.name, root), None)
        if snapshot is None:
            return []
        steps = [part.encode() for part in root.strip("/").split("/")]
        top = find_tree(session.repository, bytes.fromhex(snapshot.tree), steps)
        found = []
        for folder in session.repository.load_tree(top).nodes if top is not None else ():
            if folder.subtree is not None:
                tree_id = bytes.fromhex(folder.subtree)
                for node in session.repository.load_tree(tree_id).nodes:
                    if node.name == PAGE and node.type == "file" and node.size <= _WORD_SIZE_MAX:
                        load = session.repository.load_blob
                        data = b"".join(load(BlobType.DATA, bytes.fromhex(text)) for text in node.content or ())
                        word = _Word.model_validate_json(data)
                        found.append(word.model_copy(update={"tree": tree_id.hex()}))
        return found
    except (StoreError, IntegrityError, ValidationError):
        return []


def _leave_word(state: Path, word: _Word) -> None:
    make_private_directory(state / _BASES)
    write_private(state / _BASES / f"{word.base.id}.json", canonical.dumps(word.model_dump(mode="json")))


def _words(state: Path) -> list[_Word]:
    """Base backups that are committed and not in the log's tree yet. What is none of ours is passed over."""
    found = []
    for path in sorted((state / _BASES).glob("*.json"))[:_WORDS_MAX]:
        with contextlib.suppress(OSError, LimitError, ValidationError):
            found.append(_Word.model_validate_json(read_bounded(path, _WORD_SIZE_MAX)))
    return found
