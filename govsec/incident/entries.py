"""What is written into a case, one entry after the other, and never changed: the case is what they add up to.

An entry says when, who and what. Nothing else changes a case, so the timeline cannot lack anything, and two views of
one case cannot differ. What a person or another program hands in is checked here, by its shape; whether it may happen
now is asked in ``case`` and ``moves``.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, JsonValue, TypeAdapter

from govsec.incident.deadlinetable import Circumstance
from govsec.incident.levels import WarningColor
from govsec.records import Kind, Moment

Word = Annotated[str, Field(min_length=1, max_length=200)]
Words = Annotated[str, Field(min_length=1, max_length=4000)]
Digest = Annotated[str, Field(pattern=r"^(sha256|sm3):[0-9a-f]{64}$")]
LevelName = Literal["general", "relatively_major", "major", "particularly_major"]


class Stage(StrEnum):
    """Where a case stands: 发现 → 研判 → 通报 → 响应 → 处置 → 恢复 → 总结 → 销号."""

    FOUND = "found"
    ASSESSED = "assessed"
    NOTIFIED = "notified"
    RESPONDING = "responding"
    HANDLING = "handling"
    RECOVERING = "recovering"
    REVIEWED = "reviewed"
    CLOSED = "closed"


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    time: Moment
    #: The person, or the program, that did or saw it.
    by: Word


class Opened(_Entry):
    """A case begins."""

    kind: Literal["opened"] = "opened"
    title: Word
    #: The system of the register that it is about; empty while nobody knows.
    system: str = Field(default="", max_length=200)
    #: Found, or told of: the law's clock runs from here, not from when it is written down.
    aware_at: Moment
    #: Whose duties these are; a unit may have several roles.
    roles: tuple[Word, ...] = Field(min_length=1, max_length=20)
    event_class: Word = "other"
    protection_level: int | None = Field(default=None, ge=1, le=5)
    is_exercise: bool = False


class FindingJoined(_Entry):
    """A finding belongs to this case."""

    kind: Literal["finding"] = "finding"
    fingerprint: Word
    finding: Kind
    subject: Word
    severity: Literal["info", "low", "medium", "high", "critical"]
    summary: Words


class FactsSaid(_Entry):
    """What is known has changed; values in the written form of ``facts``, ``unknown`` takes one back."""

    kind: Literal["facts"] = "facts"
    facts: dict[Word, Word] = Field(min_length=1, max_length=200)
    reason: str = Field(default="", max_length=4000)


class LevelConfirmed(_Entry):
    """A named person has settled the level."""

    kind: Literal["level"] = "level"
    level: LevelName
    #: What the rules suggested then.
    suggested: LevelName
    highest_possible: LevelName
    reason: Words


class ColorIssued(_Entry):
    """A warning was issued by somebody entitled to, or taken back (None)."""

    kind: Literal["color"] = "color"
    color: WarningColor | None
    reason: Words


class CircumstanceSaid(_Entry):
    """Something holds, or does not, that brings duties of its own."""

    kind: Literal["circumstance"] = "circumstance"
    circumstance: Circumstance
    holds: bool
    reason: Words


class NewFacts(_Entry):
    """Important new facts turned up: a supplementary report is owed."""

    kind: Literal["new_facts"] = "new_facts"
    text: Words


class Received(_Entry):
    """A report from below came in; the limit for passing it on runs from here."""

    kind: Literal["received"] = "received"
    sender: Word
    number: str = Field(default="", max_length=200)
    received_at: Moment


class ReceiptTaken(_Entry):
    """Somebody took a report."""

    kind: Literal["receipt"] = "receipt"
    duty: Word
    taken_at: Moment
    taken_by: Word
    number: str = Field(default="", max_length=200)
    channel: Word
    #: What was handed in.
    digest: Digest | None = None


class LateExplained(_Entry):
    """Why a duty was not met in time."""

    kind: Literal["late"] = "late"
    duty: Word
    reason: Words


class Acknowledged(_Entry):
    """A person has taken the case on."""

    kind: Literal["acknowledged"] = "acknowledged"


class Assigned(_Entry):
    """The case is given to somebody."""

    kind: Literal["assigned"] = "assigned"
    to: Word


class Moved(_Entry):
    """The case goes to another stage; backwards only with a reason."""

    kind: Literal["moved"] = "moved"
    to: Stage
    reason: str = Field(default="", max_length=4000)


class HandlingEnded(_Entry):
    """Handling has ended: the final report is due thirty days from here."""

    kind: Literal["handling_ended"] = "handling_ended"
    ended_at: Moment


class ObservableSeen(_Entry):
    """An address, domain, digest, account or file that the event showed."""

    kind: Literal["observable"] = "observable"
    what: Literal["address", "domain", "url", "digest", "account", "file", "process", "certificate", "other"]
    value: Word
    note: str = Field(default="", max_length=4000)


class EvidenceKept(_Entry):
    """Something that proves: known by its digest, held by somebody."""

    kind: Literal["evidence"] = "evidence"
    name: Word
    digest: Digest
    size_bytes: int = Field(ge=0)
    holder: Word
    note: str = Field(default="", max_length=4000)


class CustodyPassed(_Entry):
    """Evidence goes from hand to hand."""

    kind: Literal["custody"] = "custody"
    digest: Digest
    holder: Word
    reason: Words


class TaskGiven(_Entry):
    """Something is to be done."""

    kind: Literal["task"] = "task"
    task: Word
    title: Word
    owner: Word
    due_at: Moment | None = None


class TaskDone(_Entry):
    """It is done, or was given up with a reason."""

    kind: Literal["task_done"] = "task_done"
    task: Word
    result: Words


class ActionTaken(_Entry):
    """A playbook did something, in the playbook's own words."""

    kind: Literal["action"] = "action"
    action: Word
    outcome: Literal["done", "failed", "undone", "expired", "dry_run"]
    facts: dict[str, JsonValue] = Field(default_factory=dict, max_length=50)


class RecoveryProved(_Entry):
    """Somebody, or a drill, has looked and found the service whole again."""

    kind: Literal["recovered"] = "recovered"
    text: Words
    digest: Digest | None = None


class LessonLearnt(_Entry):
    """What is to be done better."""

    kind: Literal["lesson"] = "lesson"
    text: Words


class Stated(_Entry):
    """A person answers one part of a report (``reportform``); the last answer counts, earlier ones stay written."""

    kind: Literal["statement"] = "statement"
    part: Word
    text: Words


class ReportMade(_Entry):
    """A report was written from the case, as a record with this digest. Only a receipt says that it was handed in."""

    kind: Literal["report_made"] = "report_made"
    report: Literal["first", "supplementary", "final"]
    digest: Digest
    #: Parts that the report needs, and how many of them were answered.
    needed_count: int = Field(ge=0, le=1000)
    answered_count: int = Field(ge=0, le=1000)


class Noted(_Entry):
    """Anything else."""

    kind: Literal["note"] = "note"
    text: Words


Entry: TypeAlias = Annotated[
    Opened
    | FindingJoined
    | FactsSaid
    | LevelConfirmed
    | ColorIssued
    | CircumstanceSaid
    | NewFacts
    | Received
    | ReceiptTaken
    | LateExplained
    | Acknowledged
    | Assigned
    | Moved
    | HandlingEnded
    | ObservableSeen
    | EvidenceKept
    | CustodyPassed
    | TaskGiven
    | TaskDone
    | ActionTaken
    | RecoveryProved
    | LessonLearnt
    | Stated
    | ReportMade
    | Noted,
    Field(discriminator="kind"),
]
ENTRY: TypeAdapter[Entry] = TypeAdapter(Entry)
