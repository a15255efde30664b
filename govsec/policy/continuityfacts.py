"""What govsec's own record says of one system, as frozen values: the input of :mod:`govsec.policy.continuity`.

``assemble`` fills it from the commit logs, the ledger, the centers and the configuration. None always means that it
could not be looked at, and ``missing`` says why; an empty tuple means that it was looked at and there is nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from math import ceil
from typing import Literal


@dataclass(frozen=True, slots=True)
class DrillFact:
    """One drill of the ledger."""

    id: str
    plan: str
    started: datetime
    verdict: Literal["pass", "partial", "fail"]
    scenario: str
    #: Name of the center that the data came back from.
    restored_from: str
    #: Files were compared with the repository and with samples of the source, and all agreed.
    is_content_verified: bool
    restore_time_s: float | None
    rto_s: int
    #: Kinds of steps and probes that passed, such as ``start``, ``switch_address``, ``probe``.
    passed: frozenset[str]
    #: The plan is the same today.
    is_plan_current: bool
    #: Digest of the ledger's entry.
    digest: str


@dataclass(frozen=True, slots=True)
class CenterFact:
    """One center at the time of the assessment."""

    name: str
    role: Literal["production", "same_city", "remote"]
    site: str = ""
    #: ISO 3166 code, such as CN or CN-33; empty where the configuration names none.
    region: str = ""
    premises: Literal["", "own", "cloud"] = ""
    #: Why it could not be read; then nothing below is known.
    error: str = ""
    #: A repository of this system, whose objects are sealed, was found there.
    is_repository: bool = False
    newest: datetime | None = None
    verified: datetime | None = None
    damaged_count: int = 0
    flaws_count: int = 0


@dataclass(frozen=True, slots=True)
class LagFact:
    """What continuous protection measured at the remote center, of the job that is worst off; from signed entries."""

    since: datetime
    until: datetime
    #: Of the time between the two the part in which somebody measured.
    covered_share: float
    snapshots_count: int
    #: 95 % of the intervals have these or less: time between two snapshots, and the 95th percentile of the lag.
    gap_p95_s: float
    p95_s: float
    max_s: float


#: Clocks of centers and ours may differ by this much.
_AHEAD_MAX = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class ContinuityFacts:
    """Everything about one system that the checks look at."""

    system: str
    now: datetime
    level: int
    rpo_s: int
    rto_s: int
    is_rpo_set: bool
    is_rto_set: bool
    is_retention_set: bool
    centers: tuple[CenterFact, ...] = ()
    #: Names of the configured jobs.
    jobs: tuple[str, ...] | None = None
    #: Times of the snapshots that were committed in the last thirty days, oldest first.
    snapshots: tuple[datetime, ...] | None = None
    #: For each of these commits that is at the remote center: seconds from the commit until it was there.
    lags_s: tuple[float, ...] | None = None
    #: None: nothing was measured of at least one job, and only the commits themselves tell.
    lag: LagFact | None = None
    drills: tuple[DrillFact, ...] | None = None
    plans: tuple[str, ...] | None = None
    #: Data class and the job that backs it up, by the register.
    data_classes: tuple[tuple[str, str], ...] | None = None
    training: datetime | None = None
    has_emergency_plan: bool = False
    #: Digest of the newest commit, which the job history ends with.
    log_digest: str = ""
    #: Field: why it is None.
    missing: Mapping[str, str] = field(default_factory=dict)

    def center(self, role: str) -> CenterFact | None:
        """The center of that role."""
        return next((center for center in self.centers if center.role == role), None)

    def age_s(self, moment: datetime) -> int:
        """How old ``moment`` is, in whole seconds."""
        return max(0, int((self.now - moment).total_seconds()))

    def is_recent(self, moment: datetime | None) -> bool:
        """True when ``moment`` lies within the RPO."""
        return moment is not None and self.is_past(moment) and self.age_s(moment) <= self.rpo_s

    def is_past(self, moment: datetime) -> bool:
        """False when ``moment`` lies ahead by more than clocks differ: a date to come proves nothing."""
        return moment <= self.now + _AHEAD_MAX

    def recent_drills(self, days: float) -> list[DrillFact]:
        """Drills of the last ``days``, newest first; none from the future. None at all when they are not known."""
        since = self.now - timedelta(days=days)
        fitting = [drill for drill in self.drills or () if since <= drill.started <= self.now]
        return sorted(fitting, key=lambda drill: drill.started, reverse=True)


def nothing_known(name: str, level: int, now: datetime, why: str) -> ContinuityFacts:
    """The facts where there is no configuration to ask by: none, each with the same reason."""
    return ContinuityFacts(
        system=name,
        now=now,
        level=level,
        rpo_s=1,
        rto_s=1,
        is_rpo_set=False,
        is_rto_set=False,
        is_retention_set=False,
        missing={"record": why},
    )


def percentile_95(values: tuple[float, ...]) -> float:
    """The value that 95 % do not exceed (nearest rank); ``values`` is not empty."""
    ordered = sorted(values)
    return ordered[ceil(0.95 * len(ordered)) - 1]
