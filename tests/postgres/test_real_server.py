"""A real PostgreSQL: base backup, stream, loss of two centers, recovery from the third, to a moment."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

import pytest

from govsec.postgres.wal import parse_lsn
from govsec.postgres.window import Target, TargetKind
from tests.postgres.conftest import Rig
from tests.support.postgres import Postgres


@pytest.fixture
def table(server: Postgres) -> Iterator[str]:
    """An empty table of its own in the shared server."""
    server.sql("DROP TABLE IF EXISTS cases", "CREATE TABLE cases (id integer PRIMARY KEY, title text)")
    yield "cases"
    server.sql("DROP TABLE IF EXISTS cases")


def test_everything_comes_back_from_the_remote_center_when_the_near_ones_are_lost(rig: Rig, table: str) -> None:
    rig.server.sql("INSERT INTO cases SELECT n, 'before' FROM generate_series(1, 1000) n")
    report = rig.base()
    assert set(report.receipt.held_by) == {"main", "near"}
    with rig.streaming() as stream:
        rig.server.sql("INSERT INTO cases SELECT n, 'after' FROM generate_series(1001, 1500) n")
        stream.catch_up()
        rig.server.sql("SELECT pg_switch_wal()", "INSERT INTO cases VALUES (2000, 'in the next segment')")
        stream.catch_up()
    rig.ship()
    rig.lose_near()
    with rig.recovered() as server:
        assert server.value("SELECT count(*) FROM cases") == "1501"
        assert server.value("SELECT title FROM cases WHERE id = 2000") == "in the next segment"


def test_a_table_that_was_dropped_is_there_a_second_before(rig: Rig, table: str) -> None:
    rig.base()
    with rig.streaming() as stream:
        rig.server.sql("INSERT INTO cases VALUES (1, 'kept')")
        stream.catch_up()
        moment = datetime.fromisoformat(rig.server.value("SELECT now()::timestamptz"))
        lsn = parse_lsn(rig.server.value("SELECT pg_current_wal_flush_lsn()"))
        rig.server.sql("SELECT pg_create_restore_point('before the drop')")
        rig.server.sql("DROP TABLE cases")
        stream.catch_up()
    rig.ship()
    targets = [
        Target(TargetKind.TIME, time=moment),
        Target(TargetKind.LSN, lsn=lsn),
        Target(TargetKind.POINT, point="before the drop"),
    ]
    for target in targets:
        with rig.recovered(target) as server:
            assert server.value("SELECT title FROM cases") == "kept", str(target)
    with rig.recovered(Target()) as server:
        assert server.value("SELECT to_regclass('cases') IS NULL") == "t"


def test_a_stream_that_was_stopped_goes_on_at_the_byte_where_it_ended(rig: Rig, table: str) -> None:
    rig.base()
    for number in range(4):
        rig.server.sql(f"INSERT INTO cases VALUES ({number}, 'run')")
        rig.stream_to_now()
    rig.ship()
    with rig.recovered() as server:
        assert server.value("SELECT count(*) FROM cases") == "4"


def test_the_server_may_throw_away_only_what_a_receipt_covers(rig: Rig, table: str) -> None:
    rig.base()
    position = rig.stream_to_now()
    flushed = parse_lsn(rig.server.value("SELECT restart_lsn FROM pg_replication_slots WHERE slot_name = 'govsec'"))
    assert flushed >= position
    with rig.streaming() as stream:
        stream.catch_up()
        # Same-city takes nothing any more, and the mode asks for production alone or says that it is degraded; with
        # production away as well, nothing is confirmed.
        (rig.directory / "main").rename(rig.directory / "main.away")
        (rig.directory / "near").rename(rig.directory / "near.away")
        before = rig.server.value("SELECT restart_lsn FROM pg_replication_slots WHERE slot_name = 'govsec'")
        rig.server.sql("INSERT INTO cases VALUES (1, 'not kept anywhere yet')")
        stream.wait_said("keeps its log meanwhile")
        assert rig.server.value("SELECT restart_lsn FROM pg_replication_slots WHERE slot_name = 'govsec'") == before
        (rig.directory / "main.away").rename(rig.directory / "main")
        (rig.directory / "near.away").rename(rig.directory / "near")
        stream.catch_up()
    rig.ship()
    with rig.recovered() as server:
        assert server.value("SELECT count(*) FROM cases") == "1"
