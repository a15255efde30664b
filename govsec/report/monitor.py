"""Findings and flows of the network sensor, in words for people.

One idea: title, what happened and advice come from the catalogue by kind and facts (:mod:`findingwords`); the summary
of a finding is for programs, the same in every language. What the network said is hostile text, so everything goes
through :func:`plain`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from govsec.clock import format_time, from_ns
from govsec.records import Finding
from govsec.report.catalog import Catalogue, Lang, plain
from govsec.report.findingwords import finding_said
from govsec.report.width import padded

_COLUMNS = ("flows", "answered", "packets", "bytes")


def finding_title(finding: Finding, words: Catalogue) -> str:
    """What kind of thing it is."""
    key = f"finding.{finding.kind}.title"
    return words.text(key if words.has(key) else "unknown_title")


def finding_advice(finding: Finding, words: Catalogue) -> str:
    """What a person can do about it, with the hosts' names."""
    key = f"finding.{finding.kind}.advice"
    if not words.has(key):
        return words.text("unknown_advice")
    hosts = {name[:-1]: _first(finding, name, words) for name in ("originators", "responders")}
    return plain(words.text(key, hosts))


def finding_words(finding: Finding, lang: Lang) -> str:
    """Title, numbers, technique and advice, on four lines."""
    words = Catalogue("monitor", lang)
    attack = finding.facts.get("attack")
    techniques = ", ".join(str(item) for item in attack) if isinstance(attack, list) else ""
    severity = words.text(f"severity.{finding.severity.name.lower()}")
    lines = [
        f"[{severity}] {finding_title(finding, words)}  {plain(finding.subject)}  {finding.kind}",
        f"  {format_time(finding.time)}  {finding_said(finding, words)}",
        f"  {words.text('label.attack')}: {techniques}" if techniques else "",
        f"  {words.text('label.advice')}: {finding_advice(finding, words)}",
    ]
    return "\n".join(line for line in lines if line)


def summary_words(summary: Mapping[str, Any], findings_count: int, lang: Lang) -> str:
    """How much traffic there was, by protocol."""
    words = Catalogue("monitor", lang)
    if summary["first_ns"] is None:
        return words.text("nothing", {"findings": findings_count})
    first, last = (int(summary[name]) for name in ("first_ns", "last_ns"))
    facts = {
        "packets": summary["packets"],
        "size_bytes": summary["bytes"],
        "duration_s": (last - first) / 1e9,
        "first": format_time(from_ns(first)),
        "last": format_time(from_ns(last)),
        "findings": findings_count,
    }
    lines = [words.text("summary", facts), *_table(summary["protocols"], words)]
    faults = _counted(summary["faults"], "fault", words)
    return "\n".join([*lines, f"{words.text('label.faults')}: {faults}"] if faults else lines)


def loss_words(capture: Mapping[str, int], lang: Lang) -> str:
    """What of the capture could not be read, or says of itself that it lacks packets; empty when nothing."""
    words = Catalogue("monitor", lang)
    losses = _counted({name: count for name, count in capture.items() if words.has(f"loss.{name}")}, "loss", words)
    return f"{words.text('label.losses')}: {losses}" if losses else ""


def suppressed_words(suppressed: Mapping[str, int], lang: Lang) -> str:
    """What the site has dismissed or allowed, and how often each held back a finding; empty when nothing was."""
    if not suppressed:
        return ""
    words = Catalogue("monitor", lang)
    lines = [f"  {count}  {plain(entry)}" for entry, count in suppressed.items()]
    return "\n".join([words.text("suppressed", {"count": sum(suppressed.values())}), *lines])


def _counted(counts: Mapping[str, int], group: str, words: Catalogue) -> str:
    parts = []
    for name, count in counts.items():
        key = f"{group}.{name}"
        if count:
            parts.append(f"{words.text(key) if words.has(key) else name} {count}")
    return ("，" if words.lang == "zh" else ", ").join(parts)


def _table(protocols: Mapping[str, Mapping[str, int]], words: Catalogue) -> list[str]:
    rows = [[words.text("label.protocol"), *(words.text(f"label.{name}") for name in _COLUMNS)]]
    rows += [[name, *(str(counts.get(column, 0)) for column in _COLUMNS)] for name, counts in protocols.items()]
    return ["  ".join(padded(cell, 12) for cell in row).rstrip() for row in rows] if protocols else []


def _first(finding: Finding, name: str, words: Catalogue) -> str:
    hosts = finding.facts.get(name)
    return str(hosts[0]) if isinstance(hosts, list) and hosts else words.text("nobody")
