"""Continuous protection of a job by the configuration: what ``govsec backup watch`` and its unit run."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from govsec.assemble.lagrecord import LagRecord
from govsec.assemble.live import LiveSession
from govsec.assemble.tidying import tidy
from govsec.assemble.watchevents import KernelChanges
from govsec.assemble.watchstatus import WatchRecord, read_record, record_bytes, state_path
from govsec.backup.archive import ArchiveResult, archive, newest_of, paths_of
from govsec.backup.sources import FileSource
from govsec.backup.watch import Watcher
from govsec.backup.watchstate import WatchSettings, WatchState
from govsec.backup.watchtree import refuse_emptied
from govsec.backup.witness import PREFIX, Nonce, Observation, observe, save_witness
from govsec.centers.near import Receipt
from govsec.errors import ConfigurationError, UsageError
from govsec.privatefile import make_private_directory, write_private
from govsec.progress import Progress
from govsec.repo.snapshot import Snapshot

if TYPE_CHECKING:
    from govsec.assemble.systems import Site
    from govsec.config import BackupConfig, SystemConfig

log = logging.getLogger(__name__)

#: The state is written at most so often while nothing fails.
_SAVE_EVERY_S = 1.0


@dataclass(frozen=True, slots=True)
class WatchTold:
    """What a watcher tells while it runs: one line a receipt, and what went wrong."""

    talk: Callable[[str], None]
    receipt: Callable[[Receipt, float | None], None] = lambda receipt, lag_s: None
    #: Called often, also while a long comparison runs.
    alive: Callable[[], None] = lambda: None


def watched_job(system: SystemConfig, name: str) -> BackupConfig:
    """The job of that name, which is one of files and says how it is watched; without a name the only such one.

    Raises:
        UsageError: there is no such job, or it is not one of files.
        ConfigurationError: it does not say ``watch:``.
    """
    from govsec.assemble.backup import jobs_of

    watched = [job.name for job in system.backups if job.watch is not None]
    if not name and len(watched) != 1:
        raise UsageError(f"name the job; watched ones of system {system.name}: {', '.join(watched) or 'none'}")
    job = jobs_of(system, (name or watched[0],))[0]
    if job.source.kind != "files":
        raise UsageError(f"job {name}: only files are watched; a {job.source.kind} job has a stream of its own")
    if job.watch is None:
        raise ConfigurationError(f"job {name}: say how it is watched with `watch: {{}}` in the configuration")
    return job


def watch_job(
    site: Site,
    system: SystemConfig,
    job: BackupConfig,
    *,
    is_stopped: Callable[[], bool],
    told: WatchTold,
    is_source_accepted: bool = False,
    workers: int | None = None,
) -> None:
    """Protect the job's files continuously until told to stop.

    ``is_source_accepted``: file systems that were mounted when the last run ended and are not now were taken away on
    purpose, and an emptied source was emptied on purpose.

    Raises:
        LockedError, StoreError, WrongPasswordError: it cannot begin; what goes wrong later is told and tried again.
    """
    watching = _Watching(site, system, job, told, is_source_accepted=is_source_accepted, workers=workers)
    watching.run(is_stopped)


class _Watching:
    """One run of a watcher."""

    def __init__(
        self,
        site: Site,
        system: SystemConfig,
        job: BackupConfig,
        told: WatchTold,
        *,
        is_source_accepted: bool,
        workers: int | None,
    ) -> None:
        assert job.watch is not None and job.source.kind == "files"  # watched_job
        self._site = site
        self._system = system
        self._job = job
        self._watch = job.watch
        self._told = told
        self._is_source_accepted = is_source_accepted
        self._workers = workers
        self._source = FileSource(
            job.source.paths, exclude=job.source.exclude, one_file_system=job.source.one_file_system
        )
        self._path = state_path(site, system, job.name)
        self._nonce: Nonce | None = None
        self._began = site.clock.now()
        self._saved_at = 0.0
        self._saved_problem = ""
        self._reached = "synced"
        self._lag = LagRecord(site, system, "receipt", every_s=self._watch.report_s)
        self._tidied_at = site.clock.monotonic()
        # Raises when an earlier run's state cannot be read: then nobody knows what was mounted.
        before = None if is_source_accepted else read_record(self._path)
        known = frozenset() if before is None else frozenset(before.mounts)
        self._events = KernelChanges(self._source.roots(), site.clock, mounts=known)

    def run(self, is_stopped: Callable[[], bool]) -> None:
        site, job, watch = self._site, self._job, self._watch
        with LiveSession(
            site, self._system, job=job.name, pack_size=job.pack_size_bytes, say=self._told.talk
        ) as session:
            self._session = session
            watcher = Watcher(
                self._source,
                self._events,
                session,
                scan=self._scan,
                settings=WatchSettings(watch.window_s, watch.heartbeat_s, watch.rescan_s),
                clock=site.clock,
                is_stopped=is_stopped,
                tags=job.tags,
                witness=self._witness,
                note=self._note,
                changed=self._changed,
                tidy=self._tidy,
            )
            for store in session.near.centers:
                self._lag.expect(job.name, store.name)
            watcher.run()
            self._save(watcher.state, phase="stopped")
            self._lag.tell(self._told.talk, is_last=True)

    def _scan(self, pump: Callable[[], None]) -> tuple[Snapshot, Receipt]:
        session, job, site = self._session, self._job, self._site
        session.tend()
        repository = session.repository
        last = newest_of(repository, session.writer.hostname, paths_of(self._source))
        if last is not None and not self._is_source_accepted:
            refuse_emptied(self._source, repository, bytes.fromhex(last.tree))
        self._is_source_accepted = False
        seen = None
        if job.nonce or job.samples_count:
            seen = observe(self._source, clock=site.clock, samples_count=job.samples_count, is_planting=job.nonce)
            self._nonce = seen.nonce

        def progress(moment: Progress) -> None:
            self._told.alive()
            pump()

        result = session.compare(
            lambda repository: archive(
                repository,
                self._source,
                clock=site.clock,
                tags=job.tags,
                parent=last,
                workers=self._workers,
                pack_size=job.pack_size_bytes,
                progress=progress,
            )
        )
        receipt = session.commit(result, witness=self._save_witness(seen, result))
        return result.snapshot, receipt

    def _witness(self) -> Callable[[ArchiveResult], str | None]:
        seen = observe(
            self._source, clock=self._site.clock, samples_count=self._watch.witness_samples_count, is_planting=False
        )
        # The nonce of the last scan still lies in the source: a window's snapshot must have it too.
        seen = Observation(seen.time, self._nonce, seen.samples)
        return lambda result: self._save_witness(seen, result)

    def _save_witness(self, seen: Observation | None, result: ArchiveResult) -> str | None:
        if seen is None or not (seen.nonce or seen.samples):
            return None
        witness = seen.confirm(result.snapshot_id)
        session = self._session
        return save_witness(session.near, session.repository.suite, witness).name.removeprefix(PREFIX)

    def _note(self, receipt: object, lag_s: float | None) -> None:
        assert isinstance(receipt, Receipt)  # what the session's commit gives
        if receipt.reached != self._reached:
            self._reached = receipt.reached
            self._told.talk(f"{self._job.name}: {receipt.reached}, held by {', '.join(receipt.held_by)}")
        for center in receipt.held_by:
            self._lag.add(self._job.name, center, lag_s, receipt.time)
        self._told.receipt(receipt, lag_s)

    def _tidy(self) -> None:
        """Between windows: sign what was measured, and thin and put together when it is time."""
        self._lag.tell(self._told.talk)
        every_s = self._watch.tidy_s
        now = self._site.clock.monotonic()
        if not every_s or now - self._tidied_at < every_s:
            return
        self._tidied_at = now
        result = tidy(self._site, self._system, self._session)
        self._told.talk(
            f"{self._job.name}: tidied: {len(result.forgotten)} snapshots thinned, {result.repacked_packs_count} packs "
            f"put together, {result.dropped_packs_count} not needed any more"
        )

    def _changed(self, state: WatchState) -> None:
        now = self._site.clock.monotonic()
        is_news = state.problem != self._saved_problem
        if is_news:
            self._told.talk(f"{self._job.name}: {state.problem or 'follows again'}")
        if is_news or now - self._saved_at >= _SAVE_EVERY_S:
            self._saved_at, self._saved_problem = now, state.problem
            self._save(state)

    def _save(self, state: WatchState, *, phase: str | None = None) -> None:
        record = WatchRecord(
            system=self._system.name,
            job=self._job.name,
            pid=os.getpid(),
            began=self._began,
            time=self._site.clock.now(),
            phase=phase or state.phase,
            problem=state.problem,
            problem_since=state.problem_since,
            unwatched=state.unwatched,
            last=state.last_at,
            last_lag_s=None if state.last_lag_s is None else round(state.last_lag_s, 3),
            waiting_count=self._session.waiting_count,
            reached=self._reached,
            lag=tuple(self._lag.intervals()),
            mounts=tuple(sorted(self._events.mounts)),
            counts=asdict(state.counts),
            events=dict(self._events.counters()),
        )
        try:
            make_private_directory(self._path.parent)
            write_private(self._path, record_bytes(record))
        except OSError as error:
            # A full state directory is told, and is no reason to stop protecting.
            log.error("state not written", extra={"path": str(self._path), "reason": error.strerror})
