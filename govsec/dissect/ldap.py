"""LDAP (RFC 4511): binds, searches and what they find, as they open a connection.

::

    SEQUENCE { messageID INTEGER, protocolOp [APPLICATION n] ..., controls [0] OPTIONAL }      in BER, sizes definite

Passwords of simple binds are passed over; attributes of entries are named, their values are not kept.
"""

from __future__ import annotations

from govsec.dissect.messages import FlowRef, LdapMessage, LoginOutcome
from govsec.dissect.ntlm import find_ntlm
from govsec.dissect.parsing import HEAD_SIZE, StreamParser
from govsec.dissect.wire import Cursor, show
from govsec.errors import FormatError

_SEQUENCE, _INTEGER, _OCTETS, _ENUMERATED = 0x30, 0x02, 0x04, 0x0A
_OPERATIONS = {
    0x60: "bind_request", 0x61: "bind_response", 0x42: "unbind", 0x63: "search_request", 0x64: "search_entry",
    0x65: "search_done", 0x73: "search_reference", 0x66: "modify_request", 0x67: "modify_response",
    0x68: "add_request", 0x69: "add_response", 0x4A: "delete_request", 0x6B: "delete_response",
    0x6C: "rename_request", 0x6D: "rename_response", 0x6E: "compare_request", 0x6F: "compare_response",
    0x50: "abandon", 0x77: "extended_request", 0x78: "extended_response", 0x79: "intermediate_response",
}  # fmt: skip
_NAMED = frozenset({0x63, 0x64, 0x66, 0x68, 0x6C, 0x6E})
_RESULTS = frozenset({0x61, 0x65, 0x67, 0x69, 0x6B, 0x6D, 0x6F, 0x78})
_SIMPLE, _SASL = 0x80, 0xA3
_SUCCESS, _IN_PROGRESS, _INVALID_CREDENTIALS = 0, 14, 49
_ATTRIBUTES_MAX = 32
#: The object identifier of StartTLS (RFC 4511, 4.14).
_START_TLS = b"1.3.6.1.4.1.1466.20037"


def is_ldap(data: bytes) -> bool | None:
    """Whether a side's first bytes are an LDAP message; None: too few to say."""
    if data[:1] != b"\x30":
        return False if data else None
    if len(data) < 12:
        return None if len(data) < 7 else _begins(data)
    return _begins(data)


def _begins(data: bytes) -> bool:
    try:
        cursor = Cursor(data)
        tag, size = _header(cursor)
        kind, width = _header(cursor)
        cursor.skip(width)
        return tag == _SEQUENCE and size >= 5 and kind == _INTEGER and width <= 4 and cursor.u8() in _OPERATIONS
    except FormatError:
        return False


class LdapParser(StreamParser):
    """Operations of one connection."""

    name = "ldap"

    def __init__(self, flow: FlowRef) -> None:
        super().__init__(flow)
        self._user: str | None = None
        self._is_sasl = False
        self._is_starting_tls = False

    def read(self, is_originator: bool, data: bytes, time_ns: int) -> int:
        at = 0
        while self.wants[is_originator] and not self.is_handed_over and len(data) - at >= 7:
            cursor = Cursor(data, at)
            tag, size = _header(cursor)
            if tag != _SEQUENCE:
                raise FormatError(f"an LDAP message of tag {tag:#x}")
            end = cursor.at + size
            if end > len(data):
                if size > HEAD_SIZE:
                    return end  # longer than is kept: passed over
                break
            self._message(is_originator, cursor.part(size), time_ns)
            at = end
        return at

    def _message(self, is_originator: bool, cursor: Cursor, time_ns: int) -> None:
        _element(cursor, _INTEGER)
        tag, size = _header(cursor)
        operation = _OPERATIONS.get(tag)
        if operation is None:
            raise FormatError(f"an LDAP operation of tag {tag:#x}")
        body = cursor.part(size)
        name = ""
        result: int | None = None
        attributes: tuple[str, ...] = ()
        if tag == 0x60:
            name = self._bind(is_originator, body, time_ns)
        elif tag == 0x4A:
            name = show(body.take(body.left))
        elif tag in _NAMED:
            name = show(_element(body, _OCTETS))
            attributes = _attributes(body) if tag == 0x64 else ()
        elif tag in _RESULTS:
            result = int.from_bytes(_element(body, _ENUMERATED)[:4], "big")
            name = show(_element(body, _OCTETS))
            self._judge(is_originator, tag, result, body, time_ns)
            self.is_handed_over = self._is_starting_tls and tag == 0x78 and result == _SUCCESS
        elif tag == 0x77:
            self._is_starting_tls = _START_TLS in body.take(body.left)
        self.messages.append(LdapMessage(time_ns, self.flow, is_originator, operation, name, result, attributes))

    def _bind(self, is_originator: bool, body: Cursor, time_ns: int) -> str:
        _element(body, _INTEGER)
        name = show(_element(body, _OCTETS))
        kind, size = _header(body)
        proof = body.take(size)
        if kind == _SASL:
            self._user = None
            ntlm = find_ntlm(proof, time_ns=time_ns, flow=self.flow, is_originator=is_originator, service="ldap")
            self._is_sasl = True
            if ntlm is not None:
                self.messages.append(ntlm)
                self._user = ntlm.user or None
        elif kind == _SIMPLE:
            # An empty password is an anonymous bind, whatever the name (RFC 4513, 5.1.2).
            self._user = name if proof else ""
        return name

    def _judge(self, is_originator: bool, tag: int, result: int, body: Cursor, time_ns: int) -> None:
        if tag != 0x61:
            return
        ntlm = find_ntlm(
            body.take(body.left), time_ns=time_ns, flow=self.flow, is_originator=is_originator, service="ldap"
        )
        if ntlm is not None:
            self.messages.append(ntlm)
        if result in (_SUCCESS, _INVALID_CREDENTIALS) and self._user != "":
            self.messages.append(
                LoginOutcome(time_ns, self.flow, not is_originator, "ldap", self._user, result == _SUCCESS)
            )
        if result == _SUCCESS and self._is_sasl:  # what follows may be wrapped (RFC 4513, 5.2.1)
            self.stop()


def _attributes(body: Cursor) -> tuple[str, ...]:
    tag, size = _header(body)
    if tag != _SEQUENCE:
        raise FormatError(f"attributes of LDAP of tag {tag:#x}")
    listed = body.part(size)
    found: list[str] = []
    while listed.left and len(found) < _ATTRIBUTES_MAX:
        attribute = Cursor(_element(listed, _SEQUENCE))
        found.append(show(_element(attribute, _OCTETS), 64))
    return tuple(found)


def _element(cursor: Cursor, tag: int) -> bytes:
    found, size = _header(cursor)
    if found != tag:
        raise FormatError(f"tag {found:#x} in LDAP, expected {tag:#x}")
    return cursor.take(size)


def _header(cursor: Cursor) -> tuple[int, int]:
    """Tag and size of the next element; its body comes next."""
    tag, size = cursor.u8(), cursor.u8()
    if size < 0x80:
        return tag, size
    if not 1 <= size & 0x7F <= 4:
        raise FormatError(f"a size in {size & 0x7F} bytes in LDAP")
    return tag, int.from_bytes(cursor.take(size & 0x7F), "big")
