"""ARP scan: one host asks the cable for many addresses, most of which nobody has (ATT&CK T1018).

Idea: a host asks for those it talks to, its gateway and a few neighbours, and they answer. A router asks for whoever
it has packets for, so when the network is scanned from outside, the router does this; a hardware address that brings
packets from elsewhere is taken for a router and left out.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping

import numpy as np
from pydantic import Field

from govsec.detect.api import Observation
from govsec.detect.hosts import Networks
from govsec.detect.judgement import Evidence, judge
from govsec.dissect.messages import ArpMessage
from govsec.findings.api import SECOND_NS, Settings
from govsec.findings.judgement import Measure
from govsec.findings.tables import Recent
from govsec.net.addresses import format_mac
from govsec.records import Finding, Severity

KIND = "net.scan.arp"
_REQUEST, _REPLY = 1, 2
_ROUTERS_MAX = 4096


class ScanArpSettings(Settings):
    """A sweep of the local cable."""

    hosts_min: int = Field(
        default=25, ge=5, description="different addresses asked for in vain; a host talks to a handful of neighbours"
    )
    unanswered_min: float = Field(default=0.5, ge=0, le=1, description="share of addresses asked for without an answer")
    window_s: int = Field(
        default=60, ge=1, le=3600, description="a /24 at the pace of a common scanner takes 3 to 15 s"
    )
    askers_max: int = Field(default=4096, ge=64, description="hardware addresses that are watched")


class ScanArp:
    """Sweeps by ARP."""

    name = "scan_arp"

    def __init__(self, settings: ScanArpSettings, home: Networks) -> None:
        self._settings = settings
        self._home = home
        self._askers: Recent[tuple[int, str], _Asker] = Recent(settings.askers_max, _Asker)
        self._routers: OrderedDict[str, int] = OrderedDict()
        self.cooldown_s = settings.cooldown_s

    def observe(self, observation: Observation) -> Iterator[Finding]:
        self._learn_routers(observation)
        for message in observation.messages:
            if not isinstance(message, ArpMessage):
                continue
            if message.operation == _REPLY:
                asker = self._askers.get((message.vlan, message.target_mac))
                if asker is not None:
                    asker.answered[message.sender_address] = message.time_ns
            elif message.operation == _REQUEST and message.sender_address != message.target_address:
                yield from self._ask(message)

    def finish(self, time_ns: int) -> Iterator[Finding]:
        yield from ()

    def state(self) -> Mapping[str, int]:
        askers = {"askers": len(self._askers), "askers_forgotten": self._askers.forgotten_count}
        return {**askers, "routers": len(self._routers)}

    def _learn_routers(self, observation: Observation) -> None:
        packets = observation.packets
        is_ip = packets.ip_version > 0
        is_routed = is_ip & ~self._home.contains(packets.source_hi, packets.source_lo) & (packets.source_lo != 0)
        macs, first = np.unique(packets.mac_source[is_routed], return_index=True)
        times = packets.time_ns[is_routed][first]
        for mac, time_ns in zip(macs.tolist(), times.tolist(), strict=True):
            if len(self._routers) < _ROUTERS_MAX:
                self._routers.setdefault(format_mac(mac), time_ns)

    def _ask(self, message: ArpMessage) -> Iterator[Finding]:
        key = (message.vlan, message.mac_source)
        asker = self._askers.at(key)
        asker.ask(message, message.time_ns - self._settings.window_s * SECOND_NS)
        if len(asker.asked) < self._settings.hosts_min or self._is_router(message):
            return
        missing = [address for address in asker.asked if address not in asker.answered]
        ratio = len(missing) / len(asker.asked)
        # Judged when one more was asked for in vain; the last one cannot be answered yet.
        if len(missing) > self._settings.hosts_min and ratio >= self._settings.unanswered_min:
            yield self._finding(message, asker, missing, ratio)

    def _is_router(self, message: ArpMessage) -> bool:
        since = self._routers.get(message.mac_source)
        return since is not None and since <= message.time_ns

    def _finding(self, message: ArpMessage, asker: _Asker, missing: list[str], ratio: float) -> Finding:
        settings = self._settings
        who = message.sender_address
        return judge(
            kind=KIND,
            detector=self.name,
            severity=Severity.MEDIUM,
            time_ns=message.time_ns,
            subject=who,
            summary=f"{who} ({message.mac_source}) asked by ARP for {len(asker.asked)} addresses within "
            f"{settings.window_s} s, {len(missing)} of them in vain (threshold {settings.hosts_min}).",
            pattern=(message.vlan, message.mac_source),
            attack=("T1018",),
            originators=(who,),
            responders=missing,
            measured={
                "hosts": Measure(len(missing), settings.hosts_min, "hosts"),
                "unanswered_ratio": Measure(ratio, settings.unanswered_min),
            },
            evidence=Evidence(min(asker.asked.values()), message.time_ns),
            facts={"mac": message.mac_source, "vlan": message.vlan},
        )


class _Asker:
    """Addresses that one hardware address asked for lately, oldest first, and those that answered it."""

    __slots__ = ("answered", "asked")
    _ANSWERED_MAX = 4096

    def __init__(self) -> None:
        self.asked: OrderedDict[str, int] = OrderedDict()
        self.answered: OrderedDict[str, int] = OrderedDict()

    def ask(self, message: ArpMessage, since_ns: int) -> None:
        self.asked[message.target_address] = message.time_ns
        self.asked.move_to_end(message.target_address)
        while (oldest := next(iter(self.asked.items())))[1] < since_ns or len(self.asked) > self._ANSWERED_MAX:
            del self.asked[oldest[0]]
        while len(self.answered) > self._ANSWERED_MAX:
            self.answered.popitem(last=False)
