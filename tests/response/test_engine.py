"""The engine, over a world and a clock that do as they are told."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from pathlib import Path

import pytest

from govsec.errors import HostUnreachableError, IntegrityError, RefusedError, TryAgainError
from govsec.response.engine import TRIES_MAX, Engine
from govsec.response.order import approve
from govsec.response.runs import Deed, State
from govsec.testing.clock import FakeClock
from tests.response.far import People
from tests.response.rooms import START, Kept, World, finding, make_engine


class Room:
    def __init__(self, folder: Path, **options: object) -> None:
        self.people, self.clock, self.kept = People(folder), FakeClock(START), Kept()
        self.world = World(self.clock)
        self.engine: Engine = make_engine(folder, self.people, self.world, self.clock, self.kept, **options)  # type: ignore[arg-type]  # handed on

    def planned(self, **changed: str) -> Deed:
        (run,) = self.engine.absorb(finding().model_copy(update=changed), "20261122-0001")
        self.engine.step()
        (deed,) = self.engine.runs.deeds(run)
        return deed

    def approve(self, deed: Deed, *names: str) -> Deed:
        for name in names or ("zhang",):
            deed = self.engine.approve(approve(self.people.signers[name], deed.order, self.clock.now()))
        return deed

    def now(self, deed: Deed) -> Deed:
        found = self.engine.runs.deed(deed.nonce)
        assert found is not None
        return found


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return Room(tmp_path)


def test_nothing_is_done_before_a_person_has_approved(room: Room) -> None:
    deed = room.planned()
    room.clock.advance(600)
    room.engine.step()

    assert room.now(deed).state is State.PROPOSED
    assert room.world.asked == [("rehearse", "nft.block")]


def test_a_deed_that_was_approved_is_done_verified_and_expires(room: Room) -> None:
    deed = room.approve(room.planned())
    room.engine.step()
    assert room.now(deed).state is State.VERIFIED
    room.clock.advance(3599)
    room.engine.step()
    assert room.now(deed).state is State.VERIFIED

    room.clock.advance(1)
    room.engine.step()

    assert room.now(deed).state is State.EXPIRED
    assert room.kept.kinds()[-2:] == ["response.over", "response.expired"]


def test_a_verb_that_is_not_live_is_only_tried(tmp_path: Path) -> None:
    room = Room(tmp_path, live=frozenset({"backup.freeze"}))
    deed = room.planned()

    assert deed.state is State.TRIED
    assert deed.facts["sessions"] == 3
    assert room.world.deeds == {}
    with pytest.raises(RefusedError, match="waits for none"):
        room.approve(deed)


def test_freezing_backups_needs_nobody(tmp_path: Path) -> None:
    room = Room(tmp_path, live=frozenset({"backup.freeze"}))
    run = room.engine.plan("backup.freeze", {"system": "*", "ttl_s": 600}, by="zhang")
    room.engine.step()

    (deed,) = room.engine.runs.deeds(run)
    assert deed.state is State.VERIFIED


def test_a_recovery_waits_for_two_persons(room: Room) -> None:
    run = room.engine.plan("dr.recover", {"system": "hr", "plan": "flood"}, by="zhang")
    room.engine.step()
    (deed,) = room.engine.runs.deeds(run)

    assert room.approve(deed, "zhang").state is State.PROPOSED
    assert room.approve(deed, "zhang").state is State.PROPOSED
    assert room.approve(deed, "li").state is State.APPROVED


def test_what_nobody_approves_lapses(room: Room) -> None:
    deed = room.planned()
    room.clock.advance(3600)
    room.engine.step()

    assert room.now(deed).state is State.LAPSED
    with pytest.raises(RefusedError):
        room.approve(deed)


def test_an_approval_of_a_stranger_or_for_another_deed_counts_for_nothing(room: Room, tmp_path: Path) -> None:
    deed = room.planned()
    (tmp_path / "other").mkdir()
    stranger = People(tmp_path / "other").signers["zhang"]
    with pytest.raises(IntegrityError):
        room.engine.approve(approve(stranger, deed.order, START))
    other = dataclasses.replace(deed.order, arguments={"address": "192.0.2.67", "ttl_s": 3600})
    with pytest.raises(RefusedError):
        room.engine.approve(approve(room.people.signers["zhang"], other, START))
    room.engine.step()

    assert room.now(deed).state is State.PROPOSED


def test_the_same_finding_plans_once_and_its_like_not_again_soon(room: Room) -> None:
    assert len(room.engine.absorb(finding())) == 1
    assert room.engine.absorb(finding()) == []
    again = finding().model_copy(update={"summary": "again"})
    assert room.engine.absorb(again) == []
    room.clock.advance(3600)
    room.engine.step()

    assert len(room.engine.absorb(again)) == 1


def test_what_is_proposed_or_in_force_is_not_proposed_once_more(room: Room) -> None:
    other = {"subject": "another", "summary": "of the same attack"}
    deed = room.planned()
    assert room.engine.absorb(finding().model_copy(update=other)) == []
    room.approve(deed)
    room.engine.step()
    assert room.now(deed).state is State.VERIFIED
    assert room.engine.absorb(finding().model_copy(update=other)) == []
    (run,) = room.engine.absorb(finding(originators=["192.0.2.66", "192.0.2.67"]).model_copy(update=other))
    assert [each.order.arguments["address"] for each in room.engine.runs.deeds(run)] == ["192.0.2.67"]
    room.clock.advance(3600)
    room.engine.step()

    assert len(room.engine.absorb(finding().model_copy(update=other))) == 1


def test_a_helper_that_is_away_is_asked_again_later(room: Room) -> None:
    deed = room.approve(room.planned())
    room.world.fails = HostUnreachableError("away")
    for _ in range(5):
        room.engine.step()
        room.clock.advance(300)
    assert room.now(deed).state is State.DOING
    room.world.fails = None
    room.engine.step()

    assert room.now(deed).state is State.VERIFIED


def test_a_helper_that_stays_away_ends_in_failed(room: Room) -> None:
    deed = room.approve(room.planned())
    room.world.fails = HostUnreachableError("away")
    for _ in range(TRIES_MAX + 2):
        room.engine.step()
        room.clock.advance(300)

    assert room.now(deed).state is State.FAILED
    assert "away" in room.now(deed).error


def test_what_the_helper_refuses_is_refused_with_its_reason(room: Room) -> None:
    room.world.refuses = "rehearse"
    deed = room.planned()

    assert deed.state is State.REFUSED
    assert deed.error == "the world will not"


def test_a_deed_that_somebody_else_ended_is_noticed(room: Room) -> None:
    deed = room.approve(room.planned())
    room.engine.step()
    room.world.deeds[deed.nonce] = ("undone", START + timedelta(hours=1))
    room.clock.advance(60)
    room.engine.step()

    assert room.now(deed).state is State.UNDONE
    assert room.kept.kinds()[-1] == "response.gone"


def test_a_person_declines_a_proposal_and_takes_back_a_deed(room: Room) -> None:
    declined = room.planned()
    room.engine.take_back(declined, "li")
    assert room.now(declined).state is State.LAPSED
    room.clock.advance(3600)
    deed = room.approve(room.planned(summary="again"))
    room.engine.step()
    room.engine.take_back(room.now(deed), "li")
    room.engine.step()

    assert room.now(deed).state is State.UNDONE
    with pytest.raises(RefusedError, match="has ended"):
        room.engine.take_back(room.now(deed), "li")


def test_steps_wait_in_order_while_nobody_takes_them(room: Room) -> None:
    room.kept.fails = TryAgainError("full")
    deed = room.approve(room.planned())
    assert room.engine.step().problems
    assert room.kept.evidence == []
    room.kept.fails = None
    room.engine.step()

    assert room.now(deed).state is State.VERIFIED
    numbers = [each.facts["step_number"] for each in room.kept.evidence]
    assert numbers == sorted(numbers) and len(numbers) == 7


def test_an_argument_that_the_finding_does_not_give_proposes_nothing_and_says_why(room: Room) -> None:
    (run,) = room.engine.absorb(finding(originators=["192.0.2.66", "not an address; nft flush ruleset", "::1%eth0"]))
    room.engine.step()

    assert [deed.order.arguments["address"] for deed in room.engine.runs.deeds(run)] == ["192.0.2.66"]
    found = room.engine.runs.run(run)
    assert found is not None and len(found.left_out) == 2
    assert "address" in found.left_out[0]


def test_a_flood_of_findings_is_no_flood_of_deeds_and_holds_up_nothing_else(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The limit is lowered: hundreds of runs would take the test seconds and prove no more.
    monkeypatch.setattr("govsec.response.engine.WAITING_MAX", 3)
    for number in range(8):
        each = finding(originators=[f"192.0.2.{number + 1}"]).model_copy(update={"subject": str(number)})
        room.engine.absorb(each)

    assert room.engine.runs.count_waiting("block-attacker") == 3
    assert room.engine.step().dropped_count == 5
    canary = finding("host.ransomware.canary", processes=[{"pid": 77, "start_ticks": 5}])
    (run,) = room.engine.absorb(canary)
    assert "backup.freeze" in [deed.order.verb for deed in room.engine.runs.deeds(run)]


def test_a_finding_that_fits_nothing_leaves_nothing_behind_but_its_reason(room: Room) -> None:
    assert room.engine.absorb(finding(originators=["no address"])) == []
    assert "address" in room.engine.unfit[0]
    assert room.engine.runs.runs(10) == []


def test_runs_that_ended_long_ago_are_forgotten_and_those_in_force_are_not(room: Room) -> None:
    (ended,) = [room.planned()]
    room.engine.take_back(ended, "li")
    recovery = room.engine.plan("dr.recover", {"system": "hr", "plan": "flood"}, by="zhang")
    room.engine.step()
    (deed,) = room.engine.runs.deeds(recovery)
    room.approve(deed, "zhang", "li")
    room.engine.step()
    room.clock.advance(401 * 86_400)
    room.world.deeds[deed.nonce] = ("done", room.clock.now() + timedelta(days=9))
    room.engine.step()

    assert [run.id for run in room.engine.runs.runs(10)] == [recovery]
    assert room.engine.runs.deed(ended.nonce) is None


def test_deeds_that_need_nobody_do_not_go_on_for_ever_without_anybody(room: Room) -> None:
    needed = []
    for number in range(5):
        canary = finding("host.ransomware.canary", processes=[{"pid": 77 + number, "start_ticks": 5}])
        (run,) = room.engine.absorb(canary.model_copy(update={"subject": str(number)}))
        room.engine.step()
        deeds = room.engine.runs.deeds(run)
        needed += [deed.approvals_needed for deed in deeds if deed.order.verb == "backup.freeze"]
        for deed in deeds:
            if deed.state is State.PROPOSED:
                room.engine.take_back(deed, "li")
        room.clock.advance(7 * 86_400 + 1)
        room.engine.step()

    # Two weeks in thirty days without being asked; the fifth week sees the first one out of the span.
    assert needed == [0, 0, 1, 1, 1]


def test_a_deed_in_force_is_followed_however_long_nobody_answers(room: Room) -> None:
    deed = room.approve(room.planned())
    room.engine.step()
    room.world.fails = HostUnreachableError("away")
    for _ in range(TRIES_MAX + 10):
        room.clock.advance(301)
        room.engine.step()
    assert room.now(deed).state is State.VERIFIED and room.now(deed).tries > TRIES_MAX
    room.world.fails = None
    room.clock.advance(301)
    room.engine.step()

    assert room.now(deed).state is State.EXPIRED
