"""What results, evidence and people's words make of a requirement, and what they never make of it."""

from __future__ import annotations

import itertools

import pytest

from govsec.policy.attest import Record
from govsec.policy.results import Basis, Status, Verdict, Words
from tests.policy.verdict_samples import KEY, attested, result, verdict, waived


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        (["pass", "pass"], Verdict.CONFORM),
        (["pass", "notapplicable"], Verdict.CONFORM),
        (["pass", "partial"], Verdict.PARTIAL),
        (["pass", "fail"], Verdict.NOT_CONFORM),
        (["partial", "fail"], Verdict.NOT_CONFORM),
        (["pass", "error"], Verdict.UNDECIDED),
        (["partial", "error"], Verdict.UNDECIDED),
        (["pass", "unknown"], Verdict.UNDECIDED),
        (["error", "fail"], Verdict.NOT_CONFORM),
        (["notapplicable", "notapplicable"], Verdict.UNDECIDED),
    ],
)
def test_the_worst_host_decides(statuses: list[str], expected: Verdict) -> None:
    hosts = ["a", "b"]
    results = [result("c", status, host) for status, host in zip(statuses, hosts, strict=True)]

    found = verdict(results, ["c"], hosts=hosts)

    assert found.verdict is expected
    assert found.results == (0, 1)


def test_no_combination_of_results_is_conform_unless_every_decider_passed_or_does_not_apply() -> None:
    """All combinations of two deciders and a supporter on two hosts, with and without a word for it."""
    hosts = ["a", "b"]
    conform = 0
    for statuses in itertools.product(Status, repeat=4):
        results = [result(check, next_, host) for (check, host), next_ in zip(_PAIRS, statuses, strict=True)]
        for said in ((), (attested("conform"),)):
            found = verdict(results, ["d"], ["s"], hosts=hosts, said=said)
            decided, supported = statuses[:2], statuses[2:]
            if found.verdict is Verdict.CONFORM:
                conform += 1
                assert {Status.FAIL, Status.PARTIAL, Status.ERROR, Status.UNKNOWN}.isdisjoint(decided)
                assert Status.FAIL not in supported
                assert Status.PASS in decided or said
    assert conform > 0


_PAIRS = [("d", "a"), ("d", "b"), ("s", "a"), ("s", "b")]


def test_a_host_without_a_result_could_not_be_looked_at() -> None:
    found = verdict([result("c", "pass", "a")], ["c"], hosts=["a", "b"])

    assert found.verdict is Verdict.UNDECIDED
    assert "b" in found.reasons[0].en


def test_checks_that_never_ran_leave_it_undecided() -> None:
    assert verdict([], ["c"], hosts=["a"]).verdict is Verdict.UNDECIDED


@pytest.mark.parametrize(
    ("statuses", "expected", "basis"),
    [
        (["pass", "pass"], Verdict.UNDECIDED, Basis.NONE),
        (["fail", "fail"], Verdict.NOT_CONFORM, Basis.CHECKS),
        (["fail", "pass"], Verdict.PARTIAL, Basis.CHECKS),
        (["partial", "error"], Verdict.PARTIAL, Basis.CHECKS),
        (["fail", "error"], Verdict.NOT_CONFORM, Basis.CHECKS),
        (["notapplicable", "pass"], Verdict.UNDECIDED, Basis.NONE),
    ],
)
def test_supporting_checks_show_what_is_wrong_and_never_make_it_conform(
    statuses: list[str], expected: Verdict, basis: Basis
) -> None:
    results = [result(f"s{position}", status) for position, status in enumerate(statuses)]

    found = verdict(results, supports=["s0", "s1"])

    assert (found.verdict, found.basis) == (expected, basis)


@pytest.mark.parametrize("status", ["pass", "partial", "fail", "error", "unknown", "notapplicable"])
def test_a_check_that_only_informs_is_shown_and_moves_nothing(status: str) -> None:
    alone = verdict([result("i", status)], informs=["i"])
    beside = verdict([result("d", "pass"), result("i", status)], ["d"], informs=["i"])
    word = verdict([result("i", status)], informs=["i"], said=[attested("conform")])

    assert (alone.verdict, alone.basis) == (Verdict.UNDECIDED, Basis.NONE)
    assert alone.results == (0,)
    assert (beside.verdict, beside.original) == (Verdict.CONFORM, None)
    assert (word.verdict, word.basis) == (Verdict.CONFORM, Basis.ATTESTATION)


def test_a_failing_supporter_turns_conform_into_partial_and_the_first_verdict_stays_visible() -> None:
    found = verdict([result("d", "pass"), result("s", "fail")], ["d"], ["s"])

    assert (found.verdict, found.original) == (Verdict.PARTIAL, Verdict.CONFORM)


def test_an_attestation_speaks_where_no_check_decides() -> None:
    found = verdict([result("s", "pass")], supports=["s"], said=[attested("conform")])

    assert (found.verdict, found.basis, found.original) == (Verdict.CONFORM, Basis.ATTESTATION, Verdict.UNDECIDED)
    assert found.attestation == "id-conform"


def test_an_attestation_makes_it_not_applicable_where_deciders_do_not_apply() -> None:
    found = verdict([result("d", "notapplicable")], ["d"], said=[attested("not_applicable")])

    assert (found.verdict, found.basis) == (Verdict.NOT_APPLICABLE, Basis.ATTESTATION)


@pytest.mark.parametrize("status", ["error", "unknown", "fail", "partial"])
@pytest.mark.parametrize("word", ["conform", "partial", "not_applicable"])
def test_no_attestation_lifts_what_a_decider_found_or_could_not_see(status: str, word: str) -> None:
    without = verdict([result("d", status)], ["d"])
    found = verdict([result("d", status)], ["d"], said=[attested(word)])

    assert found.verdict is without.verdict


def test_an_attestation_that_something_is_wrong_is_always_believed() -> None:
    found = verdict([result("d", "pass")], ["d"], said=[attested("not_conform", objects=["a"])], hosts=["a", "b"])

    assert found.verdict is Verdict.NOT_CONFORM


def test_of_two_attestations_the_worse_counts() -> None:
    assert verdict([], said=[attested("conform"), attested("partial")]).verdict is Verdict.PARTIAL


def test_an_attestation_against_a_failing_check_is_partial_at_most() -> None:
    found = verdict([result("s", "fail")], supports=["s"], said=[attested("conform")])

    assert (found.verdict, found.original) == (Verdict.PARTIAL, Verdict.NOT_CONFORM)


def test_an_attestation_for_some_hosts_does_not_speak_for_all() -> None:
    one, other = attested("conform", objects=["a"]), attested("conform", objects=["b"])

    assert verdict([], said=[one], hosts=["a", "b"]).verdict is Verdict.UNDECIDED
    assert verdict([], said=[one, other], hosts=["a", "b"]).verdict is Verdict.CONFORM


@pytest.mark.parametrize("record", [attested("conform", days=50), attested("conform", is_approved=False)])
def test_an_attestation_that_has_ended_or_that_nobody_approved_counts_for_nothing(record: object) -> None:
    found = verdict([], said=[record])  # type: ignore[list-item]

    assert (found.verdict, found.basis) == (Verdict.UNDECIDED, Basis.NONE)
    assert any("attestation" in reason.en for reason in found.reasons)


def test_own_evidence_decides_and_may_say_that_a_line_does_not_apply() -> None:
    passed = verdict([result("e", "pass", "portal")], ["e"], evidence=["e"])
    none = verdict([result("e", "notapplicable", "portal")], ["e"], evidence=["e"])

    assert (passed.verdict, passed.basis) == (Verdict.CONFORM, Basis.EVIDENCE)
    assert (none.verdict, none.basis) == (Verdict.NOT_APPLICABLE, Basis.EVIDENCE)


def test_a_compensating_control_lifts_to_partial_where_it_holds_on_every_object_that_failed() -> None:
    results = [result("d", "fail", "a"), result("d", "fail", "b"), result("x", "pass", "a", helps=KEY)]
    half = verdict(results, ["d"], hosts=["a", "b"])
    whole = verdict([*results, result("x", "pass", "b", helps=KEY)], ["d"], hosts=["a", "b"])

    assert half.verdict is Verdict.NOT_CONFORM
    assert (whole.verdict, whole.original) == (Verdict.PARTIAL, Verdict.NOT_CONFORM)


def test_a_waiver_is_named_and_changes_no_verdict() -> None:
    results = [result("d", "fail")]

    assert verdict(results, ["d"], let_pass=[waived("d")]).waiver == "id-waiver"
    assert verdict(results, ["d"], let_pass=[waived("d")]).verdict is Verdict.NOT_CONFORM
    assert verdict(results, ["d"], let_pass=[waived("d", objects=["b"])]).waiver is None
    assert verdict(results, ["d"], let_pass=[waived("d", days=50)]).waiver is None
    assert verdict([result("d", "pass")], ["d"], let_pass=[waived("d")]).waiver is None


GAP = Words(zh="只看了一部分", en="a part")


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("pass", Verdict.UNDECIDED),
        ("partial", Verdict.UNDECIDED),
        ("fail", Verdict.NOT_CONFORM),
        ("notapplicable", Verdict.UNDECIDED),
    ],
)
def test_a_part_of_a_system_can_fail_for_all_of_it_and_never_conform(status: str, expected: Verdict) -> None:
    found = verdict([result("c", status)], ["c"], gap=GAP)

    assert found.verdict is expected
    if status in ("pass", "partial"):
        assert GAP in found.reasons
        assert found.basis is Basis.NONE


def test_nobodys_word_makes_a_part_the_whole() -> None:
    for said in (attested("conform"), attested("conform", objects=["a"])):
        assert verdict([result("c", "pass")], ["c"], said=[said], gap=GAP).verdict is Verdict.UNDECIDED
    # A requirement that no host decides is a person's to attest, for the whole system and not for some hosts.
    assert verdict([], said=[attested("conform")], gap=GAP).verdict is Verdict.CONFORM
    assert verdict([], said=[attested("conform", objects=["a"])], gap=GAP).verdict is Verdict.UNDECIDED


def test_govsecs_own_evidence_is_of_the_whole_system_whatever_hosts_were_asked() -> None:
    assert verdict([result("e", "pass")], ["e"], evidence=["e"], gap=GAP).verdict is Verdict.CONFORM


MORE = Words(zh="可能还有", en="there may be others")


@pytest.mark.parametrize(
    ("status", "said", "expected"),
    [
        ("pass", (), Verdict.UNDECIDED),
        ("partial", (), Verdict.UNDECIDED),
        ("fail", (), Verdict.NOT_CONFORM),
        ("error", (), Verdict.UNDECIDED),
        ("error", (attested("conform"),), Verdict.UNDECIDED),
        ("pass", (attested("conform"),), Verdict.CONFORM),
        ("fail", (attested("conform"),), Verdict.NOT_CONFORM),
    ],
)
def test_what_there_may_be_beside_the_objects_of_a_check_is_for_a_person(
    status: str, said: tuple[Record, ...], expected: Verdict
) -> None:
    found = verdict([result("c", status)], ["c"], said=said, others={"c": MORE})

    assert found.verdict is expected
    assert (MORE in found.reasons) is (status in ("pass", "partial"))


def test_a_check_that_applies_to_no_host_leaves_nothing_open_that_was_not() -> None:
    found = verdict([result("c", "notapplicable")], ["c"], others={"c": MORE})

    assert (found.verdict, MORE in found.reasons) == (Verdict.UNDECIDED, False)
