"""One open window of evidence: whose packets belong to a finding, and those gathered so far."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from govsec.clock import parse_time, to_ns
from govsec.errors import ConfigurationError
from govsec.net import addresses
from govsec.net.columns import FLOW, IPV4_MAPPED, U8, Bools, Fragment, PacketBatch, Protocol
from govsec.net.community import community_ids
from govsec.net.links import ETHERNET
from govsec.records import Finding

_SECOND_NS = 1_000_000_000
_ARP = 0x0806
_TAG_TYPES = (0x8100, 0x88A8, 0x9100)
#: Sender and target address in an ARP message of Ethernet and IPv4 (RFC 826).
_ARP_SENDER, _ARP_TARGET, _ARP_END = 14, 24, 28
#: What a packet's block has besides its data.
_BLOCK_MORE = 64


@dataclass(frozen=True, slots=True)
class KeptPacket:
    """A frame as it was on the wire, as far as it was captured: a tag that the kernel moved out is back in it."""

    time_ns: int
    link_type: int
    wire_size: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Side:
    """Hosts by address and by MAC; ``is_any``: all hosts, because more count than are known by name."""

    hosts: tuple[tuple[int, int], ...]
    macs: tuple[int, ...]
    is_any: bool

    def has(self, hi: U8, lo: U8, mac: U8) -> Bools:
        """Which of the packets' ends are of this side."""
        if self.is_any:
            return np.ones(len(hi), np.bool_)
        found = np.isin(mac, np.array(self.macs, np.uint64)) if self.macs else np.zeros(len(hi), np.bool_)
        for host_hi, host_lo in self.hosts:
            found |= (hi == np.uint64(host_hi)) & (lo == np.uint64(host_lo))
        return found


@dataclass(slots=True)
class Window:
    """From ``first_ns`` to ``last_ns``; :meth:`take` adds what belongs to it of packets in capture order."""

    finding: Finding
    pattern: str
    first_ns: int
    last_ns: int
    #: First packet that counts for the finding.
    since_ns: int
    sides: tuple[Side, Side]
    size_bytes_max: int
    #: Community ids: of TCP and UDP only these flows. Empty: all that the hosts exchanged.
    flows: frozenset[str] = frozenset()
    packets: list[KeptPacket] = field(default_factory=list)
    size_bytes: int = 0
    #: Packets past the limit.
    cut_count: int = 0
    #: How much of the window's beginning nobody had any more.
    missing_ns: int = 0

    def take(self, batch: PacketBatch) -> None:
        """Keep the packets of the finding in the window, as long as there is room."""
        if not len(batch):
            return
        is_due = (batch.time_ns >= self.first_ns) & (batch.time_ns <= self.last_ns)
        chosen = np.flatnonzero(is_due)
        if not len(chosen):
            return
        chosen = chosen[_between(self.sides, batch, chosen)]
        if self.flows and len(chosen):
            chosen = chosen[_on(self.flows, batch, chosen)]
        for place, index in enumerate(chosen.tolist()):
            kept = _kept(batch, index)
            if self.size_bytes + len(kept.data) + _BLOCK_MORE > self.size_bytes_max:
                # What comes later is left out, also where it would fit: a file has no holes.
                self.size_bytes = self.size_bytes_max
                self.cut_count += len(chosen) - place
                return
            self.size_bytes += len(kept.data) + _BLOCK_MORE
            self.packets.append(kept)


def window_of(finding: Finding, *, before_s: int, after_s: int, size_bytes_max: int) -> Window | None:
    """By the finding's ``first``, ``last``, ``originators`` and ``responders``, and by its ``flows`` where they are all
    named (no ``flows_count``); None where they name no packets."""
    facts = finding.facts
    first, last, pattern = (facts.get(name) for name in ("first", "last", "pattern"))
    sides = (_side(finding, "originators"), _side(finding, "responders"))
    if not (isinstance(first, str) and isinstance(last, str)) or all(side.is_any for side in sides):
        return None
    since_ns = to_ns(parse_time(first))
    return Window(
        finding=finding,
        pattern=str(pattern or f"{finding.kind}|{finding.subject}"),
        first_ns=since_ns - before_s * _SECOND_NS,
        last_ns=to_ns(parse_time(last)) + after_s * _SECOND_NS,
        since_ns=since_ns,
        sides=sides,
        size_bytes_max=size_bytes_max,
        flows=_flows(finding),
    )


def _flows(finding: Finding) -> frozenset[str]:
    listed = finding.facts.get("flows")
    if not isinstance(listed, Sequence) or isinstance(listed, str) or "flows_count" in finding.facts:
        return frozenset()
    return frozenset(str(each) for each in listed)


def _side(finding: Finding, name: str) -> Side:
    listed = finding.facts.get(name)
    words = [str(each) for each in listed] if isinstance(listed, Sequence) and not isinstance(listed, str) else []
    hosts: list[tuple[int, int]] = []
    macs: list[int] = []
    for word in words:
        if word.count(":") == 5 and len(word) == 17:
            macs.append(int(word.replace(":", ""), 16))
        else:
            hosts += _addresses(word)
    is_any = f"{name}_count" in finding.facts or not (hosts or macs)
    return Side(tuple(hosts), tuple(macs), is_any)


def _addresses(word: str) -> Iterable[tuple[int, int]]:
    try:
        return [addresses.parse(word)]
    except ConfigurationError:
        return []  # a name: the packets do not tell whose it is


def _between(sides: tuple[Side, Side], batch: PacketBatch, chosen: np.ndarray[tuple[int], np.dtype[np.intp]]) -> Bools:
    """Which of the chosen packets go from one side to the other, or back."""
    source_hi, source_lo = batch.source_hi[chosen], batch.source_lo[chosen]
    target_hi, target_lo = batch.target_hi[chosen], batch.target_lo[chosen]
    for place in np.flatnonzero(batch.ethertype[chosen] == _ARP).tolist():
        message = batch.payload(int(chosen[place]))
        if len(message) >= _ARP_END:
            source_lo[place] = IPV4_MAPPED | struct.unpack_from("!I", message, _ARP_SENDER)[0]
            target_lo[place] = IPV4_MAPPED | struct.unpack_from("!I", message, _ARP_TARGET)[0]
    ends = ((source_hi, source_lo, batch.mac_source[chosen]), (target_hi, target_lo, batch.mac_target[chosen]))
    one, other = sides
    return (one.has(*ends[0]) & other.has(*ends[1])) | (one.has(*ends[1]) & other.has(*ends[0]))


def _on(flows: frozenset[str], batch: PacketBatch, chosen: np.ndarray[tuple[int], np.dtype[np.intp]]) -> Bools:
    """Which of the chosen packets are on one of the flows. What has no ports (errors, ARP, later fragments) tells not
    whose it is, and stays."""
    has_ports = np.isin(batch.protocol[chosen], (Protocol.TCP, Protocol.UDP)) & (
        batch.fragment[chosen] != Fragment.LATER
    )
    asked = np.flatnonzero(has_ports)
    rows = np.zeros(len(asked), FLOW)
    for side, end in (("originator", "source"), ("responder", "target")):
        for part in ("hi", "lo", "port"):
            rows[f"{side}_{part}"] = getattr(batch, f"{end}_{part}")[chosen[asked]]
    rows["protocol"], rows["ip_version"] = batch.protocol[chosen[asked]], batch.ip_version[chosen[asked]]
    different, place = np.unique(rows, return_inverse=True)
    is_named = np.array([name in flows for name in community_ids(different)], np.bool_)
    found: Bools = ~has_ports
    found[asked] = is_named[place.reshape(-1)]
    return found


def _kept(batch: PacketBatch, index: int) -> KeptPacket:
    data = bytes(batch.frame(index))
    wire_size = int(batch.wire_size[index])
    vlan = int(batch.vlan[index])
    if vlan and batch.link_type[index] == ETHERNET and int.from_bytes(data[12:14], "big") not in _TAG_TYPES:
        data = data[:12] + struct.pack("!HH", _TAG_TYPES[0], vlan) + data[12:]
        wire_size += 4
    return KeptPacket(int(batch.time_ns[index]), int(batch.link_type[index]), wire_size, data)
