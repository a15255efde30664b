"""A site with three directories as centers and one PostgreSQL job, and a real server for it."""

from __future__ import annotations

import json
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import pytest

from govsec.assemble.centers import init_centers, ship_to
from govsec.assemble.demo import local_centers
from govsec.assemble.live import LiveSession
from govsec.assemble.postgres import BaseReport, backup_base, recover, stream_log
from govsec.assemble.postgresjobs import newest_log, postgres_job, root_of
from govsec.assemble.systems import Site
from govsec.backup.appending import AppendTree
from govsec.clock import Clock, SystemClock
from govsec.config import BackupConfig, SystemConfig, load_config
from govsec.postgres.logbook import Logbook, path_of
from govsec.postgres.recovery import Recovered
from govsec.postgres.streaming import WindowReport
from govsec.postgres.wal import parse_lsn
from govsec.postgres.window import Target
from govsec.postgresentry import PostgresSourceConfig
from govsec.progress import ProgressSink, silent
from tests.support.cheapkey import begin_cheaply
from tests.support.postgres import Postgres, running_postgres

#: A guard against a hang.
WAIT_S = 120.0


@dataclass
class Rig:
    """The site, its job, and the server."""

    directory: Path
    server: Postgres
    clock: Clock = field(default_factory=SystemClock)

    @property
    def site(self) -> Site:
        return Site(load_config(self.directory / "govsec.yaml"), self.clock)

    @property
    def system(self) -> SystemConfig:
        return self.site.system("hr")

    @property
    def job(self) -> tuple[BackupConfig, PostgresSourceConfig]:
        return postgres_job(self.system, None)

    def configure(self, *, state_dir: str = "state", **changes: object) -> None:
        """Write the configuration; ``changes`` are those of the source."""
        source = {"kind": "postgres", "conninfo": self.server.conninfo, "window_s": 0.2, "nonce_every_s": 1, **changes}
        config = {
            "state_dir": state_dir,
            "centers": local_centers(self.directory),
            "signing": {
                "commit_key_file": "keys/commit.key",
                "evidence_key_file": "keys/evidence.key",
                "roots_file": "roots.yaml",
            },
            "systems": [
                {
                    "name": "hr",
                    "password_file": "keys/password",
                    "backups": [{"name": "main", "source": source}],
                    "plans": [str(path) for path in sorted(self.directory.glob("plan*.yaml"))],
                }
            ],
        }
        (self.directory / "govsec.yaml").write_text(json.dumps(config))

    def create(self) -> None:
        (self.directory / "keys").mkdir(mode=0o700)
        password = self.directory / "keys" / "password"
        password.touch(mode=0o600)
        password.write_text("correct horse battery staple 7731\n")
        self.configure()
        begin_cheaply(self.directory / "govsec.yaml")
        init_centers(self.site, self.system)

    def base(self, progress: ProgressSink = silent) -> BaseReport:
        """Take a base backup."""
        return backup_base(self.site, self.system, *self.job, progress=progress)

    @contextmanager
    def streaming(self) -> Iterator[Stream]:
        """A stream in a thread, told to stop at the end; what it raised is raised."""
        stream = Stream(self)
        stream.start()
        try:
            yield stream
        finally:
            stream.stop()

    def stream_to_now(self) -> int:
        """Stream until everything that the server has written by now is confirmed; that position."""
        with self.streaming() as stream:
            return stream.catch_up()

    def ship(self) -> None:
        """Let the remote center follow."""
        ship_to(self.site, self.system, "far")

    def rewrite(self, change: Callable[[LiveSession, Logbook], None]) -> None:
        """Commit the log's tree with something in it changed: what a fault of ours or a hostile production would do."""
        job = self.job[0]
        with LiveSession(self.site, self.system, job=job.name) as session:
            parent = newest_log(self.site, session.near, session.repository, job)
            logbook = Logbook(AppendTree(session.writer, root_of(job), parent=parent), SystemClock())
            change(session, logbook)
            session.commit(logbook.save())

    def cut_segment(self) -> None:
        """Take a whole segment out of the middle of the log."""

        def cut(session: LiveSession, logbook: Logbook) -> None:
            whole = sorted(logbook.segments(with_partial=False))
            assert len(whole) >= 2
            logbook.tree.remove(path_of(whole[-1]))

        self.rewrite(cut)

    def lose_near(self) -> None:
        """Production and same-city are gone."""
        for name in ("main", "near"):
            shutil.move(self.directory / name, self.directory / f"{name}.lost")

    def recover(self, target: Path, wanted: Target, *, center: str = "far", **options: object) -> Recovered:
        return recover(self.site, self.system, self.job[0], target, wanted, center=center, workers=0, **options)

    @contextmanager
    def recovered(self, wanted: Target | None = None, **options: object) -> Iterator[Postgres]:
        """A server that was recovered from the remote center, running."""
        folder = Path(tempfile.mkdtemp(prefix="govsec-pgr-", dir="/tmp"))
        folder.chmod(0o755)
        shutil.chown(folder, "postgres", "postgres")
        other = Postgres(folder, self.server.binaries)
        try:
            self.recover(folder / "r", wanted or Target(), **options)
            other.data = folder / "r" / "data"
            other.start("hot_standby=on")
            other.wait_promoted()
            yield other
        finally:
            other.stop()
            shutil.rmtree(folder, ignore_errors=True)


class Stream:
    """A stream in a thread."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self._stop = threading.Event()
        self._confirmed = threading.Condition()
        self._position = 0
        self.nonces_count = 0
        self._current_at: datetime | None = None
        self.said: list[str] = []
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Stop it; raises what it raised."""
        self._stop.set()
        self._thread.join(WAIT_S)
        assert not self._thread.is_alive(), "the stream does not end"
        if self.error is not None:
            raise self.error

    def catch_up(self) -> int:
        """Wait until what the server has written by now is committed; that position."""
        wanted = parse_lsn(self._rig.server.value("SELECT pg_current_wal_flush_lsn()"))
        self.wait(lambda: self._position >= wanted)
        return wanted

    def wait_current(self, moment: datetime) -> None:
        """Wait until the stream knows that the log was complete at a moment of the server's."""
        self.wait(lambda: self._current_at is not None and self._current_at >= moment)

    def wait_said(self, words: str) -> None:
        """Wait until the stream has told something."""
        self.wait(lambda: any(words in said for said in self.said))

    def wait(self, is_done: Callable[[], bool]) -> None:
        with self._confirmed:
            assert self._confirmed.wait_for(lambda: is_done() or self.error is not None, WAIT_S), self.said
        if self.error is not None:
            raise self.error

    def _run(self) -> None:
        rig = self._rig
        try:
            stream_log(
                rig.site, rig.system, *rig.job, is_stopped=self._stop.is_set, say=self._told,
                committed=self._committed,
            )  # fmt: skip
        except BaseException as error:  # noqa: BLE001 - the test raises it
            with self._confirmed:
                self.error = error
                self._confirmed.notify_all()

    def _told(self, words: str) -> None:
        with self._confirmed:
            self.said.append(words)
            self._confirmed.notify_all()

    def _committed(self, logbook: Logbook, report: WindowReport) -> None:
        with self._confirmed:
            self._position = logbook.position
            self.nonces_count = len(logbook.known.nonces)
            self._current_at = logbook.known.current_at
            self._confirmed.notify_all()


@pytest.fixture(scope="session")
def server() -> Iterator[Postgres]:
    """One server for the tests that only add to it."""
    with running_postgres() as found:
        yield found


@pytest.fixture
def own_rig(tmp_path: Path) -> Iterator[Rig]:
    """A site with a server of its own, which the test may kill."""
    with running_postgres("max_wal_size=32MB", "min_wal_size=32MB") as server:
        found = Rig(tmp_path, server)
        found.create()
        yield found


@pytest.fixture
def rig(server: Postgres, tmp_path: Path) -> Iterator[Rig]:
    """A new site for the shared server; its slot goes afterwards."""
    found = Rig(tmp_path, server)
    found.create()
    yield found
    server.drop_slots()
