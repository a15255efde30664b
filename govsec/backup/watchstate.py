"""What a watcher is told, what it writes to, and how it says that it stands (:mod:`govsec.backup.watch`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from govsec.backup.archive import ArchiveResult
from govsec.backup.live import LiveWriter


class WatchTarget(Protocol):
    """What windows are committed to (``assemble.live.LiveSession``)."""

    @property
    def writer(self) -> LiveWriter: ...

    def commit(self, result: ArchiveResult, *, witness: str | None = None) -> object:
        """The receipt; when it raises, the snapshot waits for :meth:`commit_waiting`."""
        ...

    def commit_waiting(self) -> Sequence[object]:
        """Commit what waits; the receipts."""
        ...

    def tend(self) -> Sequence[object]:
        """What a target needs between windows; the receipts of what it committed."""
        ...


@dataclass(frozen=True, slots=True)
class WatchSettings:
    """How closely a source is followed; seconds."""

    window_s: float = 2.0
    #: Without changes a snapshot is made so often all the same.
    heartbeat_s: float = 600.0
    #: The whole source is compared so often, whatever events said: writes through shared memory give none.
    rescan_s: float = 6 * 3600.0


@dataclass(slots=True)
class WatchCounts:
    """What a watcher did since it began."""

    changes: int = 0
    windows: int = 0
    heartbeats: int = 0
    scans: int = 0
    failures: int = 0
    losses: int = 0
    files_read: int = 0
    bytes_read: int = 0
    packs: int = 0
    packs_bytes: int = 0


@dataclass(slots=True)
class WatchState:
    """How it stands now, for people."""

    phase: str = "begins"
    #: Why what is protected is not up to date; empty while it is.
    problem: str = ""
    problem_since: datetime | None = None
    #: What of the source no event tells of.
    unwatched: str = ""
    last_at: datetime | None = None
    last_lag_s: float | None = None
    counts: WatchCounts = field(default_factory=WatchCounts)
