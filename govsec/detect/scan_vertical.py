"""Vertical scan: one host asks many ports of another, and hardly any answers (ATT&CK T1046).

Idea: nobody needs twenty different services of one host within a minute while most of them are closed. Many data ports
of one server (passive FTP, RPC) are answered; a dead server is asked again and again at the *same* port; traceroute
counts UDP ports upwards from 33434 and is left out.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from govsec.detect.attempts import responders
from govsec.detect.hosts import Networks
from govsec.detect.judgement import judge
from govsec.detect.loneacks import without_remains_of_pairs
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
from govsec.findings.judgement import Measure
from govsec.net.columns import Protocol
from govsec.records import Finding

KIND = "net.scan.vertical"
#: UDP ports of traceroute (RFC 1393 and the program's manual): 33434 and one more for each probe, three for each hop.
_TRACEROUTE = (33_434, 33_434 + 3 * 64)
#: More victims than this at one moment are told as one sweep.
_VICTIMS_MAX = 3


class ScanVerticalSettings(ScanSettings):
    """A port scan of one host."""

    ports_min: int = Field(
        default=20, ge=2, description="different unanswered ports; clients that try alternatives try a handful"
    )
    unanswered_min: float = Field(
        default=0.6, ge=0, le=1, description="share of all tries between the two hosts that got no answer"
    )


class ScanVertical(WindowedScan):
    """Port scans of one host by another."""

    name = "scan_vertical"
    protocols = (Protocol.TCP, Protocol.UDP)

    def __init__(self, settings: ScanVerticalSettings, home: Networks) -> None:
        super().__init__(settings, home)
        self._settings = settings

    def counts(self, rows: Rows) -> NDArray[np.bool_]:
        """All but those of traceroute."""
        low, high = _TRACEROUTE
        port = rows["responder_port"]
        kept: NDArray[np.bool_] = (rows["protocol"] != Protocol.UDP) | (port < low) | (port > high)
        return kept

    def judge(self, time_ns: int, rows: Rows) -> Iterator[Finding]:
        if np.count_nonzero(missed(rows)) < self._settings.ports_min:
            return
        rows = rows[without_remains_of_pairs(rows, _pairs(rows))]
        keys = _pairs(rows)
        settings = self._settings
        for scans in broad(
            rows,
            keys,
            mix(rows["responder_port"]),
            count_min=settings.ports_min,
            unanswered_min=settings.unanswered_min,
        ):
            groups = [scans] if len(scans) > _VICTIMS_MAX else [[scan] for scan in scans]
            for group in groups:
                yield self._finding(time_ns, group)

    def _finding(self, time_ns: int, scans: list[Breadth]) -> Finding:
        rows = np.concatenate([scan.rows for scan in scans])
        originator, victims = originator_of(rows), responders_of(rows)
        most = max(scan.count for scan in scans)
        ratio = min(scan.unanswered_ratio for scan in scans)
        protocol = Protocol(int(rows["protocol"][0])).name
        whom = victims[0] if len(victims) == 1 else f"each of {len(victims)} hosts"
        settings = self._settings
        return judge(
            kind=KIND,
            detector=self.name,
            severity=severity_of(rows, self._home),
            time_ns=time_ns,
            subject=originator,
            summary=f"{originator} probed up to {most} different {protocol} ports of {whom} within "
            f"{settings.window_s} s (threshold {settings.ports_min}); {ratio:.0%} of its tries there were unanswered.",
            pattern=(originator, victims[0] if len(victims) == 1 else "many"),
            attack=("T1046",),
            originators=(originator,),
            responders=victims,
            ports=rows["responder_port"].tolist(),
            measured={
                "ports": Measure(most, settings.ports_min, "ports"),
                "unanswered_ratio": Measure(ratio, settings.unanswered_min),
                "hosts": Measure(len(np.unique(responders(rows)))),
            },
            evidence=evidence_of([scan.rows for scan in scans]),
            facts={"protocol": protocol, "is_ack": bool(rows["is_ack"].all())},
        )


def _pairs(rows: Rows) -> U64:
    return mix(
        rows["originator_hi"], rows["originator_lo"], rows["responder_hi"], rows["responder_lo"], rows["protocol"]
    )
