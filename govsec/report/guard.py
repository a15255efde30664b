"""Findings of a host's guard in words for people: what happened, who did it, what was before and is after, what to do.

Title, sentence and advice come from the catalogue by kind (:mod:`govsec.report.findingwords`). What the machine said is
hostile text, so everything goes through :func:`plain`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from govsec.clock import format_time
from govsec.records import Finding
from govsec.report.catalog import Catalogue, Lang, plain
from govsec.report.findingwords import finding_said

_LISTED_MAX = 4


def guard_finding(finding: Finding, lang: Lang) -> str:
    """One finding, on as many lines as it has evidence."""
    words = Catalogue("guard", lang)
    key = f"finding.{finding.kind}"
    title = words.text(f"{key}.title" if words.has(f"{key}.title") else "unknown_title")
    advice = words.text(f"{key}.advice" if words.has(f"{key}.advice") else "unknown_advice")
    severity = words.text(f"severity.{finding.severity.name.lower()}")
    techniques = finding.facts.get("attack")
    lines = [
        f"[{severity}] {title}  {plain(finding.subject)}  {finding.kind}",
        f"  {format_time(finding.time)}  {finding_said(finding, words)}",
        *_evidence(finding, words),
    ]
    if isinstance(techniques, list) and techniques:
        lines.append(f"  {words.text('label.attack')}: {', '.join(map(str, techniques))}")
    return "\n".join([*lines, f"  {words.text('label.advice')}: {advice}"])


def guard_suppressed(suppressed: Mapping[str, int], lang: Lang) -> str:
    """What the site has dismissed or allowed, and how often each held back a finding; empty when nothing was."""
    if not suppressed:
        return ""
    words = Catalogue("guard", lang)
    lines = [f"  {count}  {plain(entry)}" for entry, count in suppressed.items()]
    return "\n".join([words.text("suppressed", {"count": sum(suppressed.values())}), *lines])


def _evidence(finding: Finding, words: Catalogue) -> list[str]:
    facts, lines = finding.facts, []
    processes = facts.get("processes")
    if isinstance(processes, list) and processes:
        chain = " ← ".join(_process(process) for process in processes if isinstance(process, dict))
        lines.append(f"  {words.text('label.processes')}: {plain(chain)}")
    if "before" in facts or "after" in facts:
        for name in ("before", "after"):
            lines.append(f"  {words.text(f'label.{name}')}: {_values(facts.get(name), words)}")
    for name in ("lines", "paths"):
        found = facts.get(name)
        if isinstance(found, list) and found and not (name == "paths" and found == [finding.subject]):
            count = facts.get(f"{name}_count", len(found))
            rest = f" … ({count})" if isinstance(count, int) and count > _LISTED_MAX else ""
            if name == "lines":
                lines += [f"  {words.text('label.lines')}: {plain(str(line))}" for line in found[-_LISTED_MAX:]]
            else:
                shown = ", ".join(plain(str(path)) for path in found[:_LISTED_MAX])
                lines.append(f"  {words.text('label.paths')}: {shown}{rest}")
    return lines


def _process(process: Mapping[str, Any]) -> str:
    what = process.get("command") or process.get("executable") or process.get("name")
    return f"{process.get('pid')} {what} (uid {process.get('uid')})"


def _values(value: object, words: Catalogue) -> str:
    if not isinstance(value, dict):
        return plain(str(value)) if value is not None else words.text("label.removed")
    parts = []
    for name, item in value.items():
        text = ", ".join(map(str, item)) if isinstance(item, list) else str(item)
        parts.append(f"{name} {text}")
    return plain("; ".join(parts))
