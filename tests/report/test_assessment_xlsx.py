from __future__ import annotations

import io
import sys
import zipfile
from datetime import UTC, datetime, timedelta
from typing import Any

import openpyxl
import pytest

from govsec.errors import ConfigurationError
from govsec.report.assessment_xlsx import render_xlsx
from govsec.report.catalog import Lang
from govsec.report.office import settle, xml_text
from tests.report.assessment_samples import BOMB, HOSTILE_NAME, assessment, hostile

LANGS: tuple[Lang, ...] = ("zh", "en")


def _open(data: bytes) -> Any:
    return openpyxl.load_workbook(io.BytesIO(data))


def test_there_is_a_row_for_every_item_and_object() -> None:
    record = assessment()
    rows = list(_open(render_xlsx(record, "zh"))["逐项逐对象"].iter_rows(min_row=2, values_only=True))
    expected = {
        (item["id"], record["results"][position]["object"]) for item in record["items"] for position in item["results"]
    }

    assert len({row[0] for row in rows}) == 211
    assert expected <= {(row[0], row[8]) for row in rows}
    assert len(rows) == len(expected) + sum(not item["results"] for item in record["items"])


def test_a_row_has_command_output_decision_digest_and_advice() -> None:
    sheet = _open(render_xlsx(assessment(), "zh"))["逐项逐对象"]
    head = [cell.value for cell in sheet[1]]
    row = next(
        dict(zip(head, values, strict=True))
        for values in sheet.iter_rows(min_row=2, values_only=True)
        if values[0] == "8.1.4.1.a" and values[8] == "oa-db-01"
    )

    assert row["判定"] == "不符合"
    assert row["结果"] == "不通过"
    assert "getent shadow" in row["命令"]
    assert "appview locked=no empty=yes" in row["原始输出"]
    assert "有账户的口令为空" in row["发现"]
    assert len(row["证据摘要"].split("\n")[0]) == 64
    assert "passwd -l appview" in row["整改建议"]
    assert row["高风险"] == "6.4.1.1"


def test_unconfirmed_lines_and_the_standing_of_rates_are_marked() -> None:
    book = _open(render_xlsx(assessment(), "zh"))
    rows = {row[0]: row for row in book["逐项逐对象"].iter_rows(min_row=2, values_only=True)}
    summary = "\n".join(str(cell) for row in book["概览"].iter_rows(values_only=True) for cell in row)

    assert "未核对" in rows["8.1.2.3"][-1]
    assert "28.3 % · 覆盖率 35.8 % · 口径未核对" in summary
    assert "不代替等级测评" in summary


def test_headers_are_frozen_and_every_sheet_of_rows_can_be_filtered() -> None:
    book = _open(render_xlsx(assessment(), "en"))

    assert book.sheetnames == ["Summary", "Categories", "Items and objects", "High risk", "Rectification", "Objects"]
    for sheet in book.worksheets[1:]:
        assert sheet.freeze_panes in ("A2", "C2")
        assert sheet.auto_filter.ref.endswith(str(sheet.max_row))
    assert book.worksheets[2].column_dimensions["N"].width == 60


@pytest.mark.parametrize("lang", LANGS)
def test_nothing_that_a_host_chose_is_a_formula_or_an_error(lang: Lang) -> None:
    record = hostile()
    for thing in record["objects"].values():
        for outcome in thing["outcomes"].values():
            outcome["excerpt"] = '=HYPERLINK("http://x")'
    record["system"]["title"] = "#N/A"
    book = _open(render_xlsx(record, lang))
    kinds = {cell.data_type for sheet in book for row in sheet.iter_rows() for cell in row if cell.value is not None}
    risky = [
        cell
        for sheet in book
        for row in sheet.iter_rows()
        for cell in row
        if isinstance(cell.value, str) and cell.value.startswith(("=", "+", "-", "@"))
    ]

    assert kinds == {"s", "n"}
    assert len(risky) > 20
    assert all(cell.quotePrefix and cell.number_format == "@" for cell in risky)
    assert any(cell.value == HOSTILE_NAME for cell in risky)


def test_what_xml_forbids_is_written_as_an_escape_and_what_looks_like_one_is_told_apart() -> None:
    data = render_xlsx(hostile(), "zh")
    with zipfile.ZipFile(io.BytesIO(data)) as parts:
        text = b"".join(parts.read(name) for name in parts.namelist() if name.startswith("xl/worksheets")).decode()

    assert not {"\x1b", "\x00", "\ufffe", "\u202e"} & set(text)
    assert "\\u0000" in text
    assert "_x005F_x003D_" in text
    assert xml_text(BOMB, 5) == "<b o…"


def test_a_long_output_fits_its_cell() -> None:
    record = assessment()
    for thing in record["objects"].values():
        for outcome in thing["outcomes"].values():
            outcome["excerpt"] = "y" * 50_000
    book = _open(render_xlsx(record, "zh"))

    assert max(len(str(cell)) for row in book["逐项逐对象"].iter_rows(values_only=True) for cell in row) <= 32_767


def test_the_same_record_gives_the_same_bytes_dated_by_the_run() -> None:
    first, second = render_xlsx(assessment(), "zh"), render_xlsx(assessment(), "zh")

    assert first == second
    with zipfile.ZipFile(io.BytesIO(first)) as parts:
        assert {info.date_time for info in parts.infolist()} == {(2026, 11, 22, 1, 0, 2)}
        assert b"2026-11-22T01:00:02Z" in parts.read("docProps/core.xml")


def test_a_zip_is_settled_in_utc_and_keeps_its_parts() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as target:
        target.writestr("a", b"1")
        target.writestr("docProps/core.xml", b"<x>1999-01-01T00:00:00Z</x>")
    moment = datetime(2026, 1, 2, 3, 4, 6, tzinfo=UTC) + timedelta(0)
    with zipfile.ZipFile(io.BytesIO(settle(out.getvalue(), moment))) as parts:
        assert parts.read("a") == b"1"
        assert parts.read("docProps/core.xml") == b"<x>2026-01-02T03:04:06Z</x>"


def test_a_missing_library_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    # The suite's machine has the extra; a module that cannot be imported is the way Python itself says "not there".
    monkeypatch.setitem(sys.modules, "openpyxl", None)

    with pytest.raises(ConfigurationError, match=r"openpyxl is not installed.*govsec\[office\]"):
        render_xlsx(assessment(), "zh")
