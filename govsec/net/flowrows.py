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

# As numbers: numpy asks a member of an enum for a dozen things before it takes it for one.
_FIN, _SYN, _RST = int(TcpFlag.FIN), int(TcpFlag.SYN), int(TcpFlag.RST)
COUNTS = tuple(f"{what}_{side}" for what in ("packets", "bytes", "payload") for side in ("originator", "responder"))


def _row_type() -> np.dtype[np.void]:
    more = np.dtype(
        [
            ("digest", "u8"),
            ("began", "i8"),  # on the table's clock: the first packet that this row counts
            ("deadline", "i8"),  # on the table's clock: a packet after it belongs to a new flow
            ("syn_sequence", "u4"),  # of the handshake that this flow is
            ("has_syn", "?"),
            ("is_syn_forward", "?"),
            ("is_originator_a", "?"),
            ("is_first_forward", "?"),  # the first packet went from a to b
        ],
        align=True,
    )
    names, formats, offsets = [], [], []
    for kind, start in ((FLOW, 0), (more, FLOW.itemsize)):
        for name, (field, offset, *_) in (kind.fields or {}).items():
            names.append(name)
            formats.append(field)
            offsets.append(start + offset)
    layout = {"names": names, "formats": formats, "offsets": offsets, "itemsize": FLOW.itemsize + more.itemsize}
    row: np.dtype[np.void] = np.dtype(layout)  # type: ignore[call-overload]  # numpy's stubs want literal keys
    return row


#: A row of ``FLOW``, and behind it what the table needs besides.
ROW = _row_type()
_FRONT = np.dtype({"names": ["flow"], "formats": [f"V{FLOW.itemsize}"], "offsets": [0], "itemsize": ROW.itemsize})


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
    over: NDArray[np.bool_] = (flags_one & flags_other & _FIN) | ((flags_one | flags_other) & _RST) != 0
    return over


def to_flow(rows: NDArray[np.void]) -> FlowRecords:
    """These rows as rows of ``FLOW``; ``end`` and ``end_ns`` are left 0."""
    flows: FlowRecords = rows.view(_FRONT)["flow"].copy().view(FLOW)
    flows["state"] = _state(flows)
    return flows


def _state(flows: FlowRecords) -> U1:
    one, other = flows["flags_originator"], flows["flags_responder"]
    has_both = flows["answered_ns"] != 0
    state = np.where(has_both, FlowState.ESTABLISHED, FlowState.ATTEMPT).astype(np.uint8)
    is_reset = ((one | other) & _RST) != 0
    state[is_reset & has_both] = FlowState.RESET
    # Many programs send RST behind the FIN of both.
    state[(one & other & _FIN) != 0] = FlowState.CLOSED
    # A port that is closed answers the first SYN with RST, and has never sent SYN itself.
    is_refused = ((other & _RST) != 0) & ((other & _SYN) == 0) & (flows["opening"] == Opening.SYN)
    state[is_refused & (flows["payload_originator"] == 0)] = FlowState.REJECTED
    return state


def ends_by_silence(flows: FlowRecords) -> U1:
    """Why these are over, when nothing more came."""
    end = np.full(len(flows), FlowEnd.IDLE, np.uint8)
    both = flows["flags_originator"] & flows["flags_responder"]
    end[(both & _FIN) != 0] = FlowEnd.FIN
    end[((flows["flags_originator"] | flows["flags_responder"]) & _RST) != 0] = FlowEnd.RESET
    return end
