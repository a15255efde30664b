"""TCP, UDP and ICMP headers of many packets at once, and where their payload is.

One idea: the fields of all three lie in the first 16 bytes behind the IP header, so one ``gather`` reads them for every
packet, and each column takes what is its own. A field that was not captured is 0; the ports of a packet that was cut
right behind them are still told.

Source: RFC 9293, 3.1; RFC 768; RFC 792; RFC 4443; RFC 9260 (SCTP has its ports where TCP has them).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from govsec.net.columns import I8, U1, U2, U4, Bools, Fault, Fragment, Protocol, Tunnel
from govsec.net.gather import gather
from govsec.net.networklayer import Network

VXLAN_PORT = 4789
# As numbers: numpy asks a member of an enum for a dozen things before it takes it for one.
_TCP, _UDP, _ICMP, _ICMPV6, _GRE = (
    int(protocol) for protocol in (Protocol.TCP, Protocol.UDP, Protocol.ICMP, Protocol.ICMPV6, Protocol.GRE)
)
_LATER = int(Fragment.LATER)
_IP_IN_IP = (4, 41)
_UDP_SIZE = 8
_TCP_SIZE = 20
_ICMP_SIZE = 8
#: UDP has its length where TCP has the sequence, ICMP its type and code in the first two bytes.
_TRANSPORT = np.dtype(
    [
        ("source_port", ">u2"),
        ("target_port", ">u2"),
        ("sequence", ">u4"),
        ("acknowledgment", ">u4"),
        ("offset", "u1"),
        ("flags", "u1"),
        ("window", ">u2"),
    ]
)
#: Protocols that begin with two ports: TCP, UDP, DCCP, SCTP, UDP-Lite.
_HAS_PORTS = np.zeros(256, np.bool_)
_HAS_PORTS[[6, 17, 33, 132, 136]] = True


@dataclass(slots=True)
class Transport:
    """The transport columns of a batch. ``body`` is the position in the buffer where the payload begins."""

    source_port: U2
    target_port: U2
    tcp_flags: U1
    tcp_sequence: U4
    tcp_acknowledgment: U4
    tcp_window: U2
    icmp_type: U1
    icmp_code: U1
    body: I8
    payload_size: I8
    payload_claimed: I8
    tunnel: U1


def read_transport(data: memoryview, network: Network, end: I8, faults: U2) -> Transport:
    """What follows the IP headers, of frames captured up to ``end``; adds to ``faults``."""
    rows = gather(data, network.transport, _TRANSPORT)
    room = end - network.transport
    is_begun = (network.version != 0) & (network.fragment != _LATER)
    is_tcp = is_begun & (network.protocol == _TCP)
    is_udp = is_begun & (network.protocol == _UDP)
    is_icmp = is_begun & ((network.protocol == _ICMP) | (network.protocol == _ICMPV6))
    has_ports = is_begun & _HAS_PORTS[network.protocol] & (room >= 4)
    has_kind = is_icmp & (room >= 2)
    source_port, target_port = rows["source_port"].astype(np.uint16), rows["target_port"].astype(np.uint16)
    header = is_udp * np.int64(_UDP_SIZE)
    tcp_header = np.maximum((rows["offset"] >> 4).astype(np.int64) * 4, _TCP_SIZE)
    np.copyto(header, tcp_header, where=is_tcp)
    faults |= (is_tcp & (room >= 13) & (rows["offset"] < 0x50)) * np.uint16(Fault.LENGTH.value)
    needed = np.where(is_icmp, _ICMP_SIZE, header)
    faults |= (room < needed) * np.uint16(Fault.SHORT.value)
    body = network.transport + header
    claimed = network.wire_end - body
    faults |= (claimed < 0) * np.uint16(Fault.LENGTH.value)
    claimed = np.maximum(claimed, 0)
    _bound_udp(rows["sequence"].astype(np.uint32), is_udp & (room >= _UDP_SIZE), network.fragment, claimed, faults)
    target_port *= has_ports
    return Transport(
        source_port=source_port * has_ports,
        target_port=target_port,
        tcp_flags=rows["flags"] * (is_tcp & (room >= 14)),
        tcp_sequence=rows["sequence"].astype(np.uint32) * (is_tcp & (room >= 8)),
        tcp_acknowledgment=rows["acknowledgment"].astype(np.uint32) * (is_tcp & (room >= 12)),
        tcp_window=rows["window"].astype(np.uint16) * (is_tcp & (room >= 16)),
        icmp_type=(source_port >> 8).astype(np.uint8) * has_kind,
        icmp_code=source_port.astype(np.uint8) * has_kind,
        body=np.minimum(body, end),
        payload_size=np.clip(end - body, 0, claimed),
        payload_claimed=claimed,
        tunnel=_tunnel(network, is_begun, is_udp & (target_port == VXLAN_PORT)),
    )


def _bound_udp(length: U4, is_udp: Bools, fragment: U1, claimed: I8, faults: U2) -> None:
    """The payload ends where UDP says, when that is not beyond the IP packet's end. 0 stands for merged or jumbo."""
    size = (length >> np.uint32(16)).astype(np.int64)
    payload = size - _UDP_SIZE
    is_spoken = is_udp & (size != 0)
    # The first fragment of a datagram claims the length of all of it, rightly.
    is_lie = is_spoken & ((payload < 0) | (payload > claimed) & (fragment == Fragment.WHOLE))
    faults |= is_lie * np.uint16(Fault.LENGTH.value)
    np.copyto(claimed, np.minimum(payload, claimed), where=is_spoken & (payload >= 0))


def _tunnel(network: Network, is_begun: Bools, is_vxlan: Bools) -> U1:
    tunnel = is_vxlan * np.uint8(Tunnel.VXLAN)
    tunnel[is_begun & (network.protocol == _GRE)] = Tunnel.GRE
    four, six = _IP_IN_IP
    tunnel[is_begun & ((network.protocol == four) | (network.protocol == six))] = Tunnel.IP_IN_IP
    return tunnel
