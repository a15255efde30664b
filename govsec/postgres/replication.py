"""The log as it is written: START_REPLICATION on a physical slot, and what we say back.

Messages of the copy that goes both ways, numbers in network order, times in microseconds since 2000-01-01 UTC::

    w  u64 start of the data · u64 end of the server's log · i64 time · data      a piece of the log
    k  u64 end of the server's log · i64 time · u8 reply wanted                   alive
    r  u64 written · u64 flushed · u64 applied · i64 time · u8 reply wanted       ours

*Flushed* is a promise: the server throws away what it covers. So it is only ever what a receipt covers, and a server
that waits for us (``synchronous_standby_names``) waits for the centers.

Source: PostgreSQL documentation, "Streaming Replication Protocol".
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from datetime import UTC, datetime

from govsec.clock import Clock, to_ns
from govsec.errors import FormatError, HostUnreachableError
from govsec.postgres.connection import Connection, table
from govsec.postgres.wal import format_lsn, history_name, parse_lsn

_PIECE = struct.Struct("!QQq")
_ALIVE = struct.Struct("!QqB")
_STATUS = struct.Struct("!cQQQqB")
_LOG_END = """SELECT clock_timestamp(),
  CASE WHEN pg_is_in_recovery() THEN pg_last_wal_receive_lsn() ELSE pg_current_wal_flush_lsn() END"""
#: 2000-01-01 in nanoseconds since 1970.
_EPOCH_NS = 946_684_800 * 1_000_000_000


@dataclass(frozen=True, slots=True)
class Identity:
    """Which server it is, and where its log stands."""

    system_id: int
    timeline: int
    position: int


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes of the log."""

    start: int
    data: memoryview
    server_end: int
    sent_ns: int


@dataclass(frozen=True, slots=True)
class Alive:
    """Nothing new; the server's log ends at ``server_end``."""

    server_end: int
    sent_ns: int


@dataclass(frozen=True, slots=True)
class Switched:
    """The timeline has ended; the log goes on at ``position`` of the next one."""

    timeline: int
    position: int


def identify(server: Connection) -> Identity:
    """Which server answers, and where its log stands. Raises ``FormatError``."""
    rows = server.rows("IDENTIFY_SYSTEM")
    system_id, timeline, position = rows[0][:3] if rows and len(rows[0]) >= 3 else (None, None, None)
    if not system_id or not timeline or not position or not system_id.isdigit() or not timeline.isdigit():
        raise FormatError(f"{server.name}: does not say which server it is")
    return Identity(int(system_id), int(timeline), parse_lsn(position))


def log_end(database: Connection) -> tuple[int, datetime]:
    """Where the server's log ends on its disk, and its own clock just before. Raises ``FormatError``."""
    rows = database.rows(_LOG_END)
    moment, end = rows[0] if rows and len(rows[0]) == 2 else (None, None)
    if moment is None or end is None:
        raise FormatError(f"{database.name}: does not say where its log ends")
    try:
        return parse_lsn(end), datetime.fromisoformat(moment).astimezone(UTC)
    except ValueError as error:
        raise FormatError(f"{database.name}: its clock says {moment[:40]!r}") from error


def segment_size(server: Connection) -> int:
    """Bytes of a segment of its log. Raises ``FormatError``."""
    text = server.value("SHOW wal_segment_size") or ""
    for unit, factor in (("GB", 1 << 30), ("MB", 1 << 20), ("kB", 1 << 10), ("B", 1)):
        if text.endswith(unit) and text.removesuffix(unit).isdigit():
            return int(text.removesuffix(unit)) * factor
    raise FormatError(f"{server.name}: wal_segment_size is {text[:20]!r}")


def timeline_history(server: Connection, timeline: int) -> bytes:
    """The history file of a timeline. Raises as :func:`govsec.postgres.connection.error_of`."""
    rows = server.rows(f"TIMELINE_HISTORY {timeline}")
    if not rows or rows[0][0] != history_name(timeline) or rows[0][1] is None:
        raise FormatError(f"{server.name}: gives no history of timeline {timeline}")
    return rows[0][1].encode()


class LogStream:
    """The log from a position on. Close the connection to end it."""

    def __init__(self, server: Connection, clock: Clock, *, slot: str, position: int, timeline: int) -> None:
        self._server = server
        self._clock = clock
        server.send(f'START_REPLICATION SLOT "{slot}" PHYSICAL {format_lsn(position)} TIMELINE {timeline}')
        self._switched: Switched | None = None
        self._is_copying = server.is_copying_both()
        if not self._is_copying:
            # The timeline ends right here.
            self._switched = self._next_timeline()

    def read(self, timeout_s: float) -> Piece | Alive | Switched | None:
        """What comes next; None when nothing came within ``timeout_s``. After a switch, the stream is at its end.

        Raises:
            HostUnreachableError: the connection broke.
            FormatError: it is no stream of a log.
        """
        if self._switched is not None:
            return self._switched
        message = self._server.copied(timeout_s)
        if message is None:
            self._switched = self._next_timeline()
            return self._switched
        if not message:
            return None
        kind = bytes(message[:1])
        try:
            if kind == b"w":
                start, end, sent = _PIECE.unpack_from(message, 1)
                return Piece(start, message[1 + _PIECE.size :], end, sent * 1000 + _EPOCH_NS)
            if kind == b"k":
                end, sent, _ = _ALIVE.unpack_from(message, 1)
                return Alive(end, sent * 1000 + _EPOCH_NS)
        except struct.error as error:
            raise FormatError(f"{self._server.name}: a message of the log was cut off") from error
        raise FormatError(f"{self._server.name}: message {kind!r} in the stream of the log")

    def confirm(self, flushed: int, written: int) -> None:
        """Tell the server what is kept for good, and what has arrived. Raises ``HostUnreachableError``."""
        if self._switched is None:
            now = (to_ns(self._clock.now()) - _EPOCH_NS) // 1000
            self._server.copy_in(_STATUS.pack(b"r", written, flushed, flushed, now, 0))

    def _next_timeline(self) -> Switched:
        rows: list[tuple[str | None, ...]] = []
        # An error of the server comes here as well, as when it has removed what was asked for.
        for result in self._server.results():
            if self._server.wants_copy(result):
                self._server.copy_end()
            rows = rows or table(result)
        if not rows or len(rows[0]) < 2 or not (rows[0][0] or "").isdigit() or rows[0][1] is None:
            raise HostUnreachableError(f"{self._server.name}: ends its log without saying where it goes on")
        return Switched(int(rows[0][0] or 0), parse_lsn(rows[0][1]))
