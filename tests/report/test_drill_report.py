from __future__ import annotations

import ast
import base64
import hashlib
import re
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest

import govsec.drill
from govsec.datafile import FigureStatus
from govsec.drill.capability import Replication
from govsec.drill.plan import Plan, Scenario
from govsec.drill.result import CenterRef, ElementState, MismatchKind, Outcome, Verdict, parse_result
from govsec.report.catalog import Catalogue, Lang, plain
from govsec.report.chart import Row, share, timeline
from govsec.report.drill import drill_words, render_drill, step_words
from govsec.report.page import LedgerRef
from tests.report import samples
from tests.support.pages import Page
from tests.support.require import require

LANGS: tuple[Lang, ...] = ("zh", "en")
LEDGER = LedgerRef("ab12" * 8, 17, "cd34" * 16, ("remote",))


@pytest.mark.parametrize("lang", LANGS)
@pytest.mark.parametrize("record", [samples.passed(), samples.failed()], ids=["passed", "failed"])
def test_the_page_loads_nothing_and_runs_nothing(record: dict[str, Any], lang: Lang) -> None:
    html = render_drill(record, lang, ledger=LEDGER)
    page = Page(html)

    assert not {"script", "link", "img", "iframe", "object", "embed", "base", "form"} & set(page.tags)
    assert not [item for item in page.attributes if item[1] in ("src", "href", "style") or item[1].startswith("on")]
    assert "@import" not in html
    assert "url(" not in html.replace("url(#tip)", "")
    (policy,) = [value for _, name, value in page.attributes if name == "content" and "default-src" in value]
    style = re.search(r"<style>(.*?)</style>", html, re.DOTALL)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert policy == f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


@pytest.mark.parametrize("lang", LANGS)
def test_names_from_hostile_repositories_stay_text_and_cannot_look_like_others(lang: Lang) -> None:
    html = render_drill(samples.failed(), lang, ledger=None)

    assert "<img" not in html
    assert "&lt;img src=x onerror=alert(1)&gt;.pdf" in html
    assert "\u202e" not in html
    assert r"\u202efdp.exe" in html


def test_every_text_of_the_record_is_escaped_wherever_it_is_printed() -> None:
    bomb = "<b>&\u202e\x1b"

    def infect(value: Any, key: str = "") -> Any:
        if isinstance(value, dict):
            return {name: infect(item, name) for name, item in value.items()}
        if isinstance(value, list):
            return [infect(item, key) for item in value]
        if isinstance(value, str) and key in (
            "detail",
            "output",
            "organization",
            "system_title",
            "plan_title",
            "operator",
            "host",
            "site",
            "path",
            "expected",
            "found",
            "hostname",
            "name",
            "system",
            "plan",
        ):
            return value + bomb
        return value

    html = render_drill(infect(samples.failed()), "zh", ledger=LedgerRef(bomb, 1, bomb, (bomb,)))

    assert "<b>&" not in html
    assert "\x1b" not in html
    assert "\u202e" not in html


def test_the_same_record_gives_the_same_bytes() -> None:
    assert render_drill(samples.passed(), "zh", ledger=LEDGER) == render_drill(samples.passed(), "zh", ledger=LEDGER)


def test_a_passed_drill_says_so_with_its_figures_in_both_languages() -> None:
    zh = Page(render_drill(samples.passed(), "zh", ledger=LEDGER)).text
    en = Page(render_drill(samples.passed(), "en", ledger=LEDGER)).text

    for text in (
        "通过",
        "29 分 48 秒",
        "38 秒",
        "目标 2 小时",
        "第 4 级",
        "未确立",
        "8.1.4.9.a",
        "L3-CES1-29",
        "4,211",
        "32",
    ):
        assert text in zh, text
    for text in (
        "Passed",
        "29 min 48 s",
        "38 s",
        "Objective 2 h",
        "Level 4",
        "not established",
        "8.1.10.13.c",
        "4,211",
    ):
        assert text in en, text
    for text in (LEDGER.digest, LEDGER.chain, "9f" * 32, "2026-11-20 09:00:00"):
        assert text in zh
        assert text in en


def test_a_failed_drill_is_offered_as_evidence_for_nothing_and_names_its_reasons() -> None:
    zh = Page(render_drill(samples.failed(), "zh", ledger=LEDGER)).text

    assert "8.1.4.9.a" not in zh
    assert "不作为任何控制点的符合性证据" in zh
    assert "另有 212 处未列出" in zh
    assert "在空目录上也通过" in zh
    assert "没有测得恢复用时" in zh


def test_what_was_compared_besides_content_and_what_could_not_be_is_told_with_both_values() -> None:
    passed = Page(render_drill(samples.passed(), "en", ledger=LEDGER)).text
    failed = Page(render_drill(samples.failed(), "en", ledger=LEDGER)).text

    assert "4,480 entries · ACLs 3 · attributes 12 · device numbers 1" in passed
    assert "Not compared: 2 sockets" in passed
    assert "other permissions : expected 0750, found 0640" in failed.replace("permissions:", "permissions :")
    assert "Not compared: owner of 17 entries, which only root can set" in failed
    assert "274 mismatches" in failed
    older = {key: value for key, value in samples.passed().items() if key != "metadata"}
    assert parse_result(older).metadata is None
    assert "were not compared" in Page(render_drill(older, "en", ledger=LEDGER)).text


def test_figures_that_nobody_compared_with_the_norm_carry_that_mark() -> None:
    zh = Page(render_drill(samples.passed(), "zh", ledger=LEDGER)).text

    assert "本版本的数值尚未与标准原文核对" in zh
    assert "未核对标准原文" in zh


def test_a_report_without_a_ledger_entry_is_marked_as_not_for_filing() -> None:
    assert "不能归档" in render_drill(samples.passed(), "zh", ledger=None)
    assert "不能归档" not in render_drill(samples.passed(), "zh", ledger=LEDGER)


def test_a_drill_that_never_found_a_snapshot_still_gives_a_report() -> None:
    record = samples.failed()
    record |= {"snapshot": None, "content": None, "history": None, "controls": [], "undo": [], "capability": []}
    record["measures"]["recovery_point_age_s"] = None
    record["reasons"] = [{"code": "no_center", "verdict": "fail", "facts": {"detail": "remote: lost"}}]
    record["steps"] = record["steps"][:1]
    for center in record["centers"]:
        center["state"] = "not_reached"
    parse_result(record)

    for lang in LANGS:
        assert "remote: lost" in render_drill(record, lang, ledger=LEDGER)


def _with_failed_step(kind: str, detail: str, reasons: list[dict[str, Any]]) -> dict[str, Any]:
    record = samples.passed()
    record |= {"verdict": "fail", "reasons": reasons}
    template = record["steps"][0]
    record["steps"] = [step for step in record["steps"] if step["kind"] != kind]
    record["steps"].append(template | {"kind": kind, "name": kind, "outcome": "failed", "detail": detail, "facts": {}})
    return record


def test_a_failed_step_is_explained_in_words_and_never_by_a_code() -> None:
    absent = _with_failed_step("nonce", "nonce_absent", [{"code": "nonce_absent", "verdict": "fail", "facts": {}}])
    assert step_words(absent, "zh")[-1] == "恢复结果中没有找到备份前植入的标记。"
    fewer = [
        {"code": "expect_path", "verdict": "fail", "facts": {"path": "/srv/oa/合同"}},
        {"code": "expect_files", "verdict": "fail", "facts": {"found": 3, "minimum": 20}},
    ]
    words = step_words(_with_failed_step("expect", "", fewer), "zh")[-1]
    assert words == "预期路径“/srv/oa/合同”不存在。 恢复出 3 个文件，少于预期的 20 个。"


def test_a_nonce_that_was_asked_for_and_not_found_is_not_called_unverified() -> None:
    absent = _with_failed_step("nonce", "nonce_absent", [{"code": "nonce_absent", "verdict": "fail", "facts": {}}])
    page = render_drill(absent, "zh", ledger=LEDGER)
    assert "核验未通过" in page
    assert "未验证植入标记" not in page
    absent["steps"] = [step for step in absent["steps"] if step["kind"] != "nonce"]
    assert "未验证植入标记" in render_drill(absent, "zh", ledger=LEDGER)


def test_objectives_that_nobody_set_are_marked() -> None:
    record = samples.passed()
    marks: tuple[tuple[Lang, str], ...] = (
        ("zh", "缺省目标，未经业务主管部门确认"),
        ("en", "default objective, not confirmed by the business owner"),
    )
    for lang, words in marks:
        record["objectives"] |= {"defaults": []}
        assert words not in render_drill(record, lang, ledger=LEDGER) + "".join(drill_words(record, lang))
        record["objectives"] |= {"defaults": ["rto_s"]}
        assert render_drill(record, lang, ledger=LEDGER).count(words) == 1
        assert "".join(drill_words(record, lang)).count(words) == 1


def test_a_ledger_entry_of_unknown_holders_has_no_line_for_them() -> None:
    assert "条目所在中心" in render_drill(samples.passed(), "zh", ledger=LEDGER)
    assert "条目所在中心" not in render_drill(samples.passed(), "zh", ledger=replace(LEDGER, held_by=()))


def test_both_languages_have_the_same_words() -> None:
    zh, en = (Catalogue("drill", lang) for lang in LANGS)

    assert zh.keys() == en.keys()
    assert len(zh.keys()) > 200


def _reason_codes() -> set[str]:
    """Every reason code in the drill's source: the first argument of reason(…) and _against(…)."""
    codes = set()
    for path in Path(govsec.drill.__path__[0]).glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("reason", "self._against") and node.args:
                first = node.args[0]
                codes |= {item.value for item in ast.walk(first) if isinstance(item, ast.Constant)}
    return {code for code in codes if isinstance(code, str)} | {
        "probe_failed",
        "step_failed",
        "nonce_absent",
        "nonce_wrong",
    }


def _tallied(counter: str, prefix: str, position: int = 0) -> set[str]:
    """What ``tally.compared[…]`` and ``tally.skipped[…]`` are given in the source."""
    found = set()
    for node in ast.walk(ast.parse(Path(govsec.drill.__path__[0], "metadata.py").read_text(encoding="utf-8"))):
        if isinstance(node, ast.Subscript) and ast.unparse(node.value) == f"tally.{counter}":
            key = node.slice.elts[position] if isinstance(node.slice, ast.Tuple) else node.slice
            words = [key.body, key.orelse] if isinstance(key, ast.IfExp) else [key]
            found |= {f"{prefix}.{ast.literal_eval(word)}" for word in words}
    assert found
    return found


def test_whatever_a_record_can_say_has_words_in_both_languages() -> None:
    codes = _reason_codes()
    assert len(codes) > 25
    keys = {f"reason.{code}" for code in codes}
    keys |= {f"mismatch.{kind}" for kind in get_args(MismatchKind)}
    keys |= {f"outcome.{outcome.value}" for outcome in Outcome}
    keys |= {f"verdict.{verdict.value}" for verdict in Verdict} | {
        f"verdict_line.{verdict.value}" for verdict in Verdict
    }
    keys |= {f"figure.{status.value}" for status in FigureStatus}
    keys |= {f"replication.{value.value}" for value in Replication}
    keys |= {f"state.{state}" for state in get_args(CenterRef.model_fields["state"].annotation)}
    keys |= {f"basis.{basis}" for basis in get_args(ElementState.model_fields["basis"].annotation)}
    keys |= {f"scenario.{kind}" for kind in _kinds(Scenario)}
    keys |= {
        f"kind.{kind}" for kind in ("restore", "configure", "start", "switch_address", "content", "nonce", "command")
    }
    keys |= {f"kind.{kind}" for kind in ("sqlite", "prepare", "expect", "metadata", "hand_over", "undo", "control")}
    keys |= _tallied("compared", "compared") | _tallied("skipped", "compared") | _tallied("skipped", "not_compared", 1)
    for lang in LANGS:
        assert keys <= Catalogue("drill", lang).keys()


def _kinds(union: Any) -> set[str]:
    schema = Plan.model_json_schema()["$defs"]
    members = get_args(get_args(union)[0])
    return {schema[member.__name__]["properties"]["kind"]["const"] for member in members}


@pytest.mark.parametrize(
    ("seconds", "zh", "en"),
    [
        (0, "0 秒", "0 s"),
        (0.001, "<0.01 秒", "<0.01 s"),
        (1.284, "1.28 秒", "1.28 s"),
        (59.6, "1 分", "1 min"),
        (90, "1 分 30 秒", "1 min 30 s"),
        (7200, "2 小时", "2 h"),
        (96_120, "1 天 2 小时", "1 d 2 h"),
    ],
)
def test_durations_are_written_for_people(seconds: float, zh: str, en: str) -> None:
    assert (Catalogue("drill", "zh").duration(seconds), Catalogue("drill", "en").duration(seconds)) == (zh, en)


def test_text_that_is_not_unicode_or_steers_the_reader_is_written_as_escapes() -> None:
    assert plain("a\udcffb\u2066c\x00d\n") == "a\\udcffb\\u2066c\\u0000d\n"


def test_the_timeline_fits_its_drawing_whatever_the_durations() -> None:
    for scale in (0.001, 1, 90, 7200, 400_000):
        rows = [Row(f"step {n}", "passed", n * scale, scale / (n + 1), "x") for n in range(8)]
        drawing = timeline(rows, service_s=8 * scale, objective_s=scale * 9)
        assert 3 <= len(drawing.ticks) <= 14, scale
        assert all(drawing.left <= bar.x and bar.x + bar.width <= drawing.width for bar in drawing.bars)
        assert drawing.objective_x is not None
        assert drawing.left < drawing.objective_x <= drawing.width
    assert timeline([], service_s=None, objective_s=14_400).bars == ()


def test_a_gauge_shows_what_lies_beyond_the_objective() -> None:
    assert share(50, 100, 200) == (100, 200)
    assert share(400, 100, 200) == (200, 50)


def test_chromium_draws_the_page_without_complaint(tmp_path: Path) -> None:
    browser = require("chromium")
    page = tmp_path / "report.html"
    page.write_text(render_drill(samples.passed(), "zh", ledger=LEDGER), encoding="utf-8")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
    flags += [
        "--disable-background-networking",
        "--disable-component-update",
        f"--user-data-dir={tmp_path / 'profile'}",
    ]
    picture = tmp_path / "report.png"

    done = subprocess.run(
        [browser, *flags, "--enable-logging=stderr", f"--screenshot={picture}", page.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert picture.stat().st_size > 20_000
    assert "Content Security Policy" not in done.stderr
