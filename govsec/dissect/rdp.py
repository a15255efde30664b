"""The opening of RDP (MS-RDPBCGR 2.2.1.1 and 2.2.1.2): who says they are coming, and what security is agreed.

::

    TPKT: 03 00 || size (2)   X.224: rest (1) || e0 request or d0 confirm (1) || references (4) || class (1)
    then "Cookie: mstshash=NAME" CR LF, and type (1) || flags (1) || 08 00 || value (4, low byte first)

What follows is encrypted, or of no interest; whether a log-in succeeded shows in the shape of the flow alone.
"""

from __future__ import annotations

import re

from govsec.dissect.messages import RdpRequest, RdpResponse
from govsec.dissect.parsing import StreamParser
from govsec.dissect.wire import show
from govsec.errors import FormatError

_REQUEST, _CONFIRM = 0xE0, 0xD0
_NEGOTIATION_REQUEST, _NEGOTIATION_RESPONSE, _NEGOTIATION_FAILURE = 1, 2, 3
_FIXED_SIZE = 11
_COOKIE = re.compile(rb"Cookie: mstshash=([^\r\n]{0,255})\r\n")


def is_rdp(data: bytes) -> bool | None:
    """Whether a side's first bytes open RDP; None: too few to say."""
    if data[:1] != b"\3":
        return False if data else None
    if len(data) < 6:
        return None
    size = data[2] << 8 | data[3]
    return data[1] == 0 and _FIXED_SIZE <= size <= 512 and data[5] & 0xF0 in (_REQUEST, _CONFIRM)


class RdpParser(StreamParser):
    """Request and answer of one connection."""

    name = "rdp"

    def read(self, is_originator: bool, data: bytes, time_ns: int) -> int:
        if len(data) < 4:
            return 0
        size = data[2] << 8 | data[3]
        if data[0] != 3 or size < _FIXED_SIZE:
            raise FormatError(f"no RDP: version {data[0]}, {size} bytes")
        if len(data) < size:
            return 0
        kind, rest = data[5] & 0xF0, data[_FIXED_SIZE:size]
        if kind == _REQUEST:
            cookie = _COOKIE.match(rest)
            protocols = _value(rest[cookie.end() if cookie else 0 :], _NEGOTIATION_REQUEST)
            user = show(cookie[1]) if cookie else None
            self.messages.append(RdpRequest(time_ns, self.flow, is_originator, user, protocols or 0))
        elif kind == _CONFIRM:
            chosen, failure = _value(rest, _NEGOTIATION_RESPONSE), _value(rest, _NEGOTIATION_FAILURE)
            self.messages.append(RdpResponse(time_ns, self.flow, is_originator, chosen, failure))
        else:
            raise FormatError(f"no opening of RDP: X.224 type {kind:#x}")
        self.wants[is_originator] = False
        return size


def _value(data: bytes, kind: int) -> int | None:
    if len(data) < 8 or data[0] != kind:
        return None
    return int.from_bytes(data[4:8], "little")
