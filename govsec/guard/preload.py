"""A library that is put into every program (ATT&CK T1574.006): ``/etc/ld.so.preload``.

Idea: hardly any server has one; who puts one there sees and changes what every program does, log-ins and listings of
files included. What the baseline, or the first look, had is known; every other entry is told, also one that replaces a
known one. So is that the file is a link, or too large to be read: the loader reads it all the same.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from govsec.findings.api import Settings
from govsec.guard.api import Observation, PreloadFile
from govsec.guard.forms import culprit, tell, text, who
from govsec.guard.keyview import is_oddity
from govsec.records import Finding, Severity

KIND = "host.tamper.preload"


class PreloadSettings(Settings):
    """Libraries for every program. What is fine is in the baseline, or dismissed by its pattern."""


class Preload:
    """New entries of ``ld.so.preload``. ``known``: those of the baseline; ``None`` without one."""

    name = "preload"

    def __init__(self, settings: PreloadSettings, known: Collection[str] | None = None) -> None:
        self._known = frozenset(known) if known is not None else frozenset()
        self._last: frozenset[str] = self._known
        self.cooldown_s = settings.cooldown_s

    def observe(self, observation: Observation) -> Iterator[Finding]:
        for record in observation.records:
            if isinstance(record, PreloadFile):
                yield from self._take(record)

    def finish(self, time_ns: int) -> Iterator[Finding]:
        yield from ()

    def state(self) -> Mapping[str, int]:
        return {"entries": len(self._last)}

    def _take(self, file: PreloadFile) -> Iterator[Finding]:
        before, self._last = self._last, frozenset(file.entries)
        for entry in sorted(self._last - before - self._known):
            yield tell(
                kind=KIND,
                detector=self.name,
                severity=Severity.CRITICAL,
                time_ns=file.time_ns,
                subject=entry,
                summary=f"{text(file.path)} {_does(entry)}; written by {who(file.actor)}.",
                pattern=(entry,),
                attack=("T1574.006", "T1014"),
                actor=file.actor,
                before={"entries": [*sorted(before)]},
                after={"entries": [*sorted(self._last)]},
                paths=(file.path,) if is_oddity(entry) else (file.path, entry),
                facts={"entry": entry, "path": file.path, "culprit": culprit(file.actor)},
            )


def _does(entry: str) -> str:
    if is_oddity(entry):
        return f"is {text(entry)}, and every program that starts is given what stands in it"
    return f"puts {text(entry)} into every program that starts"
