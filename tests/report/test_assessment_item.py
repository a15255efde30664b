"""One requirement on a terminal: who stands for it and what was let pass are seen, in the reader's language."""

from __future__ import annotations

import pytest

from govsec.report.assessment_item import render_difference, render_item
from govsec.report.catalog import Lang
from tests.report.assessment_samples import assessment, hostile

LANGS: tuple[Lang, ...] = ("zh", "en")


def test_a_waiver_stands_beside_the_verdict_that_it_does_not_change() -> None:
    record = assessment()
    item = next(row for row in record["items"] if row["waiver"])
    shown = render_item(record, item["id"], "zh")

    assert f"{item['waiver']['approver']} 批准豁免至" in shown
    assert item["waiver"]["reason"] in shown
    assert f"补偿措施：{item['waiver']['compensation']}" in shown


@pytest.mark.parametrize("is_expired", [False, True])
def test_a_persons_word_is_shown_with_its_name_and_end_also_when_it_has_ended(is_expired: bool) -> None:
    record = assessment()
    item = next(row for row in record["items"] if row["attestation"] and row["attestation"]["is_expired"] is is_expired)
    shown = render_item(record, item["id"], "zh")

    assert item["attestation"]["by"] in shown
    assert item["attestation"]["statement"] in shown
    assert ("不再计入" in shown) is is_expired


def test_chinese_readers_get_no_codes_for_verdicts_and_outcomes() -> None:
    record = assessment()
    item = next(row for row in record["items"] if row["verdict"] == "not_conform" and row["results"])
    shown = render_item(record, item["id"], "zh")

    assert "不符合 (依据：自动检查)" in shown
    assert "not_conform" not in shown
    assert " $ " in shown


@pytest.mark.parametrize("lang", LANGS)
def test_what_comes_from_hosts_cannot_steer_the_terminal(lang: Lang) -> None:
    record = hostile()
    telling = [item for item in record["items"] if item["results"] or item["attestation"] or item["waiver"]]
    assert len(telling) > 20
    for item in telling[::4]:
        shown = render_item(record, item["id"], lang)
        assert [character for character in shown if ord(character) < 32 and character != "\n"] == []


def test_what_got_worse_comes_first() -> None:
    difference = assessment()["difference"]
    shown = render_difference(difference, "20261122T010000Z-33334444", "zh")

    assert shown.index("8.1.4.1.a  部分符合 -> 不符合") < shown.index("8.1.4.9.a  不符合 -> 符合")
    assert "新出现的高风险：6.4.1.1" in shown


def test_two_equal_runs_say_that_nothing_changed() -> None:
    difference = {"earlier": "a", "notes": [], "items": [], "results": [], "cases_new": [], "cases_gone": []}

    assert "Nothing changed since the last run." in render_difference(difference, "b", "en")
