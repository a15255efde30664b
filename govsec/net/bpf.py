"""Programs that the kernel runs on every frame before it reaches a ring: a small assembler, and the two filters.

One idea: the filters are complements. What ``deep_filter`` accepts goes to the deep ring whole, and ``wide_filter`` is
the same program with the answers turned round: everything else, cut to the snap length. So each packet is in exactly
one ring, and merging two rings by time gives the traffic once.

A program is a list of instructions with named jumps. Classic BPF has no loops and no state; it cannot know what a flow
said before, so the narrow filter goes by ports and by the first bytes that protocols open with. A load past the end of
the frame ends a program with "drop", for both filters and unseen: every load is guarded. Source: the kernel's
Documentation/networking/filter.rst; struct sock_filter of linux/filter.h: code u16, true u8, false u8, k u32.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

#: What the kernel is told to keep when it shall keep all.
WHOLE = 0x40000
_INSTRUCTIONS_MAX = 4096
_JUMP_MAX = 255

LOAD_WORD, LOAD_HALF, LOAD_BYTE = 0x40, 0x48, 0x50  # A = bytes at X + k
LOAD_HALF_AT = 0x28  # A = bytes at k
LOAD_SIZE = 0x80  # A = bytes of the frame
LOAD_SCRATCH, STORE_SCRATCH = 0x60, 0x02
X_VALUE, X_FROM_SCRATCH, X_FROM_A, A_FROM_X = 0x01, 0x61, 0x07, 0x87
ADD, ADD_X, SUBTRACT_X, AND, SHIFT_LEFT, SHIFT_RIGHT = 0x04, 0x0C, 0x1C, 0x54, 0x64, 0x74
JUMP, EQUAL, GREATER, ANY_BIT, GREATER_X = 0x05, 0x15, 0x25, 0x45, 0x2D
RETURN = 0x06

_ARP, _IPV4, _IPV6 = 0x0806, 0x0800, 0x86DD
_VLANS = (0x8100, 0x88A8, 0x9100)
_UDP, _TCP, _ICMPV6 = 17, 6, 58
_EXTENSIONS = (0, 43, 60)  # hop-by-hop, routing, destination options
_PROTOCOL, _END = 0, 1  # scratch: the transport protocol, where the IP packet ends
#: DNS, DHCP, DHCPv6, multicast DNS and LLMNR are small and their content matters.
UDP_PORTS = (53, 67, 68, 546, 547, 5353, 5355)
#: Services that speak in the clear: what the client says is small, and its bodies matter.
CLEAR_PORTS = (21, 23, 25, 53, 80, 110, 135, 143, 389, 587, 3268, 3389, 5985, 8000, 8080, 8888, 9090)
#: Services whose certificates take more than one segment.
TLS_PORTS = (443, 465, 636, 853, 990, 993, 995, 8443)


@dataclass(frozen=True, slots=True)
class Step:
    """One instruction; ``yes`` and ``no`` are labels, empty: the next one. ``label`` names this place."""

    code: int
    k: int = 0
    yes: str = ""
    no: str = ""
    label: str = ""


def assemble(steps: Sequence[Step]) -> bytes:
    """The program as the kernel takes it.

    Raises:
        ValueError: a label is missing, lies behind, or too far ahead for one jump; no program that is built here is.
    """
    if not 0 < len(steps) <= _INSTRUCTIONS_MAX:
        raise ValueError(f"a program of {len(steps)} instructions")
    places = {step.label: position for position, step in enumerate(steps) if step.label}
    parts = []
    for position, step in enumerate(steps):
        yes, no, k = _distance(step.yes, position, places), _distance(step.no, position, places), step.k
        if step.code == JUMP:
            yes, no, k = 0, 0, yes
        elif max(yes, no) > _JUMP_MAX:
            raise ValueError(f"instruction {position} jumps {max(yes, no)} ahead, at most {_JUMP_MAX} are possible")
        parts.append(struct.pack("=HBBI", step.code, yes, no, k & 0xFFFFFFFF))
    return b"".join(parts)


def _distance(label: str, position: int, places: dict[str, int]) -> int:
    if not label:
        return 0
    distance = places.get(label, -1) - position - 1
    if distance < 0:
        raise ValueError(f"instruction {position} jumps to {label!r}, which is not ahead of it")
    return distance


def deep_filter(*, is_narrow: bool = False) -> bytes:
    """Whole frames of what is dissected.

    ARP, neighbour discovery, names and leases; of TCP whatever opens a known protocol, and the clients' side of clear
    services. Unless ``is_narrow`` also all that is said on :data:`CLEAR_PORTS` and :data:`TLS_PORTS`, for bodies and
    certificates that go on in later segments: on a busy network that is bulk.
    """
    return assemble(_program(deep=WHOLE, rest=0, is_narrow=is_narrow))


def wide_filter(snap_length: int, *, is_narrow: bool = False) -> bytes:
    """Everything that :func:`deep_filter` leaves, the first ``snap_length`` bytes of each."""
    return assemble(_program(deep=0, rest=snap_length, is_narrow=is_narrow))


def all_filter(snap_length: int) -> bytes:
    """Everything, the first ``snap_length`` bytes of each."""
    return assemble([Step(RETURN, snap_length)])


def _program(*, deep: int, rest: int, is_narrow: bool) -> list[Step]:
    # Long jumps are rare in classic BPF (255 at most), so each part ends in answers of its own.
    return [
        # The kernel refuses a program unless scratch is written before every place that reads it, jumps or not.
        Step(STORE_SCRATCH, _PROTOCOL),
        Step(STORE_SCRATCH, _END),
        *_link_part(deep, rest),
        *_ipv4_part(rest),
        *_ipv6_part(deep, rest),
        *_udp_part(deep, rest),
        *_tcp_part(deep, rest, is_narrow),
    ]


def _link_part(deep: int, rest: int) -> list[Step]:
    """Follows at most two tags that are still in the frame; X is the network header, the type decides."""
    steps = []
    for depth in range(3):
        at = 12 + 4 * depth
        steps += [Step(LOAD_SIZE, label=f"type{depth}"), Step(GREATER, at + 1, no="other type")]
        steps += [Step(LOAD_HALF_AT, at), Step(X_VALUE, at + 2)]
        if depth < 2:
            steps += [Step(EQUAL, vlan, yes=f"type{depth + 1}") for vlan in _VLANS] + [Step(JUMP, yes="typed")]
    return [
        *steps,
        Step(EQUAL, _ARP, no="not arp", label="typed"),
        Step(RETURN, deep),
        Step(EQUAL, _IPV4, yes="ipv4", label="not arp"),
        Step(EQUAL, _IPV6, no="other type"),
        Step(JUMP, yes="ipv6"),
        Step(RETURN, rest, label="other type"),
    ]


def _guard(size: int, otherwise: str, label: str = "") -> list[Step]:
    """Goes on when ``size`` bytes can be read at X."""
    return [
        Step(LOAD_SIZE, label=label),
        Step(GREATER_X, no=otherwise),
        Step(SUBTRACT_X),
        Step(GREATER, size - 1, no=otherwise),
    ]


def _ipv4_part(rest: int) -> list[Step]:
    return [
        *_guard(20, "other 4", label="ipv4"),
        Step(LOAD_HALF, 6),
        Step(ANY_BIT, 0x3FFF, yes="other 4"),  # of a fragment nothing is dissected
        Step(LOAD_HALF, 2),
        Step(ADD_X),
        Step(STORE_SCRATCH, _END),
        Step(LOAD_BYTE, 9),
        Step(STORE_SCRATCH, _PROTOCOL),
        Step(LOAD_BYTE, 0),
        Step(AND, 0x0F),
        Step(SHIFT_LEFT, 2),
        Step(ADD_X),
        Step(X_FROM_A),
        Step(LOAD_SCRATCH, _PROTOCOL),
        Step(EQUAL, _UDP, no="not udp 4"),
        Step(JUMP, yes="udp"),
        Step(EQUAL, _TCP, no="other 4", label="not udp 4"),
        Step(JUMP, yes="tcp"),
        Step(RETURN, rest, label="other 4"),
    ]


def _ipv6_part(deep: int, rest: int) -> list[Step]:
    """Packets with extension headers are few, and a way round sensors: they go to the deep ring whole."""
    return [
        *_guard(41, "other 6", label="ipv6"),
        Step(LOAD_HALF, 4),
        Step(ADD_X),
        Step(ADD, 40),
        Step(STORE_SCRATCH, _END),
        Step(LOAD_BYTE, 6),
        *(Step(EQUAL, header, yes="deep 6") for header in _EXTENSIONS),
        Step(EQUAL, _ICMPV6, yes="icmpv6"),
        Step(STORE_SCRATCH, _PROTOCOL),
        Step(A_FROM_X),
        Step(ADD, 40),
        Step(X_FROM_A),
        Step(LOAD_SCRATCH, _PROTOCOL),
        Step(EQUAL, _UDP, no="not udp 6"),
        Step(JUMP, yes="udp"),
        Step(EQUAL, _TCP, no="other 6", label="not udp 6"),
        Step(JUMP, yes="tcp"),
        Step(LOAD_BYTE, 40, label="icmpv6"),
        Step(GREATER, 132, no="other 6"),
        Step(GREATER, 137, no="deep 6"),  # router and neighbour discovery: 133 to 137
        Step(RETURN, rest, label="other 6"),
        Step(RETURN, deep, label="deep 6"),
    ]


def _udp_part(deep: int, rest: int) -> list[Step]:
    steps = [*_guard(4, "rest udp", label="udp"), Step(LOAD_HALF, 0)]
    steps += [Step(EQUAL, port, yes="deep udp") for port in UDP_PORTS]
    steps += [Step(LOAD_HALF, 2)]
    steps += [Step(EQUAL, port, yes="deep udp") for port in UDP_PORTS]
    return [
        *steps,
        Step(EQUAL, 443, no="rest udp"),
        *_guard(9, "rest udp"),
        Step(LOAD_BYTE, 8),
        Step(AND, 0xC0),
        Step(EQUAL, 0xC0, yes="deep udp"),  # a long header of QUIC (RFC 8999): hello messages are in these
        Step(RETURN, rest, label="rest udp"),
        Step(RETURN, deep, label="deep udp"),
    ]


#: First four bytes of a TCP payload.
_HTTP = (b"GET ", b"POST", b"HEAD", b"PUT ", b"OPTI", b"DELE", b"PATC", b"CONN", b"TRAC", b"PROP", b"HTTP", b"SSH-")


def _tcp_part(deep: int, rest: int, is_narrow: bool) -> list[Step]:
    clients, servers = (CLEAR_PORTS, ()) if is_narrow else ((*CLEAR_PORTS, *TLS_PORTS),) * 2
    return [
        *_guard(20, "no payload", label="tcp"),
        Step(LOAD_HALF, 0),
        *(Step(EQUAL, port, yes="known") for port in servers),
        Step(LOAD_HALF, 2),
        *(Step(EQUAL, port, yes="known") for port in clients),
        *_payload_steps("unknown"),
        *_guard(8, "rest tcp"),
        Step(LOAD_WORD, 0),
        *(Step(EQUAL, int.from_bytes(word, "big"), yes="deep tcp") for word in _HTTP),
        Step(SHIFT_RIGHT, 16),
        Step(EQUAL, 0x1603, yes="deep tcp"),  # a handshake record of TLS
        Step(EQUAL, 0x1601, yes="deep tcp"),  # of TLCP (GB/T 38636)
        Step(EQUAL, 0x0500, yes="deep tcp"),  # DCE/RPC 5.0
        Step(EQUAL, 0x0300, yes="deep tcp"),  # TPKT: RDP
        Step(EQUAL, 0x0000, yes="framed"),  # a length below 64 KiB: SMB over TCP, SSH, DNS over TCP
        Step(SHIFT_RIGHT, 8),
        Step(EQUAL, 0x30, no="rest tcp"),
        Step(LOAD_HALF, 2),
        Step(EQUAL, 0x0201, yes="deep tcp", no="rest tcp"),  # LDAP: a sequence that begins with a small number
        Step(LOAD_BYTE, 5, label="framed"),
        Step(EQUAL, 20, yes="deep tcp"),  # SSH_MSG_KEXINIT
        Step(LOAD_WORD, 4),
        Step(EQUAL, 0xFE534D42, yes="deep tcp"),
        Step(EQUAL, 0xFF534D42, yes="deep tcp"),
        Step(RETURN, rest, label="rest tcp"),
        *_payload_steps("known"),
        Step(RETURN, deep, label="deep tcp"),
        Step(RETURN, rest, label="no payload"),
    ]


def _payload_steps(label: str) -> list[Step]:
    """X moves from the TCP header to the payload; to ``no payload`` where that is not before the end of the packet."""
    return [
        Step(LOAD_BYTE, 12, label=label),
        Step(SHIFT_RIGHT, 2),
        Step(AND, 0x3C),
        Step(ADD_X),
        Step(X_FROM_A),
        Step(LOAD_SCRATCH, _END),
        Step(GREATER_X, no="no payload"),
    ]


def instructions(program: bytes) -> Iterable[tuple[int, int, int, int]]:
    """Code, both jumps and k of each instruction; for those who print or test a program."""
    return struct.iter_unpack("=HBBI", program)
