"""From facts to results: what a check's answers amount to, and that what could not be looked at is never a pass."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import JsonValue

from govsec.clock import SystemClock
from govsec.collect.facts import Facts, OutcomeStatus, Platform, ProbeOutcome, load_facts
from govsec.errors import ConfigurationError
from govsec.policy.expressions import Expressions
from govsec.policy.judge import FACT_SIZE_MAX, Judge, levels_of
from govsec.policy.pack import Pack
from govsec.policy.results import CheckResult, Status
from govsec.registerentry import HostRole
from tests.policy.pack_samples import CHECK, GOOD, read, write_pack


@pytest.fixture(scope="module")
def child() -> Iterator[Expressions]:
    with Expressions(SystemClock()) as expressions:
        yield expressions


@pytest.fixture
def pack(tmp_path: Path, child: Expressions) -> Pack:
    return read(write_pack(tmp_path), child)


def facts(pack: Pack, value: JsonValue = None, *, status: OutcomeStatus = "ok", os_id: str = "debian") -> Facts:
    probe = pack.checks[0].probes["lock"]
    outcome = ProbeOutcome(kind=probe.kind, status=status, value=value if status == "ok" else None, reason="because")
    return Facts(
        host="a",
        collected=datetime(2026, 1, 1, tzinfo=UTC),
        collector="test",
        platform=Platform(os_id=os_id),
        outcomes={probe.identity: outcome},
    )


def judged(pack: Pack, child: Expressions, given: Facts, level: int = 3, **parameters: JsonValue) -> CheckResult:
    overrides = {"small-lock": parameters} if parameters else None
    (result,) = Judge([pack], child, levels={"small-lock": level}, parameters=overrides).judge(given)
    return result


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, Status.PASS),
        ({"root": False}, Status.PARTIAL),
        ({"deny": 9, "root": False}, Status.FAIL),
        ({"truncated": True}, Status.UNKNOWN),
        ({"truncated": True, "root": False}, Status.PARTIAL),
        ({"deny": "4"}, Status.ERROR),
        ({"deny": None}, Status.ERROR),
        ({"root": "yes"}, Status.ERROR),
        ({"truncated": 1}, Status.ERROR),
    ],
)
def test_claims_make_the_status(pack: Pack, child: Expressions, change: dict[str, JsonValue], expected: Status) -> None:
    assert judged(pack, child, facts(pack, {**GOOD, **change})).status is expected


@pytest.mark.parametrize("missing", ["deny", "root", "truncated"])
def test_a_missing_fact_is_an_error(pack: Pack, child: Expressions, missing: str) -> None:
    result = judged(pack, child, facts(pack, {name: value for name, value in GOOD.items() if name != missing}))

    assert result.status is Status.ERROR
    assert result.reason is not None
    assert missing in result.reason.en


@pytest.mark.parametrize("status", ["denied", "timeout", "error"])
def test_a_probe_that_could_not_look_is_an_error_that_says_why(
    pack: Pack, child: Expressions, status: OutcomeStatus
) -> None:
    result = judged(pack, child, facts(pack, status=status))

    assert result.status is Status.ERROR
    assert result.reason is not None
    assert f"{status}: because" in result.reason.en
    assert [one.holds for one in result.expectations] == [None, None]


def test_facts_without_the_probe_are_an_error(pack: Pack, child: Expressions) -> None:
    result = judged(pack, child, facts(pack, GOOD).model_copy(update={"outcomes": {}}))

    assert result.status is Status.ERROR


def test_absence_means_what_the_check_says(pack: Pack, child: Expressions, tmp_path: Path) -> None:
    absent = facts(pack, status="absent")

    assert judged(pack, child, absent).status is Status.FAIL
    for means, expected in (("pass", Status.PASS), ("notapplicable", Status.NOT_APPLICABLE), ("as_null", Status.ERROR)):
        other = read(write_pack(tmp_path / means, check=CHECK.replace("means: fail", f"means: {means}")), child)
        assert judged(other, child, absent).status is expected
    silent = CHECK.replace("  absent: {lock: {means: fail, reason: {zh: 没有, en: none}}}\n", "")
    assert judged(read(write_pack(tmp_path / "silent", check=silent), child), child, absent).status is Status.ERROR


def test_a_condition_that_is_false_makes_it_not_applicable_whatever_the_probes_say(
    pack: Pack, child: Expressions
) -> None:
    result = judged(pack, child, facts(pack, status="error", os_id="plan9"))

    assert result.status is Status.NOT_APPLICABLE
    assert result.reason is not None
    assert result.reason.en == "another system"


def test_absence_that_makes_it_not_applicable_comes_before_conditions_that_read_the_probe(
    tmp_path: Path, child: Expressions
) -> None:
    check = CHECK.replace('cel: platform.os_id != "plan9"', "cel: lock.deny > 0")
    pack = read(write_pack(tmp_path, check=check.replace("means: fail", "means: notapplicable")), child)

    assert judged(pack, child, facts(pack, status="absent")).status is Status.NOT_APPLICABLE
    assert judged(pack, child, facts(pack, status="denied")).status is Status.ERROR


def test_parameters_follow_the_level_and_a_site_may_set_them(pack: Pack, child: Expressions) -> None:
    given = facts(pack, GOOD)  # deny 4: within 5 at level 3, over 3 at level 4

    assert judged(pack, child, given, 3).status is Status.PASS
    assert judged(pack, child, given, 4).status is Status.PARTIAL
    assert judged(pack, child, given, 4, tries_max=4).status is Status.PASS
    for wrong in ({"tries_max": "4"}, {"tries_max": True}, {"other": 4}):
        with pytest.raises(ConfigurationError, match="small-lock"):
            judged(pack, child, given, 4, **wrong)
    with pytest.raises(ConfigurationError, match="no check nothing"):
        Judge([pack], child, levels={"small-lock": 3}, parameters={"nothing": {}})


def test_a_high_risk_case_is_hit_by_its_own_condition(pack: Pack, child: Expressions) -> None:
    hit = judged(pack, child, facts(pack, {**GOOD, "deny": 0}))
    none = judged(pack, child, facts(pack, {**GOOD, "deny": 9, "root": False}))

    assert [(one.case, one.mitigated_by) for one in hit.high_risk] == [("6.4.1.1", ("small-lock",))]
    assert none.high_risk == ()


def test_the_level_of_a_check_is_the_highest_of_the_lines_it_speaks_to(pack: Pack) -> None:
    assert levels_of(pack.checks, {"GEN-CES-1-b": 2}, 3) == {"small-lock": 2}
    assert levels_of(pack.checks, {}, 3) == {"small-lock": 3}


@pytest.mark.parametrize("forged", [{"effective": [4]}, {"services": {"sshd": 1}}, {"module": {"a": 1}}, ["deny"]])
def test_a_fact_that_is_built_as_no_probe_builds_it_is_an_error(
    pack: Pack, child: Expressions, forged: JsonValue
) -> None:
    value = {**GOOD, **forged} if isinstance(forged, dict) else forged

    result = judged(pack, child, facts(pack, value))

    assert result.status is Status.ERROR
    assert result.reason is not None and "as no probe builds it" in result.reason.en


def test_a_fact_that_is_larger_than_any_honest_one_is_an_error(pack: Pack, child: Expressions) -> None:
    result = judged(pack, child, facts(pack, {**GOOD, "more": "x" * FACT_SIZE_MAX}))

    assert result.status is Status.ERROR
    assert result.reason is not None
    assert "larger than" in result.reason.en


def test_a_check_that_is_cut_on_three_hosts_is_not_tried_on_the_next(tmp_path: Path, child: Expressions) -> None:
    bomb = "'lock.l.all(x, lock.l.all(y, lock.l.all(z, x + y + z >= 0)))'"
    pack = read(write_pack(tmp_path, check=CHECK.replace("cel: lock.root,", f"cel: {bomb},")), child)
    judge = Judge([pack], child, levels={"small-lock": 3})
    given = facts(pack, {**GOOD, "l": list(range(1000))})

    reasons = [result.reason.en for _ in range(4) for result in judge.judge(given) if result.reason]

    assert [("cut: " in reason) for reason in reasons] == [True, True, True, False]
    assert "cut on 3 hosts" in reasons[3]


def test_a_host_that_gave_nothing_gives_errors(pack: Pack, child: Expressions) -> None:
    (result,) = Judge([pack], child, levels={"small-lock": 3}).unreachable("a", "no route")

    assert (result.status, result.object) == (Status.ERROR, "a")


def test_the_same_facts_give_the_same_results_from_disk(pack: Pack, child: Expressions) -> None:
    given = facts(pack, {**GOOD, "root": False})

    assert judged(pack, child, load_facts(given.dump())) == judged(pack, child, given)


def test_a_fleet_is_judged_as_its_hosts_are_one_by_one_each_at_its_own_time(tmp_path: Path) -> None:
    """Facts of ten days, of which the first four are early enough; two children, batches of four."""
    early = 'cel: lock.root && now < timestamp("2026-01-05T00:00:00Z"),'
    text = CHECK.replace("cel: lock.root,", early)
    with Expressions(SystemClock(), children_count=2) as both:
        pack = read(write_pack(tmp_path, check=text), both)
        fleet = [
            facts(pack, {**GOOD, "deny": 3 + number}).model_copy(
                update={"host": f"web-{number}", "collected": datetime(2026, 1, 1 + number, tzinfo=UTC)}
            )
            for number in range(10)
        ]
        judge = Judge([pack], both, levels={"small-lock": 3})

        together = list(judge.judge_each(fleet))

        assert together == [judge.judge(one) for one in fleet]
    assert [result.object for (result,) in together] == [f"web-{number}" for number in range(10)]
    expected = ["pass"] * 3 + ["partial"] + ["fail"] * 6
    assert [result.status.value for (result,) in together] == expected
    assert list(judge.judge_each([])) == []


@pytest.mark.parametrize("role", list(HostRole))
def test_a_check_for_hosts_of_a_role_applies_to_no_other_one(
    tmp_path: Path, child: Expressions, role: HostRole
) -> None:
    text = CHECK.replace("  applies:", f"  hosts: {role.value}\n  applies:")
    pack = read(write_pack(tmp_path, check=text), child)

    def status(hosts_of: dict[HostRole, tuple[str, ...]] | None) -> Status:
        judge = Judge([pack], child, levels={"small-lock": 3}, hosts_of=hosts_of)
        assert judge.unreachable("a", "no route")[0].status is (
            Status.ERROR if hosts_of and "a" in hosts_of.get(role, ()) else Status.NOT_APPLICABLE
        )
        return judge.judge(facts(pack, GOOD))[0].status

    assert status({role: ("b", "a")}) is Status.PASS
    assert status({role: ("b",)}) is Status.NOT_APPLICABLE
    assert status({other: ("a",) for other in HostRole if other is not role}) is Status.NOT_APPLICABLE
    assert status(None) is Status.NOT_APPLICABLE
