"""Exercises: scenarios that are shipped pass, what is late or left out shows, people's own times are taken."""

from __future__ import annotations

import io
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from govsec.assemble.exercise import load_scenario
from govsec.cli import frame
from govsec.cli.main import build_parser
from govsec.errors import ConfigurationError
from govsec.response.exercise import Goal, Timed, read_scenario, score, verdict
from govsec.shipped import shipped
from govsec.testing.clock import FakeClock
from tests.response.rooms import START


class Person:
    def __init__(self, folder: Path) -> None:
        self.folder, self.clock = folder, FakeClock(START)
        self.config = folder / "govsec.yaml"
        self.config.write_text(f"version: 1\nstate_dir: {folder}/state\n", encoding="utf-8")

    def run(self, *argv: str, code: int = 0) -> Any:
        out, err = io.StringIO(), io.StringIO()
        line = ["incident", *argv, "--config", str(self.config), "--json"]
        found = frame.run(build_parser(), line, stdout=out, stderr=err, clock=self.clock)
        assert found == code, err.getvalue()
        return json.loads(out.getvalue())

    def words(self, lang: str, *argv: str) -> str:
        out, err = io.StringIO(), io.StringIO()
        line = ["incident", *argv, "--config", str(self.config), "--lang", lang]
        frame.run(build_parser(), line, stdout=out, stderr=err, clock=self.clock)
        return out.getvalue()

    def scenario(self, **changes: Any) -> str:
        value = yaml.safe_load(shipped("exercises").joinpath("ransomware.yaml").read_bytes()) | changes
        path = self.folder / "scenario.yaml"
        path.write_text(json.dumps(value, default=str, ensure_ascii=False), encoding="utf-8")
        return str(path)

    def steps(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = yaml.safe_load(shipped("exercises").joinpath("ransomware.yaml").read_bytes())[
            "steps"
        ]
        return found


@pytest.fixture
def person(tmp_path: Path) -> Person:
    return Person(tmp_path)


def test_every_scenario_that_is_shipped_is_passed_by_who_does_what_it_says(person: Person) -> None:
    names = sorted(file.name.removesuffix(".yaml") for file in shipped("exercises").iterdir())
    assert names == ["defacement", "ransomware"]
    for name in names:
        result = person.run("exercise", name)
        assert result["verdict"] == "passed", result["problems"]
        assert [goal["goal"] for goal in result["goals"]] == [goal.value for goal in Goal]


def test_times_and_deeds_are_those_of_the_scene(person: Person) -> None:
    result = person.run("exercise", "ransomware")

    taken = {goal["goal"]: goal["taken_s"] for goal in result["goals"]}
    assert taken == {
        "detect": 75,
        "acknowledge": 420,
        "confirm": 2700,
        "contain": 540,
        "report": 9000,
        "recover": 50400,
    }
    assert {deed["verb"]: deed["approved_by"] for deed in result["deeds"]} == {
        "backup.freeze": [],
        "process.suspend": ["张三"],
        "host.isolate": ["李四"],
    }
    # Half a day later the isolation is over; the process stays suspended for a day, backups are kept for a week.
    assert {deed["verb"]: deed["state"] for deed in result["deeds"]} == {
        "backup.freeze": "verified",
        "process.suspend": "verified",
        "host.isolate": "expired",
    }


def test_who_reports_too_late_does_not_pass_and_the_late_report_is_named(person: Person) -> None:
    steps = person.steps()
    next(step for step in steps if step.get("entry", {}).get("kind") == "receipt")["at_s"] = 20_000

    result = person.run("exercise", person.scenario(steps=steps), code=1)

    assert result["verdict"] == "partial"
    assert {goal["goal"]: goal["outcome"] for goal in result["goals"]}["report"] == "late"
    assert result["late_reports"] == ["R5/provincial_cyberspace"]


def test_what_nobody_does_is_missing_and_never_in_time(person: Person) -> None:
    steps = [step for step in person.steps() if "finding" in step]

    result = person.run("exercise", person.scenario(steps=steps), code=1)

    assert result["verdict"] == "failed"
    assert {goal["goal"]: goal["outcome"] for goal in result["goals"] if goal["goal"] != "detect"} == dict.fromkeys(
        ("acknowledge", "confirm", "contain", "report", "recover"), "missing"
    )


def test_what_a_person_could_not_do_is_said(person: Person) -> None:
    steps = person.steps()
    steps[2]["approve"] = "account.disable"

    result = person.run("exercise", person.scenario(steps=steps), code=1)

    assert result["verdict"] == "partial"
    assert "no deed account.disable waits" in result["problems"][0]


def test_the_result_waits_for_the_ledger_and_nothing_else_of_the_site_is_touched(person: Person) -> None:
    person.run("exercise", "defacement")

    found = [path.name for path in (person.folder / "state").rglob("*") if path.is_file()]
    assert {name.split("-")[0] for name in found} == {"evidence.db"}
    assert b"exercise.done" in b"".join(path.read_bytes() for path in (person.folder / "state").rglob("evidence.db*"))


def test_real_people_act_on_a_case_of_their_own_and_their_times_are_taken(person: Person) -> None:
    case = person.run("exercise", "ransomware", "--begin", "--by", "张三")["case"]
    person.clock.advance(300)
    person.run("ack", case, "--by", "张三")
    person.clock.advance(3400)
    person.run("confirm", case, "general", "--by", "李四", "--reason", "研判会议")

    result = person.run("exercise", "ransomware", "--score", case, "--output", str(person.folder / "r.json"), code=1)

    taken = {goal["goal"]: (goal["taken_s"], goal["outcome"]) for goal in result["goals"]}
    assert taken["acknowledge"] == (300, "met") and taken["confirm"] == (3700, "late")
    assert taken["report"] == (None, "missing")
    assert json.loads((person.folder / "r.json").read_bytes()) == result


def test_a_case_that_is_no_exercise_is_not_scored(person: Person) -> None:
    case = person.run("new", "真的", "--by", "张三")["id"]
    person.run("exercise", "ransomware", "--score", case, code=5)


@pytest.mark.parametrize(
    ("lang", "words"), [("zh", ["遏制", "按时", "合格"]), ("en", ["contained", "in time", "passed"])]
)
def test_the_result_is_told_in_both_languages(person: Person, lang: str, words: list[str]) -> None:
    out = person.words(lang, "exercise", "ransomware")

    assert all(word in out for word in words)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"steps": [{"at_s": 5, "by": "x", "approve": "nft.block"}]}, "first thing"),
        ({"steps": [{"at_s": 5}]}, "one of finding"),
        ({"goals": {}}, "goals"),
        ({"goals": {"sleep": 5}}, "goals"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_a_scenario_that_is_wrong_is_refused_with_its_line(person: Person, changes: Any, why: str) -> None:
    path = Path(person.scenario(**changes))
    with pytest.raises(ConfigurationError, match=why):
        read_scenario(path.read_bytes(), "scenario.yaml")


@pytest.mark.parametrize(
    "step",
    [
        {"at_s": 99, "by": "x", "entry": {"kind": "no such kind"}},
        {"at_s": 99, "by": "x", "entry": {"kind": "note"}},
        {"at_s": 99, "by": "x", "approve": "no.verb"},
    ],
)
def test_a_step_that_nobody_could_take_is_refused_before_anything_is_played(person: Person, step: Any) -> None:
    path = person.scenario(steps=[person.steps()[0], step])
    with pytest.raises(ConfigurationError, match=r"steps\.1"):
        load_scenario(path)


def test_a_limit_is_kept_up_to_its_last_second() -> None:
    reached = {Goal.DETECT: START + timedelta(seconds=60), Goal.REPORT: START + timedelta(seconds=61)}
    found = score(START, reached, {Goal.DETECT: 60, Goal.REPORT: 60, Goal.RECOVER: 60})

    assert [each.outcome for each in found] == ["met", "late", "missing"]
    assert verdict(found, []) == "failed"
    assert verdict([Timed(Goal.DETECT, START, 1, 2)], []) == "passed"
    assert verdict([Timed(Goal.DETECT, START, 1, 2)], ["something"]) == "partial"
