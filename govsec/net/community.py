"""Community ids: one short name of a flow that other tools (Zeek, Suricata, Arkime) give it too.

Source: Community ID Flow Hashing, version 1 (https://github.com/corelight/community-id-spec)::

    "1:" + base64(SHA-1(seed u16 | address | address | protocol u8 | 0 u8 | port u16 | port u16))    all big-endian

The smaller address comes first, of equal ones that with the smaller port. ICMP messages that are answered have type and
type of the answer as ports; the others type and code, and keep their direction. Protocols without ports have none.
"""

from __future__ import annotations

import base64
import hashlib

import numpy as np

from govsec.net.columns import Bools, FlowRecords, Protocol
from govsec.net.flowkeys import ICMP_PAIRS, ICMPV6_PAIRS

#: The spec gives ports to these alone: ICMP, TCP, UDP, ICMPv6, SCTP.
_WITH_PORTS = (1, 6, 17, 58, 132)
_PORTS_SIZE = 4
_IPV4 = np.dtype([("ends", ">u4", 2), ("protocol", "u1"), ("zero", "u1"), ("ports", ">u2", 2)])
_IPV6 = np.dtype([("ends", ">u8", (2, 2)), ("protocol", "u1"), ("zero", "u1"), ("ports", ">u2", 2)])


def community_ids(flows: FlowRecords, seed: int = 0) -> list[str]:
    """The id of each row of ``FLOW``. ``seed`` (16 bits) keeps the ids of two sites apart, where that is wanted."""
    names = [""] * len(flows)
    for version, form in ((4, _IPV4), (6, _IPV6)):
        chosen = np.flatnonzero(flows["ip_version"] == version)
        for index, packed in zip(chosen.tolist(), _pack(flows[chosen], form), strict=True):
            digest = hashlib.sha1(seed.to_bytes(2, "big") + packed, usedforsecurity=False).digest()
            names[index] = "1:" + base64.b64encode(digest).decode("ascii")
    return names


def _pack(flows: FlowRecords, form: np.dtype[np.void]) -> list[bytes]:
    """What is digested: address, address, protocol, 0, port, port; without the ports where the protocol has none."""
    hi, lo, port = (
        np.stack([flows[f"originator_{what}"], flows[f"responder_{what}"]], axis=1) for what in ("hi", "lo", "port")
    )
    is_turned = (hi[:, 0] > hi[:, 1]) | (hi[:, 0] == hi[:, 1]) & (
        (lo[:, 0] > lo[:, 1]) | (lo[:, 0] == lo[:, 1]) & (port[:, 0] > port[:, 1])
    )
    is_turned &= ~_is_one_way(flows)
    for column in (hi, lo, port):
        column[is_turned] = column[is_turned, ::-1]
    rows = np.zeros(len(flows), form)
    rows["ends"] = lo & np.uint64(0xFFFF_FFFF) if form is _IPV4 else np.stack([hi, lo], axis=2)
    rows["protocol"], rows["ports"] = flows["protocol"], port
    sizes = form.itemsize - _PORTS_SIZE * ~np.isin(flows["protocol"], _WITH_PORTS)
    return [row.tobytes()[:size] for row, size in zip(rows, sizes.tolist(), strict=True)]


def _is_one_way(flows: FlowRecords) -> Bools:
    """ICMP that nothing answers: its code stands for a port, and the ends are not put in order."""
    one_way = np.zeros(len(flows), np.bool_)
    for protocol, pairs in ((Protocol.ICMP, ICMP_PAIRS), (Protocol.ICMPV6, ICMPV6_PAIRS)):
        counters = np.full(1 << 16, -1, np.int32)
        counters[list(pairs)] = list(pairs.values())
        is_answered = counters[flows["originator_port"]] == flows["responder_port"]
        one_way |= (flows["protocol"] == protocol) & ~is_answered
    return one_way
