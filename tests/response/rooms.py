"""An engine with what it is handed, for tests: a recorder in memory, a casebook, a world that deeds change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from govsec.clock import Clock
from govsec.errors import RefusedError
from govsec.records import Evidence, Finding, Severity
from govsec.response.api import Actor, Outcome
from govsec.response.engine import Engine
from govsec.response.order import Order
from govsec.response.playbook import Loaded, shipped_playbooks
from govsec.response.runs import Runs
from govsec.response.verbs import VERBS
from govsec.testing.clock import FakeClock
from tests.response.far import People

START = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)


def finding(kind: str = "net.scan.vertical", **facts: JsonValue) -> Finding:
    return Finding(
        kind=kind,
        severity=Severity.HIGH,
        time=START,
        subject="192.0.2.66 -> 10.0.0.5",
        summary="for a test",
        facts=facts or {"originators": ["192.0.2.66"]},
    )


class World:
    """Deeds that are in force. The same order twice is one deed."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.deeds: dict[str, tuple[str, datetime]] = {}
        self.asked: list[tuple[str, str]] = []
        self.refuses = ""
        self.fails: Exception | None = None

    def rehearse(self, order: Order) -> Mapping[str, JsonValue]:
        self._ask("rehearse", order)
        return {"sessions": 3}

    def carry_out(self, order: Order, approvals: Sequence[bytes]) -> Outcome:
        self._ask("carry_out", order)
        if order.nonce not in self.deeds:
            ends = self.clock.now() + timedelta(seconds=int(order.arguments.get("ttl_s", 3600)))
            self.deeds[order.nonce] = ("done", ends)
        return self._outcome(order)

    def check(self, order: Order) -> Outcome:
        self._ask("check", order)
        return self._outcome(order)

    def take_back(self, order: Order) -> Outcome:
        self._ask("take_back", order)
        state, ends = self.deeds[order.nonce]
        if state == "done":
            self.deeds[order.nonce] = ("undone", ends)
        return self._outcome(order)

    def _ask(self, what: str, order: Order) -> None:
        self.asked.append((what, order.verb))
        if self.fails is not None:
            raise self.fails
        if self.refuses == what:
            raise RefusedError("the world will not")

    def _outcome(self, order: Order) -> Outcome:
        state, ends = self.deeds[order.nonce]
        return Outcome(state, state == "done" and self.clock.now() < ends, {"seen": state}, ends)


class Kept:
    """A recorder and a casebook that keep what they are handed."""

    def __init__(self) -> None:
        self.evidence: list[Evidence] = []
        self.notes: list[tuple[str, str, str]] = []
        self.fails: Exception | None = None

    def record(self, evidence: Evidence) -> None:
        if self.fails is not None:
            raise self.fails
        self.evidence.append(evidence)

    def note(self, case: str, verb: str, step: str, facts: Mapping[str, JsonValue], time: datetime) -> None:
        self.notes.append((case, verb, step))

    def kinds(self) -> list[str]:
        return [each.kind for each in self.evidence]


def make_engine(
    folder: Path,
    people: People,
    actor: Actor,
    clock: Clock | None = None,
    kept: Any = None,
    *,
    live: frozenset[str] = frozenset(VERBS),
    playbooks: Sequence[Loaded] | None = None,
    runs: Any = None,
) -> Engine:
    kept = kept or Kept()
    return Engine(
        runs or Runs(folder / "response.db"),
        shipped_playbooks() if playbooks is None else playbooks,
        dict.fromkeys(VERBS, actor),
        people.roots,
        clock or FakeClock(START),
        host="web1",
        live=live,
        recorder=kept,
        casebook=kept,
    )
