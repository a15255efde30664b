"""All events of a host as one stream in order of time, from the best source of each kind that can be had.

One idea: of each kind (processes, files, log-ins) there is a list of sources, best first. The first that opens is read;
why a better one could not be had is told as a :class:`WatchNote`, and when one fails later the next takes over, with an
:class:`EventsLost`. Nothing runs in the background: ``read`` waits for the kernel, so an idle machine costs nothing,
and who does not read is told by the sources what he lost.

Records are held for ``SETTLE_S`` until those of slower sources that belong before them have come. Log lines that are
older than that come late; they are counted, and are in order among themselves. Everything is opened by ``open_stream``;
after that rights can be given up, as each source says.
"""

from __future__ import annotations

import select
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple, Self

from govsec.clock import Clock, to_ns
from govsec.host.api import Source, SourceUnavailableError
from govsec.host.events import EventsLost, Record, Stage, WatchNote
from govsec.host.fanotify import Fanotify
from govsec.host.filewatch import WatchOptions
from govsec.host.inotify import Inotify
from govsec.host.loginjournal import LoginJournal
from govsec.host.logins import LoginFiles, LoginOptions
from govsec.host.polling import FILES_MAX, Polling
from govsec.host.procconnector import ProcessConnector
from govsec.host.processes import ProcessReader
from govsec.host.processtree import ProcessTree
from govsec.host.procpolling import ProcessPolling
from govsec.host.tables import Process
from govsec.host.tree import Gaps, Tree

#: Longer than a source lets events gather.
SETTLE_S = 0.05
#: After this a record goes out whatever its time says: the clock may have been set back.
_HELD_MAX_S = 1.0
#: Records that are held, and that one read gives; the kernel's queues hold what does not fit.
RECORDS_MAX = 50_000
#: Every source is read so often, also when nothing came: some of its work is by time.
_TICK_S = 1.0
#: After the last source of a kind failed, the best is tried again.
_RETRY_S = 60.0
_MS = 1000


@dataclass(frozen=True)
class StreamOptions:
    """What is watched; ``None`` leaves a kind out."""

    has_processes: bool = True
    files: WatchOptions | None = None
    logins: LoginOptions | None = field(default_factory=LoginOptions)
    #: Between two looks at all files, where the kernel tells of no change.
    polling_round_s: float = 30.0
    #: In such a look; more are told.
    polling_files_max: int = FILES_MAX


class _Held(NamedTuple):
    time_ns: int
    number: int
    arrived_at: float
    record: Record


@dataclass
class _Lane:
    """One kind: its sources, best first, and the one that is read."""

    candidates: Sequence[Source]
    position: int = -1
    read_at: float = 0.0
    #: Its descriptor has something.
    is_ready: bool = False
    #: Until then what it has gathers; only after something came, or waiting for it would be work without end.
    paused_until: float = 0.0
    retry_at: float = 0.0
    #: Why nothing of this kind is watched, as it was told.
    told: str = ""

    @property
    def source(self) -> Source | None:
        return self.candidates[self.position] if self.position >= 0 else None

    @property
    def every_s(self) -> float:
        """How often it is read when nothing says that it has something."""
        source = self.source
        return source.pause_s if source is not None and source.descriptor() is None else _TICK_S


class EventStream:
    """Give it the sources of each kind, best first; a context manager."""

    def __init__(
        self, lanes: Iterable[Sequence[Source]], clock: Clock, *, on_close: Callable[[], None] | None = None
    ) -> None:
        self._lanes = [_Lane(tuple(candidates)) for candidates in lanes]
        self._clock = clock
        self._on_close = on_close
        self._held: list[_Held] = []
        self._number = 0
        self._released_ns = 0
        self._release_at = 0.0
        self._polls: dict[tuple[int, ...], select.poll] = {}
        self._counts: Counter[str] = Counter(records=0, late=0, fallbacks=0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def open(self) -> None:
        """Open the best source of each kind.

        Raises:
            SourceUnavailableError: there is none of any kind; nothing is left open.
        """
        for lane in self._lanes:
            self._open_next(lane)
        if all(lane.source is None for lane in self._lanes):
            reasons = "; ".join(held.record.text for held in self._held if isinstance(held.record, WatchNote))
            self.close()
            raise SourceUnavailableError(
                f"nothing of this machine can be watched: {reasons or 'nothing was asked for'}"
            )

    def close(self) -> None:
        """Stop watching; may be called twice."""
        for lane in self._lanes:
            if lane.source is not None:
                lane.source.close()
            lane.position = -1
        if self._on_close is not None:
            self._on_close()
            self._on_close = None

    def sources(self) -> Mapping[Stage, tuple[str, ...]]:
        """The names of what is read, by kind; a kind that nothing watches has none."""
        found: dict[Stage, tuple[str, ...]] = {}
        for lane in self._lanes:
            stage = lane.candidates[0].stage
            names = (lane.source.name,) if lane.source is not None else ()
            found[stage] = found.get(stage, ()) + names
        return found

    def counters(self) -> Mapping[str, int]:
        """What was seen and lost, as ``source.counter``; of the stream itself as ``stream.counter``."""
        found = {f"stream.{name}": count for name, count in self._counts.items()}
        found["stream.held"] = len(self._held)
        for lane in self._lanes:
            if lane.source is not None:
                found |= {f"{lane.source.name}.{name}": count for name, count in lane.source.counters().items()}
        return found

    def read(self, timeout_s: float) -> tuple[Record, ...]:
        """What happened, in order of time; empty after ``timeout_s`` without anything. At most ``RECORDS_MAX``."""
        now = self._clock.monotonic()
        deadline = now + timeout_s
        self._wait(now, now)
        while True:
            self._collect()
            released = self._release()
            now = self._clock.monotonic()
            if released or now >= deadline:
                return released
            self._wait(now, deadline)

    def _collect(self) -> None:
        now = self._clock.monotonic()
        for lane in self._lanes:
            if len(self._held) >= RECORDS_MAX:
                return  # the kernel keeps the rest, and says what it could not keep
            if lane.source is None:
                if lane.candidates and now >= lane.retry_at:
                    self._open_next(lane)
            elif lane.is_ready or now - lane.read_at >= lane.every_s:
                self._read_one(lane, lane.source, now)

    def _read_one(self, lane: _Lane, source: Source, now: float) -> None:
        lane.paused_until = now + source.pause_s if lane.is_ready else now
        lane.read_at, lane.is_ready = now, False
        try:
            records = source.read()
        except SourceUnavailableError as error:
            source.close()
            self._hold(EventsLost(self._now_ns(), source.stage, f"{source.name} failed: {error}", 0))
            self._open_next(lane)
            return
        for record in records:
            self._hold(record)

    def _open_next(self, lane: _Lane) -> None:
        """The best source after the one that failed, or the best of all when none was left."""
        self._polls.clear()
        reasons: list[str] = []
        for position in range(lane.position + 1, len(lane.candidates)):
            source = lane.candidates[position]
            try:
                source.open()
            except SourceUnavailableError as error:
                reasons.append(str(error))
                continue
            lane.position, lane.read_at, lane.told = position, self._clock.monotonic(), ""
            if position:
                self._counts["fallbacks"] += 1
                text = f"{source.name} is used; {'; '.join(reasons) or 'what is better failed'}"
                self._hold(WatchNote(self._now_ns(), source.stage, source.name, True, text))
            return
        lane.position, lane.retry_at = -1, self._clock.monotonic() + _RETRY_S
        text = f"not watched: {'; '.join(reasons) or 'all sources failed'}"
        if text != lane.told:
            lane.told = text
            self._hold(WatchNote(self._now_ns(), lane.candidates[0].stage, "none", True, text))

    def _hold(self, record: Record) -> None:
        self._number += 1
        self._held.append(_Held(record.time_ns, self._number, self._clock.monotonic(), record))

    def _release(self) -> tuple[Record, ...]:
        """What nothing can come before any more; looked for a few times in ``SETTLE_S``, not at every event."""
        now = self._clock.monotonic()
        if not self._held or (now < self._release_at and len(self._held) < RECORDS_MAX):
            return ()
        self._release_at = now + SETTLE_S / 2
        self._held.sort()
        count = RECORDS_MAX
        if len(self._held) < RECORDS_MAX:
            count = bisect_right(self._held, self._now_ns() - int(SETTLE_S * 1e9), key=lambda held: held.time_ns)
            stuck_at = now - _HELD_MAX_S
            while count < len(self._held) and self._held[count].arrived_at <= stuck_at:
                count += 1
        released = tuple(held.record for held in self._held[:count])
        del self._held[:count]
        if released:
            self._counts["records"] += len(released)
            self._counts["late"] += sum(1 for record in released if record.time_ns < self._released_ns)
            self._released_ns = released[-1].time_ns
        return released

    def _wait(self, now: float, deadline: float) -> None:
        """Until a source that may be read has something, or is due, or something that is held is due."""
        until = deadline
        if self._held:
            until = min(until, self._release_at)
        waiting: dict[int, _Lane] = {}
        for lane in self._lanes:
            source = lane.source
            if source is None:
                until = min(until, lane.retry_at)
                continue
            until = min(until, lane.read_at + lane.every_s)
            descriptor = source.descriptor()
            if descriptor is None:
                continue
            if lane.paused_until > now:
                until = min(until, lane.paused_until)
            else:
                waiting[descriptor] = lane
        wait_s = max(0.0, until - now)
        if waiting:
            for descriptor, _ in self._poll_of(tuple(waiting)).poll(wait_s * _MS):
                waiting[descriptor].is_ready = True
        elif wait_s:
            self._clock.sleep(wait_s)

    def _poll_of(self, descriptors: tuple[int, ...]) -> select.poll:
        """What waits for these; there are few combinations, and making one costs as much as asking it."""
        poll = self._polls.get(descriptors)
        if poll is None:
            poll = self._polls[descriptors] = select.poll()
            for descriptor in descriptors:
                poll.register(descriptor, select.POLLIN)
        return poll

    def _now_ns(self) -> int:
        return to_ns(self._clock.now())


def open_stream(options: StreamOptions, clock: Clock) -> EventStream:
    """The open stream of this machine's events; read it, and close it.

    Raises:
        SourceUnavailableError: nothing that was asked for can be watched.
    """
    try:
        reader = ProcessReader(Tree.at(Path("/")))
    except OSError as error:
        raise SourceUnavailableError(f"/proc: {error.strerror}") from error

    def read_one(pid: int) -> Process | None:
        try:
            return reader.read(pid)
        except OSError:
            return None  # not ours to look at (hidepid), or no descriptor is free

    def read_all() -> tuple[Process, ...]:
        return reader.read_all(Gaps())

    tree = ProcessTree(read_one)
    lanes: list[Sequence[Source]] = []
    if options.has_processes:
        lanes.append((ProcessConnector(tree, read_all, clock), ProcessPolling(tree, read_all, clock)))
    if options.files is not None:
        lanes.append(
            (
                Fanotify(options.files, tree, clock),
                Fanotify(options.files, tree, clock, is_whole=False),
                Inotify(options.files, clock),
                Polling(options.files, clock, round_s=options.polling_round_s, files_max=options.polling_files_max),
            )
        )
    if options.logins is not None:
        lanes += _login_lanes(options.logins, clock)
    stream = EventStream(lanes, clock, on_close=reader.close)
    stream.open()
    return stream


def _login_lanes(options: LoginOptions, clock: Clock) -> Iterable[Sequence[Source]]:
    """System logs as files, else the journal: systems that have both write each line to both."""
    if options.auth_logs:
        files = LoginFiles(replace(options, web_logs=()), clock)
        yield files, LoginJournal(clock, is_from_start=options.is_from_start, places=options.places)
    if options.web_logs:
        yield (LoginFiles(replace(options, auth_logs=()), clock),)
