"""Where, in the packets of one key, one flow ends and the next begins.

One idea: a boundary depends on the packets before it alone, never on when somebody looked. So a flow is the same
whether its packets come in one batch or in many. For packets in order of key and time there is a boundary before a
packet

1. when the silence before it was longer than the packet before allows: ``short_ns`` after a SYN or SYN-ACK, else what
the protocol allows;
2. when the flow was over (FIN from both sides, or RST) and silent for ``short_ns``;
3. when it is a SYN of another handshake (other sender or sequence) than the flow's last SYN or SYN-ACK told of.

1 is one comparison for all packets. 3 looks at the packets with SYN alone. 2 depends on earlier boundaries; the few
stretches in which it can happen are gone through packet by packet.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from govsec.net.columns import I8, U1, U4, Bools, PacketBatch, TcpFlag
from govsec.net.flowrows import is_over

_SYN, _ACK, _FIN, _RST = (int(flag) for flag in (TcpFlag.SYN, TcpFlag.ACK, TcpFlag.FIN, TcpFlag.RST))


@dataclass(frozen=True, slots=True)
class Sorted:
    """Packets in order of key, then of capture; ``heads``: where each key begins."""

    batch: PacketBatch
    packets: NDArray[np.intp]  # where in the batch
    heads: NDArray[np.intp]
    clock: I8
    is_tcp: Bools
    flags: U1
    is_forward: Bools
    allowed: I8  # silence after this packet, by boundary 1


@dataclass(frozen=True, slots=True)
class Before:
    """What the table knows of each key of ``Sorted``."""

    is_live: Bools
    deadline: I8
    has_syn: Bools
    is_syn_forward: Bools
    syn_sequence: U4
    flags_forward: U1
    flags_backward: U1


@dataclass(frozen=True, slots=True)
class Handshakes:
    """The packets with SYN of ``Sorted``: where, and which handshake they belong to."""

    at: NDArray[np.intp]
    is_pure: Bools
    is_forward: Bools  # of the SYN, also where this is the SYN-ACK
    sequence: U4


def handshakes(packets: Sorted) -> Handshakes:
    """All packets with SYN, with the sequence of the SYN that they are or answer."""
    at = np.flatnonzero(packets.flags & _SYN)
    is_pure = (packets.flags[at] & _ACK) == 0
    where = packets.packets[at]
    acknowledged = packets.batch.tcp_acknowledgment[where] - np.uint32(1)
    sequence = np.where(is_pure, packets.batch.tcp_sequence[where], acknowledged)
    return Handshakes(at, is_pure, packets.is_forward[at] == is_pure, sequence)


def boundaries(packets: Sorted, before: Before, syns: Handshakes, short_ns: int) -> Bools:
    """True at each packet that begins a flow: the first of a key without a live flow, and behind each boundary."""
    clock = packets.clock
    silence = np.zeros(len(clock), np.int64)
    np.subtract(clock[1:], clock[:-1], out=silence[1:])
    is_cut = np.empty(len(clock), np.bool_)
    np.greater(silence[1:], packets.allowed[:-1], out=is_cut[1:])
    is_cut[packets.heads] = ~before.is_live | (clock[packets.heads] > before.deadline)
    is_quiet = packets.is_tcp & (silence > short_ns) & ~is_cut
    is_quiet[packets.heads] = False  # the table's deadline says it already
    is_hard = is_cut.copy()
    _cut_at_handshakes(packets, before, syns, is_cut)
    if is_quiet.any():
        _cut_behind_ends(packets, before, syns, is_hard, is_quiet, is_cut, short_ns)
    return is_cut


def _cut_at_handshakes(packets: Sorted, before: Before, syns: Handshakes, is_cut: Bools) -> None:
    """Boundary 3, in the stretches that boundary 1 leaves."""
    at = syns.at
    if not len(at):
        return
    number = np.cumsum(is_cut, dtype=np.int32)
    key = np.searchsorted(packets.heads, at, side="right") - 1
    # A key's first stretch goes on with the table's flow, where that is live; it has a number of its own.
    stretch = number[at] + key
    has_known = np.zeros(len(at), np.bool_)
    has_known[1:] = stretch[1:] == stretch[:-1]
    is_same = np.zeros(len(at), np.bool_)
    is_same[1:] = (syns.is_forward[1:] == syns.is_forward[:-1]) & (syns.sequence[1:] == syns.sequence[:-1])
    head = packets.heads[key]
    has_cut = number[at] - number[head] + is_cut[head] > 0
    known_before = ~has_known & ~has_cut & before.has_syn[key]
    same_before = (before.is_syn_forward[key] == syns.is_forward) & (before.syn_sequence[key] == syns.sequence)
    is_told: Bools = np.where(has_known, is_same, known_before & same_before)
    is_cut[at[syns.is_pure & ~is_told]] = True


def _cut_behind_ends(
    packets: Sorted, before: Before, syns: Handshakes, is_hard: Bools, is_quiet: Bools, is_cut: Bools, short_ns: int
) -> None:
    """Boundary 2, and 3 anew, in those stretches between boundaries of kind 1 where a quiet flow may be over."""
    starts = np.flatnonzero(is_hard | _marks(len(is_hard), packets.heads))
    forward = np.where(packets.is_forward, packets.flags, 0)
    backward = np.where(packets.is_forward, 0, packets.flags)
    one: U1 = np.bitwise_or.reduceat(forward, starts)
    other: U1 = np.bitwise_or.reduceat(backward, starts)
    key = np.searchsorted(packets.heads, starts, side="right") - 1
    continues = ~is_hard[starts]
    one = one | np.where(continues, before.flags_forward[key], 0).astype(np.uint8)
    other = other | np.where(continues, before.flags_backward[key], 0).astype(np.uint8)
    may_be_over = is_over(one, other) & np.logical_or.reduceat(is_quiet, starts)
    ends = np.append(starts[1:], len(is_hard))
    for index in np.flatnonzero(may_be_over).tolist():
        start, end = int(starts[index]), int(ends[index])
        flow = _Walked(before, int(key[index])) if continues[index] else _Walked(None, 0)
        is_cut[start:end] = flow.cuts(packets, syns, slice(start, end), short_ns)


def _marks(count: int, at: NDArray[np.intp]) -> Bools:
    marks = np.zeros(count, np.bool_)
    marks[at] = True
    return marks


class _Walked:
    """One key's packets, one by one: boundaries 2 and 3 where 1 does not fall."""

    def __init__(self, before: Before | None, key: int) -> None:
        self._is_live = before is not None
        self._flags = [0, 0]
        self._known: tuple[bool, int] | None = None
        if before is not None:
            self._flags = [int(before.flags_backward[key]), int(before.flags_forward[key])]
            if before.has_syn[key]:
                self._known = bool(before.is_syn_forward[key]), int(before.syn_sequence[key])

    def cuts(self, packets: Sorted, syns: Handshakes, chosen: slice, short_ns: int) -> list[bool]:
        first, last = np.searchsorted(syns.at, [chosen.start, chosen.stop]).tolist()
        told = {
            int(syns.at[i]): (bool(syns.is_pure[i]), (bool(syns.is_forward[i]), int(syns.sequence[i])))
            for i in range(first, last)
        }
        columns = (packets.clock[chosen], packets.flags[chosen], packets.is_forward[chosen])
        found = []
        clock_before: int | None = None
        for at, (clock, flags, is_forward) in enumerate(
            zip(*(column.tolist() for column in columns), strict=True), chosen.start
        ):
            is_silent = clock_before is not None and clock - clock_before > short_ns
            is_pure, handshake = told.get(at, (False, None))
            is_cut = not self._is_live or (is_silent and self._is_over()) or (is_pure and handshake != self._known)
            if is_cut:
                self._is_live, self._flags, self._known = True, [0, 0], None
            self._flags[is_forward] |= flags
            self._known = handshake or self._known
            clock_before = clock
            found.append(is_cut)
        return found

    def _is_over(self) -> bool:
        one, other = self._flags
        return bool(one & other & _FIN or (one | other) & _RST)
