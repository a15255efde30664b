"""What an agent says of itself: findings ``agent.*``, each told once and then with what came since.

One idea: a condition that goes on (a module that is throttled every minute) is told at once, and again only after
:data:`QUIET_S`, with the count of what was held back. What became worse has a kind of its own and is not held back.
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import JsonValue

from govsec.clock import Clock, to_ns
from govsec.findings.judgement import Measure, judge
from govsec.records import Finding, Severity

THROTTLED = "agent.module.throttled"
RESTARTED = "agent.module.restarted"
STOPPED = "agent.module.stopped"
RECOVERED = "agent.module.recovered"
LOST = "agent.records.lost"
SPOOL_DAMAGED = "agent.spool.damaged"
SPOOL_FAILING = "agent.spool.failing"
CONFIG_APPLIED = "agent.config.applied"
CONFIG_REJECTED = "agent.config.rejected"
SELFTEST_FAILED = "agent.selftest.failed"
QUIET_S = 3_600.0
#: Patterns that are held back at a time: kinds by modules by reasons.
_PATTERNS_MAX = 1_000


class Sayings:
    """Makes findings about the agent ``name``, and holds back what was said a moment ago."""

    def __init__(self, name: str, clock: Clock) -> None:
        self._name = name
        self._clock = clock
        self._told: dict[tuple[str, str, str], tuple[float, int]] = {}

    def say(
        self,
        kind: str,
        severity: Severity,
        about: str,
        summary: str,
        *,
        reason: str = "",
        measured: Mapping[str, Measure] | None = None,
        facts: Mapping[str, JsonValue] | None = None,
        quiet_s: float = QUIET_S,
    ) -> Finding | None:
        """The finding, or None while the same was told less than ``quiet_s`` ago. ``about``: a module, or the spool."""
        now = self._clock.monotonic()
        place = (kind, about, reason)
        at, repeats_count = self._told.get(place, (None, 0))
        if at is not None and now - at < quiet_s:
            self._told[place] = (at, repeats_count + 1)
            return None
        if len(self._told) >= _PATTERNS_MAX and place not in self._told:
            self._told.pop(next(iter(self._told)))
        self._told[place] = (now, 0)
        said: dict[str, JsonValue] = {"agent": self._name, "module": about, **(facts or {})}
        if reason:
            said["reason"] = reason
        if repeats_count:
            said["repeats_held_back"] = repeats_count
        return judge(
            kind=kind,
            detector="agent",
            severity=severity,
            time_ns=to_ns(self._clock.now()),
            subject=f"agent {self._name}",
            summary=summary,
            pattern=(self._name, about, reason),
            measured=measured,
            facts=said,
        )
