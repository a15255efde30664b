"""The packets that nearly all are, at once: whole IP without options that carries TCP, UDP or ICMP and lies nowhere.

One idea: in such a packet every field is at a fixed place behind the link layer, so one ``gather`` reads all of them,
and no offset is computed; IPv4 and IPv6 have places of their own. Which packets are so is one more column. The others
are left to ``networklayer`` and ``transport``, which give the same columns for any packet and take twice as long: a
packet that is cut in its headers, whose length fields contradict each other, a fragment, one with extension headers.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from govsec.net.columns import I8, IPV4_MAPPED, U1, U2, U4, U8, Bools, Protocol, Tunnel
from govsec.net.gather import gather
from govsec.net.links import TYPE_IPV4, TYPE_IPV6
from govsec.net.transport import VXLAN_PORT

_TCP, _UDP, _ICMP, _ICMPV6 = int(Protocol.TCP), int(Protocol.UDP), int(Protocol.ICMP), int(Protocol.ICMPV6)
_TCP_SIZE, _UDP_SIZE, _ICMP_SIZE = 20, 8, 8
#: More fragments, and the offset of this one.
_FRAGMENT = np.uint16(0x3FFF)
#: IPv4, with a header of five words.
_VERSION = 0x45
_IPV4_SIZE, _IPV6_SIZE = 20, 40


def _head(size: int, network: dict[str, tuple[str, int]]) -> np.dtype[np.void]:
    """The fields of an IP header of that size, and of the 16 bytes behind it."""
    columns = network | {
        "source_port": (">u2", size), "target_port": (">u2", size + 2), "sequence": (">u4", size + 4),
        "acknowledgment": (">u4", size + 8), "offset": ("u1", size + 12), "flags": ("u1", size + 13),
        "window": (">u2", size + 14),
    }  # fmt: skip
    return np.dtype(
        {
            "names": list(columns),
            "formats": [kind for kind, _ in columns.values()],
            "offsets": [at for _, at in columns.values()],
            "itemsize": size + 16,
        }
    )


_HEAD_IPV4 = _head(
    _IPV4_SIZE,
    {
        "version": ("u1", 0), "size": (">u2", 2), "fragment": (">u2", 6), "ttl": ("u1", 8), "protocol": ("u1", 9),
        "source": (">u4", 12), "target": (">u4", 16),
    },
)  # fmt: skip
_HEAD_IPV6 = _head(
    _IPV6_SIZE,
    {
        "version": ("u1", 0), "size": (">u2", 4), "protocol": ("u1", 6), "ttl": ("u1", 7), "source_hi": (">u8", 8),
        "source_lo": (">u8", 16), "target_hi": (">u8", 24), "target_lo": (">u8", 32),
    },
)  # fmt: skip


@dataclass(slots=True)
class Inside:
    """The columns of ``PacketBatch`` that come from behind the link layer; ``payload_offset`` is from there too."""

    ip_version: U1
    source_hi: U8
    source_lo: U8
    target_hi: U8
    target_lo: U8
    protocol: U1
    ttl: U1
    fragment: U1
    source_port: U2
    target_port: U2
    tcp_flags: U1
    tcp_sequence: U4
    tcp_acknowledgment: U4
    tcp_window: U2
    icmp_type: U1
    icmp_code: U1
    ip_size: U4
    payload_offset: U4
    payload_size: U4
    payload_claimed: U4
    tunnel: U1

    def columns(self) -> dict[str, Any]:
        """Each column by its name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def put(self, at: NDArray[np.intp], others: Inside) -> None:
        """Overwrite the packets ``at``."""
        theirs = others.columns()
        for name, column in self.columns().items():
            column[at] = theirs[name]


def read_plain(data: memoryview, at: I8, ethertype: U2, held: U4, sent: U4) -> tuple[Inside, Bools]:
    """What lies at ``at``, and which packets are plain; for the others, the columns mean nothing.

    ``held`` bytes were captured from there on, ``sent`` bytes were on the wire; not fewer.
    """
    six = np.flatnonzero(ethertype == TYPE_IPV6)
    if len(six) and len(six) == len(at):
        return _read_ipv6(data, at, held, sent)
    inside, is_plain = _read_ipv4(data, at, held, sent)
    is_plain &= ethertype == TYPE_IPV4
    if len(six):
        theirs, is_plain[six] = _read_ipv6(data, at[six], held[six], sent[six])
        inside.put(six, theirs)
    return inside, is_plain


def _read_ipv4(data: memoryview, at: I8, held: U4, sent: U4) -> tuple[Inside, Bools]:
    rows = gather(data, at, _HEAD_IPV4)
    size, protocol = rows["size"].astype(np.uint32), rows["protocol"].copy()
    transport, is_plain = _read_transport(rows, protocol, _ICMP, _IPV4_SIZE, size, held)
    is_plain &= (rows["version"] == _VERSION) & ((rows["fragment"] & _FRAGMENT) == 0) & (size <= sent)
    inside = Inside(
        ip_version=np.full(len(at), 4, np.uint8),
        source_hi=np.zeros(len(at), np.uint64),
        source_lo=rows["source"] | np.uint64(IPV4_MAPPED),
        target_hi=np.zeros(len(at), np.uint64),
        target_lo=rows["target"] | np.uint64(IPV4_MAPPED),
        protocol=protocol,
        ttl=rows["ttl"].copy(),
        fragment=np.zeros(len(at), np.uint8),
        ip_size=size,
        **transport,
    )
    return inside, is_plain


def _read_ipv6(data: memoryview, at: I8, held: U4, sent: U4) -> tuple[Inside, Bools]:
    rows = gather(data, at, _HEAD_IPV6)
    size, protocol = rows["size"].astype(np.uint32), rows["protocol"].copy()
    # A payload of 0 is a jumbogram, or was merged by the card.
    is_whole = size != 0
    size += np.uint32(_IPV6_SIZE)
    transport, is_plain = _read_transport(rows, protocol, _ICMPV6, _IPV6_SIZE, size, held)
    is_plain &= (rows["version"] >> 4 == 6) & is_whole & (size <= sent)
    inside = Inside(
        ip_version=np.full(len(at), 6, np.uint8),
        source_hi=rows["source_hi"].astype(np.uint64),
        source_lo=rows["source_lo"].astype(np.uint64),
        target_hi=rows["target_hi"].astype(np.uint64),
        target_lo=rows["target_lo"].astype(np.uint64),
        protocol=protocol,
        ttl=rows["ttl"].copy(),
        fragment=np.zeros(len(at), np.uint8),
        ip_size=size,
        **transport,
    )
    return inside, is_plain


def _read_transport(
    rows: NDArray[np.void], protocol: U1, icmp: int, ip_size: int, size: U4, held: U4
) -> tuple[dict[str, Any], Bools]:
    """The columns of TCP, UDP and ``icmp`` behind an IP header of ``ip_size``, and who is whole and right."""
    is_tcp, is_udp, is_icmp = protocol == _TCP, protocol == _UDP, protocol == icmp
    tcp_size = (rows["offset"] >> 4) << 2
    header = tcp_size * is_tcp + is_udp * np.uint8(_UDP_SIZE)
    body = header + np.uint8(ip_size)
    sequence = rows["sequence"].astype(np.uint32)
    datagram = sequence >> np.uint32(16)  # UDP has its length there
    end = np.where(is_udp, datagram + np.uint32(ip_size), size)
    is_plain = is_tcp & (tcp_size >= _TCP_SIZE) | is_udp | is_icmp
    is_plain &= held >= body + is_icmp * np.uint8(_ICMP_SIZE)
    is_plain &= (body <= end) & (end <= size)
    claimed = end - body
    source_port, target_port = rows["source_port"].astype(np.uint16), rows["target_port"].astype(np.uint16)
    icmp_type = (source_port >> np.uint16(8)).astype(np.uint8) * is_icmp
    icmp_code = source_port.astype(np.uint8) * is_icmp
    source_port *= ~is_icmp
    target_port *= ~is_icmp
    columns: dict[str, Any] = {
        "source_port": source_port,
        "target_port": target_port,
        "tcp_flags": rows["flags"] * is_tcp,
        "tcp_sequence": sequence * is_tcp,
        "tcp_acknowledgment": rows["acknowledgment"].astype(np.uint32) * is_tcp,
        "tcp_window": rows["window"].astype(np.uint16) * is_tcp,
        "icmp_type": icmp_type,
        "icmp_code": icmp_code,
        "payload_offset": body.astype(np.uint32),
        "payload_size": np.minimum(held - body, claimed),
        "payload_claimed": claimed,
        "tunnel": (is_udp & (target_port == VXLAN_PORT)) * np.uint8(Tunnel.VXLAN),
    }
    return columns, is_plain
