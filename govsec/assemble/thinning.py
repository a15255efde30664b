"""Which snapshots of a system's continuous jobs may go: by its configuration, with the key or without it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from govsec.backup.sources import FileSource
from govsec.backup.thinning import GROUP_TAG, WINDOW_TAG, thinned
from govsec.watchentry import WatchConfig

if TYPE_CHECKING:
    from govsec.centers.commits import SnapshotRef
    from govsec.config import BackupConfig, SystemConfig
    from govsec.repo.snapshot import Snapshot


def thinned_snapshots(system: SystemConfig, snapshots: Sequence[Snapshot], *, now: datetime) -> frozenset[str]:
    """The ids of those that may go, of the snapshots that windows made; those of a group's recovery point stay."""
    steps = {_paths_of(job): job.watch for job in system.backups if job.watch is not None}
    groups: dict[tuple[str, tuple[str, ...]], list[Snapshot]] = {}
    for snapshot in snapshots:
        if WINDOW_TAG in snapshot.tags and GROUP_TAG not in snapshot.tags:
            groups.setdefault((snapshot.hostname, tuple(sorted(snapshot.paths))), []).append(snapshot)
    going: set[str] = set()
    for (_, paths), group in groups.items():
        watch = steps.get(paths) or WatchConfig()
        going |= thinned([(snapshot.id, snapshot.time) for snapshot in group], watch, now=now)
    return frozenset(going)


def thinned_refs(system: SystemConfig, snapshots: Sequence[SnapshotRef], *, now: datetime) -> frozenset[str]:
    """As :func:`thinned_snapshots` for who has no key: of the jobs that the configuration says are continuous."""
    going: set[str] = set()
    for job in system.backups:
        if job.watch is not None or job.source.kind not in ("files", "command"):
            named = [(ref.id, ref.time) for ref in snapshots if ref.job == job.name]
            going |= thinned(named, job.watch or WatchConfig(), now=now)
    return frozenset(going)


def _paths_of(job: BackupConfig) -> tuple[str, ...]:
    if job.source.kind != "files":
        return ()
    paths = FileSource(job.source.paths).paths
    return tuple(sorted(os.fsencode(path).decode("utf-8", "backslashreplace") for path in paths))
