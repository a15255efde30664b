"""Neighbour discovery of IPv6: routers and neighbours present themselves (RFC 4861; DNS servers: RFC 8106).

::

    type (1) || code (1) || checksum (2) || fixed part by type || options: type (1) || size in 8 bytes (1) || data
"""

from __future__ import annotations

from collections.abc import Iterator

from govsec.dissect.messages import NeighborMessage, RouterAdvertisement, RouterPrefix
from govsec.dissect.wire import Cursor, ipv6_text, mac_text
from govsec.errors import FormatError

ROUTER_SOLICITATION = 133
ROUTER_ADVERTISEMENT = 134
_KINDS = {
    ROUTER_SOLICITATION: "router_solicitation",
    135: "solicitation",
    136: "advertisement",
    137: "redirect",
}
#: The types of ICMPv6 that are read here.
TYPES = (ROUTER_ADVERTISEMENT, *_KINDS)

_SOURCE_MAC, _TARGET_MAC, _PREFIX, _DNS_SERVERS = 1, 2, 3, 25
#: An honest advertisement has a handful; a packet has room for 180.
_OPTIONS_MAX = 64
_LISTED_MAX = 32


def read_neighbor(
    data: bytes, *, time_ns: int, vlan: int, source: str, destination: str, mac_source: str, hop_limit: int
) -> NeighborMessage | RouterAdvertisement:
    """One message of neighbour discovery, from the type of ICMPv6 on.

    Raises:
        FormatError: it is cut off, of another type, or an option has no size.
    """
    cursor = Cursor(data)
    kind = cursor.u8()
    if kind not in TYPES:
        raise FormatError(f"ICMPv6 of type {kind} is no neighbour discovery")
    cursor.skip(3)
    if kind == ROUTER_ADVERTISEMENT:
        return _advertisement(cursor, time_ns, vlan, source, mac_source, hop_limit)
    flags = cursor.u8()
    cursor.skip(3)
    target = "" if kind == ROUTER_SOLICITATION else ipv6_text(cursor.take(16))
    if kind == 137:
        cursor.skip(16)  # the destination that is redirected; the target is where to
    wanted = _SOURCE_MAC if kind in (ROUTER_SOLICITATION, 135) else _TARGET_MAC
    mac = None
    for option, body in _options(cursor):
        if option == wanted and len(body) >= 6:
            mac = mac_text(body[:6])
    return NeighborMessage(
        time_ns=time_ns,
        vlan=vlan,
        kind=_KINDS[kind],
        source=source,
        destination=destination,
        target=target,
        mac=mac,
        mac_source=mac_source,
        flags=flags,
        hop_limit=hop_limit,
    )


def _advertisement(
    cursor: Cursor, time_ns: int, vlan: int, source: str, mac_source: str, hop_limit: int
) -> RouterAdvertisement:
    cursor.skip(1)  # the hop limit that hosts shall use
    flags, lifetime_s = cursor.u8(), cursor.u16()
    cursor.skip(8)
    mac = None
    prefixes: list[RouterPrefix] = []
    servers: list[str] = []
    for option, body in _options(cursor):
        if option == _SOURCE_MAC and len(body) >= 6:
            mac = mac_text(body[:6])
        elif option == _PREFIX:
            prefixes.append(_prefix(body))
        elif option == _DNS_SERVERS:
            servers += [ipv6_text(body[at : at + 16]) for at in range(6, len(body) - 15, 16)]
    return RouterAdvertisement(
        time_ns=time_ns,
        vlan=vlan,
        source=source,
        mac_source=mac_source,
        mac=mac,
        lifetime_s=lifetime_s,
        flags=flags,
        hop_limit=hop_limit,
        prefixes=tuple(prefixes[:_LISTED_MAX]),
        dns_servers=tuple(servers[:_LISTED_MAX]),
    )


def _prefix(body: bytes) -> RouterPrefix:
    cursor = Cursor(body)
    length = cursor.u8()
    cursor.skip(1)
    valid_s, preferred_s = cursor.u32(), cursor.u32()
    cursor.skip(4)
    return RouterPrefix(f"{ipv6_text(cursor.take(16))}/{length}", valid_s, preferred_s)


def _options(cursor: Cursor) -> Iterator[tuple[int, bytes]]:
    for _ in range(_OPTIONS_MAX):
        if cursor.left == 0:
            return
        option, size = cursor.u8(), cursor.u8()
        if size == 0:
            raise FormatError(f"option {option} of neighbour discovery has no size")
        yield option, cursor.take(8 * size - 2)
