"""Thinning of continuous backups: of the many snapshots that windows make, which are kept as they grow older. Pure.

Time is cut into equal spans counted from 1970, of the length that the step of an age says; of each span the newest
snapshot stays. So the answer for a snapshot does not depend on when it was asked before, and two centers that thin by
the same steps keep the same ones. The newest snapshot of all always stays. What is older than every step is left to
the system's retention.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from govsec.watchentry import WatchConfig, parse_span

#: The tag of snapshots that a window made; stock restic shows it.
WINDOW_TAG = "continuous"
#: The tag of those that a recovery point of several sources names: they are not thinned.
GROUP_TAG = "group"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ALL = timedelta(0)
K = TypeVar("K", bound=Hashable)


def thinned(snapshots: Iterable[tuple[K, datetime]], watch: WatchConfig, *, now: datetime) -> frozenset[K]:
    """Those that may go, of the snapshots of one job: each by its id and the moment that it shows."""
    steps = [(parse_span(watch.keep_all), _ALL)]
    steps += [(parse_span(step.within), parse_span(step.every)) for step in watch.thin]
    going: set[K] = set()
    seen: set[tuple[timedelta, int]] = set()
    for key, moment in sorted(snapshots, key=lambda item: item[1], reverse=True):
        age = now - moment
        every = next((every for within, every in steps if age <= within), _ALL)
        if every == _ALL:
            continue
        span = (every, (moment - _EPOCH) // every)
        if span in seen:
            going.add(key)
        seen.add(span)
    return frozenset(going)
