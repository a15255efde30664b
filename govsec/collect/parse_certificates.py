"""Certificates in files, and TLS of services as the host itself meets it."""

from __future__ import annotations

import re
from datetime import datetime

from pydantic import JsonValue

from govsec.clock import format_time
from govsec.collect.probes_services import CertificatesProbe, TlsEndpoint, TlsProbe
from govsec.collect.quote import quote, quote_glob
from govsec.collect.readers import texts
from govsec.collect.sources import NoFactError, Reading, Source
from govsec.crypto.certificates import pem_blocks, read_certificate
from govsec.errors import FormatError

CERTIFICATES_MAX = 500


def certificates_sources(probe: CertificatesProbe) -> tuple[Source, ...]:
    """CERTIFICATE blocks of the files, and nothing else of them; binary certificates through openssl."""
    shell = f"""need awk; n=0
set -- {" ".join(map(quote_glob, probe.patterns))}
for f do
  [ -f "$f" ] || continue
  n=$((n + 1)); [ $n -gt 500 ] && break
  [ -r "$f" ] || {{ mark "unreadable $f"; continue; }}
  mark "file $f"
  if grep -q -e '-BEGIN CERTIFICATE-' "$f"; then
    awk '/-----BEGIN CERTIFICATE-----/ {{ k = 1 }} k && length($0) < 100 {{ print }}
      /-----END CERTIFICATE-----/ {{ k = 0 }}' "$f"
  else case $f in
    *.der|*.crt|*.cer) have openssl && lim openssl x509 -inform DER -in "$f" -outform PEM;;
  esac; fi
done
:"""
    return (Source("certificates", shell, sudo=probe.privilege == "sudo", timeout_s=probe.timeout_s, size_max=4 << 20),)


def parse_certificates(probe: CertificatesProbe, reading: Reading) -> JsonValue:
    """See :class:`CertificatesProbe`."""
    certificates: list[JsonValue] = []
    unreadable: list[JsonValue] = []
    for record in reading.records("certificates"):
        head, _, body = record.partition("\n")
        word, _, path = head.partition(" ")
        if word == "unreadable":
            unreadable.append({"path": path, "reason": "may not be read"})
            continue
        blocks = pem_blocks(body)
        if not blocks:
            unreadable.append({"path": path, "reason": "no certificate"})
        for position, block in enumerate(blocks):
            try:
                certificates.append({"path": path, "position": position, **certificate_fact(block, reading.collected)})
            except FormatError as error:
                unreadable.append({"path": path, "reason": str(error)})
    return {
        "certificates": certificates[:CERTIFICATES_MAX],
        "unreadable": unreadable[:CERTIFICATES_MAX],
        "truncated": len(certificates) > CERTIFICATES_MAX,
    }


def certificate_fact(pem: str, now: datetime) -> dict[str, JsonValue]:
    """One certificate as plain values.

    Raises:
        FormatError: it cannot be read.
    """
    facts = read_certificate(pem)
    return {
        "subject": facts.subject,
        "issuer": facts.issuer,
        "serial": facts.serial,
        "not_before": format_time(facts.not_before),
        "not_after": format_time(facts.not_after),
        "days_left": (facts.not_after - now).days,
        "signature": facts.signature,
        "key": facts.key,
        "key_bits": facts.key_bits,
        "curve": facts.curve,
        "ca": facts.is_authority,
        "self_signed": facts.is_self_signed,
        "names": texts(facts.names),
    }


_VERSIONS = {"tls1_3": "TLSv1.3", "tls1_2": "TLSv1.2", "tls1_1": "TLSv1.1", "tls1": "TLSv1"}
_SM_SUITES = ("TLS_SM4_GCM_SM3", "TLS_SM4_CCM_SM3")  # RFC 8998
_NTLS_SUITES = (
    "ECC-SM2-SM4-GCM-SM3",
    "ECC-SM2-SM4-CBC-SM3",
    "ECDHE-SM2-SM4-GCM-SM3",
    "ECDHE-SM2-SM4-CBC-SM3",
)  # GB/T 38636
_WEAK = "RC4:3DES:DES:NULL:EXPORT:aNULL:@SECLEVEL=0"


def tls_sources(probe: TlsProbe) -> tuple[Source, ...]:
    """One connection for each protocol version, one for weak suites, one for each SM suite that openssl has."""
    return tuple(
        Source(
            f"tls {position}", _tls_shell(endpoint), sudo=probe.privilege == "sudo", timeout_s=probe.timeout_s,
            size_max=256 << 10,
        )
        for position, endpoint in enumerate(probe.endpoints)
    )  # fmt: skip


def _tls_shell(endpoint: TlsEndpoint) -> str:
    address = f"[{endpoint.address}]" if ":" in endpoint.address else endpoint.address
    options = ["-connect", f"{address}:{endpoint.port}"]
    if endpoint.server_name:
        options += ["-servername", endpoint.server_name]
    if endpoint.starttls:
        options += ["-starttls", endpoint.starttls]
    words = " ".join(map(quote, options))
    return f"""have openssl || exit 90
mark "client $(lim openssl version)"
h=$(lim openssl s_client -help 2>&1)
n=0
one() {{ m=$1; shift; x=$(lim openssl s_client {words} "$@" </dev/null 2>&1); r=$?; mark "$m $r"
  case $x in *CONNECTED*) n=-9;; *"no protocols"*|*"nknown option"*) ;; *) n=$((n + 1));; esac
  printf '%s\\n' "$x" | awk '/-----BEGIN CERTIFICATE-----/ && !d {{ k = 1 }} k {{ print }}
    /-----END CERTIFICATE-----/ {{ k = 0; d = 1 }}
    /^ *(Protocol|Cipher) *:|^New, |CONNECTED|no protocols available/ {{ print "say " $0 }}
    /unknown option|no cipher match|Error with command/ {{ print "say " $0 }}'; }}
for v in tls1_3 tls1_2 tls1_1 tls1; do
  case $h in *"-$v"[!_]*) ;; *) continue;; esac
  case $v in tls1_[01]|tls1) one $v -$v -cipher ALL:@SECLEVEL=0;; *) one $v -$v;; esac
  [ $n -gt 1 ] && exit 0 # twice nobody answered, so nobody is asked for versions and suites
done
[ -n "$(lim openssl ciphers {_WEAK})" ] && one weak -tls1_2 -cipher {_WEAK}
for c in {" ".join(_SM_SUITES)}; do
  case $(lim openssl ciphers -s -tls1_3 -ciphersuites $c) in *$c*) one sm:$c -tls1_3 -ciphersuites $c;; esac
done
case $h in *-enable_ntls*) for c in {" ".join(_NTLS_SUITES)}; do one sm:$c -enable_ntls -ntls -cipher $c; done;; esac
:"""


def parse_tls(probe: TlsProbe, reading: Reading) -> JsonValue:
    """See :class:`TlsProbe`."""
    endpoints: list[JsonValue] = []
    client = ""
    for position, endpoint in enumerate(probe.endpoints):
        records = [record.partition("\n")[::2] for record in reading.records(f"tls {position}")]
        tries = {head.partition(" ")[0]: body for head, body in records}
        client = next((head[7:] for head, _ in records if head.startswith("client ")), client)
        endpoints.append(_endpoint(endpoint, tries, reading.collected))
    if not client:
        raise NoFactError("error", "openssl of the host did not answer")
    return {"client": client[:200], "endpoints": endpoints}


def _endpoint(endpoint: TlsEndpoint, tries: dict[str, str], now: datetime) -> JsonValue:
    reachable = any("CONNECTED" in body for body in tries.values())
    protocols: dict[str, JsonValue] = {}
    ciphers: dict[str, JsonValue] = {}
    certificate: JsonValue = None
    for option, name in _VERSIONS.items():
        body = tries.get(option)
        cipher = _agreed(body)
        can_try = (
            body is not None
            and reachable
            and not re.search(r"no protocols available|unknown option|Error with command", body)
        )
        protocols[name] = cipher is not None if can_try else None
        if cipher is not None:
            ciphers[name] = cipher
        blocks = pem_blocks(body or "")
        if certificate is None and blocks:
            try:
                certificate = certificate_fact(blocks[0], now)
            except FormatError:
                certificate = None
    tried = [name[3:] for name in tries if name.startswith("sm:")] if reachable else []
    weak = tries.get("weak")
    return {
        "address": endpoint.address,
        "port": endpoint.port,
        "reachable": reachable,
        "protocols": protocols,
        "ciphers": ciphers,
        "weak_accepted": _agreed(weak) is not None
        if weak is not None and reachable and "no cipher match" not in weak
        else None,
        "sm": {"tried": texts(tried), "accepted": texts(name for name in tried if _agreed(tries[f"sm:{name}"]))},
        "certificate": certificate,
    }


def _agreed(body: str | None) -> str | None:
    """The suite that was agreed; None where no session came about."""
    for match in re.finditer(r"(?m)^say (?:New, .*Cipher is|\s*Cipher\s*:)\s*(\S+)", body or ""):
        if match.group(1) not in ("(NONE)", "0000"):
            return match.group(1)
    return None
