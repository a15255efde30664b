"""DHCP starvation: invented clients take address after address, until there is none left (ATT&CK T1499).

Idea: clients that exist take what they are offered. So many new ones within a minute, most of which ask for an address
and never take it, are invented; and so is one card that asks from many addresses. A building whose power comes back has
as many clients, but they finish.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping

from pydantic import Field

from govsec.detect.api import Observation
from govsec.detect.judgement import Evidence, judge
from govsec.dissect.messages import DhcpMessage
from govsec.findings.api import SECOND_NS, Settings
from govsec.findings.judgement import Measure
from govsec.records import Finding, Severity

KIND = "net.starvation.dhcp"
_NOBODY = "0.0.0.0"  # noqa: S104 - nothing is bound to it: a client without an address yet says so
_ANYBODY = "255.255.255.255"


class DhcpStarvationSettings(Settings):
    """Invented clients."""

    clients_min: int = Field(default=50, ge=5, description="new clients within the window that take no address")
    unfinished_min: float = Field(
        default=0.7, ge=0, le=1, description="share of clients that never take what is offered"
    )
    addresses_min: int = Field(default=20, ge=3, description="addresses that one card asks from within the window")
    window_s: int = Field(default=60, ge=5, le=3600, description="tools send tens a second; people come one by one")
    clients_max: int = Field(default=16_384, ge=256, description="clients that are watched in a network")
    networks_max: int = Field(default=256, ge=1, description="networks (VLANs) that are watched")


class DhcpStarvation:
    """Clients that are none."""

    name = "dhcp_starvation"

    def __init__(self, settings: DhcpStarvationSettings) -> None:
        self._settings = settings
        self._networks: OrderedDict[int, _Network] = OrderedDict()
        self.cooldown_s = settings.cooldown_s

    def observe(self, observation: Observation) -> Iterator[Finding]:
        for message in observation.messages:
            if isinstance(message, DhcpMessage):
                yield from self._take(message)

    def finish(self, time_ns: int) -> Iterator[Finding]:
        yield from ()

    def state(self) -> Mapping[str, int]:
        return {"networks": len(self._networks), "clients": sum(len(one.clients) for one in self._networks.values())}

    def _take(self, message: DhcpMessage) -> Iterator[Finding]:
        network = self._networks.setdefault(message.flow.vlan, _Network())
        if len(self._networks) > self._settings.networks_max:
            self._networks.popitem(last=False)
        if message.is_reply:
            network.server = message.server or message.sender
            return
        since = message.time_ns - self._settings.window_s * SECOND_NS
        if message.kind == "discover" and message.relay is None:
            network.come(message.client_mac, message.time_ns)
        elif message.kind == "request":
            network.finish(message.client_mac)
        network.forget(since, self._settings.clients_max)
        if message.sender != _NOBODY:
            network.ask(message.client_mac, message.sender, message.time_ns, since)
        yield from self._judge(message, network)

    def _judge(self, message: DhcpMessage, network: _Network) -> Iterator[Finding]:
        settings = self._settings
        count = len(network.clients)
        if count >= settings.clients_min:
            left = network.unfinished_count
            if left / count >= settings.unfinished_min and left >= settings.clients_min:
                measured = {
                    "clients": Measure(left, settings.clients_min, "clients"),
                    "unfinished_ratio": Measure(left / count, settings.unfinished_min),
                }
                what = f"{left} of {count} new clients took no address"
                yield self._finding(message, network, what, measured, "clients", ())
        mine = [*network.addresses.get(message.client_mac, ())]
        if len(mine) >= settings.addresses_min:
            measured = {"addresses": Measure(len(mine), settings.addresses_min, "addresses")}
            what = f"card {message.client_mac} asked from {len(mine)} addresses"
            yield self._finding(message, network, what, measured, message.client_mac, mine)

    def _finding(
        self,
        message: DhcpMessage,
        network: _Network,
        what: str,
        measured: Mapping[str, Measure],
        pattern: str,
        originators: tuple[str, ...] | list[str],
    ) -> Finding:
        settings = self._settings
        server = network.server or (message.receiver if message.receiver != _ANYBODY else "")
        return judge(
            kind=KIND,
            detector=self.name,
            severity=Severity.HIGH,
            time_ns=message.time_ns,
            subject=server or "DHCP",
            summary=f"DHCP: {what} within {settings.window_s} s; latest from card {message.mac_source}.",
            pattern=(message.flow.vlan, pattern),
            attack=("T1499",),
            originators=originators,
            responders=(server,) if server else (),
            measured=measured,
            evidence=Evidence(message.time_ns - settings.window_s * SECOND_NS, message.time_ns),
            facts={
                "how": "clients" if pattern == "clients" else "addresses",
                "mac": message.mac_source,
                "vlan": message.flow.vlan,
            },
        )


class _Network:
    """New clients (when they came, whether they took an address), addresses cards ask from, and who serves them."""

    __slots__ = ("addresses", "clients", "server", "unfinished_count")
    _CARDS_MAX = 1024
    _ADDRESSES_MAX = 256

    def __init__(self) -> None:
        self.clients: OrderedDict[str, tuple[int, bool]] = OrderedDict()
        self.addresses: OrderedDict[str, OrderedDict[str, int]] = OrderedDict()
        self.server = ""
        self.unfinished_count = 0

    def come(self, mac: str, time_ns: int) -> None:
        """A client asks whether there is a server."""
        if mac not in self.clients:
            self.clients[mac] = (time_ns, False)
            self.unfinished_count += 1

    def finish(self, mac: str) -> None:
        """It takes an address."""
        time_ns, is_finished = self.clients.get(mac, (0, True))
        if not is_finished:
            self.clients[mac] = (time_ns, True)
            self.unfinished_count -= 1

    def forget(self, since_ns: int, count_max: int) -> None:
        """Clients that came before, and the oldest when there are too many."""
        while self.clients and (next(iter(self.clients.values()))[0] < since_ns or len(self.clients) > count_max):
            _, (_, is_finished) = self.clients.popitem(last=False)
            self.unfinished_count -= not is_finished

    def ask(self, mac: str, address: str, time_ns: int, since_ns: int) -> None:
        """A card asks from an address."""
        mine = self.addresses.setdefault(mac, OrderedDict())
        self.addresses.move_to_end(mac)
        mine[address] = time_ns
        mine.move_to_end(address)
        while next(iter(mine.values())) < since_ns or len(mine) > self._ADDRESSES_MAX:
            mine.popitem(last=False)
        if len(self.addresses) > self._CARDS_MAX:
            self.addresses.popitem(last=False)
