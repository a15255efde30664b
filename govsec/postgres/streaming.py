"""The stream of a server's log into a repository: read, taken into the tree, committed every window, then confirmed.

The one rule is the order at the end: *confirmed to the server is what a receipt covers, and nothing else*. Whatever
dies in between, the server still has what no center has, and the next run asks for it from the byte where the last
committed snapshot ended.

A center that does not answer does not end the stream: windows wait, up to a limit nothing more is read, and the
server's slot keeps the rest. What a restart cannot mend either (another cluster, a wrong timeline) ends it at once.
When log is gone that nobody has, that is committed as a gap, told as an error, and the next run goes on behind it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from govsec.backup.archive import ArchiveResult
from govsec.clock import Clock, to_ns
from govsec.errors import IntegrityError, LockedError, RefusedError, StoreUnavailableError
from govsec.postgres.connection import Account, Connection, LogGoneError, SlotActiveError
from govsec.postgres.logbook import Base, Logbook
from govsec.postgres.nonce import NoncePlanter
from govsec.postgres.replication import (
    Identity,
    LogStream,
    Piece,
    Switched,
    identify,
    log_end,
    segment_size,
    timeline_history,
)
from govsec.postgres.slots import SlotState, create_slot, drop_slot, slot_state, start_of, take_place
from govsec.postgres.wal import format_lsn, parse_history

log = logging.getLogger(__name__)

#: A window is saved early when so much waits, and nothing more is read when a store does not take it.
_PENDING_SAVE_BYTES = 8 << 20
_PENDING_MAX_BYTES = 64 << 20
#: The server hangs up on us after ``wal_sender_timeout`` (60 s unless set) without a word.
_CONFIRM_EVERY_S = 10.0
#: With nothing new, a snapshot still says that the log is complete up to now.
_IDLE_SAVE_S = 60.0
_RETRY_S_MAX = 30.0
_READ_S = 1.0
_DROP_WAIT_S = 90.0


class Session(Protocol):
    """What commits; :class:`govsec.assemble.live.LiveSession` is one."""

    def commit(self, result: ArchiveResult) -> object:
        """Commit a snapshot. Raises ``StoreUnavailableError`` while the centers do not take it; it waits then."""
        ...

    def tend(self) -> Sequence[object]:
        """Before each window: hold the lock, commit what waits; the receipts of that.

        Raises ``LockedError`` while a prune has the repository.
        """
        ...


@dataclass(frozen=True, slots=True)
class StreamSettings:
    """How a stream works; see :class:`govsec.postgresentry.PostgresSourceConfig`."""

    slot: str
    slot_bytes_max: int
    is_dropping_full: bool
    window_s: float
    bases_kept: int
    nonce_database: str
    nonce_every_s: float
    #: How often the server is asked what the slot keeps.
    slot_check_s: float = 30.0


@dataclass(frozen=True, slots=True)
class WindowReport:
    """What became of a window: everything up to ``position`` is committed."""

    position: int
    #: What the session gave for the snapshot; None when there was nothing to commit.
    receipt: object | None
    #: From the moment when the server sent the oldest byte of it to the receipt.
    lag_s: float | None


class SlotFullError(RefusedError):
    """The slot keeps more of the server's disk than it may, and the centers do not take the log."""


class Streamer:
    """Runs one stream into the tree ``place`` (see :func:`govsec.postgres.slots.take_place`).

    ``new_bases`` gives base backups that were committed and are not in the log's tree yet.
    """

    def __init__(
        self,
        logbook: Logbook,
        session: Session,
        account: Account,
        settings: StreamSettings,
        clock: Clock,
        *,
        place: str,
        say: Callable[[str], None] = lambda text: None,
        new_bases: Callable[[], Sequence[tuple[Base, bytes]]] = tuple,
        committed: Callable[[Logbook, WindowReport], None] = lambda logbook, report: None,
        alive: Callable[[], None] = lambda: None,
    ) -> None:
        self._logbook = logbook
        self._session = session
        self._account = account
        self._settings = settings
        self._clock = clock
        #: What this log's tree is called among all that the server knows of.
        self._place = place
        self._say = say
        self._new_bases = new_bases
        self._committed = committed
        #: Called every few seconds, also while the centers take nothing.
        self._alive = alive
        #: What the newest receipt covers.
        self.confirmed = 0
        self.windows_count = 0
        self._saved_position = -1
        self._saved_at = self._confirmed_at = self._looked_at = clock.monotonic()
        self._next_save = 0.0
        self._retry_s = settings.window_s
        #: When the server sent the oldest byte that no receipt covers.
        self._oldest_ns: int | None = None
        #: Why nothing is taken just now; empty while all is well.
        self._waiting_for = ""

    def run(self, is_stopped: Callable[[], bool]) -> None:
        """Stream until ``is_stopped``; what has arrived by then is committed.

        Raises:
            HostUnreachableError: the server went away; nothing is lost, and a new run carries on.
            LogGoneError: log is gone that nobody has; the gap is committed, and a new run goes on behind it.
            LockedError: another streamer reads from the slot.
            IntegrityError: another cluster, or a server whose log is not the one that this one continues.
            StoreError, RefusedError: the centers take nothing; what was not committed was not confirmed.
        """
        try:
            self._run(is_stopped)
        except SlotFullError:
            # The connection that kept the slot busy is closed by now; the server may need a moment to notice.
            self._drop()
            raise

    def _run(self, is_stopped: Callable[[], bool]) -> None:
        account, clock, settings = self._account, self._clock, self._settings
        with (
            Connection.open(account, clock, is_replication=True) as server,
            Connection.open(account, clock, database=settings.nonce_database) as database,
        ):
            take_place(database, self._place)
            identity = identify(server)
            planter = NoncePlanter(database, clock, settings.nonce_database, settings.nonce_every_s)
            self._prepare(server, database, identity)
            self._next_save = clock.monotonic()
            while not is_stopped():
                stream = self._start(server)
                switched = self._follow(stream, database, planter, is_stopped)
                if switched is not None:
                    history = timeline_history(server, switched.timeline)
                    self._say(f"{server.name}: timeline {switched.timeline} at {format_lsn(switched.position)}")
                    self._logbook.switch(switched.timeline, history, switched.position)

    def _drop(self) -> None:
        deadline = self._clock.monotonic() + _DROP_WAIT_S
        while True:
            try:
                with Connection.open(self._account, self._clock, is_replication=True) as server:
                    drop_slot(server, self._settings.slot)
                return
            except SlotActiveError:
                if self._clock.monotonic() > deadline:
                    raise
                self._clock.sleep(_READ_S)

    def _follow(
        self, stream: LogStream, database: Connection, planter: NoncePlanter, is_stopped: Callable[[], bool]
    ) -> Switched | None:
        """Read until the timeline ends, or until told to stop."""
        while True:
            if is_stopped():
                self._window(stream, is_last=True)
                return None
            if self._logbook.tree.pending_bytes < _PENDING_MAX_BYTES:
                message = stream.read(self._left_s())
                match message:
                    case Piece():
                        self._take(message)
                    case Switched():
                        return message
                    case _:
                        pass
            else:
                self._clock.sleep(min(_READ_S, self._left_s()))
            if self._is_due():
                self._tend(database, planter)
                self._window(stream)
            elif self._clock.monotonic() - self._confirmed_at >= _CONFIRM_EVERY_S:
                self._confirm(stream)

    def _take(self, piece: Piece) -> None:
        self._logbook.write(piece.start, piece.data, sent_ns=piece.sent_ns)
        self._oldest_ns = self._oldest_ns or piece.sent_ns

    def _window(self, stream: LogStream, *, is_last: bool = False) -> None:
        """Commit what came, and confirm it; while the centers do not take it, the next call tries again."""
        now = self._clock.monotonic()
        receipts: list[object] = []
        try:
            # First: it brings back what was away, and locks again what was given to a prune.
            receipts = list(self._session.tend())
            for base, tree_id in self._new_bases():
                self._logbook.add_base(base, tree_id, kept=self._settings.bases_kept)
                self._saved_position = -1
            position = self._logbook.position
            is_idle_over = now - self._saved_at >= _IDLE_SAVE_S or (is_last and self._logbook.is_changed)
            if position != self._saved_position or is_idle_over:
                result = self._logbook.save()
                self._saved_position, self._saved_at = position, now
                receipts.append(self._session.commit(result))
                self.windows_count += 1
        except (StoreUnavailableError, LockedError) as error:
            if str(error) != self._waiting_for:
                self._say(f"{error}; the server keeps its log meanwhile")
            self._waiting_for = str(error)
            self._retry_s = min(2 * self._retry_s, _RETRY_S_MAX)
            self._next_save = self._clock.monotonic() + self._retry_s
        else:
            if self._waiting_for:
                self._say("the centers take the log again")
            self._waiting_for, self._retry_s = "", self._settings.window_s
            self._next_save = self._clock.monotonic() + self._settings.window_s
            # Everything that was saved is committed now: commits go in order, and none waits.
            self.confirmed = self._saved_position
            lag_s = None
            if self._oldest_ns is not None and receipts:
                lag_s = round((to_ns(self._clock.now()) - self._oldest_ns) / 1e9, 6)
            self._oldest_ns = None
            self._committed(self._logbook, WindowReport(self.confirmed, receipts[-1] if receipts else None, lag_s))
        self._confirm(stream)

    def _confirm(self, stream: LogStream) -> None:
        self._alive()
        self._confirmed_at = self._clock.monotonic()
        stream.confirm(self.confirmed, self._logbook.position)

    def _tend(self, database: Connection, planter: NoncePlanter) -> None:
        planted = planter.tend(self._logbook.position)
        if planted is not None:
            self._logbook.plant(planted)
        # Asked, because a server that hears from us says nothing by itself, and what it does say is how far it has
        # sent. The moment is the server's own, as those of its commits are.
        end, moment = log_end(database)
        if self._logbook.position >= end:
            self._logbook.current(moment)
        now = self._clock.monotonic()
        if now - self._looked_at >= self._settings.slot_check_s:
            self._looked_at = now
            self._look_at(slot_state(database, self._settings.slot), database.name)

    def _look_at(self, state: SlotState | None, server: str) -> None:
        limit_bytes = self._settings.slot_bytes_max
        if state is not None and state.kept_bytes > limit_bytes:
            words = (
                f"{server}: slot {state.name} keeps {state.kept_bytes} bytes of log; slot_bytes_max is {limit_bytes}"
            )
            # While the centers take the log, reading on is what makes the slot smaller.
            if self._settings.is_dropping_full and self._waiting_for:
                raise SlotFullError(f"{words}; it is given up so that the server's disk does not fill")
            self._say(words)

    def _prepare(self, server: Connection, database: Connection, identity: Identity) -> None:
        """See that the server is the right one, that there is a slot, and where to begin."""
        logbook, name = self._logbook, self._settings.slot
        size = segment_size(server)
        state = slot_state(database, name)
        if state is not None and state.is_lost:
            self._say(f"{server.name}: the server has given up the log of slot {name}; it is made anew")
            drop_slot(server, name)
            state = None
        if state is None:
            if logbook.page is not None:
                self._say(f"{server.name}: slot {name} is not there; it is made anew")
            create_slot(server, name)
            state = slot_state(database, name)
        logbook.begin(
            system_id=identity.system_id,
            server_version=server.version,
            size=size,
            timeline=identity.timeline,
            position=start_of(state, name, size),
        )
        self._check_history(server, identity)

    def _check_history(self, server: Connection, identity: Identity) -> None:
        page, position = self._logbook.known, self._logbook.position
        if identity.timeline < page.timeline:
            raise IntegrityError(
                f"{server.name} is on timeline {identity.timeline}; this log has gone on to timeline {page.timeline}: "
                "an old primary, or one that was restored to an earlier time"
            )
        if identity.timeline == page.timeline:
            if position > identity.position:
                raise IntegrityError(
                    f"{server.name}: its log ends at {format_lsn(identity.position)}, before the "
                    f"{format_lsn(position)} that is here: it was restored to an earlier time"
                )
            return
        history = timeline_history(server, identity.timeline)
        for branch in parse_history(history, identity.timeline):
            if branch.timeline == page.timeline and branch.end is not None and position >= branch.end:
                if position > branch.end:
                    self._say(
                        f"{server.name}: {position - branch.end} bytes of timeline {page.timeline} are here that the "
                        "new primary never had"
                    )
                self._logbook.switch(identity.timeline, history, branch.end)

    def _start(self, server: Connection) -> LogStream:
        logbook, name = self._logbook, self._settings.slot
        page = logbook.known
        try:
            stream = LogStream(server, self._clock, slot=name, position=logbook.position, timeline=page.timeline)
            # The first message tells whether the server still has it.
            first = stream.read(_READ_S)
        except LogGoneError as error:
            with Connection.open(self._account, self._clock, is_replication=True) as fresh:
                with Connection.open(self._account, self._clock) as database:
                    start = start_of(slot_state(database, name), name, page.segment_size)
                identity = identify(fresh)
                self._skip(fresh, identity, start, str(error))
            raise AssertionError("_skip raises") from error
        if isinstance(first, Piece):
            self._take(first)
        return stream

    def _skip(self, server: Connection, identity: Identity, start: int, why: str) -> None:
        """Commit the gap, and tell it as an error."""
        gap = self._logbook.skip_to(start, identity.timeline, why)
        self._session.commit(self._logbook.save())
        raise LogGoneError(
            f"{server.name}: the log from {gap.start} to {gap.end} is gone ({why}); it is marked as a gap, a base "
            "backup is needed now, and the next run goes on behind it"
        )

    def _is_due(self) -> bool:
        is_much = self._logbook.tree.pending_bytes >= _PENDING_SAVE_BYTES and not self._waiting_for
        return is_much or self._clock.monotonic() >= self._next_save

    def _left_s(self) -> float:
        return max(0.0, min(_READ_S, self._next_save - self._clock.monotonic()))
