"""What goes wrong with a real server: each names the thing, loses nothing, and the next run carries on."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from govsec.assemble.postgresstatus import status_of_job
from govsec.backup.appending import AppendTree
from govsec.backup.archive import ArchiveResult
from govsec.backup.live import LiveWriter
from govsec.clock import SystemClock
from govsec.crypto.keyfile import KdfParameters
from govsec.errors import (
    HostUnreachableError,
    IntegrityError,
    LockedError,
    RefusedError,
    StoreError,
    StoreFullError,
    StoreUnavailableError,
)
from govsec.postgres.connection import Account, LogGoneError, SlotActiveError
from govsec.postgres.logbook import Logbook
from govsec.postgres.streaming import SlotFullError, Streamer, StreamSettings
from govsec.postgres.wal import parse_lsn
from govsec.progress import Progress
from govsec.repo.repository import WritableRepository
from govsec.store.memory import MemoryStore
from tests.postgres.conftest import Rig
from tests.support.postgres import Postgres, running_postgres


def test_a_server_that_is_killed_in_the_middle_of_a_base_backup(own_rig: Rig) -> None:
    server = own_rig.server
    server.sql("CREATE TABLE t AS SELECT n, repeat('x', 100) AS filler FROM generate_series(1, 200000) n", "CHECKPOINT")
    kills = []

    def kill(moment: Progress) -> None:
        if not kills and (moment.done_bytes or 0) > 8 << 20:
            server.kill()
            kills.append(moment.done_bytes)

    with pytest.raises(HostUnreachableError, match="postgresql"):
        own_rig.base(kill)
    assert kills
    server.start()
    report = own_rig.base()
    assert report.is_in_log
    own_rig.stream_to_now()
    own_rig.ship()
    with own_rig.recovered() as recovered:
        assert recovered.value("SELECT count(*) FROM t") == "200000"


def test_a_server_that_is_killed_under_a_stream(own_rig: Rig) -> None:
    server = own_rig.server
    own_rig.base()
    server.sql("CREATE TABLE t (n integer)")
    with pytest.raises(HostUnreachableError, match="postgresql"), own_rig.streaming() as stream:
        server.sql("INSERT INTO t VALUES (1)")
        stream.catch_up()
        server.kill()
        stream.wait(lambda: False)
    server.start()
    server.sql("INSERT INTO t VALUES (2)")
    own_rig.stream_to_now()
    own_rig.ship()
    with own_rig.recovered() as recovered:
        assert recovered.sql("SELECT n FROM t ORDER BY n") == ["1", "2"]


def test_a_slot_that_vanished_with_its_log_is_a_gap_that_is_told_and_shown(own_rig: Rig) -> None:
    server = own_rig.server
    own_rig.base()
    server.sql("CREATE TABLE t (n integer)")
    own_rig.stream_to_now()
    server.drop_slots()
    for number in range(12):
        server.sql(f"INSERT INTO t VALUES ({number})", "SELECT pg_switch_wal()", "CHECKPOINT")
    with pytest.raises(LogGoneError, match="marked as a gap"):
        own_rig.stream_to_now()
    own_rig.stream_to_now()  # the next run goes on behind it
    status = status_of_job(own_rig.site, own_rig.system, *own_rig.job)
    main = next(center for center in status.centers if center.center == "main")
    assert main.gaps and main.windows[0].missing_to is not None
    own_rig.base()
    own_rig.stream_to_now()
    own_rig.ship()
    with own_rig.recovered() as recovered:
        assert recovered.value("SELECT count(*) FROM t") == "12"


@pytest.mark.soak
def test_a_slot_that_vanished_while_the_log_is_still_there_costs_nothing(own_rig: Rig) -> None:
    server = own_rig.server
    own_rig.base()
    server.sql("CREATE TABLE t (n integer)")
    own_rig.stream_to_now()
    server.drop_slots()
    server.sql("INSERT INTO t VALUES (1)")
    with own_rig.streaming() as stream:
        stream.catch_up()
        assert any("made anew" in said for said in stream.said)
    own_rig.ship()
    with own_rig.recovered() as recovered:
        assert recovered.value("SELECT count(*) FROM t") == "1"


def test_another_cluster_is_refused_by_its_system_identifier(own_rig: Rig) -> None:
    own_rig.base()
    own_rig.stream_to_now()
    with running_postgres() as other:
        mine = own_rig.server
        own_rig.server = other
        own_rig.configure()
        for attempt in (own_rig.stream_to_now, own_rig.base):
            with pytest.raises(IntegrityError, match="is the log of the server"):
                attempt()
        own_rig.server = mine


def test_the_timeline_is_followed_after_a_promotion_and_an_old_primary_is_refused(own_rig: Rig) -> None:
    old = own_rig.server
    old.sql("CREATE TABLE t (n integer)")
    own_rig.base()
    old.sql("INSERT INTO t VALUES (1)")
    own_rig.stream_to_now()
    own_rig.ship()
    with own_rig.recovered() as new:
        assert new.value("SELECT timeline_id FROM pg_control_checkpoint()") == "2"
        old.sql("INSERT INTO t VALUES (100)")  # on the old side alone: it is lost with it
        own_rig.server = new
        own_rig.configure()
        new.sql("INSERT INTO t VALUES (2)", "SELECT pg_switch_wal()", "INSERT INTO t VALUES (3)")
        own_rig.stream_to_now()
        own_rig.ship()
        with own_rig.recovered() as third:
            assert third.sql("SELECT n FROM t ORDER BY n") == ["1", "2", "3"]
        own_rig.server = old
        own_rig.configure()
        with pytest.raises(IntegrityError, match="timeline 1; this log has gone on to timeline 2"):
            own_rig.stream_to_now()


def test_two_streams_of_one_job_on_one_machine(rig: Rig) -> None:
    with rig.streaming() as stream:
        stream.catch_up()
        with pytest.raises(LockedError, match="at work on this machine"), rig.streaming() as second:
            second.wait(lambda: False)


def test_two_streams_of_one_slot_from_two_machines(rig: Rig, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    other = Rig(tmp_path / "elsewhere", rig.server)
    other.create()
    with rig.streaming() as stream:
        stream.catch_up()
        with pytest.raises(SlotActiveError), other.streaming() as second:
            second.wait(lambda: False)


def test_a_base_backup_that_another_machine_takes_reaches_the_stream_and_is_not_lost(rig: Rig, tmp_path: Path) -> None:
    with rig.streaming() as stream:
        stream.catch_up()
        # The other machine has the same configuration and centers, and no state of this one.
        state = rig.directory / "state"
        rig.configure(state_dir="elsewhere")
        report = rig.base()
        assert not report.is_in_log
        rig.configure()
        assert state.is_dir()
        stream.catch_up()
    rig.stream_to_now()  # a stream that begins looks for base backups of others
    rig.ship()
    rig.server.sql("DROP TABLE IF EXISTS two", "CREATE TABLE two AS SELECT 1 AS n")
    rig.stream_to_now()
    rig.ship()
    with rig.recovered() as recovered:
        assert recovered.value("SELECT n FROM two") == "1"


class _Jumping(SystemClock):
    """The machine's clock, which somebody sets back."""

    offset = timedelta()

    def now(self) -> datetime:
        return super().now() + self.offset


def test_a_clock_that_jumps_back_changes_nothing_in_what_comes_back(rig: Rig) -> None:
    rig.clock = clock = _Jumping()
    rig.server.sql("DROP TABLE IF EXISTS jumped", "CREATE TABLE jumped (n integer)")
    rig.base()
    with rig.streaming() as stream:
        rig.server.sql("INSERT INTO jumped VALUES (1)")
        stream.catch_up()
        clock.offset = timedelta(hours=-2)
        rig.server.sql("INSERT INTO jumped VALUES (2)")
        stream.catch_up()
    rig.server.sql("INSERT INTO jumped VALUES (3)")
    rig.stream_to_now()
    rig.ship()
    with rig.recovered() as recovered:
        assert recovered.sql("SELECT n FROM jumped ORDER BY n") == ["1", "2", "3"]


def test_tablespaces_come_back_where_the_operator_wants_them(own_rig: Rig, tmp_path: Path) -> None:
    server = own_rig.server
    place = server.folder / "space"
    _made_for(server, place)
    server.sql(f"CREATE TABLESPACE fast LOCATION '{place}'")
    server.sql("CREATE TABLE t TABLESPACE fast AS SELECT n FROM generate_series(1, 100) n")
    own_rig.base()
    own_rig.stream_to_now()
    own_rig.ship()
    elsewhere = server.folder / "elsewhere"
    _made_for(server, elsewhere)
    server.stop("fast")
    with own_rig.recovered(places={str(place): elsewhere}) as recovered:
        assert recovered.value("SELECT count(*) FROM t") == "100"
        assert recovered.value("SELECT pg_tablespace_location(oid) FROM pg_tablespace WHERE spcname = 'fast'") == str(
            elsewhere
        )
    with own_rig.recovered() as recovered:
        assert recovered.value("SELECT count(*) FROM t") == "100"


def _made_for(server: Postgres, place: Path) -> None:
    place.mkdir(mode=0o700)
    shutil.chown(place, "postgres", "postgres")


@dataclass
class _Session:
    """A session whose centers refuse, once told to."""

    error: StoreError | None = None
    commits: list[ArchiveResult] = field(default_factory=list)

    def commit(self, result: ArchiveResult) -> object:
        if self.error is not None:
            raise self.error
        self.commits.append(result)
        return None

    def tend(self) -> list[object]:
        return []


@pytest.fixture
def streamer_parts(server: Postgres) -> Iterator[tuple[Logbook, Account]]:
    clock = SystemClock()
    store = MemoryStore()
    repository = WritableRepository.initialize(store, b"a password for tests", clock, kdf=KdfParameters(n=2, r=1, p=1))
    repository.load_index()
    yield Logbook(AppendTree(LiveWriter(repository, clock=clock), "/postgres/x"), clock), Account(server.conninfo)
    server.drop_slots()


def _streamer(parts: tuple[Logbook, Account], session: _Session, **changes: object) -> Streamer:
    settings = StreamSettings(
        **{
            "slot": "govsec", "slot_bytes_max": 1 << 40, "is_dropping_full": False, "window_s": 0.2, "bases_kept": 1,
            "nonce_database": "", "nonce_every_s": 60.0, **changes,
        }
    )  # fmt: skip
    return Streamer(parts[0], session, parts[1], settings, SystemClock(), place="a test")


def test_a_full_disk_ends_the_stream_and_confirms_nothing(
    server: Postgres, streamer_parts: tuple[Logbook, Account]
) -> None:
    session = _Session(error=StoreFullError("main: no space left"))
    streamer = _streamer(streamer_parts, session)
    with pytest.raises(StoreFullError):
        streamer.run(lambda: False)
    assert streamer.confirmed == 0
    kept = parse_lsn(server.value("SELECT restart_lsn FROM pg_replication_slots"))
    session.error = None
    streamer = _streamer(streamer_parts, session)
    wanted = parse_lsn(server.value("SELECT pg_current_wal_flush_lsn()"))
    streamer.run(lambda: streamer.confirmed >= wanted)
    assert session.commits and streamer.confirmed >= kept


def test_a_slot_that_would_fill_the_servers_disk_is_given_up_when_it_is_to_be(
    server: Postgres, streamer_parts: tuple[Logbook, Account]
) -> None:
    session = _Session(error=None)
    streamer = _streamer(streamer_parts, session, slot_bytes_max=1, is_dropping_full=True, slot_check_s=0.0)
    wanted = parse_lsn(server.value("SELECT pg_current_wal_flush_lsn()"))
    streamer.run(lambda: streamer.confirmed >= wanted)
    assert server.value("SELECT count(*) FROM pg_replication_slots") == "1"  # reading on makes it smaller
    session.error = StoreUnavailableError("main: does not answer")
    server.sql("SELECT pg_switch_wal()", "SELECT txid_current()")
    with pytest.raises(SlotFullError, match="given up"):
        streamer.run(lambda: False)
    assert server.value("SELECT count(*) FROM pg_replication_slots") == "0"
    assert issubclass(SlotFullError, RefusedError)
