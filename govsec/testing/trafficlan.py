"""What goes wrong on one cable: ARP, DHCP and router advertisements, attacks and benign twins, made with scapy."""

from __future__ import annotations

from random import Random

from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import (
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6ND_RA,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptPrefixInfo,
    ICMPv6NDOptSrcLLAddr,
    IPv6,
)
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet

from govsec.testing.packets import (
    BROADCAST_MAC,
    GATEWAY,
    MILLISECOND,
    SECOND,
    START_NS,
    Frame,
    Station,
    mac_bytes,
    merge,
    station,
)

INTRUDER = station(99)
DHCP_SERVER = station(2)
ROGUE_SERVER = station(98)
ROUTER6 = Station("fe80::a00:1", GATEWAY.mac)
ROGUE_ROUTER6 = Station("fe80::bad:1", INTRUDER.mac)
_NO_ADDRESS = "0.0.0.0"  # noqa: S104 - nothing is bound to it: a client that has no address yet says so
_ALL_NODES = "ff02::1"
_ALL_NODES_MAC = "33:33:00:00:00:01"


def arp_request(time_ns: int, sender: Station, wanted: str) -> Frame:
    """Who has ``wanted``? Tell the sender."""
    ask = ARP(op=1, hwsrc=sender.mac, psrc=sender.address, hwdst="00:00:00:00:00:00", pdst=wanted)
    return _frame(time_ns, Ether(src=sender.mac, dst=BROADCAST_MAC) / ask)


def arp_reply(time_ns: int, claimed: str, mac: str, receiver: Station) -> Frame:
    """``claimed`` is at ``mac``: true or not."""
    say = ARP(op=2, hwsrc=mac, psrc=claimed, hwdst=receiver.mac, pdst=receiver.address)
    return _frame(time_ns, Ether(src=mac, dst=receiver.mac) / say)


def arp_scan(rng: Random, *, time_ns: int = START_NS, hosts_count: int = 254, duration_s: int = 12) -> list[Frame]:
    """:data:`INTRUDER` asks for every address of the network; one in ten is there."""
    frames = []
    for position in range(hosts_count):
        moment = time_ns + position * duration_s * SECOND // hosts_count + rng.randint(0, MILLISECOND)
        host = station(position + 1)
        frames.append(arp_request(moment, INTRUDER, host.address))
        if position % 10 == 0:
            frames.append(arp_reply(moment + MILLISECOND, host.address, host.mac, INTRUDER))
    return merge(frames)


def arp_refresh(rng: Random, *, time_ns: int = START_NS, hosts_count: int = 60, rounds_count: int = 4) -> list[Frame]:
    """Twin of the ARP scan and of ARP spoofing: the gateway refreshes what it knows, and the hosts answer truly."""
    frames = []
    for number in range(rounds_count):
        for position in range(hosts_count):
            moment = time_ns + number * 60 * SECOND + position * 900 * MILLISECOND + rng.randint(0, MILLISECOND)
            host = station(position + 10)
            frames.append(arp_request(moment, GATEWAY, host.address))
            frames.append(arp_reply(moment + MILLISECOND, host.address, host.mac, GATEWAY))
    return merge(frames)


def arp_spoofing(rng: Random, *, time_ns: int = START_NS, rounds_count: int = 30) -> list[Frame]:
    """True answers first; then :data:`INTRUDER` tells a desktop that it is the gateway, and the gateway that it is the
    desktop, every two seconds."""
    victim = station(41)
    frames = list(arp_refresh(rng, time_ns=time_ns, hosts_count=40, rounds_count=1))
    frames.append(arp_request(time_ns + 50 * SECOND, victim, GATEWAY.address))
    frames.append(arp_reply(time_ns + 50 * SECOND + MILLISECOND, GATEWAY.address, GATEWAY.mac, victim))
    for number in range(rounds_count):
        moment = time_ns + 60 * SECOND + number * 2 * SECOND
        frames.append(arp_reply(moment, GATEWAY.address, INTRUDER.mac, victim))
        frames.append(arp_reply(moment + 10 * MILLISECOND, victim.address, INTRUDER.mac, GATEWAY))
    return merge(frames)


def dhcp_frame(
    time_ns: int,
    kind: str,
    client_mac: str,
    *,
    transaction: int,
    server: Station | None = None,
    offered: str = _NO_ADDRESS,
) -> Frame:
    """One message of DHCP; from the client where no ``server`` is given. ``kind`` as scapy names it: discover, offer"""
    options: list[tuple[str, object] | str] = [("message-type", kind)]
    if server is None:
        layers = Ether(src=client_mac, dst=BROADCAST_MAC) / IP(src=_NO_ADDRESS, dst="255.255.255.255")
        layers /= UDP(sport=68, dport=67)
        options += [("requested_addr", offered)] if kind == "request" else []
        options += [("hostname", f"pc-{client_mac[-5:].replace(':', '')}")]
        operation = 1
    else:
        layers = Ether(src=server.mac, dst=client_mac) / IP(src=server.address, dst=offered) / UDP(sport=67, dport=68)
        options += [("server_id", server.address), ("lease_time", 86400), ("subnet_mask", "255.255.255.0")]
        options += [("router", GATEWAY.address if server == DHCP_SERVER else server.address)]
        options += [("name_server", server.address)]
        operation = 2
    given = offered if server else _NO_ADDRESS
    message = BOOTP(op=operation, chaddr=mac_bytes(client_mac), xid=transaction, yiaddr=given)
    return _frame(time_ns, layers / message / DHCP(options=[*options, "end"]))


def dhcp_lease(rng: Random, time_ns: int, client_mac: str, offered: str, server: Station = DHCP_SERVER) -> list[Frame]:
    """Discover, offer, request, ack."""
    number = rng.getrandbits(32)
    return [
        dhcp_frame(time_ns, "discover", client_mac, transaction=number),
        dhcp_frame(time_ns + 5 * MILLISECOND, "offer", client_mac, transaction=number, server=server, offered=offered),
        dhcp_frame(time_ns + 9 * MILLISECOND, "request", client_mac, transaction=number, offered=offered),
        dhcp_frame(time_ns + 14 * MILLISECOND, "ack", client_mac, transaction=number, server=server, offered=offered),
    ]


def dhcp_morning(rng: Random, *, time_ns: int = START_NS, hosts_count: int = 40) -> list[Frame]:
    """Twin of the rogue server and of starvation: desktops are switched on within half an hour, one server serves."""
    parts = [
        dhcp_lease(rng, time_ns + rng.randint(0, 1800) * SECOND, host.mac, host.address)
        for host in map(station, range(100, 100 + hosts_count))
    ]
    return merge(*parts)


def rogue_dhcp(rng: Random, *, time_ns: int = START_NS) -> list[Frame]:
    """After an ordinary morning :data:`ROGUE_SERVER` answers too, faster, and names itself router and name server."""
    parts = [dhcp_morning(rng, time_ns=time_ns, hosts_count=20)]
    for number in range(8):
        host = station(150 + number)
        moment = time_ns + (2000 + 60 * number) * SECOND
        parts.append(dhcp_lease(rng, moment, host.mac, host.address, ROGUE_SERVER))
    return merge(*parts)


def dhcp_starvation(rng: Random, *, time_ns: int = START_NS, clients_count: int = 250, rate: int = 50) -> list[Frame]:
    """One port asks for address after address with invented hardware addresses until the server has none left."""
    frames = []
    for number in range(clients_count):
        mac = ":".join(f"{byte:02x}" for byte in (2, *rng.randbytes(5)))
        moment = time_ns + number * SECOND // rate
        transaction = rng.getrandbits(32)
        frames.append(dhcp_frame(moment, "discover", mac, transaction=transaction))
        if number < 200:
            offered = f"192.168.10.{number + 50}"
            offer = dhcp_frame(
                moment + MILLISECOND, "offer", mac, transaction=transaction, server=DHCP_SERVER, offered=offered
            )
            frames.append(offer)
    return merge(frames)


def router_advertisement(
    time_ns: int, router: Station, *, lifetime_s: int = 1800, prefix: str = "2001:db8:10::", target: str = _ALL_NODES
) -> Frame:
    """I am a router, for ``lifetime_s`` seconds (0: no longer)."""
    say = ICMPv6ND_RA(routerlifetime=lifetime_s) / ICMPv6NDOptSrcLLAddr(lladdr=router.mac)
    say /= ICMPv6NDOptPrefixInfo(prefix=prefix, prefixlen=64)
    return _frame(
        time_ns, Ether(src=router.mac, dst=_ALL_NODES_MAC) / IPv6(src=router.address, dst=target, hlim=255) / say
    )


def router_routine(rng: Random, *, time_ns: int = START_NS, rounds_count: int = 10) -> list[Frame]:
    """Twin of the forged advertisement: the one router advertises every few minutes, hosts find their neighbours."""
    frames = []
    for number in range(rounds_count):
        moment = time_ns + number * rng.randint(200, 300) * SECOND
        frames.append(router_advertisement(moment, ROUTER6))
        frames += neighbor_lookup(moment + SECOND, station_link(40 + number), ROUTER6)
    return merge(frames)


def router_spoofing(rng: Random, *, time_ns: int = START_NS) -> list[Frame]:
    """:data:`INTRUDER` first takes the router away (lifetime 0 in its name), then advertises itself with a prefix."""
    frames = list(router_routine(rng, time_ns=time_ns, rounds_count=3))
    late = time_ns + 1000 * SECOND
    for number in range(5):
        forged = Station(ROUTER6.address, INTRUDER.mac)
        frames.append(router_advertisement(late + number * SECOND, forged, lifetime_s=0))
        moment = late + number * SECOND + 300 * MILLISECOND
        frames.append(router_advertisement(moment, ROGUE_ROUTER6, prefix="2001:db8:bad::"))
    return merge(frames)


def station_link(number: int) -> Station:
    """The host by its link-local address."""
    return Station(f"fe80::a00:{number:x}", station(number).mac)


def neighbor_lookup(time_ns: int, asking: Station, wanted: Station) -> list[Frame]:
    """Neighbour solicitation and its true advertisement."""
    head = Ether(src=asking.mac, dst=wanted.mac) / IPv6(src=asking.address, dst=wanted.address, hlim=255)
    ask = ICMPv6ND_NS(tgt=wanted.address) / ICMPv6NDOptSrcLLAddr(lladdr=asking.mac)
    back = Ether(src=wanted.mac, dst=asking.mac) / IPv6(src=wanted.address, dst=asking.address, hlim=255)
    say = ICMPv6ND_NA(tgt=wanted.address, R=0, S=1, O=1) / ICMPv6NDOptDstLLAddr(lladdr=wanted.mac)
    return [_frame(time_ns, head / ask), _frame(time_ns + MILLISECOND, back / say)]


def _frame(time_ns: int, packet: Packet) -> Frame:
    return Frame(time_ns, bytes(packet).ljust(60, b"\0"))
