from __future__ import annotations

import pytest

from govsec.report import rectify
from govsec.report.assessment_text import render_text
from govsec.report.catalog import Lang
from govsec.report.rectify import fenced, plan, plan_markdown
from govsec.report.width import columns, cut, padded, table, wrapped
from tests.report.assessment_samples import HOSTILE_NAME, assessment, hostile

LANGS: tuple[Lang, ...] = ("zh", "en")


@pytest.mark.parametrize("lang", LANGS)
@pytest.mark.parametrize("width", [40, 80, 132])
def test_no_line_is_wider_than_the_terminal(lang: Lang, width: int) -> None:
    for record in (assessment(), hostile()):
        assert max(columns(line) for line in render_text(record, lang, width=width).splitlines()) <= width


def test_the_terminal_shows_conclusion_rate_with_coverage_counts_cases_and_what_to_do() -> None:
    text = render_text(assessment(), "zh", width=120)

    for words in (
        "自查估算，不代替等级测评",
        "第三级（S3A3）",
        "28.3 % · 覆盖率 35.8 % · 口径未核对",
        "8.1.4 安全计算环境",
    ):
        assert words in text, words
    for words in (
        "高风险 1 项未缓解，共 2 项",
        "6.4.1.1 存在空口令",
        "[未核对]",
        "优先处置",
        "锁定空口令账户",
        "oa-old-01：未连通",
    ):
        assert words in text, words


def test_the_columns_of_the_table_stand_under_each_other_in_chinese() -> None:
    lines = render_text(assessment(), "zh", width=100).splitlines()
    start = next(n for n, line in enumerate(lines) if line.startswith("类别"))

    assert len({columns(line) for line in lines[start : start + 12]}) == 1


def test_a_fleet_still_fits_a_screen() -> None:
    record = assessment()
    for number in range(200):
        name = f"host-{number:03}"
        record["objects"][name] = record["objects"]["oa-old-01"] | {"name": name}
        record["results"] += [row | {"object": name} for row in record["results"] if row["object"] == "oa-db-01"]
    lines = render_text(record, "zh", width=100).splitlines()

    assert len(lines) < 50
    assert any("+198" in line for line in lines)
    assert "! ……另有 194 项" in lines


def test_nothing_of_a_host_steers_the_terminal() -> None:
    text = render_text(hostile(), "zh")

    assert not {"\x1b", "\x00", "\u202e"} & set(text)
    assert r"\u001b[31m" in text.replace("\n  ", "")


def test_wide_characters_count_two_columns_and_are_never_cut_in_half() -> None:
    assert columns("等保3级") == 7
    assert cut("等保三级", 6) == "等保…"
    assert columns(padded("等保三级", 6)) == 6
    assert padded("7", 4, is_right=True) == "   7"
    assert cut("等保", 4) == "等保"
    assert [line.strip() for line in wrapped("  " + "保" * 10, 12)] == ["保保保保保", "保保保保", "保"]
    assert table([["a", "n"], ["b" * 30, "12"]], width=20, flexible=0)[1].endswith("…  12")


def test_the_plan_begins_with_what_is_worst() -> None:
    steps = plan(assessment())["steps"]

    assert steps[0]["check"] == "linux.accounts.empty-password"
    assert steps[0]["priority"] == "danger"
    order = [rectify.PRIORITIES.index(step["priority"]) for step in steps]
    assert order == sorted(order)
    assert {"danger", "not_conform", "supporting"} <= {step["priority"] for step in steps}
    assert [step["number"] for step in steps] == list(range(1, len(steps) + 1))


def test_a_mitigated_case_does_not_make_a_step_urgent() -> None:
    telnet = next(step for step in plan(assessment())["steps"] if step["check"] == "linux.services.telnet")

    assert telnet["cases"] == []
    assert telnet["priority"] == "not_conform"


def test_what_passed_is_in_no_step_and_what_was_not_seen_is_told_apart() -> None:
    value = plan(assessment())

    assert "linux.firewall.default-deny" not in {step["check"] for step in value["steps"]}
    assert {"oa-app-01", "oa-web-01"} == {
        thing["name"] for step in value["steps"] if step["check"] == "linux.audit.rules" for thing in step["objects"]
    }
    assert [(row["check"], row["status"]) for row in value["unseen"]] == [
        ("linux.logs.retention", "unknown"),
        ("linux.audit.immutable", "error"),
    ]
    assert "8.1.7.3.c" in {row["id"] for row in value["to_attest"]}


def test_a_waived_result_stays_in_the_plan_with_its_waiver() -> None:
    text = plan_markdown(plan(assessment()), "zh")

    assert "已豁免至 2026-12-10（王建国）" in text


def test_each_step_has_commands_as_text_risk_rollback_and_reboot() -> None:
    zh, en = (plan_markdown(plan(assessment()), lang) for lang in LANGS)

    for words in ("passwd -l appview", "风险：", "回退：", "需要重启", "没有在任何主机上改动任何东西", "8.1.4.1.a"):
        assert words in zh, words
    for words in ("passwd -l appview", "Risk: ", "Rollback: ", "needs a reboot", "nothing was changed on any host"):
        assert words in en, words


@pytest.mark.parametrize("lang", LANGS)
def test_no_text_of_a_host_becomes_markup_in_the_plan(lang: Lang) -> None:
    text = plan_markdown(plan(hostile()), lang)
    outside = "".join(part for n, part in enumerate(text.split("\n````\n")) if n % 2 == 0)

    assert "<img" not in outside.replace(r"\<img", "")
    assert "\x1b" not in text
    assert (
        HOSTILE_NAME.replace("<", r"\<")
        .replace(">", r"\>")
        .replace("!", r"\!")
        .replace("|", r"\|")
        .replace("(", r"\(")
        .replace(")", r"\)")
        in text
    )


def test_no_command_can_close_its_code_block() -> None:
    assert fenced("echo ```` x").splitlines()[0] == "`````"
    assert fenced("ls").splitlines() == ["```", "ls", "```"]


def test_a_run_with_nothing_to_repair_says_so() -> None:
    record = assessment()
    record["results"] = [row | {"status": "pass"} for row in record["results"]]

    assert plan(record)["steps"] == []
    assert "没有需要整改的检查" in plan_markdown(plan(record), "zh")


def test_what_to_do_first_says_what_it_is_for() -> None:
    record = assessment()
    step = plan(record)["steps"][0]

    assert f"{step['title']['zh']}：{step['advice']['zh']}" in render_text(record, "zh", width=400)
