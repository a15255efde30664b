"""Canary files (ATT&CK T1486): files that nobody has a reason to touch, first and last of their folder.

Idea: a program that goes through a folder and rewrites what it finds meets them; people and jobs do not write to files
that are named, listed and explained as bait. So a single write, rename or removal is enough, at once. Reading is no
harm: backups and indexers read everything.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sized

from govsec.findings.api import Settings
from govsec.guard.api import CanaryTouch, Observation
from govsec.guard.forms import culprit, tell, text, who
from govsec.guard.trees import actor_of, root_of
from govsec.host.events import FileChange, FileOperation
from govsec.records import Finding, Severity

KIND = "host.ransomware.canary"
_DEEDS = {
    FileOperation.MODIFIED: "was written to",
    FileOperation.RENAMED: "was renamed",
    FileOperation.DELETED: "was removed",
    FileOperation.CREATED: "was put anew",
}


class RansomCanarySettings(Settings):
    """Bait that was touched. There is nothing to set but the cool-down: where canaries lie, the site decides."""


class RansomCanary:
    """Writes to files that nobody writes to. ``canaries``: to count them."""

    name = "ransom_canary"

    def __init__(self, settings: RansomCanarySettings, canaries: Sized) -> None:
        self._canaries = canaries
        self.cooldown_s = settings.cooldown_s

    def observe(self, observation: Observation) -> Iterator[Finding]:
        for record in observation.records:
            if isinstance(record, CanaryTouch):
                yield self._finding(record.change, record.path)

    def finish(self, time_ns: int) -> Iterator[Finding]:
        yield from ()

    def state(self) -> Mapping[str, int]:
        return {"canaries": len(self._canaries)}

    def _finding(self, change: FileChange, canary: str) -> Finding:
        actor = actor_of(change)
        root = root_of(actor) if actor is not None else None
        return tell(
            kind=KIND,
            detector=self.name,
            severity=Severity.CRITICAL,
            time_ns=change.time_ns,
            subject=canary,
            summary=f"The canary {text(canary)} {_DEEDS.get(change.operation, 'was changed')} by {who(actor)}"
            + (f"; it is {text(change.path)} now." if change.operation is FileOperation.RENAMED else "."),
            pattern=(canary, (root.executable or root.name) if root is not None else ""),
            attack=("T1486", "T1485"),
            actor=actor,
            before={"path": canary},
            after={"path": change.path, "operation": change.operation.value},
            facts={"how": change.operation.value, "culprit": culprit(actor), "path": canary},
        )
