"""The report on a capture: one self-contained HTML file, made from the record alone.

The record (``govsec.capture.v1``, times in microseconds) is plain JSON: the file, counts, traffic by time, talkers,
findings. The same
record gives the same bytes. Everything the network said is hostile: :mod:`page` escapes it, and the page loads nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from govsec import canonical
from govsec.clock import from_ns
from govsec.records import Finding, Severity
from govsec.report.catalog import Catalogue, Lang
from govsec.report.findingwords import finding_said, measures
from govsec.report.monitor import finding_advice, finding_title
from govsec.report.page import render_page
from govsec.report.trafficchart import TrafficChart, traffic_chart

FORMAT = "govsec.capture.v1"
_BEIJING_OFFSET_HOURS = 8
#: From the worst to the least; ``Severity`` by name.
_SEVERITIES = ("critical", "high", "medium", "low", "info")
#: Findings that are written out; the record has all of them, and the page says how many more there are.
_FINDINGS_MAX = 200
_TALKER_WIDTH = 220.0


def render_capture(record: Mapping[str, Any], lang: Lang) -> str:
    """The report on a capture record, in Chinese or English."""
    words = Catalogue("capture", lang)
    return render_page(
        "capture",
        r=record,
        lang=lang,
        t=words.text,
        lines=words.lines,
        size=words.size,
        duration=words.duration,
        view=_View(record, words, Catalogue("monitor", lang)),
        record_digest=canonical.digest(record),
    )


class _View:
    """What the template prints, put into words; all the decisions of the page are here."""

    def __init__(self, record: Mapping[str, Any], words: Catalogue, sensor_words: Catalogue) -> None:
        self._record = record
        self._words = words
        self._sensor_words = sensor_words
        self._findings = [Finding.model_validate(item) for item in record["findings"]]
        self._findings.sort(key=lambda finding: (-finding.severity, finding.time, finding.kind, finding.subject))

    def outcome(self) -> str:
        """The style of the conclusion: fail, partial, or none when nothing was found (which proves nothing)."""
        worst = max((finding.severity for finding in self._findings), default=Severity.INFO)
        if not self._findings:
            return "none"
        return "fail" if worst >= Severity.HIGH else "partial"

    def conclusion(self) -> str:
        if not self._findings:
            return self._words.text("conclusion.none")
        counts = Counter(finding.severity.name.lower() for finding in self._findings)
        parts = [
            f"{self._sensor_words.text(f'severity.{name}')} {counts[name]}" for name in _SEVERITIES if counts[name]
        ]
        joined = ("，" if self._words.lang == "zh" else ", ").join(parts)
        return self._words.text("conclusion.found", {"count": len(self._findings), "parts": joined})

    def headlines(self) -> list[str]:
        """The worst in one line each, for a reader who stops here."""
        return [
            f"{finding_title(finding, self._sensor_words)} · {finding.subject}"
            for finding in self._findings[:3]
            if finding.severity >= Severity.MEDIUM
        ]

    def findings(self) -> list[dict[str, Any]]:
        return [self._written(number, finding) for number, finding in enumerate(self._shown(), start=1)]

    def findings_hidden(self) -> int:
        return len(self._findings) - len(self._shown())

    def moment(self, time_us: int | None) -> str:
        if time_us is None:
            return "–"
        return self._words.moment(from_ns(time_us * 1000), _BEIJING_OFFSET_HOURS)

    def length_s(self) -> float:
        summary = self._record["summary"]
        return 0.0 if summary["first_us"] is None else (summary["last_us"] - summary["first_us"]) / 1e6

    def flows(self) -> int:
        return sum(int(counts["flows"]) for counts in self._record["summary"]["protocols"].values())

    def rate(self) -> str:
        length_s = self.length_s()
        return self._words.size(self._record["summary"]["bytes"] / length_s) + "/s" if length_s > 0 else "–"

    def chart(self) -> TrafficChart:
        series = self._record["series"]
        start = series["start_us"]
        marks = [
            (finding.time.timestamp() - start / 1e6, _SEVERITIES.index(finding.severity.name.lower()))
            for finding in self._shown()
        ]
        return traffic_chart(series["bytes"], width_s=series["width_us"] / 1e6, marks=marks)

    def time_label(self, offset_s: float) -> str:
        """A mark on the axis: since the beginning for short captures, the time of day for longer ones."""
        series = self._record["series"]
        span_s = series["width_us"] * max((len(row) for row in series["bytes"]), default=0) / 1e6
        if span_s < 120:
            return f"{offset_s:g} s"
        moment = from_ns(series["start_us"] * 1000) + timedelta(seconds=offset_s, hours=_BEIJING_OFFSET_HOURS)
        if span_s < 3600:
            return f"{moment:%H:%M:%S}"
        return f"{moment:%H:%M}" if span_s < 86_400 else f"{moment:%m-%d %H:%M}"

    def grid_label(self, count_bytes: float) -> str:
        return f"{self._words.size(count_bytes)}"

    def bin_width(self) -> str:
        return self._words.duration(self._record["series"]["width_us"] / 1e6)

    def classes(self) -> list[str]:
        """The names of the stacked rows that have any traffic, with their place."""
        return [
            name
            for name, row in zip(self._record["series"]["classes"], self._record["series"]["bytes"], strict=True)
            if any(row)
        ]

    def class_row(self, name: str) -> int:
        return int(self._record["series"]["classes"].index(name))

    def talkers(self) -> list[dict[str, Any]]:
        largest = max((item["bytes_sent"] + item["bytes_received"] for item in self._record["talkers"]), default=1)
        marked = {host for finding in self._findings for host in _hosts(finding)}
        return [
            {
                **item,
                "sent_width": round(_TALKER_WIDTH * item["bytes_sent"] / max(largest, 1), 2),
                "received_width": round(_TALKER_WIDTH * item["bytes_received"] / max(largest, 1), 2),
                "is_marked": item["address"] in marked,
            }
            for item in self._record["talkers"]
        ]

    def protocols(self) -> list[tuple[str, Mapping[str, int]]]:
        return sorted(self._record["summary"]["protocols"].items(), key=lambda item: (-item[1]["bytes"], item[0]))

    def losses(self) -> list[tuple[str, int]]:
        """Every counter of something left out, lost or damaged that is not 0: nothing is lost in silence."""
        found = [(f"{what} {name}", count) for what, name, count in self._counters() if count and _is_loss(name)]
        return sorted(
            [*found, *((f"packets {name}", count) for name, count in self._record["summary"]["faults"].items())]
        )

    def _counters(self) -> list[tuple[str, str, int]]:
        return [
            (part, name, count)
            for part, counts in sorted(self._record["counters"].items())
            for name, count in sorted(counts.items())
        ]

    def _shown(self) -> list[Finding]:
        return self._findings[:_FINDINGS_MAX]

    def _written(self, number: int, finding: Finding) -> dict[str, Any]:
        facts = finding.facts
        attack = facts.get("attack")
        return {
            "number": number,
            "severity": finding.severity.name.lower(),
            "severity_words": self._sensor_words.text(f"severity.{finding.severity.name.lower()}"),
            "title": finding_title(finding, self._sensor_words),
            "advice": finding_advice(finding, self._sensor_words),
            "kind": finding.kind,
            "subject": finding.subject,
            "time": self._words.moment(finding.time, _BEIJING_OFFSET_HOURS),
            "summary": finding_said(finding, self._sensor_words),
            "attack": [str(item) for item in attack] if isinstance(attack, list) else [],
            "originators": _listed(facts, "originators"),
            "responders": _listed(facts, "responders"),
            "measured": measures(finding, self._sensor_words),
            "pattern": str(facts.get("pattern", "")),
        }


def _hosts(finding: Finding) -> list[str]:
    hosts = [finding.subject]
    for name in ("originators", "responders"):
        value = finding.facts.get(name)
        hosts += [str(item) for item in value] if isinstance(value, list) else []
    return hosts


def _listed(facts: Mapping[str, Any], name: str) -> str:
    value = facts.get(name)
    if not isinstance(value, list):
        return ""
    more = facts.get(f"{name}_count")
    shown = ", ".join(str(item) for item in value[:8])
    total = more if isinstance(more, int) else len(value)
    return shown + (f" … ({total})" if total > 8 else "")


def _is_loss(name: str) -> bool:
    words = (
        "drop",
        "lost",
        "evict",
        "forgot",
        "refus",
        "cut",
        "left_out",
        "error",
        "trunc",
        "malform",
        "degrad",
        "stop",
        "skip",
        "not_kept",
        "gap",
        "limit",
        "fail",
        "sketch",
        "broken",
    )
    return any(word in name for word in words)
