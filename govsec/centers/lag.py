"""Lag as a measured thing: how long what changed was not yet at a center, by job, signed into the ledger at intervals.

Two sides measure. The watcher at production: from the earliest moment that a change can have been made to the receipt,
for each center that the receipt names. The shipper of a center: from the moment that a snapshot shows to the moment
that the center holds all of it. Both count every snapshot; an interval without any says so, and is no good lag.

An interval is an evidence of kind ``continuity.lag``, whose subject is the system::

    {"job", "center", "side": "receipt" or "shipping", "since", "until", "snapshots_count",
     "p50_ms", "p95_ms", "max_ms", "gap_max_ms": the longest time between two snapshots that came in}
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from govsec.clock import Clock
from govsec.errors import FormatError
from govsec.records import Evidence, Moment

EVIDENCE_KIND = "continuity.lag"
Side = Literal["receipt", "shipping"]
#: Of one interval and pair of job and center; beyond, further samples are counted into the largest alone.
_SAMPLES_MAX = 20_000
_PAIRS_MAX = 1000


class LagInterval(BaseModel):
    """What was measured of one job at one center from ``since`` to ``until``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    job: str = Field(max_length=200)
    center: str = Field(max_length=100)
    side: Side
    since: Moment
    until: Moment
    snapshots_count: int = Field(ge=0)
    p50_ms: int = Field(ge=0)
    p95_ms: int = Field(ge=0)
    max_ms: int = Field(ge=0)
    gap_max_ms: int = Field(ge=0)

    def evidence(self, system: str) -> Evidence:
        """The interval as evidence of a system."""
        return Evidence(kind=EVIDENCE_KIND, time=self.until, subject=system, facts=self.model_dump(mode="json"))


def parse_interval(evidence: Evidence) -> LagInterval:
    """The interval in an evidence of kind :data:`EVIDENCE_KIND`. Raises ``FormatError``."""
    try:
        return LagInterval.model_validate(dict(evidence.facts))
    except ValidationError as error:
        raise FormatError(f"evidence {evidence.kind} of {evidence.subject}: not an interval of lag") from error


@dataclass(slots=True)
class _Pair:
    samples: list[float]
    count: int
    largest: float
    last: datetime
    gap_max: timedelta


class LagLog:
    """Collects lags of one side and gives an interval for each pair of job and center. One thread's."""

    def __init__(self, side: Side, clock: Clock) -> None:
        self._side: Side = side
        self._clock = clock
        self._since = clock.now()
        self._pairs: dict[tuple[str, str], _Pair] = {}
        #: Samples that had no room of their own, and pairs that had none at all.
        self.dropped_count = 0

    @property
    def since(self) -> datetime:
        """When the running interval began."""
        return self._since

    def expect(self, job: str, center: str) -> None:
        """This pair is measured: an interval in which nothing comes says so."""
        self._pair(job, center)

    def add(self, job: str, center: str, lag_s: float | None, at: datetime) -> None:
        """A snapshot came in at ``at``; ``lag_s`` None: it held no change, and shows only that somebody watches."""
        pair = self._pair(job, center)
        if pair is None:
            self.dropped_count += 1
            return
        pair.count += 1
        pair.gap_max = max(pair.gap_max, at - pair.last)
        pair.last = at
        if lag_s is None:
            return
        pair.largest = max(pair.largest, lag_s)
        if len(pair.samples) < _SAMPLES_MAX:
            pair.samples.append(max(0.0, lag_s))
        else:
            self.dropped_count += 1

    def intervals(self) -> list[LagInterval]:
        """What was measured since the running interval began, which goes on."""
        now = self._clock.now()
        return [
            LagInterval(
                job=job,
                center=center,
                side=self._side,
                since=self._since,
                until=max(now, self._since),
                snapshots_count=pair.count,
                p50_ms=_ms(percentile(pair.samples, 50)),
                p95_ms=_ms(percentile(pair.samples, 95)),
                max_ms=_ms(pair.largest),
                gap_max_ms=_ms(max(pair.gap_max, now - pair.last).total_seconds()),
            )
            for (job, center), pair in sorted(self._pairs.items())
        ]

    def close(self) -> list[LagInterval]:
        """As :meth:`intervals`, and begin a new one."""
        found = self.intervals()
        self._since = self._clock.now()
        for pair in self._pairs.values():
            # The gap goes on over the border of two intervals.
            pair.samples, pair.count, pair.largest, pair.gap_max = [], 0, 0.0, timedelta(0)
        return found

    def _pair(self, job: str, center: str) -> _Pair | None:
        pair = self._pairs.get((job, center))
        if pair is None and len(self._pairs) < _PAIRS_MAX:
            pair = self._pairs[job, center] = _Pair([], 0, 0.0, self._since, timedelta(0))
        return pair


@dataclass(frozen=True, slots=True)
class LagMeasured:
    """What intervals of one job at one center say together."""

    job: str
    center: str
    intervals_count: int
    snapshots_count: int
    #: From the beginning of the first interval.
    since: datetime
    #: The end of the newest.
    until: datetime
    #: Seconds within ``since`` and ``until`` that intervals cover.
    covered_s: float
    p50_s: float
    p95_s: float
    max_s: float
    gap_p95_s: float

    @property
    def covered_share(self) -> float:
        """Of the time from ``since`` to ``until`` the part in which somebody measured."""
        return min(1.0, self.covered_s / max(1.0, (self.until - self.since).total_seconds()))


def measured(intervals: Iterable[LagInterval]) -> list[LagMeasured]:
    """One for each pair of job and center. Of the intervals' own figures the one that 95 % of them do not exceed."""
    pairs: dict[tuple[str, str], list[LagInterval]] = {}
    for interval in intervals:
        pairs.setdefault((interval.job, interval.center), []).append(interval)
    return [_together(job, center, found) for (job, center), found in sorted(pairs.items())]


def percentile(samples: Sequence[float], percent: int) -> float:
    """The smallest sample that ``percent`` of all are not above; 0 without samples (nearest rank)."""
    ordered = sorted(samples)
    return ordered[max(0, ceil(len(ordered) * percent / 100) - 1)] if ordered else 0.0


def _together(job: str, center: str, intervals: list[LagInterval]) -> LagMeasured:
    ordered = sorted(intervals, key=lambda interval: interval.since)
    covered, reached = 0.0, ordered[0].since
    for interval in ordered:
        covered += max(0.0, (interval.until - max(interval.since, reached)).total_seconds())
        reached = max(reached, interval.until)
    return LagMeasured(
        job=job,
        center=center,
        intervals_count=len(ordered),
        snapshots_count=sum(interval.snapshots_count for interval in ordered),
        since=ordered[0].since,
        until=reached,
        covered_s=covered,
        p50_s=percentile([interval.p50_ms / 1000 for interval in ordered], 50),
        p95_s=percentile([interval.p95_ms / 1000 for interval in ordered], 95),
        max_s=max(interval.max_ms for interval in ordered) / 1000,
        gap_p95_s=percentile([interval.gap_max_ms / 1000 for interval in ordered], 95),
    )


def _ms(seconds: float) -> int:
    return max(0, round(seconds * 1000))
