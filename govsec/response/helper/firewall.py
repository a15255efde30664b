"""``nft.block`` and ``host.isolate``: elements of named sets that the kernel itself lets go when their time is over.

One table of our own, ``inet govsec_response``, ahead of the site's rules: an ``accept`` there only means that those go
on to judge. The rules never change; what changes are sets. So nothing stays blocked because a program died, and nobody
who looks has to guess: ``nft list table inet govsec_response``.

Isolated, the host speaks to the management networks and itself, and to nobody else; sessions that stand are cut.

Source: nft(8), sets with timeouts and intervals.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, collapse_addresses, ip_address, ip_network
from pathlib import Path
from typing import Any

from govsec.errors import RefusedError, TryAgainError
from govsec.response.helper.api import Arguments, Before, Network, number_of, run, text_of

Address = IPv4Address | IPv6Address
TABLE = "inet govsec_response"
_RULES = """
add table inet govsec_response
add set inet govsec_response block4 { type ipv4_addr; flags timeout; size 4096; }
add set inet govsec_response block6 { type ipv6_addr; flags timeout; size 4096; }
add set inet govsec_response isolate4 { type ipv4_addr; flags interval, timeout; }
add set inet govsec_response isolate6 { type ipv6_addr; flags interval, timeout; }
add set inet govsec_response manage4 { type ipv4_addr; flags interval; }
add set inet govsec_response manage6 { type ipv6_addr; flags interval; }
add chain inet govsec_response in { type filter hook input priority -20; policy accept; }
add chain inet govsec_response out { type filter hook output priority -20; policy accept; }
add chain inet govsec_response through { type filter hook forward priority -20; policy accept; }
flush chain inet govsec_response in
flush chain inet govsec_response out
flush chain inet govsec_response through
flush set inet govsec_response manage4
flush set inet govsec_response manage6
add rule inet govsec_response in iif lo accept
add rule inet govsec_response in ip saddr @manage4 accept
add rule inet govsec_response in ip6 saddr @manage6 accept
add rule inet govsec_response in ip saddr @block4 counter drop
add rule inet govsec_response in ip6 saddr @block6 counter drop
add rule inet govsec_response in icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-advert } accept
add rule inet govsec_response in ip saddr @isolate4 counter drop
add rule inet govsec_response in ip6 saddr @isolate6 counter drop
add rule inet govsec_response out oif lo accept
add rule inet govsec_response out ip daddr @manage4 accept
add rule inet govsec_response out ip6 daddr @manage6 accept
add rule inet govsec_response out ip daddr @block4 counter drop
add rule inet govsec_response out ip6 daddr @block6 counter drop
add rule inet govsec_response out icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-solicit } accept
add rule inet govsec_response out ip daddr @isolate4 counter drop
add rule inet govsec_response out ip6 daddr @isolate6 counter drop
add rule inet govsec_response through ip saddr @block4 counter drop
add rule inet govsec_response through ip daddr @block4 counter drop
add rule inet govsec_response through ip6 saddr @block6 counter drop
add rule inet govsec_response through ip6 daddr @block6 counter drop
add rule inet govsec_response through ip daddr @isolate4 counter drop
add rule inet govsec_response through ip6 daddr @isolate6 counter drop
"""
_TABLES_OF_SOCKETS = ("tcp", "tcp6", "udp", "udp6")
_SOCKETS_MAX = 200_000
_LISTENING = "0A"
_EVERYBODY = IPv4Address("255.255.255.255")
#: The second one: where systemd-resolved is the name server that programs ask, those that it asks itself.
_NAME_SERVERS = (Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf"))
#: From this prefix on a network has no broadcast address (RFC 3021).
_NO_BROADCAST_BITS = 31


class Firewall:
    """Our table: what both verbs share."""

    is_volatile = True

    def __init__(self, management: Sequence[Network]) -> None:
        # The kernel's sets of networks refuse those that overlap.
        self._management: tuple[Network, ...] = (
            *collapse_addresses(each for each in management if isinstance(each, IPv4Network)),
            *collapse_addresses(each for each in management if isinstance(each, IPv6Network)),
        )

    def put(self, elements: Sequence[tuple[str, str]], ttl_s: int, nonce: str) -> None:
        """Put ``(set, element)`` in for ``ttl_s``; one that is there stays for the longer of both times."""
        run(["nft", "-f", "-"], self._change(elements, ttl_s, nonce))

    def check(self, elements: Sequence[tuple[str, str]], ttl_s: int) -> None:
        """Return when the kernel would take what :meth:`put` gives it; nothing is changed. Raises as :func:`run`."""
        run(["nft", "-c", "-f", "-"], self._change(elements, ttl_s, "tried"))

    def _change(self, elements: Sequence[tuple[str, str]], ttl_s: int, nonce: str) -> str:
        """All of it in one transaction: the rules as they are to be, and the elements."""
        lines = [_RULES]
        lines += [f"add element {TABLE} manage{each.version} {{ {each} }}" for each in self._management]
        for name, element in elements:
            left_s = self.left(name, element)
            if left_s is not None:
                lines.append(f"delete element {TABLE} {name} {{ {element} }}")
            lasting_s = max(ttl_s, left_s or 0)
            lines.append(f'add element {TABLE} {name} {{ {element} timeout {lasting_s}s comment "{nonce}" }}')
        return "\n".join(lines)

    def remove(self, elements: Sequence[tuple[str, str]]) -> None:
        """Take out what is there."""
        present = [(name, element) for name, element in elements if self.left(name, element) is not None]
        if present:
            run(["nft", "-f", "-"], "\n".join(f"delete element {TABLE} {name} {{ {each} }}" for name, each in present))

    def left(self, name: str, element: str) -> int | None:
        """Seconds that an element has left, None when it is not in the set or nothing of ours is loaded."""
        tables = told("nft", "-j", "list", "tables")["nftables"]
        if not any(_is_ours(item.get("table")) for item in tables):
            return None
        for item in told("nft", "-j", "list", "set", *TABLE.split(), name)["nftables"]:
            for each in item.get("set", {}).get("elem", ()):
                inner = each["elem"] if isinstance(each, dict) and "elem" in each else {"val": each}
                if _written(inner.get("val")) == element:
                    return int(inner.get("expires", 0))
        return None


class Block(Firewall):
    """``nft.block``: ``address`` is neither heard nor answered, nor passed on."""

    def __init__(
        self, management: Sequence[Network], never: Sequence[Network], name_servers: Sequence[Path] = _NAME_SERVERS
    ) -> None:
        super().__init__(management)
        self._never = (*management, *never)
        self._name_servers = name_servers

    def plan(self, arguments: Arguments, peer_pid: int) -> dict[str, Any]:
        address = _address(arguments)
        kept = [(network, "named in the settings") for network in self._never] + protected(self._name_servers)
        for network, why in kept:
            if network.version == address.version and address in network:
                raise RefusedError(f"{address} is never blocked: {network} is {why}")
        if address == _EVERYBODY or any(
            (address.is_loopback, address.is_multicast, address.is_unspecified, address.is_link_local)
        ):
            raise RefusedError(f"{address} is never blocked: no address of one host")
        self.check([_blocked(arguments)], number_of(arguments, "ttl_s"))
        return {"address": str(address), "sessions": sum(peer == address for peer in peers_of_sockets())}

    def before(self, arguments: Arguments) -> Before:
        return {}

    def act(self, arguments: Arguments, before: Before, ttl_s: int, nonce: str) -> None:
        self.put([_blocked(arguments)], ttl_s, nonce)

    def holds(self, arguments: Arguments, before: Before) -> bool:
        return self.left(*_blocked(arguments)) is not None

    def undo(self, arguments: Arguments, before: Before) -> str:
        self.remove([_blocked(arguments)])
        return ""

    def processes(self, arguments: Arguments) -> list[int]:
        return []


class Isolate(Firewall):
    """``host.isolate``: only the management networks are left. Takes no arguments."""

    _ALL = (("isolate4", "0.0.0.0/0"), ("isolate6", "::/0"))

    def plan(self, arguments: Arguments, peer_pid: int) -> dict[str, Any]:
        if not self._management:
            raise RefusedError("host.isolate: no management network is named; nobody could come back in")
        self.check(self._ALL, number_of(arguments, "ttl_s"))
        peers = [peer for peer in peers_of_sockets() if not peer.is_loopback]
        cut = [peer for peer in peers if not any(peer in network for network in self._management)]
        return {"sessions": len(cut), "sessions_kept": len(peers) - len(cut)}

    def before(self, arguments: Arguments) -> Before:
        return {}

    def act(self, arguments: Arguments, before: Before, ttl_s: int, nonce: str) -> None:
        self.put(self._ALL, ttl_s, nonce)

    def holds(self, arguments: Arguments, before: Before) -> bool:
        return all(self.left(*each) is not None for each in self._ALL)

    def undo(self, arguments: Arguments, before: Before) -> str:
        self.remove(self._ALL)
        return ""

    def processes(self, arguments: Arguments) -> list[int]:
        return []


def told(*argv: str) -> Any:
    """What a program of the system says in JSON. Raises as :func:`api.run`."""
    try:
        return json.loads(run(argv) or "[]")
    except ValueError as error:
        raise TryAgainError(f"{argv[0]}: its answer is no JSON: {error}") from error


def protected(name_servers: Sequence[Path]) -> list[tuple[Network, str]]:
    """Addresses of this host, its networks' broadcasts, its gateways and its name servers, with what they are.

    ``name_servers`` are files as of resolv.conf(5); what is not there or no address is passed over. Raises as
    :func:`api.run`.
    """
    found: list[tuple[Network, str]] = []
    for interface in told("ip", "-j", "address"):
        for each in interface.get("addr_info", ()):
            if "local" in each:
                found += [(ip_network(each["local"]), "our own"), *_broadcasts(each)]
    for family in ("-4", "-6"):
        for route in told("ip", "-j", family, "route", "show"):
            ways = [route, *route.get("nexthops", ())]
            found += [(ip_network(way["gateway"]), "a gateway") for way in ways if "gateway" in way]
    for path in name_servers:
        found += [(network, "a name server") for network in _name_servers_in(path)]
    return found


def _broadcasts(address: dict[str, Any]) -> list[tuple[Network, str]]:
    """What is told, and what the kernel makes of the prefix without telling it."""
    named = [address["broadcast"]] if "broadcast" in address else []
    whole = ip_network(f"{address['local']}/{address['prefixlen']}", strict=False)
    if whole.version == 4 and whole.prefixlen < _NO_BROADCAST_BITS:
        named.append(whole.broadcast_address)
    return [(ip_network(each), "a broadcast of a network of ours") for each in named]


def _name_servers_in(path: Path) -> list[Network]:
    found: list[Network] = []
    with contextlib.suppress(OSError), path.open(encoding="utf-8", errors="replace") as file:
        for line in file.read(65536).splitlines():
            words = line.split()
            if len(words) > 1 and words[0] == "nameserver":
                with contextlib.suppress(ValueError):
                    found.append(ip_network(words[1].split("%")[0]))
    return found


def peers_of_sockets() -> list[Address]:
    """The far addresses of this host's sessions, one entry a session; those of the first 200,000 sockets."""
    found: list[Address] = []
    for table in _TABLES_OF_SOCKETS:
        with Path("/proc/net", table).open(encoding="ascii", errors="replace") as file:
            for number, line in enumerate(file):
                words = line.split()
                if 0 < number <= _SOCKETS_MAX and words[3] != _LISTENING and (peer := _peer(words[2])) is not None:
                    found.append(peer)
    return found


def _peer(text: str) -> Address | None:
    """An address as the kernel writes it: words of four bytes in the machine's order; None for none."""
    digits, port = text.split(":")
    words = [int(digits[start : start + 8], 16) for start in range(0, len(digits), 8)]
    address = ip_address(b"".join(word.to_bytes(4, sys.byteorder) for word in words))
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return None if port == "0000" or address.is_unspecified else address


def _address(arguments: Arguments) -> Address:
    text = text_of(arguments, "address")
    try:
        address = ip_address(text)
    except ValueError as error:
        raise RefusedError(f"argument address: {text[:60]!r} is no address") from error
    if str(address) != text or (isinstance(address, IPv6Address) and (address.scope_id or address.ipv4_mapped)):
        raise RefusedError(f"argument address: {text[:60]!r} is not in its plain form")
    return address


def _blocked(arguments: Arguments) -> tuple[str, str]:
    address = _address(arguments)
    return f"block{address.version}", str(address)


def _is_ours(table: dict[str, Any] | None) -> bool:
    return table is not None and f"{table['family']} {table['name']}" == TABLE


def _written(value: Any) -> str:
    if isinstance(value, dict) and "prefix" in value:
        return f"{value['prefix']['addr']}/{value['prefix']['len']}"
    return str(value)
