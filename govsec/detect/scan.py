"""What the scan detectors share: groups of tries with too many different goals and too few answers, told per
originator.

One idea: a scan is breadth without success. Breadth is how many *different* ports or hosts one originator probed;
success is the share of all its tries there (not only probes) that were answered. A busy client has breadth and
success, a client of a dead server has neither.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from govsec.detect.attempts import as_flows, originators
from govsec.detect.hosts import Networks, host
from govsec.detect.judgement import LISTED_MAX, Evidence
from govsec.detect.windows import U64, Groups, Rows
from govsec.net.community import community_ids
from govsec.records import Severity


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
