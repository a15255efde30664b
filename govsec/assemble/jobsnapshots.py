"""The snapshots of one job and one folder at a center, the newest first, in the order of their commits.

Times in snapshots are what a clock said; the commit log says which came after which.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from govsec.centers.log import START, read_log, snapshots_in_order
from govsec.centers.ship import repository_of
from govsec.repo.layout import Kind

if TYPE_CHECKING:
    from govsec.assemble.systems import Site
    from govsec.repo.repository import Repository
    from govsec.repo.snapshot import Snapshot
    from govsec.store.api import ReadStore

#: Snapshots that are looked at, newest first.
_LOOK_BACK_MAX = 10_000
_THREADS = 4


def snapshots_of(site: Site, store: ReadStore, repository: Repository, job: str, root: str) -> Iterator[Snapshot]:
    """Those whose commit names ``job`` and whose only path is ``root``. Raises as reading a log and a snapshot does."""
    there = set(repository.object_ids(Kind.SNAPSHOT))
    seen: set[str] = set()
    # From the newest checkpoint on first: a job that runs has its newest snapshots there. The whole log takes long.
    for after in (None, START):
        log = read_log(store, site.trusted(), repository=repository_of(store), after=after, threads=_THREADS)
        for reference in reversed(snapshots_in_order(log)):
            if reference.job != job or reference.id not in there or reference.id in seen:
                continue
            seen.add(reference.id)
            if len(seen) > _LOOK_BACK_MAX:
                return
            snapshot = repository.load_snapshot(reference.id)
            if snapshot.paths == (root,):
                yield snapshot
