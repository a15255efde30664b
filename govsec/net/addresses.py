"""Addresses as two halves of 64 bits: to text and back, and which of many lie in given networks.

One idea: IPv4 is IPv6's ``::ffff:0:0/96`` in here, so a network is a mask and a value for each half, and the question
whether packets are from there is two comparisons for all of them.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from govsec.errors import ConfigurationError
from govsec.net.columns import IPV4_MAPPED, U1, U8, Bools

_ALL = (1 << 64) - 1
_IPV4_BITS_MORE = 96


def format(hi: int, lo: int) -> str:
    """An address as text: ``192.0.2.1`` for mapped ones, else as RFC 5952 has it."""
    hi, lo = int(hi), int(lo)
    if hi == 0 and lo >> 32 == IPV4_MAPPED >> 32:
        return str(ipaddress.IPv4Address(lo & 0xFFFF_FFFF))
    return str(ipaddress.IPv6Address(hi << 64 | lo))


def format_all(hi: U8, lo: U8) -> list[str]:
    """The same for columns."""
    return [format(one, other) for one, other in zip(hi.tolist(), lo.tolist(), strict=True)]


def parse(text: str) -> tuple[int, int]:
    """The halves of an address.

    Raises:
        ConfigurationError: it is none.
    """
    try:
        address = ipaddress.ip_address(text)
    except ValueError as error:
        raise ConfigurationError(f"{text!r} is no address") from error
    if isinstance(address, ipaddress.IPv4Address):
        return 0, IPV4_MAPPED | int(address)
    return int(address) >> 64, int(address) & _ALL


def format_mac(mac: int) -> str:
    """A hardware address as ``00:11:22:aa:bb:cc``."""
    return int(mac).to_bytes(6, "big").hex(":")


@dataclass(frozen=True, slots=True)
class Prefix:
    """A network; ``bits`` counts from the 128-bit address, so an IPv4 /24 has 120."""

    hi: int
    lo: int
    bits: int

    @classmethod
    def parse(cls, text: str) -> Prefix:
        """From ``10.0.0.0/8``, ``2001:db8::/32`` or one address; bits behind the prefix do not matter.

        Raises:
            ConfigurationError: it is none of these.
        """
        try:
            network = ipaddress.ip_network(text, strict=False)
        except ValueError as error:
            raise ConfigurationError(f"{text!r} is no network") from error
        hi, lo = parse(str(network.network_address))
        return cls(hi, lo, network.prefixlen + (_IPV4_BITS_MORE if network.version == 4 else 0))

    def __str__(self) -> str:
        address = format(self.hi, self.lo)
        return f"{address}/{self.bits if ':' in address else self.bits - _IPV4_BITS_MORE}"

    def holds(self, hi: U8, lo: U8) -> Bools:
        """Which of the addresses are in it."""
        hi_mask, lo_mask = _masks(self.bits)
        found: Bools = (hi & hi_mask) == np.uint64(self.hi)
        found &= (lo & lo_mask) == np.uint64(self.lo)
        return found


def any_holds(prefixes: Iterable[Prefix], hi: U8, lo: U8) -> Bools:
    """Which of the addresses are in one of the networks."""
    found = np.zeros(len(hi), np.bool_)
    for prefix in prefixes:
        found |= prefix.holds(hi, lo)
    return found


def masked(hi: U8, lo: U8, ip_version: U1, bits: Mapping[int, int]) -> tuple[U8, U8]:
    """The addresses cut to a prefix of ``bits`` by IP version (as people count, from the address's own beginning)."""
    four_hi, four_lo = _masks(bits[4] + _IPV4_BITS_MORE)
    six_hi, six_lo = _masks(bits[6])
    is_four = ip_version == 4
    return hi & np.where(is_four, four_hi, six_hi), lo & np.where(is_four, four_lo, six_lo)


def _masks(bits: int) -> tuple[np.uint64, np.uint64]:
    mask = ((1 << bits) - 1) << (128 - bits)
    return np.uint64(mask >> 64), np.uint64(mask & _ALL)
