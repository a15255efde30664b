"""The self-test: a canary goes from every module through its queue to the spool and back; what fails first is told.

Stages, in order: ``module`` (it answers), ``queue`` (its finding reaches the supervisor), ``spool`` (the disk has it),
``read`` (the disk gives back the same, with its digest right). A stage that is not reached before the limit failed.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from pydantic import JsonValue

from govsec.agent.intake import Flushed
from govsec.clock import Clock

STAGES = ("module", "queue", "spool", "read")


@dataclass(slots=True)
class Passage:
    """One canary's way. ``took_s`` has the stages that it passed."""

    nonce: str
    began: float
    took_s: dict[str, float] = field(default_factory=dict)
    error: str = ""

    @property
    def failed_stage(self) -> str | None:
        """The first stage that it did not pass; None when it passed all."""
        return next((stage for stage in STAGES if stage not in self.took_s), None)


class SelfTest:
    """One run at a time; a new one forgets the one before."""

    def __init__(self, clock: Clock) -> None:
        self.passages: dict[str, Passage] = {}
        self.is_running = False
        self._clock = clock
        self._until = 0.0

    def begin(self, limit_s: float) -> None:
        """Forget what was; the run ends after ``limit_s`` at the latest."""
        self.passages = {}
        self.is_running = True
        self._until = self._clock.monotonic() + limit_s

    def add(self, module: str) -> str:
        """A canary for ``module``; its nonce."""
        passage = Passage(secrets.token_hex(16), self._clock.monotonic())
        self.passages[module] = passage
        return passage.nonce

    def fail(self, module: str, why: str) -> None:
        """It cannot pass."""
        self.passages[module].error = why

    def seen(self, module: str, nonce: str) -> None:
        """The module says that it has seen its canary."""
        if self._is_expected(module, nonce):
            self._passed(module, "module")

    def queued(self, module: str, nonce: str) -> bool:
        """A canary came through the module's queue; False when nobody sent it one like that."""
        if not self._is_expected(module, nonce) or "queue" in self.passages[module].took_s:
            return False
        self._passed(module, "queue")
        return True

    def arrived(self, flushed: Flushed, trouble: str) -> None:
        """What the spool took and gave back just now. ``trouble``: why it takes nothing, if it does not."""
        if not self.is_running:
            return
        for stage, bodies in (
            ("spool", [entry.body for entry in flushed.written]),
            ("read", [record.body for record in flushed.read]),
        ):
            for module in self._canaries(bodies):
                self._passed(module, stage)
        for passage in self.passages.values():
            if passage.failed_stage == "spool" and trouble:
                passage.error = trouble
            elif passage.failed_stage == "read" and flushed.damage:
                passage.error = flushed.damage
        is_over = self._clock.monotonic() >= self._until
        # A disk that takes nothing now may take it before the limit.
        is_open = any(
            each.failed_stage and (not each.error or each.failed_stage == "spool") for each in self.passages.values()
        )
        self.is_running = is_open and not is_over

    def _canaries(self, bodies: Iterable[Mapping[str, JsonValue]]) -> Iterator[str]:
        """Modules whose canary is among these."""
        for body in bodies:
            module, finding = body.get("module"), body.get("finding")
            facts = finding.get("facts") if isinstance(finding, dict) else None
            nonce = facts.get("nonce") if isinstance(facts, dict) else None
            if isinstance(module, str) and isinstance(nonce, str) and self._is_expected(module, nonce):
                yield module

    def report(self) -> dict[str, JsonValue]:
        """Of every module: the stages with their seconds, and the first that failed with the reason."""
        modules: dict[str, JsonValue] = {
            name: {
                "passed": passage.failed_stage is None,
                "failed_stage": passage.failed_stage,
                "error": (passage.error or "no answer within the limit") if passage.failed_stage else "",
                "took_s": {stage: round(took, 4) for stage, took in passage.took_s.items()},
            }
            for name, passage in self.passages.items()
        }
        passed = bool(self.passages) and all(each.failed_stage is None for each in self.passages.values())
        return {"passed": passed, "modules": modules}

    def _is_expected(self, module: str, nonce: str) -> bool:
        passage = self.passages.get(module)
        return (
            self.is_running and passage is not None and secrets.compare_digest(passage.nonce.encode(), nonce.encode())
        )

    def _passed(self, module: str, stage: str) -> None:
        passage = self.passages[module]
        passage.took_s.setdefault(stage, self._clock.monotonic() - passage.began)
