"""What scan detectors read of closed flows: who tried what on whom, and whether anything came back.

One idea, the backscatter guard: only the side that *asked* can be scanning. A flow that began with an answer (SYN-ACK,
RST, an ICMP reply), or a datagram from a service's port to a client's port, is an answer to somebody who forged the
address, or one whose question was not captured; its sender has tried nothing.

A try is unanswered when nothing came back, or only a refusal. A TCP try counts as a probe when the originator sent no
data: SYN, connect, FIN, NULL and Xmas scans alike (RFC 9293; nmap's names). A lone ACK or FIN-ACK of no connection that
was seen (ACK, window and Maimon scans) is a try of its own kind, ``is_ack``: ends of connections that began before the
capture look like it, so more is asked of those (:mod:`govsec.detect.loneacks`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from govsec.detect.windows import U64, Rows, mix
from govsec.net.columns import FLOW, IPV4_MAPPED, FlowEnd, FlowRecords, FlowState, Opening, Protocol, TcpFlag

ATTEMPT = np.dtype(
    [
        ("first_ns", "i8"),
        ("last_ns", "i8"),
        ("originator_hi", "u8"),
        ("originator_lo", "u8"),
        ("responder_hi", "u8"),
        ("responder_lo", "u8"),
        ("originator_port", "u2"),
        ("responder_port", "u2"),
        ("protocol", "u1"),
        ("ip_version", "u1"),
        ("icmp_type", "u1"),
        ("is_unanswered", "?"),
        ("is_probe", "?"),
        ("is_ack", "?"),
        ("is_refused", "?"),  # by RST
        ("is_left", "?"),  # nothing came back, and it was not asked again for as long as a flow lasts
    ],
    align=True,
)
#: Ports below are those of services; a client's own port lies above (RFC 6335, 6).
SERVICE_PORT_MAX = 1023
#: A DHCP client's port lies among those of services (RFC 2131, RFC 8415): nobody asks for it, servers answer to it.
_DHCP_CLIENT_PORTS = (68, 546)
_ECHO_REQUEST, _ECHO_REQUEST_V6 = 8, 128
#: Ports from here on are those that systems give to clients (Linux: 32768, others and IANA: 49152); a server that asks
#: whether its clients are still there sends lone ACKs to them.
_CLIENT_PORT_MIN = 32_768
#: A probe is sent again once when nothing comes back.
_ACK_PACKETS_MAX = 2


def attempts(closed: FlowRecords, protocols: tuple[Protocol, ...]) -> tuple[NDArray[np.int64], Rows]:
    """The tries among ``closed`` flows of these ``protocols``: the moments at which they were over, and ``ATTEMPT``
    rows."""
    is_ack = _is_lone_ack(closed)
    chosen = np.isin(closed["protocol"], protocols) & (closed["part"] == 0) & (_is_asked(closed) | is_ack)
    flows = closed[chosen]
    rows = np.zeros(len(flows), dtype=ATTEMPT)
    for name in ATTEMPT.names or ():
        if not name.startswith("is_"):
            rows[name] = flows[name]
    is_tcp = flows["protocol"] == Protocol.TCP
    # A closed port answers a FIN, NULL or Xmas probe with a bare RST, which resets nothing that was there.
    is_bare_reset = (flows["flags_responder"] & TcpFlag.RST > 0) & (
        flows["flags_responder"] & ~np.uint8(TcpFlag.RST | TcpFlag.ACK) == 0
    )
    rows["is_unanswered"] = np.where(
        is_tcp,
        (flows["state"] == FlowState.ATTEMPT) | (flows["state"] == FlowState.REJECTED) | is_bare_reset,
        flows["packets_responder"] == 0,
    )
    rows["is_ack"] = is_ack[chosen]
    rows["is_unanswered"] |= rows["is_ack"]
    rows["is_refused"] = flows["flags_responder"] & TcpFlag.RST > 0
    rows["is_left"] = (flows["packets_responder"] == 0) & (flows["end"] == FlowEnd.IDLE)
    rows["is_probe"] = np.where(is_tcp, flows["payload_originator"] == 0, flows["packets_responder"] == 0)
    return flows["end_ns"], rows


def is_group(hi: U64, lo: U64) -> NDArray[np.bool_]:
    """True for addresses of many hosts: multicast, and the broadcast address of all networks (RFC 1112, RFC 4291)."""
    is_mapped = (hi == 0) & ((lo >> np.uint64(32)) == np.uint64(IPV4_MAPPED >> 32))
    last = lo & np.uint64(0xFFFF_FFFF)
    is_v4_group = is_mapped & ((last >> np.uint64(28) == 0xE) | (last == 0xFFFF_FFFF))
    is_either: NDArray[np.bool_] = is_v4_group | (hi >> np.uint64(56) == 0xFF)
    return is_either


def originators(rows: Rows) -> U64:
    """One key an originator."""
    return mix(rows["originator_hi"], rows["originator_lo"])


def responders(rows: Rows) -> U64:
    """One key a responder."""
    return mix(rows["responder_hi"], rows["responder_lo"])


def as_flows(rows: Rows) -> FlowRecords:
    """``ATTEMPT`` rows (or others with these fields) as flow records, as far as they go."""
    flows = np.zeros(len(rows), dtype=FLOW)
    for name in set(rows.dtype.names or ()) & set(FLOW.names or ()):
        flows[name] = rows[name]
    return flows


def _is_lone_ack(flows: FlowRecords) -> NDArray[np.bool_]:
    """ACK or FIN-ACK and nothing else from a client's port to a service's, refused by RST or left alone."""
    flags, answer = flows["flags_originator"], flows["flags_responder"]
    is_alone = (flags == TcpFlag.ACK) | (flags == TcpFlag.ACK | TcpFlag.FIN)
    is_refused = answer & ~np.uint8(TcpFlag.RST | TcpFlag.ACK) == 0
    is_refused &= (answer & TcpFlag.RST > 0) | (flows["packets_responder"] == 0)
    is_empty = (flows["payload_originator"] == 0) & (flows["packets_originator"] <= _ACK_PACKETS_MAX)
    port = flows["responder_port"]
    is_asking = (port < _CLIENT_PORT_MIN) & (port < flows["originator_port"])
    is_ack: NDArray[np.bool_] = (flows["protocol"] == Protocol.TCP) & (flows["opening"] == Opening.UNSEEN)
    is_ack &= is_alone & is_refused & is_empty & is_asking
    return is_ack & ~is_group(flows["responder_hi"], flows["responder_lo"])


def _is_asked(flows: FlowRecords) -> NDArray[np.bool_]:
    protocol, opening, flags = flows["protocol"], flows["opening"], flows["flags_originator"]
    # FIN, NULL and Xmas scans: no handshake was seen, and no honest packet of TCP lacks ACK but SYN and RST.
    is_bare = (
        (opening == Opening.UNSEEN)
        & (flows["packets_originator"] > 0)
        & (flags & (TcpFlag.ACK | TcpFlag.RST | TcpFlag.SYN) == 0)
    )
    is_tcp = (protocol == Protocol.TCP) & ((opening == Opening.SYN) | is_bare)
    is_answer = (flows["originator_port"] <= SERVICE_PORT_MAX) & (flows["responder_port"] > SERVICE_PORT_MAX)
    is_answer |= np.isin(flows["responder_port"], _DHCP_CLIENT_PORTS)
    is_udp = (protocol == Protocol.UDP) & (opening != Opening.REPLY) & ~is_answer
    is_echo = (protocol == Protocol.ICMP) & (flows["icmp_type"] == _ECHO_REQUEST)
    is_echo_v6 = (protocol == Protocol.ICMPV6) & (flows["icmp_type"] == _ECHO_REQUEST_V6)
    is_asked: NDArray[np.bool_] = is_tcp | is_udp | is_echo | is_echo_v6
    return is_asked & ~is_group(flows["responder_hi"], flows["responder_lo"])
