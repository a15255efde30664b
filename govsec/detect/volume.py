"""Unusual volume: a host moves far more data in an hour than it ever did at that hour of the week (ATT&CK T1030,
T1498).

Idea: only a baseline can say what is much for a host; so without one this detector is silent, and the first weeks it
learns. An hour is judged when it is over, sent and received apart, by robust deviation *and* by factor *and* by floor:
a host that always sends 10 bytes may send 100. Only whole hours are learned and judged.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping

import numpy as np
from pydantic import Field

from govsec.detect.api import Observation
from govsec.detect.hosts import Networks, host
from govsec.detect.judgement import Evidence, judge
from govsec.detect.windows import U64, robust_z
from govsec.findings.api import Settings
from govsec.findings.baseline import HOUR_NS, Baseline, hour_of
from govsec.findings.judgement import Measure
from govsec.net.columns import FlowRecords
from govsec.records import Finding, Severity

KIND = "net.volume.unusual"
_SENT, _RECEIVED = "sent", "received"
#: Told by hour: so many hosts, the most deviating ones. More at once is one event of the network, not of hosts.
_TOLD_MAX = 20


class VolumeSettings(Settings):
    """More data than usual."""

    bytes_min: int = Field(default=256 << 20, ge=1 << 20, description="less in an hour is not worth a person's time")
    factor_min: float = Field(default=4, gt=1, description="times the median of the same hour in earlier weeks")
    z_min: float = Field(default=6, gt=0, description="robust standard deviations above it")
    weeks_min: int = Field(default=3, ge=2, description="weeks after which the hour of the week is known")
    days_min: int = Field(default=5, ge=3, description="days after which the hour of the day stands in for it")
    hosts_max: int = Field(default=20_000, ge=100, description="home hosts that are watched")


class Volume:
    """Hosts that move more data than usual."""

    name = "volume"

    def __init__(self, settings: VolumeSettings, home: Networks, baseline: Baseline) -> None:
        self._settings = settings
        self._home = home
        self._baseline = baseline
        self._hour: int | None = None
        self._is_partial = True
        self._sums: dict[tuple[int, int], list[int]] = {}
        self._dropped_count = 0
        self.cooldown_s = settings.cooldown_s

    def observe(self, observation: Observation) -> Iterator[Finding]:
        closed = observation.flows.closed
        if not len(closed):
            return
        hours = closed["end_ns"] // HOUR_NS
        cuts = [0, *(np.flatnonzero(np.diff(hours)) + 1).tolist(), len(closed)]
        for low, high in itertools.pairwise(cuts):
            yield from self._turn(hour_of(int(closed["end_ns"][low])))
            self._count(closed[low:high])

    def finish(self, time_ns: int) -> Iterator[Finding]:
        yield from ()

    def state(self) -> Mapping[str, int]:
        return {"hosts": len(self._sums), "hosts_dropped": self._dropped_count}

    def _count(self, rows: FlowRecords) -> None:
        for side, other in (("originator", "responder"), ("responder", "originator")):
            hi, lo = rows[f"{side}_hi"], rows[f"{side}_lo"]
            mine = self._home.contains(hi, lo)
            self._add(hi[mine], lo[mine], rows[f"bytes_{side}"][mine], rows[f"bytes_{other}"][mine])

    def _add(self, hi: U64, lo: U64, sent: U64, received: U64) -> None:
        for *key, out, back in zip(hi.tolist(), lo.tolist(), sent.tolist(), received.tolist(), strict=True):
            sums = self._sums.get((key[0], key[1]))
            if sums is None:
                if len(self._sums) >= self._settings.hosts_max:
                    self._dropped_count += 1
                    continue
                sums = self._sums[key[0], key[1]] = [0, 0]
            sums[0] += out
            sums[1] += back

    def _turn(self, hour: int) -> Iterator[Finding]:
        if self._hour == hour:
            return
        if self._hour is not None and not self._is_partial:
            sums = {
                (host(*key), metric): float(value)
                for key, values in self._sums.items()
                for metric, value in zip((_SENT, _RECEIVED), values, strict=True)
            }
            yield from self._judge(self._hour, sums)
            self._baseline.add(self._hour, sums)
        self._is_partial = self._hour is None
        self._hour = hour
        self._sums.clear()

    def _judge(self, hour: int, sums: Mapping[tuple[str, str], float]) -> Iterator[Finding]:
        settings = self._settings
        found = []
        for (subject, metric), value in sums.items():
            if value < settings.bytes_min:
                continue
            usual = self._baseline.usual(
                subject, metric, hour, weeks_min=settings.weeks_min, days_min=settings.days_min
            )
            if not usual:
                continue
            middle = float(np.median(usual))
            z = robust_z(value, usual, spread_min=max(1.0, 0.1 * middle))
            if z >= settings.z_min and value >= settings.factor_min * middle:
                found.append((z, subject, metric, value, middle))
        found.sort(key=lambda item: (-item[0], item[1], item[2]))
        for z, subject, metric, value, middle in found[:_TOLD_MAX]:
            yield self._finding(hour, subject, metric, value, middle, z)

    def _finding(self, hour: int, subject: str, metric: str, value: float, usual: float, z: float) -> Finding:
        settings = self._settings
        return judge(
            kind=KIND,
            detector=self.name,
            severity=Severity.MEDIUM,
            time_ns=(hour + 1) * HOUR_NS,
            subject=subject,
            summary=f"{subject} {metric} {value / 2**20:.0f} MiB within an hour; usual at this hour of the week are "
            f"{usual / 2**20:.1f} MiB (threshold {settings.factor_min:g} times, {settings.z_min:g} "
            f"deviations; seen {z:.0f}).",
            pattern=(subject, metric),
            attack=("T1030",) if metric == _SENT else ("T1498",),
            originators=(subject,),
            measured={
                metric: Measure(value, max(settings.bytes_min, settings.factor_min * usual), "bytes/h"),
                "usual": Measure(usual, None, "bytes/h"),
                "z": Measure(z, settings.z_min),
            },
            evidence=Evidence(hour * HOUR_NS, (hour + 1) * HOUR_NS),
            facts={"how": metric},
        )
