"""``govsec incident`` as a person uses it: a case from the first call to its end, in words and in JSON."""

from __future__ import annotations

import io
import json
import re
import sqlite3
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from govsec.cli import frame
from govsec.cli.main import build_parser
from govsec.report.catalog import Catalogue
from govsec.testing.clock import FakeClock

NOW = datetime(2026, 11, 22, 1, 41, tzinfo=UTC)


class _Person:
    """Types commands; time goes on when told to."""

    def __init__(self, folder: Path) -> None:
        self.config = folder / "govsec.yaml"
        self.config.write_text(f"version: 1\nstate_dir: {folder / 'state'}\n", encoding="utf-8")
        self.clock = FakeClock(NOW)
        self.out = self.err = ""

    def run(self, *argv: str) -> int:
        out, err = io.StringIO(), io.StringIO()
        line = ["incident", *argv, "--config", str(self.config)]
        code = frame.run(build_parser(), line, stdout=out, stderr=err, clock=self.clock)
        self.out, self.err = out.getvalue(), err.getvalue()
        return code

    def json(self, *argv: str) -> Any:
        assert self.run(*argv, "--json") in (0, 1), self.err
        return json.loads(self.out)

    def new(self, *more: str) -> str:
        return str(self.json("new", "门户网站打不开", "--by", "张三", *more)["id"])


@pytest.fixture
def person(tmp_path: Path) -> _Person:
    return _Person(tmp_path)


def test_a_case_is_opened_judged_reported_handled_and_closed(person: _Person) -> None:
    fact = ["--fact", "portal_down_h=since 2026-11-22T01:20:00Z", "--fact", "portal_kind=prefecture_government"]
    case = person.new(*fact, "--system", "portal")
    by = ["--by", "张三"]
    assert case == "20261122-0001"
    person.clock.advance(2 * 3600)
    shown = person.json("show", case)
    assert (shown["level"], shown["is_confirmed"]) == ("relatively_major", False)
    assert shown["open_questions"] == ["nobody has confirmed the level"]
    assert person.run("move", case, "assessed", *by) == 5
    assert "nobody has confirmed the level" in person.err
    for words in (
        ["confirm", case, "relatively_major", "--reason", "研判会议"],
        ["move", case, "assessed"],
        ["ack", case],
        ["assign", case, "王五"],
        ["receipt", case, "R5/provincial_cyberspace", "--taken-by", "李四", "--number", "17", "--channel", "12387"],
        ["move", case, "notified"],
        ["move", case, "responding"],
        ["move", case, "handling"],
        ["task", case, "t1", "--title", "换下被改的页面", "--owner", "王五"],
        ["task", case, "t1", "--done", "已恢复"],
        ["move", case, "recovering"],
        ["recovered", case, "逐页核对无误"],
        ["ended", case],
        ["move", case, "reviewed"],
        ["receipt", case, "R10/original_channel", "--taken-by", "李四", "--channel", "12387"],
        ["lesson", case, "发布系统改为双人复核"],
    ):
        assert person.run(*words, *by) == 0, (words, person.err)
    assert person.run("close", case, *by) == 0
    assert person.json("list")["cases"] == []
    closed = person.json("list", "--all")["cases"]
    assert [(line["id"], line["stage"]) for line in closed] == [(case, "closed")]
    assert len(person.json("show", case)["timeline"]) == 19
    assert person.run("show", case) == 0
    assert "张三  任务 t1 完成：已恢复" in person.out


def test_a_late_report_is_told_by_exit_code_and_asks_for_a_reason(person: _Person) -> None:
    case = person.new()
    person.run("confirm", case, "major", "--reason", "研判", "--by", "张三")
    person.clock.advance(3 * 3600)
    assert person.run("deadlines", case) == 0
    assert re.search(r"2026-11-22 13:41:00 +还剩 1 小时 +待报 75% +首报", person.out)
    person.clock.advance(2 * 3600)
    assert person.run("deadlines") == 1
    assert "超过 1 小时" in person.out and "已逾期（未说明原因）" in person.out
    assert person.run("late", case, "R5/provincial_cyberspace", "--reason", "电话占线") == 0
    assert person.run("deadlines", case, "--lang", "en") == 1
    assert "reason: 电话占线" in person.out and "LATE" in person.out
    assert person.run("late", case, "R99/nobody", "--reason", "x") == 5
    assert "R5/provincial_cyberspace" in person.err


def test_a_report_from_below_starts_the_time_for_passing_it_on(person: _Person) -> None:
    case = person.new("--role", "provincial_cyberspace_office")
    person.run("confirm", case, "major", "--reason", "研判", "--by", "张三")
    before = {duty["id"]: duty["state"] for duty in person.json("show", case)["duties"]}
    said = ["--from", "某县网信办", "--number", "2026-17", "--at", "2026-11-22T01:30:00Z"]
    assert person.run("received", case, *said, "--by", "李四") == 0, person.err
    after = person.json("show", case)

    assert set(before.values()) == {"waiting"}
    assert {duty["due_at"] for duty in after["duties"]} == {"2026-11-22T02:30:00Z"}
    assert (after["timeline"][-1]["sender"], after["timeline"][-1]["number"]) == ("某县网信办", "2026-17")
    assert person.run("received", case) == 2
    assert "--from" in person.err


def test_rules_can_be_asked_without_a_case_or_a_configuration(person: _Person) -> None:
    person.config.unlink()
    found = person.json("classify", "--fact", "cii_total_min=12")

    assert (found["suggested"], found["is_provisional"]) == ("relatively_major", True)
    assert person.run("classify", "--fact", "cii_total_min=12") == 0
    assert "Ⅲ级 较大（建议）" in person.out and "阈值待核" in person.out
    fields = person.json("classify", "--fields")["fields"]
    assert "portal_kind" in {field["field"] for field in fields}


def test_the_board_and_the_list_follow_time_without_anybody_writing(person: _Person) -> None:
    person.new("--fact", "cii_total_min=since 2026-11-22T01:41:00Z")
    person.new("--exercise")
    before = person.json("board")
    person.clock.advance(10 * 60)

    assert before["by_level"] == {"particularly_major": 0, "major": 0, "relatively_major": 0, "general": 1}
    assert person.json("board")["by_level"]["relatively_major"] == 1
    assert person.run("list", "--by-due") == 0
    assert "Ⅲ级 较大（建议）" in person.out and "【演练】" in person.out
    worse = person.json("list", "--level", "relatively_major")["cases"]
    assert [line["level"] for line in worse] == ["relatively_major"]


def test_a_damaged_case_is_named_beside_the_list_and_the_board_of_the_others(person: _Person) -> None:
    damaged, whole = person.new(), person.new()
    file = sqlite3.connect(person.config.parent / "state" / "incidents" / "cases.db")
    file.execute("UPDATE entries SET digest = 'x' WHERE case_id = ?", (damaged,))
    file.commit()
    file.close()

    person.clock.advance(86400)
    for verb in ("list", "board", "deadlines"):
        assert person.run(verb) == 0, person.err
        assert f"case {damaged}: entry 1 is missing or was changed" in person.err
    assert {line["id"] for line in person.json("list")["cases"]} == {damaged, whole}
    assert person.run("show", damaged) == 6


@pytest.mark.parametrize(
    ("argv", "code", "words"),
    [
        (["show", "20261122-9999"], 5, "there is none"),
        (["new", "x", "--fact", "portal_down_h=lange"], 2, "portal_down_h"),
        (["new", "x", "--fact", "nonsense=1"], 2, "nonsense"),
        (["new", "x", "--role", "king"], 2, "cii_operator"),
        (["new", "x", "--class", "war"], 2, "malware"),
        (["new", "x", "--aware", "yesterday"], 2, "--aware"),
        (["new", "x", "--aware", "2030-01-01T00:00:00Z"], 5, "future"),
        (["new", ""], 2, "title"),
        (["classify", "--fact", "cii_total_min"], 2, "FIELD=VALUE"),
        (["list", "--limit", "0"], 2, "--limit"),
        (["task", "20261122-0001", "t1"], 2, "--owner"),
    ],
)
def test_what_cannot_be_meant_is_refused_and_opens_nothing(
    person: _Person, argv: list[str], code: int, words: str
) -> None:
    assert person.run(*argv) == code
    assert words in person.err
    assert person.json("list", "--all")["cases"] == []


def test_hostile_titles_reach_no_terminal(person: _Person) -> None:
    person.run("new", "打不开\x1b[2J\u202e")
    assert person.run("list") == 0

    assert "\x1b" not in person.out and "\u202e" not in person.out


def test_what_people_wrote_forges_no_row_of_a_list_a_case_or_its_duties(person: _Person) -> None:
    forged = "\n20261122-9999  Ⅰ级 特别重大  销号"
    case = person.new("--system", f"x{forged}", "--role", "cii_operator")
    assert person.run("new", f"打不开{forged}", "--by", f"张三{forged}") == 0
    person.run("confirm", case, "major", "--reason", f"研判{forged}", "--by", f"张三{forged}")
    more = ["--taken-by", f"李四{forged}", "--channel", f"12387{forged}", "--number", f"17{forged}"]
    assert person.run("receipt", case, "R1/public_security", *more) == 0, person.err
    for text in ("note", "lesson", "news"):
        assert person.run(text, case, f"x{forged}") == 0, person.err
    assert person.run("task", case, f"t{forged}", "--title", f"x{forged}", "--owner", f"王五{forged}") == 0, person.err
    for argv in (["list"], ["show", case], ["deadlines"], ["show", "20261122-0002", "--lang", "en"]):
        person.run(*argv)
        assert not [line for line in person.out.splitlines() if line.strip().startswith("20261122-9999")], argv
        assert "\\u000a" in person.out or argv[0] != "show"


def test_both_languages_say_the_same_things() -> None:
    assert Catalogue("incident", "zh").keys() == Catalogue("incident", "en").keys()
