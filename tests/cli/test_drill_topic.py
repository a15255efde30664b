"""``govsec drill``: what a person and a program read of drills on record."""

from __future__ import annotations

import json
from datetime import datetime

import pytest

from tests.cli.conftest import Site


def test_the_list_gives_values_and_the_record_explains_itself(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    plan = {
        "name": "near",
        "system": "permits",
        "scenario": {"kind": "lose_production"},
        "expect": {"paths": ["/nowhere"]},
        "steps": [
            {"name": "restore", "kind": "restore", "timeout_s": 60},
            {"name": "content", "kind": "probe", "timeout_s": 60, "probe": {"kind": "content"}},
        ],
    }
    (site.directory / "plan.yaml").write_text(json.dumps(plan), encoding="utf-8")
    config = json.loads(site.config.read_text(encoding="utf-8"))
    config["systems"][0]["objectives"] = {"rpo_s": 3600}
    site.config.write_text(json.dumps(config), encoding="utf-8")
    assert site.run("drill", "list", "--json") == 1
    (never,) = json.loads(capsys.readouterr().out)["plans"]
    assert never == {"name": "near", "scenario": "lose_production", "last": None, "findings": ["drill.never_run"]}

    assert site.run("drill", "run", "--json") == 1
    drill = json.loads(capsys.readouterr().out)["drill"]
    assert drill["objectives"] == {"rpo_s": 3600, "rto_s": 86400, "defaults": ["rto_s"]}
    assert site.run("drill", "list", "--json") == 1
    (listed,) = json.loads(capsys.readouterr().out)["plans"]
    assert (listed["last"]["id"], listed["last"]["verdict"]) == (drill["id"], "fail")
    assert datetime.fromisoformat(listed["last"]["time"]) == datetime.fromisoformat(drill["started"])
    assert listed["findings"] == ["drill.failing"]
    assert site.run("drill", "show", "latest") == 0
    shown = capsys.readouterr().out
    assert shown.count("预期路径“/nowhere”不存在。") == 2  # among the reasons, and beside the step
    assert "缺省目标，未经业务主管部门确认" in shown
