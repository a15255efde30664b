"""The launch gate refuses what is not assessed, drilled and trained for, and names everything that is missing."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from govsec.register.launch import LaunchAssessment, LaunchDrill, LaunchRequest, decide, launch_rules
from tests.register.registers import NOW, register, system

ASSESSMENT = LaunchAssessment(
    id="20261120-1",
    time=NOW - timedelta(days=2),
    s=2,
    a=3,
    level=3,
    scopes=("general", "cloud"),
    rate_percent=78.0,
    coverage_percent=88.0,
    is_verified=True,
)
DRILL = LaunchDrill("lost-city", NOW - timedelta(days=20), "pass", is_content_verified=True, is_plan_current=True)


def request(**changes: Any) -> LaunchRequest:
    """A system that is ready: not yet assessed by a licensed body, but by its owner."""
    ready = system(stage="planned", assessment=None, cryptography_assessed="2026-10-01", **changes)
    return LaunchRequest(ready, register(ready), NOW, ASSESSMENT, (DRILL,))


def codes(asked: LaunchRequest) -> list[str]:
    return [missing.code for missing in decide(asked).missing]


def test_a_system_that_is_ready_may_go_into_service() -> None:
    decision = decide(request())

    assert decision.missing == () and decision.advice == ()
    assert decision.is_allowed


def test_a_system_of_which_nothing_is_known_is_refused_with_everything_that_is_missing() -> None:
    from govsec.register.register import Register, System

    bare = System(name="new")
    decision = decide(LaunchRequest(bare, Register(systems=(bare,)), NOW))

    assert not decision.is_allowed
    assert [missing.code for missing in decision.missing] == [
        "launch.register",
        "launch.not_assessed",
        "launch.not_drilled",
        "launch.not_trained",
        "launch.no_plan",
    ]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"time": NOW - timedelta(days=367)}, "launch.not_assessed"),
        ({"time": NOW + timedelta(days=1)}, "launch.not_assessed"),
        ({"level": 2, "s": 2, "a": 2}, "launch.not_assessed"),
        ({"s": 1}, "launch.not_assessed"),
        ({"rate_percent": 59.9}, "launch.assessment_low"),
        ({"rate_percent": None}, "launch.assessment_no_rate"),
        ({"coverage_percent": 59.9}, "launch.assessment_coverage"),
        ({"scopes": ("general",)}, "launch.assessment_narrow"),
        ({"silent_hosts": ("web-2",)}, "launch.assessment_hosts"),
        ({"is_unlisted": True}, "launch.assessment_unlisted"),
        ({"is_verified": False}, "launch.assessment_flawed"),
        ({"high_risk": ("6.4.1.1",)}, "launch.high_risk"),
    ],
    ids=str,
)
def test_an_assessment_that_does_not_carry_a_launch_is_named(changes: dict[str, Any], code: str) -> None:
    assert codes(replace(request(), assessment=replace(ASSESSMENT, **changes))) == [code]


@pytest.mark.parametrize(
    ("drills", "code"),
    [
        ((), "launch.not_drilled"),
        ((replace(DRILL, time=NOW - timedelta(days=366)),), "launch.not_drilled"),
        ((replace(DRILL, time=NOW + timedelta(hours=1)),), "launch.not_drilled"),
        ((replace(DRILL, verdict="partial"),), "launch.drill_not_passed"),
        ((replace(DRILL, is_content_verified=False),), "launch.drill_not_passed"),
        ((replace(DRILL, is_plan_current=False),), "launch.drill_plan_changed"),
    ],
)
def test_a_drill_that_proves_nothing_is_named(drills: tuple[LaunchDrill, ...], code: str) -> None:
    assert codes(replace(request(), drills=drills)) == [code]


def test_one_good_drill_among_bad_ones_is_enough() -> None:
    assert codes(replace(request(), drills=(replace(DRILL, verdict="fail"), DRILL))) == []


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"filing": None}, "launch.filing"),
        ({"owner": ""}, "launch.register"),
        ({"training": [{"held": "2025-11-01"}]}, "launch.not_trained"),
        ({"training": [{"held": "2027-01-01"}]}, "register.date_in_future"),
        ({"plan": {"version": "1", "reviewed": "2025-01-01"}}, "launch.plan_old"),
        ({"data": [{"name": "d", "level": "important"}]}, "register.data_without_backup"),
        ({"platform": {"name": "c", "level": 2}}, "register.platform_below"),
    ],
    ids=str,
)
def test_what_the_register_lacks_is_named(changes: dict[str, Any], code: str) -> None:
    found = codes(request(**changes))

    assert code in found
    assert set(found) <= {code, "launch.not_trained"}  # a training to come is no training


def test_a_licensed_body_replaces_the_self_assessment_until_something_turns_up() -> None:
    asked = request()
    licensed = system(stage="planned", assessment={"held": "2026-11-01"}, cryptography_assessed="2026-10-01")
    asked = replace(asked, system=licensed, assessment=None)

    assert codes(asked) == []
    assert codes(replace(asked, assessment=replace(ASSESSMENT, high_risk=("6.4.1.1",)))) == ["launch.high_risk"]


def test_cryptography_is_advised_from_level_3_and_closes_no_gate() -> None:
    planned = system(stage="planned", assessment=None)
    decision = decide(replace(request(), system=planned))

    assert decision.is_allowed
    assert [advice.code for advice in decision.advice] == ["launch.cryptography"]


def test_a_reason_carries_its_figures_and_words_in_both_languages() -> None:
    (missing,) = decide(replace(request(), assessment=replace(ASSESSMENT, rate_percent=41.27))).missing

    assert missing.facts == {"id": "20261120-1", "rate_percent": 41.3, "rate_percent_min": 60}
    assert missing.text.en == "the last self-assessment 20261120-1 has a rate of 41.3 %, below 60 %"
    assert "41.3%" in missing.text.zh and "{" not in missing.text.zh


def test_every_figure_of_the_gate_names_its_source() -> None:
    rules = launch_rules()
    figures = [getattr(rules, name) for name in type(rules).model_fields if name != "version"]

    assert len(figures) == 6 and all(figure.source.zh and figure.source.en for figure in figures)


@given(st.sets(st.sampled_from(["assessment", "drills", "training", "plan", "filing", "data"]), min_size=1))
def test_taking_anything_away_never_opens_the_gate(taken: set[str]) -> None:
    empty: dict[str, Any] = {"training": [], "plan": None, "filing": None, "data": []}
    asked = request(**{name: empty[name] for name in taken if name in empty})
    if "assessment" in taken:
        asked = replace(asked, assessment=None)
    if "drills" in taken:
        asked = replace(asked, drills=())

    assert not decide(asked).is_allowed
    assert len(decide(asked).missing) >= len(taken)
