"""What people vouch for: attestations of what no program can see, waivers of what is not yet mended, accepted risks.

One idea: two persons. The author signs a statement with a key of the purpose ``attestation``; another person, with a
key of their own of the purpose ``approval``, signs its digest. Both keys are pinned, and the names that count are those
they are pinned under, never names in the text alone. A statement names its evidence files by digest, so that a file
that was changed afterwards is found, and it ends after a year at most.

An attestation speaks for one requirement line at one level; a waiver stands beside a result and changes no verdict.
What is not approved, has ended, or has lost its evidence counts for nothing: it never makes a line conform.

::

    {"approval": document | null, "schema": "govsec.attestation.v1", "statement": document}      canonical JSON

Statement: purpose ``attestation``, body :class:`Attestation`, :class:`Waiver` or :class:`Acceptance`. Approval: purpose
``approval``, body ``{"approves": SHA-256 of the statement's bytes, "by", "schema": "govsec.approval.v1", "time"}``.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Literal, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from govsec import canonical
from govsec.clock import format_time
from govsec.config import Name, explain
from govsec.crypto.document import open_document, sign_document
from govsec.crypto.signing import Purpose, Signer, TrustedKeys
from govsec.errors import FormatError, IntegrityError, LimitError, RefusedError
from govsec.policy.results import Verdict
from govsec.records import Moment
from govsec.registerentry import Named, Short

SCHEMA = "govsec.attestation.v1"
APPROVAL_SCHEMA = "govsec.approval.v1"
#: Longest that a statement holds: the assessment of a system of level 3 is yearly, and so is what people say of it.
VALID_DAYS_MAX = 365
#: How long before its end a statement is listed as ending.
EXPIRING_DAYS = 30
RECORD_SIZE_MAX = 1 << 20
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
#: What is shorter explains nothing; a Chinese character says about as much as three letters.
_LETTERS_MIN, _LETTERS_OF_CHINESE = 10, 3


def _says_something(text: str) -> str:
    letters = sum(_LETTERS_OF_CHINESE if unicodedata.east_asian_width(one) in "WF" else 1 for one in text.strip())
    if letters < _LETTERS_MIN:
        raise ValueError(f"too short to explain anything: {_LETTERS_MIN} letters, or 4 Chinese characters, at least")
    return text


Words = Annotated[str, Field(max_length=4000), AfterValidator(_says_something)]


class EvidenceFile(BaseModel):
    """A file that was shown, by its digest."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Named
    sha256: Digest
    size_bytes: int = Field(ge=0, le=1 << 40)


class _Statement(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    system: Name
    #: Hosts that it speaks of; none: the whole system.
    objects: Annotated[tuple[Named, ...], Field(max_length=5000)] = ()
    #: Name that the author's key is pinned under.
    by: Named
    made: Moment
    valid_until: Moment
    evidence: Annotated[tuple[EvidenceFile, ...], Field(max_length=100)] = ()

    @model_validator(mode="after")
    def _ends(self) -> _Statement:
        if not self.made < self.valid_until <= self.made + timedelta(days=VALID_DAYS_MAX):
            raise ValueError(f"valid_until must be after made, by at most {VALID_DAYS_MAX} days")
        if len({file.sha256 for file in self.evidence}) != len(self.evidence):
            raise ValueError("an evidence file is named twice")
        return self


class Attestation(_Statement):
    """A person's word for one requirement line of one system."""

    kind: Literal["attestation"] = "attestation"
    #: Clause number (8.1.7.2.a): it stands for the line and for the level.
    item: Annotated[str, Field(pattern=r"^[6-9](\.[1-9][0-9]?){3}(\.[a-z])?$")]
    verdict: Literal[Verdict.CONFORM, Verdict.PARTIAL, Verdict.NOT_CONFORM, Verdict.NOT_APPLICABLE]
    statement: Words

    @model_validator(mode="after")
    def _shown(self) -> Attestation:
        if self.verdict in (Verdict.CONFORM, Verdict.PARTIAL) and not self.evidence:
            raise ValueError(f"verdict {self.verdict.value} needs at least one evidence file")
        return self


class Waiver(_Statement):
    """A failed check that is let pass for a while, with what is done in its place."""

    kind: Literal["waiver"] = "waiver"
    check: Named
    reason: Words
    compensation: Words
    ticket: Short = ""


class Acceptance(_Statement):
    """A risk that somebody answers for, up to a level (:mod:`govsec.policy.risk`)."""

    kind: Literal["acceptance"] = "acceptance"
    #: The threat, as the method calls it.
    risk: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=80)]
    level_max: Annotated[int, Field(ge=1, le=5)]
    reason: Words


Statement: TypeAlias = Attestation | Waiver | Acceptance
_STATEMENT: TypeAdapter[Statement] = TypeAdapter(Annotated[Statement, Field(discriminator="kind")])


class _Approval(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_: Literal["govsec.approval.v1"] = Field(alias="schema")
    approves: Digest
    by: Named
    time: Moment


class Standing(StrEnum):
    """Whether a statement counts at a moment."""

    VALID = "valid"
    #: Nobody else has approved it.
    PENDING = "pending"
    #: Made or approved after this moment.
    NOT_YET = "not_yet"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class Record:
    """An authentic statement. ``id`` is the beginning of the digest of the signed statement."""

    id: str
    statement: Statement
    approver: str | None = None
    approved: datetime | None = None

    def standing(self, now: datetime) -> Standing:
        """Whether it counts at ``now``."""
        if now >= self.statement.valid_until:
            return Standing.EXPIRED
        if self.approved is None:
            return Standing.PENDING
        return Standing.VALID if self.statement.made <= now and self.approved <= now else Standing.NOT_YET


def attest(signer: Signer, statement: Statement) -> bytes:
    """The statement signed by its author, waiting for approval. ``signer`` signs for the purpose ``attestation``."""
    _expect(signer, Purpose.ATTESTATION)
    return _dump(sign_document(signer, statement.model_dump(mode="json")), None)


def approve(signer: Signer, trusted: TrustedKeys, data: bytes, *, by: str, time: datetime) -> bytes:
    """The record with a second person's approval; ``signer`` signs for the purpose ``approval``.

    Raises:
        IntegrityError: the statement is not authentic.
        RefusedError: it is approved already, has ended, or ``by`` is its author.
    """
    _expect(signer, Purpose.APPROVAL)
    record = open_record(trusted, data)
    if record.approved is not None:
        raise RefusedError(f"statement {record.id} was approved by {record.approver} already")
    if not record.statement.made <= time < record.statement.valid_until:
        raise RefusedError(
            f"statement {record.id} holds from its making to its end, and {format_time(time)} is outside"
        )
    if by == record.statement.by:
        raise RefusedError(f"statement {record.id} is by {by}; another person approves it")
    statement, _ = _split(data)
    body = {"schema": APPROVAL_SCHEMA, "approves": _sha256(statement), "by": by, "time": format_time(time)}
    approved = _dump(statement, sign_document(signer, body))
    open_record(trusted.with_key(signer.public(by)), approved)  # what nobody could read back is not given out
    return approved


def open_record(trusted: TrustedKeys, data: bytes) -> Record:
    """The record in ``data``, when its author, and its approver where there is one, are pinned persons.

    Raises:
        IntegrityError: signed by nobody who is pinned, altered, or author and approver are one.
        FormatError: well-signed, and not a statement of this version.
        LimitError: larger than any record.
    """
    statement_data, approval_data = _split(data)
    body = open_document(trusted, Purpose.ATTESTATION, statement_data, size_max=RECORD_SIZE_MAX)
    try:
        statement = _STATEMENT.validate_python(body)
    except ValidationError as error:
        raise FormatError(f"statement: {explain(error)}") from error
    record_id = _sha256(statement_data)[:32]
    author = _signed_by(trusted, Purpose.ATTESTATION, statement_data, statement.by, record_id)
    if approval_data is None:
        return Record(record_id, statement)
    raw = open_document(trusted, Purpose.APPROVAL, approval_data, size_max=RECORD_SIZE_MAX)
    try:
        approval = _Approval.model_validate(raw)
    except ValidationError as error:
        raise FormatError(f"approval of statement {record_id}: {explain(error)}") from error
    if approval.approves != _sha256(statement_data):
        raise IntegrityError(f"statement {record_id}: its approval is for another statement")
    approver = _signed_by(trusted, Purpose.APPROVAL, approval_data, approval.by, record_id)
    if approval.by == statement.by or approver == author:
        raise IntegrityError(f"statement {record_id}: author and approver are the same person")
    if not statement.made <= approval.time < statement.valid_until:
        raise IntegrityError(f"statement {record_id}: approved before it was made, or after its end")
    return Record(record_id, statement, approval.by, approval.time)


def expiring(records: Iterable[Record], now: datetime, days: int = EXPIRING_DAYS) -> tuple[Record, ...]:
    """Approved statements that have ended or end within ``days``, the next to end first."""
    until = now + timedelta(days=days)
    ending = [record for record in records if record.approved is not None and record.statement.valid_until <= until]
    return tuple(sorted(ending, key=lambda record: (record.statement.valid_until, record.id)))


def _signed_by(trusted: TrustedKeys, purpose: Purpose, document: bytes, by: str, record_id: str) -> bytes:
    """The public key that signed a document, which must be pinned under the name ``by``."""
    envelope = canonical.loads(document)
    assert isinstance(envelope, dict)  # open_document has taken it apart already
    key = trusted.get(purpose, envelope["key"])
    if key.name != by:
        raise IntegrityError(f"statement {record_id}: names {by!r}, and its {purpose.value} key is {key.name!r}'s")
    return key.raw


def _expect(signer: Signer, purpose: Purpose) -> None:
    if signer.purpose is not purpose:
        raise RefusedError(f"a key that signs {signer.purpose.value}, where {purpose.value} is asked for")


def _dump(statement: bytes, approval: bytes | None) -> bytes:
    return canonical.dumps(
        {
            "schema": SCHEMA,
            "statement": canonical.loads(statement),
            "approval": None if approval is None else canonical.loads(approval),
        }
    )


def _split(data: bytes) -> tuple[bytes, bytes | None]:
    """The bytes of the two documents."""
    if len(data) > RECORD_SIZE_MAX:
        raise LimitError(f"record of a statement: {len(data)} bytes, more than {RECORD_SIZE_MAX}")
    try:
        value = canonical.loads(data)
    except ValueError as error:
        raise FormatError(f"record of a statement: {error}") from error
    if not isinstance(value, dict) or set(value) != {"schema", "statement", "approval"} or value["schema"] != SCHEMA:
        raise FormatError(f"record of a statement: expected {SCHEMA} with a statement and an approval")
    approval = value["approval"]
    # What was read in its canonical form is written back to the same bytes.
    return canonical.dumps(value["statement"]), None if approval is None else canonical.dumps(approval)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
