"""Grading by the matrix of GB/T 22240-2020."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from govsec.errors import UsageError
from govsec.register.grading import Degree, GradingRules, HarmedObject, grade

LEGAL, SOCIAL, NATION = HarmedObject
GENERAL, SERIOUS, EXTREME = Degree
HARMS = st.dictionaries(st.sampled_from(HarmedObject), st.sampled_from(Degree), min_size=1)


@pytest.mark.parametrize(
    ("harmed", "levels"), [(LEGAL, (1, 2, 2)), (SOCIAL, (2, 3, 4)), (NATION, (3, 4, 5))], ids=lambda value: str(value)
)
def test_the_matrix_is_that_of_the_standard(harmed: HarmedObject, levels: tuple[int, ...]) -> None:
    assert tuple(grade({harmed: degree}, {LEGAL: GENERAL}).s for degree in Degree) == levels


def test_a_system_takes_the_higher_half_and_says_why() -> None:
    found = grade({LEGAL: EXTREME, SOCIAL: GENERAL}, {SOCIAL: SERIOUS})

    assert (str(found), found.level) == ("S2A3", 3)
    english = [reason.en for reason in found.reasons]
    assert "assurance of service: serious damage to social order and public interest means level 3" in english
    assert "level of security of information (S): 2" in english
    assert english[-2:] == [
        "the higher of the two is the level of the system: 3",
        "from level 2 up, expert review, approval by the authority and filing follow",
    ]
    assert any("对社会秩序和公共利益造成严重损害，对应第3级" in reason.zh for reason in found.reasons)


def test_level_1_is_not_filed() -> None:
    found = grade({LEGAL: GENERAL}, {LEGAL: GENERAL})

    assert found.level == 1
    assert not any("filing" in reason.en for reason in found.reasons)


@pytest.mark.parametrize(("information", "service"), [({}, {LEGAL: GENERAL}), ({LEGAL: GENERAL}, {})])
def test_an_empty_half_is_refused_and_not_graded_low(information: dict, service: dict) -> None:
    with pytest.raises(UsageError, match="names nobody"):
        grade(information, service)


@given(HARMS, HARMS, st.sampled_from(HarmedObject), st.sampled_from(Degree))
def test_more_harm_never_lowers_a_level(information: dict, service: dict, harmed: HarmedObject, degree: Degree) -> None:
    before = grade(information, service)
    known = information.get(harmed)
    worse = {**information, harmed: degree if known is None else max(degree, known, key=list(Degree).index)}

    after = grade(worse, service)

    assert after.s >= before.s and after.a == before.a and after.level >= before.level


def test_every_figure_of_the_rules_names_its_source() -> None:
    rules = GradingRules.load()

    assert rules.assessment_months(1) is None
    assert (rules.assessment_months(3), rules.assessment_months(4)) == (12, 12)
    assert all(entry.source.en for entry in (*rules.assessment, *rules.reviews))
    assert rules.review_months("drill") == 12
