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

from govsec.detect.api import Observation, Settings
from govsec.detect.domains import is_reverse, registered
from govsec.detect.judgement import Evidence, Measure, judge
from govsec.detect.tables import Recent
from govsec.detect.windows import SECOND_NS
from govsec.dissect.messages import DnsMessage
from govsec.records import Finding, Severity

KIND = "net.tunnel.dns"
#: Types that carry free bytes and that hosts hardly ask for: NULL, the private range, KEY, TXT.
_CARRIERS = frozenset({"NULL", "TXT", "KEY", "TYPE65399", "PRIVATE"})
_NAMES_KEPT = 2048


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
    pairs_max: int = Field(default=8192, ge=64, description="pairs of host and domain that are watched")


class TunnelDns:
    """Channels in names."""

    name = "tunnel_dns"

    def __init__(self, settings: TunnelDnsSettings) -> None:
        self._settings = settings
        self._pairs: Recent[tuple[str, str], _Names] = Recent(settings.pairs_max, _Names)
        self.cooldown_s = settings.cooldown_s

    def observe(self, observation: Observation) -> Iterator[Finding]:
        for message in observation.messages:
            if isinstance(message, DnsMessage) and message.service == "dns" and not message.is_response:
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
        names = self._pairs.at((message.flow.originator, domain)).seen
        names[before] = (message.time_ns, kind in _CARRIERS or kind.startswith("TYPE65"))
        names.move_to_end(before)
        since = message.time_ns - settings.window_s * SECOND_NS
        while (oldest := next(iter(names.items())))[1][0] < since or len(names) > _NAMES_KEPT:
            del names[oldest[0]]
        if len(names) < settings.names_min:
            return
        size_mean = sum(map(len, names)) / len(names)
        carriers_ratio = sum(is_carrier for _, is_carrier in names.values()) / len(names)
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
        originator = message.flow.originator
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
            responders=(message.flow.responder,),
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
    """Different names that one host asked for below one domain, the one asked for last at the end."""

    __slots__ = ("seen",)

    def __init__(self) -> None:
        self.seen: OrderedDict[str, tuple[int, bool]] = OrderedDict()
