"""MariaDB jobs of the configuration, run: a base backup, and the stream of the binary log."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from govsec.assemble.centers import commit_result
from govsec.assemble.lagrecord import LagRecord
from govsec.assemble.live import LiveSession
from govsec.assemble.mariadbjobs import base_records, base_snapshots, log_record, log_snapshots, subtree_of
from govsec.backup.appending import AppendTree
from govsec.errors import ConfigurationError, HostUnreachableError, LimitError, SourceError
from govsec.localfile import read_bounded
from govsec.mariadb.base import BaseOptions, take_base
from govsec.mariadb.follow import Counters, Follower, Hooks, Settings, Window
from govsec.mariadb.logtree import LogTree
from govsec.mariadb.nonce import NoncePlanter
from govsec.mariadb.record import BaseRecord, base_root_of, root_of
from govsec.mariadb.server import Facts, Server, address_of, replica_id
from govsec.mariadbentry import MariadbSourceConfig
from govsec.privatefile import make_private_directory, write_private
from govsec.progress import ProgressSink, silent

if TYPE_CHECKING:
    from govsec.assemble.systems import Site
    from govsec.backup.archive import ArchiveResult
    from govsec.centers.near import Receipt
    from govsec.config import BackupConfig, SystemConfig

log = logging.getLogger(__name__)

_NOTE_SIZE_MAX = 64 << 10
#: How long an interval of measured lag is, in the ledger.
_LAG_EVERY_S = 900.0
_LOCK_NAME_MAX = 64
_STREAM_TAG, _BASE_TAG = "mariadb-log", "mariadb-base"


@dataclass(frozen=True, slots=True)
class BaseReport:
    """A base backup that is committed."""

    base: BaseRecord
    result: ArchiveResult
    receipt: Receipt


@dataclass(frozen=True, slots=True)
class WindowReport:
    """A window of log that is committed."""

    window: Window
    result: ArchiveResult
    receipt: Receipt
    #: From the server's writing of its first event to the receipt; None when the server had no news.
    lag_s: float | None


def backup_base(
    site: Site, system: SystemConfig, job: BackupConfig, source: MariadbSourceConfig, progress: ProgressSink = silent
) -> BaseReport:
    """Run a base backup, commit it, and leave word of it for the stream on this machine.

    Raises:
        SourceError: the server or the tool failed; nothing was committed.
        RefusedError, StoreError: the centers do not take it as the mode asks.
    """
    from govsec.assemble.centers import adopt, open_near
    from govsec.backup.streamed import StreamedTree
    from govsec.repo.keys import KeySearch
    from govsec.repo.repository import WritableRepository

    with closing(open_near(site, system)) as near:
        near.resync()
        repository = WritableRepository.opened(KeySearch(near, site.password(system)))
        adopt(near, repository)
        with StreamedTree(
            repository,
            site.clock,
            base_root_of(job.name),
            tags=(_BASE_TAG, *job.tags),
            pack_size=job.pack_size_bytes,
            progress=progress,
        ) as tree:
            base = take_base(
                address_of(source),
                _replica(system, job, source),
                tree,
                options=BaseOptions(source.backup_threads, source.backup_timeout_s),
                clock=site.clock,
            )
            result = tree.save()
            tree_id = tree.subtree(base.id)
        receipt = commit_result(near, result, job=job.name)
    _leave_word(site, system, job, base, tree_id)
    return BaseReport(base, result, receipt)


def stream_log(
    site: Site,
    system: SystemConfig,
    job: BackupConfig,
    source: MariadbSourceConfig,
    *,
    is_stopped: Callable[[], bool],
    say: Callable[[str], None],
    report: Callable[[WindowReport], None] = lambda report: None,
    alive: Callable[[], None] = lambda: None,
) -> Counters:
    """Follow the server's binary log until told to stop; what was taken is committed then.

    ``alive`` is called every few seconds while the stream does what it should, also while it waits.

    Raises:
        LockedError: another stream of this job is at work. ConfigurationError: the server lets nobody in with this, or
        keeps no binary log. RefusedError, StoreError: as a backup does.
    """
    with LiveSession(site, system, job=job.name, pack_size=job.pack_size_bytes, say=say) as session:
        stream = _Stream(site, system, job, source, session, say, report, alive)
        settings = Settings(
            source.log_window_s,
            source.log_window_bytes,
            source.quiet_every_s,
            _replica(system, job, source),
            _lock_name(system, job),
        )
        hooks = Hooks(stream.save, stream.tend, is_stopped, say, stream.first_file)
        stream.take_bases()
        follower = Follower(lambda: Server(address_of(source)), stream.log_tree, settings, hooks, site.clock)
        stream.follower = follower
        try:
            follower.run()
        finally:
            stream.close()
        return follower.counters


class _Stream:
    """Between the follower and the session."""

    def __init__(
        self,
        site: Site,
        system: SystemConfig,
        job: BackupConfig,
        source: MariadbSourceConfig,
        session: LiveSession,
        say: Callable[[str], None],
        report: Callable[[WindowReport], None],
        alive: Callable[[], None],
    ) -> None:
        self._alive = alive
        self._site = site
        self._system = system
        self._job = job
        self._source = source
        self._session = session
        self._say = say
        self._report = report
        self._seen: set[str] = set()
        #: Saved and not committed yet.
        self._saved: ArchiveResult | None = None
        parent = next(log_snapshots(site, session.near, session.repository, job.name), None)
        record = None if parent is None else log_record(session.repository, parent, job.name)
        tags = (_STREAM_TAG, *job.tags)
        self._tree = AppendTree(session.writer, root_of(job.name), parent=parent, tags=tags)
        self.log_tree = LogTree(self._tree, job.name, record, site.clock.now())
        self.follower: Follower | None = None
        self._planter = NoncePlanter(
            lambda: Server(address_of(source)), site.clock, source.nonce_database, source.nonce_every_s
        )
        self._lag = LagRecord(site, system, "receipt", every_s=_LAG_EVERY_S)
        for center in session.near.centers:
            self._lag.expect(job.name, center.name)

    def save(self, window: Window) -> None:
        """Store and commit one window; called again with the same when it raises."""
        follower = self.follower
        assert follower is not None  # windows come from it
        if self._saved is None:
            self._session.tend()
            # Locks again where a prune had the repository for itself.
            _ = self._session.writer
            now = self._site.clock.now()
            self.log_tree.write_record(now, level_at=follower.level_at, server_version=follower.server_version)
            self._saved = self._tree.save()
            receipt = self._session.commit(self._saved)
        else:
            receipts = self._session.commit_waiting()
            # Where it was tended to in the meantime it has its commit, which is asked for once more: what waited
            # longest must not be missing in what is measured.
            receipt = receipts[-1] if receipts else commit_result(self._session.near, self._saved, job=self._job.name)
        result, self._saved = self._saved, None
        lag_s = _lag(window, receipt.time)
        for center in receipt.held_by:
            self._lag.add(self._job.name, center, lag_s, receipt.time)
        self._report(WindowReport(window, result, receipt, lag_s))

    def tend(self) -> None:
        """Keep the session alive, and take up base backups that were made meanwhile."""
        self._alive()
        self._session.tend()
        self._lag.tell(self._say)
        self._plant()
        self.take_bases()

    def _plant(self) -> None:
        """A nonce that cannot be written is told, and no reason to stop following the log."""
        try:
            planted = self._planter.plant()
        except (ConfigurationError, SourceError, HostUnreachableError) as error:
            self._say(f"no nonce was written: {error}")
            return
        if planted is not None:
            self.log_tree.await_nonce(*planted)

    def close(self) -> None:
        """Sign what was measured."""
        self._lag.tell(self._say, is_last=True)

    def first_file(self, facts: Facts) -> str:
        """The log file that the oldest known base backup needs; the server's present one without any."""
        places = [base.place for base in self.log_tree.record.bases if base.place is not None]
        fitting = [place for place in places if place.file.rpartition(".")[0] == facts.log_file.rpartition(".")[0]]
        return min(fitting, key=lambda place: place.order).file if fitting else facts.log_file

    def take_bases(self) -> None:
        """Make base backups that are committed part of the live tree."""
        repository = self._session.repository
        if not self._seen:
            for snapshot in base_snapshots(self._site, self._session.near, repository, self._job.name):
                for base in base_records(repository, snapshot, self._job.name):
                    path = f"{base_root_of(self._job.name)}/{base.id}"
                    self._add(base, subtree_of(repository, snapshot, path))
                if len(self._seen) >= self._source.bases_keep:
                    break
        for base, tree_id in _words(self._site, self._system, self._job):
            if base.id not in self._seen:
                self._add(base, tree_id)
                self._say(f"base backup {base.id} is part of the log's snapshots from here on")

    def _add(self, base: BaseRecord, tree_id: bytes) -> None:
        self._seen.add(base.id)
        self.log_tree.add_base(base, tree_id, self._source.bases_keep)


def _lag(window: Window, now: datetime) -> float | None:
    """How long the window's first event was in no center, from when it was taken, or from the server's second."""
    if window.written is None:
        return None
    # The server says whole seconds: up to one of them is not ours.
    since = min(window.began, window.written + timedelta(seconds=1))
    return max(0.0, (now - since).total_seconds())


def is_streamed(server: Server, system: SystemConfig, job: BackupConfig) -> bool:
    """Whether a stream of the job is at work, wherever it runs. Raises as asking the server does."""
    return server.lock_holder(_lock_name(system, job)) is not None


def _lock_name(system: SystemConfig, job: BackupConfig) -> str:
    """The server takes names of at most 64 characters."""
    name = f"govsec/{system.name}/{job.name}"
    return name if len(name) <= _LOCK_NAME_MAX else f"govsec/{replica_id(system.name, job.name)}"


def _replica(system: SystemConfig, job: BackupConfig, source: MariadbSourceConfig) -> int:
    return source.replica_id or replica_id(system.name, job.name)


def _notes_directory(site: Site, system: SystemConfig, job: BackupConfig) -> Path:
    return site.config.state_dir / system.name / "mariadb" / job.name


def _leave_word(site: Site, system: SystemConfig, job: BackupConfig, base: BaseRecord, tree_id: bytes) -> None:
    """Only a hint: a stream that does not find it finds the base backup when it is started again."""
    directory = _notes_directory(site, system, job)
    note = {"base": base.model_dump(mode="json"), "tree": tree_id.hex()}
    try:
        make_private_directory(directory)
        write_private(directory / "newest-base.json", json.dumps(note).encode())
    except OSError as error:
        raise ConfigurationError(f"{directory}: {error.strerror}") from error


def _words(site: Site, system: SystemConfig, job: BackupConfig) -> list[tuple[BaseRecord, bytes]]:
    path = _notes_directory(site, system, job) / "newest-base.json"
    try:
        note = json.loads(read_bounded(path, _NOTE_SIZE_MAX))
        return [(BaseRecord.model_validate(note["base"]), bytes.fromhex(note["tree"]))]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError, LimitError) as error:
        log.warning("no word of a base backup", extra={"path": str(path), "error": str(error)[:200]})
        return []
