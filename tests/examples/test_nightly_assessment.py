"""The nightly service, run as an operator would: two nights, and only what is new is told on the second."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from govsec.assemble import demo
from govsec.clock import SystemClock

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "nightly_assessment.py"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    source = tmp_path / "system"
    source.mkdir()
    path = demo.write_site(tmp_path, demo.local_centers(tmp_path), source)
    demo.run_demo(path, source, SystemClock(), tell=lambda key, facts: None, lose=lambda: None, documents_count=120)
    known = tmp_path / "known_hosts"
    known.write_text("", encoding="utf-8")
    value = json.loads(path.read_text(encoding="utf-8"))
    value["hosts"] = {
        "here": {"kind": "local"},
        "gone": {"address": "127.0.0.1", "port": 9, "user": "x", "known_hosts_file": str(known)},
    }
    value["systems"][0]["register"]["hosts"] = ["here", "gone"]
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


def _night(config: Path) -> tuple[int, list[dict[str, object]]]:
    done = subprocess.run(
        [sys.executable, EXAMPLE, "--config", config, "--once"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stderr == ""
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]


def test_two_nights_store_two_runs_and_tell_only_what_is_new(config: Path) -> None:
    first_code, first = _night(config)
    second_code, second = _night(config)

    assert (first_code, second_code) == (0, 0)
    assert len(list((config.parent / "state" / "assessments").iterdir())) == 2
    kinds = [{line.get("kind") for line in lines} for lines in (first, second)]
    assert "assess.unreachable" in kinds[0] & kinds[1], "a host that is gone is told every night"
    # The host is a live machine: something may have become worse since, which is new and told as that. Nothing else is.
    told, again = (
        {line["subject"] for line in lines if line.get("kind") == "assess.high_risk"} for lines in (first, second)
    )
    assert told
    assert not told & again
    assert first[-1]["ledger_error"] == ""
