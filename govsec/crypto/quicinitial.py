"""Opens the Initial packets of QUIC clients: keys that anyone on the path can derive, by design (RFC 9001, 5.2).

They keep out what is no QUIC, and nothing else. The secret comes from the connection id that the client chose for the
server; the header's first byte and the packet number are masked (5.4), the frames are sealed with AES-128-GCM (5.3).
"""

from __future__ import annotations

import hashlib
import hmac

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB

from govsec.errors import FormatError, IntegrityError

#: Salt and the prefix of labels by version. Source: RFC 9001, 5.2 and 5.1; RFC 9369, 3.3.1 and 3.3.2.
_VERSIONS = {
    0x00000001: (bytes.fromhex("38762cf7f55934b34d179ae6a4c80cadccbb7f0a"), b"quic "),
    0x6B3343CF: (bytes.fromhex("0dede3def700a6db819381be6e269dcbf9bd2ed9"), b"quicv2 "),
}
_SAMPLE_SIZE = 16
_TAG_SIZE = 16


def open_client_initial(packet: bytes, *, version: int, key_id: bytes, number_at: int) -> bytes:
    """The frames in one Initial packet of a client, whose packet number lies at ``number_at``.

    Raises:
        FormatError: the version is not known, or the packet is too short.
        IntegrityError: it does not open.
    """
    if version not in _VERSIONS:
        raise FormatError(f"QUIC of version {version:#x}")
    sample = packet[number_at + 4 : number_at + 4 + _SAMPLE_SIZE]
    if len(sample) < _SAMPLE_SIZE or len(packet) < number_at + 4 + _TAG_SIZE:
        raise FormatError(f"a QUIC packet of {len(packet)} bytes")
    salt, prefix = _VERSIONS[version]
    secret = _expand(hmac.digest(salt, key_id, "sha256"), b"client in", 32)
    encryptor = Cipher(AES(_expand(secret, prefix + b"hp", 16)), ECB()).encryptor()  # noqa: S305 - RFC 9001, 5.4.3
    mask = encryptor.update(sample)
    first = packet[0] ^ mask[0] & 0x0F
    size = (first & 0x03) + 1
    number = bytes(a ^ b for a, b in zip(packet[number_at : number_at + size], mask[1:], strict=False))
    nonce = int.from_bytes(_expand(secret, prefix + b"iv", 12), "big") ^ int.from_bytes(number, "big")
    header = bytes([first]) + packet[1:number_at] + number
    try:
        return AESGCM(_expand(secret, prefix + b"key", 16)).decrypt(
            nonce.to_bytes(12, "big"), packet[number_at + size :], header
        )
    except InvalidTag as error:
        raise IntegrityError("a QUIC Initial packet does not open") from error


def _expand(secret: bytes, label: bytes, size: int) -> bytes:
    """HKDF-Expand-Label with an empty context (RFC 8446, 7.1), as far as one block of SHA-256 goes."""
    full = b"tls13 " + label
    info = size.to_bytes(2, "big") + bytes([len(full)]) + full + b"\0"
    return hmac.digest(secret, info + b"\1", hashlib.sha256)[:size]
