"""What a shipper that stays remembers between its rounds, so that a round costs what is new."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from govsec.centers import names
from govsec.centers.commits import Entry, SnapshotRef
from govsec.centers.releases import released_here
from govsec.clock import Clock
from govsec.crypto.signing import TrustedKeys
from govsec.store.api import ReadStore


@dataclass(frozen=True, slots=True)
class Arrival:
    """A snapshot that a center holds from ``time`` on, by the clock of whoever shipped it."""

    snapshot: SnapshotRef
    time: datetime


class Following:
    """What a shipper that stays remembers of one source and target, so that a round costs what is new.

    A branch beside what is known is seen by a whole round alone; so one is made every ``whole_every_s``, and after any
    round that failed.
    """

    def __init__(self, clock: Clock, *, whole_every_s: float = 600.0) -> None:
        self._clock = clock
        self._whole_every_s = whole_every_s
        self._whole_at: float | None = None
        self._last: Entry | None = None
        self._source = ""
        self._releases: tuple[tuple[str, ...], frozenset[str]] = ((), frozenset())
        #: Commits since a checkpoint was looked for.
        self.commits_count = 0

    def known(self, source: str) -> Entry | None:
        """The newest commit that both ends hold; None when a whole round is due."""
        is_due = self._whole_at is None or self._clock.monotonic() - self._whole_at >= self._whole_every_s
        return None if is_due or source != self._source else self._last

    def failed(self) -> None:
        """Know nothing any more."""
        self._last = self._whole_at = None

    def done(self, source: str, last: Entry | None, *, is_whole: bool) -> None:
        """A round ended well with ``last`` as the newest commit at both ends, where there is only one end."""
        self._source, self._last = source, None if last is None or last.commit.merges else last
        if is_whole:
            self._whole_at = self._clock.monotonic()

    def released_here(self, target: ReadStore, trusted: TrustedKeys, repository: str) -> frozenset[str]:
        """As :func:`released_here`, read again only when there are other releases than before."""
        listed = tuple(info.name for info in target.list(names.RELEASED))
        if listed != self._releases[0]:
            self._releases = listed, released_here(target, trusted, repository)
        return self._releases[1]
