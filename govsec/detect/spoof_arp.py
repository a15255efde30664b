"""ARP spoofing: somebody tells hosts that another's address is at his hardware (ATT&CK T1557.002).

Idea: an address belongs to one card, and its owner goes on speaking. So it is no spoofing when an address moves (a new
card, a lease that was given on, a failover: the old owner is silent then); it is when answers come that nobody asked
for, again and again, and the owner is still there, or the same card claims several addresses that others claim too.
Virtual router addresses (VRRP, HSRP, CARP) move by design.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator, Mapping
from typing import TypeVar

from pydantic import Field

from govsec.detect.api import Observation
from govsec.detect.judgement import Evidence, judge
from govsec.dissect.messages import ArpMessage
from govsec.findings.api import SECOND_NS, Settings
from govsec.findings.judgement import Measure
from govsec.findings.tables import Recent
from govsec.records import Finding, Severity

KIND = "net.spoof.arp"
_REQUEST, _REPLY = 1, 2
#: VRRP for IPv4 and IPv6 (RFC 9568), HSRP version 1 and 2 (Cisco).
_VIRTUAL = ("00:00:5e:00:01:", "00:00:5e:00:02:", "00:00:0c:07:ac:", "00:00:0c:9f:f")
_NOBODY = "0.0.0.0"  # noqa: S104 - nothing is bound to it: a host that only asks whether an address is free says so
#: An answer within this time was asked for.
_ASKED_NS = 3 * SECOND_NS
_CLAIMS_KEPT = 64
_DIRECTED_MIN = 2
K = TypeVar("K")
V = TypeVar("V")


class SpoofArpSettings(Settings):
    """Forged answers on the local cable."""

    unasked_min: int = Field(
        default=4,
        ge=2,
        description="answers that nobody asked for; a host that comes up announces itself up to 3 times",
    )
    window_s: int = Field(
        default=120, ge=10, le=3600, description="caches are refreshed by the minute, so must forgers"
    )
    owner_silent_s: int = Field(
        default=600, ge=10, description="an owner that has not spoken for so long may have given its address up"
    )
    addresses_max: int = Field(default=16_384, ge=256, description="addresses that are watched")


class SpoofArp:
    """Two cards for one address, one of them without being asked."""

    name = "spoof_arp"

    def __init__(self, settings: SpoofArpSettings) -> None:
        self._settings = settings
        self._owners: Recent[tuple[int, str], _Owners] = Recent(settings.addresses_max, _Owners)
        self._asked: OrderedDict[tuple[int, str], int] = OrderedDict()
        self._home_of: OrderedDict[str, str] = OrderedDict()
        self._directed: OrderedDict[str, dict[str, int]] = OrderedDict()
        self.cooldown_s = settings.cooldown_s

    def observe(self, observation: Observation) -> Iterator[Finding]:
        for message in observation.messages:
            if isinstance(message, ArpMessage) and message.sender_address != _NOBODY:
                yield from self._take(message)

    def finish(self, time_ns: int) -> Iterator[Finding]:
        yield from ()

    def state(self) -> Mapping[str, int]:
        return {"addresses": len(self._owners), "addresses_forgotten": self._owners.forgotten_count}

    def _take(self, message: ArpMessage) -> Iterator[Finding]:
        key = (message.vlan, message.sender_address)
        owners = self._owners.at(key)
        is_announced = message.sender_address == message.target_address
        if message.operation == _REQUEST and not is_announced:
            self._remember(self._asked, (message.vlan, message.target_address), message.time_ns)
            # Who asks says where he is, and has no reason to lie.
            self._remember(self._home_of, message.sender_mac, message.sender_address)
        is_asked = message.time_ns - self._asked.get(key, -(2**62)) <= _ASKED_NS
        owners.spoke[message.sender_mac] = message.time_ns
        while len(owners.spoke) > _CLAIMS_KEPT:
            del owners.spoke[next(iter(owners.spoke))]
        if message.sender_mac.startswith(_VIRTUAL) or (message.operation == _REQUEST and not is_announced):
            return
        if not is_asked:
            yield from self._judge(message, owners)

    def _judge(self, message: ArpMessage, owners: _Owners) -> Iterator[Finding]:
        """An answer that nobody asked for came."""
        settings, now = self._settings, message.time_ns
        claims = owners.unasked
        claims.append((now, message.sender_mac, message.target_address))
        while claims[0][0] < now - settings.window_s * SECOND_NS:
            claims.popleft()
        mine = [claim for claim in claims if claim[1] == message.sender_mac]
        others = [
            mac
            for mac, spoke in owners.spoke.items()
            if mac != message.sender_mac and spoke >= now - settings.owner_silent_s * SECOND_NS
        ]
        if len(mine) < settings.unasked_min:
            return
        directed = self._directed.setdefault(message.sender_mac, {})
        if message.sender_address != message.target_address and len(directed) < _CLAIMS_KEPT:
            directed[message.sender_address] = now
        if len(self._directed) > settings.addresses_max:
            self._directed.popitem(last=False)
        # A host with several addresses announces them to all; who tells them to single hosts, unasked, has a purpose.
        if others or len(directed) >= _DIRECTED_MIN:
            yield self._finding(message, mine, others)

    def _finding(self, message: ArpMessage, claims: list[tuple[int, str, str]], owners: list[str]) -> Finding:
        settings = self._settings
        who = self._home_of.get(message.sender_mac, message.sender_mac)
        told = list(dict.fromkeys(receiver for _, _, receiver in claims))
        return judge(
            kind=KIND,
            detector=self.name,
            severity=Severity.HIGH,
            time_ns=message.time_ns,
            subject=message.sender_address,
            summary=f"{message.sender_mac} claimed {message.sender_address} {len(claims)} times without being asked "
            f"within {settings.window_s} s (threshold {settings.unasked_min})"
            f"{f', while {owners[-1]} has that address' if owners else ', and others like it'}.",
            pattern=(message.vlan, message.sender_mac),
            attack=("T1557.002",),
            originators=(who,),
            responders=[message.sender_address, *told],
            measured={
                "unasked": Measure(len(claims), settings.unasked_min, "answers"),
                "cards": Measure(len(owners) + 1, 1, "hardware addresses"),
            },
            evidence=Evidence(claims[0][0], message.time_ns),
            facts={"mac": message.sender_mac, "owners": [*owners[-4:]], "vlan": message.vlan},
        )

    def _remember(self, table: OrderedDict[K, V], key: K, value: V) -> None:
        table[key] = value
        table.move_to_end(key)
        if len(table) > self._settings.addresses_max:
            table.popitem(last=False)


class _Owners:
    """Hardware addresses that spoke for an address, by when they did last, and answers that nobody asked for."""

    __slots__ = ("spoke", "unasked")

    def __init__(self) -> None:
        self.spoke: dict[str, int] = {}
        self.unasked: deque[tuple[int, str, str]] = deque(maxlen=_CLAIMS_KEPT)
