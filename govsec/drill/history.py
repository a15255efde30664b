"""The drills that were run, as the ledger tells them, and what their absence, age or outcome says.

History is read from signed evidence alone, never from files that a report was written to.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from govsec.crypto.signing import TrustedKeys
from govsec.drill.plan import Plan
from govsec.drill.result import EVIDENCE_KIND, DrillResult, Verdict, parse_result
from govsec.errors import FormatError
from govsec.ledger.entry import Entry
from govsec.ledger.verify import LedgerReport, walk
from govsec.records import Finding, Severity
from govsec.store.api import ReadStore

#: Records take some tens of kilobytes; a drill a day for years is what anybody looks back on.
_DRILLS_MAX = 2000
_DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class PastDrill:
    """One drill on record."""

    entry: Entry
    result: DrillResult


@dataclass(frozen=True, slots=True)
class History:
    """Past drills, oldest first (the newest two thousand), and what the walk over the ledger saw."""

    drills: tuple[PastDrill, ...]
    #: Entries that say they are drill results and are of no version that govsec knows.
    unreadable_count: int
    ledger: LedgerReport

    def newest(self, system: str, plan: str) -> PastDrill | None:
        """The last drill of a plan."""
        mine = [past for past in self.drills if (past.result.system, past.result.plan) == (system, plan)]
        return max(mine, key=lambda past: past.result.started, default=None)


def read_history(stores: Sequence[ReadStore], trusted: TrustedKeys, *, system: str | None = None) -> History:
    """Every drill of a system (of all, without one) that the ledger vouches for.

    Raises:
        StoreUnavailableError: no center could be asked.
    """
    report = LedgerReport()
    found: deque[PastDrill] = deque(maxlen=_DRILLS_MAX)
    unreadable = 0
    for entry in walk(stores, trusted, report):
        if entry.evidence.kind != EVIDENCE_KIND or system not in (None, entry.evidence.subject):
            continue
        try:
            found.append(PastDrill(entry, parse_result(dict(entry.evidence.facts))))
        except FormatError:
            unreadable += 1
    ordered = sorted(found, key=lambda past: (past.result.started, past.result.id))
    return History(tuple(ordered), unreadable, report)


def drill_findings(plans: Iterable[Plan], history: History, now: datetime) -> list[Finding]:
    """What is wrong with how the plans are drilled: never, too long ago, not passed, or changed since."""
    findings = []
    for plan in plans:
        past = history.newest(plan.system, plan.name)
        if past is None:
            findings.append(_finding("drill.never_run", Severity.HIGH, plan, now, "has never been drilled"))
            continue
        result = past.result
        age_days = int((now - result.started).total_seconds() // _DAY_S)
        if age_days > plan.stale_after_days:
            words = f"was drilled {age_days} days ago, more than {plan.stale_after_days}"
            findings.append(
                _finding("drill.stale", Severity.MEDIUM, plan, now, words, age_days=age_days, drill=result.id)
            )
        if result.verdict is not Verdict.PASS:
            severity = Severity.HIGH if result.verdict is Verdict.FAIL else Severity.MEDIUM
            words = f"ended with {result.verdict.value} in drill {result.id}"
            findings.append(
                _finding("drill.failing", severity, plan, now, words, verdict=result.verdict.value, drill=result.id)
            )
        if result.plan_digest != plan.digest():
            words = f"has changed since drill {result.id}"
            findings.append(_finding("drill.plan_changed", Severity.LOW, plan, now, words, drill=result.id))
    return findings


def _finding(kind: str, severity: Severity, plan: Plan, now: datetime, words: str, **facts: str | int) -> Finding:
    return Finding(
        kind=kind,
        severity=severity,
        time=now,
        subject=plan.system,
        summary=f"Plan {plan.name} of {plan.system} {words}.",
        facts={"plan": plan.name, **facts},
    )
