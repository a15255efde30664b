"""ICMP tunnel: data go back and forth in echo messages (ATT&CK T1095, T1572).

Idea: a reply brings back what the request carried, byte for byte (RFC 792, RFC 4443). Replies that carry something
else, again and again, are a conversation. Sizes, rates and varied payloads alone prove nothing: path probes have all.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator, Mapping

from pydantic import Field

from govsec.detect.api import Observation
from govsec.detect.judgement import Evidence, judge
from govsec.dissect.messages import IcmpEcho
from govsec.findings.api import SECOND_NS, Settings
from govsec.findings.judgement import Measure
from govsec.findings.tables import Recent
from govsec.records import Finding, Severity

KIND = "net.tunnel.icmp"
_REQUESTS_KEPT = 256


class TunnelIcmpSettings(Settings):
    """Echo replies that are no echo."""

    replies_min: int = Field(
        default=10, ge=3, description="replies whose payload is not the request's; an honest host sends none"
    )
    window_s: int = Field(default=600, ge=10, le=86_400, description="a tunnel at rest still keeps its line open")
    pairs_max: int = Field(default=4096, ge=64, description="pairs of hosts that are watched")


class TunnelIcmp:
    """Conversations in echo messages."""

    name = "tunnel_icmp"

    def __init__(self, settings: TunnelIcmpSettings) -> None:
        self._settings = settings
        self._pairs: Recent[tuple[str, str], _Pair] = Recent(settings.pairs_max, _Pair)
        self.cooldown_s = settings.cooldown_s

    def observe(self, observation: Observation) -> Iterator[Finding]:
        for message in observation.messages:
            if isinstance(message, IcmpEcho):
                yield from self._take(message)

    def finish(self, time_ns: int) -> Iterator[Finding]:
        yield from ()

    def state(self) -> Mapping[str, int]:
        return {"pairs": len(self._pairs), "pairs_forgotten": self._pairs.forgotten_count}

    def _take(self, message: IcmpEcho) -> Iterator[Finding]:
        key = (message.source, message.target)
        if not message.is_reply:
            self._pairs.at(key).ask(message)
            return
        pair = self._pairs.get((message.target, message.source))
        if pair is None:  # nobody asked: backscatter, or the request was not captured
            return
        asked = pair.requests.get((message.identifier, message.sequence))
        # Some hosts shorten what they bring back: a reply that is smaller than the request proves nothing.
        if asked is None or asked[0] == message.payload_digest or message.size_bytes < asked[1]:
            return
        settings = self._settings
        pair.false.append((message.time_ns, message.size_bytes))
        while pair.false[0][0] < message.time_ns - settings.window_s * SECOND_NS:
            pair.false.popleft()
        if len(pair.false) < settings.replies_min:
            return
        originator, responder = message.target, message.source
        size = sum(size for _, size in pair.false)
        yield judge(
            kind=KIND,
            detector=self.name,
            severity=Severity.HIGH,
            time_ns=message.time_ns,
            subject=originator,
            summary=f"{responder} sent {originator} {len(pair.false)} echo replies within {settings.window_s} s that "
            f"do not repeat the request (threshold {settings.replies_min}), {size} bytes in all.",
            pattern=(originator, responder),
            attack=("T1095", "T1572"),
            originators=(originator,),
            responders=(responder,),
            measured={
                "false_replies": Measure(len(pair.false), settings.replies_min, "replies"),
                "carried": Measure(size, unit="bytes"),
            },
            evidence=Evidence(pair.false[0][0], message.time_ns),
        )


class _Pair:
    """What one host asked another lately, and the replies that were none."""

    __slots__ = ("false", "requests")

    def __init__(self) -> None:
        self.requests: OrderedDict[tuple[int, int], tuple[bytes, int]] = OrderedDict()
        self.false: deque[tuple[int, int]] = deque(maxlen=_REQUESTS_KEPT)

    def ask(self, message: IcmpEcho) -> None:
        self.requests[message.identifier, message.sequence] = (message.payload_digest, message.size_bytes)
        self.requests.move_to_end((message.identifier, message.sequence))
        if len(self.requests) > _REQUESTS_KEPT:
            self.requests.popitem(last=False)
