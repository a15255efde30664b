"""Exfiltration: a host sends far more to one place outside than it gets back, and than it usually does (ATT&CK T1048).

Idea: people and programs mostly receive. Data that leave go one way (upload ratio), to one place, and are much (floor);
what makes them suspicious is that neither this host at this hour of the week nor this pair does that as a rule. Without
a baseline yet, a fixed floor stands alone, and the finding says so by its lower severity. Payload is counted, so the
acknowledgements of a large download are nothing; flows that somebody else opened to us are a service's answers.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping

import numpy as np
from pydantic import Field

from govsec.detect.api import Observation
from govsec.detect.attempts import is_group
from govsec.detect.hosts import Networks, host
from govsec.detect.judgement import Evidence, judge
from govsec.detect.windows import robust_z
from govsec.findings.api import Settings
from govsec.findings.baseline import Baseline, hour_of
from govsec.findings.judgement import Measure
from govsec.net.columns import FLOW
from govsec.net.community import community_ids
from govsec.records import Finding, Severity

KIND = "net.exfiltration.volume"
_METRIC = "upload"
#: Flows of a pair that are kept to be shown.
_FLOWS_KEPT = 8
Key = tuple[int, int, int, int]


class ExfiltrationSettings(Settings):
    """Data that leave."""

    bytes_min: int = Field(
        default=16 << 20,
        ge=1 << 10,
        description="payload to one place in an hour; a large letter with attachment is 25 MB",
    )
    upload_ratio_min: float = Field(default=20, ge=1, description="bytes sent for each one received")
    z_min: float = Field(
        default=6, gt=0, description="robust standard deviations of this host's upload over what is usual at this hour"
    )
    weeks_min: int = Field(default=3, ge=2, description="weeks after which the hour of the week is known")
    days_min: int = Field(default=5, ge=3, description="days after which the hour of the day stands in for it")
    peer_days_min: int = Field(default=3, ge=1, description="days after which a place is known to a host, and fine")
    pairs_max: int = Field(default=65_536, ge=1024, description="pairs of host and place that are watched in an hour")


class Exfiltration:
    """Uploads that are not usual."""

    name = "exfiltration"

    def __init__(self, settings: ExfiltrationSettings, home: Networks, baseline: Baseline) -> None:
        self._settings = settings
        self._home = home
        self._baseline = baseline
        self._hour: int | None = None
        self._is_partial = True
        self._pairs: OrderedDict[Key, _Pair] = OrderedDict()
        self._hosts: dict[tuple[int, int], int] = {}
        self._dropped_count = 0
        self.cooldown_s = settings.cooldown_s

    def observe(self, observation: Observation) -> Iterator[Finding]:
        closed = observation.flows.closed
        is_out = (
            ~self._home.contains(closed["responder_hi"], closed["responder_lo"])
            & ~is_group(closed["responder_hi"], closed["responder_lo"])
            & (closed["payload_originator"] + closed["payload_responder"] > 0)
        )
        for row in closed[is_out]:
            self._turn(hour_of(int(row["end_ns"])))
            yield from self._take(row)

    def finish(self, time_ns: int) -> Iterator[Finding]:
        yield from ()

    def state(self) -> Mapping[str, int]:
        return {"pairs": len(self._pairs), "pairs_dropped": self._dropped_count}

    def _turn(self, hour: int) -> None:
        """A new hour begins: what the old one brought becomes usual, if it was seen from its beginning."""
        if self._hour == hour:
            return
        if self._hour is not None and not self._is_partial:
            sums = {(host(*key), _METRIC): float(sent) for key, sent in self._hosts.items()}
            self._baseline.add(self._hour, sums)
        if self._hour is not None:
            self._baseline.meet(self._hour, {(host(*key[:2]), host(*key[2:])): None for key in self._pairs})
        self._is_partial = self._hour is None
        self._hour = hour
        self._pairs.clear()
        self._hosts.clear()

    def _take(self, row: np.void) -> Iterator[Finding]:
        key = (int(row["originator_hi"]), int(row["originator_lo"]), int(row["responder_hi"]), int(row["responder_lo"]))
        pair = self._pairs.get(key)
        if pair is None:
            if len(self._pairs) >= self._settings.pairs_max:
                self._dropped_count += 1
                return
            pair = self._pairs[key] = _Pair(int(row["first_ns"]))
        pair.add(row)
        self._hosts[key[:2]] = self._hosts.get(key[:2], 0) + int(row["payload_originator"])
        settings = self._settings
        if pair.is_told or pair.sent < settings.bytes_min or pair.sent < settings.upload_ratio_min * pair.received:
            return
        pair.is_told = True
        yield from self._judge(key, pair, int(row["end_ns"]))

    def _judge(self, key: Key, pair: _Pair, time_ns: int) -> Iterator[Finding]:
        settings, hour = self._settings, hour_of(time_ns)
        originator, responder = host(*key[:2]), host(*key[2:])
        if self._baseline.days_known(originator, responder) >= settings.peer_days_min:
            return
        sent = self._hosts[key[:2]]
        usual = self._baseline.usual(
            originator, _METRIC, hour, weeks_min=settings.weeks_min, days_min=settings.days_min
        )
        z = robust_z(sent, usual, spread_min=settings.bytes_min / settings.z_min) if usual else None
        if z is not None and z < settings.z_min:
            return
        yield self._finding(originator, responder, pair, time_ns, usual=float(np.median(usual)) if usual else None, z=z)

    def _finding(
        self, originator: str, responder: str, pair: _Pair, time_ns: int, *, usual: float | None, z: float | None
    ) -> Finding:
        settings = self._settings
        ratio = pair.sent / max(1, pair.received)
        known = "no baseline yet" if usual is None else f"usual at this hour: {usual / 2**20:.1f} MiB to all places"
        measured = {
            "sent": Measure(pair.sent, settings.bytes_min, "bytes"),
            "received": Measure(pair.received, None, "bytes"),
            "upload_ratio": Measure(ratio, settings.upload_ratio_min, "times"),
        }
        if z is not None and usual is not None:
            measured |= {"z": Measure(z, settings.z_min), "usual": Measure(usual, None, "bytes/h")}
        return judge(
            kind=KIND,
            detector=self.name,
            severity=Severity.MEDIUM if usual is None else Severity.HIGH,
            time_ns=time_ns,
            subject=originator,
            summary=f"{originator} sent {pair.sent / 2**20:.1f} MiB to {responder} within the hour (threshold "
            f"{settings.bytes_min / 2**20:.0f} MiB), {ratio:.0f} times what it got back; {known}.",
            pattern=(originator, responder),
            attack=("T1048", "T1567"),
            originators=(originator,),
            responders=(responder,),
            ports=pair.ports,
            measured=measured,
            evidence=Evidence(
                pair.first_ns, pair.last_ns, community_ids(np.array(pair.rows, dtype=FLOW)), pair.flows_count
            ),
            facts={"has_baseline": usual is not None},
        )


class _Pair:
    """What one host exchanged with one place within the hour."""

    __slots__ = ("first_ns", "flows_count", "is_told", "last_ns", "ports", "received", "rows", "sent")

    def __init__(self, first_ns: int) -> None:
        self.first_ns = self.last_ns = first_ns
        self.sent = self.received = self.flows_count = 0
        self.is_told = False
        self.ports: list[int] = []
        self.rows: list[np.void] = []

    def add(self, row: np.void) -> None:
        self.first_ns = min(self.first_ns, int(row["first_ns"]))
        self.last_ns = max(self.last_ns, int(row["last_ns"]))
        self.sent += int(row["payload_originator"])
        self.received += int(row["payload_responder"])
        self.flows_count += 1
        if len(self.rows) < _FLOWS_KEPT:
            self.rows.append(row.copy())  # a view would keep its whole batch
            self.ports.append(int(row["responder_port"]))
