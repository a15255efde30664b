"""IPv4 and IPv6 headers of many packets at once, with options, fragments and extension headers.

One idea: both versions end in the same columns; extension headers are stepped over one at a time, all packets that have
one more together. What a length field claims is believed only as far as the frame was long on the wire.

Source: RFC 791, RFC 8200 (4: extension headers), RFC 4302, 2.2 (AH counts in words of four bytes).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from govsec.net.columns import I8, IPV4_MAPPED, U1, U2, U8, Bools, Fault, Fragment
from govsec.net.gather import gather
from govsec.net.links import TYPE_IPV4, TYPE_IPV6

#: RFC 8200 expects each extension header once, and destination options twice.
EXTENSIONS_MAX = 8

_IPV4 = np.dtype(
    {
        "names": ["version", "size", "fragment", "ttl", "protocol", "source", "target"],
        "formats": ["u1", ">u2", ">u2", "u1", "u1", ">u4", ">u4"],
        "offsets": [0, 2, 6, 8, 9, 12, 16],
        "itemsize": 20,
    }
)
_IPV6 = np.dtype(
    {
        "names": ["version", "size", "protocol", "ttl", "source_hi", "source_lo", "target_hi", "target_lo"],
        "formats": ["u1", ">u2", "u1", "u1", ">u8", ">u8", ">u8", ">u8"],
        "offsets": [0, 4, 6, 7, 8, 16, 24, 32],
        "itemsize": 40,
    }
)
_EXTENSION = np.dtype(
    {"names": ["next", "size", "fragment"], "formats": ["u1", "u1", ">u2"], "offsets": [0, 1, 2], "itemsize": 8}
)
_FRAGMENT, _AUTHENTICATION = 44, 51
#: Hop by hop, routing, fragment, authentication, destination options, mobility, HIP, shim6.
_IS_EXTENSION = np.zeros(256, np.bool_)
_IS_EXTENSION[[0, 43, _FRAGMENT, _AUTHENTICATION, 60, 135, 139, 140]] = True
_MORE_FRAGMENTS = 0x2000
_FRAGMENT_OFFSET = 0x1FFF

_Chosen: TypeAlias = NDArray[np.intp] | slice


@dataclass(slots=True)
class Network:
    """The IP headers of a batch. ``transport`` is where the next header is, ``wire_end`` where the IP packet ends."""

    version: U1
    source_hi: U8
    source_lo: U8
    target_hi: U8
    target_lo: U8
    protocol: U1
    ttl: U1
    fragment: U1
    ip_size: I8
    transport: I8
    wire_end: I8


def read_network(data: memoryview, at: I8, ethertype: U2, end: I8, wire_end: I8, faults: U2) -> Network:
    """The IP headers at ``at``, of frames captured up to ``end`` and sent up to ``wire_end``; adds to ``faults``."""
    count = len(at)
    network = Network(
        version=np.zeros(count, np.uint8),
        source_hi=np.zeros(count, np.uint64),
        source_lo=np.zeros(count, np.uint64),
        target_hi=np.zeros(count, np.uint64),
        target_lo=np.zeros(count, np.uint64),
        protocol=np.zeros(count, np.uint8),
        ttl=np.zeros(count, np.uint8),
        fragment=np.zeros(count, np.uint8),
        ip_size=np.zeros(count, np.int64),
        transport=at.copy(),
        wire_end=wire_end.copy(),
    )
    for kind, read in ((TYPE_IPV4, _read_ipv4), (TYPE_IPV6, _read_ipv6)):
        is_kind = ethertype == kind
        found = int(np.count_nonzero(is_kind))
        if found:
            # Most batches are of one kind; a slice spares copying them.
            chosen = slice(None) if found == count else np.flatnonzero(is_kind)
            read(data, at[chosen], end[chosen], network, faults, chosen)
    _step_over_extensions(data, end, network, faults)
    return network


def _read_ipv4(data: memoryview, at: I8, end: I8, network: Network, faults: U2, chosen: _Chosen) -> None:
    rows = gather(data, at, _IPV4)
    first = rows["version"]
    header = (first & 15).astype(np.int64) * 4
    is_held = end - at >= _IPV4.itemsize
    is_right = first >> 4 == 4
    is_read = is_held & is_right & (header >= _IPV4.itemsize)
    _accuse(faults, chosen, Fault.SHORT, ~is_held)
    _accuse(faults, chosen, Fault.VERSION, is_held & ~is_right)
    _accuse(faults, chosen, Fault.LENGTH, is_held & is_right & (header < _IPV4.itemsize))
    place = rows["fragment"].astype(np.uint16)
    is_later = (place & _FRAGMENT_OFFSET) != 0
    network.fragment[chosen] = np.where(is_later, Fragment.LATER, (place & _MORE_FRAGMENTS) != 0) * is_read
    network.version[chosen] = is_read * np.uint8(4)
    network.ttl[chosen] = rows["ttl"] * is_read
    network.protocol[chosen] = rows["protocol"] * is_read
    network.source_lo[chosen] = (rows["source"] | np.uint64(IPV4_MAPPED)) * is_read
    network.target_lo[chosen] = (rows["target"] | np.uint64(IPV4_MAPPED)) * is_read
    _place(network, faults, chosen, at, end, header, rows["size"].astype(np.int64), is_read)


def _read_ipv6(data: memoryview, at: I8, end: I8, network: Network, faults: U2, chosen: _Chosen) -> None:
    rows = gather(data, at, _IPV6)
    is_held = end - at >= _IPV6.itemsize
    is_right = rows["version"] >> 4 == 6
    is_read = is_held & is_right
    _accuse(faults, chosen, Fault.SHORT, ~is_held)
    _accuse(faults, chosen, Fault.VERSION, is_held & ~is_right)
    network.version[chosen] = is_read * np.uint8(6)
    network.ttl[chosen] = rows["ttl"] * is_read
    network.protocol[chosen] = rows["protocol"] * is_read
    network.source_hi[chosen] = rows["source_hi"] * is_read
    network.source_lo[chosen] = rows["source_lo"] * is_read
    network.target_hi[chosen] = rows["target_hi"] * is_read
    network.target_lo[chosen] = rows["target_lo"] * is_read
    payload = rows["size"].astype(np.int64)
    # A size of 0 is a jumbogram or a merged packet, as in IPv4.
    size = np.where(payload == 0, 0, payload + _IPV6.itemsize)
    header = np.full(len(at), _IPV6.itemsize, np.int64)
    _place(network, faults, chosen, at, end, header, size, is_read)


def _place(
    network: Network, faults: U2, chosen: _Chosen, at: I8, end: I8, header: I8, size: I8, is_read: Bools
) -> None:
    """Where the packet ends and what follows its header begins."""
    wire_room = network.wire_end[chosen] - at
    size = np.where(size == 0, wire_room, size)
    _accuse(faults, chosen, Fault.LENGTH, is_read & ((size < header) | (size > wire_room)))
    _accuse(faults, chosen, Fault.SHORT, is_read & (at + header > end))
    network.ip_size[chosen] = size * is_read
    network.wire_end[chosen] = at + np.where(is_read, np.minimum(size, wire_room), wire_room)
    network.transport[chosen] = np.minimum(at + header * is_read, end)


def _accuse(faults: U2, chosen: _Chosen, fault: Fault, guilty: Bools) -> None:
    if guilty.any():
        faults[chosen] |= guilty * np.uint16(fault.value)


def _step_over_extensions(data: memoryview, end: I8, network: Network, faults: U2) -> None:
    left = np.flatnonzero(_has_extension(network.version, network.protocol))
    for _ in range(EXTENSIONS_MAX):
        if not len(left):
            return
        at = network.transport[left]
        kind = network.protocol[left]
        rows = gather(data, at, _EXTENSION)
        size = (rows["size"].astype(np.int64) + 1) * 8
        size[kind == _AUTHENTICATION] = (rows["size"][kind == _AUTHENTICATION].astype(np.int64) + 2) * 4
        is_fragment = kind == _FRAGMENT
        size[is_fragment] = _EXTENSION.itemsize
        is_held = (end[left] - at >= _EXTENSION.itemsize) & (at + size <= end[left])
        faults[left[~is_held]] |= Fault.SHORT.value
        left, rows, size, is_fragment = left[is_held], rows[is_held], size[is_held], is_fragment[is_held]
        place = rows["fragment"].astype(np.uint16)
        is_later = is_fragment & (place >> 3 != 0)
        network.fragment[left[is_fragment & (place & 1 != 0)]] = Fragment.FIRST
        network.fragment[left[is_later]] = Fragment.LATER
        network.protocol[left] = rows["next"]
        network.transport[left] += size
        left = left[~is_later & _has_extension(network.version[left], rows["next"])]
    faults[left] |= Fault.NESTED.value


def _has_extension(version: U1, protocol: U1) -> Bools:
    """IPv4 knows the authentication header alone."""
    found: Bools = (version == 6) & _IS_EXTENSION[protocol] | (version == 4) & (protocol == _AUTHENTICATION)
    return found
