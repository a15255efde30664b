"""What a run leaves for people to act on: findings, each a judgement with its numbers and no action in it.

Pure. A first run raises what is open; a later one what is new or got worse, so that a nightly service does not repeat
itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from pydantic import JsonValue

from govsec.policy.results import CaseState
from govsec.policy.run import Assessment
from govsec.records import Finding, Severity

#: A summary names so many items; the facts hold them all.
_NAMED_MAX = 10


def assessment_findings(run: Assessment, *, coverage_min: float = 0.0) -> tuple[Finding, ...]:
    """What is new in ``run`` against the run it was compared with; everything open where it was compared with none."""
    return (*_objects(run), *_coverage(run, coverage_min), *_cases(run), *_worse(run), *_expiring(run))


def _objects(run: Assessment) -> Iterator[Finding]:
    for name, row in run.objects.items():
        if row.state == "unreachable":
            yield _finding(run, "assess.unreachable", Severity.HIGH, f"Host {name} gave no facts.", host=name)


def _coverage(run: Assessment, coverage_min: float) -> Iterator[Finding]:
    share = run.coverage.share or 0.0
    if share < coverage_min or not run.coverage.decided:
        words = f"{run.coverage.decided} of {run.coverage.applicable} items are decided."
        yield _finding(run, "assess.coverage_low", Severity.MEDIUM, words, share=share)


def _cases(run: Assessment) -> Iterator[Finding]:
    new = None if run.difference is None else set(run.difference.cases_new)
    for row in run.cases:
        if row.state is CaseState.OPEN and (new is None or row.case in new):
            words = f"High-risk case {row.case} is open: {row.title.en}."
            facts: dict[str, JsonValue] = {"case": row.case, "objects": list(row.objects), "items": list(row.items)}
            yield _finding(run, "assess.high_risk", Severity.HIGH, words, **facts)


def _worse(run: Assessment) -> Iterator[Finding]:
    worse = [row for row in run.difference.items if row.direction == "worse"] if run.difference else []
    if worse:
        names = ", ".join(row.item for row in worse[:_NAMED_MAX]) + (" …" if len(worse) > _NAMED_MAX else "")
        items: list[JsonValue] = [
            {"item": row.item, "before": str(row.before or ""), "after": str(row.after or "")} for row in worse
        ]
        words = f"{len(worse)} items are worse than in the run before: {names}."
        yield _finding(run, "assess.worse", Severity.MEDIUM, words, items=items)


def _expiring(run: Assessment) -> Iterator[Finding]:
    for row in run.expiring:
        verb = "has ended" if row.is_expired else "ends"
        severity = Severity.MEDIUM if row.is_expired else Severity.LOW
        words = f"The {row.kind} for {row.subject} {verb} on {row.until:%Y-%m-%d}."
        yield _finding(run, "assess.expiring", severity, words, record=row.record, subject=row.subject)


def _finding(run: Assessment, kind: str, severity: Severity, words: str, **facts: JsonValue) -> Finding:
    ended: datetime = run.ended
    return Finding(
        kind=kind,
        severity=severity,
        time=ended,
        subject=run.system.name,
        summary=words,
        facts={"run": run.id, **facts},
    )
