"""X.509 certificates for test traffic, encoded by hand: any dates, names and key kind, also SM2, which the usual
libraries cannot make.

They are well-formed and their signatures are made up: a passive sensor reads certificates and verifies none.
Source: RFC 5280 section 4.1; for SM2 GB/T 38636 and the identifiers of GB/T 33560.
"""

from __future__ import annotations

from datetime import datetime
from random import Random

_COMMON_NAME, _ORGANIZATION = "2.5.4.3", "2.5.4.10"
_SUBJECT_NAMES, _CONSTRAINTS = "2.5.29.17", "2.5.29.19"
_EC_KEY, _P256, _SM2 = "1.2.840.10045.2.1", "1.2.840.10045.3.1.7", "1.2.156.10197.1.301"
_ECDSA_SHA256, _SM2_SM3 = "1.2.840.10045.4.3.2", "1.2.156.10197.1.501"
#: The base point of each curve is a point on it, so it is a public key (its private key is one).
_BASE_POINTS = {
    _P256: "6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296"
    "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5",
    _SM2: "32c4ae2c1f1981195f9904466a39c9948fe30bbff2660be1715a4589334c74c7"
    "bc3736a2f4f6779c59bdcee36b692153d0a9877cc62a474002df32e52139f0a0",
}


def make_certificate(
    rng: Random,
    *,
    subject: str,
    issuer: str,
    not_before: datetime,
    not_after: datetime,
    names: tuple[str, ...] = (),
    is_sm2: bool = False,
    is_authority: bool = False,
) -> bytes:
    """A certificate in DER; ``subject`` and ``issuer`` are common names, ``names`` the DNS names it is for."""
    curve, algorithm = (_SM2, _SM2_SM3) if is_sm2 else (_P256, _ECDSA_SHA256)
    signature_algorithm = sequence(identifier(algorithm))
    extensions = []
    if names:
        general_names = sequence(*(tlv(0x82, name.encode()) for name in names))
        extensions.append(sequence(identifier(_SUBJECT_NAMES), tlv(0x04, general_names)))
    constraints = sequence(tlv(0x01, b"\xff")) if is_authority else sequence()
    extensions.append(sequence(identifier(_CONSTRAINTS), tlv(0x01, b"\xff"), tlv(0x04, constraints)))
    key = sequence(
        sequence(identifier(_EC_KEY), identifier(curve)), tlv(0x03, b"\0\x04" + bytes.fromhex(_BASE_POINTS[curve]))
    )
    body = sequence(
        tlv(0xA0, tlv(0x02, b"\x02")),
        integer(rng.getrandbits(120)),
        signature_algorithm,
        _name(issuer),
        sequence(_moment(not_before), _moment(not_after)),
        _name(subject),
        key,
        tlv(0xA3, sequence(*extensions)),
    )
    signature = sequence(integer(rng.getrandbits(255)), integer(rng.getrandbits(255)))
    return sequence(body, signature_algorithm, tlv(0x03, b"\0" + signature))


def tlv(tag: int, content: bytes) -> bytes:
    """Tag, length, content."""
    size = len(content)
    if size < 0x80:
        return bytes([tag, size]) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + content


def sequence(*parts: bytes) -> bytes:
    """SEQUENCE of what is encoded already."""
    return tlv(0x30, b"".join(parts))


def integer(value: int) -> bytes:
    """A number that is not negative."""
    return tlv(0x02, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def identifier(dotted: str) -> bytes:
    """An object identifier."""
    first, second, *rest = map(int, dotted.split("."))
    content = bytes([40 * first + second])
    for number in rest:
        digits = [number & 0x7F]
        while number := number >> 7:
            digits.append(number & 0x7F | 0x80)
        content += bytes(reversed(digits))
    return tlv(0x06, content)


def _name(common_name: str) -> bytes:
    parts = ((_ORGANIZATION, "govsec test"), (_COMMON_NAME, common_name))
    return sequence(*(tlv(0x31, sequence(identifier(kind), tlv(0x0C, text.encode()))) for kind, text in parts))


def _moment(moment: datetime) -> bytes:
    return tlv(0x18, moment.strftime("%Y%m%d%H%M%SZ").encode())
