"""What can be recovered of a MariaDB job, center by center, and whether what is stored is what it says."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, BinaryIO, cast

from govsec.assemble.mariadbjobs import base_records, base_snapshots, log_record, log_snapshots
from govsec.backup.listing import dump_file, find_entry
from govsec.errors import GovsecError, IntegrityError, RefusedError
from govsec.mariadb.events import FileCheck, Transactions
from govsec.mariadb.logtree import HEAD_EVENTS, head_of
from govsec.mariadb.record import BaseRecord, LineRecord, LogPlace, LogRecord, log_path, root_of
from govsec.mariadb.server import Server, address_of
from govsec.mariadb.target import end_of, files_between, line_of, read_event_stream
from govsec.progress import Progress, ProgressSink, silent

if TYPE_CHECKING:
    from govsec.assemble.systems import Site
    from govsec.config import BackupConfig, SystemConfig
    from govsec.mariadb.events import Event
    from govsec.mariadbentry import MariadbSourceConfig
    from govsec.repo.repository import Repository
    from govsec.repo.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Window:
    """From one base backup to the end of its log: any transaction in between can be had."""

    base: str
    start: datetime
    end: datetime
    first: str
    last: str
    #: Why it ends there; empty while the log goes on.
    broken: str


@dataclass(frozen=True, slots=True)
class CenterState:
    """What one center has of the job."""

    center: str
    role: str
    #: Why nothing is known; empty when it is.
    error: str = ""
    snapshot: str = ""
    windows: tuple[Window, ...] = ()
    gaps: tuple[str, ...] = ()
    #: How old a recovery from here would be.
    recovery_point_age_s: float | None = None


@dataclass(frozen=True, slots=True)
class ServerState:
    """What the server says now."""

    error: str = ""
    place: str = ""
    oldest_log: str = ""
    #: Log that the newest recovery point of any center lacks; None where it cannot be said.
    behind_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class JobState:
    """All of it."""

    job: str
    server: ServerState
    centers: tuple[CenterState, ...]

    @property
    def is_good(self) -> bool:
        """Every center answers and has a window that still goes on."""
        return all(not center.error and any(not window.broken for window in center.windows) for center in self.centers)


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What reading a job's log and base backups of one center found."""

    center: str
    snapshot: str
    files: int
    size_bytes: int
    events: int
    transactions: int
    gaps: int
    problems: tuple[str, ...]


def state_of(site: Site, system: SystemConfig, job: BackupConfig, source: MariadbSourceConfig) -> JobState:
    """The windows of recovery in each center. What does not answer is named, and is no error."""
    centers: list[CenterState] = []
    newest: LogRecord | None = None
    for name, center in site.config.centers.items():
        try:
            repository = site.repository(system, name)
            snapshot, record = newest_point(site, system, job, name, repository)
        except GovsecError as error:
            centers.append(CenterState(name, center.role.value, error=str(error)))
            continue
        if newest is None or record.written > newest.written:
            newest = record
        centers.append(_center_state(name, center.role.value, snapshot, record, site.clock.now()))
    return JobState(job.name, _server_state(source, newest), tuple(centers))


def newest_point(
    site: Site, system: SystemConfig, job: BackupConfig, center: str, repository: Repository
) -> tuple[Snapshot, LogRecord]:
    """The newest recovery point at a center. Raises ``RefusedError`` when there is none; else as reading does."""
    store = site.read_store(system, center)
    repository.load_index()
    snapshot = next(log_snapshots(site, store, repository, job.name), None)
    if snapshot is not None:
        return snapshot, log_record(repository, snapshot, job.name)
    snapshot = next(base_snapshots(site, store, repository, job.name), None)
    if snapshot is None:
        raise RefusedError(f"center {center}: there is no recovery point of job {job.name}")
    bases = tuple(base_records(repository, snapshot, job.name))
    return snapshot, LogRecord(job=job.name, written=snapshot.time, bases=bases)


def verify_job(
    site: Site, system: SystemConfig, job: BackupConfig, center: str, progress: ProgressSink = silent
) -> VerifyReport:
    """Read the log of the newest recovery point at a center, every event of it, and compare it with its record.

    Raises:
        RefusedError: there is no recovery point. StoreError, IntegrityError: it cannot be read at all.
    """
    name = site.center(center)[0]
    repository = site.repository(system, name)
    snapshot, record = newest_point(site, system, job, name, repository)
    verification = _Verification(repository, snapshot, record, progress)
    verification.run()
    return VerifyReport(
        name,
        snapshot.id,
        verification.files,
        verification.size_bytes,
        verification.events,
        verification.transactions,
        sum(bool(line.broken) for line in record.lines),
        tuple(verification.problems),
    )


class _Verification:
    """Reads one recovery point's log."""

    def __init__(self, repository: Repository, snapshot: Snapshot, record: LogRecord, progress: ProgressSink) -> None:
        self._repository = repository
        self._snapshot = snapshot
        self._record = record
        self._progress = progress
        self.files = self.size_bytes = self.events = self.transactions = 0
        self.problems: list[str] = []

    def run(self) -> None:
        """All lines, all files."""
        for line in self._record.lines:
            bases = [base for base in self._record.bases if line_of(self._record, base) == line]
            try:
                self._read_line(line, bases)
            except GovsecError as error:
                self.problems.append(f"line {line.number}: {error}")
        for base in self._record.bases:
            path = f"{root_of(self._record.job)}/base/{base.id}"
            try:
                find_entry(self._repository, self._snapshot, os.fsencode(path))
            except GovsecError as error:
                self.problems.append(f"base backup {base.id}: {error}")

    def _read_line(self, line: LineRecord, bases: list[BaseRecord]) -> None:
        wanted = {(base.place.file, base.place.position): base for base in bases if base.place is not None}
        transactions, last = Transactions(), None
        for name in files_between(line.first.file, line.end.file):
            check = FileCheck(name)
            head: list[Event] = []
            for event in self._events(line, name):
                check.take(event)
                if len(head) < HEAD_EVENTS:
                    head.append(event)
                self.events += 1
                commit = transactions.take(event, name, check.position, is_checked=check.is_checked)
                if commit is not None:
                    self.transactions += 1
                    last = commit
                wanted.pop((name, check.position), None)
            self._compare_heads(name, head, bases)
            if name == line.end.file and check.position != line.end.position:
                raise IntegrityError(f"binary log {name}: {check.position} bytes, its record says {line.end.position}")
        if line.commit is not None and (last is None or (last.file, last.position) != line.commit_place):
            raise IntegrityError(f"the last transaction is not the one of the record, {line.commit}")
        for place, base in wanted.items():
            if place[1] != 4:
                self.problems.append(f"base backup {base.id}: no event of the log ends at {base.place}")

    def _compare_heads(self, name: str, head: list[Event], bases: list[BaseRecord]) -> None:
        for base in bases:
            if base.place is not None and base.place.file == name and base.head and head_of(head) != base.head:
                self.problems.append(f"base backup {base.id}: was made with another {name} than the one that is here")

    def _events(self, line: LineRecord, name: str) -> Iterator[Event]:
        path = f"{root_of(self._record.job)}/{log_path(line.number, name)}"
        node = find_entry(self._repository, self._snapshot, os.fsencode(path)).node
        self.files += 1
        self.size_bytes += node.size
        self._progress(Progress("verify", done_bytes=self.size_bytes, done_items=self.files))
        yield from read_event_stream(cast(BinaryIO, _Reader(dump_file(self._repository, node))), name)


class _Reader:
    """The blobs of a file, read as a file."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._buffer = bytearray()

    def read(self, size: int) -> bytes:
        while len(self._buffer) < size and (piece := next(self._pieces, b"")):
            self._buffer += piece
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data


def _center_state(name: str, role: str, snapshot: Snapshot, record: LogRecord, now: datetime) -> CenterState:
    windows = tuple(_window(record, base, line_of(record, base)) for base in record.bases)
    gaps = tuple(f"after {line.end}: {line.broken}" for line in record.lines if line.broken)
    ends = [window.end for window in windows]
    age_s = None if not ends else max(0.0, (now - max(ends)).total_seconds())
    return CenterState(name, role, "", snapshot.id, windows, gaps, age_s)


def _window(record: LogRecord, base: BaseRecord, line: LineRecord | None) -> Window:
    place = str(base.place) if base.place is not None else "no log"
    if line is None:
        return Window(base.id, base.ended, base.ended, place, place, "" if not record.lines else "no log follows it")
    commit, end = line.commit, end_of(record, base, line)
    last = str(commit) if commit is not None and base.place and commit.order > base.place.order else place
    return Window(base.id, base.ended, end, place, last, line.broken)


def _server_state(source: MariadbSourceConfig, record: LogRecord | None) -> ServerState:
    try:
        with Server(address_of(source)) as server:
            facts, logs = server.facts(), server.logs()
    except GovsecError as error:
        return ServerState(error=str(error))
    line = record.lines[-1] if record is not None and record.lines else None
    behind: int | None = None
    if line is not None and not line.broken and line.end.file in dict(logs):
        later = [size for name, size in logs if LogPlace(file=name, position=4).order > (line.end.order[0], 4)]
        behind = max(0, dict(logs)[line.end.file] - line.end.position) + sum(later)
    return ServerState("", f"{facts.log_file}:{facts.log_position}", logs[0][0] if logs else "", behind)
