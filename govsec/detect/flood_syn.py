"""SYN flood: connections are asked for and never taken up (ATT&CK T1499.001).

Idea: who wants a connection answers the server's SYN-ACK and sends something; so a busy server gets several packets for
each SYN. In a flood there are SYNs and nothing after them, whether the server still answers (SYN cookies) or not. This
is counted per second from packet columns, for the target in all and not per flow, so a million forged sources cost what
one costs. The answers of the victim are answers: they make nobody a scanner or flooder.

A vertical scan at speed also sends SYNs to one host; it is a flood only at a much higher rate than on one port.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np
from pydantic import Field

from govsec.detect.api import Observation
from govsec.detect.flood import DIRECT, EXHAUSTION, evidence_of, is_sampled, many, ports_of, sources_of, target_of
from govsec.detect.judgement import judge
from govsec.detect.rates import ASK, FOLLOW, REPLY, Burst, RateBins, Usual, buckets
from govsec.findings.api import Settings
from govsec.findings.judgement import Measure
from govsec.net.columns import Protocol, TcpFlag
from govsec.records import Finding, Severity

KIND = "net.flood.syn"
#: A port is what a flood is aimed at when it gets this share of the packets.
_PORT_SHARE = 0.5
_NOTHING = -1


def _kind(flags: int) -> int:
    named = {TcpFlag.SYN: ASK, TcpFlag.SYN | TcpFlag.ACK: REPLY, TcpFlag.ACK: FOLLOW}
    return named.get(TcpFlag(flags) & (TcpFlag.SYN | TcpFlag.ACK | TcpFlag.RST), _NOTHING)


_KINDS = np.array([_kind(flags) for flags in range(256)], dtype=np.int8)


class FloodSynSettings(Settings):
    """A flood of connection requests."""

    rate_min: float = Field(
        default=75,
        gt=0,
        description=(
            "unfinished SYNs a second at one port of a host, over two seconds; a backlog of 128 is full in less"
        ),
    )
    rate_any_port_min: float = Field(
        default=1000, gt=0, description="the same over all ports of a host: scans stay below, and are told as scans"
    )
    unfinished_min: float = Field(
        default=0.7, ge=0, le=1, description="share of SYNs without answer, or without anything sent after them"
    )
    usual_factor: float = Field(default=5, ge=1, description="times what is usual for this host, once that is known")
    warmup_s: int = Field(default=60, ge=1, description="bursts after which a host's usual rate is known")


class FloodSyn:
    """Floods of connection requests."""

    name = "flood_syn"

    def __init__(self, settings: FloodSynSettings) -> None:
        self._settings = settings
        self._bins = RateBins(asks_min=int(2 * settings.rate_min))
        self._usual = Usual(warmup_s=settings.warmup_s)
        self.cooldown_s = settings.cooldown_s

    def observe(self, observation: Observation) -> Iterator[Finding]:
        packets = observation.packets
        kinds = _KINDS[packets.tcp_flags]
        index = np.flatnonzero((packets.protocol == Protocol.TCP) & (packets.ip_version > 0) & (kinds >= 0))
        kinds = kinds[index]
        is_reply = kinds == REPLY
        hi = np.where(is_reply, packets.source_hi[index], packets.target_hi[index])
        lo = np.where(is_reply, packets.source_lo[index], packets.target_lo[index])
        yield from self._judge(self._bins.add(packets, index, kinds, buckets(hi, lo)))
        yield from self._judge(self._bins.advance(observation.time_ns))

    def finish(self, time_ns: int) -> Iterator[Finding]:
        yield from self._judge(self._bins.finish())

    def state(self) -> Mapping[str, int]:
        return {"clock_jumps": self._bins.jumps_count, "targets_forgotten": self._usual.forgotten_count}

    def _judge(self, bursts: Iterable[Burst]) -> Iterator[Finding]:
        settings = self._settings
        for burst in bursts:
            usual = self._usual.rate(burst)
            _, share = ports_of(burst)
            is_aimed = share >= _PORT_SHARE
            threshold = settings.rate_min if is_aimed else settings.rate_any_port_min
            threshold = max(threshold, settings.usual_factor * (usual or 0))
            rate = burst.rate * (share if is_aimed else 1)
            unfinished = 1 - _finished(burst)
            if rate >= threshold and unfinished >= settings.unfinished_min:
                yield self._finding(burst, rate, threshold, unfinished, is_aimed=is_aimed)

    def _finding(self, burst: Burst, rate: float, threshold: float, unfinished: float, *, is_aimed: bool) -> Finding:
        target, sources, (ports, _) = target_of(burst), sources_of(burst), ports_of(burst)
        where = f"TCP port {ports[0]} of {target}" if is_aimed else f"{len(ports)} TCP ports of {target}"
        return judge(
            kind=KIND,
            detector=self.name,
            severity=Severity.HIGH,
            time_ns=burst.time_ns,
            subject=target,
            summary=f"{where} got {rate:.0f} connection requests a second from {many(burst)} "
            f"(threshold {threshold:.0f}); {unfinished:.0%} were never taken up.",
            pattern=(target, ports[0] if is_aimed else "any"),
            attack=(EXHAUSTION, DIRECT),
            originators=sources,
            responders=(target,),
            ports=ports,
            measured={
                "rate": Measure(rate, threshold, "packets/s"),
                "unfinished_ratio": Measure(unfinished, self._settings.unfinished_min),
                "sources": Measure(len(sources)),
            },
            evidence=evidence_of(burst),
            facts={"is_distributed": len(sources) > 1, "is_sampled": is_sampled(burst)},
        )


def _finished(burst: Burst) -> float:
    """The share of SYNs that led to something. A sensor of one direction sees no reply, but what follows."""
    followed = burst.follows / burst.asks
    return min(1.0, followed, burst.replies / burst.asks) if burst.replies else min(1.0, followed)
