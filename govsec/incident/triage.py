"""From findings to notices: what belongs together is told together, once, and again only when it has to be.

Findings of one rule about one subject of one system are one incident, however many there are. Incidents of one group
(of one system and one class of rule) share a notice: the first after ``wait_s``, so that what comes together is told
together; what is new after ``interval_s``; and what is still going on, and nobody has taken on, after ``repeat_s``.
More than ``notices_per_minute`` groups at once become one digest a minute. What is severe does not wait.

Everything is in the file before anybody is told: :meth:`Triage.absorb` writes findings down, :meth:`Triage.due` gives
notices, and :meth:`Triage.told` takes them off once an outbox has them. A crash in between gives the same notices with
the same keys again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from govsec.clock import to_ns
from govsec.errors import RefusedError
from govsec.incident.levels import EventLevel
from govsec.incident.silences import (
    DEFAULT_INHIBITIONS,
    Held,
    Inhibition,
    Maintenance,
    Silence,
    inhibitor_of,
    new_silence,
)
from govsec.incident.triagebatch import Incident, Position
from govsec.incident.triagefile import TriageFile
from govsec.incident.triagetell import Group, Telling
from govsec.records import Finding, Notice, Severity

_LISTED_MAX = 10
_SYSTEMS_MAX = 100
_SYSTEM_SIZE_MAX = 200
_SECOND_NS = 1_000_000_000


class TriageSettings(BaseModel):
    """How notices are put together. Each figure with its reason."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    #: What is one attack shows as several findings within half a minute.
    wait_s: int = Field(default=30, ge=0, le=3600)
    #: News of what was told already; more often would teach people not to read it.
    interval_s: int = Field(default=300, ge=30, le=86_400)
    #: A shift has eight hours: what nobody has taken on is told twice in it.
    repeat_s: int = Field(default=14_400, ge=300, le=604_800)
    #: An incident without a finding for so long is over; the next one begins anew.
    quiet_s: int = Field(default=3_600, ge=60, le=604_800)
    #: Chat robots of China's large services mute who sends more than twenty a minute; half of that is left to others.
    notices_per_minute: int = Field(default=10, ge=1, le=1_000)
    #: From this on nobody waits.
    at_once_from: Severity = Severity.HIGH
    #: Incidents in the file; the oldest that are over make room.
    incidents_max: int = Field(default=1_000_000, ge=1_000, le=10_000_000)


@dataclass(frozen=True, slots=True)
class Absorbed:
    """What became of findings."""

    opened: tuple[Incident, ...]
    counted: int
    held: Mapping[Held, int]


class Triage:
    """Over one file. Not for two threads."""

    def __init__(
        self,
        file: TriageFile,
        settings: TriageSettings | None = None,
        *,
        inhibitions: Sequence[Inhibition] = DEFAULT_INHIBITIONS,
        maintenance: Sequence[Maintenance] = (),
        parents: Mapping[str, Sequence[str]] | None = None,
        level_of: Callable[[str], EventLevel] = lambda _: EventLevel.GENERAL,
    ) -> None:
        """``parents``: what each subject depends on; ``level_of``: the level of the case that holds a fingerprint."""
        self._file = file
        self._settings = settings or TriageSettings()
        self._inhibitions = tuple(inhibitions)
        self._maintenance = tuple(maintenance)
        self._parents = parents or {}
        self._level_of = level_of

    def absorb(self, findings: Sequence[Finding], now: datetime, *, system: str = "") -> Absorbed:
        """Write findings of one system down; they are on the disk when it returns. Raises as :meth:`absorb_all`."""
        return self.absorb_all([(system, finding) for finding in findings], now)

    def absorb_all(
        self, findings: Sequence[tuple[str, Finding]], now: datetime, position: Position | None = None
    ) -> Absorbed:
        """Write findings with their systems down; they are on the disk when it returns.

        ``position`` is written with them, all or none: whoever reads a source from there on after a crash counts
        nothing twice and leaves nothing out (:meth:`TriageFile.position`).

        Raises:
            RefusedError: a system's name is too long to be told. Else as ``Database``.
        """
        for system in {system for system, _ in findings}:
            if len(system) > _SYSTEM_SIZE_MAX:
                raise RefusedError(f"system {system[:40]!r}…: a name of more than {_SYSTEM_SIZE_MAX} characters")
        silences = [silence for silence in self._file.silences() if silence.holds(now)]
        opened: list[Incident] = []
        held: dict[Held, int] = {}
        now_ns = to_ns(now)
        with self._file.batch(self._settings.incidents_max, now_ns) as batch:
            for system, finding in findings:
                mark = fingerprint(finding.kind, finding.subject, system)
                why = self._why_held(finding, mark, system, silences, now, batch.is_open)
                group = group_of(finding.kind, system)
                incident, is_new = batch.count(mark, finding, system, group, self._settings.quiet_s * _SECOND_NS, why)
                if is_new:
                    opened.append(incident)
                if why is not None:
                    held[why] = held.get(why, 0) + 1
                else:
                    is_urgent = finding.severity >= self._settings.at_once_from
                    wait_ns = 0 if is_urgent else self._settings.wait_s * _SECOND_NS
                    batch.await_notice(group, wait_ns, self._settings.interval_s * _SECOND_NS, is_news=is_new)
            if position is not None:
                batch.reach(position)
        return Absorbed(tuple(opened), len(findings), held)

    def due(self, now: datetime) -> tuple[Notice, ...]:
        """Notices to hand to an outbox now, digests and silences that ended included; :meth:`told` takes them off.

        What was given before and not taken off is given again, as it was, and nothing else until that is done.
        """
        with self._file.telling(to_ns(now)) as telling:
            if waiting := telling.prepared():
                return waiting
            for silence, count in telling.silences_over():
                telling.prepare(_ended(silence, count, telling, now), silence=silence)
            groups = telling.groups_due()
            room = self._settings.notices_per_minute - telling.told_count()
            # One place of the minute is the digest's, when there is more than fits.
            alone = groups if len(groups) <= max(room, 0) else groups[: max(room - 1, 0)]
            for group in alone:
                telling.prepare(_notice(group, telling, now), [group])
            rest = groups[len(alone) :]
            if rest and telling.may_digest():
                telling.prepare(_digest(rest, telling, now), rest)
            return telling.prepared()

    def told(self, notices: Sequence[Notice], now: datetime) -> None:
        """An outbox has these: their groups wait for what comes next. Raises as ``Database``."""
        self._file.mark_told([notice.key for notice in notices], to_ns(now), self._settings.repeat_s * _SECOND_NS)

    def acknowledge(self, fingerprints: Sequence[str]) -> None:
        """A person has taken these on: they are not repeated any more, news of them still is told."""
        self._file.acknowledge(fingerprints)

    def silence(self, silence: Silence) -> None:
        """Hold findings back for a while; those of an event of level 较大 or above are told all the same.

        Raises:
            RefusedError: it cannot be meant, or there is one of that name.
        """
        self._file.add_silence(new_silence(silence))

    def unsilence(self, silence_id: str, now: datetime) -> None:
        """End a silence now; what it held back is told. Raises ``RefusedError`` when there is none."""
        self._file.end_silence(silence_id, to_ns(now))

    def _why_held(
        self,
        finding: Finding,
        mark: str,
        system: str,
        silences: Sequence[Silence],
        now: datetime,
        is_open: Callable[[str], bool],
    ) -> Held | None:
        kind, subject = finding.kind, finding.subject
        if self._level_of(mark) >= EventLevel.RELATIVELY_MAJOR:
            return None  # nothing holds back what must be reported
        for silence in silences:
            if silence.match.fits(kind, subject, system):
                self._file.count_held(silence.id)
                return Held.SILENCED
        for work in self._maintenance:
            if work.starts_at <= now < work.ends_at and work.match.fits(kind, subject, system):
                return Held.MAINTENANCE
        causes = inhibitor_of(kind, subject, self._inhibitions, self._parents)
        if any(is_open(fingerprint(cause, parent, system)) for cause, parent in causes):
            return Held.INHIBITED
        return None


def fingerprint(kind: str, subject: str, system: str) -> str:
    """What makes two findings the same incident: rule, entity and tenant."""
    return hashlib.sha256("\x00".join((kind, subject, system)).encode("utf-8", "surrogatepass")).hexdigest()[:32]


def group_of(kind: str, system: str) -> str:
    """What shares a notice: one system and one class of rule (the first two words of the kind)."""
    return f"{system}|{'.'.join(kind.split('.')[:2])}"


def _notice(group: Group, telling: Telling, now: datetime) -> Notice:
    incidents = telling.of_group(group, _LISTED_MAX)
    first = incidents[0]
    kind = "incident.opened" if group.told_count == 0 else "incident.more" if group.is_news else "incident.still_open"
    count = f"{group.incidents_count} incidents of {group.kind}" if group.incidents_count > 1 else first.kind
    # The group's own name may be long: its digest is as good a name.
    name = hashlib.sha256(group.key.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return Notice(
        key=f"{telling.file_id}-{name}#{group.serial + 1}",
        kind=kind,
        severity=Severity(group.severity),
        time=now,
        system=group.system,
        subject=first.subject,
        summary=f"{count} with {group.findings_count} findings: {first.summary}"[:2000],
        facts={
            "kind": group.kind,
            "incidents_count": group.incidents_count,
            "findings_count": group.findings_count,
            "incidents": [_listed(incident) for incident in incidents],
        },
    )


def _digest(groups: Sequence[Group], telling: Telling, now: datetime) -> Notice:
    systems = sorted({group.system for group in groups})
    findings = sum(group.findings_count for group in groups)
    listed: list[JsonValue] = [
        {"kind": group.kind, "system": group.system, "findings_count": group.findings_count}
        for group in groups[:_LISTED_MAX]
    ]
    return Notice(
        key=f"{telling.file_id}-digest#{telling.number()}",
        kind="incident.digest",
        severity=Severity(max(group.severity for group in groups)),
        time=now,
        subject=systems[0] or "all systems" if len(systems) == 1 else f"{len(systems)} systems",
        summary=f"{len(groups)} groups of incidents with {findings} findings in a minute; told together",
        facts={"groups_count": len(groups), "systems": list(systems[:_SYSTEMS_MAX]), "listed": listed},
    )


def _listed(incident: Incident) -> dict[str, JsonValue]:
    return {
        "fingerprint": incident.fingerprint,
        "kind": incident.kind,
        "subject": incident.subject,
        "severity": Severity(incident.severity).name.lower(),
        "count": incident.count,
        "summary": incident.summary,
    }


def _ended(silence: Silence, count: int, telling: Telling, now: datetime) -> Notice:
    return Notice(
        key=f"{telling.file_id}-silence-{silence.id}",
        kind="incident.silence_ended",
        severity=Severity.INFO if count == 0 else Severity.MEDIUM,
        time=now,
        subject=silence.id,
        summary=f"a silence of {silence.author} has ended; it held back {count} findings ({silence.reason})"[:2000],
        facts={"silence": silence.id, "author": silence.author, "reason": silence.reason, "held_count": count},
    )
