"""ICMP flood: more pings at one host than anybody needs (ATT&CK T1498.001; smurf, by echo replies: T1498.002).

Idea: a ping is sent once a second, a monitoring station sends a few to each host. A hundred a second at one host is a
flood, answered or not; so are as many replies at a host that did not ask. Error messages are not counted: a host whose
address was forged in somebody else's flood gets those.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np
from pydantic import Field

from govsec.detect.api import Observation
from govsec.detect.flood import DIRECT, REFLECTION, evidence_of, is_sampled, many, sources_of, target_of
from govsec.detect.judgement import judge
from govsec.detect.rates import ASK, REPLY, Burst, RateBins, Usual, buckets
from govsec.findings.api import Settings
from govsec.findings.judgement import Measure
from govsec.net.columns import Protocol
from govsec.records import Finding, Severity

KIND = "net.flood.icmp"
_REQUESTS, _REPLIES = (8, 128), (0, 129)


class FloodIcmpSettings(Settings):
    """A flood of pings."""

    rate_min: float = Field(
        default=100, gt=0, description="echo messages a second at one host; a user's ping sends 1, a fast one 5"
    )
    unasked_min: float = Field(
        default=0.8,
        ge=0,
        le=1,
        description="share of echo replies that the host had not asked for, to be reflected ones",
    )
    usual_factor: float = Field(default=5, ge=1, description="times what is usual for this host, once that is known")
    warmup_s: int = Field(default=60, ge=1, description="bursts after which a host's usual rate is known")


class FloodIcmp:
    """Floods of pings, and of replies to pings that were never sent."""

    name = "flood_icmp"

    def __init__(self, settings: FloodIcmpSettings) -> None:
        self._settings = settings
        self._requests = RateBins(asks_min=int(2 * settings.rate_min))
        self._replies = RateBins(asks_min=int(2 * settings.rate_min))
        self._usual = Usual(warmup_s=settings.warmup_s)
        self.cooldown_s = settings.cooldown_s

    def observe(self, observation: Observation) -> Iterator[Finding]:
        packets = observation.packets
        is_v4, is_v6 = packets.protocol == Protocol.ICMP, packets.protocol == Protocol.ICMPV6
        is_whole = packets.fragment < 2  # later fragments carry no type
        is_request = is_whole & (
            (is_v4 & (packets.icmp_type == _REQUESTS[0])) | (is_v6 & (packets.icmp_type == _REQUESTS[1]))
        )
        is_reply = is_whole & (
            (is_v4 & (packets.icmp_type == _REPLIES[0])) | (is_v6 & (packets.icmp_type == _REPLIES[1]))
        )
        index = np.flatnonzero(is_request | is_reply)
        asked = is_request[index]
        targets = buckets(packets.target_hi[index], packets.target_lo[index])
        sources = buckets(packets.source_hi[index], packets.source_lo[index])
        requests = np.where(asked, ASK, REPLY).astype(np.int8)
        yield from self._judge_requests(self._requests.add(packets, index, requests, np.where(asked, targets, sources)))
        # Seen from who gets replies: they ask, and his own requests are what makes them wanted.
        replies = np.where(asked, REPLY, ASK).astype(np.int8)
        yield from self._judge_replies(self._replies.add(packets, index, replies, np.where(asked, sources, targets)))
        yield from self._judge_requests(self._requests.advance(observation.time_ns))
        yield from self._judge_replies(self._replies.advance(observation.time_ns))

    def finish(self, time_ns: int) -> Iterator[Finding]:
        yield from self._judge_requests(self._requests.finish())
        yield from self._judge_replies(self._replies.finish())

    def state(self) -> Mapping[str, int]:
        return {"clock_jumps": self._requests.jumps_count, "targets_forgotten": self._usual.forgotten_count}

    def _judge_requests(self, bursts: Iterable[Burst]) -> Iterator[Finding]:
        for burst in bursts:
            threshold = max(self._settings.rate_min, self._settings.usual_factor * (self._usual.rate(burst) or 0))
            if burst.rate >= threshold:
                yield self._finding(burst, threshold, "echo requests", DIRECT)

    def _judge_replies(self, bursts: Iterable[Burst]) -> Iterator[Finding]:
        for burst in bursts:
            unasked = 1 - min(1.0, burst.replies / burst.asks)
            if burst.rate >= self._settings.rate_min and unasked >= self._settings.unasked_min:
                yield self._finding(
                    burst, self._settings.rate_min, "echo replies that it had not asked for", REFLECTION
                )

    def _finding(self, burst: Burst, threshold: float, what: str, technique: str) -> Finding:
        target, sources = target_of(burst), sources_of(burst)
        return judge(
            kind=KIND,
            detector=self.name,
            severity=Severity.HIGH,
            time_ns=burst.time_ns,
            subject=target,
            summary=(f"{target} got {burst.rate:.0f} {what} a second from {many(burst)} (threshold {threshold:.0f})."),
            pattern=(target, "reflected" if technique == REFLECTION else "direct"),
            attack=(technique,),
            originators=sources,
            responders=(target,),
            measured={
                "rate": Measure(burst.rate, threshold, "packets/s"),
                "replies_ratio": Measure(burst.replies / burst.asks),
                "sources": Measure(len(sources)),
            },
            evidence=evidence_of(burst),
            facts={
                "is_distributed": len(sources) > 1,
                "is_sampled": is_sampled(burst),
                "is_reflected": technique == REFLECTION,
            },
        )
