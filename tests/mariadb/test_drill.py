"""Drills of a real server: one passes when it comes back, and fails when a part of what it needs is wrong."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from govsec.assemble.drill import run_plan
from govsec.assemble.plans import find_plan
from govsec.assemble.systems import Site as OpenedSite
from govsec.cli.main import main
from govsec.clock import SystemClock
from govsec.config import load_config
from govsec.drill.result import DrillResult, Verdict
from tests.mariadb.conftest import make_site
from tests.support.mariadb import MariadbServer, running

MORE = ", nonce_database: d, nonce_every_s: 1"


@pytest.fixture(scope="module")
def filled(mariadb_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A site whose server was backed up, streamed with a nonce, shipped, and is gone."""
    folder = Path(tempfile.mkdtemp(prefix="gm-"))
    folder.chmod(0o755)
    try:
        with running(mariadb_template, folder / "server") as server:
            server.sql("CREATE DATABASE d; CREATE TABLE d.t (id INT PRIMARY KEY, word VARCHAR(99)) ENGINE=InnoDB")
            server.sql("CREATE TABLE d.a (id INT PRIMARY KEY, word VARCHAR(99)) ENGINE=Aria", "d")
            _fill(folder, server)
        yield folder / "site"
    finally:
        shutil.rmtree(folder)


def _fill(folder: Path, server: MariadbServer) -> None:
    site = make_site(folder / "site", server.socket, None, more=MORE)  # type: ignore[arg-type]
    assert main(["mariadb", "backup", "--quiet", "--config", str(site.config)]) == 0
    with site.stream() as stream:
        server.sql("INSERT INTO t VALUES (1, 'one'), (2, 'two'); INSERT INTO a VALUES (1, 'one')", "d")
        stream.wait(lambda: _nonce_is_in(server) or None, "a nonce")
        server.sql("INSERT INTO t VALUES (3, 'three')", "d")
        before = server.place()
        server.sql("DELETE FROM govsec_nonce", "d")
        after = server.place()
        stream.wait_for(after)
        assert stream.stop() == 0
    (folder / "site" / "places.json").write_text(json.dumps({"before": before, "after": after}))
    assert main(["center", "ship", "far", "--quiet", "--config", str(site.config)]) == 0


def _nonce_is_in(server: MariadbServer) -> bool:
    rows = server.sql("SELECT COUNT(*) FROM information_schema.tables WHERE table_name = 'govsec_nonce'")
    return rows == [["1"]] and server.sql("SELECT COUNT(*) > 0 FROM d.govsec_nonce") == [["1"]]


def run_drill(
    site: Path,
    select: str = "/mariadb/db",
    *,
    query: str = "SELECT COUNT(*) FROM d.t",
    minimum: int = 2,
    **changes: Any,
) -> DrillResult:
    """Lose production and same-city, and recover at the remote center; ``changes`` are those of the mariadb step."""
    plan = {
        "name": "lose-the-city",
        "system": "hr",
        "scenario": {"kind": "lose_production_and_same_city"},
        "select": {"paths": [select]},
        "expect": {"paths": ["/mariadb/db/base"]},
        "objectives": {"rpo_s": 86400, "rto_s": 86400},
        "steps": [
            {"name": "restore", "kind": "restore", "timeout_s": 600},
            {"name": "content", "kind": "probe", "timeout_s": 600, "probe": {"kind": "content"}},
            {"name": "recover", "kind": "mariadb", "timeout_s": 600, "path": "/mariadb/db", **changes},
            {
                "name": "rows",
                "kind": "probe",
                "timeout_s": 600,
                "probe": {"kind": "mariadb_query", "query": query, "minimum": minimum},
            },
        ],
    }
    (site / "plan.yaml").write_text(json.dumps(plan))
    config = site / "govsec.yaml"
    config.write_text(config.read_text().replace("plans: []", "plans: [plan.yaml]"))
    opened = OpenedSite(load_config(config), SystemClock())
    return run_plan(opened, find_plan(opened, None), operator="a test", output=site / "reports").result


@pytest.fixture
def drill(filled: Path) -> Callable[..., DrillResult]:
    return partial(run_drill, filled)


@pytest.fixture
def places(filled: Path) -> dict[str, str]:
    found: dict[str, str] = json.loads((filled / "places.json").read_text())
    return found


def test_a_drill_recovers_the_server_isolated_and_measures_both_times(
    drill: Callable[..., DrillResult], places: dict[str, str]
) -> None:
    result = drill(position=places["before"])

    assert result.verdict is Verdict.PASS, result.reasons
    recover = next(step for step in result.steps if step.name == "recover")
    assert recover.facts["nonce"] and recover.facts["tables"] >= 3  # type: ignore[operator]
    assert result.measures.restore_time_until == "rows"
    assert result.measures.recovery_point_age_s is not None


@pytest.mark.soak
def test_a_query_that_finds_too_little_fails_the_drill(
    drill: Callable[..., DrillResult], places: dict[str, str]
) -> None:
    assert drill(minimum=4, position=places["before"]).verdict is Verdict.FAIL


def test_a_row_that_was_planted_and_did_not_come_back_fails_the_drill(
    drill: Callable[..., DrillResult], places: dict[str, str]
) -> None:
    result = drill(position=places["after"])

    assert result.verdict is Verdict.FAIL
    assert any("row that was written before" in str(reason) for reason in result.reasons)


def test_a_place_that_no_log_leads_to_fails_the_drill(drill: Callable[..., DrillResult]) -> None:
    assert drill(position="bin.000999:4").verdict is Verdict.FAIL


@pytest.mark.soak
def test_a_table_that_was_damaged_before_it_was_backed_up_fails_the_drill(
    server: MariadbServer, short: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.sql("CREATE TABLE bad (id INT PRIMARY KEY, word VARCHAR(200)) ENGINE=MyISAM", "d")
    server.sql("INSERT INTO bad SELECT seq, REPEAT('x', 150) FROM mysql.seq_1_to_2000", "d")
    site = make_site(short / "site", server.socket, capsys)

    def judged() -> DrillResult:
        assert site.run("mariadb", "backup") == 0
        assert site.run("center", "ship", "far") == 0
        return run_drill(site.directory, "/mariadb/db/base", query="SELECT COUNT(*) FROM d.t", minimum=0, nonce=False)

    assert not _reasons(judged(), "damaged")
    server.stop()
    path = server.data / "d" / "bad.MYI"
    data = bytearray(path.read_bytes())
    for position in range(1024 + 64, len(data), 64):
        data[position] ^= 0xFF
    path.write_bytes(data)
    server.start()

    result = judged()

    assert result.verdict is Verdict.FAIL
    assert _reasons(result, "damaged")


def _reasons(result: DrillResult, word: str) -> list[str]:
    return [str(reason) for reason in result.reasons if word in str(reason)]
