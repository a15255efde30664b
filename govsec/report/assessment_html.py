"""The assessment as one HTML file: for a leader on its first page, for an assessor from there on, and on paper.

The order is that of the work: conclusion with coverage, high-risk cases, candidates for major hidden dangers, what to
do first, differences, what expires; then category, control, item, object with command, decision and advice. What to do
about a check (R-1, R-2 …) and what a host answered (O-1, O-2 …) stand once, after the items, and are named by number
where they count. The file is bounded whatever was collected: outputs are cut, and of many objects with the same fate
only some are told; what was left out is counted in its place and lies in the record.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from govsec import canonical
from govsec.report import rectify
from govsec.report.assessment import VERDICTS, Look, Reading, Requirement
from govsec.report.assessment_outputs import Outputs
from govsec.report.catalog import Lang
from govsec.report.chart import Slice, stack
from govsec.report.page import LedgerRef, render_page

#: Results told under one item; the worst come first, so what is left out is never worse than what is shown.
_LOOKS_PER_ITEM_MAX = 24
#: A command where it counts; all of it stands with its output.
_COMMAND_CHARS_MAX = 90
_FIRST_COUNT = 8
_NAMES_MAX = 6
_BAR_WIDTH = 230.0
_OVERVIEW_WIDTH = 960.0


def render_html(record: Mapping[str, Any], lang: Lang, *, ledger: LedgerRef | None = None) -> str:
    """The page on a record (``govsec.assessment.v1``). Same record, same bytes."""
    reading = Reading(record, lang)
    return render_page(
        "assessment",
        r=reading.record,
        lang=lang,
        t=reading.words.text,
        lines=reading.words.lines,
        say=reading.say,
        reading=reading,
        view=_View(reading),
        verdicts=VERDICTS,
        ledger=ledger,
        record_digest=canonical.digest(record),
    )


@dataclass(slots=True)
class _Silent:
    """Checks of one object that do not apply for one reason."""

    thing: str
    reason: str
    titles: list[str] = field(default_factory=list)
    #: Of the outputs that say so.
    numbers: list[int] = field(default_factory=list)


class _View:
    """What the template prints beyond the reading itself: bounds, charts and short lists."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._record = reading.record
        self.steps: list[dict[str, Any]] = rectify.plan(reading.record)["steps"]
        self.first = self.steps[:_FIRST_COUNT]
        self._number_of: dict[str, int] = {step["check"]: step["number"] for step in self.steps}
        self.outputs = Outputs({one.id: self.looks(one)[0] for one in reading.requirements})

    def overview(self) -> tuple[Slice, ...]:
        """All items in one bar."""
        return stack(self._reading.counts, width=_OVERVIEW_WIDTH)

    def bar(self, counts: Mapping[str, int]) -> tuple[Slice, ...]:
        """One category; the widest category fills the bar, so that lengths compare."""
        full = max(sum(part.counts.values()) for part in self._reading.categories)
        return stack(counts, width=_BAR_WIDTH, full=full)

    def main_rate(self) -> Mapping[str, Any] | None:
        """The rate of the headline: the first, as the run orders them."""
        rates = self._record["rates"]
        return rates[0] if rates else None

    def tone(self) -> str:
        """Colour of the conclusion; a good word needs a conclusion that is good, and anything else is not green."""
        rate = self.main_rate()
        conclusion = rate["conclusion"] if rate else "none"
        return {"conform": "pass", "not_conform": "fail", "poor": "fail"}.get(conclusion, "partial")

    def warnings(self) -> list[str]:
        """What limits the conclusion, beside it."""
        text, coverage = self._reading.words.text, self._record["coverage"]
        found = self._reading.extent()
        if coverage["undecided"]:
            found.append(text("warn.coverage", {**coverage, "share": self._reading.share()}))
        states = [thing["state"] for thing in self._record["objects"].values()]
        for state, key in (("unreachable", "warn.unreachable"), ("partial", "warn.partial")):
            if count := states.count(state):
                found.append(text(key, {"count": count}))
        if coverage["unconfirmed"]:
            found.append(text("warn.unconfirmed", {"count": coverage["unconfirmed"]}))
        return found + [self._reading.say(note) for note in self._record["notes"]]

    def looks(self, requirement: Requirement) -> tuple[tuple[Look, ...], int]:
        """The results to tell under an item, and how many are left out."""
        shown = requirement.looks[:_LOOKS_PER_ITEM_MAX]
        return shown, len(requirement.looks) - len(shown)

    def not_applicable(self, looks: Sequence[Look]) -> list[_Silent]:
        """The checks that do not apply, by object and reason: a line in place of a row each."""
        found: dict[tuple[str, str], _Silent] = {}
        for look in looks:
            if look.status == "notapplicable":
                group = found.setdefault((look.object, look.reason), _Silent(look.object, look.reason))
                group.titles.append(look.title)
                numbers = (self.outputs.of(look.object, output).number for output in look.outputs)
                group.numbers += [number for number in numbers if number and number not in group.numbers]
        return list(found.values())

    def advice(self, requirement: Requirement) -> Mapping[str, str]:
        """What to do about each check that did not pass, in a sentence."""
        return defaultdict(str, {advice.check: advice.text for advice in requirement.advice})

    def step_of(self, check: str) -> int:
        """The number under which the plan says what to do about a check that did not pass."""
        return self._number_of[check]

    def command(self, text: str) -> str:
        """The beginning of a command, on one line."""
        line = " ".join(text.split())
        return line if len(line) <= _COMMAND_CHARS_MAX else line[: _COMMAND_CHARS_MAX - 1] + "…"

    def names(self, names: list[str]) -> str:
        """A few names, and how many more."""
        comma = self._reading.words.text("list_comma")
        more = f" +{len(names) - _NAMES_MAX}" if len(names) > _NAMES_MAX else ""
        return comma.join(names[:_NAMES_MAX]) + more

    def changes(self, direction: str) -> list[Mapping[str, Any]]:
        return [row for row in self._record["difference"]["items"] if row["direction"] == direction]

    def platform(self, thing: Mapping[str, Any]) -> str:
        """The platform in a few words."""
        platform = thing["platform"]
        parts = [str(platform[key]) for key in ("os_id", "version", "kernel", "arch") if platform.get(key)]
        return " ".join(parts) or "–"

    def verdict_of(self, verdict: str | None) -> str:
        return "–" if verdict is None else self._reading.words.text(f"verdict.{verdict}")

    def attested(self, row: Mapping[str, Any]) -> str:
        """Who stands for an item, and until when."""
        key = "label.attested_expired" if row["is_expired"] else "label.attested"
        facts = {"by": row["by"], "made": self._reading.day(row["made"]), "until": self._reading.day(row["until"])}
        return self._reading.words.text(key, facts)

    def waived(self, row: Mapping[str, Any]) -> str:
        facts = {"approver": row["approver"], "until": self._reading.day(row["until"])}
        return self._reading.words.text("label.waived", facts)

    def left(self, row: Mapping[str, Any]) -> str:
        """How long something still holds."""
        days = self._reading.days_left(row["until"])
        if row["is_expired"] or days < 0:
            return self._reading.words.text("label.expired_days", {"days": max(0, -days)})
        return self._reading.words.text("label.days_left", {"days": days})

    def subject(self, row: Mapping[str, Any]) -> str:
        """An item with its summary, a check by its title, or the system by its own."""
        requirement = self._reading.by_id.get(row["subject"])
        if requirement is not None:
            return f"{requirement.id} {requirement.summary}"
        is_this = row["subject"] == self._record["system"]["name"]
        return self._reading.system() if is_this else self._reading.title_of(row["subject"])
