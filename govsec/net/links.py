"""From the start of a frame to its network layer: Ethernet, Linux cooked, loopback, PPP and raw IP, and VLAN tags.

One idea: each link type says, for many frames at once, where its network header begins and which Ethernet type that is.
Tags (IEEE 802.1Q and 802.1ad) are then taken off one level at a time, from those frames alone that have one more.

Numbers and layouts: tcpdump.org/linktypes.html. What is not known here keeps Ethernet type 0 and the fault ``LINK``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from govsec.net.columns import I8, U2, U4, U8, Bools, Fault
from govsec.net.gather import gather

NULL = 0
ETHERNET = 1
PPP = 9
PPP_HDLC = 50
RAW = 101
#: Raw IP under the numbers that systems use among themselves.
RAW_OLD = (12, 14)
LOOP = 108
COOKED = 113
IPV4_ONLY = 228
IPV6_ONLY = 229
COOKED_2 = 276

TYPE_IPV4 = 0x0800
TYPE_IPV6 = 0x86DD
_TYPES_VLAN = (0x8100, 0x88A8, 0x9100)
#: Below, the field is the length of an 802.3 frame.
_TYPE_MIN = 0x0600
_VLAN_ID = np.uint16(0x0FFF)
#: Providers use two; more is a lie.
VLAN_DEPTH_MAX = 4
_FAMILIES_IPV4 = (2,)
#: Linux, NetBSD, FreeBSD, macOS.
_FAMILIES_IPV6 = (10, 24, 28, 30)

_Chosen: TypeAlias = NDArray[np.intp] | slice

_ETHERNET = np.dtype(
    {"names": ["target", "source", "type"], "formats": [">u8", ">u8", ">u2"], "offsets": [0, 6, 12], "itemsize": 14}
)
_COOKED = np.dtype({"names": ["source", "type"], "formats": [">u8", ">u2"], "offsets": [6, 14], "itemsize": 16})
_COOKED_2 = np.dtype({"names": ["source", "type"], "formats": [">u8", ">u2"], "offsets": [12, 0], "itemsize": 20})
_LAYOUTS = {ETHERNET: _ETHERNET, COOKED: _COOKED, COOKED_2: _COOKED_2}
_TAG = np.dtype([("tci", ">u2"), ("type", ">u2")])
_WORD = np.dtype([("word", ">u4")])
#: The two bytes behind a MAC address are read with it.
_MAC_SHIFT = np.uint64(16)


@dataclass(slots=True)
class Links:
    """What the link layer says of each frame. ``network`` is a position in the buffer."""

    network: I8
    ethertype: U2
    vlan: U2
    mac_source: U8
    mac_target: U8
    faults: U2


def read_links(data: memoryview, start: I8, end: I8, link_type: U2, vlan_moved: U2 | None) -> Links:
    """The link layers of frames that lie at ``start`` up to ``end`` in ``data`` (which has slack behind)."""
    count = len(start)
    links = Links(
        network=start.copy(),
        ethertype=np.zeros(count, np.uint16),
        vlan=np.zeros(count, np.uint16) if vlan_moved is None else vlan_moved & _VLAN_ID,
        mac_source=np.zeros(count, np.uint64),
        mac_target=np.zeros(count, np.uint64),
        faults=np.zeros(count, np.uint16),
    )
    kinds = np.unique(link_type) if count and (link_type != link_type[0]).any() else link_type[:1]
    for kind in kinds.tolist():
        chosen = slice(None) if len(kinds) == 1 else np.flatnonzero(link_type == kind)
        _read_kind(kind, data, start[chosen], end[chosen], links, chosen)
    _take_tags(data, end, links)
    is_length = links.ethertype < _TYPE_MIN
    if is_length.any():
        links.ethertype[is_length] = 0
    return links


def _read_kind(kind: int, data: memoryview, start: I8, end: I8, links: Links, chosen: _Chosen) -> None:
    if kind in _LAYOUTS:
        rows = gather(data, start, _LAYOUTS[kind])
        held = end - start >= rows.dtype.itemsize
        for name, column in (("source", links.mac_source), ("target", links.mac_target)):
            if name in (rows.dtype.names or ()):
                column[chosen] = rows[name].astype(np.uint64) >> _MAC_SHIFT
        ethertype: NDArray[np.integer[Any]] = rows["type"]
        size: NDArray[np.integer[Any]] | int = rows.dtype.itemsize
    elif kind in _LINKS_WORD:
        word = gather(data, start, _WORD)["word"].astype(np.uint32)
        ethertype, size = _LINKS_WORD[kind](word)
        held = end - start >= np.maximum(size, 1)
    else:
        links.faults[chosen] |= Fault.LINK.value
        return
    links.ethertype[chosen] = ethertype
    if held.all():
        links.network[chosen] += size
        return
    links.mac_source[chosen] *= held
    links.mac_target[chosen] *= held
    links.ethertype[chosen] *= held
    links.network[chosen] += size * held
    links.faults[chosen] |= ~held * np.uint16(Fault.SHORT.value)


def _loopback(word: U4) -> tuple[U2, I8]:
    """An address family in front, in the byte order of whoever captured."""
    family = np.where(word > 0xFFFF, word.byteswap(), word)
    ethertype = np.select(
        [np.isin(family, _FAMILIES_IPV4), np.isin(family, _FAMILIES_IPV6)], [TYPE_IPV4, TYPE_IPV6], 0
    ).astype(np.uint16)
    return ethertype, np.full(len(word), 4, np.int64)


def _raw(word: U4) -> tuple[U2, I8]:
    version = word >> np.uint32(28)
    ethertype = np.select([version == 4, version == 6], [TYPE_IPV4, TYPE_IPV6], 0).astype(np.uint16)
    return ethertype, np.zeros(len(word), np.int64)


def _point_to_point(word: U4) -> tuple[U2, I8]:
    """The protocol (RFC 1661), behind the address and control bytes of HDLC (RFC 1662) where there are any."""
    framed = (word >> np.uint32(16)) == 0xFF03
    protocol = np.where(framed, word & np.uint32(0xFFFF), word >> np.uint32(16))
    ethertype = np.select([protocol == 0x0021, protocol == 0x0057], [TYPE_IPV4, TYPE_IPV6], 0).astype(np.uint16)
    return ethertype, np.where(framed, 4, 2).astype(np.int64)


#: Link types whose first word says everything.
_LINKS_WORD: dict[int, Callable[[U4], tuple[U2, I8]]] = {
    NULL: _loopback,
    LOOP: _loopback,
    PPP: _point_to_point,
    PPP_HDLC: _point_to_point,
    **dict.fromkeys((RAW, *RAW_OLD, IPV4_ONLY, IPV6_ONLY), _raw),
}


def _take_tags(data: memoryview, end: I8, links: Links) -> None:
    left = np.flatnonzero(_is_tag(links.ethertype))
    for depth in range(VLAN_DEPTH_MAX):
        if not len(left):
            return
        at = links.network[left]
        held = end[left] - at >= _TAG.itemsize
        tags = gather(data, at, _TAG)
        if depth == 0:
            # A tag that the kernel took out of the frame was outside those that are still in it.
            vlan = links.vlan[left]
            links.vlan[left] = np.where(vlan == 0, tags["tci"] * held & _VLAN_ID, vlan)
        links.ethertype[left] = tags["type"] * held
        links.network[left] = at + _TAG.itemsize * held
        links.faults[left[~held]] |= Fault.SHORT.value
        left = left[_is_tag(links.ethertype[left])]
    links.faults[left] |= Fault.NESTED.value
    links.ethertype[left] = 0


def _is_tag(ethertype: U2) -> Bools:
    one, other, old = _TYPES_VLAN
    found: Bools = (ethertype == one) | (ethertype == other) | (ethertype == old)
    return found
