"""``govsec system``: the register as people see it, what is due, and the gate that opens when nothing is missing."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from govsec.assemble import demo
from govsec.assemble.assess import Assessor, run_assessment
from govsec.assemble.assessscope import Request
from govsec.assemble.hosts import Collected
from govsec.assemble.register import register_findings
from govsec.assemble.systems import Site
from govsec.cli.main import main
from govsec.clock import SystemClock
from govsec.config import load_config
from govsec.register.register import register_of


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("registered")
    source = directory / "system"
    source.mkdir()
    path = demo.write_site(directory, demo.local_centers(directory), source)
    demo.run_demo(path, source, SystemClock(), tell=lambda key, facts: None, lose=lambda: None, documents_count=120)
    run_assessment(Site(load_config(path), SystemClock()), Request())
    return path


def _json(capsys: pytest.CaptureFixture[str], *argv: str, config: Path) -> tuple[int, dict[str, Any]]:
    code = main([*argv, "--json", "--config", str(config)])
    return code, json.loads(capsys.readouterr().out)


def _with_register(config: Path, tmp_path: Path, **changes: object) -> Path:
    value = json.loads(config.read_text(encoding="utf-8"))
    value["systems"][0]["register"].update(changes)
    value["state_dir"] = str(config.parent / "state")
    value["signing"] = {name: str(config.parent / path) for name, path in value["signing"].items()}
    value["systems"][0]["plans"] = [str(config.parent / "plan.yaml")]
    path = tmp_path / "govsec.yaml"
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


def test_list_and_show_tell_what_the_configuration_says(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, register = _json(capsys, "system", "list", config=config)
    assert (code, [system["name"] for system in register["systems"]]) == (0, ["permits"])
    code, shown = _json(capsys, "system", "show", config=config)

    assert code == 0
    assert shown["system"]["register"]["level"] == 3
    assert main(["system", "show", "nothing", "--config", str(config), "-q"]) == 2


def test_grade_takes_the_higher_half(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["--information", "social_order=serious", "--service", "legal_rights=general"]
    code, found = _json(capsys, "system", "grade", *argv, config=config)

    assert (code, found["s"], found["a"], found["level"]) == (0, 3, 1, 3)
    assert main(["system", "grade", "--information", "everybody=badly", "-q"]) == 2


def test_findings_say_what_nobody_wrote_down(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = _json(capsys, "system", "findings", config=config)

    assert code == 1
    assert all(one["subject"] == "permits" for one in found["findings"])


def test_findings_are_told_in_the_readers_language(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["system", "findings", "--lang", "zh", "--config", str(config)]) == 1

    assert "没有应急预案" in capsys.readouterr().out


def test_the_gate_names_everything_that_is_missing(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = _json(capsys, "system", "launch", config=config)

    assert (code, found["is_allowed"]) == (5, False)
    codes = {one["code"] for one in found["missing"]}
    assert {"launch.filing", "launch.not_trained"} <= codes
    assert "launch.not_drilled" not in codes, "the drill is in the ledger"
    assert "launch.not_assessed" not in codes, "the run is stored and on record"


def test_a_system_that_was_never_assessed_and_drilled_is_told_so(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = _with_register(config, tmp_path)
    value = json.loads(path.read_text(encoding="utf-8"))
    value["systems"][0]["name"] = "newcomer"
    value["systems"][0]["plans"] = []
    path.write_text(json.dumps(value), encoding="utf-8")

    code, found = _json(capsys, "system", "launch", config=path)

    assert code == 5
    assert {"launch.not_assessed", "launch.not_drilled"} <= {one["code"] for one in found["missing"]}


def test_training_that_is_registered_opens_its_part_of_the_gate(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    day = (SystemClock().now() - timedelta(days=40)).date().isoformat()
    path = _with_register(config, tmp_path, training=[{"held": day}], plan={"version": "1", "reviewed": day})

    _, found = _json(capsys, "system", "launch", config=path)

    assert not {"launch.not_trained", "launch.no_plan"} & {one["code"] for one in found["missing"]}


def test_an_assessment_that_left_a_host_out_opens_no_gate(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = _with_register(config, tmp_path, hosts=["local", "web-9"])
    value = json.loads(path.read_text(encoding="utf-8"))
    value["hosts"] = {"web-9": {"address": "192.0.2.9"}}
    path.write_text(json.dumps(value), encoding="utf-8")

    _, found = _json(capsys, "system", "launch", config=path)

    assert [one["facts"]["hosts"] for one in found["missing"] if one["code"] == "launch.assessment_hosts"] == [
        ["web-9"]
    ]


def test_a_system_whose_hosts_do_not_answer_was_not_seen(config: Path, tmp_path: Path) -> None:
    site = Site(load_config(_with_register(config, tmp_path, stage="running")), SystemClock())
    site = Site(site.config.model_copy(update={"state_dir": tmp_path / "state"}), SystemClock())

    def silent(assessor: Assessor) -> list[Collected]:
        return [Collected(target, site.clock.now(), error="no answer") for target in assessor.scope.targets]

    run_assessment(site, Request(packs=("sshd",), compare="", is_recorded=False), collected=silent)

    found = register_findings(register_of(site.config), site.clock.now(), site=site)
    assert "register.never_seen" in {one.kind for one in found}


def test_the_register_goes_through_a_spreadsheet_and_back(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sheet, file = str(tmp_path / "register.xlsx"), str(tmp_path / "register.yaml")
    assert main(["system", "export", "--output", sheet, "--config", str(config), "-q"]) == 0
    capsys.readouterr()
    code, found = _json(capsys, "system", "import", sheet, "--output", file, config=config)
    assert code == 0
    assert found["systems"] == 1
    code, register = _json(capsys, "system", "list", "--register", file, config=config)

    assert register["systems"][0]["register"]["owner"] == "示例市大数据局"
    assert main(["system", "export", "--output", str(tmp_path / "x.doc"), "--config", str(config), "-q"]) == 2
    (tmp_path / "junk.xlsx").write_bytes(b"PK\x03\x04 not a workbook")
    assert main(["system", "import", str(tmp_path / "junk.xlsx"), "--config", str(config), "-q"]) == 3
