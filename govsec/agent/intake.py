"""From the supervisor's hands to the disk: findings wait here, bounded, until the spool has them.

One idea: trouble with the disk is a state, not an end. While the spool refuses (full, held, failing), entries wait;
when too many do, modules are no longer listened to (:attr:`Intake.is_full`) and their own queues fill and count. What
is lost on the way is told in the spool as soon as it takes something again. A damaged spool is set aside, begun anew.
"""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from pydantic import JsonValue

from govsec.agent.sayings import SPOOL_DAMAGED, SPOOL_FAILING, Sayings
from govsec.agent.spool import Damage, Spool
from govsec.agent.spoolrecord import Entry, Priority, Record
from govsec.clock import Clock, format_time
from govsec.errors import GovsecError, IntegrityError
from govsec.records import Finding, Severity

log = logging.getLogger(__name__)

#: Entries that wait for the disk before modules are made to wait.
WAITING_MAX = 2_000
#: What the agent says of itself goes beyond that limit, for it tells why.
_OWN_MAX = 500
_BATCH_MAX = 500
_RETRY_MAX_S = 30.0
#: Findings that a status shows.
_RECENT_MAX = 20


@dataclass(slots=True)
class Flushed:
    """What one flush did. ``damage``: what the disk gave back was not what it had been given."""

    written: list[Entry] = field(default_factory=list)
    read: list[Record] = field(default_factory=list)
    damage: str = ""


class Intake:
    """Entries on their way into ``spool``."""

    def __init__(self, name: str, spool: Spool, sayings: Sayings, clock: Clock) -> None:
        self.spool = spool
        #: What is wrong with the spool, empty when nothing is.
        self.trouble = ""
        self.recent: deque[dict[str, JsonValue]] = deque(maxlen=_RECENT_MAX)
        self.counts: Counter[str] = Counter()
        self._name = name
        self._sayings = sayings
        self._clock = clock
        self._waiting: deque[Entry] = deque()
        self._losses: Counter[tuple[Priority, str]] = Counter()
        self._retry_at = 0.0
        self._retry_s = 1.0
        if spool.damage is not None:
            self._tell_damage(spool.damage)

    @property
    def is_full(self) -> bool:
        """Modules should not be listened to."""
        return len(self._waiting) >= WAITING_MAX

    def __len__(self) -> int:
        return len(self._waiting)

    def take(self, module: str, finding: Finding) -> None:
        """A finding of ``module`` (empty: of the agent itself)."""
        if len(self._waiting) >= WAITING_MAX + _OWN_MAX:
            self.lose(Priority.FINDING, "waiting_full", 1)
            return
        body: dict[str, JsonValue] = {
            "agent": self._name,
            "module": module,
            "received": format_time(self._clock.now()),
            "finding": finding.canonical(),
        }
        self._waiting.append(Entry(Priority.FINDING, body))
        self.counts["findings"] += 1
        self.recent.append(
            {
                "time": format_time(finding.time),
                "module": module,
                "kind": finding.kind,
                "severity": finding.severity.name.lower(),
                "subject": finding.subject,
            }
        )

    def say(self, finding: Finding | None) -> None:
        """A finding of the agent itself, unless it is held back."""
        if finding is not None:
            log.warning(
                "agent finding", extra={"kind": finding.kind, "subject": finding.subject, "summary": finding.summary}
            )
            self.take("", finding)

    def lose(self, priority: Priority, reason: str, count: int) -> None:
        """Count what did not get here; told in the spool with the next batch."""
        self._losses[priority, reason] += count
        self.counts["lost"] += count

    def flush(self, *, is_read_back: bool = False) -> Flushed:
        """Put on the disk what waits, if the disk takes it; gives what it took, and what it gives back if asked to."""
        now = self._clock.monotonic()
        flushed = Flushed()
        if (not self._waiting and not self._losses) or (self.trouble and now < self._retry_at):
            return flushed
        try:
            self._write(flushed, is_read_back=is_read_back)
        except IntegrityError as error:
            flushed.damage = str(error)
            self._begin_anew(error, now)
        except GovsecError as error:
            self._later(error, now)
        else:
            self._retry_s = 1.0
            self.trouble = ""
        return flushed

    @contextmanager
    def fork(self) -> Iterator[None]:
        """Around a fork: what waits is written, and the child finds no open database."""
        self.flush()
        with self.spool.closed():
            yield

    def _write(self, flushed: Flushed, *, is_read_back: bool) -> None:
        for (priority, reason), count in list(self._losses.items()):
            self.spool.lose(priority, reason, count)
            del self._losses[priority, reason]
        while self._waiting:
            batch = [self._waiting[place] for place in range(min(_BATCH_MAX, len(self._waiting)))]
            head = self.spool.append(batch)
            for _ in batch:
                self._waiting.popleft()
            self.counts["spooled"] += len(batch)
            flushed.written += batch
            if is_read_back:
                flushed.read += self.spool.after(max(0, head - len(batch)), len(batch))

    def _later(self, error: GovsecError, now: float) -> None:
        self.counts["spool_errors"] += 1
        self._retry_at = now + self._retry_s
        self._retry_s = min(_RETRY_MAX_S, self._retry_s * 2)
        if not self.trouble:
            log.error("spool failing", extra={"error": str(error), "waiting": len(self._waiting)})
        self.trouble = str(error)
        self.say(
            self._sayings.say(
                SPOOL_FAILING,
                Severity.HIGH,
                "spool",
                f"Findings could not be put on the disk ({error}); they waited in memory.",
            )
        )

    def _begin_anew(self, error: IntegrityError, now: float) -> None:
        try:
            self._tell_damage(self.spool.begin_anew(str(error)))
        except GovsecError as second:
            self._later(second, now)

    def _tell_damage(self, damage: Damage) -> None:
        self.counts["spools_damaged"] += 1
        self.say(
            self._sayings.say(
                SPOOL_DAMAGED,
                Severity.HIGH,
                "spool",
                f"The spool was damaged ({damage.reason}); it lies at {damage.place}, "
                f"{damage.saved_count} records of it were saved.",
                facts={"place": str(damage.place), "saved": damage.saved_count},
                quiet_s=0,
            )
        )
