"""DCE/RPC over TCP and over named pipes of SMB (C706 chapter 12, MS-RPCE): which interface, which call, what result.

::

    version 5, 0|1 (2) || type (1) || flags (1) || data representation (4) || fragment size (2) || verifier size (2)
    || call (4) || body by type || verifier

A call's arguments are read in two cases only: the credentials of Netlogon, whose null bytes are CVE-2020-1472
("Zerologon"), and the name of the service that is created or started.
"""

from __future__ import annotations

import uuid
from typing import Literal, TypeAlias

from govsec.dissect.messages import DceRpcBind, DceRpcCall, FlowRef, Message
from govsec.dissect.ntlm import find_ntlm
from govsec.dissect.parsing import DEEP_SIZE, HEAD_SIZE, StreamParser
from govsec.dissect.wire import Cursor, show_utf16
from govsec.errors import FormatError

NETLOGON = "12345678-1234-abcd-ef00-01234567cffb"
SERVICE_CONTROL = "367abb81-9844-35f1-ad32-98f038001003"

_Order: TypeAlias = Literal["little", "big"]
_HEADER_SIZE = 16
_REQUEST, _RESPONSE, _FAULT, _BIND, _BIND_ACK, _ALTER, _AUTH3 = 0, 2, 3, 11, 12, 14, 16
_TYPES_MAX = 19
_FIRST, _LAST, _HAS_OBJECT = 0x01, 0x02, 0x80
#: Interfaces and calls that are remembered at once: each an entry that the peer can make at will.
_CONTEXTS_MAX = 64
_CALLS_MAX = 256
#: MS-NRPC 3.5.4.4: the server's challenge is asked for, and the three calls that authenticate.
_NETLOGON_CHALLENGE = 4
_NETLOGON_AUTHENTICATE = frozenset({5, 15, 26})
_NETLOGON_WITH_FLAGS = frozenset({15, 26})
_NULL_CREDENTIAL = bytes(8)
#: MS-SCMR 3.1.4: create, open and start a service, with wide characters.
_SERVICE_NAMED = frozenset({12, 16, 45})
_HANDLE_SIZE = 20


def is_dcerpc(data: bytes) -> bool | None:
    """Whether a side's first bytes are a bind or its answer; None: too few to say."""
    if data[:1] != b"\5":
        return False if data else None
    if len(data) < 10:
        return None
    return (
        data[1] <= 1
        and data[2] in (_BIND, _BIND_ACK)
        and data[4] & 0xEF == 0
        and 24 <= int.from_bytes(data[8:10], _order(data)) <= 5840 * 2
    )


def _order(data: bytes, at: int = 0) -> _Order:
    return "little" if data[at + 4] & 0x10 else "big"


class RpcState:
    """The interfaces that were bound and the calls that are unanswered on one connection or pipe."""

    def __init__(self, flow: FlowRef, pipe: str = "") -> None:
        self._flow = flow
        self._pipe = pipe
        self._interfaces: dict[int, str] = {}
        self._calls: dict[int, tuple[str | None, int]] = {}

    def read(self, is_originator: bool, data: bytes, time_ns: int) -> list[Message]:
        """The messages in one fragment, which ``data`` holds from its header on; its end may be cut off.

        Raises:
            FormatError: it is none.
        """
        if len(data) < _HEADER_SIZE or data[0] != 5 or data[2] > _TYPES_MAX:
            raise FormatError("no fragment of DCE/RPC")
        order = _order(data)
        size, verifier = _number(data, 8, 2, order), _number(data, 10, 2, order)
        call, kind = _number(data, 12, 4, order), data[2]
        body = data[_HEADER_SIZE : min(size, len(data))]
        found: list[Message] = []
        if kind in (_BIND, _ALTER):
            found += self._bind(is_originator, body, order, time_ns)
        elif kind == _REQUEST:
            found += self._request(is_originator, data[3], call, body, verifier, order, time_ns)
        elif kind in (_RESPONSE, _FAULT):
            found += self._response(is_originator, kind, data[3], call, body, verifier, order, time_ns)
        if verifier and kind in (_BIND, _BIND_ACK, _ALTER, _AUTH3):
            ntlm = find_ntlm(
                body[-verifier:], time_ns=time_ns, flow=self._flow, is_originator=is_originator, service="dcerpc"
            )
            found += [ntlm] if ntlm is not None else []
        return found

    def _bind(self, is_originator: bool, body: bytes, order: _Order, time_ns: int) -> list[Message]:
        cursor = Cursor(body)
        cursor.skip(8)
        count = cursor.u8()
        cursor.skip(3)
        found: list[Message] = []
        for _ in range(min(count, _CONTEXTS_MAX)):
            context = int.from_bytes(cursor.take(2), order)
            transfers = cursor.u8()
            cursor.skip(1)
            raw = cursor.take(16)
            interface = str(uuid.UUID(bytes_le=raw) if order == "little" else uuid.UUID(bytes=raw))
            version = int.from_bytes(cursor.take(2), order)
            cursor.skip(2 + 20 * transfers)
            if len(self._interfaces) < _CONTEXTS_MAX or context in self._interfaces:
                self._interfaces[context] = interface
            found.append(DceRpcBind(time_ns, self._flow, is_originator, interface, version, self._pipe))
        # The same interface is bound again for another transfer syntax (MS-RPCE 3.3.1.5.3): one message tells it.
        return list(dict.fromkeys(found))

    def _request(
        self, is_originator: bool, flags: int, call: int, body: bytes, verifier: int, order: _Order, time_ns: int
    ) -> list[Message]:
        if not flags & _FIRST:
            return []
        if len(body) < 8:
            raise FormatError(f"a request of DCE/RPC of {len(body)} bytes")
        interface = self._interfaces.get(_number(body, 4, 2, order))
        operation = _number(body, 6, 2, order)
        if len(self._calls) >= _CALLS_MAX:
            del self._calls[next(iter(self._calls))]
        self._calls[call] = (interface, operation)
        stub = _without_verifier(body[24 if flags & _HAS_OBJECT else 8 :], verifier)
        name = None
        if interface == SERVICE_CONTROL and operation in _SERVICE_NAMED:
            name = _service_name(stub, order)
        return [
            DceRpcCall(
                time_ns,
                self._flow,
                is_originator,
                interface,
                operation,
                is_response=False,
                status=None,
                has_null_credential=interface == NETLOGON and _is_null(operation, stub),
                name=name,
                pipe=self._pipe,
            )
        ]

    def _response(
        self,
        is_originator: bool,
        kind: int,
        flags: int,
        call: int,
        body: bytes,
        verifier: int,
        order: _Order,
        time_ns: int,
    ) -> list[Message]:
        if not flags & _LAST:
            return []
        interface, operation = self._calls.pop(call, (None, -1))
        if operation < 0:
            return []  # the request was not seen, so nobody knows what this answers
        stub = body[8:12] if kind == _FAULT else _without_verifier(body[8:], verifier)
        # A verifier means that the stub may be sealed; then its last bytes say nothing.
        known = len(stub) >= 4 and (kind == _FAULT or not verifier)
        return [
            DceRpcCall(
                time_ns,
                self._flow,
                is_originator,
                interface,
                operation,
                is_response=True,
                status=_number(stub, len(stub) - 4, 4, order) if known else None,
                has_null_credential=False,
                name=None,
                pipe=self._pipe,
            )
        ]


class DceRpcParser(StreamParser):
    """Fragments of one TCP connection."""

    name = "dcerpc"
    depth = DEEP_SIZE

    def __init__(self, flow: FlowRef) -> None:
        super().__init__(flow)
        self._state = RpcState(flow)

    def read(self, is_originator: bool, data: bytes, time_ns: int) -> int:
        at = 0
        while len(data) - at >= _HEADER_SIZE:
            order = _order(data, at)
            size = _number(data, at + 8, 2, order)
            if data[at] != 5 or size < _HEADER_SIZE:
                raise FormatError(f"no fragment of DCE/RPC: version {data[at]}, {size} bytes")
            if at + size > len(data) and size < HEAD_SIZE:
                break
            self.messages += self._state.read(is_originator, data[at : at + size], time_ns)
            at += size
        return at


def _number(data: bytes, at: int, size: int, order: _Order) -> int:
    return int.from_bytes(data[at : at + size], order)


def _without_verifier(stub: bytes, verifier: int) -> bytes:
    """The stub without its verifier and the eight bytes of trailer before it (padding stays)."""
    return stub[: max(0, len(stub) - verifier - 8)] if verifier else stub


def _is_null(operation: int, stub: bytes) -> bool:
    """Whether the client's challenge or credential, at the end of the arguments, is null."""
    if operation == _NETLOGON_CHALLENGE or operation in _NETLOGON_AUTHENTICATE - _NETLOGON_WITH_FLAGS:
        return len(stub) >= 8 and stub[-8:] == _NULL_CREDENTIAL
    # Flags of four bytes follow, aligned: after two bytes of padding, these and the last six are looked at.
    return operation in _NETLOGON_WITH_FLAGS and len(stub) >= 12 and stub[-12:-4] == _NULL_CREDENTIAL


def _service_name(stub: bytes, order: _Order) -> str | None:
    """The name behind the manager's handle: maximum, offset and actual count (3 x 4), then UTF-16."""
    begin = _HANDLE_SIZE + 12
    if len(stub) < begin + 2:
        return None
    count = _number(stub, _HANDLE_SIZE + 8, 4, order)
    if not 1 <= count <= 260 or begin + 2 * count > len(stub):
        return None  # sealed, or cut off
    return show_utf16(stub[begin : begin + 2 * count])
