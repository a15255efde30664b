"""QUIC's first packets (RFC 9000 section 17.2, RFC 9369 for version 2): connection ids, and the ClientHello in them.

::

    1 1 type (2) low bits (4) || version (4) || size (1) || target id || size (1) || source id
    Initial: token size (variable) || token || size (variable) || number (1 to 4) || sealed frames || tag (16)

Initial packets are sealed with keys that everyone can derive from the target id (RFC 9001, 5.2), so the server's name
and the fingerprint are readable; :mod:`govsec.crypto.quicinitial` opens them. A hello may come in pieces, in any order,
over several datagrams: up to :data:`_HELLO_MAX` bytes of it are put together for up to :data:`_FLOWS_MAX` flows.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from govsec.crypto.quicinitial import open_client_initial
from govsec.dissect.messages import FlowRef, Message, QuicInitial
from govsec.dissect.tls import client_hello
from govsec.dissect.wire import Cursor
from govsec.errors import FormatError, IntegrityError

VERSION_1, VERSION_2 = 0x00000001, 0x6B3343CF
_CONNECTION_ID_MAX = 20
_HELLO_MAX = 8 << 10
_PIECES_MAX = 64
_FLOWS_MAX = 4096
#: The smallest datagram that a client may send first (RFC 9000, 14.1).
_DATAGRAM_MIN = 1200
_CLIENT_HELLO = 1
_PADDING, _PING, _ACK, _ACK_ECN, _CRYPTO = 0, 1, 2, 3, 6


@dataclass(slots=True)
class _Hello:
    """What has come of one ClientHello. ``key_id``: the first target id, from which the keys come."""

    key_id: bytes
    pieces: dict[int, bytes] = field(default_factory=dict)


class QuicFlows:
    """The connections whose hello is on its way."""

    def __init__(self) -> None:
        self._hellos: dict[int, _Hello] = {}

    def forget(self, flow: int) -> None:
        """Nothing more is wanted of this flow."""
        self._hellos.pop(flow, None)

    def read(self, flow: FlowRef, is_originator: bool, data: bytes, time_ns: int) -> tuple[list[Message], bool]:
        """What one datagram said, and whether nothing more is to be expected of its flow."""
        try:
            head = read_long_header(data)
        except FormatError:
            return [], False
        if not is_originator or not head.is_initial or len(data) < _DATAGRAM_MIN:
            return [], False
        found: list[Message] = []
        hello = self._hellos.get(flow.id)
        if hello is None:
            found.append(QuicInitial(time_ns, flow, True, head.version, head.target, head.source))
            if len(self._hellos) >= _FLOWS_MAX:
                del self._hellos[next(iter(self._hellos))]
            hello = self._hellos[flow.id] = _Hello(head.target)
        try:
            frames = open_client_initial(
                data[: head.end], version=head.version, key_id=hello.key_id, number_at=head.number_at
            )
            _collect(frames, hello)
            body = _whole(hello)
            if body is None:
                return found, False
            found.append(client_hello(body, time_ns=time_ns, flow=flow, is_originator=True, is_quic=True))
        except IntegrityError:  # of a version whose keys are others, or no QUIC at all
            pass
        return found, True


@dataclass(frozen=True, slots=True)
class LongHeader:
    """Where things lie in the first packet of a datagram; ``end`` is behind it, ``number_at`` is sealed."""

    version: int
    is_initial: bool
    target: bytes
    source: bytes
    number_at: int
    end: int


def read_long_header(data: bytes) -> LongHeader:
    """The first packet of a datagram.

    Raises:
        FormatError: it has no long header, of a version that is known.
    """
    cursor = Cursor(data)
    first, version = cursor.u8(), cursor.u32()
    if first & 0xC0 != 0xC0 or version not in (VERSION_1, VERSION_2):
        raise FormatError(f"no long header of QUIC: {first:#x}, version {version:#x}")
    target, source = _connection_id(cursor), _connection_id(cursor)
    is_initial = first >> 4 & 3 == (0 if version == VERSION_1 else 1)
    if not is_initial:
        return LongHeader(version, False, target, source, cursor.at, len(data))
    cursor.skip(_variable(cursor))
    size = _variable(cursor)
    number_at = cursor.at
    cursor.skip(size)
    return LongHeader(version, True, target, source, number_at, cursor.at)


def _connection_id(cursor: Cursor) -> bytes:
    size = cursor.u8()
    if size > _CONNECTION_ID_MAX:
        raise FormatError(f"a connection id of {size} bytes")
    return cursor.take(size)


def _variable(cursor: Cursor) -> int:
    """An integer of 1, 2, 4 or 8 bytes (RFC 9000, 16)."""
    first = cursor.u8()
    size = 1 << (first >> 6)
    return (first & 0x3F) << 8 * (size - 1) | int.from_bytes(cursor.take(size - 1), "big")


def _collect(frames: bytes, hello: _Hello) -> None:
    cursor = Cursor(frames)
    while cursor.left:
        kind = cursor.u8()
        if kind == _CRYPTO:
            position = _variable(cursor)
            piece = cursor.take(_variable(cursor))
            if position + len(piece) > _HELLO_MAX or len(hello.pieces) >= _PIECES_MAX:
                raise FormatError("a QUIC hello that is larger, or in more pieces, than any honest one")
            hello.pieces.setdefault(position, piece)
        elif kind in (_ACK, _ACK_ECN):
            _pass_ack(cursor, kind)
        elif kind not in (_PADDING, _PING):
            raise FormatError(f"a frame of type {kind} in a QUIC Initial packet")


def _pass_ack(cursor: Cursor, kind: int) -> None:
    _variable(cursor)
    _variable(cursor)
    ranges = _variable(cursor)
    _variable(cursor)
    for _ in range(2 * ranges + (3 if kind == _ACK_ECN else 0)):
        _variable(cursor)  # ends by itself: each takes a byte


def _whole(hello: _Hello) -> bytes | None:
    """The body of the ClientHello when all of it has come."""
    data = b""
    for position, piece in sorted(hello.pieces.items()):
        if position > len(data):
            break
        data += piece[len(data) - position :]
    if len(data) < 4:
        return None
    if data[0] != _CLIENT_HELLO:
        raise FormatError(f"a QUIC handshake that begins with type {data[0]}")
    size = int.from_bytes(data[1:4], "big")
    return data[4 : 4 + size] if len(data) >= 4 + size else None
