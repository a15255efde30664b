"""The catalog of GB/T 22239-2019 and the traps that transcriptions of it fall into."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from govsec.errors import ConfigurationError
from govsec.policy.catalog import Attribute, Automatable, Catalog, Kind, Level, Levels, Scope

CATALOG = Catalog.load()
COUNTS = {
    Scope.GENERAL: (55, 135, 211, 228),
    Scope.CLOUD: (11, 29, 46, 49),
    Scope.MOBILE: (5, 14, 19, 21),
    Scope.IOT: (4, 7, 20, 21),
    Scope.ICS: (9, 15, 21, 22),
}
#: Requirement lines of each category, level 1 to 4, counted in the standard.
CATEGORIES = {
    "PES": (7, 15, 22, 24),
    "CNS": (2, 4, 8, 11),
    "ABS": (5, 11, 20, 21),
    "CES": (11, 23, 34, 36),
    "SMC": (0, 4, 12, 13),
    "PSS": (1, 6, 7, 7),
    "ORS": (3, 9, 14, 15),
    "HRS": (4, 7, 12, 14),
    "CMS": (9, 25, 34, 35),
    "MMS": (13, 31, 48, 52),
}


@pytest.mark.parametrize("scope", list(Scope))
def test_each_scope_has_as_many_lines_as_the_standard_at_every_level(scope: Scope) -> None:
    found = tuple(sum(item.scope is scope for item in CATALOG.items(level)) for level in (1, 2, 3, 4))

    assert found == COUNTS[scope]


@pytest.mark.parametrize("category", list(CATEGORIES))
def test_each_category_has_as_many_general_lines_as_the_standard(category: str) -> None:
    general = [item for item in CATALOG if item.scope is Scope.GENERAL and item.category == category]

    assert tuple(sum(item.level == level for item in general) for level in (1, 2, 3, 4)) == CATEGORIES[category]


def test_there_are_942_lines_in_42_68_71_and_71_control_points() -> None:
    controls = [
        {item.control_id for item in CATALOG.items(level) if item.scope is Scope.GENERAL} for level in (1, 2, 3, 4)
    ]

    assert len(CATALOG) == 942
    assert [len(found) for found in controls] == [42, 68, 71, 71]


def test_letters_of_a_control_point_run_without_a_gap() -> None:
    letters: dict[str, list[str]] = {}
    for item in CATALOG:
        letters.setdefault(item.control_id, []).append(item.id.removeprefix(item.control_id).lstrip("."))

    wrong = {
        control: found
        for control, found in letters.items()
        if found != [""] and found != [chr(ord("a") + position) for position in range(len(found))]
    }
    assert wrong == {}


def test_clause_numbers_belong_to_level_and_scope() -> None:
    chapters = {Scope.GENERAL: "1", Scope.CLOUD: "2", Scope.MOBILE: "3", Scope.IOT: "4", Scope.ICS: "5"}

    for item in CATALOG:
        assert item.id.split(".")[:2] == [str(item.level + 5), chapters[item.scope]], item.id


def test_every_level_of_a_line_names_the_same_levels() -> None:
    for item in CATALOG:
        assert item.levels[item.level] == item.id
        for level, other in item.levels.items():
            assert CATALOG.item(other).key == item.key
            assert CATALOG.item(other).levels == item.levels
            assert CATALOG.by_key(item.key, level).id == other


def test_control_numbers_shift_between_levels_so_that_no_id_is_made_by_changing_its_first_digit() -> None:
    assert dict(CATALOG.item("8.1.4.9.a").levels) == {1: "6.1.4.7", 2: "7.1.4.8.a", 3: "8.1.4.9.a", 4: "9.1.4.9.a"}
    assert CATALOG.item("7.1.4.9").control_zh != CATALOG.item("8.1.4.9.a").control_zh


def test_remote_backup_is_scheduled_at_level_2_and_in_real_time_at_level_3() -> None:
    second, third = CATALOG.item("7.1.4.8.b"), CATALOG.item("8.1.4.9.b")

    assert second.key == third.key == "GEN-CES-9-b"
    assert "定时批量" in second.summary_zh and "实时" not in second.summary_zh
    assert "实时" in third.summary_zh
    assert (second.since, third.since) == (2, 3)


def test_lines_that_a_higher_level_drops_or_replaces_have_no_successor() -> None:
    assert 4 not in CATALOG.item("8.1.3.5.d").levels
    assert 4 not in CATALOG.item("8.1.3.2.e").levels
    assert 3 not in CATALOG.item("9.1.3.2.e").levels
    assert 3 not in CATALOG.item("7.1.10.7.b").levels


@pytest.mark.parametrize("wrong", ["8.1.4.12.a", "8.1.4.9", "8.1.4.9.d", "8.1.3.4.c", "6.1.5.4", "", "8.1.4.9.A"])
def test_an_id_that_the_standard_does_not_have_is_refused(wrong: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape("no item")):
        CATALOG.item(wrong)


@pytest.mark.parametrize(("key", "level"), [("GEN-CES-9-e", 3), ("GEN-CES-9-d", 4), ("GEN-CES-9-c", 2), ("", 1)])
def test_a_key_that_does_not_exist_at_a_level_is_refused(key: str, level: int) -> None:
    with pytest.raises(ConfigurationError):
        CATALOG.by_key(key, level)


def test_trusted_verification_says_may_and_everything_else_shall() -> None:
    optional = {item.control_zh for item in CATALOG if item.optional}

    assert optional == {"可信验证"}
    assert sum(item.optional for item in CATALOG.items(3)) == 3


def test_only_the_lines_that_one_source_alone_has_are_unconfirmed() -> None:
    assert [item.id for item in CATALOG.unconfirmed()] == ["9.1.1.1.b"]


def test_assessment_units_are_known_for_931_lines_and_none_is_named_twice() -> None:
    units = Counter(item.assessment_unit for item in CATALOG if item.assessment_unit)

    assert len(units) == 931
    assert set(units.values()) == {1}
    assert CATALOG.item("8.1.4.9.a").assessment_unit == "L3-CES1-29"
    for item in CATALOG:
        if item.assessment_unit:
            assert item.assessment_unit.startswith(f"L{item.level}-{item.category}")


def test_the_share_that_programs_decide_is_what_the_documents_say() -> None:
    third = [item for item in CATALOG.items(3) if item.scope is Scope.GENERAL]
    technical = [item for item in third if item.kind is Kind.TECHNICAL]

    def shares(items: list) -> tuple[int, ...]:
        return tuple(sum(item.automatable is share for item in items) for share in Automatable)

    assert len(technical) == 96
    assert shares(third) == (37, 98, 76)
    assert shares(technical) == (27, 54, 15)


def test_every_line_is_worded_in_both_languages() -> None:
    han = re.compile(r"[\u4e00-\u9fff]")
    for item in CATALOG:
        for zh, en in ((item.summary_zh, item.summary_en), (item.evidence_hint_zh, item.evidence_hint_en)):
            assert han.search(zh) and not re.search(r"[,;()]", zh), (item.id, zh)
            assert en and not han.search(en), (item.id, en)


def test_s2a3_takes_information_lines_from_level_2_and_all_others_from_level_3() -> None:
    chosen = CATALOG.select(s=2, a=3)

    general = [item for item in CATALOG if item.scope is Scope.GENERAL]
    expected = {item.id for item in general if item.level == (2 if item.attribute is Attribute.S else 3)}
    assert {item.id for item in chosen} == expected
    assert len(chosen) == 202
    # The controls that annex A.2 names, as far as both levels have them.
    assert {item.control_zh for item in chosen if item.level == 2} == {
        "电磁防护", "可信验证", "身份鉴别", "访问控制", "数据完整性", "剩余信息保护", "个人信息保护",
    }  # fmt: skip
    assert "7.1.4.1.a" in expected and "8.1.4.9.b" in expected and "8.1.4.1.a" not in expected
    # The same name in another area is no information line: border access control follows the system.
    assert "8.1.3.2.a" in expected and "7.1.4.2.a" in expected


def test_s3a2_takes_backup_and_power_from_level_2() -> None:
    chosen = {item.id for item in CATALOG.select(s=3, a=2)}

    assert {"7.1.4.8.a", "7.1.4.8.b", "7.1.1.9.a", "8.1.4.1.a", "8.1.2.1.a"} <= chosen
    assert "8.1.4.9.b" not in chosen


@settings(max_examples=40)
@given(st.integers(1, 4), st.integers(1, 4), st.sets(st.sampled_from(list(Scope)), min_size=1))
def test_a_selection_takes_every_attribute_from_its_own_level_and_no_key_twice(
    s: int, a: int, scopes: set[Scope]
) -> None:
    levels = Levels(s, a)

    chosen = CATALOG.select(s, a, scopes=scopes)

    assert all(item.level == levels.of(item.attribute) and item.scope in scopes for item in chosen)
    assert len({item.key for item in chosen}) == len(chosen)
    whole = {item for item in CATALOG if item.level == levels.of(item.attribute) and item.scope in scopes}
    assert set(chosen) == whole
    # A control point that mixes levels is not torn apart: lines stand where the standard has them.
    order = [(list(Scope).index(item.scope), list(CATEGORIES).index(item.category)) for item in chosen]
    assert order == sorted(order)


def test_equal_halves_select_the_whole_level() -> None:
    for level in (1, 2, 3, 4):
        assert CATALOG.select(level, level, scopes=list(Scope)) == CATALOG.items(level)


@pytest.mark.parametrize(
    ("s", "a", "level", "scopes"),
    [
        (0, 3, None, ["general"]),
        (3, 5, None, ["general"]),
        (3, 3, 2, ["general"]),
        (3, 3, None, []),
        (3, 3, None, ["x"]),
    ],
)
def test_a_selection_that_makes_no_sense_is_refused(s: int, a: int, level: Level | None, scopes: list[str]) -> None:
    with pytest.raises(ConfigurationError):
        CATALOG.select(s, a, level, scopes)
