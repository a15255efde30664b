"""Drills of a real server: they pass when it comes back, and fail when a part of what it needs is wrong."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace as replace_fields
from pathlib import Path
from typing import Any

import pytest

from govsec.assemble.drill import run_plan
from govsec.assemble.live import LiveSession
from govsec.assemble.plans import find_plan
from govsec.backup.appending import find_tree
from govsec.backup.archive import archive
from govsec.backup.restore import restore
from govsec.backup.sources import FileSource
from govsec.clock import SystemClock
from govsec.drill.result import DrillResult, Outcome, Verdict
from govsec.postgres.logbook import Logbook
from tests.postgres.conftest import Rig
from tests.support.require import require_root


@pytest.fixture
def drill(rig: Rig) -> Callable[..., DrillResult]:
    """Runs the plan; ``changes`` are those of its postgres step."""
    require_root()

    def run(**changes: Any) -> DrillResult:
        plan = {
            "name": "lose-the-city",
            "system": "hr",
            "scenario": {"kind": "lose_production_and_same_city"},
            "select": {"paths": ["/postgres/main"]},
            "expect": {"paths": ["/postgres/main/govsec.json"]},
            "objectives": {"rpo_s": 86400, "rto_s": 86400},
            "steps": [
                {"name": "restore", "kind": "restore", "timeout_s": 600},
                {"name": "content", "kind": "probe", "timeout_s": 600, "probe": {"kind": "content"}},
                {"name": "recover", "kind": "postgres", "timeout_s": 600, "path": "/postgres/main", **changes},
                {
                    "name": "rows",
                    "kind": "probe",
                    "timeout_s": 600,
                    "probe": {
                        "kind": "postgres_query", "database": "postgres",
                        "query": "SELECT count(*) FROM drilled", "minimum": 10,
                    },
                },
            ],
        }  # fmt: skip
        (rig.directory / "plan.yaml").write_text(json.dumps(plan))
        rig.configure(nonce_database="postgres")
        site = rig.site
        return run_plan(site, find_plan(site, None), operator="a test", output=rig.directory / "reports").result

    return run


@pytest.fixture
def filled(rig: Rig) -> Rig:
    """A base backup, log after it with a nonce, shipped."""
    rig.configure(nonce_database="postgres")
    rig.server.sql("DROP TABLE IF EXISTS drilled", "CREATE TABLE drilled (id integer PRIMARY KEY, title text)")
    rig.base()
    with rig.streaming() as stream:
        rig.server.sql("INSERT INTO drilled SELECT n, 'row' FROM generate_series(1, 10) n")
        stream.wait(lambda: stream.nonces_count > 0)
        stream.catch_up()
    rig.ship()
    return rig


def test_a_drill_recovers_the_server_isolated_and_measures_both_times(
    filled: Rig, drill: Callable[..., DrillResult]
) -> None:
    result = drill()
    assert result.verdict is Verdict.PASS, result.reasons
    recover = next(step for step in result.steps if step.name == "recover")
    assert recover.facts["nonce"] and recover.facts["base"]
    assert result.measures.recovery_point_age_s is not None and result.measures.restore_time_s is not None
    assert result.measures.restore_time_until == "rows"


def test_settings_of_the_restored_server_are_not_followed(filled: Rig, drill: Callable[..., DrillResult]) -> None:
    marker = Path("/tmp") / f"govsec-ran-{os.getpid()}-{filled.directory.name}"
    command = f"touch {marker}"
    server = filled.server
    server.sql(
        f"ALTER SYSTEM SET archive_cleanup_command = '{command}'",
        f"ALTER SYSTEM SET recovery_end_command = '{command}'",
        "ALTER SYSTEM SET shared_preload_libraries = 'no_such_library'",
    )
    try:
        filled.base()
        with filled.streaming() as stream:
            stream.catch_up()
            # From here on no session of this user begins without its library, unless it says otherwise.
            server.sql("ALTER ROLE postgres SET session_preload_libraries = 'no_such_library'")
            server.options = "-c session_preload_libraries="
            stream.catch_up()
        filled.ship()
        result = drill()
    finally:
        server.sql("ALTER SYSTEM RESET ALL")
        server.sql("ALTER ROLE postgres RESET ALL")
        server.options = ""
    assert result.verdict is Verdict.PASS, result.reasons
    assert not marker.exists()


def test_a_missing_segment_fails_the_drill(filled: Rig, drill: Callable[..., DrillResult]) -> None:
    for number in (11, 12):
        filled.server.sql("SELECT pg_switch_wal()", f"INSERT INTO drilled VALUES ({number}, 'next segment')")
        filled.stream_to_now()

    filled.cut_segment()
    filled.ship()
    assert "is missing" in _failure(drill())


def test_flipped_data_fails_the_drill(filled: Rig, drill: Callable[..., DrillResult], tmp_path: Path) -> None:
    path = filled.server.value("SELECT pg_relation_filepath('pg_class')")

    def flip(data: Path) -> None:
        content = bytearray((data / path).read_bytes())
        content[1000] ^= 1
        (data / path).write_bytes(content)

    _replace_base(filled, tmp_path / "base", flip)
    assert "pg_verifybackup" in _failure(drill())


def test_an_old_base_backup_in_the_place_of_the_newest_fails_the_drill(
    filled: Rig, drill: Callable[..., DrillResult]
) -> None:
    filled.configure(nonce_database="postgres", bases_kept=1)
    old: list[bytes] = []

    def remember(session: LiveSession, logbook: Logbook) -> None:
        tree_id = logbook.tree.subtree(logbook.known.bases[-1].path)
        assert tree_id is not None
        old.append(tree_id)

    def swap(session: LiveSession, logbook: Logbook) -> None:
        path = logbook.known.bases[-1].path
        logbook.tree.remove(path)
        logbook.tree.graft(path, old[0])

    filled.rewrite(remember)
    filled.server.sql("SELECT pg_switch_wal()", "INSERT INTO drilled VALUES (11, 'next segment')")
    filled.base()
    filled.stream_to_now()
    filled.rewrite(swap)
    filled.ship()
    # It starts, on log that it has itself, and ends where that ends: only the row tells.
    assert "is not what was recovered" in _failure(drill())


@pytest.mark.soak
def test_a_nonce_of_another_time_fails_the_drill(filled: Rig, drill: Callable[..., DrillResult]) -> None:
    def forge(session: LiveSession, logbook: Logbook) -> None:
        last = logbook.known.nonces[-1]
        logbook.plant(last.model_copy(update={"sha256": "0" * 64}))

    filled.rewrite(forge)
    filled.ship()
    assert "is not what was recovered" in _failure(drill())


@pytest.mark.soak
def test_rows_that_are_not_there_fail_the_drill(filled: Rig, drill: Callable[..., DrillResult]) -> None:
    filled.server.sql("DELETE FROM drilled WHERE id > 5")
    filled.stream_to_now()
    filled.ship()
    result = drill()
    assert result.verdict is Verdict.FAIL
    assert next(step for step in result.steps if step.name == "rows").outcome is Outcome.FAILED


@pytest.mark.soak
def test_without_a_nonce_the_drill_does_not_pass_unless_the_plan_says_so(
    rig: Rig, drill: Callable[..., DrillResult]
) -> None:
    rig.server.sql("CREATE TABLE IF NOT EXISTS drilled (id integer PRIMARY KEY, title text)", "TRUNCATE drilled")
    rig.server.sql("INSERT INTO drilled SELECT n, 'row' FROM generate_series(1, 10) n")
    rig.base()
    rig.stream_to_now()
    rig.ship()
    assert "no nonce was planted" in _failure(drill())
    result = drill(nonce=False)
    assert result.verdict is Verdict.PARTIAL
    assert {reason.code for reason in result.reasons} == {"no_witness"}


def _replace_base(rig: Rig, folder: Path, change: Callable[[Path], None]) -> None:
    """Restore the newest base backup, change its files, and put them in its place."""

    def replace(session: LiveSession, logbook: Logbook) -> None:
        base = logbook.known.bases[-1]
        tree_id = logbook.tree.subtree(base.path)
        assert tree_id is not None and logbook.tree.parent is not None
        restore(session.repository, replace_fields(logbook.tree.parent, tree=tree_id.hex()), folder, workers=0)
        change(folder / "data")
        result = archive(session.repository, FileSource([folder]), clock=SystemClock(), workers=0)
        session.commit(result)
        steps = [part.encode() for part in str(folder).strip("/").split("/")]
        session.repository.load_index()
        changed = find_tree(session.repository, bytes.fromhex(result.snapshot.tree), steps)
        assert changed is not None
        logbook.tree.remove(base.path)
        logbook.tree.graft(base.path, changed)

    rig.rewrite(replace)
    rig.ship()


def _failure(result: DrillResult) -> str:
    assert result.verdict is Verdict.FAIL
    step = next(step for step in result.steps if step.name == "recover")
    assert step.outcome is Outcome.FAILED
    return step.detail
