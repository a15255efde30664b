"""Servers and streams that die, logs that are gone: what happened is named, nothing is lost, the next run goes on."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from govsec.clock import SystemClock, format_time
from tests.mariadb.conftest import LIMIT_S, Site, started
from tests.support.mariadb import MariadbServer


def test_a_killed_stream_goes_on_where_it_ended_and_a_second_one_is_kept_out(
    site: Site, server: MariadbServer, short: Path
) -> None:
    site.json("mariadb", "backup")
    with site.stream() as first:
        server.sql("INSERT INTO t (word) VALUES ('one')", "d")
        first.wait_for(server.place())
        with site.stream() as second:
            second.wait_to_say("another stream holds the server's lock")
            first.kill()
            # The lock goes with the connection of the one that died.
            server.sql("INSERT INTO t (word) VALUES ('two')", "d")
            second.wait_for(server.place())
            assert second.stop() == 0

    back = site.recovered(short / "back")
    assert back["transactions"] == 2
    with started(back) as recovered:
        assert recovered.sql("SELECT word FROM t", "d") == [["one"], ["two"]]
    verified = site.json("mariadb", "verify")
    assert (verified["problems"], verified["gaps"]) == ([], 0)


@pytest.mark.soak
def test_a_server_that_is_killed_and_comes_back_is_followed_on_without_a_gap(
    site: Site, server: MariadbServer, short: Path
) -> None:
    site.json("mariadb", "backup")
    with site.stream() as stream:
        server.sql("INSERT INTO t (word) VALUES ('before')", "d")
        stream.wait_for(server.place())
        server.kill()
        stream.wait_to_say("trying again")
        server.start()
        server.sql("INSERT INTO t (word) VALUES ('after')", "d")
        stream.wait_for(server.place())
        assert stream.stop() == 0

    with started(site.recovered(short / "back")) as recovered:
        assert recovered.sql("SELECT word FROM t", "d") == [["before"], ["after"]]
    assert site.json("mariadb", "status", code=1)["centers"][0]["gaps"] == []


def _purge(server: MariadbServer) -> None:
    """A server does not purge what a reader had open until it notices that the reader has gone."""
    newest = server.place().partition(":")[0]
    deadline = time.monotonic() + LIMIT_S
    while len(server.sql(f"PURGE BINARY LOGS TO '{newest}'; SHOW BINARY LOGS")) > 1:
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.soak
def test_a_purged_log_is_a_gap_that_is_told_and_that_nothing_is_recovered_across(
    site: Site, server: MariadbServer, short: Path
) -> None:
    site.json("mariadb", "backup")
    with site.stream() as stream:
        server.sql("INSERT INTO t (word) VALUES ('before')", "d")
        seen = server.place()
        stream.wait_for(seen)
        assert stream.stop() == 0
    server.sql("INSERT INTO t (word) VALUES ('lost'); FLUSH LOGS; FLUSH LOGS", "d")
    _purge(server)
    with site.stream() as stream:
        server.sql("INSERT INTO t (word) VALUES ('after')", "d")
        stream.wait_to_say("GAP")
        after = server.place()
        stream.wait_for(after)
        assert stream.stop() == 0

    status = site.json("mariadb", "status", code=1)
    assert "purged" in status["centers"][0]["gaps"][0]
    assert status["is_good"] is False
    refused = site.json("mariadb", "restore", "--target", str(short / "no"), "--position", after, code=5)
    assert "no base backup here leads to" in refused["error"]["message"]
    for way in ((), ("--time", format_time(SystemClock().now()))):
        # The state before the gap, without a word, would be taken for the newest.
        site.json("mariadb", "restore", "--target", str(short / "no"), *way, code=5)
    with started(site.recovered(short / "back", "--position", seen)) as recovered:
        assert recovered.sql("SELECT word FROM t", "d") == [["before"]]


@pytest.mark.soak
def test_a_log_that_was_reset_begins_a_new_line_though_its_files_have_the_same_names(
    site: Site, server: MariadbServer, short: Path
) -> None:
    site.json("mariadb", "backup")
    with site.stream() as stream:
        server.sql("INSERT INTO t (word) VALUES ('before')", "d")
        stream.wait_for(server.place())
        assert stream.stop() == 0
    server.sql("RESET MASTER; INSERT INTO t (word) VALUES ('a'); INSERT INTO t (word) VALUES ('b')", "d")
    with site.stream() as stream:
        stream.wait_to_say("GAP")
        stream.wait_for(server.place())
        assert stream.stop() == 0
    site.json("mariadb", "backup")
    with site.stream() as stream:
        server.sql("INSERT INTO t (word) VALUES ('c')", "d")
        stream.wait_for(server.place())
        assert stream.stop() == 0

    assert len(site.json("mariadb", "status", code=1)["centers"][0]["gaps"]) == 1
    with started(site.recovered(short / "back")) as recovered:
        assert recovered.sql("SELECT word FROM t", "d") == [["before"], ["a"], ["b"], ["c"]]


@pytest.mark.soak
def test_a_server_that_dies_in_the_middle_of_a_base_backup_makes_no_snapshot(site: Site, server: MariadbServer) -> None:
    server.sql("CREATE TABLE big (id INT PRIMARY KEY, word VARCHAR(255))", "d")
    server.sql("INSERT INTO big SELECT seq, REPEAT(MD5(seq), 7) FROM seq_1_to_200000", "d")
    backup = subprocess.Popen(
        [sys.executable, "-m", "govsec.cli", "mariadb", "backup", "--json", "--config", str(site.config)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + LIMIT_S
    while not server.sql("SELECT 1 FROM information_schema.processlist WHERE info LIKE '%BACKUP%' OR command='Sleep'"):
        assert backup.poll() is None and time.monotonic() < deadline
    os.kill(server.process.pid, signal.SIGKILL)  # type: ignore[union-attr] # it runs
    said = backup.communicate(timeout=LIMIT_S)[0].decode()

    assert backup.returncode in (1, 4), said
    assert site.json("backup", "list")["snapshots"] == []
    server.process.wait(60)  # type: ignore[union-attr]
    server.start()
    assert site.json("mariadb", "backup")["receipt"]["held_by"] == ["prod", "city"]


@pytest.mark.soak
def test_while_no_center_takes_it_the_log_waits_and_nothing_is_lost(
    site: Site, server: MariadbServer, short: Path
) -> None:
    site.json("mariadb", "backup")
    with site.stream() as stream:
        server.sql("INSERT INTO t (word) VALUES ('one')", "d")
        stream.wait_for(server.place())
        for center in ("prod", "city"):
            shutil.move(site.directory / center, site.directory / f"{center}.away")
        server.sql("INSERT INTO t (word) VALUES ('two')", "d")
        stream.wait_to_say("the log waits")
        for center in ("prod", "city"):
            shutil.move(site.directory / f"{center}.away", site.directory / center)
        stream.wait_for(server.place())
        assert stream.stop() == 0

    with started(site.recovered(short / "back")) as recovered:
        assert recovered.sql("SELECT word FROM t", "d") == [["one"], ["two"]]
