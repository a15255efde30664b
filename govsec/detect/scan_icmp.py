"""ICMP scan: one host pings many others, and many are not there (ATT&CK T1018).

Idea: a monitoring station pings hosts that exist and is answered; a sweep of a network mostly meets addresses that
nobody has. Echo replies and error messages are answers and never count, so the victim of a forged sweep is not the
scanner.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from pydantic import Field

from govsec.detect.attempts import originators, responders
from govsec.detect.hosts import Networks
from govsec.detect.judgement import judge
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
from govsec.detect.windows import Rows
from govsec.findings.judgement import Measure
from govsec.net.columns import Protocol
from govsec.records import Finding

KIND = "net.scan.icmp"


class ScanIcmpSettings(ScanSettings):
    """A ping sweep."""

    hosts_min: int = Field(
        default=15, ge=2, description="different hosts that did not answer; a monitoring list has few dead entries"
    )
    unanswered_min: float = Field(
        default=0.4, ge=0, le=1, description="share of pinged hosts without answer; a well-filled network answers half"
    )
    window_s: int = Field(default=60, ge=1, le=3600, description="a /24 at the pace of a shell loop fits")


class ScanIcmp(WindowedScan):
    """Ping sweeps."""

    name = "scan_icmp"
    protocols = (Protocol.ICMP, Protocol.ICMPV6)

    def __init__(self, settings: ScanIcmpSettings, home: Networks) -> None:
        super().__init__(settings, home)
        self._settings = settings

    def judge(self, time_ns: int, rows: Rows) -> Iterator[Finding]:
        if np.count_nonzero(missed(rows)) < self._settings.hosts_min:
            return
        settings = self._settings
        for scans in broad(
            rows,
            originators(rows),
            responders(rows),
            count_min=settings.hosts_min,
            unanswered_min=settings.unanswered_min,
        ):
            yield self._finding(time_ns, scans[0])

    def _finding(self, time_ns: int, scan: Breadth) -> Finding:
        settings = self._settings
        originator = originator_of(scan.rows)
        return judge(
            kind=KIND,
            detector=self.name,
            severity=severity_of(scan.rows, self._home),
            time_ns=time_ns,
            subject=originator,
            summary=f"{originator} pinged {scan.count} hosts that did not answer within {settings.window_s} s "
            f"(threshold {settings.hosts_min}); {scan.unanswered_ratio:.0%} of its pings were unanswered.",
            pattern=(originator,),
            attack=("T1018",),
            originators=(originator,),
            responders=responders_of(scan.rows),
            measured={
                "hosts": Measure(scan.count, settings.hosts_min, "hosts"),
                "unanswered_ratio": Measure(scan.unanswered_ratio, settings.unanswered_min),
            },
            evidence=evidence_of([scan.rows]),
        )
