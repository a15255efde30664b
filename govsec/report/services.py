"""What asking services gave, in words for people: a table of what answered, and the findings with advice.

What services and pages say is hostile text, so everything goes through :func:`plain`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from govsec.clock import format_time
from govsec.records import Finding
from govsec.report.catalog import Catalogue, Lang, plain
from govsec.report.findingwords import finding_said
from govsec.report.width import padded

_NAME_WIDTH, _CELL_WIDTH = 24, 10


def service_finding_words(finding: Finding, lang: Lang) -> str:
    """Title, what happened, technique and advice of a finding about services, pages or vulnerabilities."""
    words = Catalogue("services", lang)
    attack = finding.facts.get("attack")
    techniques = ", ".join(str(item) for item in attack) if isinstance(attack, list) else ""
    severity = words.text(f"severity.{finding.severity.name.lower()}")
    lines = [
        f"[{severity}] {_of(finding, 'title', words)}  {plain(finding.subject)}  {finding.kind}",
        f"  {format_time(finding.time)}  {finding_said(finding, words)}",
        *_listed(finding, words),
        f"  {words.text('label.attack')}: {techniques}" if techniques else "",
        f"  {words.text('label.advice')}: {_of(finding, 'advice', words)}",
    ]
    return "\n".join(line for line in lines if line)


def probe_words(
    services: Sequence[Mapping[str, Any]], findings: Sequence[Finding], suppressed: Mapping[str, int], lang: Lang
) -> str:
    """A line for each service and family, the findings, and what was held back."""
    words = Catalogue("services", lang)
    parts = [service_finding_words(finding, lang) for finding in findings]
    parts.append("\n".join(_table(services, words)))
    if suppressed:
        parts.append(words.text("suppressed", {"count": sum(suppressed.values())}))
    parts.append(words.text("summary", {"services": len(services), "findings": len(findings)}))
    return "\n\n".join(parts)


def _table(services: Sequence[Mapping[str, Any]], words: Catalogue) -> list[str]:
    head = [words.text(f"label.{name}") for name in ("service", "family", "state", "steps", "whole", "certificate")]
    rows = [head]
    for service in services:
        ends = min((str(one["ends"])[:10] for one in service["certificates"] if one["ends"]), default="–")
        runs = service["runs"] or [{"family": "–", "state": "not asked", "steps": []}]
        for run in runs:
            whole = sum(step["seconds"].get("whole", 0.0) for step in run["steps"])
            key = f"state.{str(run['state']).replace(' ', '_')}"
            rows.append(
                [
                    plain(str(service["name"])),
                    str(run["family"]),
                    words.text(key) if words.has(key) else str(run["state"]),
                    str(sum(step["failure"] is None for step in run["steps"])),
                    words.duration(whole) if run["steps"] else "–",
                    ends,
                ]
            )
    widths = [_NAME_WIDTH, *[_CELL_WIDTH] * (len(head) - 1)]
    return ["  ".join(padded(cell, width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _listed(finding: Finding, words: Catalogue) -> list[str]:
    """Before, after and links, a few of each."""
    lines = []
    for name in ("before", "after", "links", "words", "tricks", "ids"):
        values = finding.facts.get(name)
        if isinstance(values, list) and values:
            shown = " | ".join(str(value)[:100] for value in values[:5])
            count = finding.facts.get(f"{name}_count", len(values))
            more = f" … ({count})" if int(str(count)) > 5 else ""
            lines.append(f"  {words.text(f'label.{name}')}: {plain(shown)}{more}")
    return lines


def _of(finding: Finding, part: str, words: Catalogue) -> str:
    key = f"finding.{finding.kind}.{part}"
    return words.text(key if words.has(key) else f"unknown_{part}")


def inventory_words(
    findings: Sequence[Finding],
    packages: int,
    states: Mapping[str, int],
    newest: datetime | None,
    is_file_date: bool,
    lang: Lang,
) -> str:
    """Packages with known vulnerabilities, how many in which state, and of when the data are."""
    words = Catalogue("services", lang)
    parts = [service_finding_words(finding, lang) for finding in findings]
    lines = [words.text("inventory", {"packages": packages, "findings": len(findings)})]
    lines += [
        f"  {words.text('matched.' + state.replace(' ', '_'))}: {count}" for state, count in sorted(states.items())
    ]
    date = format_time(newest) if newest else words.text("date_unknown")
    lines.append(words.text("data_of_file" if is_file_date else "data_of", {"date": date}))
    return "\n\n".join([*parts, "\n".join(lines)])
