"""Targets that are hard: at the quiet end of the log, within an outage, exactly at a position; holes in pushed log."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from govsec.assemble.postgreswal import push_file
from govsec.postgres.tail import PAGE_SIZE, read_tail
from govsec.postgres.wal import Segment, parse_lsn
from govsec.postgres.window import Target, TargetKind
from tests.postgres.conftest import Rig

SIZE = 16 << 20


@pytest.fixture
def filled(rig: Rig) -> Rig:
    rig.server.sql("DROP TABLE IF EXISTS aimed", "CREATE TABLE aimed (n integer)")
    rig.base()
    return rig


def moment_of(rig: Rig) -> datetime:
    return datetime.fromisoformat(rig.server.value("SELECT clock_timestamp()"))


def test_a_moment_after_the_last_commit_is_the_end_of_the_log(filled: Rig) -> None:
    filled.server.sql("INSERT INTO aimed VALUES (1)")
    with filled.streaming() as stream:
        stream.catch_up()
        moment = moment_of(filled)
        stream.wait_current(moment)
    filled.ship()
    with filled.recovered(Target(TargetKind.TIME, time=moment)) as server:
        assert server.sql("SELECT n FROM aimed") == ["1"]


def test_a_position_holds_what_ended_before_it_and_nothing_that_began_at_it(filled: Rig) -> None:
    filled.server.sql("INSERT INTO aimed VALUES (1)")
    lsn = parse_lsn(filled.server.value("SELECT pg_create_restore_point('mark')"))
    last = Target(TargetKind.LSN, lsn=lsn)
    filled.stream_to_now()
    filled.ship()
    with filled.recovered(last) as server:
        assert server.sql("SELECT n FROM aimed") == ["1"]
    filled.server.sql("INSERT INTO aimed VALUES (2)")
    filled.stream_to_now()
    filled.ship()
    with filled.recovered(last) as server:
        assert server.sql("SELECT n FROM aimed") == ["1"]


def test_a_moment_within_an_outage_of_the_stream_can_be_recovered(filled: Rig) -> None:
    filled.stream_to_now()
    filled.server.sql("INSERT INTO aimed VALUES (1)")
    for _ in range(5):
        filled.server.sql("SELECT pg_switch_wal()", "INSERT INTO aimed VALUES (0)")
    moment = moment_of(filled)
    filled.server.sql("INSERT INTO aimed VALUES (2)")
    # All of it is sent at once, long after it was written.
    filled.stream_to_now()
    filled.ship()
    with filled.recovered(Target(TargetKind.TIME, time=moment)) as server:
        assert server.sql("SELECT n FROM aimed ORDER BY n") == ["0"] * 5 + ["1"]


def test_a_pushed_segment_behind_a_hole_moves_nothing_that_a_stream_goes_on_from(filled: Rig, tmp_path: Path) -> None:
    filled.server.sql("INSERT INTO aimed VALUES (1)")
    filled.stream_to_now()
    server = filled.server
    for number in range(3):
        server.sql("SELECT pg_switch_wal()", f"INSERT INTO aimed VALUES ({number})")
    later = Segment.at(parse_lsn(server.value("SELECT pg_current_wal_lsn()")), 1, SIZE)
    server.sql("SELECT pg_switch_wal()")
    (tmp_path / "wal").mkdir()
    path = Path(shutil.copy(server.data / "pg_wal" / later.name, tmp_path / "wal" / later.name))
    assert push_file(filled.site, filled.system, *filled.job, path).is_new
    filled.stream_to_now()
    filled.ship()
    with filled.recovered() as recovered:
        assert recovered.value("SELECT count(*) FROM aimed") == "4"


def test_the_end_of_a_real_log_is_where_the_server_says_that_it_is(filled: Rig) -> None:
    server = filled.server
    server.sql("SELECT pg_switch_wal()", "INSERT INTO aimed SELECT generate_series(1, 20000)")
    before = moment_of(filled)
    server.sql("INSERT INTO aimed VALUES (7)")
    after = moment_of(filled)
    end = parse_lsn(server.value("SELECT pg_current_wal_flush_lsn()"))
    segment = Segment.at(end - 1, 1, SIZE)
    data = (server.data / "pg_wal" / segment.name).read_bytes()

    def get(address: int) -> bytes | None:
        at = address - segment.start
        return data[at : at + PAGE_SIZE] if 0 <= at < SIZE else None

    tail = read_tail(get, segment.start, end)
    assert tail.moment is not None and before <= tail.moment <= after
    assert tail.record is not None and segment.start < tail.record < end
    cut = read_tail(get, segment.start, tail.record)
    assert cut.moment is None or cut.moment <= after
    assert read_tail(lambda address: bytes(PAGE_SIZE), 0, SIZE).moment is None
    assert datetime.now(UTC) - tail.moment < timedelta(hours=1)
