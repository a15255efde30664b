"""Horizontal scan: one host asks for the same service on many others, and hardly any has it (ATT&CK T1046; worms
T1210).

Idea: who talks to many hosts on purpose (monitoring, mail, a crawler) knows that they are there, and is answered. A
worm or a scanner guesses addresses. Web ports want more hosts: when the way out is down, every browser looks like this
for a minute, with the few dozen servers of its open pages.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from govsec.detect.attempts import responders
from govsec.detect.hosts import Networks
from govsec.detect.judgement import judge
from govsec.detect.loneacks import Refusals, is_refused, without_remains_of_streets
from govsec.detect.scan import (
    Breadth,
    ScanSettings,
    WindowedScan,
    broad,
    evidence_of,
    missed,
    originator_of,
    responders_of,
    severity_of,
)
from govsec.detect.windows import U64, Rows, mix
from govsec.findings.api import SECOND_NS
from govsec.findings.judgement import Measure
from govsec.net.columns import Protocol
from govsec.records import Finding

KIND = "net.scan.horizontal"
_WEB_PORTS = (80, 443)


class ScanHorizontalSettings(ScanSettings):
    """A sweep of many hosts for one service."""

    hosts_min: int = Field(
        default=15,
        ge=2,
        description="different hosts that did not answer on one port; a client with stale addresses has few",
    )
    web_hosts_min: int = Field(
        default=50, ge=2, description="the same for ports 80 and 443, where a browser without a way out tries dozens"
    )
    unanswered_min: float = Field(default=0.5, ge=0, le=1, description="share of all tries on that port without answer")


class ScanHorizontal(WindowedScan):
    """Sweeps for one service over many hosts."""

    name = "scan_horizontal"
    protocols = (Protocol.TCP, Protocol.UDP)

    def __init__(self, settings: ScanHorizontalSettings, home: Networks) -> None:
        super().__init__(settings, home)
        self._settings = settings
        self._refusals = Refusals(settings.window_s * SECOND_NS)

    def note(self, times: NDArray[np.int64], rows: Rows) -> None:
        refused = is_refused(rows)
        self._refusals.add(times[refused], _streets(rows[refused]))

    def state(self) -> Mapping[str, int]:
        return {**super().state(), "refusals_dropped": self._refusals.dropped_count}

    def judge(self, time_ns: int, rows: Rows) -> Iterator[Finding]:
        if np.count_nonzero(missed(rows)) < self._settings.hosts_min:
            return
        settings = self._settings
        rows = rows[without_remains_of_streets(rows, _streets(rows), self._refusals.streets(time_ns))]
        keys = _streets(rows)
        least = np.where(np.isin(rows["responder_port"], _WEB_PORTS), settings.web_hosts_min, settings.hosts_min)
        for scans in broad(rows, keys, responders(rows), count_min=least, unanswered_min=settings.unanswered_min):
            yield self._finding(time_ns, scans)

    def _finding(self, time_ns: int, scans: list[Breadth]) -> Finding:
        settings = self._settings
        rows = np.concatenate([scan.rows for scan in scans])
        originator, victims = originator_of(rows), responders_of(rows)
        ports = [int(scan.rows["responder_port"][0]) for scan in scans]
        most = max(scans, key=lambda scan: scan.count)
        port = int(most.rows["responder_port"][0])
        protocol = Protocol(int(most.rows["protocol"][0])).name
        ratio = min(scan.unanswered_ratio for scan in scans)
        threshold = settings.web_hosts_min if port in _WEB_PORTS else settings.hosts_min
        others = f" (and {len(ports) - 1} other ports)" if len(ports) > 1 else ""
        return judge(
            kind=KIND,
            detector=self.name,
            severity=severity_of(rows, self._home),
            time_ns=time_ns,
            subject=originator,
            summary=f"{originator} tried {protocol} port {port}{others} of {most.count} hosts within "
            f"{settings.window_s} s (threshold {threshold}); {ratio:.0%} of its tries there were unanswered.",
            pattern=(originator,),
            attack=("T1046",),
            originators=(originator,),
            responders=victims,
            ports=ports,
            measured={
                "hosts": Measure(most.count, threshold, "hosts"),
                "unanswered_ratio": Measure(ratio, settings.unanswered_min),
            },
            evidence=evidence_of([scan.rows for scan in scans]),
            facts={"protocol": protocol, "is_ack": bool(rows["is_ack"].all())},
        )


def _streets(rows: Rows) -> U64:
    return mix(rows["originator_hi"], rows["originator_lo"], rows["responder_port"], rows["protocol"])
