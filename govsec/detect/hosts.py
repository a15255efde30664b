"""Which addresses are ours: the home networks of the site.

Detectors ask for whole columns at once. A site has a handful of networks; each is one comparison.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from govsec.detect.windows import U64
from govsec.net.columns import IPV4_MAPPED

_HALF = 64
_ONES = (1 << 128) - 1


class Networks:
    """A set of networks, as ``10.0.0.0/8`` and ``fc00::/7``.

    Raises:
        ValueError: one of them is no network.
    """

    def __init__(self, networks: Sequence[str]) -> None:
        self._masked: list[tuple[np.uint64, np.uint64, np.uint64, np.uint64]] = []
        for text in networks:
            value, mask = span_of(ipaddress.ip_network(text))
            self._masked.append((_high(mask), _low(mask), _high(value), _low(value)))

    def contains(self, hi: U64, lo: U64) -> NDArray[np.bool_]:
        """True for each address that lies in one of them."""
        found = np.zeros(len(hi), dtype=np.bool_)
        for mask_hi, mask_lo, value_hi, value_lo in self._masked:
            found |= ((hi & mask_hi) == value_hi) & ((lo & mask_lo) == value_lo)
        return found

    def has(self, hi: int, lo: int) -> bool:
        """True when the one address lies in one of them."""
        return bool(self.contains(np.array([hi], dtype=np.uint64), np.array([lo], dtype=np.uint64))[0])


def span_of(network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> tuple[int, int]:
    """First address and mask of ``network``, both of 128 bits."""
    value, length = int(network.network_address), network.prefixlen
    if network.version == 4:
        value, length = value | IPV4_MAPPED, length + 96
    return value, _ONES ^ (_ONES >> length)


def halves(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> tuple[int, int]:
    """High and low half of an address, as packets carry it."""
    value = int(address) | (IPV4_MAPPED if address.version == 4 else 0)
    return value >> _HALF, value & ((1 << _HALF) - 1)


def host(hi: int, lo: int) -> str:
    """The address as text."""
    high, low = int(hi), int(lo)
    if high == 0 and low >> 32 == IPV4_MAPPED >> 32:
        return str(ipaddress.IPv4Address(low & 0xFFFF_FFFF))
    return str(ipaddress.IPv6Address((high << _HALF) | low))


def _high(value: int) -> np.uint64:
    return np.uint64(value >> _HALF)


def _low(value: int) -> np.uint64:
    return np.uint64(value & ((1 << _HALF) - 1))
