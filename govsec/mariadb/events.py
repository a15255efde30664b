"""Events of a binary log: their heads, their checksums, and where a transaction ends. No I/O here.

A binary log file is the magic ``fe 62 69 6e`` and events one after the other::

    timestamp 4 · type 1 · server id 4 · size 4 · position of its end 4 · flags 2 · body · CRC-32 4

All numbers are little-endian. The first event describes the format: it says whether the others carry checksums. The
position is the low 32 bits of where the event ends in its file, so each event proves that none before it is missing.
What a server makes up for its reader (a rotate that names the file, heartbeats) has the flag *artificial* or the
position 0 and is in no file.

A transaction is what lies between a GTID event and the event that ends it: a commit (``XID``, or the statement
``COMMIT`` for engines without transactions), a rollback, a prepared one, or, for what MariaDB calls *standalone* (DDL),
the one statement. Only there may a recovery end.

Source: MariaDB Knowledge Base, "Replication Protocol", pages of the binary log's events; each field seen in a dump of
MariaDB 10.11 (``tests/mariadb``).
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum

from govsec.errors import FormatError, IntegrityError

MAGIC = b"\xfebin"
HEAD_SIZE = 19
CHECKSUM_SIZE = 4
_FLAG_ARTIFICIAL = 0x20
#: The flag of a log that is being written; the checksum is over the event without it.
_FLAG_IN_USE = 0x1
_POSITION_MASK = 0xFFFFFFFF
_STANDALONE = 1
_BINLOG_NAME = re.compile(r"([A-Za-z0-9_.-]{1,200})\.([0-9]{6,10})")
#: Text of a statement that is looked at.
_STATEMENT_MAX = 64
#: Binlog version 2, server version 50, created 4, length of heads 1.
_FORMAT_FIXED = 57


class EventType(IntEnum):
    """The types that are looked at; all others are part of a transaction and go through as they are."""

    QUERY = 2
    STOP = 3
    ROTATE = 4
    FORMAT = 15
    XID = 16
    HEARTBEAT = 27
    XA_PREPARE = 38
    CHECKPOINT = 161
    GTID = 162
    GTID_LIST = 163
    START_ENCRYPTION = 164
    QUERY_COMPRESSED = 165


@dataclass(frozen=True, slots=True)
class Event:
    """One event as it lies in the file: ``data`` is all of it, head and checksum included."""

    data: bytes
    type: int
    timestamp: int
    server_id: int
    end: int
    flags: int

    @property
    def size(self) -> int:
        """How many bytes it takes in the file."""
        return len(self.data)

    @property
    def is_artificial(self) -> bool:
        """Made up by the server for its reader; in no file."""
        return bool(self.flags & _FLAG_ARTIFICIAL) or self.end == 0 or self.type == EventType.HEARTBEAT

    @property
    def time(self) -> datetime:
        """What the server's clock said, to the second."""
        return datetime.fromtimestamp(self.timestamp, UTC)


@dataclass(frozen=True, slots=True)
class Commit:
    """The end of a transaction: the log up to ``position`` of ``file`` holds it wholly."""

    file: str
    position: int
    time: datetime
    gtid: str = ""


def parse_event(data: bytes) -> Event:
    """The event in ``data``.

    Raises:
        FormatError: too short, or its size is not the one that it states.
    """
    if len(data) < HEAD_SIZE:
        raise FormatError(f"binary log: an event of {len(data)} bytes")
    size = int.from_bytes(data[9:13], "little")
    if size != len(data):
        raise FormatError(f"binary log: an event that states {size} bytes has {len(data)}")
    return Event(
        data,
        data[4],
        int.from_bytes(data[0:4], "little"),
        int.from_bytes(data[5:9], "little"),
        int.from_bytes(data[13:17], "little"),
        int.from_bytes(data[17:19], "little"),
    )


def has_checksums(event: Event) -> bool:
    """Whether a format description says that the events of its file carry checksums.

    Raises:
        FormatError: it is none, or says something else.
    """
    if event.type != EventType.FORMAT or event.size < HEAD_SIZE + _FORMAT_FIXED + 1 + CHECKSUM_SIZE:
        raise FormatError(f"binary log: begins with an event of type {event.type}, not with its format")
    algorithm = event.data[-CHECKSUM_SIZE - 1]
    if algorithm not in (0, 1):
        raise FormatError(f"binary log: checksums of the unknown kind {algorithm}")
    return algorithm == 1


def server_version(event: Event) -> str:
    """The version in a format description, as ``10.11.6-MariaDB-log``."""
    return event.data[HEAD_SIZE + 2 : HEAD_SIZE + 52].rstrip(b"\0").decode("ascii", "backslashreplace")


def check_sum(event: Event) -> None:
    """Return when the event's checksum is right.

    Raises:
        IntegrityError: it is not.
    """
    body = event.data[:-CHECKSUM_SIZE]
    if event.type == EventType.FORMAT and event.flags & _FLAG_IN_USE:
        body = body[:17] + (event.flags & ~_FLAG_IN_USE).to_bytes(2, "little") + body[19:]
    if zlib.crc32(body) != int.from_bytes(event.data[-CHECKSUM_SIZE:], "little"):
        raise IntegrityError(f"binary log: the checksum of the event that ends at {event.end} is wrong")


def at_rest(event: Event) -> Event:
    """The event as it lies in a file that nobody writes any more."""
    if not (event.type == EventType.FORMAT and event.flags & _FLAG_IN_USE):
        return event
    flags = event.flags & ~_FLAG_IN_USE
    return parse_event(event.data[:17] + flags.to_bytes(2, "little") + event.data[19:])


def rotate_target(event: Event, *, has_checksum: bool) -> tuple[str, int]:
    """The file that a rotate names, and where it goes on in it.

    Raises:
        FormatError: no such name.
    """
    body = event.data[HEAD_SIZE : -CHECKSUM_SIZE if has_checksum else None]
    position, name = int.from_bytes(body[:8], "little"), body[8:].decode("utf-8", "backslashreplace")
    return log_name(name), position


def log_name(name: str) -> str:
    """``name``, when it is the name of a binary log.

    Raises:
        FormatError: it is not.
    """
    if _BINLOG_NAME.fullmatch(name) is None:
        raise FormatError(f"binary log: {name[:200]!r} is not the name of one")
    return name


def log_number(name: str) -> int:
    """The number at the end of a binary log's name."""
    return int(log_name(name).rpartition(".")[2])


def is_next_log(name: str, after: str) -> bool:
    """Whether ``name`` is the log that a server begins after ``after``."""
    return name.rpartition(".")[0] == after.rpartition(".")[0] and log_number(name) == log_number(after) + 1


class FileCheck:
    """The events of one file, in order: sums right, none missing. ``position`` is where the next one begins."""

    def __init__(self, name: str, position: int = len(MAGIC), *, is_checked: bool = True) -> None:
        self.name = name
        self.position = position
        #: Whether events carry checksums; the format description at the file's begin says it.
        self.is_checked = is_checked

    def take(self, event: Event) -> None:
        """Check the next event of the file.

        Raises:
            IntegrityError: its checksum is wrong, or events are missing before it. FormatError: the file does not
            begin with its format.
        """
        if self.position == len(MAGIC):
            self.is_checked = has_checksums(event)
        if self.is_checked:
            check_sum(event)
        end = self.position + event.size
        if end & _POSITION_MASK != event.end:
            raise IntegrityError(
                f"binary log {self.name}: the event at {self.position} has {event.size} bytes and states that it ends "
                f"at {event.end}: events are missing"
            )
        self.position = end


class Transactions:
    """Follows the events of a log and says where each transaction ends."""

    def __init__(self) -> None:
        self._gtid = ""
        self._is_inside = False
        self._is_standalone = False

    @property
    def is_inside(self) -> bool:
        """Within a transaction that has not ended."""
        return self._is_inside

    @property
    def gtid(self) -> str:
        """The global id of the transaction that has not ended."""
        return self._gtid

    @property
    def is_standalone(self) -> bool:
        """Whether that transaction is one statement, which ends it."""
        return self._is_standalone

    def carry_on(self, gtid: str, *, is_standalone: bool) -> None:
        """Be within a transaction whose beginning was seen by somebody else."""
        self._gtid, self._is_inside, self._is_standalone = gtid, True, is_standalone

    def take(self, event: Event, file: str, position: int, *, is_checked: bool) -> Commit | None:
        """The commit that ``event``, which ends at ``position`` of ``file``, is; None when it is none."""
        match event.type:
            case EventType.GTID:
                self._begin(event)
            case EventType.FORMAT:
                # A server that died within a transaction begins a new log: what was begun never ended.
                self._is_inside, self._gtid = False, ""
            case EventType.XID | EventType.XA_PREPARE:
                return self._end(event, file, position)
            case EventType.QUERY | EventType.QUERY_COMPRESSED:
                statement = "" if event.type == EventType.QUERY_COMPRESSED else _statement(event, is_checked=is_checked)
                if not self._is_inside and statement == "BEGIN":
                    self._is_inside, self._is_standalone = True, False
                elif self._is_standalone or not self._is_inside or statement in ("COMMIT", "ROLLBACK"):
                    return self._end(event, file, position)
        return None

    def _begin(self, event: Event) -> None:
        body = event.data[HEAD_SIZE:]
        sequence, domain = int.from_bytes(body[:8], "little"), int.from_bytes(body[8:12], "little")
        self._gtid = f"{domain}-{event.server_id}-{sequence}"
        self._is_inside, self._is_standalone = True, bool(body[12] & _STANDALONE)

    def _end(self, event: Event, file: str, position: int) -> Commit:
        commit = Commit(file, position, event.time, self._gtid)
        self._is_inside, self._is_standalone, self._gtid = False, False, ""
        return commit


def _statement(event: Event, *, is_checked: bool) -> str:
    """The begin of a statement: thread 4, time 4, length of the schema 1, error 2, length of variables 2, then both."""
    body = event.data[HEAD_SIZE : -CHECKSUM_SIZE if is_checked else None]
    if len(body) < 13:
        raise FormatError(f"binary log: a statement of {len(body)} bytes")
    start = 13 + int.from_bytes(body[11:13], "little") + body[8] + 1
    return body[start : start + _STATEMENT_MAX].decode("ascii", "backslashreplace")
