"""The monthly bulletin as a self-contained page with charts, and as text; works on ``govsec.bulletin.v1``.

Every bar has its number beside it and every colour its word. Titles of cases are hostile text: :mod:`page` escapes
them, and in text they stay on their line. The same record gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from govsec import canonical
from govsec.clock import parse_time
from govsec.report.catalog import Catalogue, Lang, plain
from govsec.report.chart import Slice, stack
from govsec.report.page import render_page

_BEIJING_OFFSET_HOURS = 8
_SERIOUS = ("particularly_major", "major", "relatively_major")
_CLASS_WIDTH = 560.0
_COLUMN_HEIGHT = 120.0
_COLUMN_STEP = 100.0
_COLUMN_WIDTH = 46.0
_TIME_WIDTH = 170.0
_BAR_MIN = 2.0


@dataclass(frozen=True, slots=True)
class Column:
    """One month of the trend: its stacked parts from the ground up, in units of the drawing."""

    x: float
    label: str
    total: int
    top: float
    parts: tuple[tuple[str, int, float, float], ...]


def render_bulletin(record: Mapping[str, Any], lang: Lang) -> str:
    """The page on a record, in Chinese or English."""
    words = Catalogue("bulletin", lang)
    return render_page(
        "bulletin", r=record, lang=lang, t=words.text, lines=words.lines, view=_View(record, words),
        record_digest=canonical.digest(record),
    )  # fmt: skip


def bulletin_text(record: Mapping[str, Any], lang: Lang) -> str:
    """The bulletin for a terminal."""
    words = Catalogue("bulletin", lang)
    view = _View(record, words)
    lines = [f"{words.text('title')} {view.month()}", view.headline()]
    if not record["is_whole"]:
        lines.append(words.text("not_whole"))
    lines += [f"  {card['name']}{words.text('colon')}{card['value']}  {card['against']}" for card in view.cards()]
    for row in record["classes"]:
        counts = ", ".join(
            f"{words.text('mark.' + level)} {count}" for level, count in row["by_level"].items() if count
        )
        lines.append(f"  {row[words.lang]}{words.text('colon')}{counts}")
    lines += ["", words.text("section.times")]
    lines += [f"  {chart['name']}{words.text('colon')}{chart['note']}" for chart in view.times()]
    lines += ["", words.text("section.rates")]
    lines += [f"  {rate['name']}{words.text('colon')}{rate['share']}" for rate in view.rates()]
    if record["missing"]:
        lines += ["", words.text("section.missing"), *(f"  {line}" for line in record["missing"])]
    return "\n".join(plain(line).replace("\n", "\\u000a") for line in lines)


class _View:
    """What the template prints, put into words."""

    def __init__(self, record: Mapping[str, Any], words: Catalogue) -> None:
        self._record, self._words = record, words

    def month(self) -> str:
        """The month in words."""
        year, number = self._record["month"].split("-")
        return self._words.text("month", {"year": year, "month": number})

    def headline(self) -> str:
        """The month in one sentence."""
        counts = self._record["counts"]
        if not counts["opened"]:
            return self._words.text("headline.none")
        return self._words.text("headline.some", {**counts, "serious": self._serious()})

    def outcome(self) -> str:
        """The style of the headline: what is late or not taken on is never green."""
        duties, counts = self._record["duties"], self._record["counts"]
        if duties["late"] or counts["by_level"]["particularly_major"] or counts["by_level"]["major"]:
            return "fail"
        is_unproved = any(drill["verdict"] != "pass" for drill in self._record["drills"]) or self._record["missing"]
        is_behind = self._serious() or duties["met_late"] or counts["unacknowledged"] or is_unproved
        return "partial" if is_behind else "pass"

    def cards(self) -> list[dict[str, str]]:
        """Five figures."""
        counts, duties, drills = self._record["counts"], self._record["duties"], self._record["drills"]
        passed = sum(drill["verdict"] == "pass" for drill in drills)
        late = duties["late"] + duties["met_late"]
        facts = {**counts, "unexplained": duties["unexplained"], "count": len(drills)}
        values = {
            "opened": (counts["opened"], ""),
            "serious": (self._serious(), "fail" if self._serious() else ""),
            "unacknowledged": (counts["unacknowledged"], "partial" if counts["unacknowledged"] else ""),
            "late": (late, "fail" if late else ""),
            "drills": (
                f"{passed}/{len(drills)}" if drills else "–",
                "" if drills and passed == len(drills) else "partial",
            ),
        }
        text = self._words.text
        return [
            {
                "name": text(f"card.{name}"),
                "value": str(value),
                "style": style,
                "against": text(f"against.{name}", facts),
            }
            for name, (value, style) in values.items()
        ]

    def levels(self) -> list[tuple[str, str]]:
        """Levels with their words, worst first, for the legend."""
        return [(level, self._words.text(f"level.{level}")) for level in self._record["counts"]["by_level"]]

    def mark(self, level: str) -> str:
        """The level's numeral."""
        return self._words.text(f"mark.{level}")

    def classes(self) -> list[tuple[str, int, tuple[Slice, ...]]]:
        """A bar for each class of event."""
        rows = self._record["classes"]
        full = max((sum(row["by_level"].values()) for row in rows), default=1)
        return [
            (
                row[self._words.lang],
                sum(row["by_level"].values()),
                stack(row["by_level"], width=_CLASS_WIDTH, full=full),
            )
            for row in rows
        ]

    def trend(self) -> list[Column]:
        """A column for each month."""
        totals = [sum(row["by_level"].values()) for row in self._record["trend"]]
        full = max([*totals, 1])
        columns = []
        for position, (row, total) in enumerate(zip(self._record["trend"], totals, strict=True)):
            y, parts = _COLUMN_HEIGHT, []
            for level, count in reversed(row["by_level"].items()):
                if count:
                    height = max(_BAR_MIN, _COLUMN_HEIGHT * count / full)
                    y -= height
                    parts.append((level, count, round(y, 2), round(height, 2)))
            x = _COLUMN_STEP * position + (_COLUMN_STEP - _COLUMN_WIDTH) / 2
            columns.append(Column(x, row["month"], total, round(y, 2), tuple(parts)))
        return columns

    def times(self) -> list[dict[str, Any]]:
        """A small chart for each of the three times."""
        return [self._time(name, chart) for name, chart in self._record["times"].items()]

    def duties(self) -> list[tuple[str, str, int]]:
        """Reports by state: style, words, how many."""
        styles = {"met": "ok", "met_late": "partial", "late": "bad", "open": "partial", "waiting": "none"}
        duties = self._record["duties"]
        return [(styles[state], self._words.text(f"duty.{state}"), duties[state]) for state in styles if duties[state]]

    def cases(self) -> Iterator[dict[str, str]]:
        """The events, worst first."""
        names = {row["event_class"]: row[self._words.lang] for row in self._record["classes"]}
        for case in self._record["cases"]:
            suggested = "" if case["is_confirmed"] else self._words.text("label.suggested")
            yield {
                "id": case["id"],
                "title": case["title"],
                "class": names[case["event_class"]],
                "level": case["level"],
                "level_words": self._words.text(f"level.{case['level']}"),
                "suggested": suggested,
                "stage": self._words.text(f"stage.{case['stage']}"),
                "opened": self.moment(case["opened_at"]),
                "by": case["acknowledged_by"] or "–",
            }

    def hidden_count(self) -> int:
        """Events that are not listed."""
        return int(self._record["counts"]["opened"]) - len(self._record["cases"])

    def drills(self) -> Iterator[dict[str, str]]:
        """The drills of the month."""
        for drill in self._record["drills"]:
            yield {
                "system": drill["system"],
                "plan": drill["plan"],
                "started": self.moment(drill["started"]),
                "style": {"pass": "passed", "fail": "failed"}.get(drill["verdict"], "partial"),
                "verdict": self._words.text(f"verdict.{drill['verdict']}"),
                "point": self._against(drill["recovery_point_age_s"], drill["rpo_s"]),
                "restore": self._against(drill["restore_time_s"], drill["rto_s"]),
            }

    def rates(self) -> list[dict[str, Any]]:
        """Shares of systems."""
        found = []
        for rate in self._record["rates"]:
            key = "share_unknown" if rate["unknown"] else "share"
            found.append(
                {
                    "name": self._words.text(f"rate.{rate['rate']}"),
                    "share": self._words.text(key, rate),
                    "width": round(200 * rate["met"] / max(rate["total"], 1), 2),
                    "unknown": round(200 * rate["unknown"] / max(rate["total"], 1), 2),
                }
            )
        return found

    def rate_names(self) -> list[str]:
        """The rates as heads of the table of systems."""
        return [rate["rate"] for rate in self._record["rates"]]

    def standing(self, value: bool | None) -> tuple[str, str]:
        """Style and word of one rate of one system."""
        if value is None:
            return "none", self._words.text("unknown")
        return ("ok", self._words.text("is_met")) if value else ("bad", self._words.text("is_not_met"))

    def moment(self, text: str | None) -> str:
        """A moment on the clocks of China, to the minute."""
        return "–" if text is None else self._words.moment(parse_time(text), _BEIJING_OFFSET_HOURS)[:-3]

    def _serious(self) -> int:
        return sum(self._record["counts"]["by_level"][level] for level in _SERIOUS)

    def _against(self, measured_s: int | None, objective_s: int) -> str:
        objective = self._words.text("label.objective", {"value": self._words.duration(objective_s)})
        return f"{'–' if measured_s is None else self._words.duration(measured_s)} ({objective})"

    def _time(self, name: str, chart: Mapping[str, Any]) -> dict[str, Any]:
        counts: Sequence[int] = [*chart["counts"], chart["not_yet"]]
        labels = [*self._words.lines("bucket"), self._words.text("not_yet")]
        full = max([*counts, 1])
        note = self._words.text("times_none")
        if chart["median_s"] is not None:
            spans = {key: self._words.duration(chart[f"{key}_s"]) for key in ("median", "longest")}
            note = self._words.text("times_note", spans)
        elif chart["not_yet"]:
            note = f"{self._words.text('not_yet')} {chart['not_yet']}"
        return {
            "name": self._words.text(f"time.{name}"),
            "note": note,
            "bars": [
                {
                    "label": label,
                    "count": count,
                    "width": round(max(_BAR_MIN, _TIME_WIDTH * count / full), 2) if count else 0,
                    "is_open": position == len(labels) - 1,
                }
                for position, (label, count) in enumerate(zip(labels, counts, strict=True))
            ],
        }
