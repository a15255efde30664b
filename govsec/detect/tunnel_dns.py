"""DNS tunnel: data go out in the names that are asked for, and in the answers (ATT&CK T1071.004, T1572).

Idea: names are asked for again and again because they stand for something; data never repeat. So many *different*
long names below one registered domain, within minutes, from one host, are a channel; so are record types that hosts
hardly ever ask for, when they come in numbers. Lists of bad addresses and reverse lookups look alike by count and are
known by their form.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping

from pydantic import Field

from govsec.detect.api import Observation
from govsec.detect.domains import is_reverse, registered
from govsec.detect.judgement import Evidence, judge
from govsec.detect.resolvers import Resolvers
from govsec.dissect.messages import DnsMessage
from govsec.findings.api import SECOND_NS, Settings
from govsec.findings.judgement import Measure
from govsec.findings.tables import Recent
from govsec.records import Finding, Severity

KIND = "net.tunnel.dns"
#: Types that carry free bytes and that hosts hardly ask for: NULL, the private range, KEY, TXT.
_CARRIERS = frozenset({"NULL", "TXT", "KEY", "TYPE65399", "PRIVATE"})
_NAMES_KEPT = 256


class TunnelDnsSettings(Settings):
    """Many different names below one domain."""

    names_min: int = Field(
        default=40, ge=5, description="different names below one domain; pages ask for a dozen of a big site"
    )
    size_mean_min: float = Field(
        default=18,
        ge=1,
        description="mean size of what stands before the domain, in bytes; names for people have up to ten",
    )
    carriers_ratio_min: float = Field(
        default=0.5, ge=0, le=1, description="or this share of types that carry free bytes (NULL, TXT, KEY)"
    )
    window_s: int = Field(default=120, ge=10, le=3600, description="a tunnel in use asks several times a second")
    resolver_factor: int = Field(
        default=5, ge=1, description="times as many names of a host that answers three others: it asks for all of them"
    )
    pairs_max: int = Field(default=4096, ge=64, description="pairs of host and domain that are watched")


class TunnelDns:
    """Channels in names."""

    name = "tunnel_dns"

    def __init__(self, settings: TunnelDnsSettings) -> None:
        self._settings = settings
        self._pairs: Recent[tuple[str, str], _Names] = Recent(settings.pairs_max, _Names)
        self._resolvers = Resolvers(settings.pairs_max)
        self.cooldown_s = settings.cooldown_s

    def observe(self, observation: Observation) -> Iterator[Finding]:
        for message in observation.messages:
            if isinstance(message, DnsMessage) and message.service == "dns":
                self._resolvers.learn(message)
                if message.is_response:
                    continue
                for question in message.questions[:4]:
                    if not is_reverse(question.name):
                        yield from self._take(message, question.name, question.type)

    def finish(self, time_ns: int) -> Iterator[Finding]:
        yield from ()

    def state(self) -> Mapping[str, int]:
        return {"pairs": len(self._pairs), "pairs_forgotten": self._pairs.forgotten_count}

    def _take(self, message: DnsMessage, name: str, kind: str) -> Iterator[Finding]:
        domain, before = registered(name)
        if not domain or not before:
            return
        settings = self._settings
        asked = self._pairs.at((message.sender, domain))
        is_carrier = kind in _CARRIERS or kind.startswith("TYPE65")
        # In lower case: resolvers that fear forgers ask for one name in ever other cases (0x20).
        asked.add(before.lower(), message.time_ns, is_carrier, message.time_ns - settings.window_s * SECOND_NS)
        names = asked.seen
        if len(names) < settings.names_min:
            return
        names_min = settings.names_min * (settings.resolver_factor if self._resolvers.has(message.sender) else 1)
        if len(names) < min(names_min, _NAMES_KEPT):
            return
        size_mean, carriers_ratio = asked.size_sum / len(names), asked.carriers_count / len(names)
        if size_mean >= settings.size_mean_min or carriers_ratio >= settings.carriers_ratio_min:
            yield self._finding(message, domain, names, size_mean, carriers_ratio)

    def _finding(
        self,
        message: DnsMessage,
        domain: str,
        names: OrderedDict[str, tuple[int, bool]],
        size_mean: float,
        carriers_ratio: float,
    ) -> Finding:
        settings = self._settings
        originator = message.sender
        return judge(
            kind=KIND,
            detector=self.name,
            severity=Severity.HIGH,
            time_ns=message.time_ns,
            subject=originator,
            summary=f"{originator} asked for {len(names)} different names below {domain} within {settings.window_s} s "
            f"(threshold {settings.names_min}), of {size_mean:.0f} bytes each in the mean; "
            f"{carriers_ratio:.0%} of types that carry free bytes.",
            pattern=(originator, domain),
            attack=("T1071.004", "T1572"),
            originators=(originator,),
            responders=(message.receiver,),
            ports=(message.flow.responder_port,),
            measured={
                "names": Measure(len(names), settings.names_min, "names"),
                "size_mean": Measure(size_mean, settings.size_mean_min, "bytes"),
                "carriers_ratio": Measure(carriers_ratio, settings.carriers_ratio_min),
            },
            evidence=Evidence(next(iter(names.values()))[0], message.time_ns),
            facts={"domain": domain, "names": [*list(names)[:4]]},
        )


class _Names:
    """Different names that one host asked for below one domain, the one asked for last at the end, with their sums."""

    __slots__ = ("carriers_count", "seen", "size_sum")

    def __init__(self) -> None:
        self.seen: OrderedDict[str, tuple[int, bool]] = OrderedDict()
        self.size_sum = 0
        self.carriers_count = 0

    def add(self, name: str, time_ns: int, is_carrier: bool, since_ns: int) -> None:
        if (known := self.seen.pop(name, None)) is not None:
            self._count(name, known[1], -1)
        self.seen[name] = (time_ns, is_carrier)
        self._count(name, is_carrier, 1)
        while (oldest := next(iter(self.seen.items())))[1][0] < since_ns or len(self.seen) > _NAMES_KEPT:
            del self.seen[oldest[0]]
            self._count(oldest[0], oldest[1][1], -1)

    def _count(self, name: str, is_carrier: bool, sign: int) -> None:
        self.size_sum += sign * len(name)
        self.carriers_count += sign * is_carrier
