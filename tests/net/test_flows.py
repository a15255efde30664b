"""The flow table against one that goes packet by packet, over batches cut anywhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from govsec.net.columns import FLOW, FlowRecords, PacketBatch
from govsec.net.flows import FlowTable
from tests.net.frames import batch_of, ethernet, icmp, ipv4, ipv6, tcp, udp
from tests.net.slowflows import SlowFlows

SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND
FIN, SYN, RST, ACK = 1, 2, 4, 16
HOSTS = ("10.0.0.1", "10.0.0.2")
HOSTS_6 = ("2001:db8::1", "2001:db8:0:1::2")


def as_dicts(rows: FlowRecords) -> list[dict[str, int]]:
    names = FLOW.names or ()
    return [dict(zip(names, row, strict=True)) for row in rows.tolist()]


def cut(batch: PacketBatch, sizes: Sequence[int]) -> list[PacketBatch]:
    """The batch in pieces of these sizes, over and over."""
    pieces, start, turn = [], 0, 0
    while start < len(batch):
        end = start + sizes[turn % len(sizes)]
        pieces.append(batch.take(np.arange(start, min(end, len(batch)))))
        start, turn = end, turn + 1
    return pieces


def through(table: FlowTable, batches: Sequence[PacketBatch]) -> dict[str, Any]:
    """Everything that the table says of these batches, put together."""
    updates = [table.add(batch) for batch in batches] + [table.finish()]
    said: dict[str, Any] = {
        name: as_dicts(np.concatenate([getattr(update, name) for update in updates]))
        for name in ("opened", "answered", "closed")
    }
    said["flow"] = np.concatenate([update.flow for update in updates]).tolist()
    said["is_originator"] = np.concatenate([update.is_originator for update in updates]).tolist()
    return said


def slowly(batch: PacketBatch) -> dict[str, Any]:
    table = SlowFlows()
    found = list(table.add(batch))
    table.finish()
    return {
        "opened": table.opened,
        "answered": table.answered,
        "closed": table.closed_rows(),
        "flow": [flow for flow, _ in found],
        "is_originator": [is_originator for _, is_originator in found],
    }


#: Around every time-out there is, and small steps back.
GAPS_S = (0, 0, 0, 0.001, -0.002, 1, 4, 5, 5.5, 30, 31, 61, 120, 301, -61, -3, 400 * 86400)
FLAGS = (SYN, SYN, SYN | ACK, ACK, ACK, FIN | ACK, RST, RST | ACK, 0, SYN | FIN)


@st.composite
def packets(draw: st.DrawFn) -> tuple[float, bytes]:
    gap = draw(st.sampled_from(GAPS_S))
    way = draw(st.sampled_from((1, -1)))
    kind = draw(st.sampled_from(("tcp", "tcp", "tcp", "tcp", "udp", "icmp", "tcp6", "later", "arp", "same")))
    one, other = HOSTS[::way]
    ports = (draw(st.sampled_from((40000, 80))), 443)[::way]
    body = bytes(draw(st.sampled_from((0, 0, 5))))
    if kind in ("tcp", "tcp6", "same"):
        segment = tcp(
            *ports, draw(st.sampled_from(FLAGS)), body,
            sequence=draw(st.sampled_from((7, 8))), acknowledgment=draw(st.sampled_from((8, 9))),
        )  # fmt: skip
        if kind == "tcp6":
            return gap, ethernet(ipv6(*HOSTS_6[::way], 6, segment), 0x86DD)
        return gap, ethernet(ipv4(one, one if kind == "same" else other, 6, segment))
    if kind == "udp":
        return gap, ethernet(ipv4(one, other, 17, udp(*ports, body)), tags=[(0x8100, 5)])
    if kind == "icmp":
        return gap, ethernet(ipv4(one, other, 1, icmp(draw(st.sampled_from((8, 0, 3))), 1)))
    if kind == "later":
        return gap, ethernet(ipv4(one, other, 6, b"x" * 30, fragment=5))
    return gap, ethernet(b"\0" * 28, 0x0806)


def in_time(drawn: Sequence[tuple[float, bytes]]) -> PacketBatch:
    times = np.cumsum([int(gap * SECOND) for gap, _ in drawn]) + START
    return batch_of([frame for _, frame in drawn], times_ns=np.maximum(times, 0).tolist())


@settings(max_examples=250)
@given(st.lists(packets(), min_size=1, max_size=60), st.lists(st.integers(1, 9), min_size=1, max_size=3))
def test_flows_are_those_of_a_table_that_goes_packet_by_packet_wherever_batches_are_cut(
    drawn: list[tuple[float, bytes]], sizes: list[int]
) -> None:
    batch = in_time(drawn)
    expected = slowly(batch)

    for pieces in ([batch], cut(batch, sizes), cut(batch, [1])):
        said = through(FlowTable(), pieces)
        for name, value in expected.items():
            assert said[name] == value, name
