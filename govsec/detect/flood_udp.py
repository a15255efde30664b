"""UDP flood: datagrams that nobody there asked for and nobody answers (ATT&CK T1498.001; reflected: T1498.002).

Idea: rate alone is no flood, a video is fast too. But what is wanted is either answered now and then (QUIC, games,
VPN), or comes steadily on one flow (one-way video, logs, measurements). A flood is unanswered *and* spread: over many
sources, many ports, or a new flow for nearly every packet; or else it is faster than any one-way stream should be.
Datagrams to a group of hosts (multicast) are left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np
from pydantic import Field

from govsec.detect.api import Observation
from govsec.detect.attempts import is_group
from govsec.detect.flood import DIRECT, REFLECTION, evidence_of, is_sampled, many, ports_of, sources_of, target_of
from govsec.detect.judgement import judge
from govsec.detect.rates import ASK, REPLY, Burst, RateBins, Usual, buckets
from govsec.detect.windows import mix
from govsec.findings.api import Settings
from govsec.findings.judgement import Measure
from govsec.net.columns import Protocol
from govsec.records import Finding, Severity

KIND = "net.flood.udp"
#: Services that only listen: SNMP traps, syslog, statsd, GELF, NetFlow, IPFIX, sFlow. Many speak to one collector.
_LISTENERS = (162, 514, 2055, 4739, 5514, 6343, 8125, 9995, 9996, 12201)
#: Services that answer a small question with a large answer and are used for reflection (CISA TA14-017A).
_REFLECTORS = (17, 19, 53, 69, 111, 123, 137, 161, 389, 520, 1900, 3702, 5353, 11211)


class FloodUdpSettings(Settings):
    """A flood of datagrams."""

    rate_min: float = Field(
        default=150, gt=0, description="unanswered datagrams a second at one host, when they are spread"
    )
    rate_single_min: float = Field(
        default=3000, gt=0, description="the same on one flow; one-way video of 30 Mbit/s stays below"
    )
    spread_min: int = Field(
        default=50, ge=2, description="different sources, target ports or flows, that make them spread"
    )
    answered_max: float = Field(default=0.05, ge=0, le=1, description="datagrams back, for each one, at most")
    usual_factor: float = Field(default=5, ge=1, description="times what is usual for this host, once that is known")
    warmup_s: int = Field(default=60, ge=1, description="bursts after which a host's usual rate is known")


class FloodUdp:
    """Floods of datagrams."""

    name = "flood_udp"

    def __init__(self, settings: FloodUdpSettings) -> None:
        self._settings = settings
        self._bins = RateBins(asks_min=int(2 * settings.rate_min))
        self._usual = Usual(warmup_s=settings.warmup_s)
        self.cooldown_s = settings.cooldown_s

    def observe(self, observation: Observation) -> Iterator[Finding]:
        packets = observation.packets
        index = np.flatnonzero((packets.protocol == Protocol.UDP) & (packets.ip_version > 0))
        # Every datagram asks its target, and is a reply of its source: each is counted at both.
        both = np.repeat(index, 2)
        kinds = np.tile(np.array([ASK, REPLY], dtype=np.int8), len(index))
        cells = np.empty(len(both), dtype=np.int64)
        cells[0::2] = buckets(packets.target_hi[index], packets.target_lo[index])
        cells[1::2] = buckets(packets.source_hi[index], packets.source_lo[index])
        yield from self._judge(self._bins.add(packets, both, kinds, cells))
        yield from self._judge(self._bins.advance(observation.time_ns))

    def finish(self, time_ns: int) -> Iterator[Finding]:
        yield from self._judge(self._bins.finish())

    def state(self) -> Mapping[str, int]:
        return {"clock_jumps": self._bins.jumps_count, "targets_forgotten": self._usual.forgotten_count}

    def _judge(self, bursts: Iterable[Burst]) -> Iterator[Finding]:
        settings = self._settings
        for burst in bursts:
            if is_group(burst.sample["target_hi"][:1], burst.sample["target_lo"][:1])[0]:
                continue
            usual = self._usual.rate(burst)
            answered = burst.replies / burst.asks
            spread = _spread(burst)
            is_spread = spread >= settings.spread_min and ports_of(burst)[0][0] not in _LISTENERS
            threshold = settings.rate_min if is_spread else settings.rate_single_min
            threshold = max(threshold, settings.usual_factor * (usual or 0))
            if burst.rate >= threshold and answered <= settings.answered_max:
                yield self._finding(burst, threshold, answered, spread)

    def _finding(self, burst: Burst, threshold: float, answered: float, spread: int) -> Finding:
        target, sources, (ports, share) = target_of(burst), sources_of(burst), ports_of(burst)
        from_ports, counts = np.unique(burst.sample["source_port"], return_counts=True)
        reflector = int(from_ports[counts.argmax()]) if counts.max() > len(burst.sample) / 2 else 0
        is_reflected = len(sources) > 1 and reflector in _REFLECTORS
        how = f", most of them answers of port {reflector} (reflected)" if is_reflected else ""
        settings = self._settings
        return judge(
            kind=KIND,
            detector=self.name,
            severity=Severity.HIGH,
            time_ns=burst.time_ns,
            subject=target,
            summary=f"{target} got {burst.rate:.0f} datagrams a second from {many(burst)} on {len(ports)} ports "
            f"(threshold {threshold:.0f}){how}; it sent {answered:.1%} as many.",
            pattern=(target,),
            attack=(REFLECTION if is_reflected else DIRECT,),
            originators=sources,
            responders=(target,),
            ports=ports,
            measured={
                "rate": Measure(burst.rate, threshold, "packets/s"),
                "answered_ratio": Measure(answered, settings.answered_max),
                "spread": Measure(spread, settings.spread_min, "sources, ports or flows"),
                "bytes": Measure(float(burst.sample["size"].mean()) * burst.rate, None, "bytes/s"),
                "port_share": Measure(share),
            },
            evidence=evidence_of(burst),
            facts={"is_distributed": len(sources) > 1, "is_sampled": is_sampled(burst), "is_reflected": is_reflected},
        )


def _spread(burst: Burst) -> int:
    """The most different of: sources, target ports, flows."""
    rows = burst.sample
    flows = mix(rows["source_hi"], rows["source_lo"], rows["source_port"], rows["target_port"])
    return max(burst.sources_count, len(np.unique(rows["target_port"])), len(np.unique(flows)))
