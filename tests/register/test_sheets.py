"""The register as a workbook, both ways, and what somebody may send in its place."""

from __future__ import annotations

import io
import random
import re
import zipfile
from collections.abc import Callable
from datetime import date, datetime
from typing import Any

import openpyxl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from govsec.errors import ConfigurationError
from govsec.register import workbook
from govsec.register.register import Register, System, merge
from govsec.register.sheet import layout
from govsec.register.sheetreader import import_xlsx
from govsec.register.sheetwriter import export_xlsx
from tests.register.registers import register, system


def edited(change: Callable[[Any], None], systems: Register | None = None) -> bytes:
    """The exported workbook after somebody's hand was in it."""
    book = openpyxl.load_workbook(io.BytesIO(export_xlsx(systems or register(system()))))
    change(book)
    target = io.BytesIO()
    book.save(target)
    return target.getvalue()


def column_of(sheet: Any, key: str) -> int:
    return next(cell.column for cell in sheet[2] if cell.value == key)


def put(sheet_title: str, key: str, value: object, row: int = 3) -> Callable[[Any], None]:
    def change(book: Any) -> None:
        sheet = book[sheet_title]
        sheet.cell(row, column_of(sheet, key)).value = value

    return change


def same(left: Register, right: Register) -> bool:
    return left.model_dump() == right.model_dump()


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_a_register_comes_back_as_it_was(lang: Any) -> None:
    whole = register(
        system(
            internet=True,
            users_count=1200,
            stage="planned",
            hosts=["web1", "web2"],
            borders=["web1"],
            borders_are_all=True,
            security_hosts=["web2"],
            security_are_all=True,
            contractors=["Firm A"],
            graded="2025-03-01",
            platform={"name": "city cloud", "level": 3, "system": "cloud", "filing_number": "7"},
        ),
        system("bare", jobs=(), kind=None, data=[], training=[], responsible=[], plan=None, platform=None, filing=None,
               assessment=None, level=None, s=None, a=None, scopes=[]),
    )  # fmt: skip

    assert same(import_xlsx(export_xlsx(whole, lang), "register.xlsx"), whole)


TEXT = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zl", "Zp", "Cf", "Cn"]), min_size=1, max_size=20
)
NAMED = TEXT.map(str.strip).filter(bool)
LISTED = NAMED.filter(lambda text: not re.search("[;；、]", text)).map(str.strip).filter(bool)


@settings(max_examples=8)
@given(NAMED, NAMED, st.lists(LISTED, max_size=3, unique=True), st.dates(date(2000, 1, 1), date(2100, 1, 1)))
def test_any_words_survive_the_way_there_and_back(owner: str, person: str, hosts: list[str], day: date) -> None:
    whole = Register(
        systems=(system(owner=owner, responsible=[{"name": person}], hosts=hosts, graded=day.isoformat()),)
    )

    assert same(import_xlsx(export_xlsx(whole), "r.xlsx"), whole)


@pytest.mark.parametrize("text", ["=1+1", '=HYPERLINK("http://x","y")', "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)"])
def test_what_looks_like_a_formula_is_text_in_the_workbook(text: str) -> None:
    data = export_xlsx(register(system(owner=text, responsible=[{"name": text}])))

    book = openpyxl.load_workbook(io.BytesIO(data))
    cells = [cell for sheet in book.worksheets for row in sheet.iter_rows() for cell in row if cell.value == text]
    assert len(cells) == 2
    assert all(cell.data_type == "s" and cell.quotePrefix for cell in cells)
    assert import_xlsx(data, "r.xlsx").system("portal").entry.owner == text


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (put("系统", "owner", "=1+1"), r"系统!F3: a formula"),
        (put("系统", "level", "three"), r"系统!H3: 'three' is no level"),
        (put("系统", "level", 7), r"系统!H3: '7' is no level"),
        (put("系统", "level", 2.5), r"系统!H3: .*is no level"),
        (put("系统", "level", "第六级"), r"系统!H3: .*is no level"),
        (put("系统", "level", "S3A3"), r"系统!H3: says S3, and the column s says 2"),
        (put("系统", "kind", "Website"), r"系统!D3: 'Website' is none of 门户网站"),
        (put("系统", "graded", "soon"), r"系统!K3: expected a date \(2026-11-22\), found 'soon'"),
        (put("系统", "internet", "maybe"), r"系统!AF3: 'maybe' is none of 是, 否"),
        (put("系统", "name", "Bad Name"), r"系统!A3: .*pattern"),
        (put("系统", "name", "cloud"), r"系统!A4: system 'cloud' is there twice"),
        (put("系统", "name", None), r"系统!B3: the row has no name"),
        (put("系统", "filing.valid_until", "2020-01-01"), r"系统!\w+3: valid_until is not after issued"),
        (put("系统", "owner", "a\nb"), r"系统!F3: has a control character"),
        (put("系统", "s", 4), r"系统!A3: level 3 is below S or A"),
        (put("系统", "level", "#N/A"), r"系统!H3: "),
        (put("系统", "scopes", "云计算; 太空"), r"系统!M3: '太空' is none of"),
        (put("系统", "owner", "x", row=2), r"系统!F2: 'x' is no key, or is there twice"),
        (put("数据类别", "system", "portla"), r"数据类别!A3: there is no system 'portla'"),
        (put("数据类别", "personal_count", -1), r"数据类别!\w3: Input should be greater than or equal to 0"),
        (put("培训", "held", None), r"培训!A3: Field required"),
        (put("培训", "held", datetime(2026, 1, 1)), ""),
        (lambda book: book.remove(book["系统"]), "has no sheet '系统' or 'Systems'"),
        (lambda book: book["系统"].delete_rows(2), "is no key"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_wrong_entry_is_named_with_sheet_row_and_column(change: Callable[[Any], None], complaint: str) -> None:
    data = edited(change)

    if not complaint:
        import_xlsx(data, "register.xlsx")
        return
    with pytest.raises(ConfigurationError, match=f"^register.xlsx: .*{complaint}"):
        import_xlsx(data, "register.xlsx")


@pytest.mark.parametrize("written", ["第三级", "三级", "3", "S2A3G3", "第三级（S2A3）"])
def test_a_level_is_read_as_people_write_it(written: str) -> None:
    entry = import_xlsx(edited(put("系统", "level", written)), "register.xlsx").systems[0].entry

    assert (entry.system_level, entry.s, entry.a) == (3, 2, 3)


def test_all_wrong_entries_are_told_at_once() -> None:
    def change(book: Any) -> None:
        for key in ("level", "kind", "graded"):
            put("系统", key, "wrong")(book)

    with pytest.raises(ConfigurationError) as caught:
        import_xlsx(edited(change), "r.xlsx")
    assert all(where in str(caught.value) for where in ("系统!H3", "系统!D3", "系统!K3"))


def test_columns_may_be_moved_left_out_or_be_in_the_other_language() -> None:
    def change(book: Any) -> None:
        sheet = book["系统"]
        sheet.move_range("B1:C10", cols=60)
        sheet.delete_cols(column_of(sheet, "location"))
        put("系统", "kind", "Portal")(book)
        put("系统", "internet", "yes")(book)
        put("系统", "filing.number", 11010013012)(book)
        book.create_sheet("notes").cell(1, 1, "=1+1 is what our office adds").data_type = "s"

    found = import_xlsx(edited(change), "r.xlsx").system("portal")

    assert (found.title, found.entry.kind, found.entry.internet) == ("Portal", "portal", True)
    assert found.entry.filing is not None and found.entry.filing.number == "11010013012"


def test_imported_systems_replace_those_of_their_name_and_keep_what_a_sheet_left_out() -> None:
    before = register(system())
    newer = import_xlsx(edited(put("系统", "owner", "另一单位")), "r.xlsx")

    after, changed = merge(before, newer)

    assert changed == ("portal",)
    assert after.system("portal").entry.owner == "另一单位" and after.system("portal").jobs == ("database", "files")
    bare = Register(systems=(System.model_validate({"name": "portal", "register": {"owner": "x"}}),))
    assert merge(before, bare)[0].system("portal").jobs == ("database", "files")
    assert merge(before, before) == (before, ())


def _package(parts: dict[str, bytes]) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as package:
        for name, data in parts.items():
            package.writestr(name, data)
    return target.getvalue()


def _with_part(name: str, change: Callable[[bytes], bytes]) -> bytes:
    with zipfile.ZipFile(io.BytesIO(export_xlsx(register(system())))) as package:
        parts = {part: package.read(part) for part in package.namelist()}
    assert name in parts
    return _package({**parts, name: change(parts[name])})


SHEET = "xl/worksheets/sheet1.xml"


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"", "not a workbook"),
        (b"PK\x03\x04 nonsense", "not a workbook"),
        (b"a;b;c", "not a workbook"),
        (_package({"a.txt": b"x"}), "not a workbook"),
        (_package({f"{number}.xml": b"<a/>" for number in range(600)}), "more than 500 parts"),
        (_package({"xl/bomb.bin": b"\0" * (97 << 20)}), "unpacks to"),
        (_with_part(SHEET, lambda part: b'<!DOCTYPE x [<!ENTITY a "b">]>' + part), "document type"),
        (_with_part(SHEET, lambda part: part.decode().encode("utf-16")), "not UTF-8"),
        (_with_part(SHEET, lambda part: part[: len(part) // 2]), "not a workbook that can be read"),
        (_with_part(SHEET, lambda part: part.replace(b'r="3"', b'r="900000"')), "empty rows"),
        (b"\0" * ((16 << 20) + 1), "larger than"),
    ],
    ids=["empty", "cut", "csv", "other zip", "parts", "bomb", "doctype", "utf-16", "half", "far row", "large"],
)
def test_what_is_no_honest_workbook_is_refused(data: bytes, complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        import_xlsx(data, "r.xlsx")


def test_a_sheet_with_too_many_rows_or_columns_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    # The limits are lowered: a sheet that reaches the real ones takes half a minute to write.
    data = edited(lambda book: [put("培训", "topic", "x", row=number)(book) for number in range(5, 40)])
    monkeypatch.setattr(workbook, "ROWS_MAX", 30)
    with pytest.raises(ConfigurationError, match="'培训' has more than 30 rows"):
        import_xlsx(data, "r.xlsx")
    monkeypatch.setattr(workbook, "COLUMNS_MAX", 40)
    with pytest.raises(ConfigurationError, match="系统!AO1: more than 40 columns"):
        import_xlsx(data, "r.xlsx")


def test_macros_and_links_are_not_opened() -> None:
    with zipfile.ZipFile(io.BytesIO(export_xlsx(register(system())))) as package:
        parts = {part: package.read(part) for part in package.namelist()}
    parts["xl/vbaProject.bin"] = b"Sub AutoOpen()"
    parts["xl/externalLinks/externalLink1.xml"] = b"<externalLink/>"

    assert same(import_xlsx(_package(parts), "r.xlsm"), register(system()))


def test_a_hidden_sheet_is_not_read() -> None:
    def change(book: Any) -> None:
        book["数据类别"].sheet_state = "hidden"

    assert import_xlsx(edited(change), "r.xlsx").system("portal").entry.data == ()


@pytest.mark.parametrize("seed", range(12))
def test_a_mutated_workbook_raises_only_our_errors(seed: int) -> None:
    chance = random.Random(seed)
    with zipfile.ZipFile(io.BytesIO(export_xlsx(register(system())))) as package:
        parts = {part: package.read(part) for part in package.namelist()}
    for _ in range(6):
        name = chance.choice(sorted(parts))
        part = bytearray(parts[name])
        for _ in range(chance.randint(1, 6)):
            position = chance.randrange(len(part))
            part[position] = chance.choice(b"<>\"'=/&0129aA \x00\xff")
        try:
            import_xlsx(_package({**parts, name: bytes(part)}), "r.xlsx")
        except ConfigurationError as error:
            assert str(error).startswith("r.xlsx: ")


def test_every_choice_of_the_layout_is_one_of_the_model() -> None:
    from govsec.registerentry import DataLevel, RegisterScope, Stage, SystemKind

    enums = {"kind": SystemKind, "stage": Stage, "scope": RegisterScope, "data_level": DataLevel}
    for name, enum in enums.items():
        assert list(layout().choices[name]) == [member.value for member in enum]
    for sheet in layout().sheets:
        assert all(not column.choices or column.choices in enums for column in sheet.columns)
