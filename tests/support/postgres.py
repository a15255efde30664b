"""A real PostgreSQL of its own: in a temporary folder, as the user postgres, on a unix socket and nowhere else."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.support.require import require, require_root

#: A guard against a hang, far above what a start takes.
_WAIT_S = 120.0
USER = "postgres"


class Postgres:
    """One server. ``folder`` holds its data, its socket and its log."""

    def __init__(self, folder: Path, binaries: Path) -> None:
        self.folder = folder
        self.binaries = binaries
        self.data = folder / "data"
        self.log = folder / "log"
        #: Settings of our sessions, as ``-c name=value``.
        self.options = ""

    @property
    def conninfo(self) -> str:
        """How to reach it, without a database."""
        return f"host={self.folder} port=5432 user={USER}"

    def create(self, *options: str) -> None:
        """Make the cluster."""
        self.program("initdb", "-D", str(self.data), "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C", *options)

    def start(self, *settings: str) -> None:
        """Start it; after a kill its children may hold the lock for a moment, so more than once."""
        options = [
            "listen_addresses=", "port=5432", f"unix_socket_directories={self.folder}", "fsync=off",
            "max_wal_senders=6", "max_replication_slots=6", "wal_level=replica", "shared_buffers=16MB", *settings,
        ]  # fmt: skip
        text = " ".join(f"-c {option}" for option in options)
        deadline = time.monotonic() + _WAIT_S
        while True:
            command = ("-D", str(self.data), "-l", str(self.log), "-t", "60", "-w", "-o", text, "start")
            if self.program("pg_ctl", *command, check=False).returncode == 0:
                return
            said = self.log.read_text()
            # Only the lock of a killed one goes away by waiting.
            if time.monotonic() > deadline or "contains errors" in said:
                raise AssertionError(f"PostgreSQL does not start: {said[-2000:]}")
            time.sleep(0.2)

    def stop(self, mode: str = "immediate") -> None:
        """Stop it, when it runs."""
        self.program("pg_ctl", "-D", str(self.data), "-m", mode, "-w", "-t", "60", "stop", check=False)

    def kill(self) -> None:
        """kill -9 of the server and all its children, as the kernel does when memory is short."""
        pid = int((self.data / "postmaster.pid").read_text().split()[0])
        children = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False)
        for number in (pid, *map(int, children.stdout.split())):
            with _gone():
                os.kill(number, 9)
        deadline = time.monotonic() + _WAIT_S
        while any(Path(f"/proc/{number}/task").exists() for number in (pid, *map(int, children.stdout.split()))):
            assert time.monotonic() < deadline, "killed processes do not go away"
            time.sleep(0.02)

    def sql(self, *statements: str, database: str = "postgres") -> list[str]:
        """Run statements; the lines of what they give."""
        command = [str(self.binaries / "psql"), "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", str(self.folder)]
        command += ["-p", "5432", "-U", USER, "-d", f"dbname={database} options='{self.options}'"]
        for statement in statements:
            command += ["-c", statement]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    def value(self, statement: str, database: str = "postgres") -> str:
        """The one value that a query gives."""
        (line,) = self.sql(statement, database=database)
        return line

    def wait_promoted(self) -> None:
        """Wait until a recovering server takes writes."""
        deadline = time.monotonic() + _WAIT_S
        while self.value("SELECT pg_is_in_recovery()") != "f":
            assert time.monotonic() < deadline, self.log.read_text()[-2000:]
            time.sleep(0.05)

    def drop_slots(self) -> None:
        """Give up every slot that nobody reads from; who has just hung up may need a moment."""
        deadline = time.monotonic() + _WAIT_S
        while int(self.value("SELECT count(*) FROM pg_replication_slots")):
            assert time.monotonic() < deadline, "a slot stays in use"
            self.sql("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE NOT active")
            time.sleep(0.02)

    def program(self, name: str, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run one of the server's programs as its user."""
        command = [*as_user(), str(self.binaries / name), *arguments]
        # A server that stays must not keep our pipes open.
        with tempfile.TemporaryFile("w+") as output:
            done = subprocess.run(command, stdout=output, stderr=output, text=True, check=False, cwd="/", timeout=300)
            output.seek(0)
            text = output.read()
        if check:
            assert done.returncode == 0, text
        return subprocess.CompletedProcess(command, done.returncode, text, "")


def as_user(user: str = USER) -> Sequence[str]:
    """What stands before a command that another user runs."""
    return ("runuser", "-u", user, "--") if os.geteuid() == 0 else ()


@contextmanager
def running_postgres(*settings: str, options: Sequence[str] = ()) -> Iterator[Postgres]:
    """A server with an empty cluster, gone afterwards."""
    with cluster(options=options) as server:
        server.start(*settings)
        yield server


@contextmanager
def cluster(*, options: Sequence[str] = ()) -> Iterator[Postgres]:
    """A cluster that was made and does not run yet."""
    binaries = require("postgresql").resolve().parent  # there may be links to single programs on PATH
    require_root()
    folder = Path(tempfile.mkdtemp(prefix="govsec-pg-", dir="/tmp"))
    shutil.chown(folder, USER, USER)
    folder.chmod(0o755)
    server = Postgres(folder, binaries)
    try:
        server.create(*options)
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _gone() -> Iterator[None]:
    try:
        yield
    except ProcessLookupError:
        return
