"""What the record says of a real small site: backed up twice, shipped, drilled; then spoiled one thing at a time."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from govsec.assemble import demo
from govsec.assemble.registry import continuity_facts
from govsec.assemble.systems import Site
from govsec.clock import SystemClock
from govsec.config import load_config
from govsec.policy.continuity import judge_continuity
from govsec.policy.continuityfacts import ContinuityFacts


@pytest.fixture(scope="module")
def drilled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("drilled")
    source = directory / "system"
    source.mkdir()
    config = demo.write_site(directory, demo.local_centers(directory), source)
    told: list[str] = []
    result = demo.run_demo(
        config,
        source,
        SystemClock(),
        tell=lambda key, _: told.append(key),
        lose=lambda: None,
        documents_count=120,
    )
    assert result.is_passed, told
    return directory


@pytest.fixture
def directory(drilled: Path, tmp_path: Path) -> Path:
    """A copy to spoil. The configuration names places by absolute paths, so they are written anew."""
    shutil.copytree(drilled, tmp_path / "site", symlinks=True)
    for name in ("govsec.yaml", "plan.yaml"):
        path = tmp_path / "site" / name
        text = path.read_text(encoding="utf-8")
        if name == "govsec.yaml":  # the plan's paths are those of the source, which its digest covers
            text = text.replace(f"{drilled}/main", f"{tmp_path}/site/main").replace(
                f"{drilled}/near", f"{tmp_path}/site/near"
            )
            text = text.replace(f"{drilled}/far", f"{tmp_path}/site/far")
        path.write_text(text, encoding="utf-8")
    return tmp_path / "site"


def facts_of(directory: Path) -> ContinuityFacts:
    site = Site(load_config(directory / "govsec.yaml"), SystemClock())
    return continuity_facts(site, site.system(), 3)


def statuses(directory: Path) -> dict[str, str]:
    judged = judge_continuity(facts_of(directory), is_cloud=False)
    return {one.result.check.removeprefix("continuity."): one.result.status.value for one in judged}


def test_a_site_that_backs_up_and_drills_is_seen_as_it_is(directory: Path) -> None:
    facts = facts_of(directory)

    assert facts.missing == {}
    assert facts.drills is not None
    drill = facts.drills[0]
    assert (drill.verdict, drill.is_content_verified, drill.restored_from, drill.is_plan_current) == (
        "pass",
        True,
        "far",
        True,
    )
    assert "sqlite" in drill.passed
    assert facts.snapshots is not None and len(facts.snapshots) == 2
    assert facts.lags_s is not None and len(facts.lags_s) == 2
    assert max(facts.lags_s) < 60
    assert {center.name: center.is_repository for center in facts.centers} == {"main": True, "near": True, "far": True}


def test_the_drill_decides_local_backup_and_real_time_stays_partial(directory: Path) -> None:
    found = statuses(directory)

    assert found["local-restore"] == "pass"
    assert found["remote-copy"] == "partial"
    assert found["backup-scope"] == "pass"
    assert found["backup-method"] == "pass"
    assert found["strategy"] == "pass"
    assert found["emergency-drill"] == "partial"  # nobody was trained


def test_an_altered_ledger_proves_no_drill(directory: Path) -> None:
    entries = [path for path in directory.glob("*/permits/govsec/ledger/*/*") if path.is_file()]
    assert entries
    for path in entries:
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.chmod(0o600)
        path.write_bytes(data)

    facts = facts_of(directory)

    assert facts.drills is None
    assert "ledger" in facts.missing["drills"]
    assert statuses(directory)["local-restore"] == "error"


def test_a_ledger_without_drills_is_no_drill(directory: Path) -> None:
    for path in directory.glob("*/permits/govsec/ledger"):
        shutil.rmtree(path)

    assert facts_of(directory).drills == ()
    assert statuses(directory)["local-restore"] == "fail"


def test_a_center_that_is_gone_is_missing_by_name_and_holds_nothing(directory: Path) -> None:
    shutil.rmtree(directory / "far")

    facts = facts_of(directory)

    remote = facts.center("remote")
    assert remote is not None and remote.error and remote.newest is None
    assert any("far" in name for name in facts.missing)
    assert statuses(directory)["remote-copy"] in ("error", "fail")


def test_without_pinned_roots_nothing_of_the_record_is_believed(directory: Path) -> None:
    (directory / "roots.yaml").unlink()

    facts = facts_of(directory)

    assert facts.drills is None
    assert facts.snapshots is None
    assert statuses(directory)["local-restore"] == "error"
