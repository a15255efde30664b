"""A report on an event put into words: for a terminal, and as the values that a Word form prints.

Works on the record ``govsec.incident-report.v1``. What people wrote is hostile text: it stays on its line and is
escaped where it is printed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from govsec import canonical
from govsec.clock import parse_time
from govsec.report.catalog import Catalogue, Lang, plain

_BEIJING_OFFSET_HOURS = 8
#: Facts whose values are words of the catalogue, under this key.
_WORDS_OF = {
    "level": "level",
    "status": "status",
    "outcome": "outcome",
    "what": "what",
    "stage": "stage",
    "unit": "unit",
}
_INDENT = "\u3000"
#: What the register says as true or false.
_YES_NO = ("system.critical_infrastructure", "system.internet")


class Reading:
    """One record in one language."""

    def __init__(self, record: Mapping[str, Any], lang: Lang) -> None:
        self.record = record
        self.lang = lang
        self.words = Catalogue("incidentreport", lang)

    def title(self) -> str:
        """The title, marked when it is an exercise."""
        mark = self.words.text("exercise") if self.record["is_exercise"] else ""
        return mark + self.words.text(f"title.{self.record['report']}")

    def level(self) -> str:
        """The level of the event, and whether a person has confirmed it."""
        case = self.record["case"]
        level = self.words.text(f"level.{case['level']}")
        return level if case["is_confirmed"] else self.words.text("level_suggested", {"level": level})

    def moment(self, text: str) -> str:
        """A moment on the clocks of China."""
        return self.words.moment(parse_time(text), _BEIJING_OFFSET_HOURS)

    def line(self, line: Mapping[str, Any]) -> str:
        """One line of a part."""
        key = line["key"]
        facts = {name: self._fact(key, name, value) for name, value in line["facts"].items()}
        return " ".join(self.words.text(f"line.{key}", facts).split())

    def answer(self, part: Mapping[str, Any]) -> list[str]:
        """What a part says: the case's lines, then the person's statement; nothing when nobody knows."""
        lines = [self.line(line) for line in part["lines"]]
        if said := part["said"]:
            facts = {"text": said["text"], "by": said["by"], "at": self.moment(said["time"])}
            lines.append(self.words.text("said", facts))
        if not part["is_answered"] and part["is_needed"]:
            lines.append(self.words.text("missing"))
        return lines

    def content(self, item: Mapping[str, Any]) -> list[str]:
        """What an item says, part by part."""
        lines: list[str] = []
        is_alone = len(item["parts"]) == 1
        for part in item["parts"]:
            answer = self.answer(part)
            if not answer:
                continue
            if is_alone:
                lines += answer
                continue
            head = part[self.lang] + self.words.text("colon")
            # One answer stands beside its name, several stand below it.
            lines += [head + answer[0]] if len(answer) == 1 else [head, *(_INDENT + line for line in answer)]
        if lines:
            return lines
        return [self.words.text("none" if item["id"] == "other" else "later")]

    def duties(self) -> list[dict[str, str]]:
        """To whom this report is owed, by when, and who took it."""
        return [
            {
                "recipient": duty[f"recipient_{self.lang}"],
                "due": self.moment(duty["due_at"]),
                "state": self.words.text(f"state.{duty['state']}"),
                "receipt": self._receipt(duty["receipt"]),
                "rule": duty["rule"],
            }
            for duty in self.record["owed"]
        ]

    def missing(self) -> list[str]:
        """The needed parts that nobody has answered."""
        parts = {part["id"]: part for item in self.record["items"] for part in item["parts"]}
        return [parts[name][self.lang] for name in self.record["meter"]["missing"]]

    def meter(self) -> dict[str, int]:
        """How much of what is needed is answered."""
        meter = self.record["meter"]
        return {
            "answered": meter["answered_count"],
            "needed": meter["needed_count"],
            "complete": meter["complete_count"],
            "items": meter["items_count"],
        }

    def _receipt(self, receipt: Mapping[str, Any] | None) -> str:
        if receipt is None:
            return "–"
        facts = {"taken_by": receipt["taken_by"], "at": self.moment(receipt["time"]), "number": receipt["number"]}
        return self.words.text("receipt" if receipt["number"] else "receipt_plain", facts)

    def _fact(self, key: str, name: str, value: Any) -> Any:
        if isinstance(value, Mapping):
            return self.moment(value["moment"]) if "moment" in value else value[self.lang]
        if key == "system.kind":
            return self.words.text(f"kind.{value}")
        if key in _YES_NO:
            return self.words.text("yes_no.true_" if value else "yes_no.false_")
        if name in _WORDS_OF and isinstance(value, str) and self.words.has(f"{_WORDS_OF[name]}.{value}"):
            return self.words.text(f"{_WORDS_OF[name]}.{value}")
        return value


def report_text(record: Mapping[str, Any], lang: Lang) -> str:
    """The report for a terminal, with its meter and what is missing."""
    reading = Reading(record, lang)
    text = reading.words.text
    case = record["case"]
    lines = [
        reading.title(),
        f"{text('label.case')}{text('colon')}{case['id']}  {case['title']}",
        f"{text('label.level')}{text('colon')}{reading.level()}",
        f"{text('label.made_at')}{text('colon')}{reading.moment(record['made_at'])}{text('zone')}",
    ]
    if record["is_provisional"]:
        lines.append(text("provisional"))
    for duty in reading.duties():
        lines.append(f"  {duty['rule']} {duty['recipient']}  {duty['due']}  {duty['state']}  {duty['receipt']}")
    for item in record["items"]:
        lines += ["", f"{item['number']}. {item[lang]}  [{text('state.' + item['state'])}]"]
        lines += [f"   {line}" for line in reading.content(item)]
    lines += ["", text("meter.title", reading.meter())]
    missing = reading.missing()
    lines.append(text("meter.missing", {"names": text("comma").join(missing)}) if missing else text("meter.whole"))
    return "\n".join(plain(line).replace("\n", "\\u000a") for line in lines)


def context(record: Mapping[str, Any], lang: Lang) -> dict[str, Any]:
    """The values that a Word form can print; ``docs/guides/incident-report-template.md`` names every one."""
    reading = Reading(record, lang)
    text = reading.words.text
    case = record["case"]
    items = [_item(reading, item) for item in record["items"]]
    return {
        "title": reading.title(),
        "report": text(f"name.{record['report']}"),
        "report_code": record["report"],
        "nth": text("label.nth", {"number": record["number"]}),
        "organization": record["organization"],
        "number": case["id"],
        "subject": case["title"],
        "system": case["system"],
        "level": reading.level(),
        "stage": text(f"stage.{case['stage']}"),
        "made_at": reading.moment(record["made_at"]) + text("zone"),
        "made_by": record["made_by"],
        "is_exercise": record["is_exercise"],
        "note": text("provisional") if record["is_provisional"] else "",
        "disclaimer": text("disclaimer"),
        "digest": canonical.digest(record),
        "duties": reading.duties(),
        "items": items,
        "parts": {part["id"]: "\n".join(reading.answer(part)) for item in record["items"] for part in item["parts"]},
        "meter": {**reading.meter(), "words": text("label.meter_value", reading.meter())},
        "missing": reading.missing(),
    }


def _item(reading: Reading, item: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "number": item["number"],
        "id": item["id"],
        "name": item[reading.lang],
        "state": reading.words.text("state." + item["state"]),
        "lines": reading.content(item),
        "text": "\n".join(reading.content(item)),
    }
