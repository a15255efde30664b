"""Password guessing by the shape of flows, on any port: many short connections to one service, all alike (ATT&CK
T1110).

Idea: a refused log-in is a small dialogue of fixed form, and the guesser has it again and again; people and programs
that do get in go on to exchange something that differs. So no protocol need be known; services whose log-ins are read
are left to those who read them, and web services too (each request of a polling client looks the same). On ports where
people log in less is needed than on others, where a program may just be fond of opening connections.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping

import numpy as np
from pydantic import Field

from govsec.detect.api import Observation
from govsec.detect.hosts import host
from govsec.detect.judgement import Evidence, judge
from govsec.detect.windows import EventWindow, Groups, Rows, median_mad, mix
from govsec.dissect.messages import HttpRequest, LoginOutcome, Message, RdpRequest, SshBanner, TlsClientHello
from govsec.findings.api import SECOND_NS, Settings
from govsec.findings.judgement import LISTED_MAX, Measure
from govsec.net.columns import FlowState, Opening, Protocol
from govsec.net.community import community_ids
from govsec.records import Finding, Severity

KIND = "net.guessing.flows"
#: FTP, SSH, Telnet, mail, LDAP, SMB, SQL servers, RDP, VNC, WinRM, Redis, MongoDB and the like (IANA).
_LOGIN_PORTS = (
    *(21, 22, 23, 25, 110, 143, 389, 445, 465, 512, 513, 514, 587, 636, 873, 993, 995, 1080, 1433, 1521, 1723, 2222),
    *(3306, 3389, 5432, 5900, 5901, 5985, 6379, 8291, 11211, 27017),
)
#: Of these, where many strangers log in to one host only when they guess together; mail has many clients by nature.
_REMOTE_PORTS = (21, 22, 23, 2222, 3389, 5900, 5901)
_WEB_PORTS = (80, 443)
_SERVICES_MAX = 16_384


class GuessingFlowsSettings(Settings):
    """Many short connections of one shape to one service."""

    flows_min: int = Field(default=8, ge=3, description="connections on a port for log-ins; a person errs three times")
    flows_other_min: int = Field(default=25, ge=3, description="connections on any other port, within the window")
    window_s: int = Field(
        default=60, ge=10, le=3600, description="guessers hurry: locks and bans are by the minute too"
    )
    duration_max_s: float = Field(default=30, gt=0, description="of one connection; who is in stays or is done faster")
    sent_max_bytes: int = Field(default=8192, ge=64, description="data of the originator in one connection")
    received_max_bytes: int = Field(default=6144, ge=64, description="data of the responder: a refusal is short")
    deviation_max: float = Field(
        default=0.15,
        gt=0,
        lt=1,
        description=(
            "median absolute deviation of both sizes, as part of their medians: passwords differ in "
            "length, work in more"
        ),
    )
    strangers_min: int = Field(default=8, ge=2, description="originators that guess at one host together")
    flows_max: int = Field(default=65_536, ge=1024, description="short connections kept in the window")


class GuessingFlows:
    """Guessing that shows in the shape of flows."""

    name = "guessing_flows"

    def __init__(self, settings: GuessingFlowsSettings) -> None:
        self._settings = settings
        self._window = EventWindow(
            span_ns=settings.window_s * SECOND_NS, step_ns=10 * SECOND_NS, rows_max=settings.flows_max
        )
        self._read: OrderedDict[tuple[str, int], None] = OrderedDict()
        self.cooldown_s = settings.cooldown_s

    def observe(self, observation: Observation) -> Iterator[Finding]:
        self._learn(observation.messages)
        closed, settings = observation.flows.closed, self._settings
        chosen = (
            (closed["protocol"] == Protocol.TCP)
            & (closed["opening"] == Opening.SYN)
            & ~np.isin(closed["responder_port"], _WEB_PORTS)
            & (closed["part"] == 0)
            & ((closed["state"] == FlowState.CLOSED) | (closed["state"] == FlowState.RESET))
            & (closed["payload_originator"] > 0)
            & (closed["payload_responder"] > 0)
            & (closed["payload_originator"] <= settings.sent_max_bytes)
            & (closed["payload_responder"] <= settings.received_max_bytes)
            & (closed["last_ns"] - closed["first_ns"] <= settings.duration_max_s * SECOND_NS)
        )
        rows = closed[chosen]
        for moment, window in self._window.add(rows["end_ns"], rows):
            yield from self._judge(moment, window)
        for moment, window in self._window.advance(observation.time_ns):
            yield from self._judge(moment, window)

    def finish(self, time_ns: int) -> Iterator[Finding]:
        for moment, window in self._window.finish():
            yield from self._judge(min(moment, time_ns), window)

    def state(self) -> Mapping[str, int]:
        return {"flows_dropped": self._window.dropped_count, "services_read": len(self._read)}

    def _learn(self, messages: tuple[Message, ...]) -> None:
        """Services that speak HTTP or TLS (ports for log-ins stay what they are, also over TLS), and such whose log-ins
        are read: other detectors tell of these, with more in hand."""
        for message in messages:
            if not isinstance(message, (HttpRequest, TlsClientHello, SshBanner, RdpRequest, LoginOutcome)):
                continue
            is_web = isinstance(message, (HttpRequest, TlsClientHello))
            if is_web and message.flow.responder_port in _LOGIN_PORTS:
                continue
            key = (message.flow.responder, message.flow.responder_port)
            self._read[key] = None
            self._read.move_to_end(key)
            if len(self._read) > _SERVICES_MAX:
                self._read.popitem(last=False)

    def _judge(self, time_ns: int, rows: Rows) -> Iterator[Finding]:
        settings = self._settings
        service = mix(rows["responder_hi"], rows["responder_lo"], rows["responder_port"])
        services = Groups(service)
        is_busy = services.sizes()[services.labels] >= settings.flows_min
        if not is_busy.any():
            return
        rows, service = rows[is_busy], service[is_busy]
        pairs = Groups(mix(service, rows["originator_hi"], rows["originator_lo"]))
        is_login = np.isin(rows["responder_port"][pairs.first], _LOGIN_PORTS)
        least = np.where(is_login, settings.flows_min, settings.flows_other_min)
        told = set()
        for pair in np.flatnonzero(pairs.sizes() >= least).tolist():
            members = rows[pairs.rows(pair)]
            if self._is_alike(members):
                told.add(int(service[pairs.first[pair]]))
                yield self._finding(time_ns, members, int(least[pair]))
        yield from self._judge_together(time_ns, rows, Groups(service), told, service)

    def _judge_together(
        self, time_ns: int, rows: Rows, services: Groups, told: set[int], service: np.ndarray
    ) -> Iterator[Finding]:
        """Many originators, each with a few connections to one host."""
        strangers = services.distinct(mix(rows["originator_hi"], rows["originator_lo"]))
        is_remote = np.isin(rows["responder_port"][services.first], _REMOTE_PORTS)
        for group in np.flatnonzero((strangers >= self._settings.strangers_min) & is_remote).tolist():
            members = rows[services.rows(group)]
            is_enough = len(members) >= 2 * self._settings.strangers_min
            if is_enough and int(service[services.first[group]]) not in told and self._is_alike(members):
                yield self._finding(time_ns, members, 2 * self._settings.strangers_min)

    def _is_alike(self, rows: Rows) -> bool:
        where = (host(rows["responder_hi"][0], rows["responder_lo"][0]), int(rows["responder_port"][0]))
        return where not in self._read and _deviation(rows) <= self._settings.deviation_max

    def _finding(self, time_ns: int, rows: Rows, threshold: int) -> Finding:
        server, port = host(rows["responder_hi"][0], rows["responder_lo"][0]), int(rows["responder_port"][0])
        pairs = zip(rows["originator_hi"].tolist(), rows["originator_lo"].tolist(), strict=True)
        originators = [host(hi, lo) for hi, lo in dict.fromkeys(pairs)]
        who = originators[0] if len(originators) == 1 else f"{len(originators)} hosts"
        sent, received = (int(np.median(rows[f"payload_{side}"])) for side in ("originator", "responder"))
        deviation, settings = _deviation(rows), self._settings
        return judge(
            kind=KIND,
            detector=self.name,
            severity=Severity.MEDIUM,
            time_ns=time_ns,
            subject=originators[0] if len(originators) == 1 else server,
            summary=f"{who} opened {len(rows)} short connections to {server} port {port} within {settings.window_s} s "
            f"(threshold {threshold}), all of one shape: {sent} bytes sent, {received} received, deviation "
            f"{deviation:.0%}.",
            pattern=(originators[0] if len(originators) == 1 else "many", server, port),
            attack=("T1110",),
            originators=originators,
            responders=(server,),
            ports=(port,),
            measured={
                "flows": Measure(len(rows), threshold, "flows"),
                "deviation": Measure(deviation, settings.deviation_max),
                "sent": Measure(sent, settings.sent_max_bytes, "bytes"),
                "received": Measure(received, settings.received_max_bytes, "bytes"),
            },
            evidence=Evidence(
                int(rows["first_ns"].min()), int(rows["last_ns"].max()), community_ids(rows[:LISTED_MAX]), len(rows)
            ),
        )


def _deviation(rows: Rows) -> float:
    """The larger of both sides' relative deviations of size."""
    sides = (median_mad(rows[f"payload_{side}"].astype(np.float64)) for side in ("originator", "responder"))
    return max(deviation / middle for middle, deviation in sides)
