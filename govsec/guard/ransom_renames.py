"""Documents that get an ending nobody knows, one after the other, from one process tree (ATT&CK T1486).

Idea: people rename files to other names of the same kind, and programs put on endings that are known (``.gz``,
``.bak``, ``.1``). A tree that gives twenty documents within a minute an ending that means nothing hides what they are.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping

from pydantic import Field

from govsec.findings.api import SECOND_NS, Settings
from govsec.findings.judgement import Measure
from govsec.guard.api import Observation
from govsec.guard.bursts import Bursts, Deed, folders_of
from govsec.guard.contents import DOCUMENTS, EXPECTED, KEPT, endings
from govsec.guard.forms import culprit, tell, who
from govsec.guard.trees import actor_of, root_of, tree_of
from govsec.host.events import FileChange, FileOperation
from govsec.records import Finding, Severity

KIND = "host.ransomware.renames"
#: Versions and dates, as rotation and people write them: ``.1``, ``.20261122``, ``.2026-11-22``, ``.v2``.
_VERSION = re.compile(r"^(v?\d{1,4}|\d{4}-?\d\d-?\d\d([-_T]?\d{2,6})?|~\d*~?)$")


class RansomRenamesSettings(Settings):
    """Renames to endings that mean nothing."""

    renames_min: int = Field(
        default=20, ge=3, description="documents that one tree gave a strange ending; a person renames a handful"
    )
    window_s: int = Field(default=60, ge=5, le=3600, description="slower encryption meets a canary first")
    known_endings: tuple[str, ...] = Field(
        default=(), max_length=1000, description="endings that the site's own programs put on, without the dot"
    )
    trees_max: int = Field(default=4096, ge=64, description="process trees that are watched")


class RansomRenames:
    """Bursts of renames."""

    name = "ransom_renames"

    def __init__(self, settings: RansomRenamesSettings) -> None:
        self._settings = settings
        self._known = KEPT | EXPECTED.keys() | DOCUMENTS | {ending.lower() for ending in settings.known_endings}
        self._bursts = Bursts(window_ns=settings.window_s * SECOND_NS, trees_max=settings.trees_max)
        self.cooldown_s = settings.cooldown_s

    def observe(self, observation: Observation) -> Iterator[Finding]:
        for record in observation.records:
            if isinstance(record, FileChange) and self._is_strange(record):
                actor = actor_of(record)
                deeds = self._bursts.add(tree_of(actor, record.path), Deed(record.time_ns, record.path, actor))
                if len(deeds) >= self._settings.renames_min:
                    yield self._finding(deeds[-1], list(deeds), folders_of(deeds))

    def finish(self, time_ns: int) -> Iterator[Finding]:
        yield from ()

    def state(self) -> Mapping[str, int]:
        return self._bursts.state()

    def _is_strange(self, change: FileChange) -> bool:
        """A document that got an ending that nobody knows."""
        if change.operation is not FileOperation.RENAMED or change.is_directory or change.old_path is None:
            return False
        before, after = endings(change.old_path)[:1], endings(change.path)[:1]
        if not before or before[0] not in DOCUMENTS or not after:
            return False
        return after[0] not in self._known and not _VERSION.match(after[0]) and not after[0].endswith("~")

    def _finding(self, last: Deed, deeds: list[Deed], folders: list[str]) -> Finding:
        settings = self._settings
        root = root_of(last.actor) if last.actor is not None else None
        ending, count = Counter(endings(deed.path)[0] for deed in deeds).most_common(1)[0]
        return tell(
            kind=KIND,
            detector=self.name,
            severity=Severity.CRITICAL,
            time_ns=last.time_ns,
            subject=folders[0],
            summary=f"{who(last.actor)} and its tree gave {len(deeds)} documents in {len(folders)} folders endings "
            f"that mean nothing within {settings.window_s} s (threshold {settings.renames_min}), {count} of them "
            f".{ending}.",
            pattern=((root.executable or root.name) if root is not None else folders[0], ending if count > 1 else ""),
            attack=("T1486",),
            measured={
                "renames": Measure(len(deeds), settings.renames_min, "files"),
                "folders": Measure(len(folders)),
            },
            actor=last.actor,
            paths=(deed.path for deed in deeds),
            facts={"culprit": culprit(last.actor), "ending": ending, "window_s": settings.window_s},
        )
