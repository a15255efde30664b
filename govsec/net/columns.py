"""What a batch of packets and a flow look like: columns of numpy, and one structured row a flow.

One idea: packets cross rooms as columns. A ``PacketBatch`` holds up to ``PACKETS_MAX`` packets in capture order, one
array a field, so that a detector asks a question of all of them at once. A field that a packet does not have is 0; what
was cut off or lies is said in ``faults``. A flow is a row of ``FLOW``; rows come in ``FlowUpdate``.

Addresses are 128 bits in two halves, high and low; an IPv4 address stands as ``::ffff:a.b.c.d`` (RFC 4291, 2.5.5.2), so
that one comparison serves both. Times are nanoseconds since 1970, UTC. Nothing here decodes or counts.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, fields
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

#: A batch has at most this many packets: more cost less each, and no longer fit into the processor's cache.
PACKETS_MAX = 32_768
#: High bits of the low half of an IPv4 address (``::ffff:0:0/96``).
IPV4_MAPPED = 0x0000_FFFF_0000_0000

U1: TypeAlias = NDArray[np.uint8]
U2: TypeAlias = NDArray[np.uint16]
U4: TypeAlias = NDArray[np.uint32]
U8: TypeAlias = NDArray[np.uint64]
I8: TypeAlias = NDArray[np.int64]
Bools: TypeAlias = NDArray[np.bool_]
#: Rows of ``FLOW``.
FlowRecords: TypeAlias = NDArray[np.void]


class Fault(enum.IntFlag):
    """What is wrong, or out of the ordinary, with one packet; several may hold."""

    CUT = 1  # fewer bytes were captured than were on the wire
    SHORT = 2  # a header goes past what was captured: the fields behind it are 0
    LENGTH = 4  # a length field lies: shorter than its header, or longer than the packet
    VERSION = 8  # the Ethernet type says IP, the version field says otherwise
    NESTED = 16  # more VLAN tags or IPv6 extension headers than are followed
    LINK = 32  # a link type that is not decoded
    MERGED = 64  # larger than a frame can be: merged by kernel or card (GRO, TSO), so packet counts are too low
    TIME = 128  # a time stamp that no capture can have; the time of the packet before is taken
    RECORD = 256  # the capture file's own record lies: it claims less on the wire than it captured


class Tunnel(enum.IntEnum):
    """What the payload carries, where that is packets again; ``decode.decode_inner`` gives them."""

    NONE = 0
    GRE = 1
    VXLAN = 2
    IP_IN_IP = 3


class Fragment(enum.IntEnum):
    """Which part of an IP packet this is."""

    WHOLE = 0
    FIRST = 1
    LATER = 2


class TcpFlag(enum.IntFlag):
    """Bits of ``tcp_flags`` (RFC 9293, 3.1)."""

    FIN = 1
    SYN = 2
    RST = 4
    PSH = 8
    ACK = 16
    URG = 32
    ECE = 64
    CWR = 128


class Protocol(enum.IntEnum):
    """The protocol numbers that govsec reads (IANA)."""

    ICMP = 1
    TCP = 6
    UDP = 17
    GRE = 47
    ICMPV6 = 58


class Opening(enum.IntEnum):
    """How a flow began, as far as it was seen."""

    UNSEEN = 0  # picked up in mid-stream, or a protocol without a handshake
    SYN = 1
    REPLY = 2  # SYN-ACK, RST or an ICMP reply came first: backscatter; its sender is the responder


class FlowState(enum.IntEnum):
    """What became of a flow, from the flags of both sides."""

    ATTEMPT = 0  # nothing came back
    REJECTED = 1  # the responder answered the SYN with RST
    ESTABLISHED = 2  # both sides spoke
    CLOSED = 3  # FIN from both
    RESET = 4  # RST after an answer


class FlowEnd(enum.IntEnum):
    """Why a row left the flow table."""

    OPEN = 0  # it has not
    FIN = 1
    RESET = 2
    IDLE = 3
    ACTIVE = 4  # the flow goes on; this row tells its last ``active_s``
    EVICTED = 5  # the table was full
    FINISHED = 6  # the capture ended
    REOPENED = 7  # a new handshake on the same addresses and ports


#: One flow, or one stretch of a long one. Sizes are on the wire; ``payload_`` is what the headers claim.
FLOW = np.dtype(
    [
        ("id", "u8"),  # by order of first packet, from 1; the same in all rows of a long flow
        ("start_ns", "i8"),  # first packet of the flow
        ("first_ns", "i8"),  # first packet that this row counts: start_ns, or the one after an ACTIVE row
        ("last_ns", "i8"),  # latest packet that this row counts
        (
            "end_ns",
            "i8",
        ),  # event time at which the row was closed: the time-out's, or of the packet that did it
        ("answered_ns", "i8"),  # first packet of the responder, where both sides spoke; 0: never
        ("originator_hi", "u8"),
        ("originator_lo", "u8"),
        ("responder_hi", "u8"),
        ("responder_lo", "u8"),
        ("bytes_originator", "u8"),
        ("bytes_responder", "u8"),
        ("payload_originator", "u8"),
        ("payload_responder", "u8"),
        ("packets_originator", "u4"),
        ("packets_responder", "u4"),
        ("part", "u4"),  # 0: the flow's first row; then one more for each ACTIVE row before
        ("originator_port", "u2"),  # ICMP: type, as community_id has it
        ("responder_port", "u2"),  # ICMP: the type that answers, or the code
        ("vlan", "u2"),
        ("protocol", "u1"),
        ("ip_version", "u1"),
        ("flags_originator", "u1"),  # all TCP flags since the flow began
        ("flags_responder", "u1"),
        ("opening", "u1"),
        ("state", "u1"),
        ("end", "u1"),
        ("icmp_type", "u1"),  # of the first packet
    ],
    align=True,
)


@dataclass(frozen=True, slots=True)
class PacketBatch:
    """Packets in capture order. Every array has one entry a packet; ``data`` holds the frames."""

    time_ns: I8
    position: U8  # in the capture, from 0
    wire_size: U4
    captured_size: U4
    vlan: U2  # id of the outermost tag, also of one that the kernel moved out of the frame; 0: none
    ethertype: U2  # of the innermost header before the network layer; 0: not known
    mac_source: U8  # 48 bits
    mac_target: U8
    ip_version: U1  # 4, 6, or 0: not IP
    source_hi: U8
    source_lo: U8
    target_hi: U8
    target_lo: U8
    protocol: U1  # behind the extension headers
    ttl: U1  # or hop limit
    fragment: U1  # ``Fragment``
    source_port: U2
    target_port: U2
    tcp_flags: U1
    tcp_sequence: U4
    tcp_acknowledgment: U4
    tcp_window: U2
    icmp_type: U1  # ICMP and ICMPv6
    icmp_code: U1
    ip_size: U4  # header and payload, as claimed (for a merged packet that claims 0: as captured on the wire)
    #: In the frame. What follows TCP and UDP headers; the whole ICMP message from its type on; else what follows the IP
    #: or link header (an ARP message, say).
    payload_offset: U4
    payload_size: U4  # really captured
    payload_claimed: U4  # by the IP length, without Ethernet padding
    tunnel: U1  # ``Tunnel``
    faults: U2  # ``Fault``
    link_type: U2  # LINKTYPE_ of the capture
    frame_offset: I8  # in ``data``
    data: memoryview

    def __len__(self) -> int:
        return len(self.time_ns)

    def frame(self, index: int) -> memoryview:
        """The bytes that were captured of one packet; no copy, valid as long as the batch."""
        start = int(self.frame_offset[index])
        return self.data[start : start + int(self.captured_size[index])]

    def payload(self, index: int) -> memoryview:
        """What was captured behind the headers of one packet; never outside its frame."""
        start = int(self.payload_offset[index])
        return self.frame(index)[start : start + int(self.payload_size[index])]

    def take(self, index: NDArray[np.intp] | Bools) -> PacketBatch:
        """The chosen packets, by positions in the batch or by mask; ``data`` is shared."""
        columns = {
            name: column if name == "data" else column[index]
            for name, column in ((field.name, getattr(self, field.name)) for field in fields(self))
        }
        return PacketBatch(**columns)

    def fault_counts(self) -> dict[str, int]:
        """How many packets have each fault, by its name in small letters; only those that occur."""
        found = int(np.bitwise_or.reduce(self.faults, initial=0))
        return {
            str(fault.name).lower(): int(np.count_nonzero(self.faults & fault.value))
            for fault in Fault
            if found & fault.value
        }


@dataclass(frozen=True, slots=True)
class SketchSummary:
    """What came in packets that belong to no kept flow, since the flood began."""

    since_ns: int
    packets: int
    bytes: int
    sources_estimate: int
    targets_estimate: int
    #: Heaviest first, at most 16: address, packets (never too low), distinct sources (estimate).
    targets: tuple[tuple[str, int, int], ...]
    #: Heaviest first, at most 16: prefix (/24 or /48), packets (never too low), distinct targets (estimate).
    source_prefixes: tuple[tuple[str, int, int], ...]


@dataclass(frozen=True, slots=True)
class FlowUpdate:
    """What one batch did to the flows.

    Put together over all batches, each sequence of rows is the same wherever batches are cut: ``opened`` has a row as
    it was after the first packet, by id; ``answered`` as it was after the first packet of the responder, in packet
    order; ``closed`` by the moment of their end. Only evictions (``FlowTable.counters``) depend on the cuts.
    """

    flow: U8  # id for each packet of the batch; 0: none (not IP, or not kept under flood)
    is_originator: Bools
    opened: FlowRecords
    answered: FlowRecords
    closed: FlowRecords
    #: Event time: the latest time stamp so far.
    time_ns: int
    #: New flows came faster than they are kept, or rows were evicted: counts by flow are too low.
    degraded: bool = False
    #: What the flows that were not kept amount to, while that goes on.
    sketch: SketchSummary | None = None
