"""``govsec notify rota|oncall|handover|override``, and calls that ``govsec incident ack`` ends."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from govsec.assemble.escalation import Escalated, escalate, open_escalation
from govsec.assemble.incident import open_cases
from govsec.assemble.notify import open_outbox
from govsec.cli import frame
from govsec.cli.main import build_parser
from govsec.config import load_config
from govsec.notice.outbox import ItemState
from govsec.records import Notice
from govsec.report.notice import notice_words
from govsec.testing.clock import FakeClock

#: Sunday, 22 November 2026, 09:41 in China.
NOW = datetime(2026, 11, 22, 1, 41, tzinfo=UTC)


class _Site:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = FakeClock(NOW)
        self.out = self.err = ""
        channel = {name: {"kind": "file", "path": str(folder / f"{name}.jsonl")} for name in ("zhang", "li", "wang")}
        self.notify: dict[str, Any] = {
            "channels": channel,
            "people": {
                "zhang": {"name": "张三", "channels": ["zhang"]},
                "li": {"name": "李处", "channels": ["li"]},
                "wang": {"name": "王局", "channels": ["wang"]},
            },
            "rotas": {"duty": [{"people": ["zhang"]}]},
            "escalation": [{"steps": [{"rota": "duty"}, {"people": ["li"]}]}],
        }
        self.write()

    def write(self, **change: Any) -> None:
        self.notify |= change
        body = {"version": 1, "state_dir": str(self.folder / "state"), "notify": self.notify}
        (self.folder / "govsec.yaml").write_text(json.dumps(body))

    def run(self, *argv: str) -> int:
        out, err = io.StringIO(), io.StringIO()
        line = [*argv, "--config", str(self.folder / "govsec.yaml")]
        code = frame.run(build_parser(), line, stdout=out, stderr=err, clock=self.clock)
        self.out, self.err = out.getvalue(), err.getvalue()
        return code

    def turn(self) -> Escalated:
        """What a daemon does on each of its turns."""
        config = load_config(self.folder / "govsec.yaml")
        with open_cases(config) as cases, open_escalation(config) as escalation, open_outbox(config) as outbox:
            return escalate(config, cases, escalation, outbox, self.clock.now())

    def waiting(self) -> list[tuple[str, Notice]]:
        config = load_config(self.folder / "govsec.yaml")
        with open_outbox(config) as outbox:
            return [(item.channel, item.notice) for item in outbox.items(ItemState.WAITING)]


@pytest.fixture
def site(tmp_path: Path) -> _Site:
    return _Site(tmp_path)


def test_a_case_is_called_until_a_person_takes_it_on_by_command(site: _Site) -> None:
    assert site.run("incident", "new", "门户网站打不开", "--system", "portal", "--by", "值班员") == 0
    case = "20261122-0001"
    assert site.turn() == Escalated(1, 1, 0)
    site.clock.advance(300)
    assert site.turn().calls_count == 1
    assert site.run("incident", "ack", case, "--by", "张三") == 0
    site.clock.advance(3600)
    assert site.turn() == Escalated(0, 0, 0)

    calls = site.waiting()
    assert [channel for channel, _ in calls] == ["zhang", "zhang"]
    title, lines = notice_words(calls[0][1], "zh")
    assert title == f"【高】portal 值班呼叫·第 1 级：{case}"
    assert lines[0].startswith("门户网站打不开（一般）。已 0 秒 无人认领；第 1 次呼叫") and case in lines[0]


def test_a_level_that_rises_calls_again_until_it_is_taken_on_again(site: _Site) -> None:
    site.run("incident", "new", "门户网站打不开", "--by", "值班员")
    case = "20261122-0001"
    site.run("incident", "ack", case, "--by", "张三")
    assert site.turn() == Escalated(0, 0, 0)
    site.clock.advance(60)
    assert site.run("incident", "confirm", case, "major", "--by", "李处", "--reason", "研判") == 0
    assert site.turn() == Escalated(1, 1, 0)
    site.clock.advance(60)
    site.run("incident", "ack", case, "--by", "李处")
    assert site.turn() == Escalated(0, 0, 0)


def test_without_a_chain_nobody_is_called_and_the_check_says_so(site: _Site) -> None:
    site.write(escalation=[])
    site.run("incident", "new", "门户网站打不开", "--by", "值班员")

    assert site.turn() == Escalated(0, 0, 0)
    assert site.run("notify", "rota", "--check") == 1
    assert "不会呼叫任何人" in site.out


def test_a_plan_that_holds_passes_and_its_flaws_are_seen_beforehand(site: _Site) -> None:
    assert site.run("notify", "rota", "--check") == 0
    assert "nothing is wrong" in site.out

    site.write(
        people={**site.notify["people"], "zhang": {"name": "张三"}},
        rotas={"duty": [{"people": ["zhang"], "days": "workday", "start": "09:00", "end": "17:30"}]},
    )
    assert site.run("notify", "rota", "--check", "--days", "60", "--json") == 1
    flaws = {(flaw["what"], flaw["where"]) for flaw in json.loads(site.out)["flaws"]}
    assert flaws == {("empty", "duty"), ("no_channel", "张三"), ("calendar", "2027")}
    assert site.run("notify", "rota", "--check") == 1
    assert "· 值班表 duty：2026-11-22 09:41 – 2026-11-23 09:00 无人值班" in site.out


def test_what_is_wrong_with_the_plan_is_told_once_a_day_by_itself(site: _Site) -> None:
    assert site.turn() == Escalated(0, 0, 0)
    assert site.waiting() == []
    site.write(rotas={"duty": [{"people": ["zhang"], "days": "workday"}]})
    for _ in range(3):
        site.turn()
        site.clock.advance(3600)
    site.clock.advance(86_400)
    site.turn()
    told = site.waiting()

    assert [channel for channel, _ in told] == ["zhang", "li", "wang"] * 2
    title, lines = notice_words(told[0][1], "zh")
    assert title == "【高】值班安排有 2 处问题，请在用到之前改正"
    assert "· 值班表 duty：2026-11-22 09:41 – 2026-11-23 00:00 无人值班" in lines


def test_a_hand_over_is_written_with_both_names_told_to_both_and_can_be_taken_back(site: _Site) -> None:
    hand = ("notify", "handover", "duty", "--reason", "出差", "--by", "王局", "--until", "2026-11-23T09:00:00+08:00")
    assert site.run(*hand, "--from", "张三", "--to", "li") == 0
    assert site.out.startswith("1: duty: 张三 → 李处 until 2026-11-23 09:00")
    assert site.run("notify", "oncall", "--json") == 0
    assert json.loads(site.out)["on_duty"] == {"duty": ["li"]}
    told = site.waiting()
    assert {channel for channel, _ in told} == {"zhang", "li"}
    assert "张三 → 李处" in notice_words(told[0][1], "zh")[1][0]

    assert site.run("notify", "rota") == 0
    assert "出差" in site.out and "王局" in site.out
    assert site.run(*hand, "--from", "wang", "--to", "li") == 5
    assert "not on duty" in site.err
    assert site.run("notify", "handover", "--withdraw", "1") == 0
    again = site.waiting()[len(told) :]
    assert {channel for channel, _ in again} == {"zhang", "li"}
    assert notice_words(again[0][1], "zh")[0] == "值班变更已撤回：duty"
    assert site.run("notify", "handover", "--withdraw", "1") == 5
    site.run("notify", "oncall", "--json")
    assert json.loads(site.out)["on_duty"] == {"duty": ["zhang"]}


def test_an_override_puts_others_on_duty(site: _Site) -> None:
    line = ("notify", "override", "duty", "--to", "li", "--to", "wang", "--until", "2026-11-23T09:00:00+08:00")
    assert site.run(*line) == 2
    assert site.run(*line, "--reason", "值守") == 0
    site.run("notify", "oncall", "--json")
    assert json.loads(site.out)["on_duty"] == {"duty": ["li", "wang"]}
    assert {channel for channel, _ in site.waiting()} == {"zhang", "li", "wang"}


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        (("handover", "night", "--from", "zhang", "--to", "li"), 2, "rota 'night'"),
        (("handover", "duty", "--from", "nobody", "--to", "li"), 3, "nobody is called"),
        (("handover", "duty", "--to", "li"), 2, "who hands over"),
        (("handover", "duty", "--from", "zhang", "--to", "li", "--start", "2026-11-24T09:00:00+08:00"), 2, "before"),
    ],
)
def test_a_change_that_cannot_be_meant_is_refused(line: tuple[str, ...], code: int, words: str, site: _Site) -> None:
    assert site.run("notify", *line, "--reason", "x", "--until", "2026-11-23T09:00:00+08:00") == code
    assert words in site.err
    assert site.waiting() == []
