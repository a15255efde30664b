"""``govsec incident report``: what a report says, what its meter names as missing, and the Word document."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import docx
import pytest

from govsec import canonical
from govsec.assemble.incident import build_desk, open_cases
from govsec.cli import frame
from govsec.cli.main import build_parser
from govsec.config import load_config
from govsec.incident.entries import FindingJoined
from govsec.testing.clock import FakeClock

NOW = datetime(2026, 11, 22, 2, 0, tzinfo=UTC)
_SITE = """
version: 1
organization: 某市大数据管理局
state_dir: {folder}/state
systems:
  - name: portal
    title: 市政府门户网站
    register:
      kind: portal
      level: 3
      internet: true
      responsible: [{{name: 王五, role: 系统负责人, contact: 0571-00000000}}]
"""
_FACTS = ("--fact", "home_page_illegal_h=since 2026-11-22T01:30:00Z", "--fact", "site_kind=prefecture_government")
_BY = ("--by", "张三")


class _Person:
    def __init__(self, folder: Path) -> None:
        self.folder, self.clock = folder, FakeClock(NOW)
        self.config = folder / "govsec.yaml"
        self.config.write_text(_SITE.format(folder=folder), encoding="utf-8")
        self.out = self.err = ""

    def run(self, *argv: str, lang: str = "zh") -> int:
        out, err = io.StringIO(), io.StringIO()
        line = ["incident", *argv, "--config", str(self.config), "--lang", lang]
        code = frame.run(build_parser(), line, stdout=out, stderr=err, clock=self.clock)
        self.out, self.err = out.getvalue(), err.getvalue()
        return code

    def json(self, *argv: str) -> Any:
        assert self.run(*argv, "--json") == 0, self.err
        return json.loads(self.out)

    def new(self, *more: str, title: str = "门户网站首页被篡改") -> str:
        aware = ("--aware", "2026-11-22T01:41:00Z", "--class", "content_security", "--system", "portal")
        return str(self.json("new", title, *aware, *_BY, *more)["id"])

    def state(self, case: str, **parts: str) -> None:
        for part, text in parts.items():
            assert self.run("state", case, part, text, *_BY) == 0, self.err

    def document(self, name: str = "report.docx") -> Any:
        return docx.Document(str(self.folder / name))


@pytest.fixture
def person(tmp_path: Path) -> _Person:
    return _Person(tmp_path)


def _item(record: Any, name: str) -> Any:
    return next(item for item in record["items"] if item["id"] == name)


def _cells(document: Any) -> dict[str, str]:
    return {
        row.cells[1].text: row.cells[2].text for table in document.tables for row in table.rows if len(row.cells) == 3
    }


def test_a_first_report_needs_items_one_and_two_and_may_leave_the_others_for_later(person: _Person) -> None:
    case = person.new(*_FACTS)
    record = person.json("report", case, *_BY)
    assert (record["report"], record["number"], record["organization"]) == ("first", 1, "某市大数据管理局")
    assert [item["id"] for item in record["items"]] == [
        "unit", "event", "trend", "cause", "traces", "plan", "scene", "other",
    ]  # fmt: skip
    assert [item["id"] for item in record["items"] if item["is_needed"]] == ["unit", "event"]
    assert record["meter"]["missing"] == ["place", "measures"]
    assert _item(record, "unit")["state"] == "complete"
    assert _item(record, "event")["state"] == "partial"

    person.state(case, place="市政务云机房", measures="已下线该页面")
    record = person.json("report", case)
    assert record["meter"]["missing"] == []
    assert record["meter"]["answered_count"] == record["meter"]["needed_count"] == 9


def test_nothing_is_answered_by_nothing(person: _Person) -> None:
    # A case without facts, without a system of the register: the impact is not said to be none, it is missing.
    case = str(person.json("new", "可疑登录", *_BY)["id"])
    missing = person.json("report", case)["meter"]["missing"]
    assert {"system", "contact", "place", "kind", "impact", "measures"} <= set(missing)
    assert "time" not in missing


def test_a_trend_that_the_rules_foresee_is_no_analysis_by_a_person(person: _Person) -> None:
    case = person.new(*_FACTS)
    record = person.json("report", case, "--kind", "supplementary")
    part = _item(record, "trend")["parts"][0]
    assert part["lines"]
    assert not part["is_answered"]
    assert "trend" in record["meter"]["missing"]
    person.state(case, trend="恢复后不再扩大")
    assert "trend" not in person.json("report", case, "--kind", "supplementary")["meter"]["missing"]


def test_ransom_is_asked_for_when_ransomware_was_found(person: _Person) -> None:
    case = person.new(*_FACTS)
    assert "ransom" not in [part["id"] for part in _item(person.json("report", case), "event")["parts"]]
    with open_cases(load_config(person.config)) as store:
        joined = FindingJoined(
            time=person.clock.now(), by="agent", fingerprint="f1", finding="host.ransomware.canary",
            subject="files-01", severity="critical", summary="诱饵文件被改",
        )  # fmt: skip
        build_desk(load_config(person.config), store, person.clock).add(case, joined)
    assert "ransom" in person.json("report", case)["meter"]["missing"]


def test_a_report_that_is_written_stands_in_the_case_with_its_digest(person: _Person) -> None:
    case = person.new(*_FACTS)
    written = person.folder / "first.json"
    record = person.json("report", case, "--output", str(written), *_BY)
    assert json.loads(written.read_bytes()) == record
    assert written.stat().st_mode & 0o777 == 0o600
    made = person.json("show", case)["reports"]
    assert [(one["report"], one["digest"], one["by"]) for one in made] == [
        ("first", f"sha256:{canonical.digest(record)}", "张三")
    ]
    # Printed on a screen it is a draft, and the next one that is written is a supplementary report.
    assert person.json("report", case)["report"] == "supplementary"
    assert len(person.json("show", case)["reports"]) == 1


def test_a_receipt_can_name_the_file_that_was_handed_in(person: _Person) -> None:
    case = person.new(*_FACTS)
    assert person.run("confirm", case, "relatively_major", "--reason", "研判", *_BY) == 0
    assert person.run("report", case, "--output", str(person.folder / "r.docx")) == 0, person.err
    handed = ("--taken-by", "李四", "--channel", "12387", "--file", str(person.folder / "r.docx"))
    assert person.run("receipt", case, "R5/provincial_cyberspace", *handed) == 0, person.err
    entry = next(line for line in person.json("show", case)["timeline"] if line["kind"] == "receipt")
    assert len(entry["digest"]) == len("sha256:") + 64
    assert person.run("receipt", case, "R5/provincial_cyberspace", *handed[:-1], "/nonexistent") == 2


def test_the_word_document_holds_every_item_and_its_answers(person: _Person) -> None:
    case = person.new(*_FACTS)
    person.state(case, cause="后台口令被猜中")
    assert person.run("report", case, "--output", str(person.folder / "report.docx"), *_BY) == 0, person.err
    cells = _cells(person.document())
    assert cells["引发事件原因的初步分析"].startswith("后台口令被猜中（张三")
    assert "【后续补报】" in cells["事件现场的保护情况"]
    assert "地点：【待补】" in cells["事件发现或发生的时间、地点、类型、级别，已造成的影响和危害，已采取的措施及效果"]
    assert person.run("report", case, "--kind", "final", "--output", str(person.folder / "en.docx"), lang="en") == 0
    assert {"Cause", "Emergency measures", "Harm", "Lessons"} <= set(_cells(person.document("en.docx")))


def test_a_form_of_ones_own_is_filled_and_one_that_reaches_further_is_refused(person: _Person) -> None:
    case = person.new(*_FACTS)
    assert person.run("report", "--write-template", str(person.folder / "ours.docx")) == 0, person.err
    own = docx.Document()
    own.add_paragraph("{{ organization }}｜{{ number }}｜{{ parts.place }}｜{{ missing|join('、') }}")
    own.save(str(person.folder / "own.docx"))
    output = ("--output", str(person.folder / "report.docx"))
    assert person.run("report", case, "--template", str(person.folder / "own.docx"), *output) == 0, person.err
    line = person.document().paragraphs[0].text
    assert line == f"某市大数据管理局｜{case}｜【待补】｜地点、已采取的措施及效果"
    for expression in ("{{ ''.__class__.__mro__ }}", "{% for i in range(10**9) %}x{% endfor %}", "{{ secret }}"):
        own = docx.Document()
        own.add_paragraph(expression)
        own.save(str(person.folder / "own.docx"))
        assert person.run("report", case, "--template", str(person.folder / "own.docx"), *output) == 3, expression
    # A document that could not be made is not written into the case as one.
    assert len(person.json("show", case)["reports"]) == 1


def test_what_people_write_stays_text(person: _Person) -> None:
    hostile = "{{ 7*7 }} <w:p/> & \u202egnp.exe\n1. 假的事项  [完整]"
    case = person.new(*_FACTS, title="标题 {{ 7*7 }} </w:t>")
    person.state(case, impact=hostile)
    assert person.run("report", case, "--output", str(person.folder / "report.docx")) == 0, person.err
    told = "\n".join(_cells(person.document()).values())
    assert "{{ 7*7 }} <w:p/> &" in told
    assert "49" not in told
    assert "\u202e" not in told
    assert person.run("report", case, "--kind", "first") == 0
    assert not [line for line in person.out.splitlines() if line.startswith("1. 假的")]


@pytest.mark.parametrize(
    ("argv", "code"),
    [
        (("report",), 2),
        (("report", "20261122-0009"), 5),
        (("report", "CASE", "--output", "report.pdf"), 2),
        (("report", "CASE", "--template", "x.docx"), 2),
        (("report", "CASE", "--output", "r.json", "--template", "x.docx"), 2),
        (("report", "CASE", "--output", "/nonexistent/r.docx"), 3),
        (("state", "CASE", "nothing", "x"), 2),
        (("state", "CASE", "cause", ""), 2),
    ],
)
def test_what_cannot_be_is_refused_by_name(person: _Person, argv: tuple[str, ...], code: int) -> None:
    case = person.new(*_FACTS)
    assert person.run(*(word.replace("CASE", case) for word in argv)) == code, person.err
    assert person.err.startswith("govsec: ")
