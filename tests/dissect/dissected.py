"""From frames to messages in a test: decoding, a flow table made by hand, the dissector.

The table is the plainest there is (a dictionary, nothing ever ends unless the test says so), so that a test of what is
said on flows depends on nothing else of the sensor.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from govsec.dissect.dissect import Dissector
from govsec.dissect.messages import Message
from govsec.net.capturefile import CaptureFile
from govsec.net.columns import FLOW, FlowEnd, FlowRecords, FlowUpdate, PacketBatch
from govsec.net.decode import Frames, decode
from govsec.net.gather import SLACK
from govsec.testing.packets import Frame

M = TypeVar("M", bound=Message)


class HandFlows:
    """Flow ids by order of first packet; whoever sent it is the originator."""

    def __init__(self) -> None:
        self._ids: dict[tuple[object, ...], tuple[int, bool]] = {}

    def add(self, batch: PacketBatch, *, closed: FlowRecords | None = None) -> FlowUpdate:
        ids = np.zeros(len(batch), np.uint64)
        is_originator = np.zeros(len(batch), np.bool_)
        for at in range(len(batch)):
            if not batch.ip_version[at]:
                continue
            source = (int(batch.source_hi[at]), int(batch.source_lo[at]), int(batch.source_port[at]))
            target = (int(batch.target_hi[at]), int(batch.target_lo[at]), int(batch.target_port[at]))
            protocol = int(batch.protocol[at])
            if (source, target, protocol) not in self._ids:
                number = len(self._ids) // 2 + 1
                self._ids[target, source, protocol] = (number, False)
                self._ids[source, target, protocol] = (number, True)
            ids[at], is_originator[at] = self._ids[source, target, protocol]
        none = np.zeros(0, FLOW)
        time_ns = int(batch.time_ns[-1]) if len(batch) else 0
        return FlowUpdate(ids, is_originator, none, none, none if closed is None else closed, time_ns)


def closed_flow(flow: int, end_ns: int) -> FlowRecords:
    """The row of a flow that ended."""
    row = np.zeros(1, FLOW)
    row["id"], row["end_ns"], row["end"] = flow, end_ns, FlowEnd.IDLE
    return row


def batches_of(frames: Iterable[Frame], *, size: int = 4096, snap: int = 65_535) -> Iterator[PacketBatch]:
    """The frames as batches of ``size``, each frame cut off behind ``snap`` bytes."""
    listed = list(frames)
    for begin in range(0, len(listed), size):
        part = listed[begin : begin + size]
        captured = [min(len(frame.data), snap) for frame in part]
        offsets = np.concatenate(([0], np.cumsum(captured)[:-1])).astype(np.int64)
        data = b"".join(frame.data[:snap] for frame in part) + bytes(SLACK)
        yield decode(
            Frames(
                memoryview(data),
                offsets,
                np.array(captured, np.uint32),
                np.array([len(frame.data) for frame in part], np.uint32),
                np.array([frame.time_ns for frame in part], np.int64),
                np.arange(begin, begin + len(part)).astype(np.uint64),
                None,
            )
        )


def dissect(
    frames: Iterable[Frame], *, size: int = 4096, snap: int = 65_535, dissector: Dissector | None = None
) -> list[Message]:
    """All messages in ``frames``."""
    dissector, flows = dissector or Dissector(), HandFlows()
    messages: list[Message] = []
    for batch in batches_of(frames, size=size, snap=snap):
        messages += dissector.observe(batch, flows.add(batch))
    return messages


def dissect_file(path: Path) -> tuple[list[Message], dict[str, int]]:
    """All messages in a capture file, and the dissector's counters."""
    dissector, flows = Dissector(), HandFlows()
    messages: list[Message] = []
    for batch in CaptureFile(path).batches():
        messages += dissector.observe(batch, flows.add(batch))
    return messages, dissector.counters


def only(messages: Sequence[Message], kind: type[M]) -> list[M]:
    """Those of one kind."""
    return [message for message in messages if isinstance(message, kind)]
