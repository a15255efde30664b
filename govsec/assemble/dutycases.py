"""Cases as the duty daemon follows them: limits that come near, levels that are reached, who took one on, evidence.

One idea: a case is looked at when somebody wrote into it, when its next moment has come, and once an hour. The
schedule is in memory and made anew at the start; what was told and what was recorded is on the disk.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from govsec.clock import Clock, to_ns
from govsec.errors import GovsecError, IntegrityError, RefusedError, UsageError
from govsec.incident.api import Query, Summary
from govsec.incident.desk import Desk
from govsec.incident.evidence import entries_evidence
from govsec.incident.intakefile import IntakeFile
from govsec.incident.levels import EventLevel
from govsec.incident.triage import Triage
from govsec.incident.warnings import case_notices, next_look
from govsec.ledger.queue import EvidenceQueue
from govsec.records import Notice

log = logging.getLogger(__name__)

_PAGE = 500
#: What was told is remembered for longer than a case is open.
_TOLD_KEPT_NS = 5 * 366 * 86_400 * 10**9
#: Lists are read so often; what the daemon itself changed is looked at at once.
_LIST_EVERY = timedelta(seconds=5)
#: Findings wait no longer than this for cases that are looked at, and one case more.
_TURN_S = 0.005
_SCANNED = "cases_scanned"
_DAY_NS = 86_400 * 10**9
#: A case whose evidence could not be kept is looked at again after so long.
_PROVE_AGAIN = timedelta(seconds=30)


@dataclass(slots=True)
class _Planned:
    updated_at: datetime
    look_at: datetime


class CaseWatch:
    """Over one desk. ``put`` hands notices to the outbox; ``evidence`` is None where there is no ledger."""

    def __init__(
        self,
        desk: Desk,
        file: IntakeFile,
        triage: Triage,
        clock: Clock,
        *,
        put: Callable[[Sequence[Notice]], None],
        evidence: EvidenceQueue | None,
    ) -> None:
        self._desk = desk
        self._file = file
        self._triage = triage
        self._clock = clock
        self._put = put
        self._evidence = evidence
        self._planned: dict[str, _Planned] = {}
        self._acknowledged: set[str] = set()
        #: Findings that nothing may hold back, because their event must be reported.
        self._serious: dict[str, EventLevel] = {}
        self._listed_at: datetime | None = None
        #: Cases that cannot be read, and why.
        self.unreadable: dict[str, str] = {}

    @property
    def followed_count(self) -> int:
        """How many cases are looked at."""
        return len(self._planned)

    def level_of(self, mark: str) -> EventLevel:
        """The level of the case that holds a finding, when it is 较大 or above; 一般 otherwise."""
        return self._serious.get(mark, EventLevel.GENERAL)

    def look_soon(self, cases: Iterable[str]) -> None:
        """These were changed just now."""
        now = self._clock.now()
        for case_id in cases:
            self._planned.setdefault(case_id, _Planned(now, now)).look_at = now

    def step(self, is_wanted: Callable[[], bool] = lambda: False, limit: int = 20) -> int:
        """Look at cases whose moment has come, ``limit`` at most; gives how many were due.

        ``is_wanted``: there is something more urgent to do; then one case is looked at and no more.

        Raises:
            As the store, the outbox and ``Database``; what was not done is done by the next call.
        """
        now = self._clock.now()
        if _is_due(self._listed_at, now, _LIST_EVERY):
            self._read_lists(now)
            self._listed_at = now
        due = sorted((plan.look_at, case_id) for case_id, plan in self._planned.items() if plan.look_at <= now)
        begun = self._clock.monotonic()
        trouble: GovsecError | None = None
        for _, case_id in due[:limit]:
            try:
                self._look(case_id)
            except GovsecError as error:
                # Of the others people are told all the same; the first trouble is raised afterwards.
                trouble = trouble or error
            if is_wanted() or self._clock.monotonic() - begun > _TURN_S:
                break
        if trouble is not None:
            raise trouble
        return len(due)

    def _read_lists(self, now: datetime) -> None:
        # At first also what was closed while nobody looked: its last entries are evidence as well.
        is_first = self._listed_at is None and self._evidence is not None
        scanned_ns = self._evidence.mark(_SCANNED) - _DAY_NS if self._evidence is not None else 0
        seen = set()
        for line in self._lines(None if is_first else True):
            if not line.is_open and to_ns(line.updated_at) < scanned_ns:
                continue
            seen.add(line.id)
            plan = self._planned.get(line.id)
            if plan is None:
                self._planned[line.id] = _Planned(line.updated_at, now)
            elif plan.updated_at != line.updated_at:
                plan.updated_at, plan.look_at = line.updated_at, now
        for case_id in self._planned.keys() - seen:
            self._planned[case_id].look_at = now
        if self._evidence is not None and to_ns(now) - scanned_ns > 2 * _DAY_NS and not is_first:
            self._evidence.record_all([], {_SCANNED: to_ns(now)})

    def _lines(self, is_open: bool | None) -> Iterable[Summary]:
        after = None
        while page := self._desk.store.find(Query(is_open=is_open, after=after, limit=_PAGE)):
            yield from page
            after = page[-1].id

    def _look(self, case_id: str) -> None:
        try:
            # The line first: what is written after it makes it another one, and the case is looked at again.
            line = self._desk.store.line(case_id)
            view = self._desk.view(case_id)
        except (IntegrityError, RefusedError, UsageError) as error:
            self.unreadable[case_id] = str(error)
            log.error("case cannot be read", extra={"case": case_id, "error": str(error)})
            self._planned[case_id].look_at = self._clock.now() + timedelta(hours=1)
            return
        self.unreadable.pop(case_id, None)
        self._tell([notice for notice in case_notices(view) if not self._file.is_told(notice.key)])
        if view.case.acknowledged_by and case_id not in self._acknowledged:
            self._triage.acknowledge(list(view.case.findings))
            self._acknowledged.add(case_id)
        if (now_line := replace(view.summary(), updated_at=line.updated_at)) != line:
            # Time alone has changed it: the list is right without anybody who looks.
            self._desk.store.refresh([now_line])
        level = view.case.level_now(view.classification.suggested)
        for mark in view.case.findings:
            if line.is_open and level >= EventLevel.RELATIVELY_MAJOR:
                self._serious[mark] = level
            else:
                self._serious.pop(mark, None)
        # Its turn is over before evidence is kept: a case of which none can be kept must not keep the others waiting.
        self._planned[case_id] = _Planned(line.updated_at, min(next_look(view), self._clock.now() + _PROVE_AGAIN))
        if self._evidence is not None:
            self._prove(case_id, self._evidence)
        if line.is_open:
            self._planned[case_id] = _Planned(line.updated_at, next_look(view))
        else:
            del self._planned[case_id]
            self._acknowledged.discard(case_id)

    def _tell(self, notices: Sequence[Notice]) -> None:
        if notices:
            self._put(notices)
            keys = [notice.key for notice in notices]
            self._file.mark_told(keys, to_ns(self._clock.now()), kept_ns=_TOLD_KEPT_NS)

    def _prove(self, case_id: str, evidence: EvidenceQueue) -> None:
        mark = f"case:{case_id}"
        for last, piece in entries_evidence(case_id, self._desk.store.entries(case_id), evidence.mark(mark)):
            evidence.record_all([piece], {mark: last})


def _is_due(last: datetime | None, now: datetime, every: timedelta) -> bool:
    # In both directions: a clock that was set back must not put it off.
    return last is None or abs(now - last) >= every
