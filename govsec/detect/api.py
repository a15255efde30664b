"""What a detector of the network is given: ``Observation``, ``Losses``; and what is fed beside it: ``Sink``.

What a detector is stands in :mod:`govsec.findings.api`: a fold over observations.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np

from govsec.dissect.messages import Message
from govsec.findings import api as findings
from govsec.net.columns import FlowUpdate, PacketBatch
from govsec.records import Finding


@dataclass(frozen=True, slots=True)
class Losses:
    """What the sensor received and lost so far, counted since it started; 0 where a source cannot tell."""

    packets_received: int = 0
    #: Lost before they could be read: the ring or the kernel was full.
    packets_dropped: int = 0
    flows_evicted: int = 0
    #: Bytes of protocols that were too many to be put in order and read.
    messages_cut: int = 0
    #: Batches whose conversations were not read at all, so that packets need not be dropped.
    batches_not_dissected: int = 0


@dataclass(frozen=True, slots=True)
class Observation:
    """One batch: its packets, what they did to the flows, and what was said.

    ``time_ns``: event time at the end of the batch, never falling. The rows and messages of all batches, put together,
    are the same wherever batches are cut, and a detector's findings must be too.
    """

    time_ns: int
    packets: PacketBatch
    flows: FlowUpdate
    messages: tuple[Message, ...] = ()
    losses: Losses = Losses()


class Sink(Protocol):
    """Is fed beside the detectors: other formats, reports, evidence, views."""

    def take(self, observation: Observation, findings: tuple[Finding, ...]) -> None:
        """One batch and what the detectors found in it. The last one has no packets, but the flows that were open."""
        ...


def at_end(last: PacketBatch, flows: FlowUpdate, losses: Losses) -> Observation:
    """What the flows that were still open at the end amount to: an observation without packets.

    ``last``: the last batch there was.
    """
    return Observation(flows.time_ns, last.take(np.zeros(0, dtype=np.intp)), flows, (), losses)


Detector: TypeAlias = findings.Detector[Observation]
