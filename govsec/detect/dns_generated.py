"""Generated domains: a program looks for its master among names that are drawn by lot (ATT&CK T1568.002).

Idea: of the names that a generator draws, hardly any exists. A person mistypes one or two names; a program with a
list of dead hosts asks for the same again. Many *different registered* domains that do not exist, most of which look
like no word, within minutes, are a generator at work.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping

from pydantic import Field

from govsec.detect.api import Observation
from govsec.detect.domains import is_reverse, looks_drawn, registered
from govsec.detect.judgement import Evidence, judge
from govsec.detect.resolvers import Resolvers
from govsec.dissect.messages import DnsMessage
from govsec.findings.api import SECOND_NS, Settings
from govsec.findings.judgement import Measure
from govsec.findings.tables import Recent
from govsec.records import Finding, Severity

KIND = "net.dns.generated"
_NO_SUCH_NAME = 3
_DOMAINS_KEPT = 256


class DnsGeneratedSettings(Settings):
    """Domains that nobody registered."""

    domains_min: int = Field(
        default=15, ge=5, description="different registered domains that do not exist; people mistype one or two"
    )
    drawn_ratio_min: float = Field(
        default=0.5, ge=0, le=1, description="share of them that look like no word (few vowels, letters and digits)"
    )
    window_s: int = Field(default=300, ge=10, le=86_400, description="generators ask some names a second or a minute")
    resolver_factor: int = Field(
        default=5,
        ge=1,
        description="times as many domains of a host that answers three others: it asks for all of them",
    )
    hosts_max: int = Field(default=4096, ge=64, description="hosts that are watched")


class DnsGenerated:
    """Hosts that ask for names nobody has."""

    name = "dns_generated"

    def __init__(self, settings: DnsGeneratedSettings) -> None:
        self._settings = settings
        self._hosts: Recent[str, _Domains] = Recent(settings.hosts_max, _Domains)
        self._resolvers = Resolvers(settings.hosts_max)
        self.cooldown_s = settings.cooldown_s

    def observe(self, observation: Observation) -> Iterator[Finding]:
        for message in observation.messages:
            if not isinstance(message, DnsMessage) or message.service != "dns" or not message.is_response:
                continue
            self._resolvers.learn(message)
            if message.rcode == _NO_SUCH_NAME and message.questions and not is_reverse(message.questions[0].name):
                yield from self._take(message, registered(message.questions[0].name)[0])

    def finish(self, time_ns: int) -> Iterator[Finding]:
        yield from ()

    def state(self) -> Mapping[str, int]:
        return {"hosts": len(self._hosts), "hosts_forgotten": self._hosts.forgotten_count}

    def _take(self, message: DnsMessage, domain: str) -> Iterator[Finding]:
        if not domain:
            return
        settings = self._settings
        asker = message.receiver
        asked = self._hosts.at(asker)
        asked.add(domain, message.time_ns, message.time_ns - settings.window_s * SECOND_NS)
        domains = asked.seen
        if len(domains) < settings.domains_min:
            return
        domains_min = settings.domains_min * (settings.resolver_factor if self._resolvers.has(asker) else 1)
        if len(domains) < min(domains_min, _DOMAINS_KEPT):
            return
        drawn_ratio = asked.drawn_count / len(domains)
        if drawn_ratio < settings.drawn_ratio_min:
            return
        yield judge(
            kind=KIND,
            detector=self.name,
            severity=Severity.HIGH,
            time_ns=message.time_ns,
            subject=asker,
            summary=f"{asker} asked within {settings.window_s} s for {len(domains)} domains that do not exist "
            f"(threshold {settings.domains_min}); {drawn_ratio:.0%} of them look like no word.",
            pattern=(asker,),
            attack=("T1568.002",),
            originators=(asker,),
            responders=(message.sender,),
            measured={
                "domains": Measure(len(domains), settings.domains_min, "domains"),
                "drawn_ratio": Measure(drawn_ratio, settings.drawn_ratio_min),
            },
            evidence=Evidence(next(iter(domains.values()))[0], message.time_ns),
            facts={"domains": [*list(domains)[-8:]]},
        )


class _Domains:
    """Domains that one host asked for in vain, the one asked for last at the end; each is looked at once."""

    __slots__ = ("drawn_count", "seen")

    def __init__(self) -> None:
        self.seen: OrderedDict[str, tuple[int, bool]] = OrderedDict()
        self.drawn_count = 0

    def add(self, domain: str, time_ns: int, since_ns: int) -> None:
        known = self.seen.pop(domain, None)
        is_drawn = looks_drawn(domain.split(".")[0]) if known is None else known[1]
        self.seen[domain] = (time_ns, is_drawn)
        self.drawn_count += is_drawn and known is None
        while (oldest := next(iter(self.seen.items())))[1][0] < since_ns or len(self.seen) > _DOMAINS_KEPT:
            del self.seen[oldest[0]]
            self.drawn_count -= oldest[1][1]
