"""From packets to messages: what hosts said, in the order of event time.

One idea: numpy chooses, Python reads. Columns tell which packets of a batch can say something (ARP, neighbour
discovery, echoes, datagrams of protocols that are read, heads of TCP flows); these few are read one by one by the
parsers, all others cost nothing. What floods could make expensive has a budget a second of event time, and what a limit
passes over is counted (:attr:`Dissector.counters`).

The messages of a capture are the same wherever batches are cut. Protocols are recognised by content; a port decides
only between DNS and its kin (mDNS, LLMNR, NetBIOS names), which look alike, and says which datagrams are always tried.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from govsec.dissect.arp import read_arp
from govsec.dissect.budget import Budget
from govsec.dissect.conversations import Conversations
from govsec.dissect.dhcp import looks_like_dhcp, read_dhcp
from govsec.dissect.dns import looks_like_dns, read_dns
from govsec.dissect.icmpecho import TYPES as ECHO_TYPES
from govsec.dissect.icmpecho import TYPES_V6 as ECHO_TYPES_V6
from govsec.dissect.icmpecho import read_echo
from govsec.dissect.messages import Message, ProtocolError
from govsec.dissect.neighbor import TYPES as NEIGHBOR_TYPES
from govsec.dissect.neighbor import read_neighbor
from govsec.dissect.quic import QuicFlows
from govsec.dissect.streams import StreamCounters, StreamSlots
from govsec.dissect.view import View, mac
from govsec.errors import FormatError
from govsec.net.columns import Bools, FlowEnd, FlowUpdate, Fragment, PacketBatch, Protocol, TcpFlag

_ARP, _NEIGHBOR, _ECHO, _KNOWN_DATAGRAM, _OTHER_DATAGRAM, _SEGMENT = range(1, 7)
_ETHERTYPE_ARP = 0x0806
_NAMES_BY_PORT = {53: "dns", 5353: "mdns", 5355: "llmnr", 137: "nbns"}
_DHCP_PORTS = frozenset({67, 68})
#: As plain numbers: an enumeration's operators cost more than all else that is done with a segment.
_RST, _FIN = int(TcpFlag.RST), int(TcpFlag.FIN)
#: Datagrams of a flow on any other port that are looked at before the flow is given up.
_TRIES_MAX = 8


@dataclass(frozen=True, slots=True)
class DissectLimits:
    """How many of each are read in a second of event time; each costs 2 to 20 microseconds of processor time."""

    #: ARP and neighbour discovery: a sweep of a /16 a second still shows whole.
    link_messages: int = 65_536
    echoes: int = 20_000
    #: Datagrams of DNS and DHCP; a busy resolver has a tenth.
    names: int = 50_000
    #: Datagrams on other ports that are tried.
    tried: int = 10_000
    #: TCP flows that say their first byte.
    openings: int = 20_000
    #: Segments of TCP flows that are read; those passed over are holes in their flows.
    segments: int = 60_000

    @classmethod
    def live(cls) -> DissectLimits:
        """What one core bears beside capture and flows: about a third of a second of work in each second."""
        return cls(link_messages=10_000, echoes=4_000, names=8_000, tried=1_000, openings=3_000, segments=10_000)


@dataclass(slots=True)
class _Counters:
    messages: int = 0
    malformed_packets: int = 0  # a parser refused them
    fragments: int = 0  # datagrams of which the first part is read at most


class Dissector:
    """Reads batches in capture order; keeps what it needs of flows between them."""

    def __init__(self, limits: DissectLimits | None = None) -> None:
        limits = limits or DissectLimits()
        self._streams = StreamCounters()
        self._slots = StreamSlots(self._streams, openings_max=limits.openings)
        self._conversations = Conversations(self._slots, self._streams)
        self._quic = QuicFlows()
        self._own = _Counters()
        self._budgets = {
            _ARP: Budget(limits.link_messages),
            _NEIGHBOR: Budget(limits.link_messages),
            _ECHO: Budget(limits.echoes),
            _KNOWN_DATAGRAM: Budget(limits.names),
            _OTHER_DATAGRAM: Budget(limits.tried),
            _SEGMENT: Budget(limits.segments),
        }
        is_name = np.zeros(65_536, np.bool_)
        is_name[[*_NAMES_BY_PORT, *_DHCP_PORTS]] = True
        self._is_name_port = is_name

    @property
    def counters(self) -> dict[str, int]:
        """What was read, and what was passed over and why; all count up from the beginning."""
        refused = {
            "skipped_link_messages": self._budgets[_ARP].refused_count + self._budgets[_NEIGHBOR].refused_count,
            "skipped_echoes": self._budgets[_ECHO].refused_count,
            "skipped_names": self._budgets[_KNOWN_DATAGRAM].refused_count,
            "skipped_tries": self._budgets[_OTHER_DATAGRAM].refused_count,
            "skipped_segments": self._budgets[_SEGMENT].refused_count,
        }
        now = {"open_conversations": len(self._conversations), "held_bytes": self._conversations.held_size}
        return {**asdict(self._own), **asdict(self._streams), **refused, **now}

    def observe(self, batch: PacketBatch, update: FlowUpdate) -> tuple[Message, ...]:
        """What the packets of ``batch`` said, by event time; ``update``: the flow table's answer to this batch."""
        work, position = self._choose(batch, update)
        chosen = np.flatnonzero(work)
        messages: list[Message] = []
        if len(chosen):
            view = View(batch, update, chosen)
            readers: dict[int, Callable[[View, int, int], list[Message]]] = {
                _ARP: self._arp,
                _NEIGHBOR: self._neighbor,
                _ECHO: self._echo,
                _KNOWN_DATAGRAM: self._known_datagram,
                _OTHER_DATAGRAM: self._other_datagram,
                _SEGMENT: self._segment,
            }
            kinds, positions = work[chosen].tolist(), position[chosen].tolist()
            for at, kind in enumerate(kinds):
                try:
                    messages += readers[kind](view, at, positions[at])
                except FormatError as error:
                    messages += self._fault(view, at, kind, error)
        messages += self._close(update)
        self._own.messages += len(messages)
        messages.sort(key=_time)
        return tuple(messages)

    def _choose(self, batch: PacketBatch, update: FlowUpdate) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """What to do with each packet (0: nothing), and the stream position of segments."""
        work = np.zeros(len(batch), np.uint8)
        position = np.zeros(len(batch), np.int64)
        has_payload = batch.payload_size > 0
        whole = has_payload & (batch.fragment != Fragment.LATER)
        if (batch.ethertype == _ETHERTYPE_ARP).any():
            self._admit(work, _ARP, (batch.ethertype == _ETHERTYPE_ARP) & has_payload, batch.time_ns)
        for protocol, echoes in ((Protocol.ICMP, ECHO_TYPES), (Protocol.ICMPV6, ECHO_TYPES_V6)):
            icmp = whole & (batch.protocol == protocol)
            if not icmp.any():
                continue
            if protocol == Protocol.ICMPV6:
                self._admit(work, _NEIGHBOR, icmp & np.isin(batch.icmp_type, NEIGHBOR_TYPES), batch.time_ns)
            self._admit(work, _ECHO, icmp & np.isin(batch.icmp_type, echoes), batch.time_ns)
        self._choose_datagrams(work, batch, update, whole & (batch.protocol == Protocol.UDP))
        segments = self._slots.select(batch, update)
        admitted = self._budgets[_SEGMENT].admit(batch.time_ns[segments.index])
        work[segments.index[admitted]] = _SEGMENT
        position[segments.index] = segments.position
        return work, position

    def _choose_datagrams(
        self, work: NDArray[np.uint8], batch: PacketBatch, update: FlowUpdate, datagrams: Bools
    ) -> None:
        if not datagrams.any():
            return
        known = datagrams & (self._is_name_port[batch.source_port] | self._is_name_port[batch.target_port])
        self._admit(work, _KNOWN_DATAGRAM, known, batch.time_ns)
        is_first = batch.fragment == Fragment.FIRST
        self._own.fragments += int(np.count_nonzero(datagrams & is_first))
        others = np.flatnonzero(datagrams & ~known & ~is_first & (update.flow != 0))
        wanted = np.zeros(len(batch), np.bool_)
        wanted[self._slots.wanted_datagrams(update, others)] = True
        self._admit(work, _OTHER_DATAGRAM, wanted, batch.time_ns)

    def _admit(self, work: NDArray[np.uint8], kind: int, of: Bools, time_ns: NDArray[np.int64]) -> None:
        where = np.flatnonzero(of)
        if len(where):
            work[where[self._budgets[kind].admit(time_ns[where])]] = kind

    def _arp(self, view: View, at: int, _: int) -> list[Message]:
        return [
            read_arp(
                view.payload(at),
                time_ns=view.time_ns[at],
                vlan=view.vlan[at],
                mac_source=mac(view.mac_source[at]),
                mac_target=mac(view.mac_target[at]),
            )
        ]

    def _neighbor(self, view: View, at: int, _: int) -> list[Message]:
        return [
            read_neighbor(
                view.payload(at),
                time_ns=view.time_ns[at],
                vlan=view.vlan[at],
                source=view.source(at),
                destination=view.target(at),
                mac_source=mac(view.mac_source[at]),
                hop_limit=view.ttl[at],
            )
        ]

    def _echo(self, view: View, at: int, _: int) -> list[Message]:
        return [
            read_echo(
                view.payload(at),
                time_ns=view.time_ns[at],
                vlan=view.vlan[at],
                source=view.source(at),
                target=view.target(at),
                claimed_size=view.claimed[at],
            )
        ]

    def _known_datagram(self, view: View, at: int, _: int) -> list[Message]:
        """A datagram from or to a port of DNS or DHCP."""
        data, ports = view.payload(at), (view.target_port[at], view.source_port[at])
        if looks_like_dhcp(data) or (ports[0] in _DHCP_PORTS and ports[1] in _DHCP_PORTS):
            return [self._read_dhcp(view, at, data)]
        service = next((_NAMES_BY_PORT[port] for port in ports if port in _NAMES_BY_PORT), "dns")
        return [
            read_dns(
                data,
                time_ns=view.time_ns[at],
                flow=view.flow(at),
                is_originator=view.is_originator[at],
                service=service,
                is_cut=view.claimed[at] > len(data) or view.fragment[at] != Fragment.WHOLE,
            )
        ]

    def _read_dhcp(self, view: View, at: int, data: bytes) -> Message:
        return read_dhcp(
            data,
            time_ns=view.time_ns[at],
            flow=view.flow(at),
            is_originator=view.is_originator[at],
            mac_source=mac(view.mac_source[at]),
        )

    def _other_datagram(self, view: View, at: int, _: int) -> list[Message]:
        """A datagram on any other port: DNS and DHCP are read there too, QUIC as far as it goes in clear."""
        flow, is_originator = view.id[at], view.is_originator[at]
        if not self._slots.is_wanted(flow, is_originator):
            return []
        data = view.payload(at)
        if looks_like_dns(data):
            return [read_dns(data, time_ns=view.time_ns[at], flow=view.flow(at), is_originator=is_originator)]
        if looks_like_dhcp(data):
            return [self._read_dhcp(view, at, data)]
        found, is_done = self._quic.read(view.flow(at), is_originator, data, view.time_ns[at])
        if is_done or self._slots.try_once(flow) + 1 >= _TRIES_MAX:
            self._slots.want(flow, True, False)
            self._slots.want(flow, False, False)
            self._quic.forget(flow)
        return found

    def _segment(self, view: View, at: int, position: int) -> list[Message]:
        flow, is_originator = view.id[at], view.is_originator[at]
        if not self._slots.is_wanted(flow, is_originator):
            return []
        flags, time_ns, data = view.tcp_flags[at], view.time_ns[at], view.payload(at)
        if flow not in self._conversations:
            if not data:
                return []
            self._conversations.open(view.flow(at), is_originator)
        if flags & _RST:
            return self._conversations.reset(flow, is_originator, position, time_ns)
        return self._conversations.add(
            flow,
            is_originator,
            position,
            data,
            time_ns,
            size=view.claimed[at],
            is_end=bool(flags & _FIN),
        )

    def _close(self, update: FlowUpdate) -> list[Message]:
        messages: list[Message] = []
        gone = update.closed[update.closed["end"] != FlowEnd.ACTIVE]
        for flow, end_ns in zip(gone["id"].tolist(), gone["end_ns"].tolist(), strict=True):
            if flow in self._conversations:
                messages += self._conversations.close(flow, end_ns)
            else:
                self._quic.forget(flow)
        return messages

    def _fault(self, view: View, at: int, kind: int, error: FormatError) -> list[Message]:
        """A packet that is not what it should be; of a flow the first one is told."""
        self._own.malformed_packets += 1
        flow = None
        if kind == _KNOWN_DATAGRAM:
            flow = view.flow(at)
            if flow.id and self._slots.try_once(flow.id):
                return []
        names = {_ARP: "arp", _NEIGHBOR: "neighbor", _ECHO: "icmp", _KNOWN_DATAGRAM: "dns"}
        return [ProtocolError(view.time_ns[at], flow, names[kind], str(error)[:200], 0)]


def _time(message: Message) -> int:
    return message.time_ns
