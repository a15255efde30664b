"""Single cells of the posture page: counts, lists, passwords and values, as short text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from govsec.records import Finding, Severity


def count(rows: Sequence[object] | None) -> str:
    """How many rows, a dash where nobody knows."""
    return "–" if rows is None else f"{len(rows):,}"


def style(findings: Sequence[Finding]) -> str:
    """The colour of the worst of these findings; none below what needs a look."""
    worst = max((finding.severity for finding in findings), default=Severity.INFO)
    if worst >= Severity.HIGH:
        return "fail"
    return "partial" if worst >= Severity.MEDIUM else ""


def password(account: Mapping[str, Any]) -> str:
    """Which words say how an account's password is: set, locked, open or unknown."""
    if account["has_password"] is None:
        return "unknown"
    if account["is_locked"]:
        return "locked"
    return "set" if account["has_password"] else "open"


def listed(values: object, count: object, shown_max: int) -> str:
    """The first of some values, and how many there are when there are more."""
    if not isinstance(values, Sequence) or isinstance(values, str):
        return ""
    total = int(str(count)) if count is not None else len(values)
    shown = ", ".join(str(value) for value in values[:shown_max])
    return f"{shown} … ({total})" if total > shown_max else shown


def measure(finding: Finding, name: str) -> str:
    """A number that a finding measured, a dash where it has none."""
    measured = finding.facts.get("measured")
    item = measured.get(name) if isinstance(measured, dict) else None
    return f"{item['value']:,}" if isinstance(item, dict) and isinstance(item.get("value"), int) else "–"


def values(value: object) -> str:
    """What was, or is, in one line; a dash where there is nothing."""
    if value is None:
        return "–"
    if not isinstance(value, Mapping):
        return str(value)
    parts = []
    for name, item in value.items():
        text = ", ".join(map(str, item)) if isinstance(item, list) else str(item)
        parts.append(f"{name}: {text}")
    return "; ".join(parts)
