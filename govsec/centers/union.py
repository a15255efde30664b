"""The union of centers that went apart: whatever one of them has on a commit's word, all of them have.

Names are digests, so a union has no conflicts, and a set of genuine commits with everything they name is a valid
repository. Each center is brought up to each other one by shipping; a log with two ends is joined by the next commit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from govsec.centers.log import START, read_log
from govsec.centers.log import union as union_of_logs
from govsec.centers.ship import ShipReport, repository_of, ship
from govsec.clock import Clock
from govsec.crypto.signing import TrustedKeys
from govsec.progress import ProgressSink, silent
from govsec.store.api import ObjectStore


@dataclass(frozen=True, slots=True)
class UnionReport:
    """What each center received, and how many ends the joint log has."""

    shipped: tuple[ShipReport, ...]
    heads_count: int

    @property
    def commits_by_center(self) -> Mapping[str, int]:
        """How many commits each center received."""
        counts: dict[str, int] = {}
        for report in self.shipped:
            counts[report.target] = counts.get(report.target, 0) + report.commits_count
        return counts


def unite(
    stores: Sequence[ObjectStore],
    trusted: TrustedKeys,
    *,
    clock: Clock,
    threads: int = 4,
    progress: ProgressSink = silent,
) -> UnionReport:
    """Bring every center as far as all of them together. Raises as ``ship`` does; what was copied stays."""
    shipped = [
        ship(source, target, trusted, clock=clock, threads=threads, progress=progress)
        for target in stores
        for source in stores
        if source is not target
    ]
    repository = repository_of(stores[0])
    joint = union_of_logs(read_log(store, trusted, repository=repository, after=START) for store in stores)
    return UnionReport(tuple(shipped), len(joint.heads))
