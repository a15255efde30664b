"""A server of our own over restored files: nobody else reaches it, and nothing of the restored one configures it.

It reads no option file, listens on one socket that only its user may use, loads no plug-in (the folder it would load
them from is empty, and the table that names them is not read), reads and writes no file by SQL, runs no scheduled
event, and follows no symbolic link. Accounts are not asked for: whoever reaches the socket is in.
"""

from __future__ import annotations

import base64
import shutil
import tempfile
from collections.abc import Callable
from datetime import date, datetime, timedelta
from datetime import time as daytime
from decimal import Decimal
from pathlib import Path
from typing import Any

from govsec.clock import Clock
from govsec.errors import ConfigurationError, SourceError
from govsec.mariadb.api import Cell
from govsec.mariadb.server import Address, Server, load_library

#: As a replica of the restored server it must not have that server's number, or any that it ever wrote with.
OWN_SERVER_ID = 4_294_967_291
BUFFER_POOL_BYTES = 64 << 20
_PROGRAMS = ("mariadbd", "mysqld")
_START_TIMEOUT_S = 120.0
_LOG_TAIL_BYTES = 64 << 10
_POLL_S = 0.1
_PATH = "/usr/sbin:/usr/local/sbin:/usr/local/bin:/usr/bin:/sbin:/bin"


class PrivateServer:
    """Started by :meth:`start`, ended by :meth:`stop`, or with the cell that it runs in."""

    def __init__(self, cell: Cell, data: Path, work: Path, clock: Clock) -> None:
        self._cell = cell
        self._data = data
        #: An empty folder of the server's user: its logs, temporary files, relay logs. Both as the cell sees them.
        self._work = work
        self._clock = clock
        # The name of a socket holds 107 bytes; outside a sandbox the restored tree may lie deeper than that.
        self._socket_folder = work if not cell.reason else Path(tempfile.mkdtemp(prefix="govsec-m-"))
        self.socket = self._socket_folder / "s"

    def start(self, options: tuple[str, ...] = ()) -> None:
        """Start it and wait until it answers.

        Raises:
            ConfigurationError: there is no MariaDB server on this machine. SourceError: it does not come up; its own
            last words are told.
        """
        program = next((found for name in _PROGRAMS if (found := shutil.which(name, path=_PATH))), None)
        if program is None:
            raise ConfigurationError("mariadbd is not installed (Debian: mariadb-server)")
        why = self._cell.spawn([program, *self._options(), *options])
        if why:
            raise SourceError(f"the private server: {why}; {self.last_words()}")
        deadline = self._clock.monotonic() + _START_TIMEOUT_S
        while True:
            answer = self.ask("SELECT 1", timeout_s=10)
            if "error" not in answer:
                return
            if self._clock.monotonic() > deadline:
                raise SourceError(f"the private server does not come up: {self.last_words() or answer['error']}")
            self._clock.sleep(_POLL_S)

    def ask(self, statement: str, *, timeout_s: float) -> dict[str, Any]:
        """One statement on a connection of its own: ``{"rows": [[…] …]}``, or ``{"error": why}``."""

        def ask(server: Server) -> dict[str, Any]:
            return {"rows": [[plain(value) for value in row] for row in server.query(statement)]}

        return self.call(ask, timeout_s=timeout_s)

    def call(self, function: Callable[[Server], dict[str, Any]], *, timeout_s: float) -> dict[str, Any]:
        """Run a function of ours with a connection, where the server is, with no more rights than it has."""
        load_library()  # here, not in the child, whose user may not read this installation
        address = Address("root", socket=self.socket)

        def inside() -> dict[str, Any]:
            with Server(address, timeout_s=timeout_s) as server:
                return function(server)

        return self._cell.call(inside, timeout_s)

    def stop(self, *, timeout_s: float = 600) -> None:
        """Shut it down in order, so that its files are whole without a recovery.

        Raises:
            SourceError: it does not end.
        """
        self.ask("SHUTDOWN", timeout_s=60)
        self.wait(timeout_s=timeout_s)

    def wait(self, *, timeout_s: float = 600) -> None:
        """Wait until it has ended. Raises ``SourceError`` when it does not."""
        deadline = self._clock.monotonic() + timeout_s
        pid_file = self._work / "pid"
        while self._cell.call(lambda: {"is_there": pid_file.exists()}, 60).get("is_there", True):
            if self._clock.monotonic() > deadline:
                raise SourceError(f"the private server does not end: {self.last_words()}")
            self._clock.sleep(_POLL_S)
        if self._cell.reason:
            shutil.rmtree(self._socket_folder, ignore_errors=True)

    def last_words(self) -> str:
        """What went wrong, in the words of the server's log."""
        log = self._work / "error.log"

        def read() -> dict[str, Any]:
            with log.open("rb") as file:
                file.seek(max(0, log.stat().st_size - _LOG_TAIL_BYTES))
                return {"text": file.read(_LOG_TAIL_BYTES).decode("utf-8", "backslashreplace")}

        text = str(self._cell.call(read, 60).get("text", ""))
        lines = [line for line in text.splitlines() if "[ERROR]" in line] or text.splitlines()
        return ascii(" | ".join(lines[-3:]))[1:-1][:1000]

    def _options(self) -> list[str]:
        work = self._work
        return [
            "--no-defaults",
            f"--datadir={self._data}",
            f"--socket={self.socket}",
            "--skip-networking",
            "--skip-grant-tables",
            f"--plugin-dir={work}/empty",
            f"--secure-file-priv={work}/empty",
            "--local-infile=0",
            "--skip-symbolic-links",
            "--skip-slave-start",
            f"--tmpdir={work}/temporary",
            f"--pid-file={work}/pid",
            f"--log-error={work}/error.log",
            f"--server-id={OWN_SERVER_ID}",
            f"--relay-log={work}/relay/relay",
            f"--relay-log-info-file={work}/relay/relay.info",
            f"--master-info-file={work}/relay/master.info",
            "--relay-log-purge=0",
            f"--innodb-buffer-pool-size={BUFFER_POOL_BYTES}",
            "--innodb-buffer-pool-load-at-startup=0",
            "--innodb-buffer-pool-dump-at-shutdown=0",
            "--max-allowed-packet=1G",
            "--slave-max-allowed-packet=1G",
            "--performance-schema=0",
            "--skip-feedback",
        ]


def plain(value: object) -> object:
    """A value of a row as JSON has it; bytes as base64 where they are no text."""
    match value:
        case None | bool() | int() | float() | str():
            return value
        case bytes():
            try:
                return value.decode("utf-8")
            except UnicodeDecodeError:
                return base64.b64encode(value).decode()
        case Decimal():
            return int(value) if value == value.to_integral_value() else str(value)
        case datetime() | date() | daytime() | timedelta():
            return str(value)
    return str(value)
