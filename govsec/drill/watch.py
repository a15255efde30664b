"""Timing the steps of a run and keeping their results, in the order in which they happened."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime

from pydantic import JsonValue

from govsec.clock import Clock
from govsec.drill.probes import Answer
from govsec.drill.result import Outcome, StepResult
from govsec.errors import GovsecError


class StepFailedError(GovsecError):
    """A step did not do what it is for; the reason against the drill is recorded already."""


class StepTimeoutError(GovsecError):
    """A step took longer than its limit."""


@dataclass(slots=True)
class Note:
    """What a step leaves for its record while it runs."""

    outcome: Outcome = Outcome.PASSED
    detail: str = ""
    output: str = ""
    dropped_bytes: int = 0
    facts: dict[str, JsonValue] = field(default_factory=dict)

    def take(self, answer: Answer) -> None:
        """Take over what a probe or command brought."""
        self.outcome = Outcome.PASSED if answer.is_passed else Outcome.FAILED
        self.detail, self.output, self.dropped_bytes = answer.detail, answer.output, answer.dropped_bytes
        self.facts |= answer.facts


class Stopwatch:
    """Times steps from the start of the run, and keeps their results in order."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.results: list[StepResult] = []
        self._zero = clock.monotonic()

    @contextmanager
    def step(self, name: str, kind: str, *, is_kept: bool = True) -> Iterator[Note]:
        """Time what happens inside; an error makes the outcome ``failed`` and goes on."""
        note, started, begun = Note(), self.clock.now(), self.clock.monotonic()
        try:
            yield note
        except GovsecError as error:
            note.outcome = Outcome.FAILED
            note.detail = note.detail or str(error)[:500]
            raise
        except BaseException:
            note.outcome, note.detail = Outcome.FAILED, "interrupted"
            raise
        finally:
            result = self._result(name, kind, note, started, begun)
            note.facts["duration_s"] = result.duration_s
            if is_kept:
                self.results.append(result)

    def skip(self, name: str, kind: str, outcome: Outcome = Outcome.SKIPPED) -> None:
        """Record a step that was not run."""
        note = Note(outcome)
        self.results.append(self._result(name, kind, note, self.clock.now(), self.clock.monotonic()))

    def aside(self, name: str, kind: str, note: Note, started: datetime, begun: float) -> StepResult:
        """The result of something that is no step of the plan: an undo, a control."""
        return self._result(name, kind, note, started, begun)

    def phases(self) -> dict[str, float]:
        """Seconds by kind of step."""
        totals: dict[str, float] = {}
        for result in self.results:
            totals[result.kind] = round(totals.get(result.kind, 0.0) + result.duration_s, 3)
        return totals

    def _result(self, name: str, kind: str, note: Note, started: datetime, begun: float) -> StepResult:
        return StepResult(
            name=name,
            kind=kind,
            outcome=note.outcome,
            started=started,
            offset_s=round(begun - self._zero, 3),
            duration_s=round(self.clock.monotonic() - begun, 3),
            detail=note.detail,
            output=note.output,
            output_dropped_bytes=note.dropped_bytes,
            facts=dict(note.facts),
        )
