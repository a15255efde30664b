"""What the scan detectors share: groups of tries with too many different goals and too few answers, told per
originator.

One idea: a scan is breadth without success. Breadth is how many *different* ports or hosts one originator probed;
success is the share of all its tries there (not only probes) that were answered. A busy client has breadth and
success, a client of a dead server has neither.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from govsec.detect.api import Observation
from govsec.detect.attempts import as_flows, attempts, originators
from govsec.detect.hosts import Networks, host
from govsec.detect.judgement import Evidence
from govsec.detect.windows import U64, EventWindow, Groups, Rows
from govsec.findings.api import SECOND_NS, Settings
from govsec.findings.judgement import LISTED_MAX
from govsec.net.columns import Protocol
from govsec.net.community import community_ids
from govsec.records import Finding, Severity


class ScanSettings(Settings):
    """The window in which tries are counted."""

    window_s: int = Field(default=60, ge=1, le=3600, description="slower scans are for scan_slow")
    tries_max: int = Field(default=65_536, ge=1024, description="tries kept in the window")


class WindowedScan(ABC):
    """The tries of closed flows in a sliding window, judged every five seconds of event time."""

    protocols: ClassVar[tuple[Protocol, ...]]

    def __init__(self, settings: ScanSettings, home: Networks) -> None:
        self._home = home
        self._window = EventWindow(
            span_ns=settings.window_s * SECOND_NS, step_ns=5 * SECOND_NS, rows_max=settings.tries_max
        )
        self.cooldown_s = settings.cooldown_s

    def observe(self, observation: Observation) -> Iterator[Finding]:
        times, rows = attempts(observation.flows.closed, self.protocols)
        kept = self.counts(rows)
        times, rows = times[kept], rows[kept]
        self.note(times, rows)
        for moment, window in self._window.add(times, rows, missed(rows)):
            yield from self.judge(moment, window)
        for moment, window in self._window.advance(observation.time_ns):
            yield from self.judge(moment, window)

    def finish(self, time_ns: int) -> Iterator[Finding]:
        for moment, window in self._window.finish():
            yield from self.judge(min(moment, time_ns), window)

    def state(self) -> Mapping[str, int]:
        return {"tries_dropped": self._window.dropped_count}

    def counts(self, rows: Rows) -> NDArray[np.bool_]:
        """Which tries count; all of them by default."""
        return np.ones(len(rows), dtype=np.bool_)

    def note(self, times: NDArray[np.int64], rows: Rows) -> None:  # noqa: B027 - most scans have nothing to note
        """Tries that count, and when they were over, before they come into a window."""

    @abstractmethod
    def judge(self, time_ns: int, rows: Rows) -> Iterator[Finding]:
        """What the tries of one window amount to."""


@dataclass(frozen=True, slots=True)
class Breadth:
    """One originator's probes at one kind of goal: ``count`` different ones, in ``rows``."""

    rows: Rows
    count: int
    unanswered_ratio: float


def missed(rows: Rows) -> NDArray[np.bool_]:
    """True for probes that nothing came back to: what breadth is counted in."""
    is_missed: NDArray[np.bool_] = rows["is_probe"] & rows["is_unanswered"]
    return is_missed


def broad(
    rows: Rows, keys: U64, goals: U64, *, count_min: int | NDArray[np.int64], unanswered_min: float
) -> Iterator[list[Breadth]]:
    """Groups of equal ``keys`` that missed at least ``count_min`` different ``goals``, one list an originator.

    ``count_min``: one for all, or one a row (the group's first row tells). Originators and groups come in the order in
    which they were first seen.
    """
    is_missed = missed(rows)
    groups = Groups(keys[is_missed])
    counts = groups.distinct(goals[is_missed])
    least = np.broadcast_to(np.asarray(count_min), len(rows))[is_missed][groups.first]
    by_originator: dict[int, list[Breadth]] = {}
    for group in np.flatnonzero(counts >= least).tolist():
        members = rows[keys == keys[is_missed][groups.first[group]]]
        ratio = float(np.mean(members["is_unanswered"]))
        if ratio >= unanswered_min:
            found = Breadth(members[members["is_probe"]], int(counts[group]), ratio)
            by_originator.setdefault(int(originators(members[:1])[0]), []).append(found)
    yield from by_originator.values()


def evidence_of(parts: Sequence[Rows]) -> Evidence:
    """First and last packet over all ``parts``, and community ids of some of their first flows."""
    sample = np.concatenate([part[:LISTED_MAX] for part in parts])[:LISTED_MAX]
    return Evidence(
        first_ns=int(min(part["first_ns"].min() for part in parts)),
        last_ns=int(max(part["last_ns"].max() for part in parts)),
        flows=community_ids(as_flows(sample)),
        flows_count=sum(len(part) for part in parts),
    )


def originator_of(rows: Rows) -> str:
    """The address of the one originator of ``rows``."""
    return host(rows["originator_hi"][0], rows["originator_lo"][0])


def responders_of(rows: Rows) -> list[str]:
    """Different responders in order of appearance."""
    pairs = zip(rows["responder_hi"].tolist(), rows["responder_lo"].tolist(), strict=True)
    return [host(hi, lo) for hi, lo in dict.fromkeys(pairs)]


def severity_of(rows: Rows, home: Networks) -> Severity:
    """HIGH when the originator is one of ours: the internet is always scanned from outside, from inside is another
    matter."""
    is_home = home.contains(rows["originator_hi"][:1], rows["originator_lo"][:1])[0]
    return Severity.HIGH if is_home else Severity.MEDIUM
