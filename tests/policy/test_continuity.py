"""Backup and emergency items by govsec's own record: everything in order passes, every spoiled thing is seen."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from govsec.policy.catalog import Catalog
from govsec.policy.continuity import continuity_checks, continuity_evidence, judge_continuity
from govsec.policy.continuityfacts import ContinuityFacts, percentile_95
from govsec.policy.continuityjudges import JUDGES
from govsec.policy.continuitytable import continuity_table
from govsec.policy.results import Status
from tests.policy.continuity_samples import NOW, center, drill, facts, lag, with_center


def statuses(given: ContinuityFacts) -> dict[str, str]:
    judged = judge_continuity(given, is_cloud=True)
    return {one.result.check.removeprefix("continuity."): one.result.status.value for one in judged}


def cases(given: ContinuityFacts) -> set[str]:
    return {hit.case for one in judge_continuity(given, is_cloud=True) for hit in one.result.high_risk}


def test_a_system_with_everything_in_order_passes_every_check() -> None:
    assert set(statuses(facts()).values()) == {"pass"}
    assert cases(facts()) == set()


def test_every_check_of_the_table_is_judged_and_maps_lines_of_the_catalog() -> None:
    checks = continuity_checks()

    assert set(JUDGES) == set(checks)
    keys = Catalog.load().keys
    assert {key for check in checks.values() for key in check.maps} <= keys
    for check in continuity_table().checks:
        for names in check.cases.values():
            assert set(names) <= set(check.expectations), check.id


@pytest.mark.parametrize(
    ("spoiled", "check", "status"),
    [
        # Local backup and restore (8.1.4.9.a)
        (facts(jobs=()), "local-restore", "fail"),
        (facts(drills=()), "local-restore", "fail"),
        (facts(drills=(drill(91),)), "local-restore", "fail"),
        (facts(drills=(drill(91),), level=2), "local-restore", "pass"),
        (facts(drills=(drill(-1),)), "local-restore", "fail"),
        (facts(drills=(drill(verdict="fail"),)), "local-restore", "fail"),
        (facts(drills=(drill(is_content_verified=False),)), "local-restore", "partial"),
        (facts(drills=(drill(verdict="partial"),)), "local-restore", "partial"),
        (facts(drills=(drill(5, verdict="fail"), drill(10))), "local-restore", "fail"),
        (facts(drills=None), "local-restore", "error"),
        (facts(rpo_s=60), "local-restore", "partial"),
        (facts(snapshots=(NOW - timedelta(hours=9), NOW - timedelta(minutes=3))), "local-restore", "partial"),
        (facts(centers=()), "local-restore", "error"),
        # Remote copy (8.1.4.9.b; 7.1.4.8.b asks for scheduled copies)
        (facts(centers=(center("main", "production"),)), "remote-copy", "fail"),
        (with_center("remote", site="site of main"), "remote-copy", "fail"),
        (with_center("remote", site=""), "remote-copy", "error"),
        (with_center("remote", error="no answer", newest=None), "remote-copy", "error"),
        (with_center("remote", newest=None), "remote-copy", "fail"),
        (with_center("remote", newest=NOW - timedelta(hours=2)), "remote-copy", "fail"),
        (facts(snapshots=(NOW - timedelta(minutes=30), NOW)), "remote-copy", "partial"),
        (facts(snapshots=(NOW - timedelta(minutes=30), NOW), level=2), "remote-copy", "pass"),
        (facts(lags_s=(20.0,) * 30 + (4000.0,) * 11), "remote-copy", "partial"),
        (facts(lags_s=()), "remote-copy", "partial"),
        (facts(lags_s=None), "remote-copy", "error"),
        # Where lag was measured and signed, that decides: what the commits alone would say no longer does.
        (facts(lag=lag(), lags_s=None), "remote-copy", "pass"),
        (facts(lag=lag(since=NOW - timedelta(hours=5))), "remote-copy", "partial"),
        (facts(lag=lag(covered_share=0.9)), "remote-copy", "partial"),
        (facts(lag=lag(until=NOW - timedelta(hours=2))), "remote-copy", "partial"),
        (facts(lag=lag(gap_p95_s=1000.0)), "remote-copy", "partial"),
        (facts(lag=lag(p95_s=400.0)), "remote-copy", "partial"),
        (facts(lag=lag(snapshots_count=3)), "remote-copy", "partial"),
        # The others, each by what it guards against
        (facts(drills=(drill(restore_time_s=900.0),)), "redundancy", "partial"),
        (facts(drills=(drill(passed=frozenset({"restore"})),)), "site-switch", "partial"),
        (facts(drills=(drill(restored_from="near"),)), "site-switch", "fail"),
        (facts(data_classes=(("permits", "files"), ("photos", ""))), "backup-scope", "partial"),
        (facts(data_classes=(("photos", "nowhere"),)), "backup-scope", "fail"),
        (facts(data_classes=()), "backup-scope", "fail"),
        (facts(is_rpo_set=False), "backup-method", "partial"),
        (facts(is_rto_set=False), "strategy", "partial"),
        (facts(plans=()), "strategy", "fail"),
        (facts(drills=(drill(is_plan_current=False),)), "strategy", "partial"),
        (facts(plans=(), has_emergency_plan=False), "emergency-plan", "fail"),
        (facts(drills=(drill(366),)), "emergency-drill", "fail"),
        (facts(drills=(drill(verdict="fail"),)), "emergency-drill", "partial"),
        (facts(training=None), "emergency-drill", "partial"),
        (facts(training=NOW - timedelta(days=366)), "emergency-drill", "partial"),
        (facts(training=NOW + timedelta(days=1)), "emergency-drill", "partial"),
        (with_center("remote", newest=NOW + timedelta(days=1)), "remote-copy", "fail"),
        (with_center("remote", verified=NOW + timedelta(days=1)), "sealed", "partial"),
        (facts(drills=(drill(),)), "rollback", "fail"),
        (with_center("remote", is_repository=False), "sealed", "fail"),
        (with_center("remote", verified=None), "sealed", "partial"),
        (with_center("remote", damaged_count=1), "sealed", "partial"),
        (with_center("remote", error="no answer"), "sealed", "error"),
        (with_center("remote", premises="cloud"), "tenant-copy", "fail"),
        (with_center("remote", premises=""), "tenant-copy", "error"),
        (with_center("remote", newest=None), "tenant-copy", "fail"),
        (facts(drills=(drill(is_content_verified=False),)), "tenant-copy", "partial"),
        (with_center("remote", region=""), "location", "partial"),
        (facts(centers=(center("main", "production"),)), "replicas", "fail"),
        (with_center("remote", flaws_count=1), "replicas", "partial"),
        (facts(drills=(drill(restored_from="near"),)), "move-out", "fail"),
        (with_center("remote", region="SG"), "region", "fail"),
        (with_center("remote", region=""), "region", "error"),
    ],
)
def test_what_is_spoiled_is_seen(spoiled: ContinuityFacts, check: str, status: str) -> None:
    assert statuses(spoiled)[check] == status


@pytest.mark.parametrize(
    ("spoiled", "case"),
    [
        (facts(jobs=()), "6.4.6.1"),
        (facts(drills=()), "6.4.6.2"),
        (facts(centers=(center("main", "production"),)), "6.4.6.3"),
        (facts(plans=(), has_emergency_plan=False), "6.10.1.1"),
        (facts(drills=(drill(400),)), "6.10.1.2"),
        (with_center("remote", premises="cloud"), "7.4.3.1"),
    ],
)
def test_the_conditions_of_high_risk_cases_are_pointed_at(spoiled: ContinuityFacts, case: str) -> None:
    assert case in cases(spoiled)


def test_backups_without_a_drill_are_not_taken_for_no_backups() -> None:
    assert "6.4.6.1" not in cases(facts(drills=()))


@pytest.mark.parametrize("name", ["jobs", "snapshots", "lags_s", "drills", "plans", "data_classes"])
def test_an_input_that_could_not_be_looked_at_is_an_error_that_says_why(name: str) -> None:
    blind = replace(facts(), **{name: None}, missing={name: "nobody answered"})
    errors = [one.result for one in judge_continuity(blind, is_cloud=True) if one.result.status is Status.ERROR]

    assert errors
    assert all(result.reason is not None and "nobody answered" in result.reason.en for result in errors)


def test_nothing_at_all_is_never_conform() -> None:
    nothing = ContinuityFacts("host", NOW, 3, 1, 1, False, False, False)

    assert set(statuses(nothing).values()) == {Status.ERROR.value}


def test_a_failed_expectation_says_why_in_both_languages_with_its_numbers() -> None:
    judged = judge_continuity(facts(drills=(drill(is_content_verified=False),)), is_cloud=False)
    found = {one.result.check: one for one in judged}["continuity.local-restore"]
    message = next(e.message for e in found.result.expectations if e.name == "content_verified")

    assert message is not None
    assert "20261112T080000Z-00000001" in message.zh
    assert "20261112T080000Z-00000001" in message.en
    assert found.evidence == ("d" * 64, "c" * 64)
    assert {row.kind for row in continuity_evidence(facts())} == {"drill", "job"}


def test_cloud_lines_are_left_out_where_the_extension_does_not_apply() -> None:
    judged = judge_continuity(facts(), is_cloud=False)

    assert 0 < len(judged) < len(continuity_table().checks)


def test_the_percentile_is_one_of_the_values_that_were_measured() -> None:
    assert percentile_95((5.0,)) == 5.0
    assert percentile_95(tuple(float(n) for n in range(1, 101))) == 95.0
