"""The guard of one machine: records and snapshots go in, findings come out.

One idea: a step takes what happened since the last one, adds what only a second look can tell (heads of files that were
written, files of the baseline that were touched, logs, keys, the views of processes and modules), and asks all
detectors. It never waits: what it looks at is bounded, and dear looks come at intervals. Time is the records'; that of
its own looks is given by the caller.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from govsec.errors import GovsecError
from govsec.findings.api import SECOND_NS
from govsec.findings.engine import Engine
from govsec.findings.tables import Recent
from govsec.guard.api import Actor, BaselineRefused, GuardRecord, LooseImage, Observation
from govsec.guard.canaries import Canaries
from govsec.guard.integrity import Integrity
from govsec.guard.keyview import KeyView
from govsec.guard.logview import LogView
from govsec.guard.loose_image import MEMORY_PREFIX
from govsec.guard.moduleview import ModuleView
from govsec.guard.processview import ProcessView
from govsec.guard.sampling import Sampler
from govsec.guard.shortfalls import Shortfalls
from govsec.guard.successor import has_successor
from govsec.guard.trees import actor_of
from govsec.host.events import EventsLost, FileChange, LogCut, ProcessStarted, Record, Stage, WatchNote
from govsec.host.tables import Account, HostSnapshot, Process, Unavailable, lineage
from govsec.records import Finding

DEGRADED = "host.sensor.degraded"
_WRITERS_MAX = 4096
#: Clocks are set by seconds; what is further ahead than this, or goes further back, was wrong.
_CLOCKS_APART_NS = 300 * SECOND_NS
#: Files of the baseline that are looked at in one step; the rest follow in the next.
_TOUCHED_A_STEP = 200
_TOUCHED_MAX = 20_000


@dataclass(frozen=True, slots=True)
class Intervals:
    """Event time between dear looks."""

    look_s: int = 30
    pass_s: int = 3600


class HostGuard:
    """Detectors and looks, put together. Parts that are ``None`` are left out."""

    def __init__(
        self,
        engine: Engine[Observation],
        sampler: Sampler,
        *,
        canaries: Canaries | None = None,
        integrity: Integrity | None = None,
        logs: LogView | None = None,
        keys: KeyView | None = None,
        processes: ProcessView | None = None,
        modules: ModuleView | None = None,
        intervals: Intervals = Intervals(),
        refused: str | None = None,
        accepted: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        """``refused``: why the baseline that is there is not used. ``accepted``: what it left out, by reason."""
        self._engine = engine
        self._sampler = sampler
        self._canaries = canaries
        self._integrity = integrity
        self._logs = logs
        self._keys = keys
        self._processes = processes
        self._modules = modules
        self._intervals = intervals
        self._refused = refused
        self._shortfalls = Shortfalls(accepted)
        self._keys_unreadable = 0
        self._is_begun = False
        self._time_ns = 0
        self._look_due = 0
        self._pass_due = 0
        self._accounts: tuple[Account, ...] = ()
        self._writers: Recent[str, list[Actor]] = Recent(_WRITERS_MAX, list)
        self._touched: dict[str, Actor | None] = {}
        self._touched_dropped = 0

    def step(
        self, records: Sequence[Record], snapshot: HostSnapshot | None = None, *, now_ns: int
    ) -> tuple[Finding, ...]:
        """What is sure after these records. ``now_ns``: wall time of this moment."""
        note = self._tell_time(records, now_ns)
        seen: list[GuardRecord] = [*self._begin(), *note, *records, *self._canaries_again()]
        if snapshot is not None:
            seen.append(snapshot)
            if not isinstance(snapshot.accounts, Unavailable):
                self._accounts = snapshot.accounts
        changes = [record for record in records if isinstance(record, FileChange)]
        self._remember(changes)
        if self._canaries is not None:
            seen.extend(self._canaries.touched(changes))
        seen.extend(self._sampler.samples(changes))
        seen.extend(loose_images(records, snapshot))
        seen.extend(self._look_at_files(records))
        self._expect(records)
        if self._time_ns >= self._look_due:
            self._look_due = self._time_ns + self._intervals.look_s * SECOND_NS
            seen.extend(self._look())
            seen.extend(self._shortfalls.notes(self._time_ns, self._counters()))
        elif any(isinstance(record, LogCut) for record in records):
            seen.extend(self._look_at_logs())
        return self._engine.observe(Observation(self._time_ns, tuple(seen)))

    def _tell_time(self, records: Sequence[Record], now_ns: int) -> Sequence[WatchNote]:
        """Bring the guard's time forward; a record does so by minutes at most, whatever it says.

        Where the wall clock has gone back (it had been wrong, or somebody set it), time begins anew from there, and
        everything is looked at: else no look would be due again before the time that the clock had shown.
        """
        went_back_ns = self._time_ns - now_ns
        if went_back_ns > _CLOCKS_APART_NS:
            self._time_ns = now_ns
            self.look_again()
        latest_ns = max((record.time_ns for record in records), default=now_ns)
        self._time_ns = max(self._time_ns, now_ns, min(latest_ns, now_ns + _CLOCKS_APART_NS))
        if went_back_ns <= _CLOCKS_APART_NS:
            return ()
        text = f"the clock went back by {went_back_ns // SECOND_NS} s; everything is looked at again"
        return (WatchNote(self._time_ns, Stage.FILES, "clock", True, text),)

    def finish(self) -> tuple[Finding, ...]:
        """Nothing more comes: what is due now."""
        return self._engine.finish(self._time_ns)

    def look_again(self) -> None:
        """All looks are due at the next step, the pass over files too."""
        self._look_due = self._pass_due = 0

    def counters(self) -> dict[str, Mapping[str, int]]:
        """What every part did, left out and lost."""
        return {**self._counters(), **self._engine.counters()}

    def _counters(self) -> dict[str, Mapping[str, int]]:
        """Of the looks alone."""
        counters: dict[str, Mapping[str, int]] = {"sampler": self._sampler.state()}
        if self._integrity is not None:
            touched = {"touched_pending": len(self._touched), "touched_dropped": self._touched_dropped}
            counters["integrity"] = {**self._integrity.counters(), **touched}
        if self._logs is not None:
            counters["logs"] = self._logs.counters()
        if self._keys is not None:
            counters["keys"] = {"unreadable": self._keys_unreadable}
        return counters

    def _begin(self) -> Iterable[GuardRecord]:
        """What is wrong with the guard itself, told once."""
        if self._is_begun:
            return
        self._is_begun = True
        if self._refused is not None:
            yield BaselineRefused(self._time_ns, self._refused)
        elif self._integrity is None:
            text = "none has been accepted, so drift is not judged"
            yield WatchNote(self._time_ns, Stage.FILES, "no baseline", True, text)

    def _canaries_again(self) -> Iterable[WatchNote]:
        """Reads the list again. One that is damaged or gone is told, and the canaries known so far go on to count."""
        if self._canaries is None:
            return
        try:
            self._canaries.refresh()
        except GovsecError as error:
            yield WatchNote(self._time_ns, Stage.FILES, "canaries", True, str(error))

    def _remember(self, changes: Iterable[FileChange]) -> None:
        """Who wrote which file last, and which files of the baseline were touched."""
        for change in changes:
            actor = actor_of(change)
            for path in (change.path, change.old_path):
                if path is None:
                    continue
                if actor is not None:
                    self._writers.at(path)[:] = [actor]
                if self._integrity is not None and self._integrity.covers(path):
                    if len(self._touched) < _TOUCHED_MAX:
                        self._touched[path] = actor
                    else:
                        self._touched_dropped += 1
                        self._pass_due = 0

    def _look_at_files(self, records: Iterable[Record]) -> Iterable[GuardRecord]:
        integrity = self._integrity
        if integrity is None:
            return
        if any(isinstance(record, EventsLost) and record.stage is Stage.FILES for record in records):
            self._pass_due = 0  # what happened is not known, so everything is looked at
        if self._time_ns >= self._pass_due:
            self._pass_due = self._time_ns + self._intervals.pass_s * SECOND_NS
            self._touched.clear()
            yield integrity.everything(self._time_ns)
        elif self._touched or integrity.has_waiting:
            paths = list(self._touched)[:_TOUCHED_A_STEP]
            changed = {path: self._touched.pop(path) for path in paths}
            look = integrity.some(self._time_ns, changed)
            if look.differences:
                yield look

    def _look(self) -> Iterable[GuardRecord]:
        if self._canaries is not None:
            yield from self._canaries.missed(self._time_ns)
        yield from self._look_at_logs()
        if self._keys is not None:
            faults_count = self._keys.faults_count
            for file in self._keys.look(self._time_ns, self._accounts):
                yield replace(file, actor=self._writer(file.path))
            if (preload := self._keys.preload(self._time_ns)) is not None:
                yield replace(preload, actor=self._writer(preload.path))
            self._keys_unreadable = self._keys.faults_count - faults_count
        if self._processes is not None:
            yield self._processes.look(self._time_ns)
        if self._modules is not None and (look := self._modules.look(self._time_ns)) is not None:
            yield look

    def _look_at_logs(self) -> Iterable[GuardRecord]:
        if self._logs is not None:
            yield from self._logs.look(self._time_ns)

    def _expect(self, records: Iterable[Record]) -> None:
        """What followers of logs missed must be found, or is lost."""
        for record in records:
            if isinstance(record, LogCut) and self._logs is not None:
                self._logs.expect(record.path, record.position, record.mark)

    def _writer(self, path: str) -> Actor | None:
        known = self._writers.get(path)
        return known[0] if known else None


def loose_images(records: Iterable[Record], snapshot: HostSnapshot | None) -> Iterable[LooseImage]:
    """Processes whose file is gone, and whether an upgrade put another one there."""
    for record in records:
        if isinstance(record, ProcessStarted) and record.process.executable_deleted and not record.is_partial:
            yield _image(record.time_ns, Actor(record.process, record.ancestors))
    if snapshot is None or isinstance(snapshot.processes, Unavailable):
        return
    by_number: dict[int, Process] = {process.key.pid: process for process in snapshot.processes}
    for process in snapshot.processes:
        if process.executable_deleted:
            yield _image(snapshot.time_ns, Actor(process, lineage(by_number, process)[1:]))


def _image(time_ns: int, actor: Actor) -> LooseImage:
    process = actor.process
    path = process.executable or ""
    is_replaced = not path.startswith(MEMORY_PREFIX) and has_successor(process.key.pid, path)
    return LooseImage(time_ns, process.key, actor, is_replaced)
