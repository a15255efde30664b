"""From stretches of packets to rows: how each flow begins, what its packets add up to, how it stood at its first
answer.

One idea: a stretch is a run in sorted packets, so what it adds up to is the difference of two running sums. The rest is
done once for a stretch, not once for a packet.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from govsec.net.columns import I8, U1, U2, U8, Bools, Opening, TcpFlag
from govsec.net.flowkeys import FlowKeys, is_icmp_reply
from govsec.net.flowrows import COUNTS, ROW, TimeOuts, is_over, take
from govsec.net.flowsplit import Handshakes, Sorted

#: How a stretch begins: a new flow, the table's flow going on, or a flow of this batch whose row became too old.
NEW, GOES_ON, PART = 0, 1, 2
# As numbers: numpy asks a member of an enum for a dozen things before it takes it for one.
_SYN, _RST, _ACK = int(TcpFlag.SYN), int(TcpFlag.RST), int(TcpFlag.ACK)
_PORT_KNOWN = 1024


@dataclass(frozen=True, slots=True)
class Stretches:
    """Runs of sorted packets that belong to one flow each."""

    packets: Sorted
    starts: NDArray[np.intp]
    key: NDArray[np.intp]  # index into ``packets.heads``
    kind: U1

    def ends(self) -> NDArray[np.intp]:
        """Where each one ends (the next one's start)."""
        ends = np.empty_like(self.starts)
        ends[:-1] = self.starts[1:]
        ends[-1:] = len(self.packets.clock)
        return ends

    def sizes(self) -> NDArray[np.intp]:
        """Packets in each one."""
        return self.ends() - self.starts


@dataclass(frozen=True, slots=True)
class Sums:
    """``rows``: one a stretch, as it is after it; the others as it was then, in order of the packets that did it."""

    rows: NDArray[np.void]
    is_originator: Bools  # one a packet
    opened: NDArray[np.void]
    answered: NDArray[np.void]


def new_rows(
    stretches: Stretches, chosen: NDArray[np.intp], keys: FlowKeys, order: NDArray[np.intp]
) -> NDArray[np.void]:
    """Rows for the chosen stretches, which begin a flow: who and how, nothing counted.

    ``order``: for each sorted packet, where it is in ``keys``.
    """
    sorted_packets = stretches.packets
    at = stretches.starts[chosen]
    where, key = sorted_packets.packets[at], order[at]
    batch = sorted_packets.batch
    rows = np.zeros(len(chosen), ROW)
    rows["digest"] = keys.digest[key]
    rows["start_ns"] = rows["first_ns"] = rows["last_ns"] = batch.time_ns[where]
    rows["began"] = sorted_packets.clock[at]
    flags, is_tcp = sorted_packets.flags[at], sorted_packets.is_tcp[at]
    has_syn, has_ack = (flags & _SYN) != 0, (flags & _ACK) != 0
    is_reply = is_tcp & (has_syn & has_ack | ((flags & _RST) != 0))
    is_reply |= is_icmp_reply(batch.protocol[where], batch.icmp_type[where])
    is_syn = is_tcp & has_syn & ~is_reply
    rows["opening"] = is_syn * np.uint8(Opening.SYN) + is_reply * np.uint8(Opening.REPLY)
    source_port, target_port = batch.source_port[where], batch.target_port[where]
    from_server = is_tcp & ~is_syn & (source_port < _PORT_KNOWN) & (target_port >= _PORT_KNOWN)
    is_forward = sorted_packets.is_forward[at]
    rows["is_first_forward"] = is_forward
    is_turned = is_reply | from_server
    rows["is_originator_a"] = is_forward ^ is_turned
    for name, source, target in (
        ("hi", batch.source_hi[where], batch.target_hi[where]),
        ("lo", batch.source_lo[where], batch.target_lo[where]),
        ("port", keys.source_port[key], keys.target_port[key]),
    ):
        rows[f"originator_{name}"] = np.where(is_turned, target, source)
        rows[f"responder_{name}"] = np.where(is_turned, source, target)
    for name in ("vlan", "protocol", "ip_version", "icmp_type"):
        rows[name] = getattr(batch, name)[where]
    return rows


def sum_up(
    stretches: Stretches, rows: NDArray[np.void], is_new: NDArray[np.intp], syns: Handshakes, time_outs: TimeOuts
) -> Sums:
    """Add each stretch to its row; ``is_new``: those that begin a flow, in order of capture.

    ``rows``: one a stretch, in order; those of ``PART`` are made here from the one before, where that is of the same
    key.
    """
    packets, starts, ends = stretches.packets, stretches.starts, stretches.ends()
    batch, where = packets.batch, packets.packets
    parts = np.flatnonzero(stretches.kind == PART).tolist()
    for index in parts:
        at = int(starts[index])
        row = rows[index - 1] if _goes_before(stretches, index) else rows[index]
        rows[index] = _next_part(row, int(batch.time_ns[where[at]]), int(packets.clock[at]))
    columns = _Columns.of(packets, packets.is_forward == np.repeat(rows["is_originator_a"], ends - starts))
    opened, first = take(rows, is_new), starts[is_new]
    columns.add(opened, first, first + 1, columns.chosen(first))
    answered_of, answered_at = _answers(stretches, rows, columns.is_originator)
    by_packet = np.argsort(where[answered_at])
    answered_of, answered_at = answered_of[by_packet], answered_at[by_packet]
    answered = take(rows, answered_of)
    first, end = starts[answered_of], answered_at + 1
    columns.add(answered, first, end, columns.by_run(first, end))
    answered["answered_ns"] = columns.time_ns[answered_at]
    columns.add(rows, starts, ends, columns.by_stretch(starts))
    rows["answered_ns"][answered_of] = columns.time_ns[answered_at]
    _note_handshakes(rows, stretches, syns)
    for index in parts:
        if _goes_before(stretches, index):
            _inherit(rows, index)
    last = ends - 1
    silence = packets.allowed[last]
    over = is_over(rows["flags_originator"], rows["flags_responder"])
    rows["deadline"] = packets.clock[last] + np.where(over, np.minimum(silence, time_outs.short_ns), silence)
    return Sums(rows, columns.is_originator, opened, answered)


@dataclass(frozen=True, slots=True)
class _Columns:
    """What is added up of packets in order."""

    is_originator: Bools
    time_ns: I8
    #: Those of the originator in the lower byte, of the responder in the upper.
    flags: U2
    #: Sums of all packets before each one, and of all: packets, bytes and payload of the originator; bytes and payload
    #: of both. What a run of packets has is a difference of two, so runs may overlap.
    running: U8

    @classmethod
    def of(cls, packets: Sorted, is_originator: Bools) -> _Columns:
        """Those of ``packets``, of which the flows' originators sent some."""
        batch, where = packets.batch, packets.packets
        running = np.zeros((5, len(where) + 1), np.uint64)
        each = running[:, 1:]
        each[0] = is_originator
        for both, column in ((3, batch.wire_size), (4, batch.payload_claimed)):
            each[both] = column.take(where)
            np.multiply(each[both], is_originator, out=each[both - 2])
        np.cumsum(each, axis=1, out=each)
        flags = packets.flags.astype(np.uint16) << (~is_originator * np.uint8(8))
        return cls(is_originator, batch.time_ns.take(where), flags, running)

    def chosen(self, at: NDArray[np.intp]) -> tuple[U2, I8]:
        """Flags and times of these packets."""
        return self.flags.take(at), self.time_ns.take(at)

    def by_stretch(self, starts: NDArray[np.intp]) -> tuple[U2, I8]:
        """All flags, and the latest time, of each run from one start to the next."""
        return np.bitwise_or.reduceat(self.flags, starts), np.maximum.reduceat(self.time_ns, starts)

    def by_run(self, starts: NDArray[np.intp], ends: NDArray[np.intp]) -> tuple[U2, I8]:
        """The same of these runs, in any order; none is empty."""
        sizes = ends - starts
        behind = np.cumsum(sizes)
        flags, time_ns = self.chosen(np.repeat(ends - behind, sizes) + np.arange(sizes.sum()))
        return np.bitwise_or.reduceat(flags, behind - sizes), np.maximum.reduceat(time_ns, behind - sizes)

    def add(
        self, rows: NDArray[np.void], starts: NDArray[np.intp], ends: NDArray[np.intp], reduced: tuple[U2, I8]
    ) -> None:
        """Add the packets of these runs to ``rows``, one run a row."""
        packets, *originator, all_bytes, all_payload = self.running.take(ends, axis=1) - self.running.take(
            starts, axis=1
        )
        rows["packets_originator"] += packets
        rows["packets_responder"] += (ends - starts).astype(np.uint64) - packets
        for name, part, whole in zip(("bytes", "payload"), originator, (all_bytes, all_payload), strict=True):
            rows[f"{name}_originator"] += part
            rows[f"{name}_responder"] += whole - part
        flags, last_ns = reduced
        rows["flags_originator"] |= flags.astype(np.uint8)
        rows["flags_responder"] |= (flags >> 8).astype(np.uint8)
        rows["last_ns"] = np.maximum(rows["last_ns"], last_ns)


def _answers(
    stretches: Stretches, rows: NDArray[np.void], is_originator: Bools
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The stretches in which the side that did not begin speaks first, and at which packet."""
    count = len(is_originator)
    is_turned = rows["is_originator_a"] != rows["is_first_forward"]
    is_first_side = is_originator
    if is_turned.any():
        is_first_side = is_originator ^ np.repeat(is_turned, stretches.sizes())
    positions = np.where(is_first_side, np.int32(count), np.arange(count, dtype=np.int32))
    first = np.minimum.reduceat(positions, stretches.starts).astype(np.intp)
    is_answer = (rows["answered_ns"] == 0) & (first < count)
    # Of a flow that goes on in parts, the first part with an answer has it.
    for index in np.flatnonzero(is_answer & (stretches.kind == PART)).tolist():
        at = index
        while stretches.kind[at] == PART and _goes_before(stretches, at):
            at -= 1
            is_answer[index] &= not is_answer[at]
    chosen = np.flatnonzero(is_answer)
    return chosen, first[chosen]


def _goes_before(stretches: Stretches, index: int) -> bool:
    """If the stretch before is of the same key."""
    return index > 0 and bool(stretches.key[index - 1] == stretches.key[index])


def _next_part(row: np.void, time_ns: int, clock: int) -> np.void:
    """The row of a flow that goes on after an ``ACTIVE`` row: the same flow, nothing counted."""
    following = row.copy()
    for name in COUNTS:
        following[name] = 0
    following["part"] += 1
    following["first_ns"] = following["last_ns"] = time_ns
    following["began"] = clock
    return following


def _inherit(rows: NDArray[np.void], index: int) -> None:
    """What is true of the whole flow goes over from one part to the next."""
    before, row = rows[index - 1], rows[index]
    for name in ("flags_originator", "flags_responder"):
        row[name] |= before[name]
    row["answered_ns"] = before["answered_ns"] or row["answered_ns"]
    if before["has_syn"] and not row["has_syn"]:
        for name in ("has_syn", "is_syn_forward", "syn_sequence"):
            row[name] = before[name]


def _note_handshakes(rows: NDArray[np.void], stretches: Stretches, syns: Handshakes) -> None:
    """The last SYN of each stretch says which handshake the flow is."""
    if not len(syns.at):
        return
    last = np.searchsorted(syns.at, stretches.ends()) - 1
    has_one = (last >= 0) & (syns.at[last] >= stretches.starts)
    told = last[has_one]
    rows["has_syn"][has_one] = True
    rows["is_syn_forward"][has_one] = syns.is_forward[told]
    rows["syn_sequence"][has_one] = syns.sequence[told]
