"""The lag that a watcher or a shipper measures, signed into the system's ledger at intervals.

Where this site signs no evidence, or nothing can be appended just now, that is told once for each reason; what was
measured stays in the running interval and goes into the next one, so an outage of the ledger makes it longer, not lost.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from govsec.centers.lag import EVIDENCE_KIND, LagInterval, LagLog, LagMeasured, Side, measured, parse_interval
from govsec.errors import FormatError, GovsecError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from govsec.assemble.systems import Site
    from govsec.config import SystemConfig
    from govsec.crypto.signing import TrustedKeys
    from govsec.store.api import ReadStore

log = logging.getLogger(__name__)


class LagRecord:
    """One system's. ``every_s`` is the length of an interval."""

    def __init__(self, site: Site, system: SystemConfig, side: Side, *, every_s: float) -> None:
        self._site = site
        self._system = system
        self._every_s = every_s
        self._log = LagLog(side, site.clock)
        self._due = site.clock.monotonic() + every_s
        self._said = ""

    def expect(self, job: str, center: str) -> None:
        """As :meth:`govsec.centers.lag.LagLog.expect`."""
        self._log.expect(job, center)

    def add(self, job: str, center: str, lag_s: float | None, at: datetime) -> None:
        """As :meth:`govsec.centers.lag.LagLog.add`."""
        self._log.add(job, center, lag_s, at)

    def intervals(self) -> list[LagInterval]:
        """What was measured since the last signing."""
        return self._log.intervals()

    def tell(self, talk: Callable[[str], None], *, is_last: bool = False) -> None:
        """Sign the running interval when it is over; ``is_last``: when there is anything in it at all."""
        now = self._site.clock.monotonic()
        intervals = self._log.intervals()
        is_due = now >= self._due or (is_last and any(interval.snapshots_count for interval in intervals))
        if not is_due or not intervals:
            return
        self._due = now + self._every_s
        from govsec.assemble.ledger import open_ledger

        try:
            ledger = open_ledger(self._site, self._system)
            for interval in intervals:
                ledger.append(interval.evidence(self._system.name))
        except GovsecError as error:
            if str(error) != self._said:
                self._said = str(error)
                talk(f"{self._system.name}: the measured lag is not in the ledger: {error}")
            return
        self._said = ""
        self._log.close()


def read_intervals(
    stores: Sequence[ReadStore], trusted: TrustedKeys, system: str, *, since: datetime
) -> list[LagInterval]:
    """Every interval of a system that the ledgers hold and that was signed after ``since``.

    Raises:
        StoreUnavailableError: no center could be asked.
    """
    from govsec.ledger.recent import recent_entries

    found = []
    for entry in recent_entries(stores, trusted, since):
        if entry.evidence.kind != EVIDENCE_KIND or entry.evidence.subject != system:
            continue
        try:
            found.append(parse_interval(entry.evidence))
        except FormatError as error:
            log.warning("interval of lag passed over", extra={"entry": entry.number, "error": str(error)})
    return found


def lags_of(site: Site, system: SystemConfig, *, since: datetime) -> list[LagMeasured]:
    """What was measured of each job at each center since then, by the ledgers that this site can read."""
    from govsec.assemble.ledger import ledger_stores

    return measured(read_intervals(ledger_stores(site, system), site.trusted(), system.name, since=since))
