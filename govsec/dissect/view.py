"""The packets of a batch that are read, one by one: their columns as Python's own numbers, their payloads as bytes.

One idea: a conversion of a whole column costs little, one of each of its numbers a lot. So what was chosen is converted
once, and whoever reads a packet asks by its place among the chosen.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from govsec.dissect.messages import FlowRef
from govsec.net import addresses
from govsec.net.columns import FlowUpdate, PacketBatch


class View:
    """The columns of the chosen packets as lists: one conversion for all is far cheaper than one for each."""

    def __init__(self, batch: PacketBatch, update: FlowUpdate, chosen: NDArray[np.intp]) -> None:
        def listed(column: NDArray[np.generic]) -> list[int]:
            values: list[int] = column[chosen].tolist()
            return values

        start = batch.frame_offset[chosen] + batch.payload_offset[chosen].astype(np.int64)
        self.start: list[int] = start.tolist()
        self.end: list[int] = (start + batch.payload_size[chosen]).tolist()
        self.data = batch.data
        self.time_ns = listed(batch.time_ns)
        self.claimed = listed(batch.payload_claimed)
        self.vlan = listed(batch.vlan)
        self.ttl, self.fragment = listed(batch.ttl), listed(batch.fragment)
        self.mac_source, self.mac_target = listed(batch.mac_source), listed(batch.mac_target)
        self.source_hi, self.source_lo = listed(batch.source_hi), listed(batch.source_lo)
        self.target_hi, self.target_lo = listed(batch.target_hi), listed(batch.target_lo)
        self.source_port, self.target_port = listed(batch.source_port), listed(batch.target_port)
        self.protocol, self.tcp_flags = listed(batch.protocol), listed(batch.tcp_flags)
        self.id = listed(update.flow)
        # Without a flow the sender of the packet stands in for the originator.
        is_originator = update.is_originator[chosen] | (update.flow[chosen] == 0)
        self.is_originator: list[bool] = is_originator.tolist()

    def payload(self, at: int) -> bytes:
        return bytes(self.data[self.start[at] : self.end[at]])

    def source(self, at: int) -> str:
        return address(self.source_hi[at], self.source_lo[at])

    def target(self, at: int) -> str:
        return address(self.target_hi[at], self.target_lo[at])

    def flow(self, at: int) -> FlowRef:
        source, target = self.source(at), self.target(at)
        ports = (self.source_port[at], self.target_port[at])
        if self.is_originator[at]:
            return FlowRef(self.id[at], source, ports[0], target, ports[1], self.protocol[at], self.vlan[at])
        return FlowRef(self.id[at], target, ports[1], source, ports[0], self.protocol[at], self.vlan[at])


@lru_cache(maxsize=16_384)
def address(hi: int, lo: int) -> str:
    """The address as text; the same hosts come again and again."""
    return addresses.format(hi, lo)


@lru_cache(maxsize=4096)
def mac(value: int) -> str:
    """The hardware address as text."""
    return addresses.format_mac(value)
