"""What time makes worth telling of a case: each limit at half, three quarters, nine tenths, and late; levels."""

from __future__ import annotations

from datetime import timedelta

import pytest

from govsec.incident.deadlinetable import shipped_deadlines
from govsec.incident.desk import Desk
from govsec.incident.entries import Acknowledged, FactsSaid, LevelConfirmed, ReceiptTaken
from govsec.incident.rulepack import shipped_packs
from govsec.incident.warnings import case_notices, next_look
from govsec.records import Severity
from govsec.testing.cases import MemoryCases
from govsec.testing.clock import FakeClock
from tests.incident.samples import NOW, opened


class Story:
    """One case, on a clock of the test's own."""

    def __init__(self, **more: object) -> None:
        self.clock = FakeClock(NOW)
        self.desk = Desk(MemoryCases(), shipped_packs(), shipped_deadlines(), self.clock)
        self.id = self.desk.open(opened(system="portal", **more)).case.id

    def confirm(self, level: str = "relatively_major") -> None:
        said = {"suggested": "general", "highest_possible": "particularly_major"}
        entry = {"time": self.clock.now(), "by": "张三", "level": level, "reason": "研判会议", **said}
        self.desk.add(self.id, LevelConfirmed.model_validate(entry))

    def kinds(self) -> list[str]:
        return [notice.kind.removeprefix("incident.") for notice in case_notices(self.desk.view(self.id))]

    def walk(self, hours: float) -> list[tuple[float, str]]:
        """Every look that the case asks for, with what is new: hours since the begin, and the end of its key."""
        end, told, seen = NOW + timedelta(hours=hours), set[str](), list[tuple[float, str]]()
        while self.clock.now() <= end:
            view = self.desk.view(self.id)
            for notice in case_notices(view):
                if notice.key not in told:
                    told.add(notice.key)
                    at = (self.clock.now() - NOW) / timedelta(hours=1)
                    seen.append((round(at, 2), notice.key.rpartition("#")[2]))
            self.clock.advance((next_look(view) - self.clock.now()).total_seconds())
        return seen


@pytest.fixture
def story() -> Story:
    return Story()


def test_a_limit_is_told_at_half_three_quarters_nine_tenths_and_when_it_is_late(story: Story) -> None:
    story.confirm()
    new = [(at, what) for at, what in story.walk(6) if what in ("50", "75", "90", "late")]
    assert new == [(2.0, "50"), (3.0, "75"), (3.6, "90"), (4.0, "late")]


def test_what_was_taken_is_warned_of_no_more(story: Story) -> None:
    story.confirm()
    story.clock.advance(2.5 * 3600)
    assert "duty_warned" in story.kinds()
    duty = "R5/provincial_cyberspace"
    receipt = {"duty": duty, "taken_at": story.clock.now(), "taken_by": "李四", "channel": "12387"}
    story.desk.add(story.id, ReceiptTaken.model_validate({"time": story.clock.now(), "by": "张三", **receipt}))
    assert "duty_warned" not in story.kinds()


def test_while_nobody_settled_the_level_what_the_worst_would_bring_is_told_mildly(story: Story) -> None:
    story.clock.advance(3.7 * 3600)
    warned = [notice for notice in case_notices(story.desk.view(story.id)) if notice.kind == "incident.duty_warned"]
    assert warned and {notice.severity for notice in warned} == {Severity.MEDIUM}
    assert not any(notice.facts["is_certain"] for notice in warned)
    story.clock.advance(3600)
    assert "duty_late" not in story.kinds()


def test_what_was_possible_and_has_become_certain_is_told_anew(story: Story) -> None:
    story.clock.advance(3.7 * 3600)
    possible = {notice.key for notice in case_notices(story.desk.view(story.id)) if "warned" in notice.kind}
    story.confirm()
    certain = [notice for notice in case_notices(story.desk.view(story.id)) if "warned" in notice.kind]
    assert possible and certain
    assert not possible & {notice.key for notice in certain if notice.facts["is_certain"]}
    assert any(notice.severity > Severity.MEDIUM for notice in certain)


def test_an_outage_that_grows_tells_its_level_when_it_is_reached(story: Story) -> None:
    facts = {"portal_down_h": "since 2026-11-22T01:41:00Z", "portal_kind": "prefecture_government"}
    story.desk.add(story.id, FactsSaid(time=NOW, by="张三", facts=facts))
    levels = [(at, what) for at, what in story.walk(7) if "major" in what]
    assert levels == [(2.0, "relatively_major"), (6.0, "major")]


def test_the_same_case_gives_the_same_notices_and_a_closed_one_none(story: Story) -> None:
    keys = [notice.key for notice in case_notices(story.desk.view(story.id))]
    story.desk.add(story.id, Acknowledged(time=NOW, by="张三"))
    assert [notice.key for notice in case_notices(story.desk.view(story.id))] == keys


def test_an_exercise_says_so_and_is_never_severe() -> None:
    story = Story(is_exercise=True)
    story.confirm("major")
    story.clock.advance(5 * 3600)
    notices = case_notices(story.desk.view(story.id))
    assert notices and all(notice.facts["is_exercise"] and notice.severity <= Severity.LOW for notice in notices)
