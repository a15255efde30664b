"""Is a center in step? ``synced``, ``degraded`` or ``resyncing``, since when and why: named, timed, kept on disk.

::

    synced ──a write failed──▶ degraded ──quiet for a while──▶ resyncing ──holds everything──▶ synced
                                   ▲────────a write failed────────┘

A center that comes and goes must not make the state come and go. After a failure it is left alone for ``quiet_s``, and
each further failure doubles that, up to ``quiet_max_s``; so a center that hangs costs one time-out a pause, not one a
write. ``since`` is when the state began; ``outage_since`` is when the center was last in step.

The file is JSON; several worker processes may report failures at once, so each change is made under a file lock, to a
temporary file that is synced and renamed.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from govsec.clock import Clock
from govsec.errors import StoreUnavailableError
from govsec.lockfile import held_lock
from govsec.privatefile import write_private
from govsec.records import Moment

_FILE_SIZE_MAX = 1 << 20


class SyncState(StrEnum):
    """How far a center is from holding everything it should."""

    SYNCED = "synced"
    DEGRADED = "degraded"
    RESYNCING = "resyncing"


class CenterState(BaseModel):
    """The state of one center."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    state: SyncState = SyncState.SYNCED
    since: Moment | None = None
    outage_since: Moment | None = None
    failed_at: Moment | None = None
    #: Failures in a row; what the pause is computed from.
    failures_count: int = Field(default=0, ge=0)
    #: Failures ever. A run that sees it grow knows that the center may lack what the run has put.
    failures_total: int = Field(default=0, ge=0)
    reason: str = Field(default="", max_length=500)


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    version: int = Field(default=1, ge=1, le=1)
    centers: dict[str, CenterState] = {}


class States:
    """The states of the centers that one side writes to; in ``path``, or in memory when there is none."""

    def __init__(
        self, clock: Clock, path: Path | None = None, *, quiet_s: float = 60, quiet_max_s: float = 1800
    ) -> None:
        self._clock = clock
        self._path = path
        self._quiet_s = quiet_s
        self._quiet_max_s = quiet_max_s
        self._file = self._load()

    def get(self, center: str) -> CenterState:
        """What is known of ``center``; a center never heard of is in step until a write or a comparison fails."""
        return self._file.centers.get(center, CenterState())

    def refresh(self) -> None:
        """Take in what other processes wrote."""
        self._file = self._load()

    def is_usable(self, center: str) -> bool:
        """False while a center that failed is left alone."""
        found = self.get(center)
        if found.failed_at is None or found.state is SyncState.SYNCED:
            return True
        elapsed_s = (self._clock.now() - found.failed_at).total_seconds()
        quiet_s = min(self._quiet_s * 2 ** min(found.failures_count - 1, 20), self._quiet_max_s)
        # A clock that was set back must not lock a center out until it has caught up.
        return not 0 <= elapsed_s < quiet_s

    def failed(self, center: str, reason: str) -> None:
        """A write to ``center`` failed, or something it should hold is not there."""
        now = self._clock.now()

        def change(old: CenterState) -> CenterState:
            is_new = old.state is not SyncState.DEGRADED
            elapsed_s = age_s(old.failed_at, now)
            is_forgotten = elapsed_s is None or elapsed_s > 2 * self._quiet_max_s
            return CenterState(
                state=SyncState.DEGRADED,
                since=now if is_new else old.since,
                outage_since=old.outage_since or now,
                failed_at=now,
                failures_count=1 if is_forgotten else old.failures_count + 1,
                failures_total=old.failures_total + 1,
                reason=reason[:500],
            )

        self._change(center, change)

    def resyncing(self, center: str, reason: str = "") -> None:
        """``center`` answers and is being given what it lacks."""
        now = self._clock.now()

        def change(old: CenterState) -> CenterState:
            if old.state is SyncState.RESYNCING:
                return old
            return old.model_copy(
                update={
                    "state": SyncState.RESYNCING,
                    "since": now,
                    "outage_since": old.outage_since or now,
                    "reason": (reason or old.reason)[:500],
                }
            )

        self._change(center, change)

    def synced(self, center: str) -> None:
        """``center`` was seen to hold everything."""
        now = self._clock.now()

        def change(old: CenterState) -> CenterState:
            if old.state is SyncState.SYNCED and old.since:
                return old
            # The failures are remembered for a while: a center that comes and goes is left alone longer each time.
            return CenterState(
                since=now,
                failed_at=old.failed_at,
                failures_count=old.failures_count,
                failures_total=old.failures_total,
            )

        self._change(center, change)

    def all(self) -> dict[str, CenterState]:
        """Every center that is known here."""
        return dict(self._file.centers)

    def _change(self, center: str, change: Callable[[CenterState], CenterState]) -> None:
        with self._locked():
            file = self._load() if self._path else self._file
            old = file.centers.get(center, CenterState())
            new = change(old)
            self._file = _File(centers={**file.centers, center: new})
            if new != old:
                self._save()

    def _load(self) -> _File:
        if self._path is None:
            return getattr(self, "_file", _File())
        try:
            with self._path.open("rb") as file:
                data = file.read(_FILE_SIZE_MAX)
        except FileNotFoundError:
            return _File()
        except OSError as error:
            raise StoreUnavailableError(f"{self._path}: {error.strerror}") from error
        try:
            return _File.model_validate_json(data)
        except ValidationError as error:
            # Not knowing is no reason to claim that all is well.
            raise StoreUnavailableError(f"{self._path}: not a state file; remove it to begin anew") from error

    def _save(self) -> None:
        if self._path is None:
            return
        data = json.dumps(self._file.model_dump(mode="json", exclude_none=True), indent=1).encode()
        try:
            write_private(self._path, data + b"\n")
        except OSError as error:
            raise StoreUnavailableError(f"{self._path}: {error.strerror}") from error

    def _locked(self) -> AbstractContextManager[None]:
        if self._path is None:
            return nullcontext()
        path = self._path.with_name(self._path.name + ".lock")
        return held_lock(path, busy=None, file_error=StoreUnavailableError)


def age_s(moment: datetime | None, now: datetime) -> float | None:
    """Seconds since ``moment``, never negative; None when there is no moment."""
    return None if moment is None else max(timedelta(0), now - moment).total_seconds()
