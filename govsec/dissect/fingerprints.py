"""Fingerprints of clients and servers from what they offer: JA3, JA4 of TLS clients, HASSH of SSH.

Each is a digest over lists that a library sends in an order of its own. They recognise software and prove nothing:
whoever copies the lists gets the same digest.

Source: JA3, Salesforce (2017), BSD-3; JA4 (TLS client), FoxIO, "JA4 Technical Details", BSD-3 (the other members of
that family have a licence for non-commercial use only and are not here); HASSH, Salesforce (2018), BSD-3. MD5 is what
JA3 and HASSH are defined with; nothing relies on it. GREASE: RFC 8701.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_SERVER_NAME, _ALPN = 0x0000, 0x0010
_JA4_VERSIONS = {
    0x0304: "13", 0x0303: "12", 0x0302: "11", 0x0301: "10", 0x0300: "s3", 0x0002: "s2",
    0xFEFF: "d1", 0xFEFD: "d2", 0xFEFC: "d3",
}  # fmt: skip
_JA4_EMPTY = "0" * 12


@dataclass(frozen=True, slots=True)
class ClientOffer:
    """The lists of one TLS ClientHello, as sent. ``alpn`` is None when there was no such extension."""

    legacy_version: int
    ciphers: tuple[int, ...]
    extensions: tuple[int, ...]
    groups: tuple[int, ...]
    point_formats: tuple[int, ...]
    versions: tuple[int, ...]
    signatures: tuple[int, ...]
    alpn: tuple[bytes, ...]
    has_server_name: bool


def is_grease(value: int) -> bool:
    """Whether a value is one of those that RFC 8701 sets aside to be ignored."""
    return value & 0x0F0F == 0x0A0A and value >> 8 == value & 0xFF


def highest_version(offer: ClientOffer) -> int:
    """The highest version of TLS that is offered."""
    return max((version for version in offer.versions if not is_grease(version)), default=offer.legacy_version)


def ja3_text(offer: ClientOffer) -> str:
    """What JA3 digests: version, ciphers, extensions, groups and point formats in decimal, without GREASE."""
    lists = (offer.ciphers, offer.extensions, offer.groups)
    formats = "-".join(map(str, offer.point_formats))
    return ",".join((str(offer.legacy_version), *("-".join(map(str, _without(values))) for values in lists), formats))


def ja3(offer: ClientOffer) -> str:
    """JA3 in hex."""
    return _md5(ja3_text(offer))


def ja4(offer: ClientOffer, *, is_quic: bool = False) -> str:
    """JA4 of a TLS client, over TCP or QUIC: ``t13d1516h2_8daaf6152771_e5627efa2ab1``."""
    ciphers, extensions = _without(offer.ciphers), _without(offer.extensions)
    head = (
        f"{'q' if is_quic else 't'}{_JA4_VERSIONS.get(highest_version(offer), '00')}"
        f"{'d' if offer.has_server_name else 'i'}{min(len(ciphers), 99):02d}{min(len(extensions), 99):02d}"
        f"{_alpn_code(offer.alpn)}"
    )
    hashed = ",".join(_hex(sorted(value for value in extensions if value not in (_SERVER_NAME, _ALPN))))
    if signatures := _without(offer.signatures):
        hashed += "_" + ",".join(_hex(signatures))
    first = _sha256(",".join(_hex(sorted(ciphers)))) if ciphers else _JA4_EMPTY
    return f"{head}_{first}_{_sha256(hashed) if extensions else _JA4_EMPTY}"


def hassh(key_exchange: str, encryption: str, mac: str, compression: str) -> str:
    """HASSH in hex of the name lists that a side of SSH offers for what it sends (for a server: HASSHServer)."""
    return _md5(";".join((key_exchange, encryption, mac, compression)))


def _alpn_code(alpn: Sequence[bytes]) -> str:
    first = alpn[0] if alpn else b""
    if not first:
        return "00"
    ends = bytes((first[0], first[-1]))
    if ends.isalnum():  # of ASCII only, for bytes
        return ends.decode("ascii")
    return first.hex()[0] + first.hex()[-1]


def _without(values: Iterable[int]) -> list[int]:
    return [value for value in values if not is_grease(value)]


def _hex(values: Iterable[int]) -> Iterable[str]:
    return (f"{value:04x}" for value in values)


def _md5(text: str) -> str:
    return hashlib.md5(text.encode("utf-8", "surrogateescape"), usedforsecurity=False).hexdigest()


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("ascii")).hexdigest()[:12]
