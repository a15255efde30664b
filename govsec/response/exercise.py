"""Exercises (应急演练): a scenario on a simulated clock, what people and playbooks did, and how fast against the plan.

A scenario is data: when the attack begins, what is found when, what people do when, and the times that were agreed. It
is played over real rooms (a case, its deadlines, playbooks, signed approvals) with a clock that jumps from one moment
to the next and deeds that only happen on paper; or real people act on a case of their own, and only times are taken.

The score is a pure function of moments: from the beginning of the attack to when it was found, taken on, settled,
reported, contained and recovered from. What did not happen is never in time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import Field, JsonValue, StringConstraints, ValidationError, model_validator

from govsec.clock import format_time
from govsec.config import Model, Name
from govsec.datafile import Text
from govsec.errors import ConfigurationError, RefusedError
from govsec.records import Finding, Kind, Moment, Severity
from govsec.response.api import Outcome
from govsec.response.order import Order
from govsec.yamllines import read_document

SCHEMA = "govsec.exercise.v1"
_DAY_S = 86_400
_LONGEST_S = 60 * _DAY_S
_Seconds = Annotated[int, Field(ge=0, le=_LONGEST_S)]
_Person = Annotated[str, StringConstraints(min_length=1, max_length=100)]


class Goal(StrEnum):
    """What is timed, in the order in which it should happen."""

    DETECT = "detect"
    ACKNOWLEDGE = "acknowledge"
    CONFIRM = "confirm"
    CONTAIN = "contain"
    REPORT = "report"
    RECOVER = "recover"


class InjectedFinding(Model):
    """What a detector would say."""

    kind: Kind
    severity: Annotated[str, StringConstraints(pattern="^(info|low|medium|high|critical)$")]
    subject: str = Field(min_length=1, max_length=500)
    summary: str = Field(min_length=1, max_length=2000)
    facts: Mapping[str, JsonValue] = Field(default_factory=dict)

    def finding(self, time: datetime) -> Finding:
        """The finding, at its moment."""
        severity = Severity[self.severity.upper()]
        return Finding(
            kind=self.kind, severity=severity, time=time, subject=self.subject, summary=self.summary, facts=self.facts
        )


class SceneStep(Model):
    """One moment: something is found, or a person does something."""

    at_s: _Seconds
    finding: InjectedFinding | None = None
    by: _Person | None = None
    #: Approves every deed of this verb that waits.
    approve: Annotated[str, StringConstraints(pattern=r"^[a-z]+\.[a-z]+$")] | None = None
    #: What the person writes into the case: an entry as ``govsec incident`` writes it, without time and name.
    entry: Mapping[str, JsonValue] | None = None

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if sum(each is not None for each in (self.finding, self.approve, self.entry)) != 1:
            raise ValueError("one of finding, approve and entry")
        if (self.by is None) != (self.finding is not None):
            raise ValueError("people have names (by), findings have none")
        return self


class Scenario(Model):
    """One exercise."""

    version: int = Field(ge=1, le=1_000_000)
    id: Name
    title: Text
    begins: Moment
    system: str = Field(default="", max_length=200)
    event_class: str = Field(default="other", max_length=100)
    protection_level: int | None = Field(default=None, ge=1, le=5)
    roles: tuple[str, ...] = Field(default=("other_operator",), min_length=1, max_length=10)
    #: Seconds from the beginning of the attack; the plan's figures.
    goals: Mapping[Goal, Annotated[int, Field(ge=1, le=_LONGEST_S)]] = Field(min_length=1)
    steps: tuple[SceneStep, ...] = Field(min_length=1, max_length=500)

    @model_validator(mode="after")
    def _runs_forward(self) -> Self:
        moments = [step.at_s for step in self.steps]
        if moments != sorted(moments):
            raise ValueError("steps are in the order of their moments")
        if self.steps[0].finding is None:
            raise ValueError("the first thing that happens is that something is found")
        return self


class SceneClock:
    """A clock that stands where the scene is."""

    def __init__(self, begins: datetime) -> None:
        self._begins = begins
        self._now = begins

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return (self._now - self._begins).total_seconds()

    def sleep(self, seconds: float) -> None:
        self._now += timedelta(seconds=max(0.0, seconds))

    def go_to(self, at_s: int) -> None:
        """The moment of a step; never back."""
        self._now = max(self._now, self._begins + timedelta(seconds=at_s))


class PaperActor:
    """Deeds that happen on paper: in force from when they are done until their time is over."""

    def __init__(self, clock: SceneClock) -> None:
        self._clock = clock
        self._done: dict[str, tuple[str, datetime | None]] = {}

    def rehearse(self, order: Order) -> Mapping[str, JsonValue]:
        return {"is_exercise": True}

    def carry_out(self, order: Order, approvals: Sequence[bytes]) -> Outcome:
        ttl_s = order.arguments.get("ttl_s")
        ends = None if ttl_s is None else self._clock.now() + timedelta(seconds=int(ttl_s))
        self._done.setdefault(order.nonce, ("done", ends))
        return self.check(order)

    def check(self, order: Order) -> Outcome:
        if order.nonce not in self._done:
            raise RefusedError("nothing was done under this number")
        state, ends = self._done[order.nonce]
        is_over = ends is not None and self._clock.now() >= ends
        return Outcome(state, state == "done" and not is_over, {"is_exercise": True}, ends)

    def take_back(self, order: Order) -> Outcome:
        _, ends = self._done.get(order.nonce, ("", None))
        self._done[order.nonce] = ("undone", ends)
        return self.check(order)


@dataclass(frozen=True, slots=True)
class Timed:
    """One goal: when it was reached, how long that took, how long it may take."""

    goal: Goal
    at: datetime | None
    taken_s: float | None
    limit_s: int | None

    @property
    def outcome(self) -> str:
        """``met``, ``late`` or ``missing``; ``timed`` when the plan names no limit."""
        if self.taken_s is None:
            return "missing"
        if self.limit_s is None:
            return "timed"
        return "met" if self.taken_s <= self.limit_s else "late"

    def record(self) -> dict[str, JsonValue]:
        """As plain values."""
        return {
            "goal": self.goal.value,
            "at": None if self.at is None else format_time(self.at),
            "taken_s": self.taken_s,
            "limit_s": self.limit_s,
            "outcome": self.outcome,
        }


def score(begins: datetime, reached: Mapping[Goal, datetime], goals: Mapping[Goal, int]) -> tuple[Timed, ...]:
    """Every goal that the plan has a limit for or that was reached, in order."""
    found = []
    for goal in Goal:
        at, limit_s = reached.get(goal), goals.get(goal)
        if at is not None or limit_s is not None:
            taken_s = None if at is None else round((at - begins).total_seconds(), 3)
            found.append(Timed(goal, at, taken_s, limit_s))
    return tuple(found)


def verdict(timed: Sequence[Timed], problems: Sequence[str]) -> str:
    """``passed`` when every limit was kept and nothing went wrong, ``failed`` when half of them or more were not."""
    limited = [each for each in timed if each.limit_s is not None]
    kept = [each for each in limited if each.outcome == "met"]
    if limited and len(kept) == len(limited) and not problems:
        return "passed"
    return "partial" if 2 * len(kept) > len(limited) else "failed"


def read_scenario(data: bytes, name: str) -> Scenario:
    """The scenario in ``data``. Raises ``ConfigurationError`` with file and line, and what is wrong there."""
    document = read_document(data, name)
    try:
        return Scenario.model_validate(document.value)
    except ValidationError as error:
        raise ConfigurationError(document.explain(error)) from error


def exercise_record(
    scenario: Scenario,
    sha256: str,
    *,
    mode: str,
    case: str,
    began: datetime,
    timed: Sequence[Timed],
    deeds: Sequence[Mapping[str, Any]],
    late_reports: Sequence[str],
    problems: Sequence[str],
) -> dict[str, Any]:
    """The result as plain values, for the ledger, ``--json`` and words."""
    return {
        "schema": SCHEMA,
        "id": scenario.id,
        "version": scenario.version,
        "scenario_sha256": sha256,
        "zh": scenario.title.zh,
        "en": scenario.title.en,
        "mode": mode,
        "case": case,
        "system": scenario.system,
        "began": format_time(began),
        "verdict": verdict(timed, [*problems, *late_reports]),
        "goals": [each.record() for each in timed],
        "deeds": [dict(deed) for deed in deeds],
        "late_reports": list(late_reports),
        "problems": list(problems),
    }
