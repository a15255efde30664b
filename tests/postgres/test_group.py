"""PostgreSQL and files in one recovery point: the database comes back to the very position that the group names."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

import pytest

from govsec.assemble.groups import back_up_group, group_of
from govsec.assemble.groupsrestore import restore_group
from govsec.errors import RefusedError
from tests.postgres.conftest import Rig
from tests.support.postgres import Postgres


def grouped(rig: Rig) -> None:
    (rig.directory / "papers").mkdir(exist_ok=True)
    (rig.directory / "papers" / "a.txt").write_text("a paper")
    rig.configure()
    config = json.loads((rig.directory / "govsec.yaml").read_text())
    papers = {"name": "papers", "source": {"kind": "files", "paths": [str(rig.directory / "papers")]}}
    config["systems"][0]["backups"].append(papers)
    config["systems"][0]["groups"] = [{"name": "office", "members": ["papers", "main"]}]
    (rig.directory / "govsec.yaml").write_text(json.dumps(config))


@pytest.mark.soak
def test_a_group_names_a_position_and_the_database_comes_back_to_it(rig: Rig) -> None:
    grouped(rig)
    rig.server.sql("DROP TABLE IF EXISTS grouped", "CREATE TABLE grouped (word text)")
    rig.base()
    with rig.streaming() as stream:
        stream.catch_up()
        rig.server.sql("INSERT INTO grouped VALUES ('in the group')")
        report = back_up_group(rig.site, rig.system, group_of(rig.system, "office"))
        rig.server.sql("INSERT INTO grouped VALUES ('afterwards')")
    assert {member.kind for member in report.record.members} == {"files", "postgres"}
    rig.ship()
    rig.lose_near()

    folder = Path(tempfile.mkdtemp(prefix="govsec-pgg-", dir="/tmp"))
    folder.chmod(0o755)
    other = Postgres(folder, rig.server.binaries)
    try:
        restore_group(rig.site, rig.system, group_of(rig.system, "office"), folder / "r", center="far")
        (folder / "r").chmod(0o755)
        assert list((folder / "r" / "papers").rglob("a.txt"))
        other.data = folder / "r" / "main" / "data"
        shutil.chown(folder, "postgres", "postgres")
        other.start("hot_standby=on")
        other.wait_promoted()
        assert other.sql("SELECT word FROM grouped") == ["in the group"]
    finally:
        other.stop()
        shutil.rmtree(folder, ignore_errors=True)


def test_a_database_that_nobody_streams_is_no_member_of_a_recovery_point(rig: Rig) -> None:
    grouped(rig)
    rig.base()

    with pytest.raises(RefusedError, match="member main: nobody streams its log"):
        back_up_group(rig.site, rig.system, group_of(rig.system, "office"))
