"""Which flow a packet belongs to: one key for both directions, and a digest that stands for it.

One idea: the two ends of a packet are put in order, so that both directions have the same key and only ``is_forward``
differs. The key (five words) is digested to 64 bits with multipliers that are drawn when the table is made; from there
on the digest is the key. Nobody who sends packets can know it, so nobody can make flows meet; by chance a new flow
meets one of 262,144 others once in 2^46. No result depends on the drawn numbers.

ICMP has no ports; its type and the type that answers it (or the code) stand in for them, as community_id has it.
Source: RFC 792, RFC 950, RFC 1256, RFC 4443, RFC 4861, RFC 3122, RFC 4620 (which types answer which).
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from govsec.net.columns import U1, U2, U8, Bools, Fragment, PacketBatch, Protocol

#: Type: the type of the other direction. Both directions are in it.
ICMP_PAIRS = {8: 0, 0: 8, 13: 14, 14: 13, 15: 16, 16: 15, 10: 9, 9: 10, 17: 18, 18: 17}
ICMPV6_PAIRS = {128: 129, 129: 128, 133: 134, 134: 133, 135: 136, 136: 135, 130: 131, 131: 130, 139: 140, 140: 139,
                144: 145, 145: 144}  # fmt: skip
#: Types that answer; a flow that begins with one began earlier.
ICMP_REPLIES = (0, 14, 16, 18)
ICMPV6_REPLIES = (129, 140, 145)
# As numbers: numpy asks a member of an enum for a dozen things before it takes it for one.
_ICMP, _ICMPV6 = int(Protocol.ICMP), int(Protocol.ICMPV6)
_WORDS = 6
_FOLD = np.uint64(32)


@dataclass(frozen=True, slots=True)
class FlowKeys:
    """Keys of the IP packets of a batch, one entry each. ``a`` is the lower end, ``b`` the higher."""

    packets: NDArray[np.intp]  # where in the batch
    a_hi: U8
    a_lo: U8
    b_hi: U8
    b_lo: U8
    meta: U8  # port of a, port of b, VLAN, protocol, IP version: 16, 16, 16, 8, 8 bits
    is_forward: Bools  # from a to b
    digest: U8


class KeyDigest:
    """Digests keys, with multipliers of its own."""

    def __init__(self) -> None:
        self._factors = [np.uint64(secrets.randbits(64) | 1) for _ in range(_WORDS)]

    def keys(self, batch: PacketBatch) -> FlowKeys:
        """The keys of all IP packets of ``batch``."""
        is_ip = batch.ip_version != 0
        packets = np.flatnonzero(is_ip)
        chosen = slice(None) if len(packets) == len(batch) else packets
        source_hi, source_lo = batch.source_hi[chosen], batch.source_lo[chosen]
        target_hi, target_lo = batch.target_hi[chosen], batch.target_lo[chosen]
        source_port, target_port = _ports(batch, chosen)
        is_forward = (source_lo < target_lo) | (source_lo == target_lo) & (source_port <= target_port)
        is_wide = bool((source_hi | target_hi).any())
        if is_wide:
            is_forward = (source_hi < target_hi) | (source_hi == target_hi) & is_forward
        a_lo, b_lo = np.where(is_forward, source_lo, target_lo), np.where(is_forward, target_lo, source_lo)
        a_hi, b_hi = source_hi, source_hi
        if is_wide:
            a_hi, b_hi = np.where(is_forward, source_hi, target_hi), np.where(is_forward, target_hi, source_hi)
        ports = source_port.astype(np.uint32) << np.uint32(16) | target_port
        turned = target_port.astype(np.uint32) << np.uint32(16) | source_port
        rest = batch.vlan[chosen].astype(np.uint32) << np.uint32(8) | batch.protocol[chosen]
        rest = rest << np.uint32(8) | batch.ip_version[chosen]
        meta = np.where(is_forward, ports, turned).astype(np.uint64) << _FOLD | rest
        digest = self._digest(a_hi, a_lo, b_hi, b_lo, meta, is_wide)
        return FlowKeys(packets, a_hi, a_lo, b_hi, b_lo, meta, is_forward, digest)

    def _digest(self, a_hi: U8, a_lo: U8, b_hi: U8, b_lo: U8, meta: U8, is_wide: bool) -> U8:
        first, second, third, fourth, fifth, sixth = self._factors
        digest = a_lo * first
        if is_wide:  # adds nothing where the high halves are 0, as those of IPv4 are
            digest ^= _folded(a_hi * fifth)
        digest = (_folded(digest) + b_lo) * second
        if is_wide:
            digest ^= _folded(b_hi * sixth)
        digest = (_folded(digest) + meta) * third
        return _folded(_folded(digest) * fourth)


def _folded(words: U8) -> U8:
    return words ^ (words >> _FOLD)


def _ports(batch: PacketBatch, chosen: NDArray[np.intp] | slice) -> tuple[U2, U2]:
    """What stands for the ports of source and target in a key."""
    source_port, target_port = batch.source_port[chosen], batch.target_port[chosen]
    protocol = batch.protocol[chosen]
    is_icmp = (protocol == _ICMP) | (protocol == _ICMPV6)
    if not is_icmp.any():
        return source_port, target_port
    is_icmp &= batch.fragment[chosen] != Fragment.LATER
    kinds, codes = batch.icmp_type[chosen][is_icmp], batch.icmp_code[chosen][is_icmp]
    counter = _COUNTERS[(protocol[is_icmp] == Protocol.ICMPV6).astype(np.intp), kinds]
    source_port, target_port = source_port.copy(), target_port.copy()
    source_port[is_icmp] = kinds
    target_port[is_icmp] = np.where(counter < 0, codes, counter)
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
