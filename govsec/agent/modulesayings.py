"""What an agent says of its modules: paused, ended and started again, in a crash loop, well again, records lost."""

from __future__ import annotations

import logging
import signal
from collections import Counter

from govsec.agent.intake import Intake
from govsec.agent.life import Life
from govsec.agent.sayings import LOST, QUIET_S, RECOVERED, RESTARTED, STOPPED, THROTTLED, Sayings
from govsec.findings.judgement import Measure
from govsec.records import Severity

log = logging.getLogger(__name__)

_PLACES_SAID_MAX = 10


class ModuleSayings:
    """Findings about the modules of the agent ``name``, handed to ``intake``."""

    def __init__(self, name: str, sayings: Sayings, intake: Intake) -> None:
        self._name = name
        self._sayings = sayings
        self._intake = intake
        #: By module, stage and reason, since it was told last.
        self._lost: Counter[tuple[str, str, str]] = Counter()

    def throttled(self, life: Life) -> None:
        """It used too much of the processor, and is paused."""
        share_max = life.spec.budget.cpu_percent_max
        self._say(
            THROTTLED,
            Severity.LOW,
            life,
            f"used more of the processor than its {share_max:g} %, and is paused at times",
            measured={
                "paused": Measure(life.throttled_s, unit="s"),
                "processor": Measure(life.usage.cpu_s, unit="s"),
                "share": Measure(life.cpu.share_percent, share_max, "%"),
            },
        )

    def ended(self, life: Life, reason: str, code: int, lived_s: float, pause_s: float) -> None:
        """It ended and is started again in ``pause_s``; ends again and again are told once, as such."""
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        log.warning("module ended", extra={"agent_module": life.spec.name, "reason": reason, "how": how})
        words = f"ended after {lived_s:.0f} s ({reason}, {how}{': ' + life.said if life.said else ''})"
        measured = self._measured(life, reason, lived_s)
        if not life.backoff.is_loop:
            words += f"; it is started again in {pause_s:.1f} s"
            self._say(RESTARTED, Severity.MEDIUM, life, words, reason=reason, measured=measured, quiet_s=0)
        elif not life.is_in_loop:
            life.is_in_loop = True
            measured["in_row"] = Measure(life.backoff.in_row, life.backoff.loop_after, "restarts")
            words += "; it does so again and again, and is tried again later and later, at least hourly"
            self._say(STOPPED, Severity.HIGH, life, words, reason="crash_loop", measured=measured, quiet_s=0)

    def recovered(self, life: Life) -> None:
        """It was in a crash loop, and is well."""
        life.is_in_loop = False
        self._say(RECOVERED, Severity.INFO, life, "runs again and has done so for a while", quiet_s=0)

    def lost(self, life: Life, stage: str, reason: str, count: int) -> None:
        """Count records that it lost, or that were refused; told by :meth:`tell_lost`."""
        life.counts["lost"] += count
        self._lost[life.spec.name, stage, reason] += count

    def tell_lost(self) -> None:
        """One finding a module with what was lost since the last time."""
        for name in sorted({name for name, _, _ in self._lost}):
            lost = {
                f"{stage}:{reason}": count for (of, stage, reason), count in sorted(self._lost.items()) if of == name
            }
            total = sum(lost.values())
            places = ", ".join(f"{place} {count}" for place, count in list(lost.items())[:_PLACES_SAID_MAX])
            finding = self._sayings.say(
                LOST,
                Severity.MEDIUM,
                name,
                f"Module {name} lost {total} records: {places}.",
                measured={"lost": Measure(total, 0, "records")},
                facts={"places": dict(lost)},
                quiet_s=0,
            )
            self._intake.say(finding)
        self._lost.clear()

    def _measured(self, life: Life, reason: str, lived_s: float) -> dict[str, Measure]:
        measured = {"restarts": Measure(life.restarts.total()), "lived": Measure(lived_s, unit="s")}
        if reason == "memory":
            measured["memory"] = Measure(life.over_bytes, life.spec.budget.memory_max_bytes, "bytes")
        elif reason == "hang":
            measured["silence"] = Measure(life.silent_s(), life.spec.budget.hang_s, "s")
        return measured

    def _say(
        self,
        kind: str,
        severity: Severity,
        life: Life,
        words: str,
        *,
        reason: str = "",
        measured: dict[str, Measure] | None = None,
        quiet_s: float = QUIET_S,
    ) -> None:
        about = life.spec.name
        summary = f"Module {about} of agent {self._name} {words}."
        self._intake.say(
            self._sayings.say(kind, severity, about, summary, reason=reason, measured=measured, quiet_s=quiet_s)
        )
