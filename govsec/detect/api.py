"""What a detector is given and what it gives: ``Observation``, ``Detector``, ``Settings``, ``Losses``.

One idea: a detector is a fold over observations. It holds bounded state, reads time from what it is given, and gives
findings; it knows nothing of files, clocks or other detectors. Whatever it had to leave out it counts in ``state()``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from pydantic import Field

from govsec.config import Model
from govsec.dissect.messages import Message
from govsec.net.columns import FlowUpdate, PacketBatch
from govsec.records import Finding


class Settings(Model):
    """What every detector can be told; each adds its thresholds, with the reason for each default."""

    enabled: bool = True
    cooldown_s: int = Field(
        default=3600, ge=0, description="the same pattern is told again after this long, of event time"
    )


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


class Detector(Protocol):
    """Looks for one kind of behaviour."""

    name: str
    #: Of event time; for as long a pattern that was told is not told again.
    cooldown_s: int

    def observe(self, observation: Observation) -> Iterable[Finding]:
        """Take one batch; gives what is now sure, with the pattern in ``facts``."""
        ...

    def finish(self, time_ns: int) -> Iterable[Finding]:
        """No more packets come; gives what is due."""
        ...

    def state(self) -> Mapping[str, int]:
        """Sizes of its tables and counts of what it had to leave out."""
        ...
