"""What a drill leaves: one record, schema ``govsec.drill.v1``, in canonical JSON, signed into the ledger as evidence.

Everything a report prints is in here; nothing is computed later. Reasons are codes with facts, so that the words for
people come from the catalogues and the record stays the same in every language.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Literal

from pydantic import Field, JsonValue, ValidationError

from govsec import canonical
from govsec.clock import format_time
from govsec.config import Model, explain
from govsec.errors import FormatError
from govsec.records import Evidence, Moment

SCHEMA: Literal["govsec.drill.v1"] = "govsec.drill.v1"
EVIDENCE_KIND = "drill.result"
#: How much of a command's output is kept, from its end.
OUTPUT_MAX = 2000
#: How many single mismatches are named; the count goes on.
MISMATCHES_MAX = 50
#: What the two times leave out, named in every result.
EXCLUDED = ("detection", "decision")


class Verdict(StrEnum):
    """How the drill ended."""

    PASS = "pass"  # noqa: S105 - a verdict
    PARTIAL = "partial"
    FAIL = "fail"


class Outcome(StrEnum):
    """How a step, an undo or a control ended."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"
    NOT_REHEARSED = "not_rehearsed"


class Reason(Model):
    """Why the verdict is not ``pass``, or a remark on one that is. ``verdict`` is what it leads to at best."""

    code: str
    verdict: Verdict
    facts: Mapping[str, JsonValue] = Field(default_factory=dict)


class StepResult(Model):
    """One step, undo or control: when, how long, how it ended."""

    name: str
    kind: str
    outcome: Outcome
    started: Moment
    offset_s: float
    duration_s: float
    detail: str = ""
    output: str = ""
    output_dropped_bytes: int = 0
    facts: Mapping[str, JsonValue] = Field(default_factory=dict)


class SnapshotRef(Model):
    """The snapshot that was restored, and what else was eligible."""

    id: str
    time: Moment
    hostname: str
    paths: tuple[str, ...]
    tags: tuple[str, ...]
    eligible_count: int
    is_newest: bool


class CenterRef(Model):
    """A center as the drill met it."""

    name: str
    role: str
    site: str = ""
    state: Literal["restored_from", "fallback", "lost", "damaged", "not_reached", "not_used"]


class Targets(Model):
    """The objectives the business agreed to."""

    rpo_s: int
    rto_s: int
    #: Those that nobody set: ``rpo_s``, ``rto_s``. No owner of the system has agreed to them.
    defaults: tuple[str, ...] = ()


class Measures(Model):
    """The two times. None where nothing could be measured; what they leave out is named."""

    recovery_point_age_s: float | None = None
    restore_time_s: float | None = None
    restore_time_until: str = ""
    phases_s: Mapping[str, float] = Field(default_factory=dict)
    excluded: tuple[str, ...] = EXCLUDED
    files_count: int = 0
    restored_bytes: int = 0


MismatchKind = Literal[
    "missing",
    "surplus",
    "wrong_kind",
    "link_elsewhere",
    "content",
    "longer",
    "owner",
    "mode",
    "time",
    "attribute",
    "acl",
    "hard_link",
    "device",
    "unreadable",
    "not_indexed",
    "sample_missing",
    "sample_unreadable",
    "sample_differs",
    "sample_owner",
    "sample_mode",
    "sample_time",
    "sample_attribute",
]


class Mismatch(Model):
    """One place where the restored tree is not what it should be."""

    path: str
    what: MismatchKind
    expected: str = ""
    found: str = ""


class ContentResult(Model):
    """What the comparison with the repository and with the witness found."""

    files_checked: int = 0
    bytes_checked: int = 0
    samples_checked: int = 0
    has_witness: bool = False
    mismatches_count: int = 0
    mismatches: tuple[Mismatch, ...] = ()

    @property
    def is_verified(self) -> bool:
        """True when files were compared with the repository *and* with samples of the source, and all agreed."""
        return self.files_checked > 0 and self.samples_checked > 0 and not self.mismatches_count


class NotCompared(Model):
    """What could not be compared, how often, and why: ``not_root``, ``socket``, ``no_time``, ``not_recorded``."""

    what: str
    why: str
    count: int


class MetadataResult(Model):
    """What the comparison of everything but content found. ``compared`` counts by what was looked at."""

    entries: int = 0
    compared: Mapping[str, int] = Field(default_factory=dict)
    not_compared: tuple[NotCompared, ...] = ()
    mismatches_count: int = 0
    mismatches: tuple[Mismatch, ...] = ()


class IsolationResult(Model):
    """How the plan's commands ran."""

    is_isolated: bool
    user: str = ""
    network: str = ""
    memory_bytes: int = 0
    cpu_s: int = 0
    processes_max: int = 0
    reason: str = ""


class BlockerResult(Model):
    """Why a level of GB/T 20988 is out of reach."""

    level: int
    code: str
    required: float | str
    found: float | str | None
    status: str


class ElementState(Model):
    """One of the seven elements."""

    element: str
    level: int
    basis: Literal["measured", "attested", "expired", "missing"]
    detail: str = ""


class CapabilityResult(Model):
    """The judgement under one edition of GB/T 20988, with the words of its table."""

    edition: str
    norm: str
    norm_title: Mapping[str, str]
    note: Mapping[str, str]
    status: str
    limit: int
    limit_title: Mapping[str, str] = Field(default_factory=dict)
    reached: int | None
    blockers: tuple[BlockerResult, ...]
    elements: tuple[ElementState, ...]
    element_titles: Mapping[str, Mapping[str, str]]


class HistoryFacts(Model):
    """The restorable snapshots at the center of the last 30 days, which the capability level rests on."""

    snapshots_count: int
    span_s: float
    longest_gap_s: float | None
    transfers_per_day: float


class DrillResult(Model):
    """The whole record."""

    schema_: Literal["govsec.drill.v1"] = Field(alias="schema")
    id: str = Field(pattern=r"^[0-9]{8}T[0-9]{6}Z-[0-9a-f]{8}$")
    organization: str = ""
    system: str
    system_title: str = ""
    plan: str
    plan_title: str = ""
    plan_digest: str
    scenario: Mapping[str, JsonValue]
    operator: str
    host: str
    version: str
    started: Moment
    ended: Moment
    disaster_at: Moment
    verdict: Verdict
    reasons: tuple[Reason, ...]
    centers: tuple[CenterRef, ...]
    snapshot: SnapshotRef | None
    objectives: Targets
    measures: Measures
    content: ContentResult | None
    metadata: MetadataResult | None = None
    isolation: IsolationResult
    steps: tuple[StepResult, ...]
    undo: tuple[StepResult, ...]
    controls: tuple[StepResult, ...]
    history: HistoryFacts | None
    capability: tuple[CapabilityResult, ...]
    scratch_kept: str = ""

    def canonical(self) -> dict[str, JsonValue]:
        """Plain JSON values, ready for :func:`govsec.canonical.dumps`."""
        value: dict[str, JsonValue] = self.model_dump(mode="json", by_alias=True)
        return value

    def to_json(self) -> bytes:
        """The canonical bytes of the record."""
        return canonical.dumps(self.canonical())

    def evidence(self) -> Evidence:
        """The record as an entry for the ledger."""
        return Evidence(kind=EVIDENCE_KIND, time=self.ended, subject=self.system, facts=self.canonical())


def parse_result(value: object) -> DrillResult:
    """The record in ``value`` (facts of an evidence, or parsed JSON).

    Raises:
        FormatError: it is none of this schema.
    """
    try:
        return DrillResult.model_validate(value)
    except ValidationError as error:
        raise FormatError(f"drill result: {explain(error)}") from error


def worst(reasons: tuple[Reason, ...]) -> Verdict:
    """What the reasons lead to together; ``pass`` only when none stands against it."""
    order = list(Verdict)
    return max((reason.verdict for reason in reasons), key=order.index, default=Verdict.PASS)


def drill_name(result: DrillResult) -> str:
    """What file names and tables call the drill."""
    return f"{result.system}-{result.plan}-{format_time(result.started)[:10]}-{result.id[-8:]}"
