"""One row of the flow table: what is kept of a flow between batches, and how it becomes a row of ``FLOW``.

One idea: a row holds sums and flags from which everything that is told follows, so that adding a packet is adding
numbers. Ends are kept as in the key (a, b); who of them is the originator is one bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from govsec.net.columns import FLOW, I8, U1, Bools, FlowEnd, FlowRecords, FlowState, Opening, TcpFlag

# As numbers: numpy asks a member of an enum for a dozen things before it takes it for one.
_FIN, _SYN, _RST = int(TcpFlag.FIN), int(TcpFlag.SYN), int(TcpFlag.RST)
_OPENED_BY_SYN = int(Opening.SYN)
#: Bits of an index into ``_STATES``, beside those of FIN and RST.
_ANSWERED, _REFUSED = np.uint8(2), np.uint8(8)
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

    idle_ns: I8  # by protocol number
    #: While a handshake has no answer, and after FIN from both sides or RST.
    short_ns: int
    active_ns: int


def take(rows: NDArray[np.void], index: NDArray[np.intp] | Bools) -> NDArray[np.void]:
    """Copies of the chosen rows, of any structured type; numpy itself copies field by field, ten times as long."""
    return rows.view(f"V{rows.dtype.itemsize}")[index].view(rows.dtype)


def join(pieces: Sequence[NDArray[np.void]]) -> NDArray[np.void]:
    """All rows of the pieces, which have one type; there is one piece at least. Not a copy, where one has all."""
    kind = pieces[0].dtype
    pieces = [piece for piece in pieces if len(piece)] or pieces[:1]
    if len(pieces) == 1:
        return pieces[0]
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
    one, other = flows["flags_originator"].copy(), flows["flags_responder"].copy()
    # A port that is closed answers the first SYN with RST, and has never sent SYN itself.
    is_refused = ((other & (_RST | _SYN)) == _RST) & (flows["opening"] == _OPENED_BY_SYN)
    is_refused &= flows["payload_originator"] == 0
    index = one & other & _FIN | (one | other) & _RST
    index |= (flows["answered_ns"] != 0) * _ANSWERED | is_refused * _REFUSED
    state: U1 = _STATES[index]
    return state


def _states() -> U1:
    states = np.empty(16, np.uint8)
    for index in range(len(states)):
        is_answered, is_reset = bool(index & _ANSWERED), bool(index & _RST)
        state = FlowState.ESTABLISHED if is_answered else FlowState.ATTEMPT
        if is_answered and is_reset:
            state = FlowState.RESET
        if index & _FIN:  # many programs send RST behind the FIN of both
            state = FlowState.CLOSED
        if index & _REFUSED:
            state = FlowState.REJECTED
        states[index] = state
    return states


_STATES = _states()


def ends_by_silence(flows: FlowRecords) -> U1:
    """Why these are over, when nothing more came."""
    one, other = flows["flags_originator"].copy(), flows["flags_responder"].copy()
    end = np.full(len(flows), FlowEnd.IDLE, np.uint8)
    end[(one & other & _FIN) != 0] = FlowEnd.FIN
    end[((one | other) & _RST) != 0] = FlowEnd.RESET
    return end
