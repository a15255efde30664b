"""A guard that saw less than there was: events lost, sources that are worse than they could be.

Idea: silence means less while events are lost. Losses are counted where they happen; here they are told, with what they
mean, once a cool-down for each part and reason.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from govsec.findings.api import Settings
from govsec.findings.judgement import Measure
from govsec.guard.api import Observation
from govsec.guard.forms import tell
from govsec.host.events import EventsLost, WatchNote
from govsec.records import Finding, Severity

LOST, DEGRADED = "host.events.lost", "host.events.degraded"


class EventsLostSettings(Settings):
    """The sensor's own limits, where they were met."""


class LostEvents:
    """Losses of the sources, told."""

    name = "events_lost"

    def __init__(self, settings: EventsLostSettings) -> None:
        self._counts: dict[str, int] = {}
        self.cooldown_s = settings.cooldown_s

    def observe(self, observation: Observation) -> Iterator[Finding]:
        for record in observation.records:
            if isinstance(record, EventsLost):
                stage = record.stage.value
                self._counts[stage] = self._counts.get(stage, 0) + max(1, record.count)
                yield self._lost(record)
            elif isinstance(record, WatchNote) and record.is_degraded:
                yield self._degraded(record)

    def finish(self, time_ns: int) -> Iterator[Finding]:
        yield from ()

    def state(self) -> Mapping[str, int]:
        return {f"{stage}_lost": count for stage, count in sorted(self._counts.items())}

    def _lost(self, record: EventsLost) -> Finding:
        count = f"{record.count}" if record.count else "an unknown number of"
        return tell(
            kind=LOST,
            detector=self.name,
            severity=Severity.MEDIUM,
            time_ns=record.time_ns,
            subject=record.stage.value,
            summary=f"Of {record.stage.value}, {count} events were lost ({record.reason}).",
            pattern=(record.stage.value, record.reason),
            attack=("T1562.001",),
            measured={"lost": Measure(record.count, 1, "events")},
            paths=record.scope,
            facts={"stage": record.stage.value, "cause": record.reason},
        )

    def _degraded(self, note: WatchNote) -> Finding:
        return tell(
            kind=DEGRADED,
            detector=self.name,
            severity=Severity.LOW,
            time_ns=note.time_ns,
            subject=note.stage.value,
            summary=f"{note.stage.value} are watched by {note.source}, which sees less: {note.text}",
            pattern=(note.stage.value, note.source),
            facts={"stage": note.stage.value, "source": note.source, "cause": note.text},
        )
