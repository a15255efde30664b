"""Findings on the register: dates, platforms, data without backup, zombies."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from govsec.records import Severity
from govsec.register.duedates import add_months, certificate_end, due_dates, findings, lacking, today_of
from govsec.register.register import System
from govsec.register.words import say, words
from govsec.registerentry import Filing, LastAssessment
from tests.register.registers import CLOUD, NOW, register, system


def kinds(**changes: Any) -> list[str]:
    return [finding.kind for finding in findings(register(system(**changes)), NOW)]


def test_a_register_in_order_has_no_findings() -> None:
    assert findings(register(system()), NOW) == ()


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"filing": None}, "register.certificate_missing"),
        ({"filing": {"number": "1", "issued": None}}, "register.certificate_missing"),
        ({"filing": {"number": "", "issued": "2026-01-01"}}, "register.certificate_missing"),
        ({"filing": {"number": "1", "valid_until": "2026-11-21"}}, "register.certificate_expired"),
        ({"filing": {"number": "1", "valid_until": "2026-11-22"}}, "register.certificate_expiring"),
        ({"filing": {"number": "1", "valid_until": "2027-02-22"}}, "register.certificate_expiring"),
        ({"assessment": None}, "register.assessment_missing"),
        ({"assessment": {"held": "2025-11-21"}}, "register.assessment_overdue"),
        ({"assessment": {"held": "2025-11-22"}}, "register.assessment_due"),
        ({"assessment": {"held": "2025-12-22"}}, "register.assessment_due"),
        ({"training": []}, "register.training_missing"),
        ({"training": [{"held": "2025-11-21"}]}, "register.training_overdue"),
        ({"training": [{"held": "2025-12-01"}]}, "register.training_due"),
        ({"plan": None}, "register.plan_missing"),
        ({"plan": {"version": "1", "reviewed": "2025-01-01"}}, "register.plan_overdue"),
        ({"plan": {"version": "1", "reviewed": "2025-12-20"}}, "register.plan_due"),
        ({"plan": {"version": "1", "reviewed": "2027-01-01"}}, "register.date_in_future"),
        ({"owner": ""}, "register.incomplete"),
        ({"platform": {"name": "other cloud"}}, "register.platform_unknown"),
        ({"platform": {"name": "other cloud", "level": 2}}, "register.platform_below"),
        # The tenant's entry says 4, the platform's own says 3: a system of level 4 is too high for it.
        ({"level": 4, "s": 4, "platform": {"name": "c", "level": 4, "system": "cloud"}}, "register.platform_below"),
        ({"data": [{"name": "d", "level": "general"}]}, "register.data_without_backup"),
        (
            {"data": [{"name": "d", "level": "important", "no_backup_because": "kept elsewhere"}]},
            "register.data_without_backup",
        ),
        ({"data": [{"name": "d", "level": "general", "jobs": ["databse"]}]}, "register.backup_job_unknown"),
    ],
    ids=str,
)
def test_what_is_wrong_is_found_and_nothing_else(changes: dict[str, Any], kind: str) -> None:
    assert kinds(**changes) == [kind]


@pytest.mark.parametrize(
    "changes",
    [
        {"filing": {"number": "1", "valid_until": "2027-02-23"}},
        {"assessment": {"held": "2025-12-23"}},
        {"training": [{"held": "2025-12-23"}]},
        {"data": [{"name": "cache", "level": "general", "no_backup_because": "derived from applications"}]},
        {"platform": {"name": "other cloud", "level": 3}},
        {"platform": None},
        {"stage": "retired", "assessment": None, "owner": "", "data": [{"name": "d", "level": "core"}]},
        {"stage": "planned", "assessment": None, "plan": None, "training": [], "filing": None},
    ],
    ids=str,
)
def test_what_is_in_order_stays_silent(changes: dict[str, Any]) -> None:
    assert kinds(**changes) == []


def test_level_2_is_assessed_by_practice_and_the_finding_says_that_no_rule_does() -> None:
    found = findings(register(system(level=2, a=2, assessment={"held": "2024-01-01"})), NOW)

    assert [(finding.kind, finding.facts["status"]) for finding in found] == [
        ("register.assessment_overdue", "unconfirmed")
    ]
    assert kinds(level=2, a=2, assessment={"held": "2025-06-01"}) == []


def test_level_1_is_neither_filed_nor_assessed() -> None:
    assert kinds(level=1, s=1, a=1, filing=None, assessment=None) == []


def test_a_certificate_holds_three_years_and_one_more_after_an_assessment() -> None:
    filing = Filing(number="1", issued=date(2026, 2, 28))

    assert certificate_end(filing, None) == date(2029, 2, 28)
    assert certificate_end(filing, LastAssessment(held=date(2028, 1, 1))) == date(2030, 2, 28)
    assert certificate_end(filing, LastAssessment(held=date(2026, 2, 27))) == date(2029, 2, 28)
    # One from before 2025 is counted from its first day.
    assert certificate_end(Filing(number="1", issued=date(2021, 5, 1)), None) == date(2028, 1, 1)
    assert certificate_end(Filing(number="1"), None) is None
    assert certificate_end(Filing(number="1", issued=date(2026, 1, 1), valid_until=date(2027, 1, 1)), None) == date(
        2027, 1, 1
    )


def test_zombies_are_called_when_something_could_have_seen_them() -> None:
    systems = register(system())
    good = {"portal": NOW - timedelta(days=90), "cloud": NOW}

    assert findings(systems, NOW, seen=good) == ()
    late = findings(systems, NOW, seen=good | {"portal": NOW - timedelta(days=91)})
    assert [(finding.kind, finding.facts["days"]) for finding in late] == [("register.zombie", 91)]
    assert [finding.kind for finding in findings(systems, NOW, seen={"cloud": NOW})] == ["register.never_seen"]
    assert findings(register(system(stage="planned")), NOW, seen={"cloud": NOW}) == ()


def test_a_finding_says_it_in_both_languages_with_its_figures() -> None:
    (found,) = findings(register(system(filing={"number": "1", "valid_until": "2026-12-22"})), NOW)

    assert (found.subject, found.severity, found.time) == ("portal", Severity.MEDIUM, NOW)
    assert found.summary == (
        "portal (Portal): the certificate of filing ends on 2026-12-22, in 30 days; "
        "renewal is applied for in the 3 months before"
    )
    assert found.facts["status"] == "confirmed"


def test_every_kind_of_finding_has_its_sentence() -> None:
    from govsec.register import duedates

    assert set(duedates._SEVERITIES) == {name for name in words() if name.startswith("register.")}


def test_days_are_those_of_the_calendar_in_china() -> None:
    assert today_of(datetime(2026, 11, 22, 15, 59, tzinfo=UTC)) == date(2026, 11, 22)
    assert today_of(datetime(2026, 11, 22, 16, 0, tzinfo=UTC)) == date(2026, 11, 23)


def test_a_platform_of_the_register_is_held_against_each_tenant() -> None:
    tenant = system(level=4, s=4, platform={"name": "city cloud", "system": "cloud"})

    (found,) = findings(register(tenant), NOW)

    assert (found.kind, found.facts["platform_level"], found.facts["case"]) == ("register.platform_below", 3, "7.2.1.1")


DAYS = st.dates(date(2000, 1, 31), date(2090, 12, 31))


@given(DAYS, st.integers(-60, 60))
def test_months_keep_the_day_or_end_with_the_month(day: date, months: int) -> None:
    later = add_months(day, months)

    assert (later.year * 12 + later.month) - (day.year * 12 + day.month) == months
    assert later.day == day.day or (later.day < day.day and (later + timedelta(days=1)).day == 1)


@given(st.dates(date(2020, 1, 1), date(2030, 1, 1)), st.integers(0, 800))
def test_once_something_is_overdue_it_stays_overdue_until_it_is_done(held: date, days: int) -> None:
    tenant = register(system(assessment={"held": held}))
    due = next(due for due in due_dates(tenant.system("portal")) if due.kind == "assessment")
    assert due.until is not None
    after = datetime.combine(due.until + timedelta(days=1 + days), datetime.min.time(), tzinfo=UTC)

    found = {finding.kind for finding in findings(tenant, after) if finding.subject == "portal"}

    assert "register.assessment_overdue" in found
    assert CLOUD["level"] == 3  # the platform is untouched


def test_values_in_sentences_are_in_the_readers_language() -> None:
    said = say("register.incomplete", {"fields": list(lacking(System(name="bare")))})

    assert said.zh.endswith(
        "系统名称、类型、责任单位、责任人、安全保护等级、业务信息安全等级 S、系统服务安全等级 A、RPO 和 RTO、数据类别"
    )
    assert say("register.data_without_backup", {"data": "许可", "data_level": "core"}).zh.count("核心数据") == 1
