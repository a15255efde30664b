"""What rooms hand to each other as judgement, proof and message: ``Severity``, ``Finding``, ``Evidence``, ``Notice``.

A finding says that something was judged, never what to do about it; evidence says what was observed, and is what the
ledger signs; a notice is to reach a person. All are frozen and have one canonical form.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Annotated

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, JsonValue, PlainSerializer

from govsec.clock import format_time

Moment = Annotated[AwareDatetime, PlainSerializer(format_time, return_type=str, when_used="json")]
#: A kind is dotted lower-case words: ``drill.failed``, ``center.degraded``.
Kind = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+$", max_length=100)]


class Severity(IntEnum):
    """How bad a finding is, technically. The legal level of an incident is another axis."""

    INFO = 10
    LOW = 20
    MEDIUM = 30
    HIGH = 40
    CRITICAL = 50


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    def canonical(self) -> dict[str, JsonValue]:
        """The record as plain JSON values, ready for :func:`govsec.canonical.dumps`."""
        value: dict[str, JsonValue] = self.model_dump(mode="json", exclude_none=True)
        return value


class Finding(_Record):
    """One judgement about one subject at one time."""

    kind: Kind
    severity: Severity
    time: Moment
    subject: str = Field(min_length=1, max_length=500)
    #: One English sentence with the numbers in it; the words for people come from the message catalogue by ``kind``.
    summary: str = Field(min_length=1, max_length=2000)
    facts: Mapping[str, JsonValue] = Field(default_factory=dict)


class Evidence(_Record):
    """Something that was observed and can be shown to an assessor."""

    kind: Kind
    time: Moment
    subject: str = Field(min_length=1, max_length=500)
    facts: Mapping[str, JsonValue]


class Attachment(_Record):
    """A file that belongs to a notice: sent along where a channel can, else named with its digest."""

    name: str = Field(min_length=1, max_length=200)
    path: str = Field(min_length=1, max_length=4096)
    size_bytes: int = Field(ge=0)
    digest: str = Field(pattern=r"^sha256:[0-9a-f]{64}$")


class Notice(_Record):
    """A message to people, before it is put into words for a channel."""

    #: The same message has the same key, however often it is made: channels and outboxes tell it once.
    key: str = Field(min_length=1, max_length=200)
    kind: Kind
    severity: Severity
    time: Moment
    #: The system of the register that it is about; empty when it is about none.
    system: str = Field(default="", max_length=200)
    subject: str = Field(min_length=1, max_length=500)
    #: One English sentence; the words for people come from the message catalogue by ``kind``.
    summary: str = Field(min_length=1, max_length=2000)
    facts: Mapping[str, JsonValue] = Field(default_factory=dict)
    attachments: tuple[Attachment, ...] = Field(default=(), max_length=10)

    def canonical(self) -> dict[str, JsonValue]:
        value = super().canonical()
        if not self.attachments:
            del value["attachments"]  # what has none is written as it was before there were any
        return value


def as_evidence(finding: Finding) -> Evidence:
    """The finding as an entry for the ledger."""
    facts = {**finding.facts, "severity": finding.severity.name.lower(), "summary": finding.summary}
    return Evidence(kind=finding.kind, time=finding.time, subject=finding.subject, facts=facts)
