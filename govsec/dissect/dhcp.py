"""DHCP for IPv4 (RFC 2131; options: RFC 2132, also where they overflow into the fields of names, RFC 3396 apart).

::

    op (1) || hardware, its size, hops (3) || transaction (4) || seconds, flags (4) || client, your, server, relay
    address (4 x 4) || client hardware (16) || server name (64) || boot file (128) || 63 82 53 63 || options
    option: code (1) || size (1) || data; 0 pads, 255 ends
"""

from __future__ import annotations

from govsec.dissect.messages import DhcpMessage, FlowRef
from govsec.dissect.wire import ipv4_text, mac_text, show
from govsec.errors import FormatError

_COOKIE = bytes.fromhex("63825363")
_FIXED_SIZE = 236
_SERVER_NAME, _BOOT_FILE = slice(44, 108), slice(108, 236)
_KINDS = {1: "discover", 2: "offer", 3: "request", 4: "decline", 5: "ack", 6: "nak", 7: "release", 8: "inform"}
_ROUTER, _DNS, _HOSTNAME, _REQUESTED, _LEASE, _OVERLOAD, _KIND, _SERVER, _VENDOR = 3, 6, 12, 50, 51, 52, 53, 54, 60
_LISTED_MAX = 16


def looks_like_dhcp(data: bytes) -> bool:
    """Whether a datagram has the cookie of DHCP in its place."""
    return len(data) > _FIXED_SIZE + 4 and data[_FIXED_SIZE : _FIXED_SIZE + 4] == _COOKIE and data[0] in (1, 2)


def read_dhcp(data: bytes, *, time_ns: int, flow: FlowRef, is_originator: bool, mac_source: str) -> DhcpMessage:
    """One message.

    Raises:
        FormatError: it is cut off within its fixed part, has no cookie, or an option runs over the end.
    """
    if len(data) < _FIXED_SIZE:
        raise FormatError(f"DHCP of {len(data)} bytes, expected at least {_FIXED_SIZE}")
    if data[0] not in (1, 2):
        raise FormatError(f"DHCP with operation {data[0]}")
    options: dict[int, bytes] = {}
    if data[_FIXED_SIZE : _FIXED_SIZE + 4] == _COOKIE:
        _add_options(data[_FIXED_SIZE + 4 :], options)
        overload = options.get(_OVERLOAD, b"\0")[:1]
        if overload in (b"\1", b"\3"):
            _add_options(data[_BOOT_FILE], options)
        if overload in (b"\2", b"\3"):
            _add_options(data[_SERVER_NAME], options)
    elif len(data) > _FIXED_SIZE + 4 and any(data[_FIXED_SIZE : _FIXED_SIZE + 4]):
        raise FormatError("DHCP without its cookie")
    hardware_size = data[2] if 0 < data[2] <= 16 else 6
    lease = options.get(_LEASE, b"")
    kind = options.get(_KIND, b"")
    return DhcpMessage(
        time_ns=time_ns,
        flow=flow,
        is_originator=is_originator,
        kind=_KINDS.get(kind[0], f"type{kind[0]}") if kind else "bootp",
        is_reply=data[0] == 2,
        client_mac=mac_text(data[28 : 28 + hardware_size]),
        mac_source=mac_source,
        server=_address(options.get(_SERVER, b"")),
        offered=_address(data[16:20]),
        requested=_address(options.get(_REQUESTED, b"")),
        relay=_address(data[24:28]),
        transaction=int.from_bytes(data[4:8], "big"),
        hostname=show(options[_HOSTNAME]) if _HOSTNAME in options else None,
        vendor=show(options[_VENDOR]) if _VENDOR in options else None,
        routers=_addresses(options.get(_ROUTER, b"")),
        dns_servers=_addresses(options.get(_DNS, b"")),
        lease_s=int.from_bytes(lease, "big") if len(lease) == 4 else None,
    )


def _add_options(data: bytes, options: dict[int, bytes]) -> None:
    """Put the options in ``data`` into ``options``; of one that comes twice the first stays."""
    at = 0
    while at < len(data):
        code = data[at]
        if code == 255:
            return
        if code == 0:
            at += 1
            continue
        if at + 1 >= len(data) or at + 2 + data[at + 1] > len(data):
            raise FormatError(f"DHCP option {code} runs over the end")
        options.setdefault(code, data[at + 2 : at + 2 + data[at + 1]])
        at += 2 + data[at + 1]


def _address(data: bytes) -> str | None:
    return ipv4_text(data) if len(data) == 4 and any(data) else None


def _addresses(data: bytes) -> tuple[str, ...]:
    return tuple(ipv4_text(data[at : at + 4]) for at in range(0, min(len(data), 4 * _LISTED_MAX) - 3, 4))
