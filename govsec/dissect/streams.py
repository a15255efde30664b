"""The first bytes of both sides of TCP flows, in order: what parsers of streams are fed with.

One idea: who is still listened to is a column. Each flow has a slot in arrays of fixed size, which hold the sequence
number of each side's first byte and whether more of that side is wanted; so the packets of a batch that can matter are
chosen by a few operations of numpy, and all others (past the head, of protocols nobody reads, of parsers that are done)
cost no Python. A flow has an object (:class:`Conversation`) only from its first payload to the parser's last wish.

Of bytes that come twice the first stay, as a host that has acknowledged them keeps them; what a second copy brought is
counted. A hole is waited for up to a bound, then the side is given up. Sides whose SYN was not seen begin at the first
byte that was. Everything is bounded, and what is lost is counted in :class:`StreamCounters`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from govsec.dissect.budget import Budget
from govsec.dissect.parsing import DEEP_SIZE
from govsec.net.columns import U8, Bools, FlowUpdate, PacketBatch, Protocol, TcpFlag

#: Flows with a slot: as many as a flow table holds by default. Ids count up, so a slot is lost to a younger flow only.
SLOTS_COUNT = 1 << 18
#: What may wait behind a hole, of one side.
PENDING_SIZE_MAX = 16 << 10
PENDING_PIECES_MAX = 64

_END = TcpFlag.FIN | TcpFlag.RST
_SYN_OR_END = TcpFlag.SYN | _END
Indexes = NDArray[np.intp]


@dataclass(slots=True)
class StreamCounters:
    """What was not followed, and why."""

    conversations: int = 0  # flows that got an object
    conversations_refused: int = 0  # more began in one second than are followed
    conversations_evicted: int = 0  # the oldest gave way to younger ones, or memory ran out
    slots_lost: int = 0  # a younger flow took the slot of one that was followed
    overlaps_bytes: int = 0  # came twice; the first copy stayed
    gaps: int = 0  # sides given up for a hole
    cuts: int = 0  # sides given up where the capture cut a packet
    limits: int = 0  # sides that said more than is read
    unrecognised: int = 0  # flows that speak nothing that is read
    malformed_flows: int = 0  # given up because they broke their protocol


class Side:
    """What one side of a flow said and nobody has consumed yet."""

    __slots__ = ("buffer", "cut_at", "end_at", "held", "next", "pending", "skip")

    def __init__(self) -> None:
        self.next = 0  # position of the first byte that has not come
        self.buffer = bytearray()  # in order, not consumed
        self.skip = 0  # bytes to come that nobody wants
        self.pending: list[tuple[int, bytes]] = []  # behind a hole; sorted, without overlaps
        self.held = 0  # bytes in pending
        self.end_at = -1  # position of the FIN
        self.cut_at = -1  # position from which on the capture holds no more of a packet

    def add(self, start: int, data: bytes) -> int:
        """Take a segment whose first byte has the position ``start``; gives how many bytes of it were there before."""
        if start == self.next and not self.pending:
            self._append(data)
            return 0
        overlaps = 0
        if start < self.next:
            overlaps = min(self.next - start, len(data))
            start, data = start + overlaps, data[overlaps:]
        # Cut the segment into what lies between the pieces that came before it.
        kept: list[tuple[int, bytes]] = []
        for begin, piece in self.pending:
            end = begin + len(piece)
            if not data or start + len(data) <= begin:
                break
            if start < begin:
                kept.append((start, data[: begin - start]))
            common = min(start + len(data), end) - max(start, begin)
            if common > 0:
                overlaps += common
                data = data[end - start :] if end > start else data
                start = max(start, end)
        if data:
            kept.append((start, data))
        self.held += sum(len(piece) for _, piece in kept)
        self.pending = sorted(self.pending + kept)
        self._drain()
        return overlaps

    def _drain(self) -> None:
        while self.pending and self.pending[0][0] == self.next:
            _, piece = self.pending.pop(0)
            self.held -= len(piece)
            self._append(piece)

    def _append(self, data: bytes) -> None:
        self.next += len(data)
        if self.skip:
            skipped = min(self.skip, len(data))
            self.skip -= skipped
            data = data[skipped:]
        self.buffer += data

    def consume(self, size: int) -> None:
        """Forget the first ``size`` bytes; what has not come yet of them is passed over when it does."""
        if size > len(self.buffer):
            self.skip = size - len(self.buffer)
            self.buffer.clear()
        else:
            del self.buffer[:size]

    @property
    def is_over(self) -> bool:
        """Whether no byte more can come in order: the side ended here, or the capture cut it."""
        return self.next in (self.end_at, self.cut_at)

    @property
    def is_torn(self) -> bool:
        """Whether more waits behind a hole than is kept."""
        return self.held > PENDING_SIZE_MAX or len(self.pending) > PENDING_PIECES_MAX


@dataclass(frozen=True, slots=True)
class Segments:
    """The packets of a batch that streams want, in capture order."""

    index: Indexes  # in the batch
    position: NDArray[np.int64]  # of the first byte of each, counted from the side's first


class StreamSlots:
    """Chooses packets by column, and knows which flows are followed."""

    def __init__(self, counters: StreamCounters, *, slots_count: int = SLOTS_COUNT, openings_max: int) -> None:
        if slots_count & (slots_count - 1):
            raise ValueError("the number of slots is a power of two")
        self._mask = np.uint64(slots_count - 1)
        self._tag = np.zeros(slots_count, np.uint64)
        self._first = np.zeros((2, slots_count), np.uint32)
        self._is_based = np.zeros((2, slots_count), np.bool_)
        self._is_wanted = np.zeros((2, slots_count), np.bool_)
        self._spoke = np.zeros(slots_count, np.bool_)
        self._tries = np.zeros(slots_count, np.uint8)
        self._budget = Budget(openings_max)
        self._counters = counters

    def claim(self, ids: U8) -> tuple[NDArray[np.intp], Bools]:
        """The slots of flows, and which of them have theirs: all but those that share one within this batch."""
        slots = (ids & self._mask).astype(np.intp)
        fresh = self._tag[slots] != ids
        if fresh.any():
            new = slots[fresh]
            lost = self._spoke[new] & self._is_wanted[:, new].any(axis=0)
            self._counters.slots_lost += int(np.count_nonzero(lost))
            self._is_based[:, new] = False
            self._is_wanted[:, new] = True
            self._spoke[new] = False
            self._tries[new] = 0
            self._tag[new] = ids[fresh]
        return slots, self._tag[slots] == ids

    def is_wanted(self, flow: int, is_originator: bool) -> bool:
        """Whether more of that side is wanted."""
        slot = flow & int(self._mask)
        return bool(self._is_wanted[int(is_originator), slot]) and int(self._tag[slot]) == flow

    def want(self, flow: int, is_originator: bool, wanted: bool) -> None:
        """Say whether more of that side is wanted."""
        slot = flow & int(self._mask)
        if int(self._tag[slot]) == flow:
            self._is_wanted[int(is_originator), slot] = wanted

    def try_once(self, flow: int) -> int:
        """Count an attempt to read a datagram of this flow; gives how many there were before."""
        slot = flow & int(self._mask)
        before = int(self._tries[slot])
        self._tries[slot] = min(before + 1, 255)
        return before

    def wanted_datagrams(self, update: FlowUpdate, candidates: Indexes) -> Indexes:
        """Those of ``candidates`` whose flows have not been given up."""
        if not len(candidates):
            return candidates
        slots, has_slot = self.claim(update.flow[candidates])
        side = update.is_originator[candidates].astype(np.intp)
        return candidates[has_slot & self._is_wanted[side, slots]]

    def select(self, batch: PacketBatch, update: FlowUpdate) -> Segments:
        """The TCP packets of a batch whose payload or end is wanted."""
        says = (batch.payload_claimed > 0) | ((batch.tcp_flags & _SYN_OR_END) != 0)
        concerned = says & (batch.protocol == Protocol.TCP) & (update.flow != 0) & (batch.fragment == 0)
        index = np.flatnonzero(concerned)
        slots, has_slot = self.claim(update.flow[index])
        side = update.is_originator[index].astype(np.intp)
        # Most packets are past their head: they go no further than this.
        wanted = np.flatnonzero(has_slot & self._is_wanted[side, slots])
        index, slots, side = index[wanted], slots[wanted], side[wanted]
        if not len(index):
            return Segments(index, np.zeros(0, np.int64))
        flags = batch.tcp_flags[index]
        is_syn, is_end = (flags & TcpFlag.SYN) != 0, (flags & _END) != 0
        has_payload = batch.payload_claimed[index] > 0
        sequence = batch.tcp_sequence[index] + is_syn.astype(np.uint32)
        self._set_first(slots, side, sequence, is_syn | has_payload)
        self._admit(slots, has_payload, batch.time_ns[index])
        # The difference of two sequence numbers is signed (RFC 9293, 3.4): what came before the first byte is negative.
        position = (sequence - self._first[side, slots]).view(np.int32).astype(np.int64)
        size = batch.payload_claimed[index].astype(np.int64)
        in_head = has_payload & (position < DEEP_SIZE) & (position + size > 0)
        ends = is_end & self._spoke[slots] & (position <= DEEP_SIZE)
        chosen = self._is_wanted[side, slots] & (in_head | ends)  # a refused flow is wanted no more
        return Segments(index[chosen], position[chosen])

    def _set_first(self, slots: Indexes, side: Indexes, sequence: NDArray[np.uint32], of: Bools) -> None:
        of = of & ~self._is_based[side, slots]
        where = np.flatnonzero(of)[::-1]  # backwards, so that the earliest of several is written last and stays
        self._first[side[where], slots[where]] = sequence[where]
        self._is_based[side[where], slots[where]] = True

    def _admit(self, slots: Indexes, speaks: Bools, time_ns: NDArray[np.int64]) -> None:
        """Let in flows that say their first byte, as many as a second has room for."""
        where = np.flatnonzero(speaks & ~self._spoke[slots])
        if not len(where):
            return
        _, first = np.unique(slots[where], return_index=True)
        opening = where[np.sort(first)]
        self._spoke[slots[opening]] = True
        refused = opening[~self._budget.admit(time_ns[opening])]
        self._is_wanted[:, slots[refused]] = False
        self._counters.conversations_refused += len(refused)
