"""From facts to levels: what the shipped rules say, inclusive bounds, what is missing, and when a bound is reached."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from govsec.datafile import FigureStatus
from govsec.incident.classify import Classification, classify
from govsec.incident.facts import Between, Fact, FactSheet, Field, FieldKind, OneOf, parse_facts
from govsec.incident.levels import EventLevel, axis_words
from govsec.incident.record import classification_record
from govsec.incident.rulepack import fields_of, shipped_packs

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
PACKS = shipped_packs()
FIELDS = fields_of(PACKS)


def _harmless(field: Field) -> Fact:
    return OneOf(frozenset({"other"})) if field.kind is FieldKind.CHOICE else Between(0, 0)


def _ask(*lines: str, others_known: bool = True, now: datetime = NOW) -> Classification:
    said = parse_facts(lines, FIELDS)
    rest = {name: _harmless(field) for name, field in FIELDS.items()} if others_known else {}
    return classify(PACKS, FactSheet({**rest, **said.facts}), now)


@pytest.mark.parametrize(
    ("lines", "level"),
    [
        (["portal_down_h=24", "portal_kind=province_government"], EventLevel.PARTICULARLY_MAJOR),
        (["portal_down_h=23.999", "portal_kind=province_government"], EventLevel.MAJOR),
        (["portal_down_h=24", "portal_kind=prefecture_government"], EventLevel.MAJOR),
        (["portal_down_h=6", "portal_kind=county_government"], EventLevel.RELATIVELY_MAJOR),
        (["portal_down_h=2", "portal_kind=county_government"], EventLevel.RELATIVELY_MAJOR),
        (["portal_down_h=1.999", "portal_kind=county_government"], EventLevel.GENERAL),
        (["portal_down_h=99", "portal_kind=other"], EventLevel.GENERAL),
        (["cii_total_min=10"], EventLevel.RELATIVELY_MAJOR),
        (["cii_total_min=9.99"], EventLevel.GENERAL),
        (["cii_total_min=360"], EventLevel.PARTICULARLY_MAJOR),
        (["cii_main_min=360"], EventLevel.MAJOR),
        (["prefecture_share_percent=10"], EventLevel.RELATIVELY_MAJOR),
        (["province_share_percent=50"], EventLevel.PARTICULARLY_MAJOR),
        (["people_affected=10000000"], EventLevel.PARTICULARLY_MAJOR),
        (["personal_records=1000000"], EventLevel.RELATIVELY_MAJOR),
        (["personal_records=999999"], EventLevel.GENERAL),
        (["personal_records=100000000"], EventLevel.PARTICULARLY_MAJOR),
        (["home_page_illegal_h=0.5", "site_kind=enterprise_portal"], EventLevel.RELATIVELY_MAJOR),
        (["home_page_illegal_h=6", "site_kind=super_platform"], EventLevel.PARTICULARLY_MAJOR),
        (["views=10000", "site_kind=government"], EventLevel.RELATIVELY_MAJOR),
        (["authority_judgement=major"], EventLevel.MAJOR),
        (["loss_cny=5000000"], EventLevel.RELATIVELY_MAJOR),
        (["data_threat=rather_serious"], EventLevel.RELATIVELY_MAJOR),
        (["data_threat=certain"], EventLevel.GENERAL),
        (["system_loss=paralysed"], EventLevel.PARTICULARLY_MAJOR),
    ],
)
def test_the_bounds_of_the_annex_include_the_number_itself(lines: list[str], level: EventLevel) -> None:
    found = _ask(*lines)

    assert found.suggested == level
    assert found.highest_possible == level
    assert not found.missing


def test_with_nothing_known_everything_is_possible_and_nothing_is_suggested() -> None:
    found = _ask(others_known=False)

    assert (found.suggested, found.highest_possible) == (EventLevel.GENERAL, EventLevel.PARTICULARLY_MAJOR)
    assert set(found.missing) == set(FIELDS)
    assert found.fired == ()


def test_a_range_suggests_its_lower_end_and_leaves_its_upper_end_possible() -> None:
    found = _ask("personal_records=2000000..20000000")

    assert (found.suggested, found.highest_possible) == (EventLevel.RELATIVELY_MAJOR, EventLevel.MAJOR)
    assert list(found.missing) == ["personal_records"]


def test_an_unknown_scope_is_what_is_missing() -> None:
    found = _ask("portal_down_h=30", "portal_kind=province_government|county_government")

    assert (found.suggested, found.highest_possible) == (
        EventLevel.RELATIVELY_MAJOR,
        EventLevel.PARTICULARLY_MAJOR,
    )
    assert list(found.missing) == ["portal_kind"]


def test_an_outage_that_lasts_tells_when_it_will_be_worse_and_then_is() -> None:
    lines = ["portal_down_h=since 2026-11-22T11:00:00Z", "portal_kind=prefecture_government"]
    found = _ask(*lines)
    levels = [(crossing.row.level, crossing.at) for crossing in found.crossings]

    assert found.suggested == EventLevel.GENERAL
    assert levels == [
        (EventLevel.RELATIVELY_MAJOR, datetime(2026, 11, 22, 13, 0, tzinfo=UTC)),
        (EventLevel.MAJOR, datetime(2026, 11, 22, 17, 0, tzinfo=UTC)),
    ]
    for level, at in levels:
        assert _ask(*lines, now=at - timedelta(microseconds=1)).suggested < level
        assert _ask(*lines, now=at).suggested == level
    assert _ask(*lines, now=levels[-1][1]).crossings == ()


def test_a_crossing_says_what_it_hangs_on() -> None:
    found = _ask("cii_total_min=since 2026-11-22T11:55:00Z", "portal_down_h=since 2026-11-22T11:00:00Z")
    scoped = _ask(
        "portal_down_h=since 2026-11-22T11:00:00Z", "portal_kind=province_news|other", others_known=False
    ).crossings

    assert {crossing.depends_on for crossing in found.crossings} == {()}
    assert [crossing.depends_on for crossing in scoped] == [("portal_kind",), ("portal_kind",)]


def test_a_level_that_rests_on_unconfirmed_figures_alone_says_so() -> None:
    assert _ask("cii_total_min=15").is_provisional
    assert not _ask("cii_total_min=400").is_provisional
    assert not _ask("cii_total_min=15", "personal_records=1000000").is_provisional
    assert not _ask().is_provisional


def test_every_row_has_a_source_and_what_is_unconfirmed_says_what_is_shipped_instead() -> None:
    for pack in PACKS:
        rows = list(pack.rows())
        assert rows
        for row in rows:
            assert pack.sources[row.threshold.source].title
            if row.threshold.status is FigureStatus.UNCONFIRMED:
                assert row.threshold.note is not None, row.id


def test_what_is_written_out_names_rows_figures_and_what_is_missing() -> None:
    written = classification_record(_ask("personal_records=2000000..20000000"))

    assert written["suggested"] == "relatively_major"
    assert written["fired"] == [
        {
            "row": "cac-2025:5:relatively_major",
            "level": "relatively_major",
            "field": "personal_records",
            "unit": "人",
            "at_least": 1000000.0,
            "zh": "泄露公民个人信息",
            "en": "personal information of citizens leaked",
            "source": "annex",
            "status": "confirmed",
            "note_zh": None,
            "note_en": None,
        }
    ]
    assert written["undecided"] == ["cac-2025:5:major"]


def test_levels_and_colours_have_words_and_stay_apart() -> None:
    words = axis_words()

    assert [words.levels[level.word].numeral for level in sorted(EventLevel, reverse=True)] == ["Ⅰ", "Ⅱ", "Ⅲ", "Ⅳ"]
    assert {color.level for color in words.colors.values()} == {level.word for level in EventLevel}


@st.composite
def _worse(draw: st.DrawFn) -> tuple[FactSheet, FactSheet]:
    """A sheet, and one in which an ordered fact is worse or better known at its lower end."""
    facts: dict[str, Fact] = {}
    for name, field in FIELDS.items():
        if field.kind is FieldKind.CHOICE:
            words = draw(st.none() | st.sets(st.sampled_from(field.words), min_size=1))
            if words is not None:
                facts[name] = OneOf(frozenset(words))
            continue
        top = float(len(field.words) - 1) if field.words else 2e8
        values = st.integers(0, int(top)).map(float) if field.words else st.floats(0, top)
        pair = draw(st.none() | st.tuples(values, values))
        if pair is not None:
            facts[name] = Between(min(pair), max(pair))
    changed = draw(st.sampled_from([name for name, field in FIELDS.items() if field.kind is not FieldKind.CHOICE]))
    before = FactSheet(facts)
    found = before.interval(FIELDS[changed], NOW)
    top = float(len(FIELDS[changed].words) - 1) if FIELDS[changed].words else 2e8
    step = draw(st.integers(0, int(top)))
    worse = Between(min(found.low + step, max(top, found.low)), max(found.high, min(found.low + step, top)))
    return before, FactSheet({**facts, changed: worse})


@given(sheets=_worse())
def test_worse_facts_never_lower_a_level(sheets: tuple[FactSheet, FactSheet]) -> None:
    before, after = (classify(PACKS, sheet, NOW) for sheet in sheets)

    assert after.suggested >= before.suggested
    assert before.suggested <= before.highest_possible


@given(sheets=_worse())
def test_what_is_possible_is_reached_or_excluded_once_all_is_known(sheets: tuple[FactSheet, FactSheet]) -> None:
    sheet, _ = sheets
    worst: dict[str, Fact] = {}
    for name, field in FIELDS.items():
        if field.kind is not FieldKind.CHOICE:
            top = sheet.interval(field, NOW).high
            worst[name] = Between(min(top, 1e12), min(top, 1e12))
    found = classify(PACKS, sheet, NOW)
    scopes = {name: fact for name, fact in sheet.facts.items() if isinstance(fact, OneOf)}

    assert classify(PACKS, FactSheet({**worst, **scopes}), NOW).suggested <= found.highest_possible
