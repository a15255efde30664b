"""Which protocol a flow speaks, by what is said on it; ports are not asked.

So a service on a strange port is read as well, and what only looks like one by its port is not. Each protocol's own
module knows its first bytes; here is the order in which they are asked.
"""

from __future__ import annotations

from collections.abc import Callable

from govsec.dissect.dcerpc import DceRpcParser, is_dcerpc
from govsec.dissect.dns import HEADER_SIZE, looks_like_dns, read_dns
from govsec.dissect.http import HttpParser, is_http
from govsec.dissect.ldap import LdapParser, is_ldap
from govsec.dissect.lines import recognise_lines
from govsec.dissect.parsing import DEEP_SIZE, StreamParser
from govsec.dissect.rdp import RdpParser, is_rdp
from govsec.dissect.smb import SmbParser, is_smb
from govsec.dissect.ssh import SshParser, is_ssh
from govsec.dissect.tls import TlsParser, is_tls
from govsec.errors import FormatError

_DNS_MESSAGE_MAX = 16 << 10


class DnsStreamParser(StreamParser):
    """DNS over TCP (RFC 7766): each message behind its size (2)."""

    name = "dns"
    depth = DEEP_SIZE

    def read(self, is_originator: bool, data: bytes, time_ns: int) -> int:
        at = 0
        while len(data) - at >= 2:
            size = data[at] << 8 | data[at + 1]
            if size < HEADER_SIZE:
                raise FormatError(f"a DNS message of {size} bytes")
            if size >= _DNS_MESSAGE_MAX:
                return at + 2 + size
            if len(data) - at < 2 + size:
                break
            message = data[at + 2 : at + 2 + size]
            self.messages.append(read_dns(message, time_ns=time_ns, flow=self.flow, is_originator=is_originator))
            at += 2 + size
        return at


def is_dns_stream(data: bytes) -> bool | None:
    """Whether a side's first bytes are a DNS message behind its size; None: too few to say."""
    if len(data) < 2 + HEADER_SIZE:
        return None if len(data) < 2 or data[0] < _DNS_MESSAGE_MAX >> 8 else False
    size = data[0] << 8 | data[1]
    if not HEADER_SIZE + 5 <= size < _DNS_MESSAGE_MAX or data[6:8] != b"\0\1" or data[4] & 0x78 or data[5] & 0x40:
        return False
    return looks_like_dns(data[2 : 2 + size]) if len(data) >= 2 + size else None


_BY_ONE_SIDE: tuple[tuple[Callable[[bytes], bool | None], type[StreamParser]], ...] = (
    (is_tls, TlsParser),
    (is_http, HttpParser),
    (is_ssh, SshParser),
    (is_smb, SmbParser),
    (is_dcerpc, DceRpcParser),
    (is_rdp, RdpParser),
    (is_ldap, LdapParser),
    (is_dns_stream, DnsStreamParser),
)


def recognise(originator: bytes, responder: bytes) -> type[StreamParser] | bool | None:
    """The parser for a flow on which this was said first; False: nobody reads it; None: too little was said."""
    is_open = False
    for data in (originator, responder):
        if not data:
            continue
        for looks, parser in _BY_ONE_SIDE:
            answer = looks(data)
            if answer:
                return parser
            is_open = is_open or answer is None
    lines = recognise_lines(originator, responder)
    return None if lines is False and is_open else lines
