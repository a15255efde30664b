"""When a high-risk case counts: the system's level and kind, and the mitigation that was found on the same object."""

from __future__ import annotations

from collections.abc import Sequence

from govsec.datafile import FigureStatus
from govsec.policy.cases import case_findings, danger_candidates, danger_figures
from govsec.policy.catalog import Catalog
from govsec.policy.results import CaseFinding, CaseState, CheckResult, Principle, Verdict
from tests.policy.verdict_samples import attested, result, verdict

EMPTY_PASSWORD, NO_HOT_STANDBY, NO_REMOTE = "6.4.1.1", "6.4.6.2", "6.4.6.3"


def found(results: Sequence[CheckResult], level: int = 3, *, is_available: bool = False) -> tuple[CaseFinding, ...]:
    items = Catalog.load().select(s=level, a=level)
    return case_findings(
        results, items, level=level, high_availability=is_available, key_industry=False, scopes=["general"]
    )


def test_a_case_counts_from_its_level_and_only_for_systems_that_it_is_about() -> None:
    results = [result("c", "fail", case=NO_HOT_STANDBY), result("d", "fail", case=NO_REMOTE)]

    assert [one.case for one in found(results)] == []
    assert [one.case for one in found(results, is_available=True)] == [NO_HOT_STANDBY]
    assert [one.case for one in found(results, 4, is_available=True)] == [NO_HOT_STANDBY, NO_REMOTE]


def test_a_case_names_the_items_of_this_level_its_objects_and_checks() -> None:
    (one,) = found([result("c", "fail", "b", case=EMPTY_PASSWORD), result("c", "fail", "a", case=EMPTY_PASSWORD)])

    assert (one.items, one.objects, one.checks) == (("8.1.4.1.a",), ("a", "b"), ("c",))
    assert one.state is CaseState.OPEN


def test_a_case_is_mitigated_only_when_the_mitigation_passes_on_each_object() -> None:
    hits = [result("c", "fail", host, case=EMPTY_PASSWORD, mitigated_by=["m"]) for host in ("a", "b")]
    elsewhere = [*hits, result("m", "pass", "a"), result("m", "partial", "b")]
    everywhere = [*hits, result("m", "pass", "a"), result("m", "pass", "b")]

    (one,), (other,) = found(elsewhere), found(everywhere)

    assert (one.state, one.objects) == (CaseState.OPEN, ("b",))
    assert (other.state, other.mitigated_by) == (CaseState.MITIGATED, ("m",))


def test_no_check_mitigates_a_case_for_which_the_guide_names_no_mitigation() -> None:
    hits = [result("c", "fail", case=NO_HOT_STANDBY, mitigated_by=["m"]), result("m", "pass")]

    (one,) = found(hits, is_available=True)

    assert one.state is CaseState.OPEN


def test_a_requirement_that_somebody_attests_as_not_met_brings_up_its_case() -> None:
    items = Catalog.load().select(s=3, a=3)
    fire = Catalog.load().by_key("GEN-PES-5-a", 3)
    said = verdict([], item=fire, said=[attested("not_conform", item=fire)])
    assert said.verdict is Verdict.NOT_CONFORM

    (one,) = case_findings(
        [], items, level=3, high_availability=False, key_industry=False, scopes=["general"], verdicts=[said]
    )

    assert one.case == "6.1.2.1"


def test_candidates_are_open_cases_by_the_first_principle_that_points_at_them() -> None:
    many = [result("c", "fail", host, case=EMPTY_PASSWORD) for host in ("a", "b", "d")]
    together = [result("t", "fail", "z", case="6.4.1.2"), result("u", "fail", "z", case="6.4.1.3")]
    alone = [result("v", "fail", "y", case="6.4.2.1")]
    lowered = [result("w", "fail", "x", case="6.4.3.1", mitigated_by=["m"]), result("m", "pass", "x")]

    candidates = danger_candidates(found([*many, *together, *alone, *lowered]))

    assert {one.case: one.principle for one in candidates} == {
        EMPTY_PASSWORD: Principle.HIGH_FREQUENCY,
        "6.4.1.2": Principle.RELEVANCE,
        "6.4.1.3": Principle.RELEVANCE,
        "6.4.2.1": Principle.SEVERITY,
    }
    assert candidates[0].case == EMPTY_PASSWORD


def test_what_counts_as_frequent_is_a_figure_of_the_tables_and_told_with_its_source() -> None:
    least = danger_figures().frequent_objects_min
    assert least.status is not FigureStatus.CONFIRMED, "the letter names none"

    for count in (least.value - 1, least.value):
        hits = [result("c", "fail", f"host-{number}", case=EMPTY_PASSWORD) for number in range(count)]
        (candidate,) = danger_candidates(found(hits))
        assert (candidate.principle is Principle.HIGH_FREQUENCY) == (count == least.value)
    assert least.source.zh in candidate.reason.zh
