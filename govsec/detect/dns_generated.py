"""Generated domains: a program looks for its master among names that are drawn by lot (ATT&CK T1568.002).

Idea: of the names that a generator draws, hardly any exists. A person mistypes one or two names; a program with a
list of dead hosts asks for the same again. Many *different registered* domains that do not exist, most of which look
like no word, within minutes, are a generator at work.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping

from pydantic import Field

from govsec.detect.api import Observation, Settings
from govsec.detect.domains import is_reverse, looks_drawn, registered
from govsec.detect.judgement import Evidence, Measure, judge
from govsec.detect.tables import Recent
from govsec.detect.windows import SECOND_NS
from govsec.dissect.messages import DnsMessage
from govsec.records import Finding, Severity

KIND = "net.dns.generated"
_NO_SUCH_NAME = 3
_DOMAINS_KEPT = 1024


class DnsGeneratedSettings(Settings):
    """Domains that nobody registered."""

    domains_min: int = Field(
        default=15, ge=5, description="different registered domains that do not exist; people mistype one or two"
    )
    drawn_ratio_min: float = Field(
        default=0.5, ge=0, le=1, description="share of them that look like no word (few vowels, letters and digits)"
    )
    window_s: int = Field(default=300, ge=10, le=86_400, description="generators ask some names a second or a minute")
    hosts_max: int = Field(default=8192, ge=64, description="hosts that are watched")


class DnsGenerated:
    """Hosts that ask for names nobody has."""

    name = "dns_generated"

    def __init__(self, settings: DnsGeneratedSettings) -> None:
        self._settings = settings
        self._hosts: Recent[str, OrderedDict[str, int]] = Recent(settings.hosts_max, OrderedDict)
        self.cooldown_s = settings.cooldown_s

    def observe(self, observation: Observation) -> Iterator[Finding]:
        for message in observation.messages:
            if not isinstance(message, DnsMessage) or message.service != "dns" or not message.is_response:
                continue
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
        domains = self._hosts.at(asker)
        domains[domain] = message.time_ns
        domains.move_to_end(domain)
        since = message.time_ns - settings.window_s * SECOND_NS
        while (oldest := next(iter(domains.items())))[1] < since or len(domains) > _DOMAINS_KEPT:
            del domains[oldest[0]]
        if len(domains) < settings.domains_min:
            return
        drawn_ratio = sum(looks_drawn(name.split(".")[0]) for name in domains) / len(domains)
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
            evidence=Evidence(next(iter(domains.values())), message.time_ns),
            facts={"domains": [*list(domains)[-8:]]},
        )
