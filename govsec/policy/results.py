"""What judging gives: a :class:`CheckResult` for each check and object, an :class:`ItemVerdict` for each requirement.

A result says how one check of one object ended. A verdict says what that means for one line of the catalog, over all
objects that were looked at. Only :mod:`govsec.policy.verdicts` turns results into verdicts; only checks that *decide* a
line, evidence of govsec's own or a person's word can make it conform.

Plain frozen values, because there are fifty thousand of them in a fleet; what is written out is
:mod:`govsec.policy.run`. The words of results are those of XCCDF 1.2 (section 6.6.4.2).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

from govsec.datafile import Text

#: A text for people in both languages.
Words: TypeAlias = Text


class Status(StrEnum):
    """How one check of one object ended."""

    PASS = "pass"  # noqa: S105 - the word of the standard, no password
    PARTIAL = "partial"
    FAIL = "fail"
    NOT_APPLICABLE = "notapplicable"
    #: Could not be looked at: a probe failed or was denied, a fact is missing, an expression was cut. Never a pass.
    ERROR = "error"
    #: Was looked at, and cannot be told from what was seen.
    UNKNOWN = "unknown"


class Role(StrEnum):
    """What a check is to a requirement: ``decides`` it, ``supports`` a person's judgement, or only ``informs`` it."""

    DECIDES = "decides"
    SUPPORTS = "supports"
    #: What it sees is not what the requirement is about (a host's own filter beside the firewall of the border): shown
    #: beside it, and moves no verdict.
    INFORMS = "informs"


class Verdict(StrEnum):
    """The verdict on a requirement: 符合, 部分符合, 不符合, 不适用, 未判定."""

    CONFORM = "conform"
    PARTIAL = "partial"
    NOT_CONFORM = "not_conform"
    NOT_APPLICABLE = "not_applicable"
    UNDECIDED = "undecided"


class Basis(StrEnum):
    """What a verdict rests on."""

    CHECKS = "checks"
    EVIDENCE = "evidence"
    ATTESTATION = "attestation"
    NONE = "none"


class CaseState(StrEnum):
    """How a high-risk case stands for the objects that were looked at."""

    #: High risk as the guide has it; a person confirms.
    OPEN = "open"
    #: The condition holds, and what the guide allows as mitigation was found on every object concerned.
    MITIGATED = "mitigated"


class Principle(StrEnum):
    """Why a high risk may be a major hidden danger (letter 1846 of 2025, Q20–22)."""

    RELEVANCE = "relevance"
    SEVERITY = "severity"
    HIGH_FREQUENCY = "high_frequency"


@dataclass(frozen=True, slots=True)
class Expectation:
    """One thing that a check expects. ``holds`` is None where it could not be looked at."""

    name: str
    holds: bool | None
    #: What is wrong, for people; None where it holds or was not looked at.
    message: Words | None = None


@dataclass(frozen=True, slots=True)
class CaseHit:
    """A check found the condition of a high-risk case on its object.

    ``mitigated_by`` are the ids of checks whose pass on the same object the pack accepts as mitigation.
    """

    case: str
    mitigated_by: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One check of one object (a host, or the system)."""

    check: str
    pack: str
    object: str
    status: Status
    #: Why it does not apply, could not be looked at, or counts as it does.
    reason: Words | None = None
    expectations: tuple[Expectation, ...] = ()
    #: The check's names for its probes, and their ids.
    probes: Mapping[str, str] = field(default_factory=dict)
    #: High-risk cases whose condition was found.
    high_risk: tuple[CaseHit, ...] = ()
    #: Requirements for which this pass makes up elsewhere (整体测评): catalog keys.
    compensates: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ItemVerdict:
    """One requirement of the catalog, over all objects.

    ``verdict`` is what counts. ``original`` is what it was before a compensating control or an attestation changed it,
    None when nothing did. A waiver changes no verdict: it stands beside it.
    """

    item: str
    key: str
    verdict: Verdict
    basis: Basis
    #: Positions in the sequence of results that was handed in, those that decide first.
    results: tuple[int, ...] = ()
    reasons: tuple[Words, ...] = ()
    #: Open or mitigated high-risk cases that results of this item point at.
    high_risk: tuple[str, ...] = ()
    original: Verdict | None = None
    #: Ids of the attestation that was used or has expired, and of the waiver.
    attestation: str | None = None
    waiver: str | None = None


@dataclass(frozen=True, slots=True)
class CaseFinding:
    """A high-risk case that applies to this system and whose condition was found."""

    case: str
    title: Words
    state: CaseState
    #: False: the guide's list has the case, and the condition that points at it is the pack's own reading.
    is_confirmed: bool
    #: Ids of items of this assessment that the guide names for the case.
    items: tuple[str, ...]
    objects: tuple[str, ...]
    checks: tuple[str, ...]
    mitigated_by: tuple[str, ...] = ()
    reasons: tuple[Words, ...] = ()


@dataclass(frozen=True, slots=True)
class DangerCandidate:
    """An open high risk that may be a major hidden danger (重大风险隐患), for a person to confirm."""

    principle: Principle
    case: str
    title: Words
    reason: Words
    objects: tuple[str, ...]
