"""TLS as a passive sensor sees it: hello messages, and certificates in the clear up to version 1.2 and in TLCP.

What follows the handshake's clear part is random bytes in application records. Source: RFC 5246, RFC 8446,
GB/T 38636 (TLCP: record version 0x0101, the signing and the encryption certificate in one message).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from random import Random

from govsec.testing.dercertificates import make_certificate
from govsec.testing.packets import MILLISECOND, SECOND, START_NS, Conversation, Frame, merge, outside, station

TLS12, TLCP = 0x0303, 0x0101
_CLIENT_HELLO, _SERVER_HELLO, _CERTIFICATE, _HELLO_DONE = 1, 2, 11, 14
_HANDSHAKE, _APPLICATION, _CHANGE = 22, 23, 20
_CIPHERS = (0x1301, 0x1302, 0x1303, 0xC02B, 0xC02F, 0xC02C, 0xC030, 0xCCA9, 0xCCA8, 0xC013, 0xC014, 0x009C, 0x002F)
_TLCP_CIPHERS = (0xE053, 0xE013)
_VALID_DAYS = 300


def record(kind: int, content: bytes, version: int = TLS12) -> bytes:
    """One record of at most 16 KiB."""
    return struct.pack("!BHH", kind, version, len(content)) + content


def handshake(kind: int, content: bytes) -> bytes:
    """One handshake message."""
    return struct.pack("!B", kind) + len(content).to_bytes(3, "big") + content


def _extension(kind: int, content: bytes) -> bytes:
    return struct.pack("!HH", kind, len(content)) + content


def _sized(content: bytes) -> bytes:
    return struct.pack("!H", len(content)) + content


def client_hello(
    rng: Random,
    server_name: str | None,
    *,
    alpn: Sequence[bytes] = (b"h2", b"http/1.1"),
    ciphers: Sequence[int] = _CIPHERS,
    is_13: bool = True,
    version: int = TLS12,
) -> bytes:
    """A ClientHello in its record, with extensions as a browser has them."""
    extensions = b""
    if server_name is not None:
        name = server_name.encode()
        extensions += _extension(0, _sized(b"\0" + _sized(name)))
    extensions += _extension(23, b"") + _extension(10, _sized(struct.pack("!4H", 0x1D, 0x17, 0x18, 0x19)))
    extensions += _extension(11, b"\x01\x00")
    if alpn:
        extensions += _extension(16, _sized(b"".join(bytes([len(name)]) + name for name in alpn)))
    extensions += _extension(13, _sized(struct.pack("!6H", 0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501)))
    if is_13:
        extensions += _extension(43, b"\x04" + struct.pack("!2H", 0x0304, 0x0303)) + _extension(45, b"\x01\x01")
        extensions += _extension(51, _sized(struct.pack("!H", 0x1D) + _sized(rng.randbytes(32))))
    body = struct.pack("!H", version) + rng.randbytes(32) + b"\x20" + rng.randbytes(32)
    body += _sized(struct.pack(f"!{len(ciphers)}H", *ciphers)) + b"\x01\x00" + _sized(extensions)
    return record(_HANDSHAKE, handshake(_CLIENT_HELLO, body), 0x0301 if version == TLS12 else version)


def sealed(rng: Random, size: int) -> bytes:
    """Application data that nobody can read, ``size`` bytes in records."""
    parts = [record(_APPLICATION, rng.randbytes(min(size - start, 16384))) for start in range(0, size, 16384)]
    return b"".join(parts)


def server_flight(rng: Random) -> bytes:
    """What a server of version 1.3 sends first: its hello; everything else is sealed already."""
    extensions = _extension(43, b"\x03\x04")
    extensions += _extension(51, struct.pack("!H", 0x1D) + _sized(rng.randbytes(32)))
    body = struct.pack("!H", TLS12) + rng.randbytes(32) + b"\x20" + rng.randbytes(32) + b"\x13\x01\x00"
    hello = record(_HANDSHAKE, handshake(_SERVER_HELLO, body + _sized(extensions)))
    return hello + record(_CHANGE, b"\x01") + record(_APPLICATION, rng.randbytes(2400))


def clear_flight(rng: Random, certificates: Sequence[bytes], *, version: int = TLS12, cipher: int = 0xC02F) -> bytes:
    """Hello, certificates (DER, the server's own first) and hello-done of version 1.2 or of TLCP."""
    body = struct.pack("!H", version) + rng.randbytes(32) + b"\x00" + struct.pack("!HB", cipher, 0)
    chain = b"".join(len(each).to_bytes(3, "big") + each for each in certificates)
    messages = handshake(_SERVER_HELLO, body)
    messages += handshake(_CERTIFICATE, len(chain).to_bytes(3, "big") + chain) + handshake(_HELLO_DONE, b"")
    return record(_HANDSHAKE, messages, version)


def tls_visits(
    rng: Random,
    certificates: Sequence[bytes],
    server_name: str,
    *,
    time_ns: int = START_NS,
    visits_count: int = 3,
    version: int = TLS12,
    address: str = "198.51.100.90",
) -> list[Frame]:
    """Clients visit one server of version 1.2 (or TLCP) that shows these certificates."""
    ciphers, cipher = (_TLCP_CIPHERS, 0xE013) if version == TLCP else (_CIPHERS[3:], 0xC02F)
    parts = []
    for number in range(visits_count):
        visit = Conversation(rng, time_ns + number * 5 * SECOND, station(37 + number), outside(address), 443).open()
        visit.ask(client_hello(rng, server_name, ciphers=ciphers, is_13=False, version=version))
        visit.answer(clear_flight(rng, certificates, version=version, cipher=cipher)).wait(3 * MILLISECOND)
        visit.ask(
            record(_HANDSHAKE, handshake(16, b"\x41\x04" + rng.randbytes(64)), version)
            + record(_CHANGE, b"\x01", version)
        )
        visit.answer(record(_CHANGE, b"\x01", version) + record(_HANDSHAKE, rng.randbytes(40), version))
        visit.ask(record(_APPLICATION, rng.randbytes(300), version))
        parts.append(visit.answer(record(_APPLICATION, rng.randbytes(900), version)).close().frames)
    return merge(*parts)


def _leaf(
    rng: Random,
    time_ns: int,
    *,
    name: str = "portal.example.gov.cn",
    days_left: int = _VALID_DAYS,
    sm2: bool = False,
) -> bytes:
    now = datetime.fromtimestamp(time_ns // SECOND, UTC)
    return make_certificate(
        rng,
        subject=name,
        issuer="govsec test authority",
        not_before=now - timedelta(days=400),
        not_after=now + timedelta(days=days_left),
        names=(name,),
        is_sm2=sm2,
    )


def expired_certificate(rng: Random, *, time_ns: int = START_NS) -> list[Frame]:
    """The server's certificate ended 20 days ago."""
    return tls_visits(rng, [_leaf(rng, time_ns, days_left=-20)], "portal.example.gov.cn", time_ns=time_ns)


def expiring_certificate(rng: Random, *, time_ns: int = START_NS) -> list[Frame]:
    """The server's certificate ends in four days."""
    return tls_visits(rng, [_leaf(rng, time_ns, days_left=4)], "portal.example.gov.cn", time_ns=time_ns)


def self_signed_certificate(rng: Random, *, time_ns: int = START_NS) -> list[Frame]:
    """The server's certificate names itself as issuer."""
    now = datetime.fromtimestamp(time_ns // SECOND, UTC)
    own = make_certificate(
        rng,
        subject="portal.example.gov.cn",
        issuer="portal.example.gov.cn",
        not_before=now - timedelta(days=10),
        not_after=now + timedelta(days=_VALID_DAYS),
        names=("portal.example.gov.cn",),
    )
    return tls_visits(rng, [own], "portal.example.gov.cn", time_ns=time_ns)


def mismatched_certificate(rng: Random, *, time_ns: int = START_NS) -> list[Frame]:
    """The client asks for one name, and the certificate is for another."""
    return tls_visits(rng, [_leaf(rng, time_ns, name="other.example.net")], "portal.example.gov.cn", time_ns=time_ns)


def good_certificate(rng: Random, *, time_ns: int = START_NS) -> list[Frame]:
    """Twin of the bad certificates: valid for long, of another issuer, for the name that is asked for."""
    return tls_visits(rng, [_leaf(rng, time_ns)], "portal.example.gov.cn", time_ns=time_ns)


def expired_sm2_certificate(rng: Random, *, time_ns: int = START_NS) -> list[Frame]:
    """TLCP: a signing and an encryption certificate with SM2 keys, both ended 20 days ago."""
    pair = [_leaf(rng, time_ns, days_left=-20, sm2=True) for _ in range(2)]
    return tls_visits(rng, pair, "portal.example.gov.cn", time_ns=time_ns, version=TLCP)


def good_sm2_certificate(rng: Random, *, time_ns: int = START_NS) -> list[Frame]:
    """Twin of the SM2 one: both certificates are valid for long."""
    pair = [_leaf(rng, time_ns, sm2=True) for _ in range(2)]
    return tls_visits(rng, pair, "portal.example.gov.cn", time_ns=time_ns, version=TLCP)
