"""What of the duty daemon may take long, in threads of its own: sending, signing into the ledger, looking at drills.

One idea: each lane opens what it works with in its own thread (files of SQLite belong to one), does a bounded piece of
work at a time, and waits longer after each failure. Whatever a far side does, findings go on becoming notices.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Future, wait
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from typing import Generic, TypeVar

from govsec.assemble.evidence import open_evidence
from govsec.assemble.ledger import anchor_ledger, open_ledger, unanchored_head
from govsec.assemble.notify import build_channels, open_outbox
from govsec.assemble.response import open_responses, waiting_notices
from govsec.assemble.systems import Site
from govsec.clock import Clock
from govsec.config import Config, SystemConfig
from govsec.errors import GovsecError
from govsec.ledger.entry import Head
from govsec.ledger.queue import EvidenceQueue
from govsec.notice.sender import Sender
from govsec.records import Notice
from govsec.runtime.lanes import Lane

log = logging.getLogger(__name__)

T = TypeVar("T")
_WAIT_MAX_S = 600.0
_SEND_EVERY_S = 1.0
_SEND_LIMIT = 10
_RESPOND_EVERY_S = 1.0
_BATCHES_MAX = 20


class Work(Generic[T]):
    """One kind of work in a thread: begun when it is due and the last piece is done."""

    def __init__(
        self, name: str, clock: Clock, every_s: float, open_work: Callable[[ExitStack], Callable[[], T]]
    ) -> None:
        """``open_work`` runs in the thread, once, and gives what is to be done each time."""
        self.name = name
        self.trouble = ""
        self._clock = clock
        self._every_s = every_s
        self._open = open_work
        self._lane = Lane(name)
        self._stack = ExitStack()
        self._call: Callable[[], T] | None = None
        self._running: Future[T] | None = None
        self._due = clock.monotonic()
        self._failed_count = 0

    def step(self, *, is_wanted: bool = False) -> T | None:
        """Begin when it is due or ``is_wanted``; what the last piece gave, once. Never waits, never raises for it."""
        result = self._ended()
        now = self._clock.monotonic()
        if self._running is None and (now >= self._due or (is_wanted and not self._failed_count)):
            self._due = now + self._every_s
            self._running = self._lane.start(self._work)
        return result

    @property
    def has_result(self) -> bool:
        """True when a piece of work ended that :meth:`step` has not given yet."""
        return self._running is not None and self._running.done()

    @property
    def is_running(self) -> bool:
        """True while a piece of work has not ended."""
        return self._running is not None and not self._running.done()

    def wait(self, timeout_s: float) -> None:
        """Wait for what runs."""
        if self._running is not None:
            wait([self._running], timeout_s)

    def close(self, timeout_s: float) -> None:
        """End it, and give back what the thread has open; what takes longer is left to the process's end."""
        self.wait(timeout_s)
        if self._running is None or self._running.done():
            wait([self._lane.start(self._stack.close)], timeout_s)
        self._lane.close()

    def _ended(self) -> T | None:
        if self._running is None or not self._running.done():
            return None
        running, self._running = self._running, None
        try:
            result = running.result()
        except Exception as error:  # noqa: BLE001 - a lane's outermost place: what nobody foresaw there ends no other lane
            self.trouble = f"{self.name}: {type(error).__name__}: {error}"
            self._failed_count += 1
            self._due = self._clock.monotonic() + min(self._every_s * 2.0 ** min(self._failed_count, 20), _WAIT_MAX_S)
            log.warning("duty lane failed", extra={"lane": self.name, "error": str(error)})
            return None
        self.trouble, self._failed_count = "", 0
        return result

    def _work(self) -> T:
        if self._call is None:
            self._call = self._open(self._stack)
        return self._call()


def sending(config: Config, clock: Clock) -> Work[bool]:
    """Sends what is due; True when there may be more."""

    def open_work(stack: ExitStack) -> Callable[[], bool]:
        outbox = stack.enter_context(open_outbox(config))
        kept = timedelta(days=config.notify.kept_days)
        sender = Sender(outbox, build_channels(config, clock), clock, kept=kept)

        def send() -> bool:
            sent = sender.step(limit=_SEND_LIMIT)
            return sent.delivered >= _SEND_LIMIT

        return send

    return Work("send", clock, _SEND_EVERY_S, open_work)


@dataclass(frozen=True, slots=True)
class Responded:
    """What playbooks came to: what is wrong, and what people are to be told (proposals that wait for approvals)."""

    problems: tuple[str, ...]
    notices: tuple[Notice, ...]


def responding(config: Config, clock: Clock) -> Work[Responded]:
    """Does what playbooks planned and people approved."""

    def open_work(stack: ExitStack) -> Callable[[], Responded]:
        engine = stack.enter_context(open_responses(config, clock))

        def respond() -> Responded:
            problems = tuple(str(problem) for problem in engine.step().problems)
            return Responded(problems, tuple(waiting_notices(engine, clock.now())))

        return respond

    return Work("responses", clock, _RESPOND_EVERY_S, open_work)


@dataclass(frozen=True, slots=True)
class Signed:
    """What the ledger got: entries appended, the head that is anchored, and where it could not be."""

    entries_count: int
    head: Head | None
    missing: tuple[str, ...]


def signing(config: Config, clock: Clock, system: SystemConfig, *, every_s: float = 2.0) -> Work[Signed]:
    """Signs what waits into the ledger of a system, and puts the head into every center now and then."""

    def open_work(stack: ExitStack) -> Callable[[], Signed]:
        scribe = _Scribe(Site(config, clock), system, stack.enter_context(open_evidence(config)))
        # What was signed last is anchored before the daemon ends, however short the time since the one before.
        stack.callback(scribe.anchor_last)
        return scribe.sign

    return Work("ledger", clock, every_s, open_work)


class _Scribe:
    """Signs and anchors, in the thread of its lane."""

    def __init__(self, site: Site, system: SystemConfig, queue: EvidenceQueue) -> None:
        self._site = site
        self._system = system
        self._queue = queue
        self._head: Head | None = None
        #: What was appended before: a daemon that was killed, or a program that anchors nothing, may have left some.
        self._is_looked_at = False
        self._anchor_due = site.clock.monotonic()

    def sign(self) -> Signed:
        """Append what waits, and anchor the head when it moved and it is time."""
        entries_count = 0
        while entries_count < _BATCHES_MAX and (batch := self._queue.batch()) is not None:
            entry = open_ledger(self._site, self._system).append(batch)
            self._queue.signed()
            entries_count += 1
            self._head = Head(entry.chain, entry.number, entry.digest)
        missing: tuple[str, ...] = ()
        if self._site.clock.monotonic() >= self._anchor_due:
            missing = self._anchor()
        return Signed(entries_count, self._head, missing)

    def anchor_last(self) -> None:
        """Anchor what is not anchored yet; a center that does not take it now gets the next head."""
        try:
            self._anchor()
        except GovsecError as error:
            log.warning("ledger not anchored", extra={"error": str(error)})

    def _anchor(self) -> tuple[str, ...]:
        if self._head is None and not self._is_looked_at:
            self._head = unanchored_head(self._site, self._system)
        self._is_looked_at = True
        if self._head is None:
            return ()
        self._anchor_due = self._site.clock.monotonic() + self._site.config.incident.duty.anchor_every_s
        missing = anchor_ledger(self._site, self._system, self._head).missing
        if not missing:
            self._head = None
        return missing
