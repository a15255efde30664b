"""Lateral movement over Windows protocols: administrative shares, services made from afar, Netlogon's broken handshake.

Idea: an administrator opens one server's disk now and then. A program that spreads opens one host's after the other,
and leaves something to run; that, a service or task made from afar, and a Netlogon challenge of eight null bytes
(CVE-2020-1472) are what honest desktops do not do (ATT&CK T1021.002, T1543.003, T1210).
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator, Mapping

from pydantic import Field

from govsec.detect.api import Observation
from govsec.detect.judgement import Evidence, flow_name, judge
from govsec.dissect.messages import DceRpcCall, SmbCommand
from govsec.findings.api import SECOND_NS, Settings
from govsec.findings.judgement import Measure
from govsec.findings.tables import Recent
from govsec.records import Finding, Severity

SHARES, SERVICE, NETLOGON = "net.lateral.shares", "net.lateral.service", "net.lateral.netlogon"
_PROGRAMS = (".exe", ".dll", ".sys", ".bat", ".cmd", ".ps1", ".vbs", ".js", ".scr", ".msi")
#: Interfaces and operations that make something run on another host: MS-SCMR CreateServiceW, A, WOW64W (12, 24, 60);
#: MS-TSCH SchRpcRegisterTask (1) and NetrJobAdd (0).
_MAKERS = {
    "367abb81-9844-35f1-ad32-98f038001003": (frozenset({12, 24, 60}), "service"),
    "86d35949-83c9-4044-b424-db363231fd0c": (frozenset({1}), "task"),
    "1ff70682-0a51-30e8-076d-740be8cee98b": (frozenset({0}), "task"),
}
_KEPT = 256


class LateralSettings(Settings):
    """From one Windows host to the next."""

    servers_min: int = Field(
        default=3, ge=2, description="hosts whose administrative shares one host opens; administrators open one or two"
    )
    window_s: int = Field(default=600, ge=10, le=86_400, description="programs that spread do not wait")
    null_credentials_min: int = Field(
        default=3, ge=1, description="Netlogon calls with eight null bytes; one in 2**64 is by chance"
    )
    hosts_max: int = Field(default=8192, ge=64, description="hosts that are watched")


class Lateral:
    """Spreading inside the network."""

    name = "lateral"

    def __init__(self, settings: LateralSettings) -> None:
        self._settings = settings
        self._shares: Recent[str, OrderedDict[str, int]] = Recent(settings.hosts_max, OrderedDict)
        self._nulls: Recent[tuple[str, str], deque[int]] = Recent(settings.hosts_max, lambda: deque(maxlen=_KEPT))
        self.cooldown_s = settings.cooldown_s

    def observe(self, observation: Observation) -> Iterator[Finding]:
        for message in observation.messages:
            if isinstance(message, SmbCommand) and not message.is_response:
                yield from self._share(message)
            elif isinstance(message, DceRpcCall):
                yield from self._call(message)

    def finish(self, time_ns: int) -> Iterator[Finding]:
        yield from ()

    def state(self) -> Mapping[str, int]:
        return {
            "hosts": len(self._shares),
            "hosts_forgotten": self._shares.forgotten_count + self._nulls.forgotten_count,
        }

    def _share(self, message: SmbCommand) -> Iterator[Finding]:
        if message.tree is None or not _is_administrative(message.tree):
            return
        originator, responder = message.flow.originator, message.flow.responder
        program = message.file_name if message.command == "create" and _is_program(message.file_name) else None
        servers = self._shares.at(originator)
        is_new = responder not in servers
        servers[responder] = message.time_ns
        servers.move_to_end(responder)
        since = message.time_ns - self._settings.window_s * SECOND_NS
        while (oldest := next(iter(servers.items())))[1] < since or len(servers) > _KEPT:
            del servers[oldest[0]]
        if program is None and not (is_new and len(servers) >= self._settings.servers_min):
            return
        left = f", and touched the program {program[:80]}" if program else ""
        yield judge(
            kind=SHARES,
            detector=self.name,
            severity=Severity.HIGH if program else Severity.MEDIUM,
            time_ns=message.time_ns,
            subject=originator,
            summary=f"{originator} opened administrative shares of {len(servers)} hosts within "
            f"{self._settings.window_s} s (threshold {self._settings.servers_min}), {message.tree[:80]} last{left}.",
            pattern=(originator, "program") if program else (originator,),
            attack=("T1021.002", "T1570") if program else ("T1021.002",),
            originators=(originator,),
            responders=servers,
            ports=(message.flow.responder_port,),
            measured={"servers": Measure(len(servers), self._settings.servers_min, "hosts")},
            evidence=Evidence(next(iter(servers.values())), message.time_ns),
            facts={"share": message.tree[:200], "program": program[:200] if program else None},
        )

    def _call(self, message: DceRpcCall) -> Iterator[Finding]:
        if message.has_null_credential and not message.is_response:
            yield from self._null(message)
        if message.is_response or message.interface not in _MAKERS:
            return
        operations, what = _MAKERS[message.interface]
        if message.operation not in operations:
            return
        originator, responder = message.flow.originator, message.flow.responder
        named = f" {message.name[:80]}" if message.name else ""
        yield judge(
            kind=SERVICE,
            detector=self.name,
            severity=Severity.HIGH,
            time_ns=message.time_ns,
            subject=originator,
            summary=f"{originator} made the {what}{named} on {responder} over the network.",
            pattern=(originator, responder, what),
            attack=("T1543.003", "T1569.002"),
            originators=(originator,),
            responders=(responder,),
            ports=(message.flow.responder_port,),
            measured={"made": Measure(1, 1, what)},
            evidence=Evidence(message.time_ns, message.time_ns, (flow_name(message.flow),)),
            facts={"how": what, "name": message.name, "interface": message.interface, "operation": message.operation},
        )

    def _null(self, message: DceRpcCall) -> Iterator[Finding]:
        originator, responder = message.flow.originator, message.flow.responder
        times = self._nulls.at((originator, responder))
        times.append(message.time_ns)
        while times[0] < message.time_ns - self._settings.window_s * SECOND_NS:
            times.popleft()
        if len(times) < self._settings.null_credentials_min:
            return
        yield judge(
            kind=NETLOGON,
            detector=self.name,
            severity=Severity.CRITICAL,
            time_ns=message.time_ns,
            subject=originator,
            summary=f"{originator} sent {responder} {len(times)} Netlogon calls whose challenge or credential is eight "
            f"null bytes (threshold {self._settings.null_credentials_min}): CVE-2020-1472.",
            pattern=(originator, responder),
            attack=("T1210",),
            originators=(originator,),
            responders=(responder,),
            ports=(message.flow.responder_port,),
            measured={"null_credentials": Measure(len(times), self._settings.null_credentials_min, "calls")},
            evidence=Evidence(times[0], message.time_ns),
        )


def _is_administrative(tree: str) -> bool:
    share = tree.replace("/", "\\").rstrip("\\").rpartition("\\")[2].upper()
    return share == "ADMIN$" or (len(share) == 2 and share[0].isalpha() and share[1] == "$")


def _is_program(name: str | None) -> bool:
    return name is not None and name.lower().endswith(_PROGRAMS)
