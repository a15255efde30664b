"""The trial of the way from a sensor to a person: what a self-test raised, which channel told whom, who took it on.

One idea: the notice carries a code that stands nowhere else. Who acknowledges the trial gives the code back and signs
with a key of their own, so it shows that the notice was read by a person whom somebody pinned, not that a channel said
yes. Both halves are evidence for the ledger; neither is ever changed, and a trial that nobody took on stays on record.

Kept are digests: of the canaries in the agent's spool, of the notice, of the code. The code itself is given away by the
acknowledgement alone, when it is worth nothing any more, so that anybody can hold it against the digest.
"""

from __future__ import annotations

import hashlib
import secrets
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from govsec.config import explain
from govsec.errors import FormatError
from govsec.records import Moment

TRIAL_KIND = "notice.trial"
ACKNOWLEDGED_KIND = "notice.acknowledged"
#: Kind of the notice that carries the code.
NOTICE_KIND = "notify.trial"
#: Crockford's digits: none is taken for another when it is read out on the telephone.
_DIGITS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_CODE_LENGTH = 12
_LISTED_MAX = 64
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_Short = Annotated[str, Field(max_length=500)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Canary(_Part):
    """What a module's canary became in the spool."""

    module: _Short
    sequence: int = Field(ge=1)
    digest: Digest


class Specimen(_Part):
    """A finding of the sensor that says who did what to whom and when, as it lies in the spool."""

    kind: _Short
    time: Moment
    originator: _Short
    responder: _Short
    sequence: int = Field(ge=1)
    digest: Digest


class Delivery(_Part):
    """What became of the notice on one channel. ``unknown``: the protocol has no answer. ``failed``: not taken."""

    channel: _Short
    state: Literal["accepted", "delivered", "unknown", "failed"]
    time: Moment | None = None
    number: _Short = ""
    error: _Short = ""


class Trial(_Part):
    """One trial, as the ledger has it."""

    schema_: Literal["govsec.trial.v1"] = Field(default="govsec.trial.v1", alias="schema")
    id: str = Field(pattern=r"^[0-9]{8}T[0-9]{6}Z-[0-9a-f]{8}$")
    agent: Literal["host", "network"]
    #: The host of the register that the agent runs on, as the configuration calls it.
    host: _Short
    #: What that machine calls itself, so that a reader sees a trial of one that stands for another.
    machine: _Short
    began: Moment
    ended: Moment
    #: The self-test: every module's canary came back from the spool.
    is_passed: bool
    failed: dict[_Short, _Short] = Field(default_factory=dict, max_length=_LISTED_MAX)
    #: The life of the spool that the sequences count in.
    epoch: _Short
    canaries: tuple[Canary, ...] = Field(default=(), max_length=_LISTED_MAX)
    specimen: Specimen | None = None
    notice_sha256: Digest
    code_sha256: Digest
    deliveries: tuple[Delivery, ...] = Field(default=(), max_length=_LISTED_MAX)

    @property
    def is_delivered(self) -> bool:
        """True when a far side said that it has the notice."""
        return any(delivery.state in ("accepted", "delivered") for delivery in self.deliveries)

    def canonical(self) -> dict[str, JsonValue]:
        """Plain JSON values for the ledger."""
        value: dict[str, JsonValue] = self.model_dump(mode="json", by_alias=True)
        return value


class CaseRef(_Part):
    """The case that came of it: its level was confirmed by a person, and its chain ended with ``head`` then."""

    id: _Short
    head: Digest
    level: _Short
    confirmed_by: _Short = Field(min_length=1)


class Acknowledgement(_Part):
    """What a person signs."""

    schema_: Literal["govsec.acknowledgement.v1"] = Field(default="govsec.acknowledgement.v1", alias="schema")
    trial: str
    #: Digest of the ledger's entry that has the trial.
    entry: Digest
    by: _Short = Field(min_length=1)
    time: Moment
    code: _Short
    case: CaseRef | None = None

    def canonical(self) -> dict[str, JsonValue]:
        """Plain JSON values, to be signed."""
        value: dict[str, JsonValue] = self.model_dump(mode="json", by_alias=True)
        return value


def new_code() -> str:
    """Sixty bits that a person can read out: ``ABCD-EFGH-JKMN``."""
    digits = "".join(secrets.choice(_DIGITS) for _ in range(_CODE_LENGTH))
    return "-".join(digits[start : start + 4] for start in range(0, _CODE_LENGTH, 4))


def code_sha256(trial_id: str, code: str) -> str:
    """The digest of a code as people write it: without a look at blanks, hyphens and small letters."""
    plain = "".join(letter for letter in code.upper() if letter.isalnum())
    return hashlib.sha256(f"{trial_id}\0{plain}".encode()).hexdigest()


def parse_trial(value: object) -> Trial:
    """The trial in the facts of an entry. Raises ``FormatError``."""
    try:
        return Trial.model_validate(value)
    except ValidationError as error:
        raise FormatError(f"trial: {explain(error)}") from error


def parse_acknowledgement(value: object) -> Acknowledgement:
    """What a person signed. Raises ``FormatError``."""
    try:
        return Acknowledgement.model_validate(value)
    except ValidationError as error:
        raise FormatError(f"acknowledgement: {explain(error)}") from error
