"""One packet, or the first packets of one flow, taken apart by scapy for a person to read.

One idea: scapy knows the odd protocols and is not to be trusted with hostile bytes, so it reads in a process of its own
with limits (:mod:`govsec.net.explainchild`); what comes back is checked like any foreign input. A packet at which that
process dies is said to be one that could not be read, and the next is tried in a new process.

Which packets: by number, counted from 1 as other tools do, or by flow, as a community id or as
``192.0.2.1:5000-198.51.100.2:53/udp`` (both directions; IPv6 addresses in brackets). Words are in the catalogue
``explain``.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from govsec.errors import ConfigurationError, UsageError
from govsec.net import addresses
from govsec.net.capturefile import CaptureFile
from govsec.net.columns import Bools, PacketBatch, Protocol
from govsec.net.community import community_ids
from govsec.net.flows import FlowTable

#: Packets of a flow that are shown when no number is given.
PACKETS_DEFAULT = 10
PACKETS_MAX = 200
#: For all packets of a call, on a busy machine with a slow disk; processor time is limited by the child itself.
_ANSWER_WALL_S = 60.0
_RESTARTS_MAX = 3
_LINE_MAX = 4 << 20
_FRAME_MAX = 65_536
_NO_SCAPY = 3
_CHILD = Path(__file__).with_name("explainchild.py")
_PROTOCOLS = {"tcp": Protocol.TCP, "udp": Protocol.UDP}
_TUPLE = re.compile(r"(?P<one>.+):(?P<one_port>\d{1,5})-(?P<other>.+):(?P<other_port>\d{1,5})/(?P<protocol>tcp|udp)")


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Layer(_Answer):
    """A protocol in the packet, with its fields as scapy writes them; all text is the network's, not ours."""

    name: str = Field(max_length=200)
    size: int = Field(ge=0)
    fields: tuple[tuple[str, str], ...] = Field(max_length=100)


class _Explanation(_Answer):
    layers: tuple[Layer, ...] = Field(max_length=100)
    notes: tuple[tuple[str, dict[str, str]], ...] = Field(max_length=200)


@dataclass(frozen=True, slots=True)
class PickedPacket:
    """A packet of a capture; ``number`` counts from 1."""

    number: int
    time_ns: int
    link_type: int
    wire_size: int
    data: bytes


@dataclass(frozen=True, slots=True)
class ExplainedPacket:
    """What is in it. ``notes``: codes of the catalogue with what is put into them. Nothing of both: not readable."""

    packet: PickedPacket
    layers: tuple[Layer, ...] = ()
    notes: tuple[tuple[str, dict[str, str]], ...] = ()
    is_readable: bool = True


def pick_packet(path: Path, number: int) -> PickedPacket:
    """The packet with this number, from 1.

    Raises:
        UsageError: the capture has fewer.
        ConfigurationError, FormatError: as :class:`~govsec.net.capturefile.CaptureFile`.
    """
    count = 0
    for batch in CaptureFile(path).batches():
        if number - 1 < count + len(batch):
            return _picked(batch, number - 1 - count, number)
        count += len(batch)
    raise UsageError(f"{path} has {count} packets, and no number {number}")


def pick_flow(path: Path, flow: str, *, count_max: int = PACKETS_DEFAULT) -> tuple[PickedPacket, ...]:
    """The first packets of the flow, both directions.

    Raises:
        UsageError: ``flow`` is no community id and no pair of ends, or the capture has no such flow.
        ConfigurationError, FormatError: as :class:`~govsec.net.capturefile.CaptureFile`.
    """
    table, wanted = FlowTable(), _ends(flow)
    if wanted is None and not flow.startswith("1:"):
        raise UsageError(f"{flow!r} is no flow: give a community id (1:…) or ADDRESS:PORT-ADDRESS:PORT/tcp")
    found: list[PickedPacket] = []
    ids: set[int] = set()
    count = 0
    for batch in CaptureFile(path).batches():
        if wanted is not None:
            mask = _is_between(batch, *wanted)
        else:
            update = table.add(batch)
            names = community_ids(update.opened)
            ids |= {int(row["id"]) for row, name in zip(update.opened, names, strict=True) if name == flow}
            mask = np.isin(update.flow, np.array(sorted(ids), np.uint64))
        for index in np.flatnonzero(mask).tolist():
            found.append(_picked(batch, index, count + index + 1))
            if len(found) >= min(count_max, PACKETS_MAX):
                return tuple(found)
        count += len(batch)
    if not found:
        raise UsageError(f"{path} has no flow {flow}")
    return tuple(found)


def explain(packets: Sequence[PickedPacket]) -> tuple[ExplainedPacket, ...]:
    """Each packet taken apart, in the order given.

    Raises:
        ConfigurationError: scapy is not installed.
    """
    explained: list[ExplainedPacket] = []
    for _ in range(_RESTARTS_MAX):
        left = packets[len(explained) :]
        if not left:
            break
        explained += _answers(left)
        if len(explained) < len(packets):
            explained.append(ExplainedPacket(packets[len(explained)], is_readable=False))
    return (*explained, *(ExplainedPacket(packet, is_readable=False) for packet in packets[len(explained) :]))


def _answers(packets: Sequence[PickedPacket]) -> Iterable[ExplainedPacket]:
    """As many as one process gives before it dies."""
    requests = (json.dumps({"link_type": each.link_type, "data": each.data.hex()}) + "\n" for each in packets)
    environment = {"PATH": os.environ.get("PATH", ""), "HOME": "/nonexistent"}
    process = subprocess.Popen(
        [sys.executable, "-I", str(_CHILD)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
    )
    try:
        out, _ = process.communicate("".join(requests).encode(), timeout=_ANSWER_WALL_S)
    except subprocess.TimeoutExpired:
        process.kill()
        out, _ = process.communicate()
    if process.returncode == _NO_SCAPY:
        raise ConfigurationError("scapy is not installed; it comes with: pip install 'govsec[explain]'")
    answers = []
    for packet, line in zip(packets, out.splitlines(), strict=False):
        with suppress(ValidationError):
            if len(line) <= _LINE_MAX:
                answer = _Explanation.model_validate_json(line)
                notes = _cut_note(packet) + answer.notes
                answers.append(ExplainedPacket(packet, answer.layers, notes))
                continue
        break
    return answers


def _cut_note(packet: PickedPacket) -> tuple[tuple[str, dict[str, str]], ...]:
    if len(packet.data) >= packet.wire_size:
        return ()
    return (("packet.cut", {"captured": str(len(packet.data)), "wire": str(packet.wire_size)}),)


def _picked(batch: PacketBatch, index: int, number: int) -> PickedPacket:
    return PickedPacket(
        number=number,
        time_ns=int(batch.time_ns[index]),
        link_type=int(batch.link_type[index]),
        wire_size=int(batch.wire_size[index]),
        data=bytes(batch.frame(index)[:_FRAME_MAX]),
    )


@dataclass(frozen=True, slots=True)
class _End:
    hi: int
    lo: int
    port: int


def _ends(flow: str) -> tuple[_End, _End, int] | None:
    match = _TUPLE.fullmatch(flow.strip().lower())
    if match is None:
        return None
    ends = []
    for name in ("one", "other"):
        try:
            hi, lo = addresses.parse(match[name].strip("[]"))
        except ConfigurationError as error:
            raise UsageError(f"{flow!r} is no flow: {error}") from error
        port = int(match[f"{name}_port"])
        if port > 0xFFFF:
            raise UsageError(f"{flow!r} is no flow: there is no port {port}")
        ends.append(_End(hi, lo, port))
    return ends[0], ends[1], int(_PROTOCOLS[match["protocol"]])


def _is_between(batch: PacketBatch, one: _End, other: _End, protocol: int) -> Bools:
    both: Bools = (_goes(batch, one, other) | _goes(batch, other, one)) & (batch.protocol == protocol)
    return both


def _goes(batch: PacketBatch, source: _End, target: _End) -> Bools:
    is_source = (batch.source_hi == np.uint64(source.hi)) & (batch.source_lo == np.uint64(source.lo))
    is_target = (batch.target_hi == np.uint64(target.hi)) & (batch.target_lo == np.uint64(target.lo))
    goes: Bools = is_source & is_target & (batch.source_port == source.port) & (batch.target_port == target.port)
    return goes
