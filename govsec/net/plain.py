"""The packets that nearly all are, at once: whole IPv4 without options that carries TCP, UDP or ICMP and lies nowhere.

One idea: in such a packet every field is at a fixed place behind the link layer, so one ``gather`` reads all of them,
and no offset is computed. Which packets are so is one more column. The others are left to ``networklayer`` and
``transport``, which give the same columns for any packet and take four times as long: a packet that is cut in its
headers, whose length fields contradict each other, a fragment, IPv6.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from govsec.net.columns import I8, IPV4_MAPPED, U1, U2, U4, U8, Bools, Protocol, Tunnel
from govsec.net.gather import gather
from govsec.net.links import TYPE_IPV4
from govsec.net.transport import VXLAN_PORT

_TCP, _UDP, _ICMP = int(Protocol.TCP), int(Protocol.UDP), int(Protocol.ICMP)
_IP_SIZE, _TCP_SIZE, _UDP_SIZE, _ICMP_SIZE = 20, 20, 8, 8
#: More fragments, and the offset of this one.
_FRAGMENT = np.uint16(0x3FFF)
#: IPv4, with a header of five words.
_VERSION = 0x45
_HEAD = np.dtype(
    {
        "names": ["version", "size", "fragment", "ttl", "protocol", "source", "target", "source_port", "target_port",
                  "sequence", "acknowledgment", "offset", "flags", "window"],
        "formats": ["u1", ">u2", ">u2", "u1", "u1", ">u4", ">u4", ">u2", ">u2", ">u4", ">u4", "u1", "u1", ">u2"],
        "offsets": [0, 2, 6, 8, 9, 12, 16, 20, 22, 24, 28, 32, 33, 34],
        "itemsize": 36,
    }
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
    rows = gather(data, at, _HEAD)
    size, protocol = rows["size"].astype(np.uint32), rows["protocol"].copy()
    is_tcp, is_udp, is_icmp = protocol == _TCP, protocol == _UDP, protocol == _ICMP
    tcp_size = (rows["offset"] >> 4) << 2
    header = tcp_size * is_tcp + is_udp * np.uint8(_UDP_SIZE)
    body = header + np.uint8(_IP_SIZE)
    sequence = rows["sequence"].astype(np.uint32)
    datagram = sequence >> np.uint32(16)  # UDP has its length there
    end = np.where(is_udp, datagram + np.uint32(_IP_SIZE), size)
    is_plain = (ethertype == TYPE_IPV4) & (rows["version"] == _VERSION) & ((rows["fragment"] & _FRAGMENT) == 0)
    is_plain &= is_tcp & (tcp_size >= _TCP_SIZE) | is_udp | is_icmp
    is_plain &= held >= body + is_icmp * np.uint8(_ICMP_SIZE)
    is_plain &= (body <= end) & (end <= size) & (size <= sent)
    claimed = end - body
    source_port, target_port = rows["source_port"].astype(np.uint16), rows["target_port"].astype(np.uint16)
    icmp_type, icmp_code = (
        (source_port >> np.uint16(8)).astype(np.uint8) * is_icmp,
        source_port.astype(np.uint8) * is_icmp,
    )
    source_port *= ~is_icmp
    target_port *= ~is_icmp
    inside = Inside(
        ip_version=np.full(len(at), 4, np.uint8),
        source_hi=np.zeros(len(at), np.uint64),
        source_lo=rows["source"] | np.uint64(IPV4_MAPPED),
        target_hi=np.zeros(len(at), np.uint64),
        target_lo=rows["target"] | np.uint64(IPV4_MAPPED),
        protocol=protocol,
        ttl=rows["ttl"].copy(),
        fragment=np.zeros(len(at), np.uint8),
        source_port=source_port,
        target_port=target_port,
        tcp_flags=rows["flags"] * is_tcp,
        tcp_sequence=sequence * is_tcp,
        tcp_acknowledgment=rows["acknowledgment"].astype(np.uint32) * is_tcp,
        tcp_window=rows["window"].astype(np.uint16) * is_tcp,
        icmp_type=icmp_type,
        icmp_code=icmp_code,
        ip_size=size,
        payload_offset=body.astype(np.uint32),
        payload_size=np.minimum(held - body, claimed),
        payload_claimed=claimed,
        tunnel=(is_udp & (target_port == VXLAN_PORT)) * np.uint8(Tunnel.VXLAN),
    )
    return inside, is_plain
