"""Following a server's binary log: connect, take events, close windows, and begin again when the server comes back.

One stream a job: a lock of the server's own, held by the very connection that reads the log, keeps a second one out,
whatever machine it runs on. Before the log is read on, its last file is compared with the one that was taken: a server
that lost its tail, was reset, or is another one does not continue the line, it begins a new one, and the gap is in the
record.

A window is closed when the server has nothing more for a moment, or its time or size is reached. While a window cannot
be stored nothing more is read: the server keeps its log, so nothing is lost by waiting, and memory is bounded.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from govsec.clock import Clock
from govsec.errors import FormatError, HostUnreachableError, IntegrityError, LockedError, StoreError, TryAgainError
from govsec.mariadb.base import log_head
from govsec.mariadb.events import MAGIC, Event, EventType
from govsec.mariadb.logtree import LogTree
from govsec.mariadb.record import CommitRecord, LineRecord, LogPlace
from govsec.mariadb.server import Facts, LogUnreadableError, Server

log = logging.getLogger(__name__)

#: Between two tries to reach a server, doubled up to the longest.
_AGAIN_AFTER_S, _AGAIN_AFTER_MAX_S = 1.0, 30.0
#: A server notices at its next heartbeat that the one who held the lock has died; across a network it takes longer.
LOCK_WAIT_S = 75.0
_TEND_EVERY_S = 10.0


@dataclass(frozen=True, slots=True)
class Window:
    """What one window stored, for who reports on it."""

    commit: CommitRecord | None
    place: LogPlace
    size_bytes: int
    #: When its first event was taken, and when the server wrote it, as far as it says (whole seconds); None: no event.
    began: datetime
    written: datetime | None


@dataclass(frozen=True)
class Settings:
    """How the log is followed."""

    window_s: float = 1.0
    window_bytes: int = 16 << 20
    #: A server without news makes a recovery point so often, which says that there was none.
    quiet_s: float = 60.0
    replica: int = 1
    lock_name: str = "govsec"


@dataclass(slots=True)
class Counters:
    """What the stream did since it was started."""

    events: int = 0
    commits: int = 0
    windows: int = 0
    connections: int = 0
    gaps: int = 0
    waits: int = 0


@dataclass
class Hooks:
    """What the stream needs done by who started it."""

    #: Store and commit a window; raises StoreError when it cannot just now.
    save: Callable[[Window], None]
    #: Called every few seconds, between windows.
    tend: Callable[[], None]
    is_stopped: Callable[[], bool]
    say: Callable[[str], None]
    #: The oldest place that a base backup needs log from; where a first line begins.
    first_file: Callable[[Facts], str] = field(default=lambda facts: facts.log_file)


class Follower:
    """Follows one server for one job."""

    def __init__(
        self, connect: Callable[[], Server], log_tree: LogTree, settings: Settings, hooks: Hooks, clock: Clock
    ) -> None:
        self.counters = Counters()
        self.level_at: datetime | None = None
        self.server_version = ""
        self._connect = connect
        self._tree = log_tree
        self._settings = settings
        self._hooks = hooks
        self._clock = clock
        self._pending_bytes = 0
        self._began: datetime | None = None
        #: How far the server's clock is ahead of this one.
        self._ahead = timedelta()
        self._written: datetime | None = None
        self._deadline = 0.0
        self._tended = self._closed = clock.monotonic()

    def run(self) -> None:
        """Until it is told to stop; what was taken is stored then.

        Raises:
            ConfigurationError: the server lets nobody in with this, or its log is off. LockedError: another stream of
            this job is at work. FormatError: what the server sends makes no sense.
        """
        wait_s = _AGAIN_AFTER_S
        while not self._hooks.is_stopped():
            taken = self.counters.events
            try:
                self._follow_once()
            except HostUnreachableError as error:
                wait_s = _AGAIN_AFTER_S if self.counters.events > taken else min(2 * wait_s, _AGAIN_AFTER_MAX_S)
                self._hooks.say(f"{error}; trying again in {wait_s:g} s")
                self._close_window(is_final=self._hooks.is_stopped())
                self._pause(wait_s)
            except IntegrityError as error:
                if isinstance(error, FormatError):
                    raise
                # A damaged event was not taken. The server is asked again from the last good place, at its leisure.
                wait_s = min(2 * wait_s, _AGAIN_AFTER_MAX_S)
                self._hooks.say(f"{error}; asking the server again in {wait_s:g} s")
                self._close_window(is_final=self._hooks.is_stopped())
                self._pause(wait_s)
        self._close_window(is_final=True)

    def _follow_once(self) -> None:
        with self._connect() as server:
            facts = server.facts()
            self.server_version = facts.version
            self._ahead = facts.now - self._clock.now()
            self._take_lock(server)
            self.counters.connections += 1
            place = self._where(server, facts)
            self._tend()
            try:
                for event in server.dump(place.file, place.position, self._settings.replica):
                    self._take(event)
                    if self._hooks.is_stopped():
                        return
            except LogUnreadableError as error:
                # It was there a moment ago: purged between two questions. The next round finds out what is left.
                raise HostUnreachableError(str(error)) from error
        raise HostUnreachableError(f"{server.address}: ended its log")

    def _take_lock(self, server: Server) -> None:
        name = self._settings.lock_name
        deadline = self._clock.monotonic() + LOCK_WAIT_S
        is_told = False
        while (holder := server.lock(name)) is not None:
            if self._clock.monotonic() > deadline or self._hooks.is_stopped():
                raise LockedError(
                    f"{server.address}: another stream of this job is at work (connection {holder} of the server); "
                    "two of them would write the same log twice"
                )
            if not is_told:
                self._hooks.say(f"another stream holds the server's lock {name} (connection {holder}); waiting for it")
                is_told = True
            self._pause(1.0)

    def _where(self, server: Server, facts: Facts) -> LogPlace:
        """Where to read on; begins a new line where the old one does not go on."""
        if not facts.log_file:
            raise LogUnreadableError(f"{server.address}: its binary log is off; set log_bin")
        logs = dict(server.logs())
        line = self._tree.line
        if line is not None:
            reason = self._why_broken(line, logs)
            if not reason:
                return line.end
            self.counters.gaps += 1
            self._hooks.say(f"GAP in the log after {line.end}: {reason}; take a new base backup")
            self._tree.break_line(reason, self._clock.now())
            start = min(logs, key=lambda name: LogPlace(file=name, position=len(MAGIC)).order)
        else:
            start = self._hooks.first_file(facts)
            if start not in logs:
                start = facts.log_file
        self._tree.begin_line(start, facts.server_id)
        return LogPlace(file=start, position=len(MAGIC))

    def _why_broken(self, line: LineRecord, logs: dict[str, int]) -> str:
        size = logs.get(line.end.file)
        if size is None:
            return f"the server has {line.end.file} no more: it was purged before it was read, or the log was reset"
        if size < line.end.position:
            return f"the server's {line.end.file} has {size} bytes and {line.end.position} were taken: it lost its tail"
        if line.head:
            with self._connect() as other:
                if log_head(other, line.end.file, self._settings.replica) != line.head:
                    return f"the server's {line.end.file} is another one: its log was reset, or it is another server"
        return ""

    def _take(self, event: Event) -> None:
        now = self._clock.monotonic()
        commit = self._tree.take(event, self._clock.now() + self._ahead)
        if not event.is_artificial:
            self.counters.events += 1
            self.counters.commits += commit is not None
            if self._began is None:
                self._began, self._written = self._clock.now(), event.time
                self._deadline = now + self._settings.window_s
            self._pending_bytes += event.size
        is_quiet = event.type == EventType.HEARTBEAT
        if is_quiet and self._tree.is_level(event):
            self.level_at = self._clock.now() + self._ahead
            if self._began is None and now - self._closed >= self._settings.quiet_s:
                self._began = self._clock.now()
        is_due = is_quiet or now >= self._deadline or self._pending_bytes >= self._settings.window_bytes
        if self._began is not None and is_due:
            self._close_window(is_final=False)
        if now - self._tended >= _TEND_EVERY_S:
            self._tend()

    def _close_window(self, *, is_final: bool) -> None:
        """Store what was taken, however long the store takes to be there again; at the very end, once."""
        line = self._tree.line
        if self._began is None or line is None:
            return
        window = Window(line.commit, line.end, self._pending_bytes, self._began, self._written)
        wait_s = _AGAIN_AFTER_S
        while True:
            try:
                self._hooks.save(window)
                break
            except (StoreError, TryAgainError, LockedError) as error:
                if is_final or self._hooks.is_stopped():
                    raise
                self.counters.waits += 1
                self._hooks.say(f"the log waits: {error}; trying again in {wait_s:g} s")
                self._pause(wait_s)
                wait_s = min(2 * wait_s, _AGAIN_AFTER_MAX_S)
        self.counters.windows += 1
        self._began, self._written, self._pending_bytes = None, None, 0
        self._closed = self._clock.monotonic()

    def _tend(self) -> None:
        self._tended = self._clock.monotonic()
        try:
            self._hooks.tend()
        except (StoreError, LockedError) as error:
            self._hooks.say(str(error))

    def _pause(self, seconds: float) -> None:
        """Wait, but not past being told to stop; and keep the session's lock alive meanwhile."""
        deadline = self._clock.monotonic() + seconds
        while not self._hooks.is_stopped() and self._clock.monotonic() < deadline:
            self._clock.sleep(min(0.2, seconds))
            if self._clock.monotonic() - self._tended >= _TEND_EVERY_S:
                self._tend()
