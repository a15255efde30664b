"""What the engine of responses is handed: who does a deed, and who writes down what happened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from pydantic import JsonValue

from govsec.records import Evidence
from govsec.response.order import Order


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a deed. ``holds``: it is in force, as far as one can look; ``ends`` None: it does not end."""

    state: str
    holds: bool
    facts: Mapping[str, JsonValue] = field(default_factory=dict)
    ends: datetime | None = None


class Actor(Protocol):
    """Does one kind of deed. The same order again is the same deed: it may be asked for after a crash.

    Every method raises ``RefusedError`` or ``IntegrityError`` for what will never be, and an error with
    ``is_retryable`` for what may work later.
    """

    def rehearse(self, order: Order) -> Mapping[str, JsonValue]:
        """What it would hit. Changes nothing."""
        ...

    def carry_out(self, order: Order, approvals: Sequence[bytes]) -> Outcome:
        """Do it."""
        ...

    def check(self, order: Order) -> Outcome:
        """How it stands."""
        ...

    def take_back(self, order: Order) -> Outcome:
        """Undo it; of what ended by itself, say so."""
        ...


class Recorder(Protocol):
    """Takes evidence; it is durable when this returns. The same evidence may be handed in again after a crash."""

    def record(self, evidence: Evidence) -> None:
        """Keep it."""
        ...


class Casebook(Protocol):
    """The case that a deed belongs to."""

    def note(self, case: str, verb: str, step: str, facts: Mapping[str, JsonValue], time: datetime) -> None:
        """Write into the case what a playbook did. The same may come again after a crash."""
        ...
