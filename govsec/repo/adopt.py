"""Taking over a repository that stock restic wrote: look at all of it first, then say what will be different.

Nothing is converted; both programs go on working with the same repository. What changes is where files are cut:
govsec's chunker and restic's do not agree, so the first time that govsec stores a file which has changed since restic
stored it, all of that file is stored anew. Files that have not changed are not even read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from govsec.clock import Clock
from govsec.errors import RefusedError
from govsec.progress import ProgressSink, silent
from govsec.repo.check import CheckReport, Scope, check
from govsec.repo.repository import Repository
from govsec.repo.settings import VERSION_WRITTEN

_HOSTS_MAX = 100


@dataclass(frozen=True, slots=True)
class Adoption:
    """What was found in a repository that is to be taken over."""

    repository_id: str
    snapshots_count: int
    #: Oldest and newest snapshot.
    first: datetime | None
    last: datetime | None
    hosts: tuple[str, ...]
    check: CheckReport
    #: What the operator should know, in whole sentences.
    notes: tuple[str, ...]

    @property
    def is_adoptable(self) -> bool:
        """Whether the check was good; damage is healed or quarantined before govsec builds on it."""
        return self.check.is_good


def adopt(
    repository: Repository,
    *,
    clock: Clock,
    scope: Scope = Scope.ALL_DATA,
    workers: int | None = None,
    progress: ProgressSink = silent,
) -> Adoption:
    """Look at a repository of stock restic; changes nothing.

    Raises:
        RefusedError: it is of version 1, which govsec only reads.
    """
    if repository.config.version != VERSION_WRITTEN:
        raise RefusedError(
            f"{repository.store.name}: a repository of version {repository.config.version}; "
            "`restic migrate upgrade_repo_v2` makes it one that can be adopted"
        )
    snapshots = repository.snapshots()
    report = check(repository, clock=clock, scope=scope, workers=workers, progress=progress)
    hosts = sorted({snapshot.hostname for snapshot in snapshots})
    return Adoption(
        repository_id=repository.config.id,
        snapshots_count=len(snapshots),
        first=snapshots[0].time if snapshots else None,
        last=snapshots[-1].time if snapshots else None,
        hosts=tuple(hosts[:_HOSTS_MAX]),
        check=report,
        notes=tuple(_notes(repository, hosts)),
    )


def _notes(repository: Repository, hosts: Sequence[str]) -> list[str]:
    notes = [
        "No pack, index or snapshot was changed; stock restic goes on working with this repository.",
        "govsec cuts files in other places than restic: a file that changed since then is stored anew, whole, once.",
    ]
    if len(hosts) > 1:
        notes.append(
            f"Snapshots of {len(hosts)} hosts: each of them can read what the others stored. "
            "govsec keeps one repository a system."
        )
    if repository.unreadable:
        notes.append(f"{len(repository.unreadable)} objects could not be read and were passed over.")
    return notes
