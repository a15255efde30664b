"""Indicators of others found in our traffic: addresses, networks, domains, fingerprints, certificates (ATT&CK T1071).

Idea: one match is evidence enough, so there is no threshold; what protects from noise is the quality of the list,
which is why every finding names the list, the line and what it says. Addresses count when somebody of ours called them
and was answered (HIGH), or called in vain (MEDIUM); when *they* knocked (LOW), for everybody is knocked at. A list
that changed on disk is read again at once (hot reload); one that cannot be read any more stays in force as it was, and
is told.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from pydantic import Field

from govsec.detect.api import Observation
from govsec.detect.hosts import host
from govsec.detect.indicator_index import IndicatorIndex
from govsec.detect.indicators import Indicator, IndicatorFiles
from govsec.detect.judgement import Evidence, flow_name, judge
from govsec.dissect.messages import (
    DnsMessage,
    FlowMessage,
    Message,
)
from govsec.findings.api import SECOND_NS, Settings
from govsec.findings.judgement import Measure
from govsec.net.columns import FlowRecords
from govsec.net.community import community_ids
from govsec.records import Finding, Severity

KIND = "net.indicator.match"
_LABELS_MAX = 127
#: How a match is told, by how it came about.
_TOLD = {
    "to": "called",
    "to|answered": "answered",
    "from": "was_called",
    "from|answered": "was_called",
    "DnsMessage": "asked",
}


class IndicatorMatchSettings(Settings):
    """How long lists may be believed; which ones is said in ``monitor.indicators``."""

    ttl_s: int = Field(
        default=30 * 86_400,
        ge=3600,
        description="entries without an end of their own end so long after the file was changed",
    )
    reload_s: int = Field(default=60, ge=1, description="how often files are looked at for changes, of event time")


class IndicatorMatch:
    """Matches of the lists in force."""

    name = "indicator_match"

    def __init__(self, settings: IndicatorMatchSettings, files: IndicatorFiles) -> None:
        self._reload_ns = settings.reload_s * SECOND_NS
        self._files = files
        self._index = IndicatorIndex(files.indicators())
        self._looked_ns: int | None = None
        self._counts = {"reloads": 0, "matches": 0, "expired": 0, "reload_failures": 0}
        self.cooldown_s = settings.cooldown_s

    def observe(self, observation: Observation) -> Iterator[Finding]:
        yield from self._reload(observation.time_ns)
        if self._index.is_empty:
            return
        yield from self._flows(observation.flows.opened, is_answered=False)
        yield from self._flows(observation.flows.answered, is_answered=True)
        for message in observation.messages:
            for indicator in self._index.of_message(message):
                yield from self._said(message, indicator)

    def finish(self, time_ns: int) -> Iterator[Finding]:
        yield from ()

    def state(self) -> Mapping[str, int]:
        return {"indicators": self._index.count, "refused": self._files.refused_count, **self._counts}

    def _reload(self, time_ns: int) -> Iterator[Finding]:
        if self._looked_ns is None:
            self._looked_ns = time_ns
        if time_ns - self._looked_ns < self._reload_ns:
            return
        self._looked_ns = time_ns
        is_changed, problems = self._files.reload()
        if is_changed:
            self._counts["reloads"] += 1
            self._index = IndicatorIndex(self._files.indicators())
        self._counts["reload_failures"] += len(problems)
        if problems:
            yield judge(
                kind="net.sensor.degraded",
                detector=self.name,
                severity=Severity.MEDIUM,
                time_ns=time_ns,
                subject="sensor",
                summary=f"Lists of indicators cannot be read and stay as they were: {'; '.join(problems)[:1500]}.",
                pattern=("indicators",),
                measured={"lists": Measure(len(problems), 0, "lists")},
                facts={"reason": "indicators_unreadable", "problems": "; ".join(problems)[:1500]},
            )

    def _flows(self, rows: FlowRecords, *, is_answered: bool) -> Iterator[Finding]:
        for side in ("responder", "originator"):
            hi, lo = rows[f"{side}_hi"], rows[f"{side}_lo"]
            for position in self._index.addresses.find(hi, lo).tolist():
                row = rows[position]
                indicator = self._index.addresses.indicator(int(hi[position]), int(lo[position]))
                time_ns = int(row["answered_ns" if is_answered else "start_ns"])
                if indicator is None or self._is_over(indicator, time_ns):
                    continue
                is_knock = side == "originator"
                severity = Severity.LOW if is_knock else Severity.HIGH if is_answered else Severity.MEDIUM
                yield self._flow_finding(row, indicator, time_ns, severity, is_knock=is_knock, is_answered=is_answered)

    def _flow_finding(
        self, row: np.void, indicator: Indicator, time_ns: int, severity: Severity, *, is_knock: bool, is_answered: bool
    ) -> Finding:
        originator, responder = (host(row[f"{side}_hi"], row[f"{side}_lo"]) for side in ("originator", "responder"))
        ours = responder if is_knock else originator
        verb = "was called by" if is_knock else "called"
        theirs = originator if is_knock else responder
        return self._finding(
            indicator,
            severity,
            time_ns,
            ours=ours,
            summary=f"{ours} {verb} {theirs} on port {int(row['responder_port'])}"
            f"{' and was answered' if is_answered and not is_knock else ''}",
            hosts=(originator, responder),
            ports=(int(row["responder_port"]),),
            evidence=Evidence(time_ns, time_ns, community_ids(np.array([row]))),
            how=f"{'from' if is_knock else 'to'}{'|answered' if is_answered else ''}",
        )

    def _said(self, message: Message, indicator: Indicator) -> Iterator[Finding]:
        if not isinstance(message, FlowMessage) or self._is_over(indicator, message.time_ns):
            return
        flow = message.flow
        is_name = isinstance(message, DnsMessage)
        # Who asks for a name is suspicious already; who speaks to it, more so.
        severity = Severity.MEDIUM if is_name else Severity.HIGH
        what = "asked for" if is_name else "spoke to"
        yield self._finding(
            indicator,
            severity,
            message.time_ns,
            ours=flow.originator,
            summary=f"{flow.originator} {what} {indicator.value} ({type(message).__name__})",
            hosts=(flow.originator, flow.responder),
            ports=(flow.responder_port,),
            evidence=Evidence(message.time_ns, message.time_ns, (flow_name(flow),)),
            how=type(message).__name__,
        )

    def _finding(
        self,
        indicator: Indicator,
        severity: Severity,
        time_ns: int,
        *,
        ours: str,
        summary: str,
        hosts: tuple[str, str],
        ports: Sequence[int],
        evidence: Evidence,
        how: str,
    ) -> Finding:
        self._counts["matches"] += 1
        said = f": {indicator.description}" if indicator.description else ""
        return judge(
            kind=KIND,
            detector=self.name,
            severity=severity,
            time_ns=time_ns,
            subject=ours,
            summary=f"{summary}; {indicator.kind} {indicator.value} is on {indicator.source}{said}.",
            pattern=(ours, indicator.kind, indicator.value, how),
            attack=("T1071",),
            originators=(hosts[0],),
            responders=(hosts[1],),
            ports=ports,
            evidence=evidence,
            facts={
                "how": _TOLD.get(how, "spoke"),
                "indicator": {
                    "kind": indicator.kind,
                    "value": indicator.value,
                    "source": indicator.source,
                    "description": indicator.description,
                },
            },
        )

    def _is_over(self, indicator: Indicator, time_ns: int) -> bool:
        is_over = indicator.expires_ns is not None and time_ns >= indicator.expires_ns
        self._counts["expired"] += is_over
        return is_over
