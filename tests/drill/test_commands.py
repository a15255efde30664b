"""`govsec drill` and `govsec ledger`, as an operator and an assessor meet them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from govsec.cli.main import main
from tests.support.cheapkey import begin_cheaply


@dataclass
class Desk:
    """A site with one system, three directories as centers, and one plan."""

    directory: Path
    capture: pytest.CaptureFixture[str]

    def run(self, *argv: str) -> tuple[int, Any]:
        code = main([*argv, "--config", str(self.directory / "govsec.yaml"), "--json", "--quiet"])
        out = self.capture.readouterr().out
        return code, json.loads(out) if out else None

    def words(self, *argv: str) -> tuple[int, str]:
        code = main([*argv, "--config", str(self.directory / "govsec.yaml")])
        return code, self.capture.readouterr().out

    def plan(self, **changes: Any) -> None:
        value = plan_of(self.directory) | changes
        (self.directory / "plan.yaml").write_text(yaml.safe_dump(value), encoding="utf-8")


def plan_of(directory: Path) -> dict[str, Any]:
    return {
        "name": "lose-the-city",
        "system": "oa",
        "scenario": {"kind": "lose_production_and_same_city"},
        "expect": {"paths": [f"{directory}/source/docs"]},
        "steps": [
            {"kind": "restore", "name": "restore", "timeout_s": 60},
            {"kind": "probe", "name": "content", "timeout_s": 60, "probe": {"kind": "content"}},
            {"kind": "probe", "name": "nonce", "timeout_s": 60, "probe": {"kind": "nonce"}},
        ],
    }


@pytest.fixture(scope="module")
def _prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("desk")
    (directory / "source" / "docs").mkdir(parents=True)
    for number in range(10):
        (directory / "source" / "docs" / f"文件{number}").write_text(f"{number}\n" * 99, encoding="utf-8")
    password = directory / "password"
    password.write_text("a horse that nobody rides\n")
    password.chmod(0o600)
    (directory / "plan.yaml").write_text(yaml.safe_dump(plan_of(directory)), encoding="utf-8")
    config = {
        "organization": "某市大数据局",
        "lang": "en",
        "state_dir": "state",
        "centers": {
            name: {"role": role, "store": {"kind": "local", "path": name}}
            for name, role in {"main": "production", "near": "same_city", "far": "remote"}.items()
        },
        "signing": {"commit_key_file": "commit.key", "evidence_key_file": "evidence.key", "roots_file": "roots.yaml"},
        "systems": [
            {
                "name": "oa",
                "title": "协同办公平台",
                "password_file": "password",
                "backups": [{"name": "files", "source": {"kind": "files", "paths": [str(directory / "source")]}}],
                "plans": ["plan.yaml"],
            }
        ],
    }
    (directory / "govsec.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    for name in config["centers"]:
        (directory / name).mkdir()
    begin_cheaply(directory / "govsec.yaml")
    for argv in (["center", "init"], ["backup", "run"], ["center", "ship", "far"]):
        assert main([*argv, "--config", str(directory / "govsec.yaml"), "--quiet"]) == 0
    return directory


@pytest.fixture
def desk(_prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Desk]:
    # The same path again, since configuration and snapshots hold it: put aside and brought back.
    aside = tmp_path / "aside"
    shutil.copytree(_prepared, aside, symlinks=True)
    capsys.readouterr()
    yield Desk(_prepared, capsys)
    shutil.rmtree(_prepared)
    shutil.copytree(aside, _prepared, symlinks=True)


def test_a_drill_is_run_signed_reported_and_found_again(desk: Desk) -> None:
    code, ran = desk.run("drill", "run", "--operator", "李工")

    assert code == 0
    assert (ran["drill"]["verdict"], ran["drill"]["operator"]) == ("pass", "李工")
    assert (ran["ledger"]["number"], ran["ledger_error"]) == (1, "")
    record, zh, en = (Path(path) for path in ran["files"])
    assert json.loads(record.read_text()) == ran["drill"]
    assert "灾难恢复演练报告" in zh.read_text()
    assert ran["ledger"]["digest"] in en.read_text()
    assert list((desk.directory / "state" / "scratch").iterdir()) == []

    assert desk.run("drill", "list")[0] == 0
    _, history = desk.run("drill", "history")
    assert [(item["id"], item["verdict"], item["entry"]) for item in history["drills"]] == [
        (ran["drill"]["id"], "pass", 1)
    ]
    again = desk.directory / "again.html"
    code, shown = desk.run("drill", "show", ran["drill"]["id"][:16], "--html", str(again), "--lang", "en")
    assert (code, shown["drill"]) == (0, ran["drill"])
    assert ran["ledger"]["digest"] in again.read_text()


def test_words_for_people_say_what_happened(desk: Desk) -> None:
    code, words = desk.words("drill", "run")
    assert code == 0
    assert words.startswith("Passed 2")
    assert "ledger: entry 1 at main, near, far" in words
    assert desk.words("drill", "show", "latest", "--lang", "zh")[1].startswith("通过 2")
    for argv in (["drill", "list"], ["drill", "history"], ["drill", "show", "latest"], ["ledger", "show"]):
        code, words = desk.words(*argv)
        assert code == 0
        assert "lose-the-city" in words or "drill.result" in words


def test_a_drill_that_fails_ends_with_1_and_is_on_record(desk: Desk) -> None:
    for pack in (desk.directory / "far" / "oa" / "data").rglob("*"):
        if pack.is_file():
            pack.unlink()

    code, ran = desk.run("drill", "run")

    assert (code, ran["drill"]["verdict"], ran["ledger"]["number"]) == (1, "fail", 1)
    code, listed = desk.run("drill", "list")
    assert code == 1
    assert [item["kind"] for item in listed["findings"]] == ["drill.failing"]


def test_a_plan_that_was_never_drilled_or_changed_since_ends_the_list_with_1(desk: Desk) -> None:
    code, listed = desk.run("drill", "list")
    assert (code, [item["kind"] for item in listed["findings"]]) == (1, ["drill.never_run"])
    desk.run("drill", "run")
    desk.plan(title="another")
    code, listed = desk.run("drill", "list")
    assert (code, [item["kind"] for item in listed["findings"]]) == (1, ["drill.plan_changed"])


def test_a_drill_that_cannot_be_put_on_record_is_no_success(desk: Desk) -> None:
    desk.run("drill", "run")
    (entry,) = (desk.directory / "near" / "oa" / "govsec" / "ledger").rglob("0*1")
    entry.chmod(0o600)
    entry.write_bytes(entry.read_bytes().replace(b"pass", b"fail"))

    code, ran = desk.run("drill", "run")

    assert (code, ran["drill"]["verdict"], ran["ledger"]) == (1, "pass", None)
    assert "differs between main and near" in ran["ledger_error"]
    assert "not for filing" in Path(ran["files"][2]).read_text()


def test_a_plan_for_another_system_or_an_unknown_one_changes_nothing(desk: Desk) -> None:
    assert desk.run("drill", "run", "--plan", "unheard-of")[0] == 2
    desk.plan(system="hr")
    assert desk.run("drill", "run")[0] == 3
    assert not (desk.directory / "state" / "drills").exists()


def test_the_ledger_verifies_at_the_centers_and_offline_with_the_roots_alone(desk: Desk, tmp_path: Path) -> None:
    assert desk.run("ledger", "verify")[0] == 7  # nothing there is nothing proved
    _, ran = desk.run("drill", "run")
    head = "{chain}:{number}:{digest}".format(**ran["ledger"])

    code, report = desk.run("ledger", "verify", "--head", head)
    assert (code, report["is_clean"], report["entries_count"], report["copies_count"]) == (0, True, 1, 3)

    exported = tmp_path / "ledger.jsonl"
    assert desk.run("ledger", "export", "--output", str(exported))[0] == 0
    assert desk.run("ledger", "export", "--output", str(exported))[0] == 2
    roots = desk.directory / "roots.yaml"
    offline = ["ledger", "verify", "--file", str(exported), "--roots", str(roots), "--head", head]
    assert main([*offline, "--config", str(tmp_path / "absent.yaml"), "--quiet"]) == 0
    text = exported.read_text()
    exported.write_text(text.replace('"verdict":"pass"', '"verdict":"fail"'))
    assert main([*offline, "--config", str(tmp_path / "absent.yaml"), "--quiet"]) == 6
    desk.capture.readouterr()
    assert desk.run("ledger", "show", "--file", str(exported))[0] == 6


def test_what_was_taken_out_of_a_ledger_ends_its_verification_with_6(desk: Desk) -> None:
    _, first = desk.run("drill", "run")
    desk.run("drill", "run")
    (second,) = (desk.directory / "far" / "oa" / "govsec" / "ledger").rglob("0*2")
    second.unlink()
    code, report = desk.run("ledger", "verify")
    assert (code, [(item["fault"], item["center"]) for item in report["problems"]]) == (6, [("truncated", "far")])

    for center in ("main", "near", "far"):
        shutil.rmtree(desk.directory / center / "oa" / "govsec" / "ledger")
    assert desk.run("ledger", "verify")[0] == 7
    head = "{chain}:{number}:{digest}".format(**first["ledger"])
    code, report = desk.run("ledger", "verify", "--head", head)
    assert (code, report["problems"][0]["fault"]) == (6, "cut_everywhere")


def test_a_center_that_does_not_answer_is_named_and_ends_verification_with_4(desk: Desk) -> None:
    desk.run("drill", "run")
    (desk.directory / "main").rename(desk.directory / "main.lost")

    code, report = desk.run("ledger", "verify")

    assert (code, [*report["unreachable"]], report["problems_count"]) == (4, ["main"], 0)


def test_evidence_goes_on_at_the_next_center_when_production_is_really_lost(desk: Desk) -> None:
    desk.run("drill", "run")
    (desk.directory / "main").rename(desk.directory / "main.lost")

    code, ran = desk.run("drill", "run")

    assert (code, ran["ledger"]["number"]) == (0, 2)
    (desk.directory / "main.lost").rename(desk.directory / "main")
    assert desk.run("drill", "run")[0] == 0
    code, report = desk.run("ledger", "verify")
    # Production was behind when it came back: it got the entry from its mirror, and that repair is on record too.
    assert (code, report["entries_count"]) == (0, 4)
    _, shown = desk.run("ledger", "show", "--kind", "ledger.")
    assert [entry["evidence"]["facts"]["source"] for entry in shown["entries"]] == ["near"]


@pytest.mark.parametrize(
    "argv",
    [
        ["ledger", "verify", "--head", "nonsense"],
        ["ledger", "show", "--since", "yesterday"],
        ["ledger", "show", "--limit", "0"],
        ["drill", "show", "2026"],
        ["drill", "list", "--system", "hr"],
    ],
)
def test_a_command_line_that_makes_no_sense_ends_with_2(argv: list[str], desk: Desk) -> None:
    assert desk.run(*argv)[0] == 2
