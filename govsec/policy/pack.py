"""A policy pack as data: checks, what they ask a host, what they expect, and what follows for the catalog.

A pack is a folder::

    pack.yaml                                   Pack: id, version, title, catalog
    checks/<topic>.yaml                         checks: [Check, …]
    fixtures/<check id>/<outcome>-<name>.json   what a host gave, what must follow (packfixtures.py)
    signature.json                              of packs from elsewhere: digests of all files, signed by a pinned key

Expressions are CEL (https://cel.dev). They see each probe by its name, ``params``, ``platform``, ``level`` and ``now``,
and nothing else; touching a probe that did not end ``ok`` makes the check an error, unless ``absent`` says what absence
means. ``docs/policy-packs.md`` explains every field with an example.

The models only say what is well-formed by itself. Reading a folder and whether names, keys and expressions fit together
is :mod:`govsec.policy.packload`; signatures are :mod:`govsec.policy.packfiles`.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, JsonValue, model_validator

from govsec.collect.probes import Probe
from govsec.config import Model
from govsec.datafile import FigureStatus
from govsec.policy.results import Role, Words
from govsec.registerentry import HostRole

#: What this engine understands; a pack asks for it by ``requires_engine``.
ENGINE = 1
CHECKS_MAX = 1000
#: Names that every expression sees, beside the check's own probes.
BUILT_IN = frozenset({"params", "platform", "level", "now"})
#: Words of the language that no probe may take (CEL specification, "Syntax" and "Standard definitions").
_WORDS = """
true false null in as break const continue else for function if import let loop package namespace return var void while
bool bytes double duration dyn int list map null_type string timestamp type uint has size matches
"""
_RESERVED = BUILT_IN | frozenset(_WORDS.split())


def _free(name: str) -> str:
    if name in _RESERVED:
        raise ValueError(f"{name!r} is a word of expressions; take another name")
    return name


PackId = Annotated[str, Field(pattern=r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$", max_length=40)]
#: Begins with the id of its pack, so that ids of checks never meet across packs.
CheckId = Annotated[str, Field(pattern=r"^[a-z][a-z0-9]*(-[a-z0-9]+)+$", max_length=80)]
ItemKey = Annotated[str, Field(pattern=r"^[A-Z]{3}-[A-Z0-9]+(-[A-Za-z0-9]+)*(@L[1-4])?$", max_length=40)]
CaseId = Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+){2,3}$", max_length=20)]
Variable = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=40), AfterValidator(_free)]
Cel = Annotated[str, Field(min_length=1, max_length=2000)]
Level = Annotated[int, Field(ge=1, le=4)]


class Source(Words):
    """Where a figure is from, and how far it can be trusted; ``interpretation`` where the norm names none and we do."""

    status: FigureStatus


class Parameter(Model):
    """A figure or list that a site or a level may set; ``params.<name>`` in expressions."""

    type: Literal["int", "number", "bool", "text", "texts"]
    default: JsonValue
    #: Overrides for levels of the system; the stricter value is shipped.
    levels: Mapping[Level, JsonValue] = Field(default_factory=dict)
    source: Source

    @model_validator(mode="after")
    def _typed(self) -> Parameter:
        for value in (self.default, *self.levels.values()):
            if not self.takes(value):
                raise ValueError(f"{value!r} is not of type {self.type}")
        return self

    def takes(self, value: JsonValue) -> bool:
        """Whether ``value`` is of this parameter's type."""
        if self.type == "bool":
            return isinstance(value, bool)
        if self.type == "text":
            return isinstance(value, str)
        if self.type == "texts":
            return isinstance(value, list) and all(isinstance(item, str) for item in value)
        kinds = (int,) if self.type == "int" else (int, float)
        return isinstance(value, kinds) and not isinstance(value, bool)

    def at(self, level: int) -> JsonValue:
        """The value for a system of ``level``."""
        return self.levels.get(level, self.default)


class Maps(Model):
    """A requirement of the catalog that the check speaks to."""

    key: ItemKey
    role: Role


class Condition(Model):
    """A condition of the whole check, and what to say where it is false."""

    cel: Cel
    reason: Words


class Meaning(StrEnum):
    """What it means that the thing which a probe looks for does not exist on the host."""

    #: Expectations that touch the probe hold.
    PASS = "pass"  # noqa: S105 - no password
    #: Expectations that touch the probe do not hold.
    FAIL = "fail"
    #: The check does not apply.
    NOT_APPLICABLE = "notapplicable"
    #: Expressions see ``null``, and say themselves what it means.
    NULL = "as_null"


class Absence(Model):
    """The meaning of ``absent`` for one probe, and why."""

    means: Meaning
    reason: Words


class Expect(Model):
    """One claim. All hold: pass; some: partial; none: fail."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]*$", max_length=60)]
    cel: Cel
    #: What is wrong when the claim does not hold.
    message: Words


class HighRisk(Model):
    """A case of the high-risk guide that this check can see."""

    case: CaseId
    #: The case's condition; without one, it is that the check fails.
    when: Cel | None = None
    #: Checks whose pass on the same object is a mitigation that the guide accepts.
    mitigated_by: tuple[CheckId, ...] = Field(default=(), max_length=20)


class Compensates(Model):
    """A requirement whose failure on the same object weighs less where this check passes (整体测评)."""

    key: ItemKey
    reason: Words


class Remediation(Words):
    """What the operator can do. Commands are text: nothing is run."""

    commands: tuple[Annotated[str, Field(max_length=500)], ...] = Field(default=(), max_length=20)
    risk: Words | None = None
    rollback: Words | None = None
    reboot: bool = False


class Check(Model):
    """One test of one control, on one host."""

    id: CheckId
    title: Words
    #: The attack or failure that it guards against. A check that guards against nothing is not written.
    guards: Words
    maps: tuple[Maps, ...] = Field(min_length=1, max_length=20)
    #: Only hosts that the register names so; on every other one it is not applicable, and not asked.
    hosts: HostRole | None = None
    #: When the check applies. False: not applicable.
    applies: tuple[Condition, ...] = Field(default=(), max_length=5)
    probes: Mapping[Variable, Probe] = Field(min_length=1, max_length=10)
    absent: Mapping[Variable, Absence] = Field(default_factory=dict)
    params: Mapping[Variable, Parameter] = Field(default_factory=dict, max_length=20)
    expect: tuple[Expect, ...] = Field(min_length=1, max_length=20)
    #: When a pass can be believed. False: what was seen is not all there is (a list was cut, say), and a pass becomes
    #: ``unknown``; what failed stays failed.
    conclusive: tuple[Condition, ...] = Field(default=(), max_length=5)
    #: Lists of facts that may be empty and still pass, as they stand in expressions (``users.entries``).
    may_be_empty: tuple[str, ...] = Field(default=(), max_length=20)
    high_risk: tuple[HighRisk, ...] = Field(default=(), max_length=10)
    compensates: tuple[Compensates, ...] = Field(default=(), max_length=10)
    remediation: Remediation
    references: tuple[Annotated[str, Field(max_length=200)], ...] = Field(default=(), max_length=20)

    @model_validator(mode="after")
    def _consistent(self) -> Check:
        if unknown := set(self.absent) - set(self.probes):
            raise ValueError(f"absent names no probe of this check: {', '.join(sorted(unknown))}")
        for what, names in (
            ("expect", [expect.name for expect in self.expect]),
            ("maps", [maps.key for maps in self.maps]),
            ("high_risk", [risk.case for risk in self.high_risk]),
        ):
            if len(set(names)) != len(names):
                raise ValueError(f"{what} names something twice")
        return self

    def roles(self) -> dict[str, Role]:
        """The requirements it speaks to, and how."""
        return {maps.key: maps.role for maps in self.maps}


class PackHead(Model):
    """What ``pack.yaml`` says."""

    schema_: Literal[1] = Field(alias="schema")
    id: PackId
    version: Annotated[str, Field(pattern=r"^[0-9]+\.[0-9]+\.[0-9]+$")]
    title: Words
    description: Words
    #: The catalog whose keys ``maps`` names.
    catalog: Literal["gbt22239-2019"]
    requires_engine: Literal[1]


class CheckFile(Model):
    """What a file under ``checks/`` says."""

    checks: tuple[Check, ...] = Field(min_length=1, max_length=CHECKS_MAX)


class Pack(Model):
    """A pack that was read, whose parts fit together."""

    head: PackHead
    checks: tuple[Check, ...] = Field(min_length=1, max_length=CHECKS_MAX)
    #: Digest over the names and digests of all files: what a run's manifest names.
    sha256: str
    #: ``shipped``: trusted by its place in this installation; else the id of the pinned key that signed it.
    trust: str

    @property
    def id(self) -> str:
        """The pack's id."""
        return self.head.id

    def check(self, check_id: str) -> Check:
        """The check of this id. Raises ``KeyError`` when the pack has none."""
        for check in self.checks:
            if check.id == check_id:
                return check
        raise KeyError(check_id)
