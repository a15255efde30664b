"""Processes that hide (ATT&CK T1014, T1564): a number answers to signals, and ``/proc`` says nothing true of it.

Idea: whoever hides a process changes what one question answers, and forgets others. A list of ``/proc`` without it, an
empty folder mounted over it, another process' folder in its place: the kernel still delivers signals to it, its control
group still counts it. A process that is just ending looks the same for a moment; so it has to hide at two looks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pydantic import Field

from govsec.findings.api import Settings
from govsec.findings.judgement import Measure
from govsec.findings.tables import Recent
from govsec.guard.api import Actor, HiddenProcess, Observation, ProcessLook
from govsec.guard.forms import tell, who
from govsec.host.events import ProcessStarted
from govsec.host.tables import Unavailable
from govsec.records import Finding, Severity

KIND = "host.tamper.hidden_process"
_WORDS = {
    "unlisted": "is not in the listing of /proc",
    "unreadable": "has a folder in /proc that says nothing",
    "covered": "has another process' folder in its place",
}


class HiddenProcessSettings(Settings):
    """Numbers that answer and are not shown."""

    looks_min: int = Field(
        default=2, ge=1, le=10, description="looks in a row at which it hides; one may be a process that ends"
    )
    starts_max: int = Field(default=16_384, ge=256, description="starts that are remembered, to say who it was")


class _Start:
    __slots__ = ("actor",)

    def __init__(self) -> None:
        self.actor: Actor | None = None


class HiddenProcesses:
    """Differences between the views of the table of processes."""

    name = "hidden_process"

    def __init__(self, settings: HiddenProcessSettings) -> None:
        self._settings = settings
        self._seen: dict[int, int] = {}
        self._starts: Recent[int, _Start] = Recent(settings.starts_max, _Start)
        self._unavailable_count = 0
        self.cooldown_s = settings.cooldown_s

    def observe(self, observation: Observation) -> Iterator[Finding]:
        for record in observation.records:
            if isinstance(record, ProcessStarted):
                self._starts.at(record.process.key.pid).actor = Actor(record.process, record.ancestors)
            elif isinstance(record, ProcessLook):
                yield from self._look(record)

    def finish(self, time_ns: int) -> Iterator[Finding]:
        yield from ()

    def state(self) -> Mapping[str, int]:
        return {"suspects": len(self._seen), "looks_unavailable": self._unavailable_count}

    def _look(self, look: ProcessLook) -> Iterator[Finding]:
        if isinstance(look.hidden, Unavailable):
            self._unavailable_count += 1
            return
        hidden = {one.pid: one for one in look.hidden}
        # Numbers that this look did not ask keep their count.
        self._seen = {
            pid: count
            for pid, count in self._seen.items()
            if pid in hidden or not (look.begin <= pid < look.end or pid in look.again)
        }
        for pid, one in hidden.items():
            self._seen[pid] = self._seen.get(pid, 0) + 1
            if self._seen[pid] >= self._settings.looks_min:
                yield self._finding(one, look.time_ns)

    def _finding(self, one: HiddenProcess, time_ns: int) -> Finding:
        start = self._starts.get(one.pid)
        actor = start.actor if start is not None else None
        known = f"; it started as {who(actor)}" if actor is not None else ""
        return tell(
            kind=KIND,
            detector=self.name,
            severity=Severity.CRITICAL,
            time_ns=time_ns,
            subject=f"pid {one.pid}",
            summary=f"Process {one.pid} answers to signals but {_WORDS[one.how]}, at {self._seen[one.pid]} looks "
            f"in a row{known}.",
            pattern=(one.pid, one.how),
            attack=("T1014", "T1564"),
            measured={"looks": Measure(self._seen[one.pid], self._settings.looks_min)},
            actor=actor,
            before={"answers": "kill(0)", "seen_in": list(one.seen_in)},
            after={"proc": one.how},
            facts={"how": one.how, "pid": one.pid},
        )
