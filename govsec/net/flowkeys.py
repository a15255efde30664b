"""Which flow a packet belongs to: one key for both directions, and a digest that stands for it.

One idea: the two ends of a packet (each address and port in a word) are put in order, so that both directions have the
same key and only ``is_forward`` differs. The key is digested to 64 bits with multipliers that are drawn when the table
is made; from there on the digest is the key. Nobody who sends packets can know it, so nobody can make flows meet; by
chance a new flow meets one of 262,144 others once in 2^46. No result depends on the drawn numbers.

ICMP has no ports; its type and the type that answers it (or the code) stand in for them, as community_id has it.
Source: RFC 792, RFC 950, RFC 1256, RFC 4443, RFC 4861, RFC 3122, RFC 4620 (which types answer which).
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from govsec.net.columns import U1, U2, U4, U8, Bools, Fragment, PacketBatch, Protocol

#: Type: the type of the other direction. Both directions are in it.
ICMP_PAIRS = {8: 0, 0: 8, 13: 14, 14: 13, 15: 16, 16: 15, 10: 9, 9: 10, 17: 18, 18: 17}
ICMPV6_PAIRS = {128: 129, 129: 128, 133: 134, 134: 133, 135: 136, 136: 135, 130: 131, 131: 130, 139: 140, 140: 139,
                144: 145, 145: 144}  # fmt: skip
#: Types that answer; a flow that begins with one began earlier.
ICMP_REPLIES = (0, 14, 16, 18)
ICMPV6_REPLIES = (129, 140, 145)
# As numbers: numpy asks a member of an enum for a dozen things before it takes it for one.
_ICMP, _ICMPV6, _LATER = int(Protocol.ICMP), int(Protocol.ICMPV6), int(Fragment.LATER)
_IPV6 = 6
_FACTORS = 6
_FOLD = np.uint64(32)
_PORT_BITS = np.uint64(16)


@dataclass(frozen=True, slots=True)
class FlowKeys:
    """Keys of the IP packets of a batch, one entry each. One end of a key is a, the other b."""

    packets: NDArray[np.intp]  # where in the batch
    source_port: U2  # or what stands for it
    target_port: U2
    is_forward: Bools  # from a to b
    digest: U8


class KeyDigest:
    """Digests keys, with multipliers of its own."""

    def __init__(self) -> None:
        self._factors = [np.uint64(secrets.randbits(64) | 1) for _ in range(_FACTORS)]

    def keys(self, batch: PacketBatch) -> FlowKeys:
        """The keys of all IP packets of ``batch``."""
        packets = np.flatnonzero(batch.ip_version)
        chosen = slice(None) if len(packets) == len(batch) else packets
        version = batch.ip_version[chosen]
        source_port, target_port = _ports(batch, chosen)
        # Of an IPv4 address, mapped, the low half has room for the port above it.
        source = batch.source_lo[chosen] << _PORT_BITS | source_port
        target = batch.target_lo[chosen] << _PORT_BITS | target_port
        is_wide = version == _IPV6
        if is_wide.any():
            wide = np.flatnonzero(is_wide)
            at = packets[wide]
            source[wide] = self._narrowed(batch.source_hi[at], batch.source_lo[at], source_port[wide])
            target[wide] = self._narrowed(batch.target_hi[at], batch.target_lo[at], target_port[wide])
        rest = batch.vlan[chosen].astype(np.uint32) << np.uint32(16)
        rest |= batch.protocol[chosen].astype(np.uint16) << np.uint16(8) | version
        digest = self._digest(np.minimum(source, target), np.maximum(source, target), rest)
        return FlowKeys(packets, source_port, target_port, source <= target, digest)

    def _narrowed(self, hi: U8, lo: U8, port: U2) -> U8:
        """An end that has more bits than a word, as one."""
        *_, fifth, sixth = self._factors
        word = hi * fifth
        _fold(word)
        word += lo
        word *= sixth
        _fold(word)
        word += port
        return word

    def _digest(self, a: U8, b: U8, rest: U4) -> U8:
        first, second, third, fourth, *_ = self._factors
        # Twice before b is added: what two ends differ by is in no bits then that a sender could choose b to cancel.
        digest = a * first
        _fold(digest)
        digest *= second
        _fold(digest)
        digest += b
        digest *= third
        _fold(digest)
        digest += rest
        digest *= fourth
        _fold(digest)
        return digest


def _fold(words: U8) -> None:
    words ^= words >> _FOLD


def _ports(batch: PacketBatch, chosen: NDArray[np.intp] | slice) -> tuple[U2, U2]:
    """What stands for the ports of source and target in a key."""
    source_port, target_port = batch.source_port[chosen], batch.target_port[chosen]
    protocol = batch.protocol[chosen]
    is_icmp = (protocol == _ICMP) | (protocol == _ICMPV6)
    if not is_icmp.any():
        return source_port, target_port
    at = np.flatnonzero(is_icmp)
    at = at[batch.fragment[chosen][at] != _LATER]
    kinds, codes = batch.icmp_type[chosen][at], batch.icmp_code[chosen][at]
    counter = _COUNTERS[(protocol[at] == _ICMPV6).astype(np.intp), kinds]
    source_port, target_port = source_port.copy(), target_port.copy()
    source_port[at] = kinds
    target_port[at] = np.where(counter < 0, codes, counter)
    return source_port, target_port


def _counters() -> NDArray[np.int16]:
    table = np.full((2, 256), -1, np.int16)
    for row, pairs in enumerate((ICMP_PAIRS, ICMPV6_PAIRS)):
        for kind, counter in pairs.items():
            table[row, kind] = counter
    return table


_COUNTERS = _counters()


def is_icmp_reply(protocol: U1, icmp_type: U1) -> Bools:
    """Which packets answer an ICMP request."""
    found: Bools = _IS_REPLY[protocol, icmp_type]
    return found


def _replies() -> Bools:
    table = np.zeros((256, 256), np.bool_)
    table[Protocol.ICMP, ICMP_REPLIES] = True
    table[Protocol.ICMPV6, ICMPV6_REPLIES] = True
    return table


_IS_REPLY = _replies()
