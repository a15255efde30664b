"""The drill report: one self-contained HTML file, made from the record alone.

The same record gives the same bytes. Names that come from repositories or commands may be hostile: :mod:`page` escapes
every value, and what it makes loads nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from govsec import canonical
from govsec.clock import parse_time
from govsec.report.catalog import Catalogue, Lang
from govsec.report.chart import Row, Timeline, share, timeline
from govsec.report.page import LedgerRef, render_page

_GAUGE_WIDTH = 200.0
_BEIJING_OFFSET_HOURS = 8
_DAY_S = 86_400
_ROLES = ("production", "same_city", "remote")
_CODES_OF_EXPECT = ("expect_path", "expect_files", "expect_bytes")


def render_drill(record: Mapping[str, Any], lang: Lang, *, ledger: LedgerRef | None) -> str:
    """The report on a drill record (``govsec.drill.v1``), in Chinese or English."""
    words = Catalogue("drill", lang)
    view = _View(record, words)
    return render_page(
        "drill",
        r=record,
        lang=lang,
        t=words.text,
        lines=words.lines,
        duration=words.duration,
        size=words.size,
        moment=view.moment,
        view=view,
        ledger=ledger,
        record_digest=canonical.digest(record),
    )


def drill_words(record: Mapping[str, Any], lang: Lang) -> list[str]:
    """A drill record in a few lines for a terminal: verdict, the two times, and every reason."""
    words = Catalogue("drill", lang)
    view = _View(record, words)
    measures, objectives = record["measures"], record["objectives"]
    verdict = words.text("verdict." + record["verdict"])
    lines = [f"{verdict} {record['id']} ({record['system']}, {record['plan']})", view.conclusion()]
    for card, measured, target in (
        ("rpo", measures["recovery_point_age_s"], objectives["rpo_s"]),
        ("rto", measures["restore_time_s"], objectives["rto_s"]),
    ):
        shown = words.text("label.not_measured") if measured is None else words.duration(measured)
        objective = f"{words.text('label.objective')} {words.duration(target)}"
        if view.is_default(f"{card}_s"):
            objective += f"; {words.text('label.default_objective')}"
        lines.append(f"{words.text('card.' + card)} {shown} ({objective})")
    lines.append(f"{words.text('card.content')} {view.content()[1]}")
    return lines + [f"- {reason}" for _, reason in view.reasons()]


def step_words(record: Mapping[str, Any], lang: Lang) -> list[str]:
    """What each step of a drill record brought, in the order of the steps."""
    view = _View(record, Catalogue("drill", lang))
    return [view.detail(step) for step in record["steps"]]


class _View:
    """What the template prints, put into words; all the decisions of the page are here."""

    def __init__(self, record: Mapping[str, Any], words: Catalogue) -> None:
        self._record = record
        self._words = words

    def moment(self, text: str) -> str:
        return self._words.moment(parse_time(text), _BEIJING_OFFSET_HOURS)

    def conclusion(self) -> str:
        used = [center for center in self._record["centers"] if center["state"] in ("restored_from", "damaged")]
        center = self._role(used[0]["role"]) if used else self._words.text("verdict_line.none")
        return self._words.text(f"verdict_line.{self._record['verdict']}", {"center": center})

    def scenario(self) -> str:
        scenario = dict(self._record["scenario"])
        facts = {
            "center": self._role(scenario["center"]) if "center" in scenario else "",
            "percent": f"{scenario.get('fraction', 0) * 100:g} %",
            "time": self.moment(scenario["time"]) if "time" in scenario else "",
        }
        return self._words.text(f"scenario.{scenario['kind']}", facts)

    def reasons(self) -> list[tuple[str, str]]:
        return [(item["verdict"], self._reason(item)) for item in self._record["reasons"]]

    def gauge(self, measured: float | None, target: float) -> dict[str, Any]:
        """A bar for one of the two times."""
        if measured is None:
            return {"is_measured": False, "is_within": False, "bar": 0.0, "mark": _GAUGE_WIDTH}
        bar, mark = share(measured, target, _GAUGE_WIDTH)
        return {"is_measured": True, "is_within": measured <= target, "bar": bar, "mark": mark}

    def content(self) -> tuple[str, str]:
        """The state of the content verification (ok, bad, partial, none) and its words."""
        content = self._record["content"]
        differing = sum(found["mismatches_count"] for found in self.compared())
        if content is None or not content["files_checked"]:
            return ("bad" if content and content["mismatches_count"] else "none"), self._words.text("card.content_none")
        if differing:
            return "bad", self._words.text("card.content_bad", {"count": differing})
        if not content["samples_checked"]:
            return "partial", self._words.text("card.content_partial")
        return "ok", self._words.text("card.content_ok")

    def compared(self) -> list[Mapping[str, Any]]:
        """What was compared: contents, and everything else; records of older versions lack the latter."""
        found = (self._record["content"], self._record.get("metadata"))
        return [item for item in found if item is not None]

    def metadata(self) -> list[dict[str, Any]]:
        """What was compared besides content, how often, and what could not be."""
        found = self._record.get("metadata")
        if found is None:
            return [{"is_ok": False, "text": self._words.text("proof.metadata_none")}]
        counts = [f"{self._words.text(f'compared.{what}')} {count:,}" for what, count in found["compared"].items()]
        text = self._words.text("proof.metadata", {"count": f"{found['entries']:,}"})
        lines = [{"is_ok": not found["mismatches_count"], "text": " · ".join([text, *counts])}]
        for item in found["not_compared"]:
            facts = {"what": self._words.text(f"compared.{item['what']}"), "count": item["count"]}
            lines.append({"is_ok": False, "text": self._words.text(f"not_compared.{item['why']}", facts)})
        return lines

    def is_default(self, objective: str) -> bool:
        """True when nobody set the objective: a default that no owner of the system has agreed to."""
        return objective in self._record["objectives"].get("defaults", ())

    def nonce(self) -> str:
        """``passed``, ``failed``, or ``not_run`` when no probe asked."""
        outcomes = {step["outcome"] for step in self._record["steps"] if step["kind"] == "nonce"}
        return next((outcome for outcome in ("failed", "passed") if outcome in outcomes), "not_run")

    def centers(self) -> list[dict[str, Any]]:
        by_role = {center["role"]: center for center in self._record["centers"]}
        return [by_role[role] for role in _ROLES if role in by_role]

    def timeline(self) -> Timeline:
        rows = [
            Row(
                self.name(step),
                step["outcome"],
                step["offset_s"],
                step["duration_s"],
                self._words.duration(step["duration_s"]),
            )
            for step in self._record["steps"]
            if step["outcome"] in ("passed", "failed")
        ]
        measures = self._record["measures"]
        return timeline(rows, service_s=measures["restore_time_s"], objective_s=self._record["objectives"]["rto_s"])

    def primary(self) -> dict[str, Any] | None:
        """The edition that is in force: the last one of the record."""
        editions = self._record["capability"]
        return editions[-1] if editions else None

    def level(self, number: int | None) -> str:
        if number is None:
            return self._words.text("label.not_reached")
        if number == 0:
            return self._words.text("label.no_level")
        return self._words.text("label.level_n", {"level": number})

    def blocker(self, item: Mapping[str, Any]) -> str:
        code, required, found = item["code"], item["required"], item["found"]
        if code in ("full_interval", "recovery_point_age", "restore_time") and found is None:
            return self._words.text(f"blocker.{code}_none")
        if code == "replication":
            required, found = (self._words.text(f"replication.{word}") for word in (required, found))
        elif code in ("full_interval", "recovery_point_age", "restore_time"):
            required, found = self._words.duration(required), self._words.duration(found)
        elif isinstance(found, float):
            found, required = f"{found:g}", f"{required:g}"
        return self._words.text(f"blocker.{code}", {"required": required, "found": found})

    def control_points(self) -> list[dict[str, str]]:
        """What a passed drill may be shown for; a drill that did not pass supports nothing."""
        if self._record["verdict"] != "pass":
            return []
        names = ["backup_restore", "emergency_drill"]
        age_s = self._record["measures"]["recovery_point_age_s"]
        if any(center["role"] == "remote" and center["state"] == "restored_from" for center in self._record["centers"]):
            names.insert(1, "remote_backup")
        return [
            {
                part: self._words.text(f"control_point.{name}.{part}", {"age_s": age_s})
                for part in ("id", "name", "text")
            }
            for name in names
        ]

    def detail(self, step: Mapping[str, Any]) -> str:
        """What a step brought: words from its facts when it passed, its own message when it did not.

        A step that says why with the code of a reason is given that reason's words.
        """
        key = f"detail.{step['kind']}"
        if step["outcome"] == "passed" and step["facts"] and self._words.has(key):
            return self._words.text(key, step["facts"])
        codes = _CODES_OF_EXPECT if step["kind"] == "expect" else (step["detail"],)
        if step["outcome"] == "failed":
            words = [self._reason(item) for item in self._record["reasons"] if item["code"] in codes]
            if words:
                return " ".join(words)
        return str(step["detail"])

    def isolation(self) -> str:
        isolation = self._record["isolation"]
        if isolation["is_isolated"] and not isolation["user"]:
            return self._words.text("isolation.none")
        facts = {
            "user": isolation["user"],
            "memory_bytes": isolation["memory_bytes"],
            "cpu_s": isolation["cpu_s"],
            "processes": isolation["processes_max"],
            "reason": isolation["reason"],
        }
        return self._words.text("isolation.yes" if isolation["is_isolated"] else "isolation.no", facts)

    def mismatch(self, what: str) -> str:
        return self._words.text(f"mismatch.{what}")

    def name(self, step: Mapping[str, Any]) -> str:
        """What to call a step: the plan's own name, or words for what every drill does."""
        is_own = step["kind"] in ("prepare", "expect", "metadata", "hand_over")
        return self._words.text(f"kind.{step['kind']}") if is_own else str(step["name"])

    def history(self) -> list[str]:
        """What the capability level rests on, and a warning where that is too little."""
        history = self._record["history"]
        if history is None:
            return []
        rate = f"{history['transfers_per_day']:g}"
        facts = {**history, "longest_gap_s": history["longest_gap_s"] or 0, "transfers": rate}
        lines = [self._words.text("history", facts)]
        return lines if history["span_s"] >= _DAY_S else [*lines, self._words.text("history_short")]

    def place(self) -> str:
        """Where it was restored, in a few words for the drawing."""
        isolation = self._record["isolation"]
        if not isolation["is_isolated"]:
            return self._words.text("place.open")
        return self._words.text("place.isolated" if isolation["user"] else "place.plain", {"user": isolation["user"]})

    def _reason(self, item: Mapping[str, Any]) -> str:
        facts = dict(item["facts"])
        if item["code"] in ("content_mismatch", "metadata_mismatch"):
            facts["what"] = self.mismatch(facts["what"])
        if "center_role" in facts:
            facts["center"] = self._role(facts["center_role"])
        if "time" in facts:
            facts["time"] = self.moment(facts["time"])
        return self._words.text(f"reason.{item['code']}", facts)

    def _role(self, role: str) -> str:
        return self._words.text(f"role.{role}")
