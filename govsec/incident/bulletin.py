"""The monthly bulletin (通报) as a record: what happened, how fast people were, what was proved, how systems stand.

Months are those of China's calendar. Exercises are counted apart and never among events. What is said of a case is what
is known when the bulletin is made; drills and systems come as plain values from whoever keeps them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import median

from pydantic import JsonValue

from govsec.clock import format_time
from govsec.errors import UsageError
from govsec.incident.api import Summary
from govsec.incident.deadlines import DutyState
from govsec.incident.deadlinetable import ReportKind
from govsec.incident.desk import CHINA, View
from govsec.incident.entries import Stage
from govsec.incident.eventclasses import shipped_classes
from govsec.incident.levels import EventLevel
from govsec.incident.record import Record, summary_record

FORMAT = "govsec.bulletin.v1"
#: Months in the drawing of the trend, the month itself included.
MONTHS_SHOWN = 6
#: Cases that are listed one by one, worst first; all are counted.
_LISTED_MAX = 50
#: Ends of the classes that times are counted in, seconds; the last is open.
BUCKETS_S = (900, 3600, 4 * 3600, 24 * 3600)
_MONTH = re.compile(r"(20[0-9]{2}|2100)-(0[1-9]|1[0-2])")


@dataclass(frozen=True, slots=True, order=True)
class Month:
    """A month of China's calendar."""

    year: int
    number: int

    @classmethod
    def parse(cls, text: str) -> Month:
        """``YYYY-MM``. Raises ``UsageError`` for anything else."""
        written = _MONTH.fullmatch(text)
        if written is None:
            raise UsageError(f"{text[:20]!r}: a month is written YYYY-MM, from 2000 to 2100")
        return cls(int(written[1]), int(written[2]))

    @classmethod
    def of(cls, moment: datetime) -> Month:
        """The month that a moment lies in."""
        local = moment.astimezone(CHINA)
        return cls(local.year, local.month)

    def back(self, count: int) -> Month:
        """The month so many months earlier; later with a negative number."""
        months = self.year * 12 + self.number - 1 - count
        return Month(months // 12, months % 12 + 1)

    @property
    def start(self) -> datetime:
        """Its first moment."""
        return datetime(self.year, self.number, 1, tzinfo=CHINA)

    @property
    def end(self) -> datetime:
        """The first moment after it."""
        return self.back(-1).start

    def __str__(self) -> str:
        return f"{self.year:04}-{self.number:02}"


def compose_bulletin(
    month: Month,
    lines: Iterable[Summary],
    views: Sequence[View],
    *,
    drills: Sequence[Record],
    systems: Sequence[Record],
    missing: Sequence[str],
    organization: str,
    now: datetime,
) -> Record:
    """The record of ``month``.

    ``lines`` are the lines of all cases since the first month shown, ``views`` the month's own cases; ``drills`` and
    ``systems`` are printed and counted as they are, ``missing`` names what could not be asked.
    """
    real = [view for view in views if not view.case.opened.is_exercise]
    return {
        "format": FORMAT,
        "month": str(month),
        "made_at": format_time(now),
        "is_whole": now >= month.end,
        "organization": organization,
        "counts": _counts(month, real, exercises_count=len(views) - len(real)),
        "classes": _classes(real),
        "trend": _trend(month, [line for line in lines if not line.is_exercise]),
        "times": {
            "acknowledge": _times([_lasted(view, view.case.acknowledged_at) for view in real]),
            "first_report": _times([_lasted(view, _reported(view)) for view in real if _owes_first(view)]),
            "recover": _times([_lasted(view, view.case.recovered_at) for view in real]),
        },
        "duties": _duties(real),
        "cases": [
            summary_record(view.summary()) | {"event_class": view.case.opened.event_class}
            for view in sorted(real, key=lambda view: (-view.summary().level, view.case.id))[:_LISTED_MAX]
        ],
        "drills": [*drills],
        "systems": [*systems],
        "rates": _rates(systems),
        "missing": [*missing],
    }


def _counts(month: Month, views: Sequence[View], *, exercises_count: int) -> Record:
    levels = Counter(view.summary().level for view in views)
    return {
        "opened": len(views),
        "closed": sum(view.case.stage is Stage.CLOSED for view in views),
        "unacknowledged": sum(not view.case.acknowledged_by for view in views),
        "unconfirmed": sum(not view.summary().is_confirmed for view in views),
        "exercises": exercises_count,
        "by_level": {level.word: levels[level] for level in sorted(EventLevel, reverse=True)},
        "findings": sum(view.case.findings_count for view in views),
    }


def _classes(views: Sequence[View]) -> list[JsonValue]:
    found: dict[str, Counter[str]] = {}
    for view in views:
        found.setdefault(view.case.opened.event_class, Counter())[view.summary().level.word] += 1
    words = shipped_classes().classes
    rows = sorted(found.items(), key=lambda item: (-item[1].total(), item[0]))
    return [
        {
            "event_class": name,
            "zh": words[name].zh if name in words else name,
            "en": words[name].en if name in words else name,
            "by_level": {level.word: counted[level.word] for level in sorted(EventLevel, reverse=True)},
        }
        for name, counted in rows
    ]


def _trend(month: Month, lines: Sequence[Summary]) -> list[JsonValue]:
    counted = Counter((Month.of(line.opened_at), line.level) for line in lines)
    levels = sorted(EventLevel, reverse=True)
    months = [month.back(count) for count in range(MONTHS_SHOWN - 1, -1, -1)]
    return [{"month": str(one), "by_level": {level.word: counted[one, level] for level in levels}} for one in months]


def _lasted(view: View, moment: datetime | None) -> float | None:
    return None if moment is None else max((moment - view.case.opened.aware_at).total_seconds(), 0.0)


def _reported(view: View) -> datetime | None:
    """When the last of the first reports that are owed was taken; None while one is not."""
    first = [duty for duty in view.duties if duty.is_certain and duty.rule.report is ReportKind.FIRST]
    taken = [duty.receipt.time for duty in first if duty.receipt is not None]
    return max(taken) if first and len(taken) == len(first) else None


def _owes_first(view: View) -> bool:
    return any(duty.is_certain and duty.rule.report is ReportKind.FIRST for duty in view.duties)


def _times(lasted: Sequence[float | None]) -> Record:
    """How long it took: the number of cases by class of time, and of those in which it has not happened yet."""
    known = sorted(seconds for seconds in lasted if seconds is not None)
    buckets = [0] * (len(BUCKETS_S) + 1)
    for seconds in known:
        buckets[sum(seconds > end for end in BUCKETS_S)] += 1
    return {
        "buckets_s": [*BUCKETS_S],
        "counts": [*buckets],
        "not_yet": len(lasted) - len(known),
        "median_s": round(median(known)) if known else None,
        "longest_s": round(known[-1]) if known else None,
    }


def _duties(views: Sequence[View]) -> Record:
    states = Counter(duty.state for view in views for duty in view.duties if duty.is_certain)
    unexplained = sum(duty.needs_reason for view in views for duty in view.duties if duty.is_certain)
    return {**{state.value: states[state] for state in DutyState}, "unexplained": unexplained}


def _rates(systems: Sequence[Record]) -> list[JsonValue]:
    """Shares of systems; what is not known of a system is no success."""
    names = [name for name in (systems[0] if systems else {}) if name.startswith(("is_", "has_"))]
    return [
        {
            "rate": name,
            "met": sum(system[name] is True for system in systems),
            "unknown": sum(system[name] is None for system in systems),
            "total": len(systems),
        }
        for name in names
    ]
