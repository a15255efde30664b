"""Playbooks as data: which kind of finding proposes which deeds, with which arguments, for how long, approved by whom.

A finding carries no deeds; a playbook reads them out of it. An argument is a value, or ``{fact: path}``: a part of the
finding's facts (``processes.0.pid``, numbers are places in lists), or ``subject``. One fact that is a list proposes one
deed for each of its entries, ``each_max`` at most. What a finding does not say in the right form proposes nothing, and
the run says why.

Playbooks that did not come with govsec are signed by a pinned pack key: beside ``FILE`` lies ``FILE.signature``, a
signed document with the body ``{"playbook": id, "schema": "govsec.playbook.v1", "sha256", "version"}``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, JsonValue, StringConstraints, ValidationError, model_validator

from govsec.config import Model
from govsec.crypto.document import open_document, sign_document
from govsec.crypto.signing import Purpose, Signer, TrustedKeys
from govsec.datafile import Text
from govsec.errors import ConfigurationError, IntegrityError
from govsec.localfile import read_bounded
from govsec.records import Finding, Severity
from govsec.response.verbs import DAY_S, VERBS
from govsec.shipped import shipped
from govsec.yamllines import SIZE_MAX, read_document

SCHEMA = "govsec.playbook.v1"
SIGNATURE_ENDING = ".signature"
_SIGNATURE_MAX = 16 << 10
_Id = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,39}$")]
#: A kind of findings, or all that begin so: ``net.scan.*``.
_KindPattern = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*\.(\*|[a-z][a-z0-9_]*)$")]
_SeverityName = Literal["info", "low", "medium", "high", "critical"]
_FACT_STEPS_MAX = 8


class FromFinding(Model):
    """A part of the finding."""

    fact: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*(\.[a-z0-9_]+)*$", max_length=200)]

    def read(self, finding: Finding) -> JsonValue:
        """What the finding says there; None when it says nothing."""
        value: JsonValue = dict(finding.facts) | {"subject": finding.subject}
        for step in self.fact.split(".")[:_FACT_STEPS_MAX]:
            if isinstance(value, Mapping):
                value = value.get(step)
            elif isinstance(value, list) and step.isdigit() and int(step) < len(value):
                value = value[int(step)]
            else:
                return None
        return value


class PlannedAction(Model):
    """One deed that a playbook proposes."""

    verb: str
    arguments: Mapping[str, FromFinding | int | str] = Field(default_factory=dict, max_length=20)
    #: Persons who must approve; not fewer than the verb asks for.
    approvals: int | None = Field(default=None, ge=0, le=5)
    #: A proposal that nobody has approved by then lapses.
    approve_within_s: int = Field(default=3600, ge=60, le=DAY_S)
    each_max: int = Field(default=8, ge=1, le=64)

    @model_validator(mode="after")
    def _fits_its_verb(self) -> Self:
        kind = VERBS.get(self.verb)
        if kind is None:
            raise ValueError(f"verb {self.verb}: there are {', '.join(VERBS)}")
        known = kind.arguments.model_fields
        needed = {name for name, field in known.items() if field.is_required()}
        if not needed <= set(self.arguments) <= set(known):
            raise ValueError(f"{self.verb} takes {', '.join(sorted(needed))}")
        if self.approvals is not None and self.approvals < kind.approvals_min:
            raise ValueError(f"{self.verb} needs the approval of {kind.approvals_min} persons at least")
        fixed = {name: value for name, value in self.arguments.items() if not isinstance(value, FromFinding)}
        try:
            kind.arguments.model_validate(fixed)
        except ValidationError as error:
            wrong = [each for each in error.errors() if each["loc"] and str(each["loc"][0]) in fixed]
            if wrong:
                raise ValueError(f"{self.verb}: {wrong[0]['loc'][0]}: {wrong[0]['msg']}") from error
        return self

    @property
    def approvals_needed(self) -> int:
        """How many persons must approve."""
        return VERBS[self.verb].approvals_min if self.approvals is None else self.approvals


class When(Model):
    """Which findings it is for."""

    kinds: tuple[_KindPattern, ...] = Field(min_length=1, max_length=100)
    severity_min: _SeverityName = "high"


class Playbook(Model):
    """One playbook."""

    version: int = Field(ge=1, le=1_000_000)
    id: _Id
    title: Text
    why: Text
    when: When
    #: The same subject is not proposed for again within this time.
    repeat_after_s: int = Field(default=3600, ge=0, le=30 * DAY_S)
    actions: tuple[PlannedAction, ...] = Field(min_length=1, max_length=20)

    @model_validator(mode="after")
    def _says_each_once(self) -> Self:
        seen = [(action.verb, repr(sorted(action.arguments.items()))) for action in self.actions]
        if len(set(seen)) != len(seen):
            raise ValueError("a deed is proposed twice")
        return self

    def fits(self, finding: Finding) -> bool:
        """Whether it is for this finding."""
        if finding.severity < Severity[self.when.severity_min.upper()]:
            return False
        return any(
            finding.kind == pattern or (pattern.endswith(".*") and finding.kind.startswith(pattern[:-1]))
            for pattern in self.when.kinds
        )


@dataclass(frozen=True, slots=True)
class Loaded:
    """A playbook with the digest of its file and the key that signed it; no key for what came with govsec."""

    playbook: Playbook
    sha256: str
    signed_by: str = ""


@dataclass(frozen=True, slots=True)
class Proposal:
    """One deed with its arguments; ``problem`` says why there is none."""

    action: PlannedAction
    arguments: Mapping[str, str | int]
    problem: str = ""


def propose(playbook: Playbook, finding: Finding) -> Iterator[Proposal]:
    """What the playbook proposes for the finding, in its order; also what it cannot, with the reason."""
    for action in playbook.actions:
        values = {
            name: value.read(finding) if isinstance(value, FromFinding) else value
            for name, value in action.arguments.items()
        }
        lists = [name for name, value in values.items() if isinstance(value, list)]
        if not lists:
            yield _proposal(action, values)
            continue
        name, entries = lists[0], values[lists[0]]
        assert isinstance(entries, list)  # it was among the lists
        for entry in list(dict.fromkeys(map(str, entries)))[: action.each_max]:
            yield _proposal(action, {**values, name: entry})
        if len(entries) > action.each_max or not entries:
            yield Proposal(action, {}, f"{name}: {len(entries)} entries, of which {action.each_max} at most are taken")


def _proposal(action: PlannedAction, values: Mapping[str, JsonValue]) -> Proposal:
    try:
        found = VERBS[action.verb].arguments.model_validate(dict(values))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        return Proposal(action, {}, f"the finding does not say {where} as {action.verb} takes it: {first['msg']}")
    return Proposal(action, found.model_dump())


def read_playbook(data: bytes, name: str) -> Playbook:
    """The playbook in ``data``. Raises ``ConfigurationError`` with file and line, and what is wrong there."""
    document = read_document(data, name)
    try:
        return Playbook.model_validate(document.value)
    except ValidationError as error:
        raise ConfigurationError(document.explain(error)) from error


def shipped_playbooks() -> tuple[Loaded, ...]:
    """Those that came with govsec, by name. Raises ``ConfigurationError``."""
    files = sorted(shipped("playbooks").iterdir(), key=lambda file: file.name)
    return tuple(_loaded(file.read_bytes(), file.name, "") for file in files if file.name.endswith(".yaml"))


def load_playbook(path: Path, trusted: TrustedKeys) -> Loaded:
    """A playbook of the site, when a pinned pack key signed exactly this file.

    Raises:
        ConfigurationError: it cannot be read, is not signed, or is no playbook.
        IntegrityError: signed by nobody who is pinned, or altered since.
    """
    beside = path.with_name(path.name + SIGNATURE_ENDING)
    try:
        data, signature = read_bounded(path, SIZE_MAX), read_bounded(beside, _SIGNATURE_MAX)
    except OSError as error:
        raise ConfigurationError(f"playbook {path}: {error.filename or path}: {error.strerror}") from error
    try:
        body = open_document(trusted, Purpose.PACK, signature, size_max=_SIGNATURE_MAX)
    except IntegrityError as error:
        raise IntegrityError(f"playbook {path}: {beside.name}: {error}") from error
    loaded = _loaded(data, str(path), str(json.loads(signature)["key"]))
    said = {
        "playbook": loaded.playbook.id,
        "schema": SCHEMA,
        "sha256": loaded.sha256,
        "version": loaded.playbook.version,
    }
    if body != said:
        raise IntegrityError(f"playbook {path}: was altered since it was signed, or the signature is for another")
    return loaded


def sign_playbook(data: bytes, name: str, signer: Signer) -> bytes:
    """What to write beside the file. Raises ``ConfigurationError``: no playbook, or a key for something else."""
    if signer.purpose is not Purpose.PACK:
        raise ConfigurationError(f"signing a playbook needs a key for {Purpose.PACK.value}")
    loaded = _loaded(data, name, "")
    body = {
        "playbook": loaded.playbook.id,
        "schema": SCHEMA,
        "sha256": loaded.sha256,
        "version": loaded.playbook.version,
    }
    return sign_document(signer, body)


def lint(playbooks: Sequence[Loaded]) -> None:
    """Return when they go together. Raises ``ConfigurationError``: two of one id."""
    ids = [loaded.playbook.id for loaded in playbooks]
    for name in {name for name in ids if ids.count(name) > 1}:
        raise ConfigurationError(f"playbook {name}: there are two of this id")


def _loaded(data: bytes, name: str, signed_by: str) -> Loaded:
    return Loaded(read_playbook(data, name), hashlib.sha256(data).hexdigest(), signed_by)
