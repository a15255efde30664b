"""Runs detectors over observations: in order, each on its own, and without telling the same thing twice.

One idea: a pattern (``facts["pattern"]``) that was told is silent for the detector's cool-down of event time; what was
held back is counted, in all and by kind, and the next finding of that pattern says how often. A detector that raises
one of our errors loses that batch and, when it happens again and again, is stopped; the others go on, and a finding of
the kind ``degraded_kind`` says so. Nothing else is caught: a bug in a detector shall be seen.

Findings of one batch come by time, kind and pattern.
"""

from __future__ import annotations

import logging
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Generic, TypeVar

from govsec.errors import GovsecError
from govsec.findings.api import Detector, Seen
from govsec.findings.judgement import Measure, judge, pattern_of
from govsec.findings.quiet import Quiet
from govsec.records import Finding, Severity

log = logging.getLogger(__name__)

#: Patterns remembered for their cool-down; the one longest silent goes first.
_PATTERNS_MAX = 65_536
#: Findings of several detectors are this much out of order at most.
_DISORDER = timedelta(hours=1)
#: A detector that failed so often does not see what it is for.
_ERRORS_MAX = 3
SeenT = TypeVar("SeenT", bound=Seen)


class Engine(Generic[SeenT]):
    """The detectors of one sensor. ``findings_max`` bounds what one batch may tell; more is counted, not told."""

    #: What is counted, in the order of :meth:`counters`.
    counted: tuple[str, ...] = ("batches", "findings", "held_back", "cut")

    def __init__(
        self,
        detectors: Sequence[Detector[SeenT]],
        *,
        degraded_kind: str,
        quiet: Quiet | None = None,
        findings_max: int = 1_000,
    ) -> None:
        names = [detector.name for detector in detectors]
        assert len(set(names)) == len(names), "two detectors have one name"
        self._detectors = {detector.name: detector for detector in detectors}
        self._degraded_kind = degraded_kind
        self._quiet = quiet or Quiet()
        self._stopped: set[str] = set()
        self._errors: Counter[str] = Counter()
        self._told: OrderedDict[str, _Told] = OrderedDict()
        self._findings_max = findings_max
        self._counts: Counter[str] = Counter()
        self._held_back: Counter[str] = Counter()

    def observe(self, observation: SeenT, /) -> tuple[Finding, ...]:
        """What is sure after this batch.

        What a detector raises of our errors is counted and told as a finding.
        """
        self._counts["batches"] += 1
        return self._ask(observation.time_ns, lambda detector: detector.observe(observation))

    def finish(self, time_ns: int) -> tuple[Finding, ...]:
        """Nothing more comes: what is due now. ``time_ns``: event time of the end."""
        return self._ask(time_ns, lambda detector: detector.finish(time_ns))

    def counters(self) -> dict[str, dict[str, int]]:
        """What was done, told, held back in cool-downs (by kind), suppressed by the site (by entry) and left out (by
        detector), for status and reports."""
        return {
            "engine": {
                **{name: self._counts[name] for name in self.counted},
                "detectors": len(self._detectors) - len(self._stopped),
                "detectors_stopped": len(self._stopped),
                "errors": self._errors.total(),
                "patterns": len(self._told),
                "patterns_forgotten": self._counts["patterns_forgotten"],
            },
            "held_back": dict(sorted(self._held_back.items())),
            "suppressed": dict(self._quiet.counters()),
            **{name: dict(detector.state()) for name, detector in sorted(self._detectors.items())},
        }

    def _ask(self, time_ns: int, question: Callable[[Detector[SeenT]], Iterable[Finding]]) -> tuple[Finding, ...]:
        found: list[tuple[Finding, int]] = []
        for name, detector in self._detectors.items():
            if name in self._stopped:
                continue
            try:
                # Taken out one by one: what a detector was sure of before it failed is not lost.
                found.extend((finding, detector.cooldown_s) for finding in question(detector))
            except GovsecError as error:
                found.append((self._failed(name, error, time_ns), 0))
        found.sort(key=lambda item: (item[0].time, item[0].kind, pattern_of(item[0])))
        fresh = [kept for finding, cooldown_s in found if (kept := self._fresh(finding, cooldown_s)) is not None]
        return self._cut(fresh)

    def _cut(self, fresh: list[Finding]) -> tuple[Finding, ...]:
        """The worst findings of a batch, in their order; what is cut was not told, and may be told when it comes again.

        By severity, so that nobody hides an attack behind a thousand small ones.
        """
        kept = fresh
        if len(fresh) > self._findings_max:
            ranked = sorted(range(len(fresh)), key=lambda place: (-fresh[place].severity, place))
            chosen = sorted(ranked[: self._findings_max])
            kept = [fresh[place] for place in chosen]
            for place in ranked[self._findings_max :]:
                self._told.pop(pattern_of(fresh[place]), None)
        self._counts["cut"] += len(fresh) - len(kept)
        self._counts["findings"] += len(kept)
        return tuple(kept)

    def _fresh(self, finding: Finding, cooldown_s: int) -> Finding | None:
        """The finding, or None while its pattern is silent; it says what was held back since it was told last."""
        if self._quiet.covers(finding):
            return None
        pattern = pattern_of(finding)
        told = self._told.get(pattern)
        # What was told in a future that did not come (a clock that was wrong, a record that lies) silences nothing.
        is_silent = told is not None and -_DISORDER <= finding.time - told.time < timedelta(seconds=cooldown_s)
        # What became worse is news, whatever was said before.
        if told is not None and is_silent and finding.severity <= told.severity:
            self._told.move_to_end(pattern)
            told.repeats_count += 1
            self._counts["held_back"] += 1
            self._held_back[finding.kind] += 1
            return None
        self._told[pattern] = _Told(finding.time, finding.severity)
        self._told.move_to_end(pattern)
        if len(self._told) > _PATTERNS_MAX:
            self._told.popitem(last=False)
            self._counts["patterns_forgotten"] += 1
        if told is None or not told.repeats_count:
            return finding
        return finding.model_copy(update={"facts": {**finding.facts, "repeats_held_back": told.repeats_count}})

    def _failed(self, name: str, error: GovsecError, time_ns: int) -> Finding:
        self._errors[name] += 1
        is_stopped = self._errors[name] >= _ERRORS_MAX
        if is_stopped:
            self._stopped.add(name)
        log.warning("detector failed", extra={"detector": name, "error": str(error), "is_stopped": is_stopped})
        return judge(
            kind=self._degraded_kind,
            detector="engine",
            severity=Severity.HIGH if is_stopped else Severity.MEDIUM,
            time_ns=time_ns,
            subject="sensor",
            summary=f"Detector {name} failed ({error})"
            + ("; it is stopped." if is_stopped else "; one batch is lost."),
            pattern=("detector", name, "stopped" if is_stopped else "failed"),
            measured={"errors": Measure(self._errors[name], _ERRORS_MAX, "errors")},
            facts={"reason": "detector_failed", "failed": name, "error": str(error)[:500], "is_stopped": is_stopped},
        )


class _Told:
    __slots__ = ("repeats_count", "severity", "time")

    def __init__(self, time: datetime, severity: Severity) -> None:
        self.time = time
        self.severity = severity
        self.repeats_count = 0
