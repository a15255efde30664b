"""An assessment in the order in which it is read: category, control, item, object; the same for every format.

The record (``govsec.assessment.v1``, plain JSON) keeps every fact once and points at it; a reader wants a page. Here
the pointers are followed and the codes become words; no verdict is made, no number computed that the record does not
hold, counts of what is listed excepted. The formats differ in what they leave out, never in what they say.

Texts from hosts are passed on as they are: escaping is the business of the format that prints them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from govsec import canonical
from govsec.clock import parse_time
from govsec.report.catalog import Catalogue, Lang

#: Worst first: what a person has to see before the rest.
STATUSES = ("fail", "error", "unknown", "partial", "pass", "notapplicable")
#: In the order of a bar: what is good, what is not, what nobody knows, what does not count.
VERDICTS = ("conform", "partial", "not_conform", "undecided", "not_applicable")
BEIJING_OFFSET_HOURS = 8
_NAMES_MAX = 10


@dataclass(frozen=True, slots=True)
class Output:
    """What one probe brought: the command, and the beginning of what it printed."""

    name: str
    command: str
    status: str
    reason: str
    excerpt: str
    is_truncated: bool
    sha256: str


@dataclass(frozen=True, slots=True)
class Look:
    """One check of one object."""

    object: str
    check: str
    title: str
    guards: str
    #: ``decides``, ``supports`` or ``informs`` this item.
    role: str
    status: str
    reason: str
    #: Message, and whether it holds (None: could not be looked at).
    expectations: tuple[tuple[str, bool | None], ...]
    outputs: tuple[Output, ...]
    cases: tuple[str, ...]
    waiver: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class Advice:
    """What to do about a check that did not pass, told once an item."""

    check: str
    text: str
    commands: tuple[str, ...]
    risk: str
    rollback: str
    needs_reboot: bool


@dataclass(frozen=True, slots=True)
class Requirement:
    """One item with its verdict and all that it rests on."""

    id: str
    row: Mapping[str, Any]
    summary: str
    verdict: str
    reasons: tuple[str, ...]
    hint: str
    #: Worst first.
    looks: tuple[Look, ...]
    evidence: tuple[Mapping[str, Any], ...]
    advice: tuple[Advice, ...]


@dataclass(frozen=True, slots=True)
class Control:
    """A control point with its items."""

    id: str
    name: str
    requirements: tuple[Requirement, ...]


@dataclass(frozen=True, slots=True)
class Category:
    """A category of the standard (or of one of its extensions) with its control points."""

    id: str
    name: str
    controls: tuple[Control, ...]
    counts: Mapping[str, int]


class Reading:
    """A record opened for reading in one language."""

    def __init__(self, record: Mapping[str, Any], lang: Lang) -> None:
        # A record that was just made and the same one read again differ in the order of their keys; reports must not.
        self.record: Mapping[str, Any] = {**record, "objects": dict(sorted(record["objects"].items()))}
        self.lang = lang
        self.words = Catalogue("assessment", lang)
        self.evidence = {row["digest"]: row for row in record["evidence"]}
        self.categories = tuple(self._categories())
        self.requirements = tuple(
            requirement for part in self.categories for control in part.controls for requirement in control.requirements
        )
        self.by_id = {requirement.id: requirement for requirement in self.requirements}
        self.counts = _counts(self.requirements)

    def say(self, words: Mapping[str, str] | None) -> str:
        """The text in the reader's language; nothing where there is none."""
        return "" if words is None else words[self.lang]

    def moment(self, text: str | None) -> str:
        """A moment on the reader's clocks (UTC+8), or a dash."""
        return "–" if text is None else self.words.moment(parse_time(text), BEIJING_OFFSET_HOURS)

    def day(self, text: str) -> str:
        """The day of a moment in UTC+8."""
        return self.moment(text)[:10]

    def days_left(self, until: str) -> int:
        """Whole days from the run to ``until``; negative when it is past."""
        return (date.fromisoformat(self.day(until)) - date.fromisoformat(self.day(self.record["ended"]))).days

    def level(self) -> str:
        """Level and S/A result, as assessors write it: 第三级（S3A3）."""
        level, s, a = self.record["level"], self.record["s"], self.record["a"]
        return self.words.text("level", {"level": self.words.lines("numeral")[level], "code": f"S{s}A{a}"})

    def scopes(self) -> str:
        return self.words.text("list_comma").join(self.words.text(f"scope.{name}") for name in self.record["scopes"])

    def system(self) -> str:
        return str(self.record["system"]["title"] or self.record["system"]["name"])

    def share(self) -> str:
        """Coverage for people; words where nothing applies."""
        return self.percent(self.record["coverage"]["share"])

    def percent(self, share: float | None) -> str:
        """A share of 1 in per cent, never rounded up to a whole that it is not."""
        if share is None:
            return self.words.text("no_value")
        return f"{min(share * 100, 99.9) if share < 1 else 100:.1f} %".replace(".0 %", " %")

    def extent_short(self) -> str:
        """The same in a word or two."""
        return extent_words(self.words, self.record.get("extent"))

    def extent(self) -> list[str]:
        """What the run does not speak for: hosts and packs that were left out; nothing where it is whole."""
        extent = self.record.get("extent")
        if extent is None:
            return [self.words.text("extent.unknown")]
        hosts = [thing["name"] for thing in self.record["objects"].values() if thing["kind"] != "system"]
        facts = {"asked": self._some(hosts), "left_out": self._some(extent["left_out"])}
        found = [] if extent["kind"] == "whole" else [self.words.text(f"extent.{extent['kind']}", facts)]
        if extent["packs_left_out"]:
            packs = {"packs": self._some(extent["packs_left_out"])}
            found.append(self.words.text("extent.packs", packs))
        return found

    def why(self, thing: Mapping[str, Any]) -> str:
        """Why an object was not seen in full."""
        blind = [row for row in thing["outcomes"].values() if row["status"] not in ("ok", "absent")]
        if thing["reason"] or thing["state"] != "partial" or not blind:
            return self.say(thing.get("told")) or str(thing["reason"])
        return self.words.text("text.blind", {"count": len(blind), "total": len(thing["outcomes"])})

    def _some(self, names: Sequence[str]) -> str:
        more = f" +{len(names) - _NAMES_MAX}" if len(names) > _NAMES_MAX else ""
        return self.words.text("list_comma").join(names[:_NAMES_MAX]) + more

    def value(self, rate: Mapping[str, Any], key: str = "value") -> str:
        """A rate for people, with its unit."""
        if rate[key] is None:
            return self.words.text("no_value")
        return f"{rate[key]:.1f}" + (" %" if rate["unit"] == "percent" else self.words.text("points"))

    def open_cases(self) -> list[Mapping[str, Any]]:
        return [case for case in self.record["cases"] if case["state"] == "open"]

    def cases(self) -> list[Mapping[str, Any]]:
        """High-risk cases, open ones first."""
        return sorted(self.record["cases"], key=lambda case: case["state"] != "open")

    def items_of(self, case: Mapping[str, Any]) -> list[Requirement]:
        return [self.by_id[item] for item in case["items"] if item in self.by_id]

    def title_of(self, check: str) -> str:
        """What a check asks; its id where this run does not know it."""
        row = self.record["checks"].get(check)
        return check if row is None else self.say(row["title"])

    def parameters(self) -> list[str]:
        """What overrides the defaults of the packs, one line each."""
        return [
            f"{check} {name} = {canonical.dumps(value).decode()}"
            for check, values in sorted(self.record["parameters"].items())
            for name, value in sorted(values.items())
        ]

    def rows(self) -> Iterator[tuple[Category, Control, Requirement, str, tuple[Look, ...]]]:
        """One row an item and object, in reading order; an item without results has one row of its own."""
        for category in self.categories:
            for control in category.controls:
                for requirement in control.requirements:
                    names = list(dict.fromkeys(look.object for look in requirement.looks)) or [""]
                    for name in names:
                        looks = tuple(look for look in requirement.looks if look.object == name)
                        yield category, control, requirement, name, looks

    def object_counts(self, name: str) -> Mapping[str, int]:
        """How the checks of one object ended."""
        found = dict.fromkeys(STATUSES, 0)
        for result in self.record["results"]:
            if result["object"] == name:
                found[result["status"]] += 1
        return found

    def _categories(self) -> Iterator[Category]:
        grouped: dict[tuple[str, str], dict[tuple[str, str], list[Requirement]]] = {}
        for row in self.record["items"]:
            requirement = self._requirement(row)
            clause = row["control_id"].rpartition(".")[0]
            controls = grouped.setdefault((clause, self.say(row["category"])), {})
            controls.setdefault((row["control_id"], self.say(row["control"])), []).append(requirement)
        for (clause, name), controls in grouped.items():
            parts = tuple(Control(*control, tuple(members)) for control, members in controls.items())
            counts = _counts(tuple(member for part in parts for member in part.requirements))
            yield Category(clause, name, parts, counts)

    def _requirement(self, row: Mapping[str, Any]) -> Requirement:
        results = [self.record["results"][position] for position in row["results"]]
        looks = sorted((self._look(row["key"], result) for result in results), key=_worst_first)
        return Requirement(
            id=row["id"],
            row=row,
            summary=self.say(row["summary"]),
            verdict=row["verdict"],
            reasons=tuple(self.say(reason) for reason in row["reasons"]),
            hint=self.say(row["evidence_hint"]),
            looks=tuple(looks),
            evidence=tuple(self.evidence[digest] for digest in row["evidence"] if digest in self.evidence),
            advice=tuple(self._advice(looks)),
        )

    def _look(self, key: str, result: Mapping[str, Any]) -> Look:
        check = self.record["checks"][result["check"]]
        thing = self.record["objects"].get(result["object"], {"outcomes": {}})
        outputs = []
        for name, probe in sorted(result["probes"].items()):
            outcome = thing["outcomes"].get(probe)
            if outcome is not None:
                outputs.append(
                    Output(
                        name=name,
                        command=self.record["probes"][probe]["command"],
                        status=outcome["status"],
                        reason=self.say(outcome.get("told")) or outcome["reason"],
                        excerpt=outcome["excerpt"],
                        is_truncated=outcome["is_truncated"],
                        sha256=outcome["raw_sha256"],
                    )
                )
        return Look(
            object=result["object"],
            check=result["check"],
            title=self.say(check["title"]),
            guards=self.say(check["guards"]),
            role=check["maps"].get(key, "supports"),
            status=result["status"],
            reason=self.say(result["reason"]),
            expectations=tuple(
                (self.say(row["message"]) or row["name"], row["holds"]) for row in result["expectations"]
            ),
            outputs=tuple(outputs),
            cases=tuple(result["high_risk"]),
            waiver=result["waiver"],
        )

    def _advice(self, looks: list[Look]) -> Iterator[Advice]:
        for name in dict.fromkeys(look.check for look in looks if look.status in ("fail", "partial")):
            check = self.record["checks"][name]
            if check["advice"] is not None or check["commands"]:
                yield Advice(
                    check=name,
                    text=self.say(check["advice"]),
                    commands=tuple(check["commands"]),
                    risk=self.say(check["risk"]),
                    rollback=self.say(check["rollback"]),
                    needs_reboot=check["needs_reboot"],
                )


def telling(looks: Sequence[Look]) -> tuple[Look, ...]:
    """Those that say something of their object: what does not apply has nothing to show."""
    return tuple(look for look in looks if look.status != "notapplicable")


def extent_words(words: Catalogue, extent: Mapping[str, Any] | None) -> str:
    """Of how much of a system a run is, in a word or two."""
    found = [words.text(f"extent_short.{extent['kind'] if extent else 'unknown'}")]
    found += [words.text("extent_short.packs")] if extent and extent["packs_left_out"] else []
    return words.text("list_comma").join(found)


def _worst_first(look: Look) -> tuple[int, int, str, str]:
    return look.role != "decides", STATUSES.index(look.status), look.object, look.check


def _counts(requirements: tuple[Requirement, ...]) -> Mapping[str, int]:
    found = dict.fromkeys(VERDICTS, 0)
    for requirement in requirements:
        found[requirement.verdict] += 1
    return found
