"""Beacons: a program calls the same place outside again and again, by the clock (ATT&CK T1071, T1573, T1029).

Idea: the gaps between calls tell a machine from a person. A machine's gaps lie closely around one length: their median
absolute deviation is a small part of their median, and most calls have another one just that length later
(autocorrelation at the median). With jitter the gaps spread, but stay within a band; a person's come in bursts with
pauses of every length. A call is a TCP connection that was answered, or the first datagram after a silence on a UDP
flow that was answered (QUIC, and programs that keep their port).

Much that is honest is periodic, so: time, names and discovery by port are left out, and calls to our own hosts
(monitoring, load balancers); what many of our hosts call is site software; slower than a quarter of an hour is the pace
of update checks. The rest a site dismisses once, by pattern.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from pydantic import Field

from govsec.detect.api import Observation
from govsec.detect.attempts import is_group
from govsec.detect.hosts import Networks, host
from govsec.detect.judgement import Evidence, judge
from govsec.detect.windows import F64, median_mad
from govsec.findings.api import SECOND_NS, Settings
from govsec.findings.judgement import Measure
from govsec.net.columns import FLOW, FlowRecords, Protocol
from govsec.net.community import community_ids
from govsec.records import Finding, Severity

KIND = "net.beacon.periodic"
#: Calls kept for a pair of hosts; older ones tell nothing about the habit of now.
_CALLS_MAX = 64
#: Two calls this close are one check-in over two connections.
_TOGETHER_S = 0.5
#: DNS, DHCP, NTP, NetBIOS, SNMP, SSDP, WS-Discovery, mDNS, LLMNR: periodic by design.
_PORTS_LEFT_OUT = (53, 67, 68, 123, 137, 138, 161, 162, 853, 1900, 3702, 5353, 5355)
#: A gap within this part of the period is on the beat; what a busy machine adds stays below.
_BEAT = 0.15
#: Gaps of a jittered beacon lie in this band around their median: sleep and jitter of up to a half, either way.
_BAND = (0.4, 1.8)
#: A pair is judged at these counts of calls, and then every _JUDGED_EVERY: the same ones however calls come in.
_JUDGED_EVERY = 4
#: From so many calls on a host counts among those that use a service.
_OFTEN = 3

Key = tuple[int, int, int, int, int, int]


class BeaconSettings(Settings):
    """Periodic calls to a host outside."""

    cooldown_s: int = Field(
        default=86_400, ge=0, description="a beacon goes on for weeks; told once a day it is not forgotten"
    )
    calls_min: int = Field(
        default=12, ge=6, description="calls before a strict rhythm counts; three or four are chance"
    )
    calls_jitter_min: int = Field(default=24, ge=8, description="calls before a rhythm with jitter counts")
    deviation_max: float = Field(
        default=0.1, gt=0, lt=1, description="median absolute deviation of the gaps, as part of their median"
    )
    deviation_jitter_max: float = Field(
        default=0.3, gt=0, lt=1, description="the same with jitter: a jitter of 50 % makes 0.17 to 0.25, chance 0.7"
    )
    autocorrelation_min: float = Field(
        default=0.7, ge=0, le=1, description="share of calls with another one a period later, in a strict rhythm"
    )
    in_band_min: float = Field(
        default=0.85,
        ge=0,
        le=1,
        description="share of gaps within 0.4 to 1.8 of their median, with jitter; chance: 0.47",
    )
    period_min_s: float = Field(default=1, gt=0, description="faster is work, not a call home")
    period_max_s: float = Field(
        default=900, gt=0, description="slower is the pace of update checks; raise it when those are dismissed"
    )
    hosts_common: int = Field(
        default=5, ge=2, description="home hosts that call the same service; so many share a program, not an intruder"
    )
    pairs_max: int = Field(default=65_536, ge=1024, description="pairs of host and service that are watched")


@dataclass(frozen=True, slots=True)
class Rhythm:
    """What the gaps between calls look like."""

    calls_count: int
    period_s: float
    deviation: float
    autocorrelation: float
    in_band: float


class Beacon:
    """Periodic calls from our hosts to one outside."""

    name = "beacon"

    def __init__(self, settings: BeaconSettings, home: Networks) -> None:
        self._settings = settings
        self._home = home
        self._calls: OrderedDict[Key, _Calls] = OrderedDict()
        self._callers: OrderedDict[tuple[int, int, int, int], set[tuple[int, int]]] = OrderedDict()
        self._heard: OrderedDict[int, int] = OrderedDict()
        self._counts = {"pairs_forgotten": 0, "common_left_out": 0}
        self.cooldown_s = settings.cooldown_s

    def observe(self, observation: Observation) -> Iterator[Finding]:
        for _, key, time_ns, row in self._events(observation):
            if row is not None:
                yield from self._take(key, time_ns, row)
            elif (calls := self._calls.get(key)) is not None:
                calls.is_answered = True

    def finish(self, time_ns: int) -> Iterator[Finding]:
        yield from ()

    def state(self) -> Mapping[str, int]:
        return {"pairs": len(self._calls), **self._counts}

    def _events(self, observation: Observation) -> list[tuple[int, Key, int, np.void | None]]:
        """Calls, and answers to datagrams (without a row), by the moment at which they are known.

        A TCP call is known when it is over, so its place is that of its end and its time that of its beginning.
        """
        closed, answered = observation.flows.closed, observation.flows.answered
        called = closed[(closed["protocol"] == Protocol.TCP) & (closed["part"] == 0) & (closed["answered_ns"] > 0)]
        events: list[tuple[int, Key, int, np.void | None]] = [
            (int(row["end_ns"]), key, int(row["start_ns"]), row) for key, row in self._keyed(called)
        ]
        events += [(time_ns, key, time_ns, row) for key, time_ns, row in self._datagrams(observation)]
        events += [
            (int(row["answered_ns"]), key, 0, None)
            for key, row in self._keyed(answered[answered["protocol"] == Protocol.UDP])
        ]
        events.sort(key=lambda event: event[0])
        return events

    def _keyed(self, rows: FlowRecords) -> Iterator[tuple[Key, np.void]]:
        """Flows that may be calls out, with the pair they belong to."""
        rows = rows[_is_call(rows["responder_port"], rows["responder_hi"], rows["responder_lo"], self._home)]
        names = ("originator_hi", "originator_lo", "responder_hi", "responder_lo", "responder_port", "protocol")
        keys = zip(*(rows[name].tolist() for name in names), strict=True)
        yield from zip(keys, rows, strict=True)

    def _datagrams(self, observation: Observation) -> Iterator[tuple[Key, int, np.void]]:
        """First datagrams after a silence, of originators of UDP flows."""
        packets, flows = observation.packets, observation.flows
        index = np.flatnonzero((packets.protocol == Protocol.UDP) & (flows.flow > 0) & flows.is_originator)
        wanted = _is_call(packets.target_port[index], packets.target_hi[index], packets.target_lo[index], self._home)
        index = index[wanted]
        order = index[np.argsort(flows.flow[index], kind="stable")]
        ids, times = flows.flow[order], packets.time_ns[order]
        is_first = np.ones(len(order), dtype=np.bool_)
        is_first[1:] = (ids[1:] != ids[:-1]) | (np.diff(times) >= self._settings.period_min_s * SECOND_NS)
        last_of = np.append(np.flatnonzero(np.diff(ids)), len(ids) - 1) if len(ids) else np.zeros(0, dtype=np.intp)
        started = []
        for position in np.flatnonzero(is_first).tolist():
            heard = self._heard.get(int(ids[position]))
            if heard is None or int(times[position]) - heard >= self._settings.period_min_s * SECOND_NS:
                started.append(int(order[position]))
            self._heard[int(ids[position])] = int(times[position])
        for position in last_of.tolist():
            flow = int(ids[position])
            self._heard[flow] = int(times[position])
            self._heard.move_to_end(flow)
        while len(self._heard) > self._settings.pairs_max:
            self._heard.popitem(last=False)
        for packet in sorted(started):
            row = _as_flow(observation, packet)
            key = tuple(int(row[name]) for name in _KEY)
            yield (key[0], key[1], key[2], key[3], key[4], key[5]), int(row["start_ns"]), row

    def _take(self, key: Key, time_ns: int, row: np.void) -> Iterator[Finding]:
        calls = self._calls.get(key)
        if calls is None:
            calls = self._calls[key] = _Calls()
            if len(self._calls) > self._settings.pairs_max:
                self._calls.popitem(last=False)
                self._counts["pairs_forgotten"] += 1
        self._calls.move_to_end(key)
        if not calls.add(time_ns / SECOND_NS, row):
            return
        if calls.added_count == _OFTEN:
            self._remember(key)
        if calls.added_count >= self._settings.calls_min and calls.added_count % _JUDGED_EVERY == 0:
            yield from self._judge(key, calls)

    def _remember(self, key: Key) -> None:
        """Which of our hosts call a service often."""
        callers = self._callers.setdefault(key[2:6], set())
        self._callers.move_to_end(key[2:6])
        if len(callers) < self._settings.hosts_common:
            callers.add(key[0:2])
        if len(self._callers) > self._settings.pairs_max:
            self._callers.popitem(last=False)

    def _judge(self, key: Key, calls: _Calls) -> Iterator[Finding]:
        rhythm, settings = rhythm_of(np.asarray(calls.times)), self._settings
        if not settings.period_min_s <= rhythm.period_s <= settings.period_max_s:
            return
        is_strict = (
            rhythm.deviation <= settings.deviation_max and rhythm.autocorrelation >= settings.autocorrelation_min
        )
        is_jittered = (
            rhythm.calls_count >= settings.calls_jitter_min
            and rhythm.deviation <= settings.deviation_jitter_max
            and rhythm.in_band >= settings.in_band_min
        )
        if not (is_strict or is_jittered) or not (calls.is_answered or key[5] == Protocol.TCP):
            return
        if len(self._callers.get(key[2:6], ())) >= settings.hosts_common:
            self._counts["common_left_out"] += 1
            return
        yield self._finding(key, calls, rhythm, is_strict=is_strict)

    def _finding(self, key: Key, calls: _Calls, rhythm: Rhythm, *, is_strict: bool) -> Finding:
        settings = self._settings
        originator, responder, port = host(key[0], key[1]), host(key[2], key[3]), key[4]
        protocol = Protocol(key[5]).name
        threshold = settings.deviation_max if is_strict else settings.deviation_jitter_max
        first_ns, last_ns = (round(moment * SECOND_NS) for moment in (calls.times[0], calls.times[-1]))
        return judge(
            kind=KIND,
            detector=self.name,
            severity=Severity.MEDIUM,
            time_ns=last_ns,
            subject=originator,
            summary=f"{originator} called {responder} on {protocol} port {port} every {rhythm.period_s:.1f} s, "
            f"{rhythm.calls_count} times{'' if is_strict else ' with jitter'}; the gaps deviate by "
            f"{rhythm.deviation:.1%} "
            f"(threshold {threshold:.0%}).",
            pattern=(originator, responder, port, protocol),
            attack=("T1071", "T1573", "T1029"),
            originators=(originator,),
            responders=(responder,),
            ports=(port,),
            measured={
                "calls": Measure(rhythm.calls_count, settings.calls_min if is_strict else settings.calls_jitter_min),
                "period": Measure(rhythm.period_s, settings.period_max_s, "s"),
                "deviation": Measure(rhythm.deviation, threshold),
                "autocorrelation": Measure(rhythm.autocorrelation, settings.autocorrelation_min if is_strict else None),
                "in_band": Measure(rhythm.in_band, None if is_strict else settings.in_band_min),
            },
            evidence=Evidence(first_ns, last_ns, community_ids(np.array(calls.rows, dtype=FLOW)), rhythm.calls_count),
            facts={"has_jitter": not is_strict, "protocol": protocol},
        )


def rhythm_of(times: F64) -> Rhythm:
    """The rhythm of at least three moments in seconds, ascending."""
    gaps = np.diff(times)
    period, deviation = median_mad(gaps)
    later = np.searchsorted(times, times[:-1] + period * (1 + _BEAT), side="right")
    sooner = np.searchsorted(times, times[:-1] + period * (1 - _BEAT), side="left")
    low, high = _BAND
    return Rhythm(
        calls_count=len(times),
        period_s=period,
        deviation=deviation / period if period > 0 else 1.0,
        autocorrelation=float(np.mean(later > sooner)),
        in_band=float(np.mean((gaps >= low * period) & (gaps <= high * period))),
    )


_KEY = ("originator_hi", "originator_lo", "responder_hi", "responder_lo", "responder_port", "protocol")


class _Calls:
    """The latest calls of a pair, in order of their beginning (they are known in the order of their end)."""

    __slots__ = ("added_count", "is_answered", "rows", "times")

    def __init__(self) -> None:
        self.times: list[float] = []
        self.rows: list[np.void] = []
        self.added_count = 0
        self.is_answered = False

    def add(self, time_s: float, row: np.void) -> bool:
        """False when it belongs to a check-in that is known."""
        position = bisect_left(self.times, time_s - _TOGETHER_S)
        if position < len(self.times) and self.times[position] <= time_s + _TOGETHER_S:
            return False
        insort(self.times, time_s)
        del self.times[:-_CALLS_MAX]
        self.rows.append(row.copy())  # a view would keep its whole batch
        del self.rows[:-4]
        self.added_count += 1
        return True


def _is_call(port: np.ndarray, responder_hi: np.ndarray, responder_lo: np.ndarray, home: Networks) -> np.ndarray:
    is_open = ~np.isin(port, _PORTS_LEFT_OUT) & ~is_group(responder_hi, responder_lo)
    return is_open & ~home.contains(responder_hi, responder_lo)


def _as_flow(observation: Observation, packet: int) -> np.void:
    """The flow of a packet by its originator, as far as a call needs it."""
    packets = observation.packets
    rows = np.zeros(1, dtype=FLOW)
    for ours, theirs in (("originator", "source"), ("responder", "target")):
        for part in ("hi", "lo", "port"):
            rows[f"{ours}_{part}"] = getattr(packets, f"{theirs}_{part}")[packet]
    rows["protocol"], rows["ip_version"] = packets.protocol[packet], packets.ip_version[packet]
    rows["start_ns"] = packets.time_ns[packet]
    row: np.void = rows[0]
    return row
