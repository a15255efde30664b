"""Facts: their written form, and what they leave open."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from govsec.errors import UsageError
from govsec.incident.facts import (
    Between,
    Fact,
    Field,
    FieldKind,
    OneOf,
    Since,
    format_fact,
    parse_fact,
    parse_facts,
)
from govsec.incident.rulepack import fields_of, shipped_packs

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
HOURS = Field("portal_down_h", FieldKind.DURATION, "h")
PEOPLE = Field("personal_records", FieldKind.QUANTITY, "人")
THREAT = Field("data_threat", FieldKind.DEGREE, "", ("none", "serious", "very_serious"))
PORTAL = Field("portal_kind", FieldKind.CHOICE, "", ("county", "other", "province"))
FIELDS = {field.name: field for field in (HOURS, PEOPLE, THREAT, PORTAL)}

_moments = st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC))
_numbers = st.integers(0, 10**9).map(float) | st.decimals(0, 10**6, places=3).map(float)


def _ranges(numbers: st.SearchStrategy[float]) -> st.SearchStrategy[Fact]:
    return st.tuples(numbers, numbers | st.just(math.inf)).map(lambda pair: Between(min(pair), max(pair)))


def _since(pair: tuple[datetime, datetime | None]) -> Since:
    start, end = pair
    return Since(start, end if end is None or end >= start else None)


_facts = st.one_of(
    st.tuples(st.just(HOURS), _ranges(_numbers)),
    st.tuples(st.just(HOURS), st.tuples(_moments, st.none() | _moments).map(_since)),
    st.tuples(st.just(PEOPLE), _ranges(_numbers)),
    st.tuples(st.just(THREAT), st.sampled_from([Between(0, 2), Between(1, 1), Between(1, 2)])),
    st.tuples(st.just(PORTAL), st.sets(st.sampled_from(PORTAL.words), min_size=1).map(lambda w: OneOf(frozenset(w)))),
)


@given(pair=_facts)
def test_a_fact_that_is_written_down_is_read_back_as_it_was(pair: tuple[Field, Fact]) -> None:
    field, fact = pair

    assert parse_fact(field, format_fact(field, fact)) == fact


@pytest.mark.parametrize(
    ("line", "fact"),
    [
        ("portal_down_h=3", Between(3, 3)),
        ("portal_down_h=2..6", Between(2, 6)),
        ("portal_down_h=2..", Between(2, math.inf)),
        ("portal_down_h=..6", Between(0, 6)),
        ("data_threat=serious..", Between(1, 2)),
        ("portal_kind=county|other", OneOf(frozenset({"county", "other"}))),
        ("portal_down_h=since 2026-11-22T09:40:00+08:00", Since(datetime(2026, 11, 22, 1, 40, tzinfo=UTC))),
    ],
)
def test_every_written_form_is_understood(line: str, fact: Fact) -> None:
    name = line.partition("=")[0]

    assert parse_facts([line], FIELDS).facts == {name: fact}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("portal_down_h", "FIELD=VALUE"),
        ("unheard_of=3", "FIELD=VALUE"),
        ("portal_down_h=-1", "no number"),
        ("portal_down_h=nan", "no number"),
        ("portal_down_h=1e400", "no number"),
        ("portal_down_h=", "no number"),
        ("portal_down_h=6..2", "ends before it begins"),
        ("portal_down_h=since yesterday", "portal_down_h"),
        ("portal_down_h=since 2026-11-22T09:40:00", "zone"),
        ("portal_down_h=since 2026-11-22T09:40:00Z until 2026-11-22T09:00:00Z", "ends before it begins"),
        ("personal_records=since 2026-11-22T09:40:00Z", "only a duration"),
        ("data_threat=huge", "none of"),
        ("portal_kind=county|ministry", "none of"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_name(line: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        parse_facts([line], FIELDS)


def test_a_field_that_is_said_twice_is_refused() -> None:
    with pytest.raises(UsageError, match="said twice"):
        parse_facts(["portal_down_h=1", "portal_down_h=2"], FIELDS)


def test_what_is_unknown_is_never_zero() -> None:
    sheet = parse_facts(["portal_down_h=unknown"], FIELDS)

    assert sheet.interval(HOURS, NOW) == Between(0, math.inf)
    assert sheet.interval(THREAT, NOW) == Between(0, 2)
    assert sheet.choices(PORTAL) == frozenset(PORTAL.words)


def test_a_duration_grows_until_it_ends() -> None:
    start = NOW - timedelta(hours=3)
    growing = parse_facts([f"portal_down_h=since {start.isoformat()}"], FIELDS)
    ended = parse_facts([f"portal_down_h=since {start.isoformat()} until {NOW.isoformat()}"], FIELDS)
    later = NOW + timedelta(hours=5)

    assert growing.interval(HOURS, later) == Between(8, 8)
    assert ended.interval(HOURS, later) == Between(3, 3)
    assert growing.interval(HOURS, start - timedelta(hours=1)) == Between(0, 0)
    assert (growing.growing_since(HOURS), ended.growing_since(HOURS)) == (start, None)


def test_the_shipped_packs_mean_the_same_by_the_same_name() -> None:
    fields = fields_of(shipped_packs())

    assert fields["cii_total_min"].step == timedelta(minutes=1)
    assert fields["system_loss"].words[-1] == "paralysed"
