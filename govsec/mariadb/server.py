"""Talking to a MariaDB server: one connection, its questions, and its binary log as a replica gets it.

The one place that knows PyMySQL. Over TCP the server's certificate is verified, always; on a unix socket there is
nobody in between. Whatever the library raises becomes an error of ours, which names the server and never a password.

The log comes by the replication protocol (COM_BINLOG_DUMP) and not through ``mariadb-binlog --raw``: an event is here
the moment the server sends it, without a file in between that somebody has to watch, and heartbeats tell a quiet server
from a dead one.
"""

from __future__ import annotations

import hashlib
import ssl
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from govsec.errors import ConfigurationError, GovsecError, HostUnreachableError, SourceError
from govsec.mariadb.events import Event, parse_event
from govsec.mariadbentry import REPLICA_IDS, MariadbSourceConfig
from govsec.secretfile import read_secret

if TYPE_CHECKING:
    import pymysql

#: A server that neither answers nor sends a heartbeat for so long is gone.
SILENCE_MAX_S = 60
_CONNECT_TIMEOUT_S = 15
#: How often a server without news says that it lives. A window of log is closed at the first such word.
HEARTBEAT_S = 0.2
#: As a replica that knows global transaction ids and events for row annotations announces itself.
_CAPABILITY_GTID = 4
_DUMP_ANNOTATIONS = 2
_DUMP_NO_WAIT = 1
_COM_BINLOG_DUMP = 0x12
_EVENT_FOLLOWS = 0
_END_OF_LOG = 0xFE
_ROWS_MAX = 10_000
#: The protocol has 32 bits for it.
_POSITION_MAX = (1 << 32) - 1

#: Error numbers of servers and of the client library.
_ACCESS_DENIED = {1044, 1045, 1142, 1227, 1698}
_LOST = {2002, 2003, 2005, 2006, 2012, 2013, 2055, 1053, 1927, 1040, 1203}
_LOG_UNREADABLE = 1236


class LogUnreadableError(SourceError):
    """The server cannot send the log from where it was asked to: purged, reset, damaged, or not switched on."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server is and who asks."""

    user: str
    socket: Path | None = None
    host: str = ""
    port: int = 3306
    ca_file: Path | None = None
    password_file: Path | None = None

    def __str__(self) -> str:
        return f"server {self.socket}" if self.socket is not None else f"server {self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Facts:
    """What a server says of itself."""

    version: str
    server_id: int
    datadir: str
    #: The binary log that is written now, and how far; empty when it is off.
    log_file: str
    log_position: int
    gtid: str
    #: What the server's clock says: moments that are asked for, and those in its log, are by it.
    now: datetime


def load_library() -> None:
    """Import the client library now, for a child that may not be able to."""
    import pymysql.connections
    import pymysql.cursors  # noqa: F401


def address_of(source: MariadbSourceConfig) -> Address:
    """The address in a job's configuration."""
    return Address(source.user, source.socket, source.host, source.port, source.ca_file, source.password_file)


def replica_id(system: str, job: str) -> int:
    """A server id for the stream of a job: the same one every time, and another one for every job."""
    digest = hashlib.sha256(f"{system}/{job}".encode()).digest()
    return REPLICA_IDS.start + int.from_bytes(digest[:8], "big") % len(REPLICA_IDS)


class Server:
    """One connection. A context manager.

    Raises (when made):
        HostUnreachableError: nobody answers. ConfigurationError: it lets nobody in with this, or its certificate is
        not to be trusted.
    """

    def __init__(self, address: Address, *, timeout_s: float = SILENCE_MAX_S) -> None:
        self.address = address
        import pymysql.err

        options: dict[str, Any] = {"user": address.user, "charset": "utf8mb4", "autocommit": True}
        if address.password_file is not None:
            options["password"] = read_secret(address.password_file)
        if address.socket is not None:
            options["unix_socket"] = str(address.socket)
        else:
            options |= {"host": address.host, "port": address.port, "ssl": _tls(address.ca_file)}
        with self._translated():
            self._connection: pymysql.Connection[Any] = pymysql.connect(
                **options, connect_timeout=_CONNECT_TIMEOUT_S, read_timeout=timeout_s, write_timeout=timeout_s
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave. The server gives up locks that this connection holds."""
        self._connection._force_close()  # type: ignore[attr-defined] # after a dump there is nothing polite to say

    def query(self, statement: str, arguments: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """All rows of one statement's answer.

        Raises:
            SourceError: the server refuses the statement, or gives more rows than anybody asked for. Else as making
            the connection.
        """
        with self._translated(), self._connection.cursor() as cursor:
            cursor.execute(statement, tuple(arguments) or None)
            rows = list(cursor.fetchmany(_ROWS_MAX + 1))
        if len(rows) > _ROWS_MAX:
            raise SourceError(f"{self.address}: more than {_ROWS_MAX} rows in an answer")
        return rows

    def facts(self) -> Facts:
        """What the server says of itself.

        Raises:
            ConfigurationError: it is not MariaDB. Else as :meth:`query`.
        """
        ((version, server_id, datadir, gtid),) = self.query(
            "SELECT @@version, @@server_id, @@datadir, @@gtid_binlog_pos"
        )
        now = self.now()
        if "mariadb" not in str(version).lower():
            raise ConfigurationError(f"{self.address}: {version} is not MariaDB; mariadb-backup cannot read its files")
        status = self.query("SHOW MASTER STATUS")
        file, position = (str(status[0][0]), int(status[0][1])) if status else ("", 0)
        return Facts(str(version), int(server_id), str(datadir), file, position, str(gtid), now)

    def now(self) -> datetime:
        """What the server's clock says. Raises as :meth:`query`."""
        ((seconds,),) = self.query("SELECT UNIX_TIMESTAMP(SYSDATE(6))")
        return datetime.fromtimestamp(float(seconds), UTC)

    def status(self) -> dict[str, Any]:
        """How far a replica is, by the server's own names. Raises ``SourceError`` when it is none; else as `query`."""
        import pymysql.cursors

        with self._translated(), self._connection.cursor(pymysql.cursors.DictCursor) as cursor:
            cursor.execute("SHOW SLAVE STATUS")
            row = cursor.fetchone()
        if not row:
            raise SourceError(f"{self.address}: is no replica")
        return dict(row)

    def logs(self) -> list[tuple[str, int]]:
        """The binary logs that the server still has and their sizes, oldest first.

        Raises:
            LogUnreadableError: the binary log is switched off. Else as :meth:`query`.
        """
        try:
            return [(str(row[0]), int(row[1])) for row in self.query("SHOW BINARY LOGS")]
        except SourceError as error:
            raise LogUnreadableError(f"{error}; set log_bin on the server") from error

    def lock(self, name: str) -> int | None:
        """Take a lock of the server's by name, for as long as this connection lives; who holds it, when not we."""
        rows = self.query("SELECT GET_LOCK(%s, 0), IS_USED_LOCK(%s)", (name, name))
        ((is_ours, holder),) = rows
        return None if is_ours == 1 else int(holder or 0)

    def lock_holder(self, name: str) -> int | None:
        """The connection that holds a lock of the server's; None when nobody does. Raises as :meth:`query`."""
        ((holder,),) = self.query("SELECT IS_USED_LOCK(%s)", (name,))
        return None if holder is None else int(holder)

    def dump(self, file: str, position: int, replica: int, *, is_waiting: bool = True) -> Iterator[Event]:
        """The events of the binary log from ``position`` of ``file`` on, and of those after it, as they are written.

        Among them are some that the server made up (:attr:`govsec.mariadb.events.Event.is_artificial`). Without
        ``is_waiting`` it ends where the log ends. The connection is of no other use afterwards.

        Raises:
            LogUnreadableError: the server cannot send that. FormatError: it sends no events. Else as :meth:`query`.
        """
        if position > _POSITION_MAX:
            raise LogUnreadableError(f"{self.address}: {file} cannot be asked for from {position} on: beyond 4 GiB")
        self.query(
            "SET @master_binlog_checksum='CRC32', @mariadb_slave_capability=%s, @master_heartbeat_period=%s",
            (_CAPABILITY_GTID, int(HEARTBEAT_S * 1e9)),
        )
        flags = _DUMP_ANNOTATIONS | (0 if is_waiting else _DUMP_NO_WAIT)
        request = struct.pack("<IHI", position, flags, replica) + file.encode()
        with self._translated():
            self._connection._execute_command(_COM_BINLOG_DUMP, request)  # type: ignore[attr-defined] # no public way
        while True:
            with self._translated():
                packet: bytes = self._connection._read_packet().get_all_data()  # type: ignore[no-untyped-call]
            if packet[:1] == bytes([_END_OF_LOG]) and len(packet) < 9:
                return
            if packet[:1] != bytes([_EVENT_FOLLOWS]):
                raise LogUnreadableError(f"{self.address}: sends something else than its log")
            yield parse_event(packet[1:])

    @contextmanager
    def _translated(self) -> Iterator[None]:
        import pymysql.err

        try:
            yield
        except pymysql.err.MySQLError as error:
            raise self._as_ours(error) from error
        except (OSError, struct.error, ValueError, IndexError, TypeError, AssertionError) as error:
            # The library asserts and slices its way through what a server sends; one that sends nonsense ends here.
            raise HostUnreachableError(f"{self.address}: does not speak the protocol of MariaDB: {error}") from error

    def _as_ours(self, error: Exception) -> GovsecError:
        number = error.args[0] if error.args and isinstance(error.args[0], int) else 0
        words = f"{self.address}: {str(error.args[1] if len(error.args) > 1 else error)[:500]} ({number})"
        if number == _LOG_UNREADABLE:
            return LogUnreadableError(words)
        if number in _ACCESS_DENIED:
            return ConfigurationError(words)
        if isinstance(getattr(error, "original_exception", None), ssl.SSLCertVerificationError):
            return ConfigurationError(words)
        return HostUnreachableError(words) if number in _LOST or not number else SourceError(words)


def _tls(ca_file: Path | None) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(f"{ca_file}: no file of authorities: {error}") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
