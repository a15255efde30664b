"""False DHCP servers (ATT&CK T1557.003).

Idea: a network has one server, or two that say the same. A second one that names another router or other name servers
than the known one leads its clients astray; and a card that answers in the name of many servers is none. A site may
list its servers; then any other is false at once.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence

from pydantic import Field

from govsec.detect.api import Observation
from govsec.detect.judgement import Evidence, judge
from govsec.dissect.messages import DhcpMessage
from govsec.findings.api import SECOND_NS, Settings
from govsec.findings.judgement import Measure
from govsec.records import Finding, Severity

KIND = "net.spoof.dhcp"
_GIVES = ("offer", "ack")


class DhcpServersSettings(Settings):
    """Servers that give addresses."""

    servers: tuple[str, ...] = Field(
        default=(), description="addresses of the true servers; empty: the ones that were seen first"
    )
    given_min: int = Field(
        default=2, ge=1, description="answers of a new server; one may be a test of the true one's spare"
    )
    names_min: int = Field(default=5, ge=2, description="server addresses that one card answers for within the window")
    window_s: int = Field(default=300, ge=10, le=86_400, description="for the addresses of one card")
    servers_max: int = Field(default=1024, ge=16, description="servers that are watched")


class DhcpServers:
    """Servers that give out other routers than the known ones."""

    name = "dhcp_servers"

    def __init__(self, settings: DhcpServersSettings) -> None:
        self._settings = settings
        self._servers: OrderedDict[tuple[int, str], _Server] = OrderedDict()
        self._cards: OrderedDict[tuple[int, str], OrderedDict[str, int]] = OrderedDict()
        self._forgotten_count = 0
        self.cooldown_s = settings.cooldown_s

    def observe(self, observation: Observation) -> Iterator[Finding]:
        for message in observation.messages:
            if isinstance(message, DhcpMessage) and message.is_reply and message.kind in _GIVES:
                yield from self._judge_card(message)
                yield from self._judge_server(message)

    def finish(self, time_ns: int) -> Iterator[Finding]:
        yield from ()

    def state(self) -> Mapping[str, int]:
        return {"servers": len(self._servers), "servers_forgotten": self._forgotten_count}

    def _judge_card(self, message: DhcpMessage) -> Iterator[Finding]:
        key = (message.flow.vlan, message.mac_source)
        names = self._cards.setdefault(key, OrderedDict())
        names[message.sender] = message.time_ns
        names.move_to_end(message.sender)
        since = message.time_ns - self._settings.window_s * SECOND_NS
        while next(iter(names.values())) < since or len(names) > self._settings.servers_max:
            names.popitem(last=False)
        if len(self._cards) > self._settings.servers_max:
            self._cards.popitem(last=False)
        # A relay passes on what its servers say, and says so.
        if len(names) >= self._settings.names_min and message.relay is None:
            measured = {"names": Measure(len(names), self._settings.names_min, "servers")}
            what = f"card {message.mac_source} answers as {len(names)} different servers"
            yield self._finding(message, "names", what, measured, list(names), pattern=message.mac_source)

    def _judge_server(self, message: DhcpMessage) -> Iterator[Finding]:
        address = message.server or message.sender
        key = (message.flow.vlan, address)
        server = self._servers.get(key)
        if server is None:
            server = self._servers[key] = _Server(message.time_ns)
            if len(self._servers) > self._settings.servers_max:
                self._servers.popitem(last=False)
                self._forgotten_count += 1
        server.given_count += 1
        server.says |= {*message.routers, *message.dns_servers}
        if server.given_count < self._settings.given_min:
            return
        measured = {"given": Measure(server.given_count, self._settings.given_min, "answers")}
        if self._settings.servers:
            if address not in self._settings.servers:
                what = f"{address} gives addresses and is no server of ours"
                yield self._finding(message, "stranger", what, measured, [address])
            return
        known = [other for (vlan, name), other in self._servers.items() if vlan == key[0] and name != address]
        elder = [
            other for other in known if other.since_ns < server.since_ns and other.given_count >= server.given_count
        ]
        said = {value for other in elder for value in other.says}
        if elder and server.says and not server.says & said:
            leads = sorted(server.says)[:4]
            what = f"{address} is a new server and leads clients to {', '.join(leads)}"
            yield self._finding(message, "new", what, measured, [address], leads=leads)

    def _finding(
        self,
        message: DhcpMessage,
        how: str,
        what: str,
        measured: Mapping[str, Measure],
        servers: list[str],
        *,
        pattern: str = "",
        leads: Sequence[str] = (),
    ) -> Finding:
        return judge(
            kind=KIND,
            detector=self.name,
            severity=Severity.HIGH,
            time_ns=message.time_ns,
            subject=servers[-1],
            summary=f"DHCP: {what} (card {message.mac_source}; latest to {message.client_mac}).",
            pattern=(message.flow.vlan, pattern or servers[-1]),
            attack=("T1557.003",),
            originators=servers,
            measured=measured,
            evidence=Evidence(message.time_ns, message.time_ns),
            facts={
                "how": how,
                "mac": message.mac_source,
                "vlan": message.flow.vlan,
                "client": message.client_mac,
                "leads": [*leads],
            },
        )


class _Server:
    """What a server gave and where it leads to."""

    __slots__ = ("given_count", "says", "since_ns")

    def __init__(self, since_ns: int) -> None:
        self.since_ns = since_ns
        self.given_count = 0
        self.says: set[str] = set()
