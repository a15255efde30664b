"""One assessment: what was asked of which objects, what was seen, what follows; schema ``govsec.assessment.v1``.

Everything that a report prints is in an :class:`Assessment`, in both languages; nothing is computed later. It is
normalised, so that two hundred hosts stay readable: ``checks`` and ``probes`` are told once, ``results`` name a check
and an object, an item names its results by position, and what a probe brought lies with its object::

    item.results -> results[n] -> checks[result.check], objects[result.object].outcomes[result.probes[name]]

Not here: how verdicts come about (:mod:`govsec.policy.verdicts`), the rates (:mod:`govsec.policy.rate`), and where a
run lies on disk (:mod:`govsec.policy.runfolder`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field, JsonValue, ValidationError

from govsec import canonical
from govsec.config import Model, explain
from govsec.errors import FormatError
from govsec.policy.results import Basis, CaseState, Principle, Role, Status, Verdict, Words
from govsec.records import Moment

SCHEMA: Literal["govsec.assessment.v1"] = "govsec.assessment.v1"
EVIDENCE_KIND = "assess.result"
RUN_ID = r"^[0-9]{8}T[0-9]{6}Z-[0-9a-f]{8}$"
Digest = str


class SystemRow(Model):
    """The system that was assessed, as the register knows it."""

    name: str
    title: str = ""
    kind: str = ""
    owner: str = ""
    responsible: tuple[str, ...] = ()
    filing_number: str = ""
    #: A short interruption does harm: decides whether some high-risk cases apply.
    is_high_availability: bool = False
    is_key_industry: bool = False
    is_registered: bool = True


class ExtentRow(Model):
    """Of how much of the system the hosts that were asked are."""

    #: ``whole``: every host that the register names. ``part``: some were left out. ``unlisted``: the register names no
    #: hosts, so nobody knows whether these are all. ``machine``: there is no system; the hosts stand for themselves.
    kind: Literal["whole", "part", "unlisted", "machine"]
    #: Hosts of the register that were not asked.
    left_out: tuple[str, ...] = ()
    #: Packs of the site that were not used: what they decide stays open.
    packs_left_out: tuple[str, ...] = ()


class CatalogRow(Model):
    """The catalog that the items are from."""

    id: str
    edition: str
    sha256: Digest


class PackRow(Model):
    """A pack that was used, with the digest of all its files."""

    id: str
    version: str
    sha256: Digest
    checks_count: int
    #: ``shipped`` with this version of govsec, or the id of the pinned key that signed it.
    trust: str


class CheckRow(Model):
    """A check, told once."""

    id: str
    pack: str
    title: Words
    guards: Words
    #: Keys of the requirements and whether the check ``decides``, ``supports`` or ``informs`` them.
    maps: Mapping[str, Role]
    #: What the operator can do; None where there is nothing to repair.
    advice: Words | None = None
    commands: tuple[str, ...] = ()
    risk: Words | None = None
    rollback: Words | None = None
    needs_reboot: bool = False
    references: tuple[str, ...] = ()


class ProbeRow(Model):
    """A probe, told once: its kind and what it runs or reads on the object, as text."""

    id: str
    kind: str
    command: str


class OutcomeRow(Model):
    """What one probe brought from one object."""

    status: Literal["ok", "absent", "denied", "timeout", "error"]
    reason: str = ""
    #: The same in both languages; None where there is no reason.
    told: Words | None = None
    duration_ms: float | None = None
    #: Redacted and bounded; the digest is that of all that came.
    excerpt: str = ""
    is_truncated: bool = False
    raw_sha256: Digest = ""


class ObjectRow(Model):
    """One host, or the system itself (whose evidence is govsec's own), as it answered."""

    name: str
    kind: Literal["host", "container", "file", "system"]
    address: str = ""
    #: ``partial`` when some probes could not look; ``unreachable`` when none did.
    state: Literal["collected", "partial", "unreachable"]
    reason: str = ""
    #: The same in both languages; None where there is no reason.
    told: Words | None = None
    platform: Mapping[str, JsonValue] = Field(default_factory=dict)
    collected: Moment | None = None
    clock_offset_s: float | None = None
    #: Name of the stored facts under the run's files; empty when there are none.
    facts_sha256: Digest = ""
    #: Who signed the file that the facts came in; empty: nobody, or they came in no file.
    signed_by: str = ""
    outcomes: Mapping[str, OutcomeRow] = Field(default_factory=dict)


class EvidenceRow(Model):
    """Something of govsec's own that an item rests on: a drill, a job, a trial, what an agent answered, a file."""

    digest: Digest
    kind: Literal["drill", "job", "lag", "center", "register", "file", "trial", "watch"]
    title: Words
    time: Moment


class ExpectationRow(Model):
    """One thing that a check expects. ``holds`` is None where it could not be looked at."""

    name: str
    holds: bool | None
    message: Words | None = None


class WaiverRow(Model):
    """A result that somebody let pass for a while; what it was stays visible beside it."""

    id: str
    reason: str
    approver: str
    until: Moment
    compensation: str = ""


class AttestationRow(Model):
    """A person's word for an item, with what was shown."""

    id: str
    statement: str
    by: str
    made: Moment
    until: Moment
    reviewer: str = ""
    evidence: tuple[Digest, ...] = ()
    is_expired: bool = False


class ResultRow(Model):
    """One check of one object."""

    check: str
    object: str
    status: Status
    #: Why it does not apply, could not be looked at, or counts as it does.
    reason: Words | None = None
    expectations: tuple[ExpectationRow, ...] = ()
    #: The check's names for its probes, and their ids.
    probes: Mapping[str, str] = Field(default_factory=dict)
    high_risk: tuple[str, ...] = ()
    waiver: WaiverRow | None = None


class ItemRow(Model):
    """One requirement with its verdict."""

    id: str
    key: str
    scope: str
    category: Words
    control_id: str
    control: Words
    attribute: Literal["S", "A", "G"]
    summary: Words
    kind: Literal["technical", "management"]
    automatable: Literal["full", "partial", "manual"]
    assessment_unit: str = ""
    #: What to show an assessor.
    evidence_hint: Words | None = None
    #: False: the line of the catalog rests on one source only; every report says so.
    is_confirmed: bool
    #: The standard says may: reported, never a failure.
    is_optional: bool
    verdict: Verdict
    basis: Basis
    reasons: tuple[Words, ...] = ()
    #: Positions in ``results``.
    results: tuple[int, ...] = ()
    #: Digests of ``evidence``.
    evidence: tuple[Digest, ...] = ()
    high_risk: tuple[str, ...] = ()
    #: What it was before a waiver or a compensating measure, where that differs.
    original: Verdict | None = None
    waiver: WaiverRow | None = None
    attestation: AttestationRow | None = None


class CaseRow(Model):
    """A high-risk case (2025 guide) that results point at."""

    case: str
    title: Words
    #: ``mitigated`` when what the guide names as mitigation was found; a person confirms either.
    state: CaseState
    #: False: the case is in the guide's list, and the condition that points at it is our own reading.
    is_confirmed: bool = False
    items: tuple[str, ...]
    objects: tuple[str, ...]
    checks: tuple[str, ...]
    mitigated_by: tuple[str, ...] = ()
    reasons: tuple[Words, ...] = ()


class DangerRow(Model):
    """A candidate for a major hidden danger, for a person to confirm, with the principle that points at it."""

    principle: Principle
    case: str
    title: Words
    reason: Words
    objects: tuple[str, ...] = ()


class CoverageRow(Model):
    """How much of what was asked got an answer. Printed beside every rate."""

    items: int
    not_applicable: int
    #: Lines that the standard only says "may" of and that are not met: counted nowhere else.
    optional_unmet: int
    applicable: int
    #: Applicable items with a verdict, by what it rests on.
    decided: int
    by_checks: int
    by_evidence: int
    by_attestation: int
    #: Undecided ones that checks or evidence at least support.
    supported: int
    undecided: int
    unconfirmed: int
    #: decided / applicable; None when nothing applies.
    share: float | None


class RateRow(Model):
    """One way of counting, with its status. ``value`` is None when too little is decided to say anything."""

    strategy: str
    title: Words
    formula: Words
    #: 0 to 100 where all items count, undecided ones as not conform.
    value: float | None
    #: The same over decided items only.
    value_decided: float | None
    #: What it would be if every undecided item turned out to conform.
    value_best: float | None
    unit: Literal["percent", "points"]
    #: ``none`` where nothing is decided, or undecided items may turn it either way.
    conclusion: Literal["conform", "basically_conform", "not_conform", "excellent", "good", "medium", "poor", "none"]
    conclusion_words: Words
    is_confirmed: bool
    notes: tuple[Words, ...] = ()


class ChangeRow(Model):
    """An item that reads otherwise than in the earlier run. None: the item was not asked there."""

    item: str
    before: Verdict | None
    after: Verdict | None
    #: What a person asks first: what got worse.
    direction: Literal["better", "worse", "other"]


class ResultChangeRow(Model):
    """A check of an object that ended otherwise."""

    check: str
    object: str
    before: Status | None
    after: Status | None


class DifferenceRow(Model):
    """This run against an earlier one of the same system."""

    earlier: str
    earlier_time: Moment
    #: What makes the two hard to compare: other packs, level or objects.
    notes: tuple[Words, ...] = ()
    items: tuple[ChangeRow, ...] = ()
    results: tuple[ResultChangeRow, ...] = ()
    cases_new: tuple[str, ...] = ()
    cases_gone: tuple[str, ...] = ()


class ExpiringRow(Model):
    """What ends soon, or has ended: a person's word, or a date of the register."""

    kind: Literal["attestation", "waiver", "acceptance", "certificate", "assessment", "plan", "training"]
    #: The item or check, or the system.
    subject: str
    #: Id of the record, for a person's word.
    record: str = ""
    until: Moment
    is_expired: bool


class FileRow(Model):
    """A file of the run: what it is, and the digest that is its name."""

    name: str
    sha256: Digest
    size_bytes: int


class Assessment(Model):
    """The whole run."""

    schema_: Literal["govsec.assessment.v1"] = Field(default=SCHEMA, alias="schema")
    id: str = Field(pattern=RUN_ID)
    organization: str = ""
    operator: str
    #: The machine that evaluated, and its govsec.
    controller: str
    version: str
    catalog: CatalogRow
    system: SystemRow
    #: None in runs of versions that did not tell.
    extent: ExtentRow | None = None
    level: int = Field(ge=1, le=4)
    s: int = Field(ge=1, le=4)
    a: int = Field(ge=1, le=4)
    scopes: tuple[str, ...]
    started: Moment
    ended: Moment
    packs: tuple[PackRow, ...]
    #: What overrides the defaults of the packs: check, parameter, value.
    parameters: Mapping[str, Mapping[str, JsonValue]] = Field(default_factory=dict)
    objects: Mapping[str, ObjectRow]
    checks: Mapping[str, CheckRow]
    probes: Mapping[str, ProbeRow]
    results: tuple[ResultRow, ...]
    items: tuple[ItemRow, ...]
    coverage: CoverageRow
    rates: tuple[RateRow, ...]
    evidence: tuple[EvidenceRow, ...] = ()
    cases: tuple[CaseRow, ...] = ()
    dangers: tuple[DangerRow, ...] = ()
    #: Of the dangers, those that an earlier run had and this one has not.
    dangers_rectified: int = 0
    difference: DifferenceRow | None = None
    expiring: tuple[ExpiringRow, ...] = ()
    files: tuple[FileRow, ...] = ()
    notes: tuple[Words, ...] = ()
    #: Records of people that counted in a run before, would still hold, and were gone: id and end.
    gone_records: Mapping[str, Moment] = Field(default_factory=dict)

    def canonical(self) -> dict[str, JsonValue]:
        """Plain JSON values, ready for :func:`govsec.canonical.dumps`; what reports take."""
        value: dict[str, JsonValue] = self.model_dump(mode="json", by_alias=True)
        return value

    def to_json(self) -> bytes:
        """The canonical bytes of the run."""
        return canonical.dumps(self.canonical())

    def counts(self) -> dict[str, int]:
        """How many items have each verdict."""
        found: dict[str, int] = {}
        for item in self.items:
            found[item.verdict] = found.get(item.verdict, 0) + 1
        return found


def parse_assessment(data: bytes) -> Assessment:
    """The run in ``data``.

    Raises:
        FormatError: it is none of this schema.
    """
    try:
        return Assessment.model_validate_json(data)
    except ValidationError as error:
        raise FormatError(f"assessment: {explain(error)}") from error
