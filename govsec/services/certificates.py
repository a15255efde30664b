"""The certificates of a service's servers: when they end, whom they are for, whether the chain fits, TLCP's two.

One idea: what is shown in clear is judged by what it says of itself; whether it is trusted is what a step's verified
connection says. A server that hides its certificates (TLS 1.3 alone) is judged by that connection only. Chains are not
verified here, and the signatures of SM2 certificates nowhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from urllib.parse import urlsplit

from govsec.clock import Clock
from govsec.crypto.certificates import CertificateFacts, is_for
from govsec.dissect.tls import TLCP
from govsec.errors import RefusedError
from govsec.serviceentry import CertificateConfig, Family, ServiceConfig
from govsec.services.handshake import TLS12, Shown, read_shown
from govsec.services.steps import Run
from govsec.web.addresses import Names
from govsec.web.connection import NO_WAY, Deadline, RequestError

#: An end this near is no more a matter of planning.
URGENT_DAYS = 7
#: GB/T 22239's baselines and browsers alike refuse less since 2014.
_RSA_BITS_MIN = 2048
_WEAK_SIGNATURES = frozenset({"md5WithRSAEncryption", "sha1WithRSAEncryption", "ecdsa-with-SHA1"})
#: OpenSSL's numbers for what is wrong with a certificate (x509_vfy.h), as faults of ours.
_TLS_CODES = {9: "not_yet", 10: "expired", 62: "mismatch", 64: "mismatch", 18: "untrusted", 19: "untrusted"}
_UNTRUSTED = (2, 7, 20, 21, 24, 26, 27, 28)


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong. ``what``: expired, not_yet, mismatch, untrusted, tlcp, weak or expiring."""

    what: str
    said: str


@dataclass(frozen=True, slots=True)
class ServerCertificates:
    """What one server shows, over which families, and what is wrong; ``protocol`` is empty when it is hidden."""

    host: str
    port: int
    families: tuple[Family, ...]
    protocol: str
    certificates: tuple[CertificateFacts, ...]
    faults: tuple[Fault, ...]
    #: Why nothing could be read in clear.
    reason: str = ""

    @property
    def ends(self) -> datetime | None:
        """When the first of its certificates ends."""
        return min((one.not_after for one in self.certificates), default=None)


@dataclass(frozen=True, slots=True)
class _Server:
    host: str
    port: int
    name: str
    tlcp: bool


def look(config: ServiceConfig, names: Names, runs: Sequence[Run], clock: Clock) -> tuple[ServerCertificates, ...]:
    """What every TLS server of the service shows; equal over both families is told once."""
    found: list[ServerCertificates] = []
    for server in _servers(config):
        for family in config.families:
            if _is_down(server, family, runs):
                continue
            one = _look(server, family, config, names, clock)
            if one is None:
                continue
            one = _with_verdicts(one, server, family, runs, clock.now(), config.expiring_days)
            same = next((at for at, other in enumerate(found) if _is_same(one, other)), None)
            if same is None:
                found.append(one)
            else:
                found[same] = replace(found[same], families=(*found[same].families, family))
    return tuple(found)


def _is_down(server: _Server, family: Family, runs: Sequence[Run]) -> bool:
    """A step just found nobody there: that is told, and waiting for the same once more tells nothing."""
    for step in (run.failed for run in runs if run.family == family):
        if step is not None and step.failure is not None and step.failure.what in ("connect", "resolve"):
            parts = urlsplit(step.visited[-1]) if step.visited else None
            if parts and (parts.hostname, parts.port or 443) == (server.host, server.port):
                return True
    return False


def _servers(config: ServiceConfig) -> Iterator[_Server]:
    seen = set()
    named = list(config.certificates)
    for url in config.urls():
        parts = urlsplit(url)
        if parts.scheme == "https":
            named.append(CertificateConfig(host=parts.hostname or "", port=parts.port or 443))
    for entry in named:
        key = (entry.host.lower(), entry.port)
        if key not in seen:
            seen.add(key)
            yield _Server(*key, (entry.server_name or entry.host).lower(), entry.tlcp)


def _look(
    server: _Server, family: Family, config: ServiceConfig, names: Names, clock: Clock
) -> ServerCertificates | None:
    """None: the server has no address in this family, or there is no way to it from here."""
    try:
        addresses = names.addresses(server.host, family)
    except OSError as error:
        return _nothing(server, family, f"resolve: {error.strerror}")
    if not addresses:
        return None
    try:
        names.check(addresses[0])
    except RefusedError as error:
        return _nothing(server, family, f"refused: {error}")
    reason = ""
    # A server of TLCP may close at an international hello, and most others at a TLCP one: the likely one first.
    for version in (TLCP, TLS12) if server.tlcp else (TLS12, TLCP):
        try:
            shown = read_shown(
                addresses[0], server.port, server.name, version=version, deadline=Deadline(clock, config.timeout_s)
            )
        except RequestError as error:
            if error.errno in NO_WAY:
                return None
            reason = reason or str(error)
            if error.phase == "connect":
                break
            continue
        return _judged(server, family, shown, clock.now(), config.expiring_days)
    return _nothing(server, family, reason)


def _judged(server: _Server, family: Family, shown: Shown, now: datetime, days: int) -> ServerCertificates:
    faults = list(_faults(shown.certificates, server.name, now, days, leaves=2 if shown.is_tlcp else 1))
    if server.tlcp and not shown.is_tlcp:
        faults.append(Fault("tlcp", "speaks TLS, and not TLCP, which was expected"))
    elif shown.is_tlcp and len(shown.certificates) + shown.unreadable_count < 2:
        faults.append(Fault("tlcp", "speaks TLCP with one certificate; it needs one to sign and one to encrypt"))
    if shown.unreadable_count:
        faults.append(Fault("untrusted", f"shows {shown.unreadable_count} certificates that nobody can read"))
    protocol = "TLCP" if shown.is_tlcp else f"TLS {(shown.version >> 8) - 2}.{(shown.version & 255) - 1}"
    return ServerCertificates(server.host, server.port, (family,), protocol, shown.certificates, tuple(faults))


def _faults(
    certificates: Sequence[CertificateFacts], name: str, now: datetime, days: int, *, leaves: int
) -> Iterator[Fault]:
    own, chain = certificates[:leaves], certificates[leaves:]
    for at, one in enumerate(certificates):
        which = "the certificate" if at < leaves else f"{_short(one.subject)} in the chain"
        if now > one.not_after:
            yield Fault("expired", f"{which} ended on {one.not_after:%Y-%m-%d}")
        elif now < one.not_before:
            yield Fault("not_yet", f"{which} begins on {one.not_before:%Y-%m-%d}")
        elif one.not_after - now <= timedelta(days=days):
            yield Fault("expiring", f"{which} ends on {one.not_after:%Y-%m-%d}, in {(one.not_after - now).days} days")
        if at < leaves and ((one.key == "rsa" and (one.key_bits or 0) < _RSA_BITS_MIN) or _is_weak(one)):
            yield Fault("weak", f"{which} has a {one.key_bits}-bit {one.key} key and is signed with {one.signature}")
    for one in own:
        if not is_for(one, name):
            yield Fault("mismatch", f"is for {', '.join(one.names[:4]) or _short(one.subject)}, not for {name}")
            break
    if own and own[0].is_self_signed:
        yield Fault("untrusted", "is signed by nobody but itself")
    elif chain and own and own[0].issuer not in {one.subject for one in chain}:
        yield Fault("untrusted", f"comes without the certificate of its issuer ({_short(own[0].issuer)})")


def _with_verdicts(
    one: ServerCertificates, server: _Server, family: Family, runs: Iterable[Run], now: datetime, days: int
) -> ServerCertificates:
    """What the verified connections of the steps to this server said, added where it was not seen in clear."""
    faults, certificates = list(one.faults), one.certificates
    for step in (step for run in runs if run.family == family for step in run.steps):
        parts = urlsplit(step.visited[-1]) if step.visited else None
        if parts is None or (parts.hostname, parts.port or 443, parts.scheme) != (server.host, server.port, "https"):
            continue
        if not certificates and step.certificate is not None:
            certificates = (step.certificate,)
            faults += _faults(certificates, server.name, now, days, leaves=1)
        what = _fault_of(step.failure.tls_code if step.failure else 0)
        if what is not None and step.failure is not None and what not in {fault.what for fault in faults}:
            faults.append(Fault(what, step.failure.seen))
    return replace(one, certificates=certificates, faults=tuple(sorted(faults, key=_rank)))


def _fault_of(code: int) -> str | None:
    return "untrusted" if code in _UNTRUSTED else _TLS_CODES.get(code, "untrusted" if code else None)


_ORDER = ("expired", "not_yet", "mismatch", "untrusted", "tlcp", "weak", "expiring")


def _rank(fault: Fault) -> int:
    return _ORDER.index(fault.what)


def _nothing(server: _Server, family: Family, reason: str) -> ServerCertificates:
    return ServerCertificates(server.host, server.port, (family,), "", (), (), reason)


def _is_same(one: ServerCertificates, other: ServerCertificates) -> bool:
    return replace(one, families=()) == replace(other, families=())


def _is_weak(one: CertificateFacts) -> bool:
    return one.signature in _WEAK_SIGNATURES


def _short(name: str) -> str:
    return name if len(name) <= 80 else name[:79] + "…"
