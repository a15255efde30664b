"""Forged router advertisements: a false router on the local cable, or the true one taken away (ATT&CK T1557).

Idea: a router is an address at a card, and says the same all day. It is forged when an advertisement of a known router
comes from another card; when a router is said to be none any more (lifetime 0) again and again, or while it goes on
saying that it is one; when a new router brings a prefix that nobody knew while a known one is there; and when an
advertisement came through a router (hop limit below 255; RFC 4861, 6.1.2). A router that is switched off says so a few
times and is silent; a second router announces the same prefixes.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator, Mapping

from pydantic import Field

from govsec.detect.api import Observation
from govsec.detect.judgement import Evidence, judge
from govsec.dissect.messages import RouterAdvertisement
from govsec.findings.api import SECOND_NS, Settings
from govsec.findings.judgement import Measure
from govsec.records import Finding, Severity

KIND = "net.spoof.router"
_VIRTUAL = ("00:00:5e:00:02:",)
_HOP_LIMIT = 255
_KEPT = 64


class SpoofRouterSettings(Settings):
    """False router advertisements."""

    withdrawals_min: int = Field(
        default=4,
        ge=1,
        description="times that a router is said to be none any more; one that stops says so up to 3 times",
    )
    new_min: int = Field(default=2, ge=1, description="advertisements of a new router with an unknown prefix")
    routers_min: int = Field(default=10, ge=3, description="different routers within the window: a flood of them")
    window_s: int = Field(
        default=60, ge=10, le=3600, description="forgers repeat themselves to win over the true router"
    )
    warmup_s: int = Field(default=30, ge=0, description="routers that come up this long after the first are no news")
    routers_max: int = Field(default=4096, ge=64, description="routers that are watched")


class SpoofRouter:
    """Routers that are none, and routers that are said to be gone."""

    name = "spoof_router"

    def __init__(self, settings: SpoofRouterSettings) -> None:
        self._settings = settings
        self._routers: OrderedDict[tuple[int, str], _Router] = OrderedDict()
        self._prefixes: dict[tuple[int, str], int] = {}
        self._first_ns: dict[int, int] = {}
        self._seen: deque[tuple[int, int, str]] = deque(maxlen=_KEPT)
        self.cooldown_s = settings.cooldown_s

    def observe(self, observation: Observation) -> Iterator[Finding]:
        for message in observation.messages:
            if isinstance(message, RouterAdvertisement):
                yield from self._take(message)

    def finish(self, time_ns: int) -> Iterator[Finding]:
        yield from ()

    def state(self) -> Mapping[str, int]:
        return {"routers": len(self._routers), "prefixes": len(self._prefixes)}

    def _take(self, message: RouterAdvertisement) -> Iterator[Finding]:
        settings, now = self._settings, message.time_ns
        since = now - settings.window_s * SECOND_NS
        if message.hop_limit != _HOP_LIMIT:
            measured = {"hop_limit": Measure(message.hop_limit, _HOP_LIMIT)}
            yield self._finding(message, "far", "came from beyond this cable", measured)
        first = self._first_ns.setdefault(message.vlan, now)
        router = self._routers.get((message.vlan, message.source))
        is_new = router is None
        if router is None:
            router = self._routers[message.vlan, message.source] = _Router(now)
            if len(self._routers) > settings.routers_max:
                self._routers.popitem(last=False)
        router.add(message, since)
        yield from self._judge_cards(message, router)
        gone = sum(1 for _, _, lifetime in router.said if lifetime == 0)
        if gone >= settings.withdrawals_min:
            measured = {"withdrawals": Measure(gone, settings.withdrawals_min, "advertisements")}
            yield self._finding(message, "gone", f"was said to be no router any more {gone} times", measured)
        yield from self._judge_news(message, router, first, is_new=is_new)
        self._seen.append((now, message.vlan, message.source))
        while self._seen[0][0] < since:
            self._seen.popleft()
        routers = len({source for _, vlan, source in self._seen if vlan == message.vlan})
        if routers >= settings.routers_min:
            measured = {"routers": Measure(routers, settings.routers_min, "routers")}
            yield self._finding(message, "many", f"is one of {routers} routers", measured, is_many=True)

    def _judge_cards(self, message: RouterAdvertisement, router: _Router) -> Iterator[Finding]:
        """One router, two cards: the one that takes it away is false, else the one that came later."""
        cards = {mac: lifetime for _, mac, lifetime in router.said if not mac.startswith(_VIRTUAL)}
        if len(cards) < 2:
            return
        takers = [mac for mac, lifetime in cards.items() if lifetime == 0]
        false = takers[0] if takers and len(takers) < len(cards) else message.mac_source
        measured = {"cards": Measure(len(cards), 1, "hardware addresses")}
        yield self._finding(message, "card", f"is advertised by {len(cards)} cards", measured, mac=false)

    def _judge_news(
        self, message: RouterAdvertisement, router: _Router, first_ns: int, *, is_new: bool
    ) -> Iterator[Finding]:
        settings, now = self._settings, message.time_ns
        is_early = now - first_ns <= settings.warmup_s * SECOND_NS
        for prefix in message.prefixes:
            key = (message.vlan, prefix.prefix)
            if key not in self._prefixes and len(self._prefixes) < settings.routers_max:
                self._prefixes[key] = now
                # What comes up with the sensor, or with a router that is known, is no news.
                if is_new and not is_early:
                    router.news = prefix.prefix
        if router.news is not None and len(router.said) >= settings.new_min and len(self._routers) > 1:
            measured = {"advertisements": Measure(len(router.said), settings.new_min, "advertisements")}
            what = f"is new and brings the unknown prefix {router.news}"
            yield self._finding(message, "new", what, measured, prefix=router.news)

    def _finding(
        self,
        message: RouterAdvertisement,
        how: str,
        what: str,
        measured: Mapping[str, Measure],
        *,
        mac: str = "",
        is_many: bool = False,
        prefix: str | None = None,
    ) -> Finding:
        mac = mac or message.mac_source
        window = self._settings.window_s
        return judge(
            kind=KIND,
            detector=self.name,
            severity=Severity.HIGH,
            time_ns=message.time_ns,
            subject=message.source,
            summary=f"Router {message.source} {what} within {window} s; the advertisement comes from card {mac}.",
            pattern=(message.vlan, how if is_many else mac),
            attack=("T1557",),
            originators=(message.source, mac),
            measured=measured,
            evidence=Evidence(message.time_ns - window * SECOND_NS, message.time_ns),
            facts={
                "mac": mac,
                "how": how,
                "lifetime_s": message.lifetime_s,
                "vlan": message.vlan,
                "prefix": prefix,
            },
        )


class _Router:
    """What was said in the name of one router lately: when, by which card, with which lifetime."""

    __slots__ = ("news", "said", "since_ns")

    def __init__(self, since_ns: int) -> None:
        self.since_ns = since_ns
        self.said: deque[tuple[int, str, int]] = deque(maxlen=_KEPT)
        self.news: str | None = None

    def add(self, message: RouterAdvertisement, since_ns: int) -> None:
        self.said.append((message.time_ns, message.mac_source, message.lifetime_s))
        while self.said[0][0] < since_ns:
            self.said.popleft()
