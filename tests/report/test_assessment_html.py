from __future__ import annotations

import base64
import copy
import hashlib
import io
import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import openpyxl
import pytest

from govsec import canonical
from govsec.policy import run
from govsec.policy.results import Basis, CaseState, Principle, Status, Verdict
from govsec.report import rectify
from govsec.report.assessment import STATUSES, VERDICTS, Reading
from govsec.report.assessment_docx import context, render_docx
from govsec.report.assessment_html import render_html
from govsec.report.assessment_oscal import render_oscal
from govsec.report.assessment_text import render_text
from govsec.report.assessment_xlsx import render_xlsx
from govsec.report.catalog import Catalogue, Lang
from govsec.report.chart import stack
from govsec.report.page import LedgerRef
from tests.report.assessment_samples import BOMB, HOSTILE_NAME, assessment, hostile
from tests.support.pages import Page
from tests.support.require import require

LANGS: tuple[Lang, ...] = ("zh", "en")
LEDGER = LedgerRef("ab12" * 8, 17, "cd34" * 16, ("remote",))


@pytest.mark.parametrize("lang", LANGS)
def test_the_page_loads_nothing_and_runs_nothing(lang: Lang) -> None:
    html = render_html(hostile(), lang, ledger=LEDGER)
    page = Page(html)

    assert not {"script", "link", "img", "iframe", "object", "embed", "base", "form"} & set(page.tags)
    assert page.links
    assert all(link.startswith("#") for link in page.links)
    assert not [item for item in page.attributes if item[1] == "style" or item[1].startswith("on")]
    style = re.search(r"<style>(.*?)</style>", html, re.DOTALL)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in html


@pytest.mark.parametrize("lang", LANGS)
def test_texts_of_hosts_stay_text_wherever_they_are_printed(lang: Lang) -> None:
    html = render_html(hostile(), lang)
    page = Page(html)

    assert "<b onclick" not in html
    assert not {"\u202e", "\x1b", "\x00", "\ufffe"} & set(html)
    assert HOSTILE_NAME in page.text
    assert BOMB[:14] in page.text
    assert "{{7*7}}" in page.text


@pytest.mark.parametrize("lang", LANGS)
def test_every_link_has_its_target_and_every_target_is_there_once(lang: Lang) -> None:
    page = Page(render_html(assessment(), lang))

    assert len(page.ids) == len(set(page.ids))
    assert {link[1:] for link in page.links} <= set(page.ids)
    assert sum(target.startswith("i-") for target in page.ids) == 211


@pytest.mark.parametrize("render", [render_html, render_text, render_xlsx, render_docx, render_oscal])
def test_a_record_gives_the_same_bytes_when_it_is_read_again(render: Callable[[Any, Lang], str | bytes]) -> None:
    record = assessment()
    stored = json.loads(canonical.dumps(record))
    assert list(stored["objects"]) != list(record["objects"])

    assert render(record, "zh") == render(stored, "zh")
    assert rectify.plan(record) == rectify.plan(stored)


def test_the_summary_has_level_disclaimer_rate_with_status_and_coverage() -> None:
    zh, en = (Page(render_html(assessment(), lang)).text for lang in LANGS)
    coverage = Reading(assessment(), "zh").share()

    for text in (
        "自查估算，不代替等级测评",
        "第三级（S3A3）",
        "口径未核对",
        coverage,
        "适用 207 项中已判定 74 项",
        "28.3 %",
    ):
        assert text in zh, text
    for text in ("does not replace a graded protection assessment", "Level 3 (S3A3)", "formula unconfirmed", coverage):
        assert text in en, text


def test_a_rate_is_never_printed_without_its_coverage_in_the_same_card() -> None:
    html = render_html(assessment(), "zh").split('<div class="bars')[0]
    cards = [card.split('<div class="card">')[0] for card in html.split('<div class="card">')[1:]]
    with_rate = [card for card in cards if "符合率（" in card or "综合得分（" in card]

    assert len(with_rate) == 2
    assert all("覆盖率 <b>35.8 %</b>" in card for card in with_rate)


def test_a_finding_is_told_with_command_and_decision_and_points_at_its_output_and_advice() -> None:
    record = assessment()
    page = Page(render_html(record, "zh"))
    article = page.part("i-8.1.4.1.a")
    outcome = next(iter(record["objects"]["oa-db-01"]["outcomes"].values()))

    for text in ("oa-db-01", "getent shadow", "不通过"):
        assert text in article, text
    output = next(page.part(link[1:]) for link in re.findall(r'href="(#o-\d+)"', article))
    for text in ("appview locked=no empty=yes", outcome["raw_sha256"], 'href="#i-8.1.4.1.a"'):
        assert text in output, text
    step = next(page.part(link[1:]) for link in re.findall(r'href="(#r-\d+)"', article))
    for text in ("passwd -l appview", "风险", "回退", 'href="#i-8.1.4.1.a"'):
        assert text in step, text


def test_what_could_not_be_looked_at_is_never_shown_as_good() -> None:
    page = render_html(assessment(), "zh")
    article = page[page.index('id="i-8.1.4.3.d"') : page.index('id="i-8.1.4.4.a"')]

    assert "未判定" in article
    assert "未能查看" in article
    assert "sudo: a password is required" in article
    assert "✓ 符合" not in article


def test_unconfirmed_lines_waivers_attestations_and_their_ends_are_marked_where_they_stand() -> None:
    page = render_html(assessment(), "zh")

    assert "未核对" in page[page.index('id="i-8.1.2.3"') : page.index('id="c-8.1.3"')]
    waived = page[page.index('id="i-8.1.4.1.b"') : page.index('id="i-8.1.4.1.c"')]
    assert "王建国 批准豁免至 2026-12-10" in waived
    assert "✗ 不符合" in waived
    assert "李敏 于 2026-06-01 证明，有效至 2026-12-01" in page
    assert "的证明已于 2026-12-01 过期，不再计入" in page
    assert "已过期 21 天" in page


def test_a_run_without_decided_items_says_so_and_shows_no_number() -> None:
    record = assessment()
    record["rates"] = [rate | {"value": None, "value_decided": None, "value_best": None} for rate in record["rates"]]
    record |= {"cases": [], "dangers": [], "difference": None, "expiring": [], "objects": {}, "results": []}
    record["items"] = [item | {"results": [], "verdict": "undecided"} for item in record["items"]]
    for lang, words in zip(LANGS, ("没有发现不等于没有", "does not mean that there is none"), strict=True):
        text = Page(render_html(record, lang)).text
        assert words in text
        assert "None" not in text


def _copied_to_hosts(count: int) -> dict[str, Any]:
    record = assessment()
    for number in range(count):
        name = f"host-{number:03}"
        record["objects"][name] = record["objects"]["oa-app-01"] | {"name": name}
        start = len(record["results"])
        copies = [row | {"object": name} for row in record["results"] if row["object"] == "oa-app-01"]
        record["results"] += copies
        for item in record["items"]:
            checks = {record["results"][position]["check"] for position in item["results"]}
            item["results"] += [start + n for n, row in enumerate(copies) if row["check"] in checks]
    return record


def test_many_hosts_and_large_outputs_do_not_make_a_file_without_end() -> None:
    record = _copied_to_hosts(200)
    for thing in record["objects"].values():
        for outcome in thing["outcomes"].values():
            outcome["excerpt"] = "x" * 60_000
    html = render_html(record, "zh")

    assert len(html.encode()) < 5_000_000
    left_out = re.search(r"另有 (\d+) 个对象的结果未在此列出", html)
    assert left_out is not None
    assert "未判定" in html


def test_every_output_and_every_piece_of_advice_stands_once_and_is_pointed_at_from_where_it_counts() -> None:
    html = render_html(assessment(), "zh")
    page = Page(html)
    numbered = [target for target in page.ids if re.fullmatch(r"[or]-\d+", target)]

    assert html.count("path=/usr/bin/tool29 ") == 2, "two objects answered so"
    assert html.count("path=/usr/bin/tool00 ") == 2
    assert html.count("passwd -l appview") == 1
    assert len(numbered) > 20
    assert {f"#{target}" for target in numbered} <= set(page.links)
    assert [target for target in numbered if target[0] == "o"] == [
        f"o-{number}" for number in range(1, 1 + sum(target[0] == "o" for target in numbered))
    ]


def test_a_short_output_is_read_where_it_counts() -> None:
    record = assessment()
    for thing in record["objects"].values():
        for outcome in thing["outcomes"].values():
            outcome |= {"excerpt": "[sysctl: 0]\n net.ipv4.ip_forward\n 1\n", "status": "ok"}
    page = Page(render_html(record, "zh"))

    assert "→ net.ipv4.ip_forward 1" in Page(page.part("i-8.1.4.1.a")).text


def test_checks_that_do_not_apply_are_one_line_by_reason() -> None:
    record = assessment()
    item = next(item for item in record["items"] if len(item["results"]) > 2)
    for position in item["results"]:
        record["results"][position] |= {"status": "notapplicable", "reason": {"zh": "没有安装", "en": "not there"}}
    part = Page(render_html(record, "zh")).part(f"i-{item['id']}")
    names = {record["results"][position]["object"] for position in item["results"]}

    assert "<table" not in part
    assert part.count("没有安装") == len(names)


EXTENTS = {
    "part": ("部分主机", "未评估 oa-ca-01"),
    "unlisted": ("主机未登记", "台账没有登记主机"),
    "machine": ("单机", "没有登记的系统"),
}


@pytest.mark.parametrize("kind", [*EXTENTS, "unknown"])
def test_every_format_says_that_a_part_is_no_whole(kind: str) -> None:
    record = assessment()
    record["extent"] = None if kind == "unknown" else _extent(kind, ["oa-ca-01"] if kind == "part" else [])
    short, words = EXTENTS.get(kind, ("范围未记录", "没有记录是否看了系统的全部主机"))

    html = Page(render_html(record, "zh")).text
    assert short in html
    assert words in html
    assert words in render_text(record, "zh").replace("\n  ", "")
    assert words in json.loads(render_oscal(record, "zh"))["assessment-results"]["results"][0]["description"]
    assert any(words in cell for cell in _cells(render_xlsx(record, "zh")))
    assert words in context(Reading(record, "zh"))["conclusion"]


def test_a_whole_run_says_nothing_of_parts_and_a_left_out_pack_is_named() -> None:
    record = assessment()
    assert "部分主机" not in render_html(record, "zh")

    record["extent"] = _extent("whole", []) | {"packs_left_out": ["tls"]}
    for words in (render_html(record, "zh"), render_text(record, "zh")):
        assert "未使用检查包 tls" in words


def _extent(kind: str, left_out: list[str]) -> dict[str, Any]:
    return {"kind": kind, "left_out": left_out, "packs_left_out": []}


def _cells(workbook: bytes) -> list[str]:
    sheets = openpyxl.load_workbook(io.BytesIO(workbook), read_only=True)
    return [str(cell) for row in sheets.worksheets[0].iter_rows(values_only=True) for cell in row if cell]


def test_what_is_left_out_under_an_item_is_never_worse_than_what_is_shown() -> None:
    record = _copied_to_hosts(60)
    shown = Page(render_html(record, "zh")).text

    assert shown.count("appview locked=no empty=yes") == 1


def test_all_that_a_record_can_say_has_words_in_both_languages() -> None:
    keys = {f"verdict.{name.value}" for name in Verdict} | {f"status.{name.value}" for name in Status}
    keys |= {f"verdict_short.{name.value}" for name in Verdict}
    keys |= {f"basis.{name.value}" for name in Basis} | {f"case_state.{name.value}" for name in CaseState}
    keys |= {f"principle.{name.value}" for name in Principle} | {f"priority.{name}" for name in rectify.PRIORITIES}
    for model, field, prefix in (
        (run.OutcomeRow, "status", "outcome"),
        (run.ObjectRow, "kind", "object_kind"),
        (run.ObjectRow, "state", "object_state"),
        (run.EvidenceRow, "kind", "evidence_kind"),
        (run.ExpiringRow, "kind", "expiring_kind"),
        (run.ItemRow, "automatable", "automatable"),
    ):
        annotation: Any = model.model_fields[field].annotation
        names = get_args(annotation) or tuple(member.value for member in annotation)
        keys |= {f"{prefix}.{name}" for name in names}
    assert len(keys) > 50
    for lang in LANGS:
        assert keys <= Catalogue("assessment", lang).keys()
    assert Catalogue("assessment", "zh").keys() == Catalogue("assessment", "en").keys()
    assert set(VERDICTS) == {name.value for name in Verdict}
    assert set(STATUSES) == {name.value for name in Status}


def test_a_reading_does_not_change_the_record() -> None:
    record = assessment()
    before = copy.deepcopy(record)
    render_html(record, "zh")

    assert record == before


def test_a_stacked_bar_fills_its_width_and_shows_the_smallest_part() -> None:
    parts = stack({"a": 1, "b": 0, "c": 999}, width=300)

    assert [part.name for part in parts] == ["a", "c"]
    assert parts[0].width == 3
    assert round(sum(part.width for part in parts), 2) == 300
    assert parts[1].x == parts[0].width
    assert stack({"a": 0}, width=300) == ()
    assert round(sum(part.width for part in stack({"a": 5, "b": 5}, width=300, full=40)), 2) == 75


def test_chromium_prints_the_page_without_complaint(tmp_path: Path) -> None:
    browser = require("chromium")
    page = tmp_path / "report.html"
    page.write_text(render_html(hostile(), "zh", ledger=LEDGER), encoding="utf-8")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
    flags += [
        "--disable-background-networking",
        "--disable-component-update",
        f"--user-data-dir={tmp_path / 'profile'}",
    ]
    paper = tmp_path / "report.pdf"

    done = subprocess.run(
        [
            browser,
            *flags,
            "--enable-logging=stderr",
            "--no-pdf-header-footer",
            f"--print-to-pdf={paper}",
            page.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert paper.read_bytes().count(b"/Type /Page\n") >= 10
    assert "Content Security Policy" not in done.stderr
