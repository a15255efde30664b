"""Figures over verdicts: what counts, what does not, and when no conclusion is drawn."""

from __future__ import annotations

import pytest

from govsec.policy.rate import coverage, rates
from govsec.policy.results import Basis, Status, Verdict
from govsec.policy.run import ItemRow, RateRow
from tests.policy.run_samples import item, result


def many(**counts: int) -> list[ItemRow]:
    items: list[ItemRow] = []
    for verdict, count in counts.items():
        items += [item(len(items) + number, Verdict(verdict)) for number in range(count)]
    return items


def rate(items: list[ItemRow], strategy: str = "rate-2025", *, dangers: int = 0, high_risks: int = 0) -> RateRow:
    return next(row for row in rates(items, dangers=dangers, high_risks=high_risks) if row.strategy == strategy)


def test_a_partial_line_counts_half_and_one_that_does_not_apply_not_at_all() -> None:
    assert rate(many(conform=6, partial=2, not_conform=2, not_applicable=30)).value == 70.0


def test_an_undecided_line_counts_as_not_conform_and_the_best_case_stands_beside_it() -> None:
    row = rate(many(conform=5, undecided=5))

    assert (row.value, row.value_decided, row.value_best) == (50.0, 100.0, 100.0)
    assert row.conclusion == "none"


def test_no_figure_is_given_where_nothing_was_decided() -> None:
    row = rate(many(undecided=10))

    assert (row.value, row.value_best, row.conclusion) == (None, None, "none")


@pytest.mark.parametrize(
    ("items", "dangers", "conclusion"),
    [
        (many(conform=91, not_conform=9), 0, "conform"),
        (many(conform=91, not_conform=9), 1, "basically_conform"),
        (many(conform=90, not_conform=10), 0, "basically_conform"),
        (many(conform=61, not_conform=39), 3, "basically_conform"),
        (many(conform=60, not_conform=40), 0, "not_conform"),
        (many(conform=91, not_conform=8, undecided=1), 0, "conform"),
        (many(conform=90, not_conform=9, undecided=1), 0, "none"),
    ],
)
def test_bands_of_2025_take_the_lower_one_where_the_template_is_silent(
    items: list[ItemRow], dangers: int, conclusion: str
) -> None:
    assert rate(items, dangers=dangers).conclusion == conclusion


def test_the_score_of_2021_counts_two_halves_and_neither_falls_below_nothing() -> None:
    lines = [item(number, Verdict.NOT_CONFORM) for number in range(8)]
    lines += [item(number + 8, Verdict.CONFORM, kind="management") for number in range(2)]

    assert rate(lines, "score-2021").value == 50.0
    assert rate(many(conform=10), "score-2021").value == 100.0


def test_an_open_high_risk_rules_out_every_band_of_2021_but_the_last() -> None:
    assert rate(many(conform=10), "score-2021").conclusion == "excellent"
    assert rate(many(conform=10), "score-2021", high_risks=1).conclusion == "poor"


def test_no_way_of_counting_claims_to_be_confirmed() -> None:
    assert [row.is_confirmed for row in rates(many(conform=1), dangers=0, high_risks=0)] == [False, False]


def test_a_may_line_that_is_not_met_is_no_failure_and_one_that_is_met_counts() -> None:
    unmet = [*many(conform=1), item(9, Verdict.NOT_CONFORM, is_optional=True)]
    met = [*many(not_conform=1), item(9, Verdict.CONFORM, is_optional=True)]

    assert rate(unmet).value == 100.0
    assert rate(met).value == 50.0
    assert coverage(unmet, ()).optional_unmet == 1


def test_coverage_tells_what_the_decided_lines_rest_on() -> None:
    results = (result(), result(Status.ERROR))
    items = [
        item(1, basis=Basis.CHECKS),
        item(2, basis=Basis.EVIDENCE),
        item(3, basis=Basis.ATTESTATION),
        item(4, Verdict.UNDECIDED, results=(0,)),
        item(5, Verdict.UNDECIDED, results=(1,)),
        item(6, Verdict.NOT_APPLICABLE),
    ]
    row = coverage(items, results)

    assert (row.items, row.applicable, row.decided, row.undecided, row.supported) == (6, 5, 3, 2, 1)
    assert (row.by_checks, row.by_evidence, row.by_attestation) == (1, 1, 1)
    assert row.share == 0.6
