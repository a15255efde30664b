"""What happened, in one or two sentences: from a finding's facts and the catalogue, in the reader's language.

One idea: the sentences of a kind stand in the catalogue (``finding.<kind>.said``), and what they need in the facts:
lists as their first hosts, numbers with their thresholds (``{rate}``, ``{rate_limit}``) and units for people. A finding
that can be told in several ways says which in the fact ``how``, or ``reason`` for the sensor itself (``said_<how>``);
what is true besides is added (``also.<fact>``, or ``also.not_<fact>`` when it is not). A finding of another version,
which lacks a fact, is told by its own summary.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from govsec.errors import ConfigurationError
from govsec.records import Finding
from govsec.report.catalog import Catalogue, plain
from govsec.report.phrases import phrase

#: Of a list, so many are written out.
_NAMED_MAX = 3
_HOUR_S = 3600
#: Facts that are clauses in English.
_CLAUSES = ("expected", "seen")
#: A share is written in percent; other numbers without a unit are counts.
_SHARES = ("ratio", "deviation", "autocorrelation", "in_band", "share")


def finding_said(finding: Finding, words: Catalogue) -> str:
    """What happened, with the numbers and what they were held against."""
    key = f"finding.{finding.kind}"
    how = finding.facts.get("how", finding.facts.get("reason"))
    said = f"{key}.said_{how}" if words.has(f"{key}.said_{how}") else f"{key}.said"
    if not words.has(said):
        return plain(finding.summary)
    facts = _facts(finding, words)
    try:
        parts = [words.text(said, facts), *_also(finding, f"{key}.also", words, facts)]
    except ConfigurationError:  # told by another version
        return plain(finding.summary)
    return plain(("" if words.lang == "zh" else " ").join(parts))


def measures(finding: Finding, words: Catalogue) -> list[dict[str, str]]:
    """Name, value and threshold of each number, for a table."""
    rows = []
    for name, item in sorted(_measured(finding).items()):
        key = f"measure.{name}"
        rows.append(
            {
                "name": words.text(key) if words.has(key) else name.replace("_", " "),
                "value": _number(name, item["value"], item, words),
                "threshold": _number(name, item["threshold"], item, words) if "threshold" in item else "–",
            }
        )
    return rows


def _also(finding: Finding, key: str, words: Catalogue, facts: Mapping[str, str]) -> list[str]:
    known = {**_measured(finding), **finding.facts, **_indicator(finding)}
    parts = []
    for name, value in known.items():
        is_true = bool(value["value"] if isinstance(value, dict) and "value" in value else value)
        also = f"{key}.{name}" if is_true else f"{key}.not_{name}"
        if words.has(also):
            parts.append(words.text(also, facts))
    return parts


def _facts(finding: Finding, words: Catalogue) -> dict[str, str]:
    """Everything a sentence may want, written out."""
    facts = {"subject": finding.subject, "span": _span(finding, words)}
    for name, value in {**finding.facts, **_indicator(finding)}.items():
        if isinstance(value, list):
            count = finding.facts.get(f"{name}_count", len(value))
            facts[name] = _listed([str(item) for item in value], int(str(count)), words)
            facts[f"{name}_count"] = str(count)
        elif isinstance(value, (str, int, float)):
            key = f"value.{name}.{value}"
            said = phrase(value, words.lang) if name in _CLAUSES and isinstance(value, str) else str(value)
            facts[name] = words.text(key) if words.has(key) else said
    facts["port"] = facts.pop("ports", "")
    for name, item in _measured(finding).items():
        facts[name] = _number(name, item["value"], item, words)
        if "threshold" in item:
            facts[f"{name}_limit"] = _number(name, item["threshold"], item, words)
    return facts


def _measured(finding: Finding) -> dict[str, Any]:
    value = finding.facts.get("measured")
    if not isinstance(value, dict):
        return {}
    return {name: item for name, item in value.items() if isinstance(item, dict) and "value" in item}


def _indicator(finding: Finding) -> dict[str, Any]:
    value = finding.facts.get("indicator")
    return {f"indicator_{name}": item for name, item in value.items()} if isinstance(value, dict) else {}


def _span(finding: Finding, words: Catalogue) -> str:
    first, last = finding.facts.get("first"), finding.facts.get("last")
    if not isinstance(first, str) or not isinstance(last, str):
        return words.duration(0)
    return words.duration((datetime.fromisoformat(last) - datetime.fromisoformat(first)).total_seconds())


def _listed(names: list[str], count: int, words: Catalogue) -> str:
    """The first of them; how many there are, when there are more."""
    if count <= _NAMED_MAX:
        return ", ".join(names[:_NAMED_MAX])
    return words.text("more", {"names": ", ".join(names[: _NAMED_MAX - 1]), "count": count})


def _number(name: str, value: float, item: Mapping[str, Any], words: Catalogue) -> str:
    unit = str(item.get("unit", ""))
    if unit.startswith("bytes"):
        per = unit.removeprefix("bytes")
        return words.size(value) + (words.text(f"per{per.replace('/', '_')}") if per else "")
    if unit in ("s", "h"):
        return words.duration(value * (_HOUR_S if unit == "h" else 1))
    if unit == "days":
        return ("-" if value < 0 else "") + words.duration(abs(value) * 24 * _HOUR_S)
    if not unit and name.endswith(_SHARES):
        return f"{value:.1%}".replace(".0%", "%")
    return f"{value:,.0f}" if value == int(value) or abs(value) >= 100 else f"{value:.3g}"
