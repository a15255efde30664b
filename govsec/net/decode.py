"""Frames to columns: Ethernet to TCP, UDP and ICMP for thousands of packets at once, without a loop over them.

One idea: headers follow each other, so each layer is one ``gather`` at the offsets that the layer before computed. What
few packets have (tags, options, extension headers) moves those packets' offsets and nothing else. Packets in which
nothing is out of the ordinary take one step for all that is behind the link layer (``plain``).

Every field is read inside what was captured of its frame, or is 0 and the packet has a fault. No byte of a packet can
make this raise. Fragments are not put together, checksums not looked at (network cards fill them in later). What a
tunnel carries is told by ``tunnel``; ``decode_inner`` decodes it, one level a call.

Source: RFC 2784 and RFC 2890 (GRE), RFC 7348 (VXLAN); the layers name theirs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from govsec.net.columns import I8, U2, U4, U8, Fault, PacketBatch, Tunnel
from govsec.net.gather import gather, with_slack
from govsec.net.links import ETHERNET, RAW, TYPE_IPV4, TYPE_IPV6, Links, read_links
from govsec.net.networklayer import read_network
from govsec.net.plain import Inside, read_plain
from govsec.net.transport import read_transport

#: An Ethernet frame with two tags; what is longer was merged by the kernel or the card, or travels on a jumbo network.
FRAME_MAX = 1522
_VXLAN_SIZE = 8
_GRE = np.dtype([("flags", ">u2"), ("type", ">u2")])
_GRE_ETHERNET = 0x6558
#: Checksum, key and sequence, each of four bytes behind the header when its bit is set.
_GRE_OPTIONS = (0x8000, 0x2000, 0x1000)
#: Routing (deprecated) or another version (PPTP): not followed.
_GRE_OTHER = 0x4007


@dataclass(frozen=True, slots=True)
class Frames:
    """Where frames lie in ``data``, and what the capture says of each. ``wire_size`` is never below ``captured_size``.

    Faster when ``gather.SLACK`` bytes may be read behind the last frame; else ``data`` is copied.
    """

    data: memoryview
    frame_offset: I8
    captured_size: U4
    wire_size: U4
    time_ns: I8
    position: U8
    #: Id of a VLAN tag that the kernel took out of the frame; 0: none.
    vlan_moved: U2 | None = None
    #: Faults that the capture itself found.
    faults: U2 | None = None


def decode(frames: Frames, link_type: int | U2 = ETHERNET, frame_max: int = FRAME_MAX) -> PacketBatch:
    """All columns of these frames.

    ``link_type``: the capture's LINKTYPE_, for all or for each frame. ``frame_max``: bytes on the wire above which a
    frame counts as merged; networks with jumbo frames set theirs.
    """
    start = frames.frame_offset
    end = start + frames.captured_size
    data = with_slack(frames.data, int(end.max(initial=0)))
    kinds = np.full(len(start), link_type, np.uint16) if isinstance(link_type, int) else link_type
    links = read_links(data, start, end, kinds, frames.vlan_moved)
    faults = links.faults
    if frames.faults is not None:
        faults |= frames.faults
    faults |= (frames.captured_size < frames.wire_size) * np.uint16(Fault.CUT.value)
    faults |= (frames.wire_size > frame_max) * np.uint16(Fault.MERGED.value)
    inside = _read_inside(data, links, end, start + frames.wire_size, faults)
    inside.payload_offset += (links.network - start).astype(np.uint32)
    return PacketBatch(
        time_ns=frames.time_ns,
        position=frames.position,
        wire_size=frames.wire_size,
        captured_size=frames.captured_size,
        vlan=links.vlan,
        ethertype=links.ethertype,
        mac_source=links.mac_source,
        mac_target=links.mac_target,
        **inside.columns(),
        faults=faults,
        link_type=kinds,
        frame_offset=start,
        data=data,
    )


def decode_inner(batch: PacketBatch, frame_max: int = FRAME_MAX) -> PacketBatch:
    """The packets inside the tunnels of ``batch``, one level down; ``position`` and time are those of the outer packet.

    Tunnels whose header was not captured, or that carry neither Ethernet nor IP, give none.
    """
    outer = batch.take(np.flatnonzero(batch.tunnel))
    at = outer.frame_offset + outer.payload_offset
    room = outer.payload_size.astype(np.int64)
    size = np.zeros(len(outer), np.int64)
    kind = np.full(len(outer), RAW, np.uint16)
    is_vxlan = outer.tunnel == Tunnel.VXLAN
    size[is_vxlan], kind[is_vxlan] = _VXLAN_SIZE, ETHERNET
    is_inner = np.ones(len(outer), np.bool_)
    is_gre = np.flatnonzero(outer.tunnel == Tunnel.GRE)
    if len(is_gre):
        rows = gather(with_slack(outer.data, int((at + room).max())), at[is_gre], _GRE)
        flags, ethertype = rows["flags"].astype(np.uint16), rows["type"].astype(np.uint16)
        size[is_gre] = _GRE.itemsize + sum(((flags & option) != 0) * np.int64(4) for option in _GRE_OPTIONS)
        kind[is_gre[ethertype == _GRE_ETHERNET]] = ETHERNET
        is_inner[is_gre] = np.isin(ethertype, (_GRE_ETHERNET, TYPE_IPV4, TYPE_IPV6)) & ((flags & _GRE_OTHER) == 0)
    chosen = np.flatnonzero(is_inner & (room > size))
    claimed = outer.payload_claimed.astype(np.int64) - size
    frames = Frames(
        data=outer.data,
        frame_offset=(at + size)[chosen],
        captured_size=(room - size)[chosen].astype(np.uint32),
        wire_size=claimed[chosen].astype(np.uint32),
        time_ns=outer.time_ns[chosen],
        position=outer.position[chosen],
    )
    return decode(frames, kind[chosen], frame_max)


def _read_inside(data: memoryview, links: Links, end: I8, wire_end: I8, faults: U2) -> Inside:
    """What is behind the link layers: plain packets all together, the others by themselves."""
    at, ethertype = links.network, links.ethertype
    held, sent = (end - at).astype(np.uint32), (wire_end - at).astype(np.uint32)
    inside, is_plain = read_plain(data, at, ethertype, held, sent)
    others = np.flatnonzero(~is_plain)
    if len(others):
        their_faults = faults[others]
        inside.put(others, read_any(data, at[others], ethertype[others], end[others], wire_end[others], their_faults))
        faults[others] = their_faults
    return inside


def read_any(data: memoryview, at: I8, ethertype: U2, end: I8, wire_end: I8, faults: U2) -> Inside:
    """What lies at ``at`` in frames captured up to ``end`` and sent up to ``wire_end``; adds to ``faults``."""
    network = read_network(data, at, ethertype, end, wire_end, faults)
    transport = read_transport(data, network, end, faults)
    return Inside(
        ip_version=network.version,
        source_hi=network.source_hi,
        source_lo=network.source_lo,
        target_hi=network.target_hi,
        target_lo=network.target_lo,
        protocol=network.protocol,
        ttl=network.ttl,
        fragment=network.fragment,
        source_port=transport.source_port,
        target_port=transport.target_port,
        tcp_flags=transport.tcp_flags,
        tcp_sequence=transport.tcp_sequence,
        tcp_acknowledgment=transport.tcp_acknowledgment,
        tcp_window=transport.tcp_window,
        icmp_type=transport.icmp_type,
        icmp_code=transport.icmp_code,
        ip_size=network.ip_size.astype(np.uint32),
        payload_offset=(transport.body - at).astype(np.uint32),
        payload_size=transport.payload_size.astype(np.uint32),
        payload_claimed=transport.payload_claimed.astype(np.uint32),
        tunnel=transport.tunnel,
    )
