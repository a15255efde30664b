"""Cases in memory: the second implementation of ``CaseStore``, for tests and simulations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

from govsec.errors import RefusedError, TryAgainError
from govsec.incident.api import Board, Query, Summary
from govsec.incident.chain import link, written_form
from govsec.incident.entries import Entry

_NEVER = datetime.max.replace(tzinfo=UTC)


class MemoryCases:
    """The contract of ``CaseStore`` without a disk."""

    def __init__(self) -> None:
        self._entries: dict[str, list[Entry]] = {}
        self._summaries: dict[str, Summary] = {}
        self._days: Counter[str] = Counter()
        self._origins: dict[str, str] = {}

    def create(self, day: str, entry: Entry, summary: Summary, *, origin: str = "") -> str:
        if origin in self._origins:
            return self._origins[origin]
        self._days[day] += 1
        case_id = f"{day}-{self._days[day]:04d}"
        if origin:
            self._origins[origin] = case_id
        self._entries[case_id] = [entry]
        self._summaries[case_id] = replace(summary, id=case_id)
        return case_id

    def append(self, case_id: str, number: int, entries: Sequence[Entry], summary: Summary) -> None:
        held = self._held(case_id)
        if len(held) != number:
            raise TryAgainError(f"case {case_id}: has {len(held)} entries by now, not {number}; look at it again")
        held.extend(entries)
        self._summaries[case_id] = replace(summary, id=case_id)

    def refresh(self, summaries: Sequence[Summary]) -> None:
        self._summaries.update({summary.id: summary for summary in summaries if summary.id in self._summaries})

    def line(self, case_id: str) -> Summary:
        self._held(case_id)
        return self._summaries[case_id]

    def entries(self, case_id: str) -> tuple[Entry, ...]:
        return tuple(self._held(case_id))

    def head(self, case_id: str) -> str:
        digest = ""
        for number, entry in enumerate(self._held(case_id), 1):
            digest = link(case_id, number, digest, written_form(entry))
        return digest

    def find(self, query: Query) -> tuple[Summary, ...]:
        found = sorted((line for line in self._summaries.values() if _fits(line, query)), key=lambda line: line.id)
        if query.by_due:
            found.sort(key=lambda line: line.next_due_at or _NEVER)
        else:
            found = sorted(found, key=lambda line: (line.opened_at, line.id), reverse=True)
        if query.after is not None:
            self._held(query.after)
            mark = self._summaries[query.after]
            found = [line for line in found if _is_after(line, mark, query.by_due)]
        return tuple(found[: max(query.limit, 0)])

    def board(self, now: datetime) -> Board:
        lines = [line for line in self._summaries.values() if line.is_open and not line.is_exercise]
        waiting = [line.opened_at for line in lines if not line.acknowledged_by]
        due = [line.next_due_at for line in lines if line.next_due_at is not None]
        return Board(
            by_stage=Counter(line.stage for line in lines),
            by_level=Counter(line.level for line in lines),
            late_count=sum(moment < now for moment in due),
            unacknowledged_count=len(waiting),
            oldest_unacknowledged_at=min(waiting, default=None),
            next_due_at=min((moment for moment in due if moment >= now), default=None),
        )

    def _held(self, case_id: str) -> list[Entry]:
        held = self._entries.get(case_id)
        if held is None:
            raise RefusedError(f"case {case_id[:60]!r}: there is none")
        return held


def _fits(line: Summary, query: Query) -> bool:
    return (
        (query.is_open is None or line.is_open == query.is_open)
        and (not query.stages or line.stage in query.stages)
        and line.level >= query.level_min
        and (query.system is None or line.system == query.system)
        and (query.is_acknowledged is None or bool(line.acknowledged_by) == query.is_acknowledged)
        and (query.due_before is None or (line.next_due_at is not None and line.next_due_at < query.due_before))
        and (query.look_again_by is None or line.look_again_at is None or line.look_again_at <= query.look_again_by)
        and (query.has_exercises or not line.is_exercise)
    )


def _is_after(line: Summary, mark: Summary, by_due: bool) -> bool:
    if by_due:
        return (line.next_due_at or _NEVER, line.id) > (mark.next_due_at or _NEVER, mark.id)
    return (line.opened_at, line.id) < (mark.opened_at, mark.id)
