"""Sorting packets by flow: what a batch will do to the table, worked out before anything is done.

One idea: a plan changes nothing, so it can be thrown away and made again for fewer packets when it shows that more
flows begin than may.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from govsec.net.columns import I8, U8, Bools, PacketBatch, Protocol, TcpFlag
from govsec.net.flowkeys import FlowKeys
from govsec.net.flowrows import TimeOuts
from govsec.net.flowsplit import Before, Handshakes, Sorted, boundaries, handshakes
from govsec.net.flowstore import FlowStore
from govsec.net.flowsums import GOES_ON, NEW, PART, Stretches

# As numbers: numpy asks a member of an enum for a dozen things before it takes it for one.
_SYN, _TCP = int(TcpFlag.SYN), int(Protocol.TCP)
_HIGH, _LOW = np.uint64(48), np.uint64(32)


@dataclass(frozen=True, slots=True)
class Plan:
    """Where flows begin and end among some packets."""

    order: NDArray[np.intp]  # of the sorted packets, in the keys
    stretches: Stretches
    syns: Handshakes
    is_known: Bools  # per key: the table has a row
    places: NDArray[np.intp]
    rows: NDArray[np.void]  # per key, as in the table where it is known


def make_plan(
    batch: PacketBatch, keys: FlowKeys, clock: I8, chosen: slice, store: FlowStore, time_outs: TimeOuts
) -> Plan:
    """The plan for the packets ``chosen`` of ``keys``, in order of capture. ``clock``: one reading a key."""
    order, heads, digests = _in_order(keys.digest, chosen)
    packets = order if len(keys.packets) == len(batch) else keys.packets.take(order)
    flags = batch.tcp_flags.take(packets)
    protocol = batch.protocol.take(packets)
    allowed = time_outs.idle_ns.take(protocol)
    np.copyto(allowed, time_outs.short_ns, where=(flags & _SYN) != 0)
    is_forward = keys.is_forward.take(order)
    packets_sorted = Sorted(batch, packets, heads, clock.take(order), protocol == _TCP, flags, is_forward, allowed)
    is_known, places = store.find(digests)
    rows = store.rows(places * is_known)
    syns = handshakes(packets_sorted)
    is_cut = boundaries(packets_sorted, _before(rows, is_known), syns, time_outs.short_ns)
    is_start = is_cut.copy()
    is_start[heads] = True
    starts = np.flatnonzero(is_start)
    kind = np.where(is_cut[starts], NEW, GOES_ON).astype(np.uint8)
    stretches = Stretches(packets_sorted, starts, _keys_of(starts, heads), kind)
    return Plan(order, _with_parts(stretches, rows, time_outs.active_ns), syns, is_known, places, rows)


def _in_order(digest: U8, chosen: slice) -> tuple[NDArray[np.intp], NDArray[np.intp], U8]:
    """The chosen by digest, then as they came; where each digest begins, and which one."""
    some = digest[chosen]
    # numpy sorts 16 bits by counting them, stably: two turns for the upper half take half the time of sorting words.
    high, low = (some >> _HIGH).astype(np.uint16), (some >> _LOW).astype(np.uint16)
    order = low.argsort(kind="stable")
    order = order.take(high.take(order).argsort(kind="stable"))
    heads, digests = _heads(some.take(order))
    if (digests[1:] >> _LOW == digests[:-1] >> _LOW).any():  # two digests that differ in the lower half alone
        order = some.argsort(kind="stable")
        heads, digests = _heads(some.take(order))
    if chosen.start:
        order += chosen.start
    return order, heads, digests


def _heads(ordered: U8) -> tuple[NDArray[np.intp], U8]:
    is_head = np.ones(len(ordered), np.bool_)
    np.not_equal(ordered[1:], ordered[:-1], out=is_head[1:])
    heads = np.flatnonzero(is_head)
    return heads, ordered[heads]


def _keys_of(starts: NDArray[np.intp], heads: NDArray[np.intp]) -> NDArray[np.intp]:
    if len(starts) == len(heads):
        return np.arange(len(heads))
    return np.searchsorted(heads, starts, side="right") - 1


def _before(rows: NDArray[np.void], is_known: Bools) -> Before:
    is_a = rows["is_originator_a"]
    one, other = rows["flags_originator"], rows["flags_responder"]
    return Before(
        is_live=is_known,
        deadline=rows["deadline"],
        has_syn=rows["has_syn"] & is_known,
        is_syn_forward=rows["is_syn_forward"],
        syn_sequence=rows["syn_sequence"],
        flags_forward=np.where(is_a, one, other),
        flags_backward=np.where(is_a, other, one),
    )


def _with_parts(stretches: Stretches, rows: NDArray[np.void], active_ns: int) -> Stretches:
    """The same, with a further start wherever a row becomes older than ``active_ns``."""
    clock, starts = stretches.packets.clock, stretches.starts
    is_new = stretches.kind == NEW
    began = np.where(is_new, clock[starts], rows["began"][stretches.key])
    ends = stretches.ends()
    more: list[int] = []
    for index in np.flatnonzero(clock[ends - 1] - began > active_ns).tolist():
        at, end, since = int(starts[index]), int(ends[index]), int(began[index])
        while (at := at + int(np.searchsorted(clock[at:end], since + active_ns, side="right"))) < end:
            more.append(at)
            since = int(clock[at])
    if not more:
        return stretches
    # A row of the table may be too old for the first packet of a stretch: then that stretch is a part itself.
    added = np.array(more, np.intp)
    all_starts = np.unique(np.concatenate([starts, added]))
    kind = np.full(len(all_starts), PART, np.uint8)
    kept = np.setdiff1d(np.arange(len(starts)), np.flatnonzero(np.isin(starts, added)))
    kind[np.searchsorted(all_starts, starts[kept])] = stretches.kind[kept]
    return Stretches(stretches.packets, all_starts, _keys_of(all_starts, stretches.packets.heads), kind)
