"""A real MariaDB server (Debian's) for tests: its own folder, its own unix socket, no network, as user mysql."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.require import missing, require_root

_START_LIMIT_S = 120


def require_mariadb() -> None:
    """Skip by name where there is no server, or this is not root (the server runs as mysql)."""
    require_root()
    for program in ("mariadbd", "mariadb-install-db", "mariadb-backup", "mariadb"):
        if shutil.which(program, path="/usr/sbin:/usr/bin:/usr/local/bin:/usr/local/sbin") is None:
            missing(program, "MariaDB is not installed (make servers)")


def install(directory: Path) -> Path:
    """A fresh data folder, to be copied."""
    data = directory / "data"
    _own(directory)
    subprocess.run(
        [
            *("mariadb-install-db", "--no-defaults", "--user=mysql", f"--datadir={data}", "--skip-test-db"),
            *("--auth-root-authentication-method=socket", "--innodb-log-file-size=8M"),
        ],
        check=True,
        capture_output=True,
        timeout=_START_LIMIT_S,
    )
    return data


@dataclass
class MariadbServer:
    """One server. ``folder`` has a short path: the socket's name holds 107 bytes."""

    folder: Path
    options: Sequence[str] = ()
    server_id: int = 7
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def socket(self) -> Path:
        return self.folder / "s"

    def start(self) -> None:
        self.process = subprocess.Popen(
            [
                *("mariadbd", "--no-defaults", "--user=mysql", f"--datadir={self.data}", f"--socket={self.socket}"),
                *("--skip-networking", f"--pid-file={self.folder}/pid", f"--log-error={self.folder}/error.log"),
                *("--log-bin=bin", "--binlog-format=ROW", f"--server-id={self.server_id}"),
                *("--innodb-log-file-size=8M", "--innodb-buffer-pool-size=16M", "--performance-schema=0"),
                *("--innodb-flush-log-at-trx-commit=2", *self.options),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + _START_LIMIT_S
        while self._ask("SELECT 1").returncode:
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError((self.folder / "error.log").read_text(errors="replace")[-3000:])
            time.sleep(0.05)

    def kill(self) -> None:
        """As a power cut does."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(60)

    def stop(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(_START_LIMIT_S)

    def sql(self, statements: str, database: str = "") -> list[list[str]]:
        """Run statements; the rows of them all."""
        done = self._ask(statements, database)
        assert done.returncode == 0, done.stderr.decode(errors="replace")
        return [line.split("\t") for line in done.stdout.decode().splitlines()]

    def place(self) -> str:
        """Where the log stands, as FILE:POSITION."""
        ((file, position, *_),) = self.sql("SHOW MASTER STATUS")
        return f"{file}:{position}"

    def _ask(self, statements: str, database: str = "") -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            ["mariadb", "--no-defaults", f"--socket={self.socket}", "--batch", "--skip-column-names"]
            + ([database] if database else []),
            input=statements.encode(),
            capture_output=True,
            timeout=_START_LIMIT_S,
        )


@contextmanager
def running(template: Path, folder: Path, **options: object) -> Iterator[MariadbServer]:
    """A server over a copy of ``template`` (what :func:`install` gave), ended at the end."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copytree(template, folder / "data")
    with serving(folder, **options) as server:
        yield server


@contextmanager
def serving(folder: Path, **options: object) -> Iterator[MariadbServer]:
    """A server over the data folder that is in ``folder`` already."""
    _own(folder)
    server = MariadbServer(folder, **options)  # type: ignore[arg-type]
    server.start()
    try:
        yield server
    finally:
        if server.process is not None and server.process.poll() is None:
            server.kill()


def _own(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)
    for above, folders, files in os.walk(folder):
        shutil.chown(above, "mysql", "mysql")
        for name in (*folders, *files):
            shutil.chown(Path(above) / name, "mysql", "mysql")
