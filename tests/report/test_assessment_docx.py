from __future__ import annotations

import io
import re
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

import docx
import pytest

from govsec.errors import ConfigurationError
from govsec.report.assessment import Reading
from govsec.report.assessment_docx import context, render_docx, template
from govsec.report.catalog import Lang
from govsec.report.docxchild import RefusedTemplateError, fill
from tests.report.assessment_samples import BOMB, HOSTILE_NAME, assessment, hostile

LANGS: tuple[Lang, ...] = ("zh", "en")


def _form(*lines: str) -> bytes:
    document = docx.Document()
    for line in lines:
        document.add_paragraph(line)
    out = io.BytesIO()
    document.save(out)
    return out.getvalue()


def _with_parts(data: bytes, parts: Mapping[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            target.writestr(name, parts.get(name, source.read(name)))
        for name in set(parts) - set(source.namelist()):
            target.writestr(name, parts[name])
    return out.getvalue()


def _texts(data: bytes) -> list[str]:
    document = docx.Document(io.BytesIO(data))
    return [paragraph.text for paragraph in document.paragraphs]


@pytest.mark.parametrize("lang", LANGS)
def test_the_shipped_form_has_all_211_lines_with_their_verdicts(lang: Lang) -> None:
    record = assessment()
    document = docx.Document(io.BytesIO(render_docx(record, lang)))
    words = Reading(record, lang).words
    rows = {
        row.cells[0].text.split("\n")[0]: row.cells[2].text.split("\n")[0]
        for table in document.tables
        for row in table.rows
        if len(row.cells) == 5
    }

    for item in record["items"]:
        assert rows[item["id"]] == words.text(f"verdict.{item['verdict']}"), item["id"]
    assert sum(item["id"] in rows for item in record["items"]) == 211


def test_the_form_says_estimate_coverage_standing_and_marks() -> None:
    document = docx.Document(io.BytesIO(render_docx(assessment(), "zh")))
    text = "\n".join(
        [paragraph.text for paragraph in document.paragraphs]
        + [cell.text for table in document.tables for row in table.rows for cell in row.cells]
        + [document.sections[0].footer.paragraphs[0].text]
    )

    for words in (
        "自查估算，不代替等级测评",
        "覆盖率 35.8 % (74 / 207)",
        "口径未核对",
        "未核对",
        "王建国 批准豁免至 2026-12-10",
    ):
        assert words in text, words
    assert "passwd -l appview" in text
    assert "{{" not in text
    assert "{%" not in text


def test_a_users_own_template_is_filled() -> None:
    form = _form(
        "单位：{{ organization }}", "{%p for case in cases %}", "{{ case.case }} {{ case.state }}", "{%p endfor %}"
    )
    texts = _texts(render_docx(assessment(), "zh", template=form))

    assert texts == ["单位：某市大数据管理局", "6.4.1.1 未缓解", "6.4.1.2 已有缓解措施"]


def test_texts_of_hosts_stay_text_and_are_not_templates_themselves() -> None:
    form = _form("{{ system }}", "{{ objects[0].name }}", "{{ items|length }}")
    texts = _texts(render_docx(hostile(), "zh", template=form))

    assert BOMB[:14] in texts[0]
    assert "{{7*7}}" in texts[0]
    assert "\\u0000" in texts[0]
    assert texts[1:] == [HOSTILE_NAME, "211"]


def test_the_same_record_and_template_give_the_same_bytes() -> None:
    assert render_docx(assessment(), "zh") == render_docx(assessment(), "zh")
    assert template("zh") == template("zh")
    assert template("zh") != template("en")


@pytest.mark.parametrize(
    "line",
    [
        "{{ system.__class__.__mro__ }}",
        "{{ ''.__class__ }}",
        "{{ '{0.__class__}'.format(system) }}",
        "{{ system|safe }}",
        "{% autoescape false %}{{ system }}{% endautoescape %}",
        "{% include 'x' %}",
        "{% import 'x' as y %}",
        "{{ items.append(1) }}",
        "{{ self._TemplateReference__context }}",
        "{{ range(999999999)|list }}",
        "{{ no_such_value }}",
        "{{ coverage.no_such_value }}",
        "{{ 1 / 0 }}",
        "{% for x in %}",
        "{% if %}",
    ],
)
def test_an_expression_that_fails_or_reaches_out_is_refused(line: str) -> None:
    with pytest.raises(RefusedTemplateError):
        fill(_form(line), context(Reading(assessment(), "zh")))


@pytest.mark.parametrize("name", ["report-template.md", "report-template.zh-CN.md"])
def test_the_guide_names_every_value_that_a_form_can_print(name: str) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "guides" / name).read_text(encoding="utf-8")
    rows = {line.split("|")[1].strip(): line for line in page.splitlines() if line.startswith("| `")}
    values = context(Reading(assessment(), "zh"))

    assert {word for head in rows for word in re.findall(r"`(\w+)`", head)} == set(values)
    for key in ("rates", "counts", "items", "cases", "dangers", "plan", "changes", "expiring", "objects"):
        told = values[key][0] if isinstance(values[key], list) else values[key]
        assert set(re.findall(r"`\.(\w+)`", rows[f"`{key}`"])) == set(told), key


def test_a_misspelt_value_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"Word template cannot be filled.*organisation"):
        render_docx(assessment(), "zh", template=_form("{{ organisation }}"))


@pytest.mark.parametrize(
    "parts",
    [
        {"word/vbaProject.bin": b"x"},
        {"[Content_Types].xml": b"<Types>application/vnd.ms-word.template.macroEnabledTemplate.main+xml</Types>"},
        {"word/document.xml": b'<!DOCTYPE x [<!ENTITY a "aa">]><x>&a;</x>'},
        {"word/document.xml": '<?xml version="1.0"?><x/>'.encode("utf-16")},
        {"word/document.xml": b"<x"},
        {"word/big.xml": b"\0" * (97 << 20)},
        {
            "word/_rels/settings.xml.rels": b'<Relationships><Relationship Id="r" Type="http://schemas.openxmlformats.org/'
            b'officeDocument/2006/relationships/attachedTemplate" Target="http://x/t.dotm" TargetMode="External"/>'
            b"</Relationships>"
        },
    ],
    ids=["macro", "macro type", "entities", "utf-16", "no xml", "too large", "remote template"],
)
def test_a_template_with_what_may_not_be_in_one_is_refused(parts: dict[str, bytes]) -> None:
    with pytest.raises(RefusedTemplateError):
        fill(_with_parts(_form("{{ system }}"), parts), context(Reading(assessment(), "zh")))


def test_a_link_that_a_person_clicks_may_stay() -> None:
    link = (
        b'<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="r" '
        b'Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/hyperlink" Target="http://x" '
        b'TargetMode="External"/></Relationships>'
    )
    form = _with_parts(_form("{{ number }}"), {"word/_rels/footnotes.xml.rels": link})

    assert fill(form, {"number": "7"})


@pytest.mark.parametrize("data", [b"", b"PK", b"x" * 1000, _form("x")[:200]])
def test_what_is_no_word_document_is_refused(data: bytes) -> None:
    with pytest.raises(RefusedTemplateError, match="not a Word document"):
        fill(data, {})


@pytest.mark.parametrize(
    "line",
    [
        "{{ 'a' * 10000000000 }}",
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    ],
    ids=["memory", "time"],
)
def test_a_bomb_ends_instead_of_the_machine(line: str) -> None:
    with pytest.raises(ConfigurationError, match="memory"):
        render_docx(assessment(), "zh", template=_form(line), cpu_s=2)


def test_a_missing_library_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    # The suite's machine has the extra; a module that cannot be imported is the way Python itself says "not there".
    for name in ("docx", "docxtpl"):
        monkeypatch.setitem(sys.modules, name, None)

    with pytest.raises(ConfigurationError, match=r"is not installed.*govsec\[office\]"):
        render_docx(assessment(), "zh")
