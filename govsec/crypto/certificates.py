"""What an X.509 certificate says of itself: names, validity, key, signature. It verifies nothing.

Certificates with SM2 keys (GB/T 38636) are read too: the library does not know their curve, their object identifiers
are enough to name them.
"""

from __future__ import annotations

import base64
import hashlib
import re
import warnings
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.utils import CryptographyDeprecationWarning

from govsec.errors import FormatError

CERTIFICATE_SIZE_MAX = 64 << 10
_NAMES_MAX = 100
_SIGNATURES = {
    "1.2.840.113549.1.1.4": "md5WithRSAEncryption",
    "1.2.840.113549.1.1.5": "sha1WithRSAEncryption",
    "1.2.840.113549.1.1.10": "rsassaPss",
    "1.2.840.113549.1.1.11": "sha256WithRSAEncryption",
    "1.2.840.113549.1.1.12": "sha384WithRSAEncryption",
    "1.2.840.113549.1.1.13": "sha512WithRSAEncryption",
    "1.2.840.10045.4.1": "ecdsa-with-SHA1",
    "1.2.840.10045.4.3.2": "ecdsa-with-SHA256",
    "1.2.840.10045.4.3.3": "ecdsa-with-SHA384",
    "1.2.840.10045.4.3.4": "ecdsa-with-SHA512",
    "1.2.156.10197.1.501": "SM2-with-SM3",
    "1.3.101.112": "ed25519",
    "1.3.101.113": "ed448",
}
#: The curve of GB/T 32918 as an object identifier in DER.
_SM2_CURVE = bytes.fromhex("06082a811ccf5501822d")


@dataclass(frozen=True, slots=True)
class CertificateFacts:
    """One certificate. ``key`` is rsa, ec, sm2, dsa, ed25519, ed448 or other."""

    subject: str
    issuer: str
    serial: str
    not_before: datetime
    not_after: datetime
    signature: str
    key: str
    key_bits: int | None
    curve: str | None
    is_authority: bool
    is_self_signed: bool
    names: tuple[str, ...]
    sha256: str


def pem_blocks(text: str) -> list[str]:
    """The CERTIFICATE blocks in ``text``, each with its lines of begin and end."""
    return re.findall(r"-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]*-----END CERTIFICATE-----", text)


def read_certificate(pem: str) -> CertificateFacts:
    """The facts of one certificate in PEM.

    Raises:
        FormatError: it is none, or not one that can be read.
    """
    if len(pem) > CERTIFICATE_SIZE_MAX:
        raise FormatError(f"a certificate of {len(pem)} characters")
    with warnings.catch_warnings():
        # Old authorities that every distribution ships break small rules (a serial number of zero), and names from a
        # network break others (a country of eleven letters): neither is for the terminal.
        warnings.simplefilter("ignore", CryptographyDeprecationWarning)
        warnings.simplefilter("ignore", UserWarning)
        return _read(pem)


def read_der(der: bytes) -> CertificateFacts:
    """The facts of one certificate in DER.

    Raises:
        FormatError: it is none, or not one that can be read.
    """
    lines = base64.b64encode(der[:CERTIFICATE_SIZE_MAX]).decode("ascii")
    return read_certificate(f"-----BEGIN CERTIFICATE-----\n{lines}\n-----END CERTIFICATE-----\n")


def is_for(leaf: CertificateFacts, name: str) -> bool:
    """True when the certificate's names cover ``name``; a star stands for one whole label (RFC 9525, 6.3).

    Without subject alternative names the common name counts, as devices of many a vendor still have it.
    """
    wanted = name.lower().rstrip(".")
    names = leaf.names or tuple(
        part.strip()[3:] for part in leaf.subject.split(",") if part.strip().upper().startswith("CN=")
    )
    for each in names:
        known = each.lower().rstrip(".").removeprefix("dns:")
        if known == wanted or (known.startswith("*.") and wanted.partition(".")[2] == known[2:]):
            return True
    return False


def _read(pem: str) -> CertificateFacts:
    try:
        certificate = x509.load_pem_x509_certificate(pem.encode("ascii", "replace"))
        key, bits, curve = _key(certificate)
        oid = certificate.signature_algorithm_oid.dotted_string
        return CertificateFacts(
            subject=certificate.subject.rfc4514_string()[:1000],
            issuer=certificate.issuer.rfc4514_string()[:1000],
            serial=f"{certificate.serial_number:x}",
            not_before=certificate.not_valid_before_utc,
            not_after=certificate.not_valid_after_utc,
            signature=_SIGNATURES.get(oid, oid),
            key=key,
            key_bits=bits,
            curve=curve,
            is_authority=_is_authority(certificate),
            is_self_signed=certificate.subject == certificate.issuer,
            names=_names(certificate),
            sha256=hashlib.sha256(certificate.public_bytes(Encoding.DER)).hexdigest(),
        )
    except (
        ValueError,
        TypeError,
        x509.InvalidVersion,
        x509.DuplicateExtension,
        x509.UnsupportedGeneralNameType,
    ) as error:
        raise FormatError("not a certificate that can be read") from error


def _key(certificate: x509.Certificate) -> tuple[str, int | None, str | None]:
    try:
        key = certificate.public_key()
    except (UnsupportedAlgorithm, ValueError):
        if _SM2_CURVE in certificate.public_bytes(Encoding.DER):
            return "sm2", 256, "sm2p256v1"
        return "other", None, None
    if isinstance(key, rsa.RSAPublicKey):
        return "rsa", key.key_size, None
    if isinstance(key, ec.EllipticCurvePublicKey):
        return "ec", key.key_size, key.curve.name
    if isinstance(key, dsa.DSAPublicKey):
        return "dsa", key.key_size, None
    if isinstance(key, ed25519.Ed25519PublicKey):
        return "ed25519", 256, None
    return ("ed448", 456, None) if isinstance(key, ed448.Ed448PublicKey) else ("other", None, None)


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def _names(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    return tuple(str(name.value)[:300] for name in list(names)[:_NAMES_MAX])
