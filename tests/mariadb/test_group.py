"""MariaDB and files in one recovery point: the database comes back to the very place that the group names."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.mariadb.conftest import Site, started
from tests.support.mariadb import MariadbServer

_MORE = """      - name: papers
        source: {{kind: files, paths: [{papers}]}}
    groups:
      - {{name: office, members: [papers, db], wait_s: 90, post: {{argv: [/usr/bin/touch, {papers}/../went-on]}}}}
"""


@pytest.fixture
def grouped(site: Site) -> Site:
    (site.directory / "papers").mkdir()
    (site.directory / "papers" / "a.txt").write_text("a paper")
    site.config.write_text(site.config.read_text() + _MORE.format(papers=site.directory / "papers"))
    return site


@pytest.mark.soak
def test_a_group_names_a_place_in_the_log_and_the_database_comes_back_to_it(
    grouped: Site, server: MariadbServer, short: Path
) -> None:
    grouped.json("mariadb", "backup")
    with grouped.stream() as stream:
        server.sql("INSERT INTO t (word) VALUES ('in the group')", "d")
        stream.wait_for(server.place())
        made = grouped.json("backup", "group", "office")
        server.sql("INSERT INTO t (word) VALUES ('afterwards')", "d")
        stream.wait_for(server.place())
        assert stream.stop() == 0
    assert (grouped.directory / "went-on").exists()
    assert grouped.run("center", "ship", "far") == 0
    grouped.lose("prod", "city")

    back = grouped.json("backup", "group", "office", "--restore", str(short / "back"), "--center", "far")

    assert back["snapshot"] == made["snapshot"]
    assert list((short / "back" / "papers").rglob("a.txt"))
    # Restored files are their owner's alone; the server's user is to come through.
    (short / "back").chmod(0o755)
    with started({"datadir": str(short / "back" / "db" / "data")}) as recovered:
        assert recovered.sql("SELECT word FROM t", "d") == [["in the group"]]


@pytest.mark.soak
def test_stock_restic_brings_back_files_base_backup_and_log_of_a_group(
    grouped: Site, server: MariadbServer, short: Path
) -> None:
    made = grouped.json("backup", "group", "office")

    argv = ["restic", "--repo", str(grouped.directory / "prod" / "hr"), "--no-cache", "--password-file"]
    done = subprocess.run(
        [*argv, str(grouped.directory / "password"), "restore", made["snapshot"], "--target", str(short / "restic")],
        capture_output=True,
        text=True,
        timeout=240,
    )

    assert done.returncode == 0, done.stderr
    names = {path.name for path in (short / "restic").rglob("*")}
    assert {"a.txt", "ibdata1", "record.json", "govsec.json"} <= names
