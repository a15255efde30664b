"""What goes between a module and its supervisor: one JSON object a packet, over a pair of unix sockets.

``SOCK_SEQPACKET`` keeps the borders of packets, so a module that sends nonsense (or half of something) spoils that
packet and no other. The supervisor takes no packet above :data:`PACKET_SIZE_MAX`, and nothing that does not fit one of
the models below.

A finding goes to the disk and is hashed there, so it is made fit for canonical JSON on the module's side
(:func:`storable`): text that is no Unicode (paths and process names are bytes) gets its odd bytes spelled out.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, TypeAdapter, ValidationError

from govsec import canonical
from govsec.errors import FormatError
from govsec.records import Finding

PACKET_SIZE_MAX = 64 << 10
#: Of a finding within its packet; its record on the disk has a few words more.
FINDING_SIZE_MAX = 60 << 10
_TEXT_KEPT_MAX = 2_000
_METRICS_MAX = 200
_DEPTH_MAX = 20
Word = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}$")]
MetricName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,79}$")]
LabelValue = Annotated[str, Field(max_length=200)]


class _Frame(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class AliveFrame(_Frame):
    """Work goes on."""

    what: Literal["alive"] = "alive"


class FindingFrame(_Frame):
    """A finding; ``cut`` when facts had to be left out."""

    what: Literal["finding"] = "finding"
    finding: Finding


class LostFrame(_Frame):
    """Records that were lost in the module or in its queue since the last such frame."""

    what: Literal["lost"] = "lost"
    stage: Word
    reason: Word
    count: int = Field(gt=0, le=canonical.INTEGER_MAX)


class Metric(_Frame):
    """One value of one metric, without the prefix that all have."""

    name: MetricName
    value: float = Field(allow_inf_nan=False)
    labels: Mapping[MetricName, LabelValue] = Field(default_factory=dict, max_length=8)


class MetricsFrame(_Frame):
    """What the module wants to be measured by."""

    what: Literal["metrics"] = "metrics"
    metrics: tuple[Metric, ...] = Field(max_length=_METRICS_MAX)


class CanaryFrame(_Frame):
    """Down: raise a canary finding with this nonce. Up: the module has seen it."""

    what: Literal["canary"] = "canary"
    nonce: str = Field(pattern=r"^[0-9a-f]{32}$")


class FailedFrame(_Frame):
    """Why the module ends."""

    what: Literal["failed"] = "failed"
    reason: str = Field(max_length=_TEXT_KEPT_MAX)


class KeptFrame(_Frame):
    """Up: say when all that came before this is on the disk. Down: everything before that number is."""

    what: Literal["kept"] = "kept"
    number: int = Field(gt=0, le=canonical.INTEGER_MAX)


class StopFrame(_Frame):
    """Down: end in order."""

    what: Literal["stop"] = "stop"


UpFrame = AliveFrame | FindingFrame | LostFrame | MetricsFrame | CanaryFrame | KeptFrame | FailedFrame
DownFrame = CanaryFrame | KeptFrame | StopFrame
_up: TypeAdapter[UpFrame] = TypeAdapter(Annotated[UpFrame, Field(discriminator="what")])
_down: TypeAdapter[DownFrame] = TypeAdapter(Annotated[DownFrame, Field(discriminator="what")])


def pack(frame: UpFrame | DownFrame) -> bytes:
    """The packet of a frame."""
    return json.dumps(frame.model_dump(mode="json"), separators=(",", ":")).encode()


def unpack_up(packet: bytes) -> UpFrame:
    """What a module sent. Raises ``FormatError``."""
    try:
        return _up.validate_json(packet)
    except ValidationError as error:
        raise FormatError(f"a packet of {len(packet)} bytes is no frame: {error.error_count()} faults") from error


def unpack_down(packet: bytes) -> DownFrame:
    """What the supervisor sent. Raises ``FormatError``."""
    try:
        return _down.validate_json(packet)
    except ValidationError as error:
        raise FormatError(f"a packet of {len(packet)} bytes is no frame: {error.error_count()} faults") from error


def storable(finding: Finding) -> Finding:
    """The finding in a form that can be stored and hashed, at most :data:`FINDING_SIZE_MAX` bytes.

    Facts that make it too large are left out, and ``facts_cut`` says so.
    """
    facts = {printable(name): _plain(value, 0) for name, value in finding.facts.items()}
    texts = {"subject": printable(finding.subject)[:500], "summary": printable(finding.summary)[:2_000]}
    fit = finding.model_copy(update={**texts, "facts": facts})
    if len(pack(FindingFrame(finding=fit))) <= FINDING_SIZE_MAX:
        return fit
    kept: dict[str, JsonValue] = {"facts_cut": len(facts)}
    for name in ("detector", "attack", "pattern", "measured"):  # what judging and dismissing need
        if name in facts and len(json.dumps(facts[name])) <= FINDING_SIZE_MAX // 16:
            kept[name] = facts[name]
    return fit.model_copy(update={"facts": kept})


def printable(text: str) -> str:
    """The text with lone surrogates (bytes that were no UTF-8) spelled out as ``\\udc80``."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def _plain(value: JsonValue, depth: int) -> JsonValue:
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return value if abs(value) <= canonical.INTEGER_MAX else str(value)
    if isinstance(value, float):
        has_form = math.isfinite(value) and (value == 0 or 1e-6 <= abs(value) <= canonical.INTEGER_MAX)
        return value if has_form else repr(value)
    if depth >= _DEPTH_MAX:
        return "…"
    if isinstance(value, Mapping):
        return {printable(str(name)): _plain(item, depth + 1) for name, item in value.items()}
    return [_plain(item, depth + 1) for item in value]
