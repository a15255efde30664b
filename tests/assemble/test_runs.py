"""Records of people that counted in the run before are missed when they are gone."""

from __future__ import annotations

from datetime import timedelta

from govsec.assemble.runs import gone_records
from govsec.policy.results import Status, Verdict
from govsec.policy.run import AttestationRow, WaiverRow
from tests.policy.run_samples import STARTED, assessment, item, result

NOW = STARTED + timedelta(days=1)


def attestation(record: str, days: int) -> AttestationRow:
    return AttestationRow(
        id=record,
        statement="seen",
        by="Li Na",
        made=STARTED,
        until=STARTED + timedelta(days=days),
        reviewer="Wang Wei",
        is_expired=False,
    )


WAIVER = WaiverRow(
    id="c" * 32, reason="later", approver="Wang Wei", until=STARTED + timedelta(days=9), compensation="watched"
)
EARLIER = assessment(
    items=(
        item(1, attestation=attestation("a" * 32, 9)),
        item(2, attestation=attestation("b" * 32, 0)),
        item(3, Verdict.NOT_CONFORM, waiver=WAIVER),
    ),
    results=(result(Status.FAIL),),
)


def test_records_that_would_still_hold_are_missed() -> None:
    gone = gone_records(EARLIER, {"f" * 32}, NOW)

    assert list(gone) == ["a" * 32, "c" * 32]


def test_what_a_run_missed_the_next_ones_miss_too_until_it_is_back_or_has_ended() -> None:
    until = NOW + timedelta(days=2)
    next_one = assessment(items=()).model_copy(update={"gone_records": {"e" * 32: until}})

    assert gone_records(next_one, (), NOW) == {"e" * 32: until}
    assert gone_records(next_one, {"e" * 32}, NOW) == {}
    assert gone_records(next_one, (), until) == {}


def test_what_is_there_or_has_ended_is_not() -> None:
    assert gone_records(EARLIER, {"a" * 32, "c" * 32}, NOW) == {}
    assert gone_records(None, (), NOW) == {}
