"""The demo tells the truth: it passes because the data came back, and fails when they did not."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from govsec.assemble import demo
from govsec.assemble.samplecapture import INTRUDER
from govsec.cli.main import main
from govsec.clock import SystemClock
from govsec.drill.result import Reason, Verdict
from tests.cli.conftest import tree_digest
from tests.support.restic import local_restic


def _run(tmp_path: Path, lose: Callable[[Path], None]) -> tuple[demo.DemoResult, list[str]]:
    directory = demo.make_directory(tmp_path / "demo")
    source = directory / "system"
    source.mkdir()
    config = demo.write_site(directory, demo.local_centers(directory), source)
    told: list[str] = []

    def tell(key: str, facts: Mapping[str, object]) -> None:
        told.append(key)

    result = demo.run_demo(config, source, SystemClock(), tell=tell, lose=lambda: lose(directory), documents_count=300)
    return result, told


def test_the_command_ends_with_0_two_reports_and_a_clean_remote_center(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = tmp_path / "demo"

    code = main(["demo", "--dir", str(directory), "--json", "--lang", "en"])

    shown = capsys.readouterr()
    result = json.loads(shown.out)
    assert (code, result["verdict"], result["reasons"]) == (0, "pass", [])
    assert result["ledger"] == {"is_clean": True, "entries_count": 1}
    assert "Verdict: pass" in shown.err
    for path in result["reports"]:
        assert Path(path).read_text(encoding="utf-8").lower().startswith("<!doctype html>")
    assert (directory / "main").is_dir(), "what was lost is found again before this machine is looked at"
    traffic = result["traffic"]
    assert "host.ransomware.canary" in result["guard"]["findings"]
    assert traffic["findings"] == ["net.scan.vertical", "net.guessing.flows"]
    assert [INTRUDER in Path(path).read_text(encoding="utf-8") for path in traffic["reports"]] == [True, True]
    incident = result["incident"]
    assert (incident["case"][-5:], incident["level"]) == ("-0001", "relatively_major")
    assert {"incident.opened", "incident.case_opened", "incident.level_reached"} <= set(incident["notices"])
    assert "to be reported to" in shown.err and "left)" in shown.err
    assert "incident.level_reached" in (directory / "notices.jsonl").read_text(encoding="utf-8")
    assessment = result["assessment"]
    assert (assessment["drilled_status"], assessment["ledger_error"]) == ("pass", "")
    assert assessment["coverage"]["by_evidence"] >= 5
    for path in assessment["reports"]:
        assert "8.1.4.9.a" in Path(path).read_text(encoding="utf-8")
    password = directory / "keys" / "password"
    local_restic(directory / "far" / "permits", password.read_text().strip(), tmp_path).assert_clean()


def _lose_and_flip(directory: Path) -> None:
    demo.lose_directories(directory)
    packs = [path for path in (directory / "far" / "permits" / "data").rglob("*") if path.is_file()]
    assert packs
    for pack in packs:  # a single one may serve the older snapshot alone
        data = bytearray(pack.read_bytes())
        data[len(data) // 2] ^= 1
        pack.write_bytes(data)


def test_flipped_bits_at_the_last_center_fail_the_demo(tmp_path: Path) -> None:
    result, told = _run(tmp_path, _lose_and_flip)

    assert result.verdict == "fail"
    assert not result.is_passed
    assert "drill_fail" in told
    assert result.reasons


@pytest.mark.parametrize(
    ("verdict", "codes", "is_clean", "is_passed"),
    [
        ("pass", [], True, True),
        ("partial", ["unisolated"], True, True),  # who runs it is not root
        ("partial", ["unisolated", "witness_missing"], True, False),
        ("fail", [], True, False),
        ("pass", [], False, False),
    ],
)
def test_the_demo_passes_only_when_the_data_came_back(
    tmp_path: Path, verdict: str, codes: list[str], is_clean: bool, is_passed: bool
) -> None:
    reasons = tuple(Reason(code=code, verdict=Verdict.PARTIAL) for code in codes)
    result = demo.DemoResult(tmp_path, verdict, reasons, 1.0, 1.0, (), is_clean, 1, {})

    assert result.is_passed is is_passed


def test_the_demo_takes_no_directory_that_holds_something(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "letter.txt").write_text("mine")
    before = tree_digest(tmp_path)

    assert main(["demo", "--dir", str(tmp_path)]) == 5
    assert capsys.readouterr().err.startswith(f"govsec: {tmp_path}: is not empty")
    assert tree_digest(tmp_path) == before
