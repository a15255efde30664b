"""A database lost with two of three centers, and brought back from the third to the transaction that was asked for."""

from __future__ import annotations

from pathlib import Path

from tests.mariadb.conftest import Site, started
from tests.support.mariadb import MariadbServer


def test_a_database_comes_back_from_the_remote_center_to_its_end_and_to_a_position(
    site: Site, server: MariadbServer, short: Path
) -> None:
    server.sql("INSERT INTO t (word) VALUES ('in the base backup')", "d")
    base = site.json("mariadb", "backup")
    assert base["receipt"]["held_by"] == ["prod", "city"]
    with site.stream() as stream:
        server.sql("INSERT INTO t (word) VALUES ('first'); FLUSH LOGS; CREATE USER u@localhost", "d")
        middle = server.place()
        ((gtid,),) = server.sql("SELECT @@gtid_binlog_pos")
        server.sql("INSERT INTO t (word) VALUES ('second'); DELETE FROM t WHERE word = 'first'", "d")
        window = stream.wait_for(server.place())
        assert window["receipt"]["held_by"] == ["prod", "city"]
        assert stream.stop() == 0
    ((checksum,),) = server.sql("SELECT GROUP_CONCAT(id, word ORDER BY id) FROM t", "d")
    assert site.run("center", "ship", "far") == 0
    server.kill()
    site.lose("prod", "city")

    end = site.recovered(short / "end")
    with started(end) as recovered:
        assert recovered.sql("SELECT GROUP_CONCAT(id, word ORDER BY id) FROM t", "d") == [[checksum]]
        assert recovered.sql("CHECK TABLE d.t EXTENDED")[-1][-1] == "OK"
        assert recovered.sql("SELECT COUNT(*) FROM mysql.user WHERE user = 'u'") == [["1"]]

    at = site.recovered(short / "middle", "--position", middle)
    assert at["end"]["gtid"] == gtid
    with started(at) as recovered:
        assert recovered.sql("SELECT word FROM t ORDER BY id", "d") == [["in the base backup"], ["first"]]
