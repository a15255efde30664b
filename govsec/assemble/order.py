"""Which backup came last: asked of the commit log, because the times in snapshots are what a clock said."""

from __future__ import annotations

from datetime import datetime

from govsec.assemble.systems import Site
from govsec.centers.log import START, read_log, snapshots_in_order
from govsec.centers.ship import repository_of
from govsec.store.api import ReadStore

_THREADS = 4


def committed_order(site: Site, store: ReadStore) -> list[str]:
    """The ids of all snapshots that the log at ``store`` names, in the order of their commits.

    Empty where this site pins no keys: then it has no log that it could believe.
    """
    if site.config.signing.roots_file is None:
        return []
    log = read_log(store, site.trusted(), repository=repository_of(store), after=START, threads=_THREADS)
    return [snapshot.id for snapshot in snapshots_in_order(log)]


def newest_committed(site: Site, store: ReadStore) -> list[str]:
    """The ids of the newest snapshot of each job, and of those since the newest checkpoint, in the order of commits.

    What :func:`committed_order` is asked for most, at a cost that does not grow with the log.
    """
    if site.config.signing.roots_file is None:
        return []
    log = read_log(store, site.trusted(), repository=repository_of(store), threads=_THREADS)
    of_jobs = () if log.checkpoint is None else log.checkpoint.newest_by_job
    return [*(snapshot.id for snapshot in of_jobs), *(snapshot.id for snapshot in snapshots_in_order(log))]


def last_committed_at(site: Site, store: ReadStore) -> datetime | None:
    """When the last snapshot was committed, by the clock of whoever committed it; None before the first."""
    log = read_log(store, site.trusted(), repository=repository_of(store), threads=_THREADS)
    times = [entry.commit.time for entry in log.entries if entry.commit.snapshot is not None]
    if not times and log.checkpoint is not None and log.checkpoint.newest is not None:
        return log.checkpoint.newest.time
    return times[-1] if times else None
