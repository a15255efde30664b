"""Grading (定级): from the harm that a broken system would do to its level, with the reasons.

Two halves are graded by one matrix: what happens when its information is disclosed or altered (S), and what happens
when its service stops (A). For each half the object harmed worst counts; the system's level is the higher of the two.
A person, and from level 2 up an expert review and the authority, confirm the level: this is the preliminary grading.

Source: GB/T 22240-2020, tables 1 and 2; figures in ``policies/gbt22240-2020/grading.yaml``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from functools import cache

from pydantic import Field, JsonValue, TypeAdapter

from govsec.config import Model
from govsec.datafile import FigureStatus, Text
from govsec.errors import UsageError
from govsec.register.words import say, words
from govsec.shipped import read_table, shipped

FOLDER = "gbt22240-2020"


class HarmedObject(StrEnum):
    """Whom it harms (侵害客体), least first."""

    LEGAL_RIGHTS = "legal_rights"
    SOCIAL_ORDER = "social_order"
    NATIONAL_SECURITY = "national_security"


class Degree(StrEnum):
    """How badly (侵害程度), least first."""

    GENERAL = "general"
    SERIOUS = "serious"
    EXTREME = "extreme"


Harms = Mapping[HarmedObject, Degree]


class _Matrix(Model):
    status: FigureStatus
    levels: Mapping[HarmedObject, Mapping[Degree, int]]


class Filing(Model):
    """Certificates of filing and their dates."""

    status: FigureStatus
    filed_from_level: int
    certificate_valid_years: int
    certificates_count_from: date
    assessment_adds_years: int
    renew_before_months: int


class Interval(Model):
    """How often a system of a level is assessed."""

    level: int
    interval_months: int
    status: FigureStatus
    source: Text


class Review(Model):
    """How often something of a system is done anew."""

    id: str
    months: int
    status: FigureStatus
    source: Text


class GradingRules(Model):
    """The table as it is shipped."""

    version: int = Field(ge=1, le=1)
    norm: str
    title: Text
    status: FigureStatus
    source: str
    matrix: _Matrix
    objects: Mapping[HarmedObject, Text]
    degrees: Mapping[Degree, Text]
    filing: Filing
    assessment: tuple[Interval, ...]
    reviews: tuple[Review, ...]

    @classmethod
    def load(cls) -> GradingRules:
        """The rules that came with govsec, read once a process.

        Raises:
            ConfigurationError: the file is damaged.
        """
        return _load()

    def assessment_months(self, level: int) -> int | None:
        """Months between two assessments at a level; None where none is asked for."""
        return next((entry.interval_months for entry in self.assessment if entry.level == level), None)

    def review_months(self, review: str) -> int:
        """Months between two reviews of that name (``training``, ``plan_review``, ``drill``)."""
        return {entry.id: entry.months for entry in self.reviews}[review]


@dataclass(frozen=True, slots=True)
class Grade:
    """A preliminary level. Level 5 is outside this catalog; it can be graded, and not assessed with it."""

    s: int
    a: int
    reasons: tuple[Text, ...]

    @property
    def level(self) -> int:
        """The level of the system: the higher of both halves."""
        return max(self.s, self.a)

    def __str__(self) -> str:
        return f"S{self.s}A{self.a}"


def grade(information: Harms, service: Harms) -> Grade:
    """The preliminary level of a system, and why.

    ``information`` and ``service`` say, for each half, whom a failure harms and how badly; whom it does not harm is
    left out.

    Raises:
        UsageError: a half names no harm at all. What harms nobody is not graded, and an empty form is no level 1.
    """
    rules = GradingRules.load()
    s, why_s = _half(rules, information, "S")
    a, why_a = _half(rules, service, "A")
    reasons = [*why_s, *why_a, say("grade.level", {"level": max(s, a)})]
    if max(s, a) >= rules.filing.filed_from_level:
        reasons.append(say("grade.next", {}))
    return Grade(s, a, tuple(reasons))


def _half(rules: GradingRules, harms: Harms, letter: str) -> tuple[int, list[Text]]:
    half = words()[f"grade.half.{letter.lower()}"]
    if not harms:
        raise UsageError(f"grade: {half.en} ({letter}) names nobody that is harmed")
    reasons = []
    highest = 0
    for harmed, degree in harms.items():
        level = rules.matrix.levels[harmed][degree]
        highest = max(highest, level)
        named = {"half": half, "object": rules.objects[harmed], "degree": rules.degrees[degree]}
        reasons.append(_say("grade.harm", named, {"level": level}))
    reasons.append(_say("grade.conclusion", {"half": half}, {"letter": letter, "level": highest}))
    return highest, reasons


def _say(name: str, named: Mapping[str, Text], facts: Mapping[str, JsonValue]) -> Text:
    """The sentence with what is named put in by its name in the language of the sentence."""
    zh = say(name, {**facts, **{key: text.zh for key, text in named.items()}}).zh
    en = say(name, {**facts, **{key: text.en for key, text in named.items()}}).en
    return Text(zh=zh, en=en)


@cache
def _load() -> GradingRules:
    return read_table(shipped(FOLDER).joinpath("grading.yaml"), TypeAdapter(GradingRules))
