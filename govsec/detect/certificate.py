"""Certificates that servers show: expired, about to expire, self-signed, or for another name.

They open the door to who stands between (ATT&CK T1557): users learn to click warnings away.

Idea: time is that of the packets, so an old capture is judged as of its day. One certificate at one server gives one
finding, of the worst fault that it has; the others stand in ``also``. TLS 1.3 hides certificates: what is not seen is
not judged. SM2 certificates (GB/T 38636) are read like others; their signatures are not verified here, nor any chain.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta

from pydantic import Field

from govsec.clock import from_ns
from govsec.crypto.certificates import CertificateFacts, is_for
from govsec.detect.api import Observation
from govsec.detect.judgement import Evidence, flow_name, judge
from govsec.dissect.messages import TlsCertificates
from govsec.findings.api import Settings
from govsec.findings.judgement import Measure
from govsec.findings.tables import Recent
from govsec.records import Finding, Severity

KINDS = (
    "net.certificate.expired",
    "net.certificate.self_signed",
    "net.certificate.mismatch",
    "net.certificate.expiring",
)
_SEVERITIES = dict(zip(KINDS, (Severity.MEDIUM, Severity.MEDIUM, Severity.MEDIUM, Severity.LOW), strict=True))
_DAY = timedelta(days=1)


class CertificateSettings(Settings):
    """Faults of certificates."""

    cooldown_s: int = Field(default=86_400, ge=0, description="a certificate has the same fault all day")
    expiring_days: int = Field(
        default=14,
        ge=0,
        le=365,
        description="days before the end; automatic renewal replaces a certificate 30 days before, half of it is late",
    )
    certificates_max: int = Field(default=16_384, ge=64, description="certificates at servers that are remembered")


class Certificate:
    """Certificates with a fault."""

    name = "certificate"

    def __init__(self, settings: CertificateSettings) -> None:
        self._settings = settings
        # Judged once a cool-down: a busy server shows the same certificate a thousand times a second.
        self._seen: Recent[tuple[str, int, str, str], list[int]] = Recent(settings.certificates_max, list)
        self.cooldown_s = settings.cooldown_s

    def observe(self, observation: Observation) -> Iterator[Finding]:
        for message in observation.messages:
            if not isinstance(message, TlsCertificates) or message.is_originator or not message.certificates:
                continue
            leaf = message.certificates[0]
            key = (message.flow.responder, message.flow.responder_port, leaf.sha256, message.server_name or "")
            last = self._seen.at(key)
            if last and message.time_ns < last[0] + self.cooldown_s * 1_000_000_000:
                continue
            last[:] = [message.time_ns]
            if faults := self._faults(message, leaf):
                yield self._finding(message, leaf, faults)

    def finish(self, time_ns: int) -> Iterator[Finding]:
        yield from ()

    def state(self) -> Mapping[str, int]:
        return {"certificates": len(self._seen), "certificates_forgotten": self._seen.forgotten_count}

    def _faults(self, message: TlsCertificates, leaf: CertificateFacts) -> list[str]:
        now = from_ns(message.time_ns)
        is_outside = not leaf.not_before <= now <= leaf.not_after
        is_ending = not is_outside and leaf.not_after - now <= self._settings.expiring_days * _DAY
        is_other = bool(message.server_name) and not is_for(leaf, str(message.server_name))
        found = (is_outside, leaf.is_self_signed, is_other, is_ending)
        return [kind for kind, holds in zip(KINDS, found, strict=True) if holds]

    def _finding(self, message: TlsCertificates, leaf: CertificateFacts, faults: list[str]) -> Finding:
        server, port = message.flow.responder, message.flow.responder_port
        days = (leaf.not_after - from_ns(message.time_ns)) / _DAY
        said = {
            KINDS[0]: f"is valid from {leaf.not_before:%Y-%m-%d} to {leaf.not_after:%Y-%m-%d} only",
            KINDS[1]: "is signed by nobody but itself",
            KINDS[2]: f"is not for {message.server_name}, which the client asked for",
            KINDS[3]: f"ends in {days:.0f} days (threshold {self._settings.expiring_days})",
        }
        kind = faults[0]
        return judge(
            kind=kind,
            detector=self.name,
            severity=_SEVERITIES[kind],
            time_ns=message.time_ns,
            subject=server,
            summary=f"The certificate of {server} port {port} ({leaf.subject[:120]}) {said[kind]}.",
            pattern=(server, port, leaf.sha256[:16]),
            attack=("T1557",),
            originators=(message.flow.originator,),
            responders=(server,),
            ports=(port,),
            measured={"days_left": Measure(days, self._settings.expiring_days, "days")},
            evidence=Evidence(message.time_ns, message.time_ns, (flow_name(message.flow),)),
            facts={
                "subject": leaf.subject[:200],
                "issuer": leaf.issuer[:200],
                "key": leaf.key,
                "server_name": message.server_name,
                "names": [*leaf.names[:8]],
                "not_before": f"{leaf.not_before:%Y-%m-%d}",
                "not_after": f"{leaf.not_after:%Y-%m-%d}",
                "sha256": leaf.sha256,
                "also": [*faults[1:]],
            },
        )
