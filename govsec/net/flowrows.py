"""One row of the flow table: what is kept of a flow between batches, and how it becomes a row of ``FLOW``.

One idea: a row holds sums and flags from which everything that is told follows, so that adding a packet is adding
numbers. Ends are kept as in the key (a, b); who of them is the originator is one bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from govsec.net.columns import FLOW, I8, U1, Bools, FlowEnd, FlowRecords, FlowState, Opening, Protocol, TcpFlag

_COUNTS = [(f"{what}_{side}", "u8") for what in ("packets", "bytes", "payload") for side in ("originator", "responder")]
ROW = np.dtype(
    [
        ("digest", "u8"), ("a_hi", "u8"), ("a_lo", "u8"), ("b_hi", "u8"), ("b_lo", "u8"), ("meta", "u8"),
        ("id", "u8"), ("start_ns", "i8"), ("first_ns", "i8"), ("last_ns", "i8"), ("answered_ns", "i8"),
        ("began", "i8"),  # on the table's clock: the first packet that this row counts
        ("deadline", "i8"),  # on the table's clock: a packet after it belongs to a new flow
        *_COUNTS,
        ("part", "u4"),
        ("syn_sequence", "u4"),  # of the handshake that this flow is
        ("has_syn", "?"), ("is_syn_forward", "?"),
        ("is_originator_a", "?"), ("is_first_forward", "?"),  # the first packet went from a to b
        ("flags_originator", "u1"), ("flags_responder", "u1"), ("opening", "u1"), ("icmp_type", "u1"),
    ],
    align=True,
)  # fmt: skip
COUNTS = tuple(name for name, _ in _COUNTS)
_SECOND_NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class TimeOuts:
    """When a flow is over, in nanoseconds of event time since its last packet; ``active_ns``: since a row began."""

    tcp_ns: int
    udp_ns: int
    other_ns: int
    #: While a handshake has no answer, and after FIN from both sides or RST.
    short_ns: int
    active_ns: int

    def idle_by_protocol(self) -> I8:
        """What a flow of each protocol number may be silent for."""
        table = np.full(256, self.other_ns, np.int64)
        table[Protocol.TCP] = self.tcp_ns
        table[Protocol.UDP] = self.udp_ns
        return table


def take(rows: NDArray[np.void], index: NDArray[np.intp] | Bools) -> NDArray[np.void]:
    """Copies of the chosen rows, of any structured type; numpy itself copies field by field, ten times as long."""
    return rows.view(f"V{rows.dtype.itemsize}")[index].view(rows.dtype)


def join(pieces: Sequence[NDArray[np.void]]) -> NDArray[np.void]:
    """All rows of the pieces, which have one type; there is one piece at least."""
    kind = pieces[0].dtype
    return np.concatenate([piece.view(f"V{kind.itemsize}") for piece in pieces]).view(kind)


def put(rows: NDArray[np.void], index: NDArray[np.intp], values: NDArray[np.void]) -> None:
    """Overwrite the chosen rows."""
    raw = f"V{rows.dtype.itemsize}"
    rows.view(raw)[index] = values.view(raw)


def is_over(flags_one: U1, flags_other: U1) -> NDArray[np.bool_]:
    """FIN was seen from both sides, or RST from one."""
    over: NDArray[np.bool_] = (flags_one & flags_other & TcpFlag.FIN) | ((flags_one | flags_other) & TcpFlag.RST) != 0
    return over


def to_flow(rows: NDArray[np.void]) -> FlowRecords:
    """These rows as rows of ``FLOW``; ``end`` and ``end_ns`` are left 0."""
    flows = np.zeros(len(rows), FLOW)
    for name in ("id", "start_ns", "first_ns", "last_ns", "answered_ns", "part", "opening", "icmp_type", *COUNTS):
        flows[name] = rows[name]
    is_a = rows["is_originator_a"]
    for half in ("hi", "lo"):
        flows[f"originator_{half}"] = np.where(is_a, rows[f"a_{half}"], rows[f"b_{half}"])
        flows[f"responder_{half}"] = np.where(is_a, rows[f"b_{half}"], rows[f"a_{half}"])
    meta = rows["meta"]
    a_port, b_port = (meta >> np.uint64(48)).astype(np.uint16), (meta >> np.uint64(32)).astype(np.uint16)
    flows["originator_port"] = np.where(is_a, a_port, b_port)
    flows["responder_port"] = np.where(is_a, b_port, a_port)
    flows["vlan"] = (meta >> np.uint64(16)).astype(np.uint16)
    flows["protocol"] = (meta >> np.uint64(8)).astype(np.uint8)
    flows["ip_version"] = meta.astype(np.uint8)
    flows["flags_originator"], flows["flags_responder"] = rows["flags_originator"], rows["flags_responder"]
    flows["state"] = _state(flows)
    return flows


def _state(flows: FlowRecords) -> U1:
    one, other = flows["flags_originator"], flows["flags_responder"]
    has_both = flows["answered_ns"] != 0
    state = np.where(has_both, FlowState.ESTABLISHED, FlowState.ATTEMPT).astype(np.uint8)
    is_reset = ((one | other) & TcpFlag.RST) != 0
    state[is_reset & has_both] = FlowState.RESET
    # Many programs send RST behind the FIN of both.
    state[(one & other & TcpFlag.FIN) != 0] = FlowState.CLOSED
    # A port that is closed answers the first SYN with RST, and has never sent SYN itself.
    is_refused = ((other & TcpFlag.RST) != 0) & ((other & TcpFlag.SYN) == 0) & (flows["opening"] == Opening.SYN)
    state[is_refused & (flows["payload_originator"] == 0)] = FlowState.REJECTED
    return state


def ends_by_silence(flows: FlowRecords) -> U1:
    """Why these are over, when nothing more came."""
    end = np.full(len(flows), FlowEnd.IDLE, np.uint8)
    both = flows["flags_originator"] & flows["flags_responder"]
    end[(both & TcpFlag.FIN) != 0] = FlowEnd.FIN
    end[((flows["flags_originator"] | flows["flags_responder"]) & TcpFlag.RST) != 0] = FlowEnd.RESET
    return end
