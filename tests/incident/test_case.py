"""Cases from the finding to the end: stages and their guards, receipts, evidence in hands, two people at one case."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from govsec.errors import IntegrityError, RefusedError, TryAgainError, UsageError
from govsec.incident import case as case_module
from govsec.incident import entries as e
from govsec.incident.api import Query, Summary
from govsec.incident.case import Case, add, open_case, replay
from govsec.incident.deadlines import DutyState
from govsec.incident.deadlinetable import shipped_deadlines
from govsec.incident.desk import Desk
from govsec.incident.entries import Entry, Stage
from govsec.incident.levels import EventLevel
from govsec.incident.rulepack import shipped_packs
from govsec.testing.cases import MemoryCases
from govsec.testing.clock import FakeClock
from tests.incident.samples import NOW, note, opened

LARGE = EventLevel.RELATIVELY_MAJOR
DIGEST = "sha256:" + "ab" * 32


def make_desk(clock: FakeClock) -> Desk:
    return Desk(MemoryCases(), shipped_packs(), shipped_deadlines(), clock)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(NOW)


@pytest.fixture
def desk(clock: FakeClock) -> Desk:
    return make_desk(clock)


class _Story:
    """One case, with entries at the clock's time."""

    def __init__(self, desk: Desk, clock: FakeClock, **more: object) -> None:
        self.desk, self.clock = desk, clock
        self.id = desk.open(opened(**more)).case.id

    def say(self, kind: Any, **more: object) -> Case:
        return self.desk.add(self.id, kind.model_validate({"time": self.clock.now(), "by": "张三", **more})).case

    def move(self, to: Stage, reason: str = "") -> Case:
        return self.say(e.Moved, to=to, reason=reason)

    def confirm(self, level: str = "relatively_major") -> None:
        found = self.desk.view(self.id).classification
        said = {"suggested": found.suggested.word, "highest_possible": found.highest_possible.word}
        said |= {"level": level, "reason": "研判会议"}
        self.say(e.LevelConfirmed, **said)

    def go_to_recovering(self) -> None:
        self.move(Stage.ASSESSED)
        self.say(e.Assigned, to="王五")
        self.move(Stage.RESPONDING)
        self.move(Stage.HANDLING)
        self.say(e.ActionTaken, action="nft.block", outcome="done")
        self.move(Stage.RECOVERING)
        self.say(e.RecoveryProved, text="正常")
        self.say(e.HandlingEnded, ended_at=self.clock.now())

    def receipt(self, duty: str) -> None:
        self.say(e.ReceiptTaken, duty=duty, taken_at=self.clock.now(), taken_by="李四", channel="12387")


@pytest.fixture
def story(desk: Desk, clock: FakeClock) -> _Story:
    return _Story(desk, clock)


def test_a_case_goes_from_the_finding_to_the_end_only_through_its_guards(story: _Story, clock: FakeClock) -> None:
    with pytest.raises(RefusedError, match="nobody has confirmed the level"):
        story.move(Stage.ASSESSED)
    story.confirm()
    story.move(Stage.ASSESSED)
    with pytest.raises(RefusedError, match="report owed: R5/provincial_cyberspace"):
        story.move(Stage.NOTIFIED)
    clock.advance(3600)
    story.receipt("R5/provincial_cyberspace")
    story.move(Stage.NOTIFIED)
    with pytest.raises(RefusedError, match="nobody is assigned"):
        story.move(Stage.RESPONDING)
    story.say(e.Assigned, to="王五")
    story.move(Stage.RESPONDING)
    story.move(Stage.HANDLING)
    story.say(e.TaskGiven, task="t1", title="换下被改的页面", owner="王五")
    with pytest.raises(RefusedError, match="no task is done"):
        story.move(Stage.RECOVERING)
    story.say(e.TaskDone, task="t1", result="已恢复")
    story.move(Stage.RECOVERING)
    with pytest.raises(RefusedError, match="whole again; the end of handling is not said"):
        story.move(Stage.REVIEWED)
    story.say(e.RecoveryProved, text="演练核验通过", digest=DIGEST)
    story.say(e.HandlingEnded, ended_at=clock.now())
    story.move(Stage.REVIEWED)
    with pytest.raises(RefusedError, match="report owed: R10/original_channel; no lesson"):
        story.move(Stage.CLOSED)
    story.receipt("R10/original_channel")
    story.say(e.LessonLearnt, text="发布系统改为双人复核")
    case = story.move(Stage.CLOSED)

    assert list(case.reached) == list(reversed(list(Stage)))
    with pytest.raises(RefusedError, match="is closed"):
        story.say(e.Assigned, to="赵六")
    assert story.move(Stage.HANDLING, "再次被改").stage is Stage.HANDLING


def test_a_response_does_not_wait_for_paper_but_a_review_does(story: _Story, clock: FakeClock) -> None:
    story.confirm()
    story.move(Stage.ASSESSED)
    story.say(e.Assigned, to="王五")
    story.move(Stage.RESPONDING)
    story.move(Stage.HANDLING)
    story.say(e.ActionTaken, action="nft.block", outcome="done")
    story.move(Stage.RECOVERING)
    story.say(e.RecoveryProved, text="正常")
    story.say(e.HandlingEnded, ended_at=clock.now())
    with pytest.raises(RefusedError, match="report owed: R5/provincial_cyberspace"):
        story.move(Stage.REVIEWED)
    clock.advance(5 * 3600)
    story.receipt("R5/provincial_cyberspace")
    assert story.move(Stage.NOTIFIED).stage is Stage.RECOVERING
    story.move(Stage.REVIEWED)
    story.receipt("R10/original_channel")
    story.say(e.LessonLearnt, text="先报后写")
    with pytest.raises(RefusedError, match="late without a reason: R5/provincial_cyberspace"):
        story.move(Stage.CLOSED)
    story.say(e.LateExplained, duty="R5/provincial_cyberspace", reason="电话占线")
    assert story.move(Stage.CLOSED).stage is Stage.CLOSED


def test_going_back_needs_a_reason_and_jumping_ahead_is_refused(story: _Story) -> None:
    story.confirm()
    story.move(Stage.ASSESSED)

    with pytest.raises(RefusedError, match="needs a reason"):
        story.move(Stage.FOUND)
    with pytest.raises(RefusedError, match="from assessed a case goes to notified, responding"):
        story.move(Stage.REVIEWED, "快一点")
    assert story.move(Stage.FOUND, "新的事实").stage is Stage.FOUND


def test_facts_that_flow_in_raise_the_level_and_start_countdowns(story: _Story, clock: FakeClock) -> None:
    facts = {"portal_down_h": f"since {NOW.isoformat()}", "portal_kind": "prefecture_government"}
    story.say(e.FactsSaid, facts=facts)
    before = story.desk.view(story.id)
    clock.advance(2 * 3600)
    after = story.desk.view(story.id)

    assert before.classification.suggested == EventLevel.GENERAL
    assert {duty.is_certain for duty in before.duties if duty.rule.id == "R5"} == {False}
    assert after.classification.suggested == EventLevel.RELATIVELY_MAJOR
    assert [duty.due_at for duty in after.duties if duty.rule.id == "R5"] == [NOW + timedelta(hours=4)]
    assert [line.level for line in story.desk.store.find(Query())] == [EventLevel.GENERAL]
    assert story.desk.refresh().changed_count == 1
    assert [line.level for line in story.desk.store.find(Query())] == [EventLevel.RELATIVELY_MAJOR]
    assert story.desk.refresh().changed_count == 0


def test_a_fact_that_no_rule_understands_is_refused_before_it_is_written(story: _Story) -> None:
    with pytest.raises(UsageError, match="portal_down_h"):
        story.say(e.FactsSaid, facts={"portal_down_h": "lange"})
    assert story.desk.view(story.id).case.facts == {}


def test_a_persons_level_takes_the_place_of_what_was_possible(story: _Story) -> None:
    story.confirm("general")

    assert story.desk.view(story.id).duties == ()
    story.confirm("major")
    assert {duty.state for duty in story.desk.view(story.id).duties} == {DutyState.OPEN, DutyState.WAITING}


@pytest.mark.parametrize(
    ("fact", "hours", "worse"),
    [
        ({"personal_records": "200000000"}, 1, EventLevel.PARTICULARLY_MAJOR),
        ({"portal_down_h": f"since {NOW.isoformat()}", "portal_kind": "prefecture_government"}, 3, LARGE),
    ],
)
def test_facts_that_overtake_a_level_that_was_confirmed_early_count_and_ask_for_another_confirmation(
    story: _Story, clock: FakeClock, fact: dict[str, str], hours: int, worse: EventLevel
) -> None:
    story.confirm("general")
    story.say(e.FactsSaid, facts=fact)
    clock.advance(hours * 3600)
    view = story.desk.view(story.id)

    assert (view.is_overtaken, view.summary().level, view.summary().is_confirmed) == (True, worse, False)
    owed = {duty.id: duty for duty in view.duties}["R5/provincial_cyberspace"]
    assert (owed.is_certain, owed.due_at) == (True, view.summary().next_due_at) == (True, NOW + timedelta(hours=4))
    story.go_to_recovering()
    story.receipt("R5/provincial_cyberspace")
    with pytest.raises(RefusedError, match=f"overtaken the confirmed level: {worse.word}"):
        story.move(Stage.REVIEWED)
    story.confirm(worse.word)
    assert not story.desk.view(story.id).is_overtaken
    assert story.move(Stage.REVIEWED).level == worse


def test_facts_that_overtake_a_level_keep_a_reviewed_case_from_being_closed_until_somebody_declines(
    story: _Story,
) -> None:
    story.confirm("general")
    story.go_to_recovering()
    story.move(Stage.REVIEWED)
    story.say(e.LessonLearnt, text="先查后定")
    story.say(e.FactsSaid, facts={"personal_records": "1000000"})
    with pytest.raises(RefusedError, match="overtaken the confirmed level: relatively_major"):
        story.move(Stage.CLOSED)
    story.confirm("general")

    assert story.desk.view(story.id).duties == ()
    assert story.move(Stage.CLOSED).stage is Stage.CLOSED


def test_what_becomes_possible_after_a_confirmation_is_shown_as_possible(story: _Story) -> None:
    story.say(e.FactsSaid, facts=dict.fromkeys(story.desk.fields, "unknown") | {"personal_records": "1000"})
    settled = {"suggested": "general", "highest_possible": "general", "level": "general", "reason": "x"}
    story.say(e.LevelConfirmed, **settled)
    found = story.desk.view(story.id)

    assert found.classification.highest_possible > EventLevel.GENERAL
    assert {duty.is_certain for duty in found.duties} == {False}
    assert found.summary().is_confirmed


@pytest.mark.parametrize("duty", ["R10/original_channel", "R9/original_channel#1", "R1/public_security", "R99/nobody"])
@pytest.mark.parametrize("kind", [e.ReceiptTaken, e.LateExplained])
def test_a_receipt_or_a_reason_for_a_duty_that_waits_or_is_none_of_this_case_is_refused(
    story: _Story, kind: Any, duty: str
) -> None:
    story.confirm()
    more = {"reason": "x"} if kind is e.LateExplained else {"taken_at": NOW, "taken_by": "李四", "channel": "12387"}

    with pytest.raises(RefusedError, match="no duty whose time runs; there are R5/provincial_cyberspace"):
        story.say(kind, duty=duty, **more)


def test_a_receipt_from_before_anybody_knew_is_refused(story: _Story) -> None:
    story.confirm()
    more = {"taken_by": "李四", "channel": "12387", "duty": "R5/provincial_cyberspace"}
    with pytest.raises(RefusedError, match="before its time began"):
        story.say(e.ReceiptTaken, taken_at=NOW - timedelta(days=900), **more)

    assert story.say(e.ReceiptTaken, taken_at=NOW - timedelta(minutes=5), **more).receipts


def test_the_end_of_handling_that_is_said_again_does_not_push_the_final_report_on(
    story: _Story, clock: FakeClock
) -> None:
    story.confirm()
    story.go_to_recovering()
    clock.advance(31 * 86400)
    again = story.say(e.HandlingEnded, ended_at=clock.now())
    assert again.handling_ended_at == NOW
    final = {duty.rule.id: duty.state for duty in story.desk.view(story.id).duties}["R10"]
    assert final is DutyState.LATE

    assert story.say(e.HandlingEnded, ended_at=NOW).handling_ended_at == NOW


def test_a_case_that_goes_back_to_handling_asks_for_its_end_its_recovery_and_its_final_report_again(
    story: _Story, clock: FakeClock
) -> None:
    story.confirm()
    story.receipt("R5/provincial_cyberspace")
    story.go_to_recovering()
    story.move(Stage.REVIEWED)
    story.receipt("R10/original_channel")
    assert story.move(Stage.RECOVERING, "漏了一页").handling_ended_at == NOW
    reopened = story.move(Stage.HANDLING, "再次被改")
    assert (reopened.handling_ended_at, reopened.recovered_at) == (None, None)
    clock.advance(3600)
    story.move(Stage.RECOVERING)
    with pytest.raises(RefusedError, match="whole again; the end of handling is not said"):
        story.move(Stage.REVIEWED)
    story.say(e.RecoveryProved, text="正常")
    story.say(e.HandlingEnded, ended_at=clock.now())
    story.move(Stage.REVIEWED)
    story.say(e.LessonLearnt, text="x")
    with pytest.raises(RefusedError, match="report owed: R10/original_channel"):
        story.move(Stage.CLOSED)


def test_who_passes_reports_on_has_notified_nobody_before_the_report_from_below_came_in(
    desk: Desk, clock: FakeClock
) -> None:
    story = _Story(desk, clock, roles=("protection_department",))
    story.confirm("major")
    story.move(Stage.ASSESSED)
    waiting = "R2/national_cyberspace, its report from below has not been received"
    with pytest.raises(RefusedError, match=waiting):
        story.move(Stage.NOTIFIED)
    story.say(e.Assigned, to="王五")
    story.move(Stage.RESPONDING)
    story.move(Stage.HANDLING)
    story.say(e.ActionTaken, action="nft.block", outcome="done")
    story.move(Stage.RECOVERING)
    with pytest.raises(RefusedError, match=waiting):
        story.move(Stage.REVIEWED)
    story.say(e.Received, sender="某运营者", received_at=clock.now())
    with pytest.raises(RefusedError, match="report owed: R2/national_cyberspace"):
        story.move(Stage.NOTIFIED)
    for duty in story.desk.view(story.id).duties:
        story.receipt(duty.id)
    assert story.move(Stage.NOTIFIED).reached[Stage.NOTIFIED] == NOW


def test_evidence_has_one_digest_and_a_chain_of_hands(story: _Story, clock: FakeClock) -> None:
    kept = {"name": "capture.pcapng", "digest": DIGEST, "size_bytes": 4096, "holder": "张三"}
    story.say(e.EvidenceKept, **kept)
    clock.advance(60)
    case = story.say(e.CustodyPassed, digest=DIGEST, holder="公安机关 李警官", reason="移交")

    assert [holder for _, holder in case.exhibits[DIGEST].holders] == ["张三", "公安机关 李警官"]
    with pytest.raises(RefusedError, match="kept already"):
        story.say(e.EvidenceKept, **kept)
    with pytest.raises(RefusedError, match="holds no evidence"):
        story.say(e.CustodyPassed, digest="sha256:" + "00" * 32, holder="某人", reason="移交")


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        (e.Received, {"sender": "区网信办", "received_at": NOW + timedelta(hours=1)}),
        (
            e.ReceiptTaken,
            {"duty": "R5/x", "taken_at": NOW + timedelta(hours=1), "taken_by": "李四", "channel": "12387"},
        ),
        (e.HandlingEnded, {"ended_at": NOW + timedelta(hours=1)}),
        (e.HandlingEnded, {"ended_at": NOW - timedelta(hours=1)}),
    ],
)
def test_moments_that_cannot_be_are_refused(story: _Story, kind: Any, more: dict[str, object]) -> None:
    with pytest.raises(RefusedError, match=r"future|before anybody knew"):
        story.say(kind, **more)


def test_awareness_in_the_future_opens_no_case(desk: Desk) -> None:
    with pytest.raises(RefusedError, match="aware_at lies in the future"):
        desk.open(opened(aware_at=NOW + timedelta(hours=1)))


def test_a_role_that_no_rule_knows_opens_no_case(desk: Desk) -> None:
    with pytest.raises(RefusedError, match="role 'king': there are central"):
        desk.open(opened(roles=("other_operator", "king")))
    assert desk.store.find(Query()) == ()


@pytest.mark.parametrize("year", [1, 1999, 2101, 9999])
def test_moments_outside_the_years_that_anybody_means_are_refused(story: _Story, year: int) -> None:
    then = NOW.replace(year=year)
    with pytest.raises(RefusedError, match="task: due_at lies outside the years 2000 to 2100"):
        story.say(e.TaskGiven, task="t1", title="x", owner="王五", due_at=then)
    with pytest.raises(RefusedError, match="aware_at lies outside"):
        story.desk.open(opened(aware_at=then))
    with pytest.raises(UsageError, match="portal_down_h: only moments of the years 2000 to 2100"):
        story.say(e.FactsSaid, facts={"portal_down_h": f"since {year:04d}-01-01T00:00:00Z"})
    with pytest.raises(UsageError, match="portal_down_h: only moments of the years 2000 to 2100"):
        story.desk.check({"portal_down_h": f"since 2026-01-01T00:00:00Z until {year:04d}-06-01T00:00:00Z"})


def test_an_entry_and_a_duration_that_begin_in_the_future_are_refused(story: _Story) -> None:
    soon, later = (NOW + timedelta(minutes=5)), (NOW + timedelta(minutes=5, seconds=1))
    with pytest.raises(RefusedError, match="note: time lies in the future"):
        story.say(e.Noted, text="x", time=later)
    for write in (
        lambda moment: story.say(e.FactsSaid, facts={"portal_down_h": f"since {moment.isoformat()}"}),
        lambda moment: story.desk.check({"portal_down_h": f"since {moment.isoformat()}"}),
    ):
        with pytest.raises(RefusedError, match="portal_down_h: cannot last since a moment in the future"):
            write(later)
        write(soon)


class _Damaged(MemoryCases):
    bad = ""

    def entries(self, case_id: str) -> tuple[Entry, ...]:
        if case_id == self.bad:
            raise IntegrityError(f"case {case_id}: entry 1 is missing or was changed")
        return super().entries(case_id)


class _Counting(MemoryCases):
    reads = 0

    def entries(self, case_id: str) -> tuple[Entry, ...]:
        self.reads += 1
        return super().entries(case_id)


def test_only_cases_whose_moment_has_come_are_looked_at_again(clock: FakeClock) -> None:
    store = _Counting()
    desk = Desk(store, shipped_packs(), shipped_deadlines(), clock)
    ids = [desk.open(opened()).case.id for _ in range(3)]
    facts = {"portal_down_h": f"since {NOW.isoformat()}", "portal_kind": "prefecture_government"}
    desk.add(ids[0], e.FactsSaid(time=NOW, by="张三", facts=facts))
    seen = []
    for seconds in (0, 2 * 3600 - 1, 1, 1, 22 * 3600):
        clock.advance(seconds)
        store.reads = 0
        seen.append((desk.refresh().changed_count, store.reads))

    assert seen == [(0, 0), (0, 0), (1, 1), (0, 0), (1, 3)]


def test_a_damaged_case_is_named_and_keeps_no_other_from_being_looked_at(clock: FakeClock) -> None:
    store = _Damaged()
    desk = Desk(store, shipped_packs(), shipped_deadlines(), clock)
    ids = [desk.open(opened()).case.id for _ in range(3)]
    for case_id in ids:
        facts = {"portal_down_h": f"since {NOW.isoformat()}", "portal_kind": "prefecture_government"}
        desk.add(case_id, e.FactsSaid(time=NOW, by="张三", facts=facts))
    store.bad = ids[1]
    clock.advance(3 * 3600)
    refreshed = desk.refresh()

    assert (refreshed.changed_count, list(refreshed.unreadable)) == (2, [ids[1]])
    assert {line.id for line in store.find(Query(level_min=LARGE))} == {ids[0], ids[2]}


class _Contested(MemoryCases):
    """Somebody else writes just before every one of the first ``count`` appends."""

    count = 0

    def append(self, case_id: str, number: int, entries: Sequence[Entry], summary: Summary) -> None:
        if self.count:
            self.count -= 1
            super().append(case_id, number, [note("somebody else")], summary)
        super().append(case_id, number, entries, summary)


def test_two_people_at_one_case_both_succeed_and_a_program_that_never_stops_is_named(clock: FakeClock) -> None:
    store = _Contested()
    desk = Desk(store, shipped_packs(), shipped_deadlines(), clock)
    case_id = desk.open(opened()).case.id
    store.count = 3
    desk.add(case_id, note("mine"))
    store.count = 10**6

    assert [entry.kind for entry in store.entries(case_id)] == ["opened", *["note"] * 4]
    with pytest.raises(TryAgainError, match="all the time"):
        desk.add(case_id, note("mine"))


_words = st.sampled_from(["one", "two", "三"])


def _finding(fingerprint: str, summary: str = "x") -> e.FindingJoined:
    said = {"finding": "web.defaced", "subject": "portal", "severity": "high", "summary": summary}
    return e.FindingJoined.model_validate({"time": NOW, "by": "guard", "fingerprint": fingerprint, **said})


def test_a_flood_of_findings_leaves_the_room_that_people_need(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(case_module, "ENTRIES_MAX", 5)
    monkeypatch.setattr(case_module, "FINDINGS_MAX", 20)
    case = open_case("20261122-0001", opened())
    for number in range(20):
        case = add(case, _finding(str(number)))
    with pytest.raises(RefusedError, match="holds 20 findings"):
        add(case, _finding("one more"))
    for number in range(4):
        case = add(case, note(str(number)))
    with pytest.raises(RefusedError, match="holds 5 entries"):
        add(case, note("one more"))

    assert (case.findings_count, case.number) == (20, 25)


class _AnyStory(RuleBasedStateMachine):
    """Whatever is written or refused, the entries add up to the case."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[Entry] = [opened()]
        self.case = open_case("20261122-0001", opened())

    def _try(self, entry: Entry) -> None:
        try:
            self.case = add(self.case, entry)
        except RefusedError:
            return
        self.written.append(entry)

    @rule(to=st.sampled_from(list(Stage)), reason=st.sampled_from(["", "because"]))
    def move(self, to: Stage, reason: str) -> None:
        self._try(e.Moved(time=NOW, by="张三", to=to, reason=reason))

    @rule(level=st.sampled_from(["general", "major"]))
    def confirm(self, level: str) -> None:
        said = {"level": level, "suggested": "general", "highest_possible": "major", "reason": "x"}
        self._try(e.LevelConfirmed.model_validate({"time": NOW, "by": "张三", **said}))

    @rule(name=_words)
    def give(self, name: str) -> None:
        self._try(e.TaskGiven(time=NOW, by="张三", task=name, title=name, owner="王五"))

    @rule(name=_words)
    def finish(self, name: str) -> None:
        self._try(e.TaskDone(time=NOW, by="张三", task=name, result="done"))

    @rule()
    def others(self) -> None:
        self._try(e.Assigned(time=NOW, by="张三", to="王五"))
        self._try(e.RecoveryProved(time=NOW, by="张三", text="ok"))
        self._try(e.HandlingEnded(time=NOW, by="张三", ended_at=NOW))
        self._try(e.LessonLearnt(time=NOW, by="张三", text="x"))

    @rule(name=_words, summary=_words)
    def join(self, name: str, summary: str) -> None:
        self._try(_finding(name, summary))

    @invariant()
    def adds_up(self) -> None:
        assert replay("20261122-0001", self.written) == self.case
        assert self.case.number == len(self.written)


TestAnyStory = _AnyStory.TestCase
