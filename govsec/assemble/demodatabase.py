"""The part of the demo in which a table is dropped, two centers are lost, and the third brings back the second before.

Where no PostgreSQL is installed it says so and does nothing. The server is a small one of its own: in a temporary
folder that only its user may enter, on a unix socket, as an unprivileged user where the demo runs as root.
"""

from __future__ import annotations

import importlib.util
import json
import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from govsec.assemble.centers import init_centers, ship_to
from govsec.assemble.demo import Tell, local_centers
from govsec.assemble.systems import Site
from govsec.clock import Clock
from govsec.config import load_config
from govsec.errors import ConfigurationError, SourceError
from govsec.runtime.children import child_environment

_USER = "nobody"
_ROWS = 1000
_LIMIT_S = 120.0
_QUERY = "SELECT count(*) FROM permits"


@dataclass(frozen=True, slots=True)
class DemoDatabase:
    """What came of it: the rows that were there again; None where no PostgreSQL is installed."""

    rows_count: int | None
    recovery_s: float | None = None

    @property
    def is_passed(self) -> bool:
        """True when every row came back, or there was no server to lose."""
        return self.rows_count in (None, _ROWS)


def lose_table(directory: Path, clock: Clock, *, tell: Tell) -> DemoDatabase:
    """Tell the story of a dropped table, in a folder of the demo's ``directory``.

    Raises:
        GovsecError: as whatever step raises.
    """
    from govsec.postgres.server import find_programs

    programs = find_programs()
    if programs is None:
        tell("database_none", {"reason": "PostgreSQL"})
        return DemoDatabase(None)
    if importlib.util.find_spec("psycopg") is None:
        tell("database_none", {"reason": "govsec[postgres]"})
        return DemoDatabase(None)
    with _folder() as folder:
        server = _Server(programs, folder / "data", folder)
        server.make()
        with server.running():
            site = _site(directory / "database", folder, clock)
            moment = _story(site)
        for name in ("main", "near"):
            shutil.rmtree(directory / "database" / name)
        return _recover(site, programs, folder, moment, tell)


def _story(site: Site) -> datetime:
    """Base backup, work, a moment, a dropped table, all of it shipped; gives the moment."""
    from govsec.assemble.postgres import backup_base, stream_log
    from govsec.assemble.postgresjobs import account_of, postgres_job
    from govsec.postgres.connection import Connection
    from govsec.postgres.logbook import Logbook
    from govsec.postgres.streaming import WindowReport
    from govsec.postgres.wal import parse_lsn

    system = site.system()
    job, source = postgres_job(system, None)
    init_centers(site, system)
    backup_base(site, system, job, source)
    moments: list[datetime] = []
    wanted, reached = [0], [0]

    def work() -> None:
        with Connection.open(account_of(source), site.clock) as database:
            database.rows("CREATE TABLE permits (id integer PRIMARY KEY)")
            database.rows(f"INSERT INTO permits SELECT generate_series(1, {_ROWS})")
            moments.append(datetime.fromisoformat(database.value("SELECT clock_timestamp()") or ""))
            database.rows("DROP TABLE permits")
            wanted[0] = parse_lsn(database.value("SELECT pg_current_wal_flush_lsn()") or "0/0")

    def is_stopped() -> bool:
        if not moments:
            work()
        return reached[0] >= wanted[0]

    def committed(logbook: Logbook, report: WindowReport) -> None:
        reached[0] = report.position

    stream_log(site, system, job, source, is_stopped=is_stopped, committed=committed)
    ship_to(site, system, "far")
    return moments[0]


def _recover(site: Site, programs: Path, folder: Path, moment: datetime, tell: Tell) -> DemoDatabase:
    from govsec.assemble.postgres import recover
    from govsec.assemble.postgresjobs import postgres_job
    from govsec.postgres.connection import Account, Connection
    from govsec.postgres.isolated import target_of

    system = site.system()
    job, _ = postgres_job(system, None)
    began = site.clock.monotonic()
    back = _Server(programs, folder / "back" / "data", folder)
    recover(site, system, job, folder / "back", target_of(time=moment), center="far", workers=0)
    with back.running():
        deadline = site.clock.monotonic() + _LIMIT_S
        while True:
            with Connection.open(Account(_conninfo(folder)), site.clock) as database:
                if database.value("SELECT pg_is_in_recovery()") == "f":
                    rows = int(database.value(_QUERY) or 0)
                    break
            if site.clock.monotonic() > deadline:
                raise SourceError("the recovered server of the demo does not finish its recovery")
            site.clock.sleep(0.05)
    elapsed_s = round(site.clock.monotonic() - began, 3)
    tell("database", {"rows_count": rows, "elapsed_s": elapsed_s})
    return DemoDatabase(rows, elapsed_s)


class _Server:
    """A small server of the demo's own."""

    def __init__(self, programs: Path, data: Path, sockets: Path) -> None:
        self._programs = programs
        self._data = data
        self._sockets = sockets

    def make(self) -> None:
        """Make its cluster."""
        options = ("-U", "postgres", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C")
        self._run("initdb", "-D", str(self._data), *options)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Start it, and stop it at the end."""
        options = f"-c listen_addresses= -c port=5432 -c unix_socket_directories={self._sockets} -c fsync=off"
        log = str(self._sockets / "log")
        self._run("pg_ctl", "-D", str(self._data), "-l", log, "-w", "-t", "60", "-o", options, "start")
        try:
            yield
        finally:
            self._run("pg_ctl", "-D", str(self._data), "-m", "immediate", "-w", "stop")

    def _run(self, program: str, *arguments: str) -> None:
        account = _account()
        # The server that stays behind keeps the descriptors that it is given: no pipes, or reading would never end.
        with tempfile.TemporaryFile() as said:
            try:
                done = subprocess.run(
                    [str(self._programs / program), *arguments],
                    stdin=subprocess.DEVNULL,
                    stdout=said,
                    stderr=said,
                    env=child_environment(),
                    cwd="/",
                    timeout=_LIMIT_S,
                    check=False,
                    user=None if account is None else account.pw_uid,
                    group=None if account is None else account.pw_gid,
                    extra_groups=None if account is None else [],
                )
            except (OSError, subprocess.TimeoutExpired) as error:
                raise SourceError(f"{program} of the demo: {error}") from error
            if done.returncode:
                said.seek(0)
                text = " ".join(said.read(2000).decode("utf-8", "replace").split())
                raise SourceError(f"{program} of the demo ended with exit code {done.returncode}: {text}")


def _site(directory: Path, sockets: Path, clock: Clock) -> Site:
    directory.mkdir(mode=0o700)
    (directory / "keys").mkdir(mode=0o700)
    password = directory / "keys" / "password"
    password.touch(mode=0o600)
    password.write_text(secrets.token_urlsafe(24) + "\n", encoding="ascii")
    config = {
        "state_dir": "state",
        "centers": local_centers(directory),
        "signing": {
            "commit_key_file": "keys/commit.key",
            "evidence_key_file": "keys/evidence.key",
            "roots_file": "roots.yaml",
        },
        "systems": [
            {
                "name": "permits-db",
                "password_file": "keys/password",
                "mode": "maximum-protection",
                "backups": [
                    {"name": "db", "source": {"kind": "postgres", "conninfo": _conninfo(sockets), "window_s": 0.5}}
                ],
            }
        ],
    }
    path = directory / "govsec.yaml"
    path.write_text(json.dumps(config, indent=2), encoding="utf-8")
    return Site(load_config(path), clock)


def _conninfo(sockets: Path) -> str:
    return f"host={sockets} port=5432 user=postgres"


def _account() -> pwd.struct_passwd | None:
    """Whom the server runs as; None: as whoever runs the demo. PostgreSQL does not run as root."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam(_USER)
    except KeyError as error:
        raise ConfigurationError(f"there is no user {_USER} that the demo's server could run as") from error


@contextmanager
def _folder() -> Iterator[Path]:
    """A folder of the server's user alone, with a short name: a socket's path has room for a hundred letters."""
    account = _account()
    folder = Path(tempfile.mkdtemp(prefix="govsec-pg-", dir="/tmp"))
    try:
        if account is not None:
            os.chown(folder, account.pw_uid, account.pw_gid)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
