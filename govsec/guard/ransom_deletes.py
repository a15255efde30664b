"""Many documents removed by one process tree (ATT&CK T1485): destruction, or what encryption into other names leaves.

Idea: programs remove what they made themselves: temporary files, logs, packages, results of a build. Documents of
people go one by one, or go *somewhere*: the same names appear elsewhere. A hundred that go nowhere within a minute are
worth a look, also when somebody only tidied up.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pydantic import Field

from govsec.findings.api import SECOND_NS, Settings
from govsec.findings.judgement import Measure
from govsec.findings.tables import Recent
from govsec.guard.api import Observation
from govsec.guard.bursts import Bursts, Deed, folders_of
from govsec.guard.contents import DOCUMENTS, endings
from govsec.guard.forms import culprit, tell, who
from govsec.guard.trees import actor_of, root_of, tree_of
from govsec.host.events import FileChange, FileOperation
from govsec.records import Finding, Severity

KIND = "host.ransomware.deletes"


class RansomDeletesSettings(Settings):
    """Removals in number."""

    deletes_min: int = Field(default=100, ge=10, description="documents that one tree removed; people tidy up less")
    window_s: int = Field(default=60, ge=5, le=3600)
    passing: tuple[str, ...] = Field(
        default=("/tmp/", "/var/tmp/", "/var/cache/", "/dev/shm/", "/node_modules/", "/site-packages/", "/.cache/"),  # noqa: S108  # compared with, not used
        max_length=100,
        description="parts of paths below which things are made to be removed",
    )
    trees_max: int = Field(default=4096, ge=64, description="process trees that are watched")
    names_max: int = Field(default=16_384, ge=256, description="names of new files that are remembered as moved there")


class RansomDeletes:
    """Bursts of removed documents."""

    name = "ransom_deletes"

    def __init__(self, settings: RansomDeletesSettings) -> None:
        self._settings = settings
        self._bursts = Bursts(window_ns=settings.window_s * SECOND_NS, trees_max=settings.trees_max)
        self._made: Recent[str, list[int]] = Recent(settings.names_max, list)
        self.cooldown_s = settings.cooldown_s

    def observe(self, observation: Observation) -> Iterator[Finding]:
        for record in observation.records:
            if not isinstance(record, FileChange) or record.is_directory:
                continue
            name = record.path.rsplit("/", 1)[-1]
            if record.operation in (FileOperation.CREATED, FileOperation.MODIFIED):
                self._made.at(name)[:] = [record.time_ns]
            elif record.operation is FileOperation.DELETED and self._counts(record, name):
                actor = actor_of(record)
                deeds = self._bursts.add(tree_of(actor, record.path), Deed(record.time_ns, record.path, actor))
                if len(deeds) >= self._settings.deletes_min:
                    yield self._finding(deeds[-1], list(deeds), folders_of(deeds))

    def finish(self, time_ns: int) -> Iterator[Finding]:
        yield from ()

    def state(self) -> Mapping[str, int]:
        return {**self._bursts.state(), "names": len(self._made), "names_forgotten": self._made.forgotten_count}

    def _counts(self, change: FileChange, name: str) -> bool:
        """A document, not made to be removed, and not moved elsewhere or made just before."""
        if not set(endings(change.path)[:1]) & DOCUMENTS:
            return False
        if any(part in change.path for part in self._settings.passing):
            return False
        made = self._made.get(name)
        return not made or made[-1] < change.time_ns - self._settings.window_s * SECOND_NS

    def _finding(self, last: Deed, deeds: list[Deed], folders: list[str]) -> Finding:
        settings = self._settings
        root = root_of(last.actor) if last.actor is not None else None
        return tell(
            kind=KIND,
            detector=self.name,
            severity=Severity.HIGH,
            time_ns=last.time_ns,
            subject=folders[0],
            summary=f"{who(last.actor)} and its tree removed {len(deeds)} documents in {len(folders)} folders within "
            f"{settings.window_s} s (threshold {settings.deletes_min}); they did not go elsewhere.",
            pattern=((root.executable or root.name) if root is not None else folders[0], folders[0]),
            attack=("T1485", "T1486"),
            measured={
                "deletes": Measure(len(deeds), settings.deletes_min, "files"),
                "folders": Measure(len(folders)),
            },
            actor=last.actor,
            paths=(deed.path for deed in deeds),
            facts={"culprit": culprit(last.actor), "window_s": settings.window_s},
        )
