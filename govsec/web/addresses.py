"""Where a request may go: names resolved once a run, addresses checked at the moment they are used.

A name is what somebody else's DNS says it is. An address that no service for people has, but that opens this machine or
its cloud (link-local, the metadata services), is refused unless the configuration names it; private networks are where
government services live, and are normal. Loopback is normal where a portal's own machine asks itself, and refused where
messages leave for other machines.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Sequence
from typing import Literal, TypeAlias

from govsec.errors import RefusedError

Family: TypeAlias = Literal["ipv4", "ipv6"]
Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
#: The addresses of a name. Raises ``OSError`` when there are none or nobody can say.
Resolve: TypeAlias = Callable[[str], Sequence[str]]

_ADDRESSES_MAX = 64
#: Where clouds tell a machine its credentials, outside of link-local: Alibaba, Tencent, AWS over IPv6, Oracle.
_METADATA = frozenset(
    ipaddress.ip_address(text) for text in ("100.100.100.200", "169.254.0.23", "fd00:ec2::254", "192.0.0.192")
)
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


class AddressRefused(RefusedError):
    """An address that is not asked."""


def system_resolve(host: str) -> Sequence[str]:
    """What this machine's resolver says; how long it tries is the resolver's own setting (``resolv.conf``)."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class Names:
    """The names of one run: each is resolved once, whatever a short-lived record says a second later."""

    def __init__(self, named: Sequence[str], resolve: Resolve, *, is_loopback_normal: bool = True) -> None:
        """``named``: networks of the configuration that are asked whatever they are."""
        self._named = tuple(ipaddress.ip_network(text) for text in named)
        self._resolve = resolve
        self._is_loopback_normal = is_loopback_normal
        self._known: dict[str, tuple[Address, ...] | OSError] = {}

    def addresses(self, host: str, family: Family | None = None) -> tuple[Address, ...]:
        """The addresses of ``host`` (in a family), in the resolver's order; none when it has none.

        Raises:
            OSError: nobody can say.
        """
        known = self._known.get(host)
        if known is None:
            try:
                texts = [host] if _is_literal(host) else list(self._resolve(host))[:_ADDRESSES_MAX]
                known = tuple(ipaddress.ip_address(text.partition("%")[0]) for text in texts)
            except (OSError, ValueError) as error:  # ValueError: a label that IDNA does not know
                known = OSError(getattr(error, "errno", None), getattr(error, "strerror", None) or str(error))
            self._known[host] = known
        if isinstance(known, OSError):
            raise known
        version = {"ipv4": 4, "ipv6": 6, None: None}[family]
        return tuple(address for address in known if version in (None, address.version))

    def check(self, address: Address) -> None:
        """Nothing, when the address may be asked.

        Raises:
            AddressRefused: it may not.
        """
        if any(address.version == network.version and address in network for network in self._named):
            return
        real = _embedded(address)
        if real in _METADATA:
            raise AddressRefused(f"{address} is a cloud's metadata service")
        for is_so, what in (
            (real.is_link_local, "link-local"),
            (real.is_loopback and not self._is_loopback_normal, "this machine itself"),
            (real.is_multicast, "multicast"),
            (real.is_unspecified, "no address at all"),
            (real.is_reserved and not real.is_private, "reserved"),
        ):
            if is_so:
                raise AddressRefused(f"{address} is {what}")


def _is_literal(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _embedded(address: Address) -> Address:
    """The IPv4 address that an IPv6 address stands for, where it does (mapped, 6to4, NAT64)."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address
