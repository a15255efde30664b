"""Lines on watching by trials on record: a site where all is in order passes, every spoiled thing is seen."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from govsec.policy.catalog import Catalog
from govsec.policy.continuitytable import watching_table
from govsec.policy.results import Role
from govsec.policy.watching import TrialFact, WatchingFacts, judge_watching, watching_checks, watching_evidence

NOW = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)


def trial(agent: str, host: str, days: float = 10, **changes: object) -> TrialFact:
    """One that went well."""
    began = NOW - timedelta(days=days)
    good = TrialFact(
        id=f"{agent}-{host}-{days}",
        agent=agent,  # type: ignore[arg-type]  # one of the two
        host=host,
        machine=host,
        began=began,
        ended=began + timedelta(minutes=1),
        is_passed=True,
        is_delivered=True,
        digest=f"{agent}{host}{days}".encode().hex().ljust(64, "0")[:64],
        acknowledged=began + timedelta(minutes=5),
        acknowledged_by="Zhang Wei",
        has_specimen=agent == "network",
        case="20261112-0001",
    )
    return replace(good, **changes)  # type: ignore[arg-type]  # names of its fields


GATE, WEB, NET = trial("host", "gate"), trial("host", "web"), trial("network", "gate")


def facts(*trials: TrialFact, **changes: object) -> WatchingFacts:
    """A gateway and a server, both watched."""
    good = WatchingFacts(
        system="permits",
        now=NOW,
        level=3,
        hosts=("gate", "web"),
        borders=("gate",),
        trials=trials or (GATE, WEB, NET),
        is_watching=True,
        watched=frozenset({"gate", "web"}),
        status_digest="a" * 64,
    )
    return replace(good, **changes)  # type: ignore[arg-type]  # names of its fields


def statuses(given: WatchingFacts) -> dict[str, str]:
    return {one.result.check.removeprefix("watching."): one.result.status.value for one in judge_watching(given)}


def test_a_site_with_everything_in_order_passes_and_names_what_that_rests_on() -> None:
    judged = judge_watching(facts())

    assert {one.result.status.value for one in judged} == {"pass"}
    rows = {row.digest for row in watching_evidence(facts())}
    assert all(one.evidence and set(one.evidence) <= rows for one in judged)
    assert {one.result.check: one.evidence for one in judged} == {
        "watching.intrusions-told": (NET.digest,),
        "watching.events-handled": (GATE.digest, WEB.digest, NET.digest),
        "watching.running-state": (WEB.digest, "a" * 64),  # of one age, the last by name
    }


def test_every_check_of_the_table_decides_a_line_of_the_catalog() -> None:
    catalog = Catalog.load()

    lines = {catalog.by_key(key, 3).id for check in watching_checks().values() for key in check.maps}
    assert lines == {"8.1.3.3.d", "8.1.5.4.c", "8.1.5.4.f"}
    assert {role for check in watching_checks().values() for role in check.maps.values()} == {Role.DECIDES}


NOT_TAKEN = {"acknowledged": None, "acknowledged_by": ""}


SPOILED = [
    (facts(GATE, WEB), "intrusions-told", "fail"),
    (facts(GATE, WEB, trial("network", "web")), "intrusions-told", "fail"),
    (facts(GATE, WEB, trial("network", "gate", 91)), "intrusions-told", "fail"),
    (facts(GATE, WEB, trial("network", "gate", -1)), "intrusions-told", "fail"),
    (facts(GATE, WEB, replace(NET, is_passed=False)), "intrusions-told", "fail"),
    (facts(GATE, WEB, replace(NET, is_delivered=False)), "intrusions-told", "fail"),
    (facts(GATE, WEB, replace(NET, **NOT_TAKEN)), "intrusions-told", "fail"),  # type: ignore[arg-type]
    (facts(GATE, WEB, replace(NET, acknowledged_by="")), "intrusions-told", "fail"),
    (facts(GATE, WEB, NET, trial("network", "gate", 2, **NOT_TAKEN)), "intrusions-told", "fail"),
    (facts(GATE, WEB, replace(NET, acknowledged=NET.ended + timedelta(hours=2))), "intrusions-told", "partial"),
    (facts(GATE, WEB, replace(NET, has_specimen=False)), "intrusions-told", "partial"),
    (facts(GATE, NET), "events-handled", "fail"),
    (facts(GATE, WEB), "events-handled", "fail"),
    (facts(GATE, WEB, borders=()), "events-handled", "fail"),
    (facts(GATE, WEB, trial("network", "web"), borders=()), "events-handled", "pass"),
    (facts(GATE, replace(WEB, is_passed=False), NET), "events-handled", "fail"),
    (facts(GATE, replace(WEB, is_delivered=False), NET), "events-handled", "fail"),
    (facts(replace(GATE, began=NOW - timedelta(days=5), **NOT_TAKEN), WEB, NET), "events-handled", "fail"),  # type: ignore[arg-type]
    (facts(*(replace(one, case="") for one in (GATE, WEB, NET))), "events-handled", "partial"),
    (facts(is_watching=False), "running-state", "fail"),
    (facts(is_watching=None), "running-state", "error"),
    (facts(watched=frozenset({"gate"})), "running-state", "partial"),
    (facts(watched=frozenset()), "running-state", "fail"),
    (facts(NET), "running-state", "fail"),
    (facts(trial("host", "gate", 91)), "running-state", "fail"),
    (facts(replace(GATE, **NOT_TAKEN)), "running-state", "fail"),  # type: ignore[arg-type]
    (facts(replace(GATE, is_passed=False)), "running-state", "fail"),
    (facts(replace(GATE, is_delivered=False)), "running-state", "fail"),
]


@pytest.mark.parametrize(("spoiled", "check", "status"), SPOILED)
def test_what_is_spoiled_is_seen(spoiled: WatchingFacts, check: str, status: str) -> None:
    assert statuses(spoiled)[check] == status


def test_a_record_that_cannot_be_read_is_an_error_and_says_why() -> None:
    judged = judge_watching(facts(trials=None, is_watching=None, missing={"trials": "the ledger has 1 problems"}))

    assert {one.result.status.value for one in judged} == {"error"}
    assert all("1 problems" in one.result.reason.en for one in judged if one.result.reason is not None)


def test_who_never_tried_or_named_no_hosts_is_left_to_a_person() -> None:
    assert judge_watching(replace(facts(), trials=())) == ()
    assert set(statuses(facts(borders=()))) == {"events-handled", "running-state"}
    assert statuses(facts(hosts=(), borders=())) == {}


def test_every_expectation_of_the_table_was_seen_to_fail() -> None:
    failed = {
        (one.result.check, expectation.name)
        for given, _, _ in SPOILED
        for one in judge_watching(given)
        for expectation in one.result.expectations
        if expectation.holds is False
    }

    assert failed == {(check.id, name) for check in watching_table().checks for name in check.expectations}
