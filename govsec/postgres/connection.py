"""One connection to a server by libpq: its TLS, its ways to log in, its replication protocol. The one door to psycopg.

Over a network the server's certificate is always verified (``sslmode=verify-full``); there is no switch to leave that
out. A unix socket needs none. A password never stands in a connection string: it comes from a file that only its owner
may read and goes to libpq in memory, so no list of processes, log or error shows it.

Every wait has a limit, also on a server that was stopped and says nothing. What the server says in an error is told in
its own words; its class (SQLSTATE) decides which of our errors it becomes.

Source: PostgreSQL documentation, "Streaming Replication Protocol" and appendix "PostgreSQL Error Codes".
"""

from __future__ import annotations

import select
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING, Self

from govsec.clock import Clock
from govsec.errors import (
    ConfigurationError,
    FormatError,
    GovsecError,
    HostUnreachableError,
    IntegrityError,
    LockedError,
    SourceError,
    TryAgainError,
)
from govsec.secretfile import read_secret

if TYPE_CHECKING:
    from psycopg.pq.abc import PGconn, PGresult

VERSION_MIN = 130000
#: Nothing for so long, where the protocol owes us something, and the server counts as gone.
SILENCE_MAX_S = 60.0
_SAID_MAX = 500
_POLL_S = 0.5
#: Set by us alone; whoever sets one of these in the configuration is told.
_OURS = ("password", "passfile", "replication", "dbname", "service", "fallback_application_name", "options")
_SOCKETS = ("/", "@")
_NO_FILE = "/nonexistent/pgpass"


class SlotMissingError(SourceError):
    """There is no replication slot of that name."""


class SlotActiveError(LockedError):
    """Another streamer is reading from the slot."""


class LogGoneError(IntegrityError):
    """The server no longer has the part of its log that was asked for."""


@dataclass(frozen=True, slots=True)
class Account:
    """How a server is reached."""

    conninfo: str
    password_file: Path | None = None
    connect_timeout_s: int = 10


class Connection:
    """One connection. A context manager; not for two threads."""

    def __init__(self, connection: PGconn, clock: Clock, name: str) -> None:
        self._connection = connection
        self._clock = clock
        #: How messages call the server; never more than host, port and database.
        self.name = name
        #: As the server numbers itself: 150020 is 15.20.
        self.version: int = connection.server_version

    @classmethod
    def open(cls, account: Account, clock: Clock, *, database: str = "", is_replication: bool = False) -> Self:
        """Connect, for replication (where the server takes its few commands) or to a database (where it takes SQL).

        Raises:
            ConfigurationError: the connection string is wrong or would not verify the server, or the log-in failed.
            HostUnreachableError: nobody answers there.
        """
        pq = _library()
        options = connection_options(account)
        name = f"postgresql {options.get('host', 'local')}:{options.get('port', '5432')}"
        if is_replication:
            options["replication"] = "true"
        else:
            options["dbname"] = database or "postgres"
            # Moments as ISO 8601 with an offset, whatever the server's own style is.
            options["options"] = "-c datestyle=ISO -c timezone=UTC -c intervalstyle=iso_8601"
        password = None if account.password_file is None else read_secret(account.password_file).decode()
        connection = pq.PGconn.connect(_conninfo(options, password))
        if connection.status != pq.ConnStatus.OK:
            said = _said(connection.error_message, password)
            is_refused = connection.needs_password or connection.used_password or "authentication" in said
            connection.finish()
            if is_refused or "pg_hba.conf" in said or "does not exist" in said or "certificate" in said:
                raise ConfigurationError(f"{name} does not let us in: {said}")
            raise HostUnreachableError(f"{name}: {said}")
        connection.nonblocking = 1
        opened = cls(connection, clock, name)
        try:
            if connection.server_version < VERSION_MIN:
                raise ConfigurationError(f"{name} is version {connection.server_version // 10000}; 13 is the oldest")
        except ConfigurationError:
            opened.close()
            raise
        return opened

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Hang up."""
        self._connection.finish()

    def rows(self, command: str, *, timeout_s: float = SILENCE_MAX_S) -> list[tuple[str | None, ...]]:
        """Run one command and give the rows of its last result, as text. Raises as :func:`error_of`."""
        self.send(command)
        found: list[tuple[str | None, ...]] = []
        for result in self.results(timeout_s=timeout_s):
            found = table(result)
        return found

    def value(self, command: str, *, timeout_s: float = SILENCE_MAX_S) -> str | None:
        """The one value that a command gives; None for no row, or NULL."""
        rows = self.rows(command, timeout_s=timeout_s)
        return rows[0][0] if rows else None

    def send(self, command: str) -> None:
        """Send a command; :meth:`results` and :meth:`copied` give what comes back."""
        with self._translated():
            self._connection.send_query(command.encode())
            self.flush()

    def results(self, *, timeout_s: float = SILENCE_MAX_S) -> Iterator[PGresult]:
        """The results of a command one by one, until there is no more; a copy begins with a result of its own."""
        while (result := self.result(timeout_s=timeout_s)) is not None:
            yield result

    def result(self, *, timeout_s: float = SILENCE_MAX_S) -> PGresult | None:
        """The next result, None after the last. Raises as :func:`error_of`."""
        pq = _library()
        deadline = self._clock.monotonic() + timeout_s
        with self._translated():
            while self._connection.is_busy():
                if not self._wait(deadline):
                    raise HostUnreachableError(f"{self.name}: no answer within {timeout_s:g} s")
                self._connection.consume_input()
            result = self._connection.get_result()
        if result is not None and result.status in (pq.ExecStatus.FATAL_ERROR, pq.ExecStatus.BAD_RESPONSE):
            raise error_of(result, self.name)
        return result

    def is_copying_out(self, *, timeout_s: float = SILENCE_MAX_S) -> bool:
        """True when the next result begins a copy from the server. Raises as :func:`error_of`."""
        result = self.result(timeout_s=timeout_s)
        return bool(result is not None and result.status == _library().ExecStatus.COPY_OUT)

    def is_copying_both(self, *, timeout_s: float = SILENCE_MAX_S) -> bool:
        """True when the next result begins a copy both ways. Raises as :func:`error_of`."""
        result = self.result(timeout_s=timeout_s)
        return bool(result is not None and result.status == _library().ExecStatus.COPY_BOTH)

    def wants_copy(self, result: PGresult) -> bool:
        """True when the server waits for the end of our side of a copy."""
        return bool(result.status == _library().ExecStatus.COPY_IN)

    def copied(self, timeout_s: float) -> memoryview | None:
        """The next message of a copy; None at its end. An empty one when nothing came within ``timeout_s``.

        Raises:
            HostUnreachableError: the connection broke.
        """
        deadline = self._clock.monotonic() + timeout_s
        with self._translated():
            while True:
                count, data = self._connection.get_copy_data(1)
                if count > 0:
                    return data
                if count < 0:
                    return None
                if not self._wait(deadline):
                    return memoryview(b"")
                self._connection.consume_input()

    def copy_in(self, message: bytes) -> None:
        """Send a message into a copy that goes both ways."""
        with self._translated():
            self._connection.put_copy_data(message)
            self.flush()

    def copy_end(self) -> None:
        """Say that nothing more comes from us."""
        with self._translated():
            self._connection.put_copy_end()
            self.flush()

    def flush(self) -> None:
        """Give what waits to the network. Raises ``HostUnreachableError`` when it is not taken."""
        deadline = self._clock.monotonic() + SILENCE_MAX_S
        while self._connection.flush():
            left_s = deadline - self._clock.monotonic()
            if left_s <= 0:
                raise HostUnreachableError(f"{self.name}: takes nothing within {SILENCE_MAX_S:g} s")
            readable, _, _ = select.select([self._connection.socket], [self._connection.socket], [], left_s)
            if readable:
                self._connection.consume_input()

    def _wait(self, deadline: float) -> bool:
        """Wait until something may be read; False when the time is over."""
        left_s = deadline - self._clock.monotonic()
        while left_s > 0:
            if select.select([self._connection.socket], [], [], min(left_s, _POLL_S))[0]:
                return True
            left_s = deadline - self._clock.monotonic()
        return bool(select.select([self._connection.socket], [], [], 0)[0])

    def _translated(self) -> _Translated:
        return _Translated(self.name)


class _Translated:
    """Turns psycopg's errors into ours."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        import psycopg

        if isinstance(error, (psycopg.Error, OSError)):
            raise HostUnreachableError(f"{self._name}: {_said(str(error).encode(), None)}") from error


def table(result: PGresult) -> list[tuple[str | None, ...]]:
    """The rows of a result as text."""
    return [
        tuple(
            None if (value := result.get_value(row, column)) is None else bytes(value).decode("utf-8", "replace")
            for column in range(result.nfields)
        )
        for row in range(result.ntuples)
    ]


def error_of(result: PGresult, name: str) -> GovsecError:
    """What the server's error is in our tree; the message is the server's."""
    pq = _library()
    state = (result.error_field(pq.DiagnosticField.SQLSTATE) or b"").decode("ascii", "replace")
    said = f"{name}: {_said(result.error_field(pq.DiagnosticField.MESSAGE_PRIMARY) or result.error_message, None)}"
    if state == "55006":
        return SlotActiveError(said)
    if state == "42704":
        return SlotMissingError(said)
    if state == "58P01":
        return LogGoneError(said)
    if state.startswith("28") or state in ("42501", "3D000"):
        return ConfigurationError(said)
    if state in ("53300", "53400", "57P03", "55P03", "40001", "40P01"):
        return TryAgainError(said)
    if state.startswith(("57P", "08")) or not state:
        return HostUnreachableError(said)
    return SourceError(f"{said} ({state})")


def quoted(name: str) -> str:
    """An identifier, quoted."""
    if not name or "\0" in name:
        raise FormatError(f"{name!r} is no identifier")
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text as a literal that holds whatever ``standard_conforming_strings`` is."""
    if "\0" in text:
        raise FormatError("a text with a null byte is no literal")
    return "'" + text.replace("'", "''") + "'" if "\\" not in text else _escaped(text)


def _escaped(text: str) -> str:
    return "E'" + text.replace("\\", "\\\\").replace("'", "''") + "'"


def connection_options(account: Account) -> dict[str, str]:
    """The options of the connection string, with what we add. Raises ``ConfigurationError``."""
    import psycopg

    pq = _library()
    try:
        parsed = pq.Conninfo.parse(account.conninfo.encode())
    except psycopg.Error as error:
        raise ConfigurationError("conninfo is no connection string of libpq") from error
    options = {item.keyword.decode(): item.val.decode() for item in parsed if item.val is not None}
    for name in _OURS:
        if name in options:
            raise ConfigurationError(f"conninfo: {name} does not belong there" + _HINTS.get(name, ""))
    hosts = options.get("host", "")
    is_local = not options.get("hostaddr") and all(host.startswith(_SOCKETS) or not host for host in hosts.split(","))
    if not hosts and not options.get("hostaddr"):
        # libpq would take PGHOST from the environment, and with it a server that nobody wrote down.
        raise ConfigurationError("conninfo: host is missing (a name, or the directory of a unix socket)")
    if not is_local:
        if options.setdefault("sslmode", "verify-full") != "verify-full":
            raise ConfigurationError(f"conninfo: sslmode={options['sslmode']} does not verify the server: verify-full")
        options.setdefault("sslrootcert", "system" if pq.version() >= 160000 else "/etc/ssl/certs/ca-certificates.crt")
    defaults = {
        "application_name": "govsec",
        "connect_timeout": str(account.connect_timeout_s),
        "keepalives_idle": "30",
        "keepalives_interval": "10",
        "keepalives_count": "3",
        "client_encoding": "UTF8",
    }
    return defaults | options


_HINTS: Mapping[str, str] = {
    "password": ": name a file with password_file",
    "dbname": ": govsec chooses the database itself",
}


def _conninfo(options: Mapping[str, str], password: str | None) -> bytes:
    # No pass file: libpq would otherwise look into the home directory of whoever runs this.
    every = {**options, "passfile": _NO_FILE} | ({} if password is None else {"password": password})
    parts = [name + "='" + value.replace("\\", "\\\\").replace("'", "\\'") + "'" for name, value in every.items()]
    return " ".join(parts).encode()


def _said(message: bytes, password: str | None) -> str:
    text = " ".join(message.decode("utf-8", "replace").split())[:_SAID_MAX]
    return text.replace(password, "…") if password else text


def _library() -> ModuleType:
    try:
        from psycopg import pq
    except ImportError as error:
        raise ConfigurationError("PostgreSQL needs the extra `postgres`: pip install 'govsec[postgres]'") from error
    return pq
