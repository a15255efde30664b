"""One ledger entry: its name, its bytes, and what makes it authentic.

An entry is a signed document (purpose ``evidence``) whose body is::

    {"chain": key id, "evidence": {…}, "number": 1…, "previous": SHA-256 of the entry before,
     "schema": "govsec.ledger.v1", "written": time}

It lies at ``govsec/ledger/<chain>/<number:012d>``. A chain belongs to one evidence key: sites sign with keys of their
own and cannot all reach each other, so each continues its own chain and nobody forks another's. The name holds no
digest on purpose: two writers that continue the same head want the same name, and a conditional put lets one of them
win. What an entry's bytes were is held by the ``previous`` of the next one.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from govsec import canonical
from govsec.clock import format_time
from govsec.config import explain
from govsec.crypto.document import open_document, sign_document
from govsec.crypto.signing import Purpose, Signer, TrustedKeys
from govsec.errors import FormatError, IntegrityError
from govsec.records import Evidence, Moment

PREFIX = "govsec/ledger/"
SCHEMA = "govsec.ledger.v1"
#: What the first entry of a chain names as the one before it.
NO_PREVIOUS = "0" * 64
#: A drill result takes some tens of kilobytes; the longest that one can be, every list and text full, fits as well.
ENTRY_SIZE_MAX = 4 << 20
NUMBER_MAX = 10**12 - 1
_NAME = re.compile(r"govsec/ledger/([A-Za-z0-9_][A-Za-z0-9_=-]{0,127})/([0-9]{12})")


@dataclass(frozen=True, slots=True)
class Entry:
    """An authentic entry. ``held_by`` names the centers known to hold it."""

    chain: str
    number: int
    previous: str
    digest: str
    written: datetime
    evidence: Evidence
    held_by: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Head:
    """The last entry of a chain: what a person writes down to find a truncation of all copies later."""

    chain: str
    number: int
    digest: str


class _Body(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_: Literal["govsec.ledger.v1"] = Field(alias="schema")
    chain: str
    number: int = Field(ge=1, le=NUMBER_MAX)
    previous: str = Field(pattern=r"^[0-9a-f]{64}$")
    written: Moment
    evidence: Evidence


def entry_name(chain: str, number: int) -> str:
    """The object name of entry ``number`` of ``chain``."""
    return f"{PREFIX}{chain}/{number:012d}"


def parse_name(name: str) -> tuple[str, int] | None:
    """Chain and number that an object name stands for, None when it is no entry's name."""
    match = _NAME.fullmatch(name)
    if match is None or int(match[2]) == 0:
        return None
    return match[1], int(match[2])


def digest_of(data: bytes) -> str:
    """What the next entry calls this one: SHA-256 over the stored bytes, in hex."""
    return hashlib.sha256(data).hexdigest()


def encode(signer: Signer, number: int, previous: str, written: datetime, evidence: Evidence) -> bytes:
    """The signed bytes of an entry.

    Raises:
        FormatError: the evidence has no canonical form, or is larger than an entry may be.
    """
    body: dict[str, object] = {
        "schema": SCHEMA,
        "chain": signer.key_id,
        "number": number,
        "previous": previous,
        "written": format_time(written),
        "evidence": evidence.canonical(),
    }
    try:
        data = sign_document(signer, body)
    except ValueError as error:
        raise FormatError(f"evidence {evidence.kind} of {evidence.subject} has no canonical form: {error}") from error
    if len(data) > ENTRY_SIZE_MAX:
        raise FormatError(f"evidence {evidence.kind} takes {len(data)} bytes, an entry holds {ENTRY_SIZE_MAX}")
    return data


def decode(trusted: TrustedKeys, data: bytes) -> Entry:
    """The entry in ``data``, when a pinned evidence key signed it for its own chain.

    Raises:
        IntegrityError: not signed by a pinned key, or signed into another key's chain.
        FormatError: signed, but not an entry of this version.
    """
    raw = open_document(trusted, Purpose.EVIDENCE, data)
    try:
        body = _Body.model_validate(raw)
    except ValidationError as error:
        raise FormatError(f"ledger entry: {explain(error)}") from error
    envelope = canonical.loads(data)
    assert isinstance(envelope, dict)  # open_document has taken it apart already
    if envelope["key"] != body.chain:
        raise IntegrityError(f"ledger entry of chain {body.chain} is signed by key {envelope['key']}")
    return Entry(body.chain, body.number, body.previous, digest_of(data), body.written, body.evidence)
