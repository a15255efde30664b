"""Facts of one host: what each probe found, or why it found nothing. The file between collecting and judging.

Facts are plain values, frozen, with one canonical form; nothing here touches a host or judges. An outcome that is not
``ok`` has no value, so a check that needs it cannot pass by accident:

======== ============================================================================================
ok       the probe looked and has an answer (which may say "none": an empty list is an answer)
absent   the thing looked for is not on this host (no such file, software not installed)
denied   it is there, and may not be looked at (not root and no sudo; a path on the list of secrets)
timeout  a command on the host, or the host, took longer than its limit
error    the answer is missing, cut, not what was expected, or the tool to ask with is not there
======== ============================================================================================
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator

from govsec.canonical import dumps
from govsec.errors import FormatError, LimitError
from govsec.records import Moment

#: A host with every probe and a thousand accounts needs about one megabyte.
FACTS_SIZE_MAX = 32 << 20
REASON_LENGTH_MAX = 500
EXCERPT_LENGTH_MAX = 2000

OutcomeStatus: TypeAlias = Literal["ok", "absent", "denied", "timeout", "error"]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ProbeOutcome(_Frozen):
    """What one probe found."""

    kind: str = Field(max_length=40)
    status: OutcomeStatus
    #: The fact, in the shape of the probe's docstring; None unless ``status`` is ``ok``.
    value: JsonValue = None
    #: One English sentence why there is no value.
    reason: str = Field(default="", max_length=REASON_LENGTH_MAX)
    #: Time on the host, as its own clock of 10 ms steps counts it.
    duration_ms: int = Field(default=0, ge=0)
    #: Over the digests of the answers that the host sent for this probe (it had cut secrets out of them).
    raw_sha256: Digest | None = None
    #: The beginning of those answers, for a person; secrets cut out once more.
    raw_excerpt: str = Field(default="", max_length=EXCERPT_LENGTH_MAX)
    #: A line that a person can run to see the same (``byhand.py``).
    command: str = Field(default="", max_length=REASON_LENGTH_MAX)
    #: When it was found, where that is not ``Facts.collected`` (a walk of yesterday).
    found: Moment | None = None

    @model_validator(mode="after")
    def _has_a_value_only_when_ok(self) -> ProbeOutcome:
        if (self.status == "ok") != (self.value is not None):
            raise ValueError("an outcome has a value when, and only when, it is ok")
        return self


class Platform(_Frozen):
    """What kind of host it is. Empty text where the host does not say."""

    os_id: str = Field(default="", max_length=60)  #: ID of os-release: debian, ubuntu, openEuler, kylin, uos, rhel …
    os_like: tuple[Annotated[str, Field(max_length=60)], ...] = Field(default=(), max_length=20)
    version: str = Field(default="", max_length=100)  #: VERSION_ID
    pretty_name: str = Field(default="", max_length=200)
    kernel: str = Field(default="", max_length=200)  #: uname -r
    arch: str = Field(default="", max_length=60)  #: uname -m
    container: bool = False
    init: Literal["systemd", "sysv", "openrc", "none"] = "none"
    hostname: str = Field(default="", max_length=255)
    root: bool = False  #: whether probes that need root were answered


class Facts(_Frozen):
    """Everything that one run found on one host."""

    format: Literal[1] = 1
    host: str = Field(min_length=1, max_length=255)  #: the name in the configuration, not what the host calls itself
    collected: Moment
    collector: str = Field(max_length=60)  #: version of govsec
    transport: str = Field(default="local", max_length=60)
    #: Host's clock minus ours, in seconds; None when it was imported from a file.
    clock_offset_s: float | None = None
    platform: Platform = Field(default_factory=Platform)
    #: By ``probe.identity``.
    outcomes: Mapping[Digest, ProbeOutcome] = Field(default_factory=dict)

    def canonical(self) -> dict[str, JsonValue]:
        """The facts as plain JSON values, ready for :func:`govsec.canonical.dumps`."""
        value: dict[str, JsonValue] = self.model_dump(mode="json")
        return value

    def dump(self) -> bytes:
        """The canonical bytes; equal facts, equal bytes."""
        return dumps(self.canonical())


def load_facts(data: bytes) -> Facts:
    """The facts in ``data``.

    Raises:
        LimitError: larger than any host's facts.
        FormatError: not JSON, or not facts of a version that this govsec knows.
    """
    if len(data) > FACTS_SIZE_MAX:
        raise LimitError(f"facts of {len(data)} bytes; at most {FACTS_SIZE_MAX} are read")
    try:
        return Facts.model_validate(json.loads(data))
    except ValidationError as error:
        first = error.errors()[0]
        raise FormatError(f"not facts: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    except (ValueError, RecursionError) as error:
        raise FormatError("not facts: not JSON") from error
