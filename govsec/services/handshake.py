"""What certificates a server shows, read from the part of a handshake that goes in clear: TLS 1.2 and TLCP.

One idea: a ClientHello goes out, the server's hello and certificates are read, and the connection is closed. Nothing is
verified and nothing is trusted, so this serves servers that Python's TLS cannot speak to: those whose certificate has
expired, and those of TLCP (GB/T 38636, version 0x0101), which show two certificates, for signing and for encryption.
TLS 1.3 hides certificates; a server that speaks nothing older is left to the verified connection of a step.

::

    record:      type 22 || version (2) || size (2) || handshake
    handshake:   type 1 || size (3) || version (2) || random (32) || session (1 + 0) || ciphers (2 + n) || 01 00
                 || extensions (2 + n)

Source: RFC 5246 section 7.4, RFC 6066 section 3, RFC 8422 section 5.1; GB/T 38636-2020 section 6.4.
"""

from __future__ import annotations

import secrets
import socket
import struct
from dataclasses import dataclass

from govsec.crypto.certificates import CertificateFacts
from govsec.dissect.messages import FlowRef, TlsCertificates, TlsServerHello
from govsec.dissect.tls import TLCP, TlsParser
from govsec.errors import FormatError
from govsec.web.addresses import Address
from govsec.web.connection import Deadline, RequestError, connect, send

TLS12 = 0x0303
#: What servers of any age take: ECDHE, DHE and RSA, GCM and CBC.
_CIPHERS = (
    *(0xC02B, 0xC02F, 0xC02C, 0xC030, 0xCCA9, 0xCCA8, 0xC009, 0xC013, 0xC00A, 0xC014),
    *(0x009E, 0x009F, 0x0033, 0x0039, 0x009C, 0x009D, 0x002F, 0x0035),
)
#: ECC_SM4_GCM_SM3, ECC_SM4_CBC_SM3 and their ECDHE forms (GB/T 38636-2020, table 2).
_TLCP_CIPHERS = (0xE053, 0xE013, 0xE051, 0xE011)
_GROUPS = (29, 23, 24, 25)
_SIGNATURES = (0x0403, 0x0503, 0x0603, 0x0804, 0x0805, 0x0806, 0x0401, 0x0501, 0x0601, 0x0203, 0x0201)
#: A chain of the most certificates that is read, each at its largest, is far below this.
_FLIGHT_SIZE_MAX = 256 << 10
_NO_FLOW = FlowRef(0, "", 0, "", 0, 6)


@dataclass(frozen=True, slots=True)
class Shown:
    """What a server said in clear. ``version``: the one it chose; ``certificates``: as sent, its own first."""

    version: int
    cipher: int
    certificates: tuple[CertificateFacts, ...]
    unreadable_count: int

    @property
    def is_tlcp(self) -> bool:
        """It speaks GB/T 38636."""
        return self.version == TLCP


def read_shown(address: Address, port: int, server_name: str | None, *, version: int, deadline: Deadline) -> Shown:
    """The certificates that a server shows to a client of ``version`` (TLS 1.2 or TLCP).

    Raises:
        RequestError: nobody answers, or not in this protocol.
    """
    with connect(address, port, deadline) as connection:
        send(connection, client_hello(version, server_name), deadline)
        return _read(connection, deadline)


def client_hello(version: int, server_name: str | None) -> bytes:
    """The record that asks for certificates."""
    is_tlcp = version == TLCP
    ciphers = _TLCP_CIPHERS if is_tlcp else _CIPHERS
    extensions = b""
    if server_name and ":" not in server_name and not server_name.replace(".", "").isdigit():
        name = server_name.encode("idna") if not server_name.isascii() else server_name.encode("ascii")
        extensions += _extension(0, _sized(b"\x00" + _sized(name)))
    if not is_tlcp:
        extensions += _extension(10, _sized(_words(_GROUPS))) + _extension(11, b"\x01\x00")
        extensions += _extension(13, _sized(_words(_SIGNATURES)))
    body = struct.pack("!H", version) + secrets.token_bytes(32) + b"\x00" + _sized(_words(ciphers)) + b"\x01\x00"
    body += _sized(extensions)
    message = b"\x01" + len(body).to_bytes(3, "big") + body
    return b"\x16" + struct.pack("!H", TLCP if is_tlcp else 0x0301) + _sized(message)


def _read(connection: socket.socket, deadline: Deadline) -> Shown:
    parser, pending, total = TlsParser(_NO_FLOW), b"", 0
    hello: TlsServerHello | None = None
    while parser.wants[False] and total < _FLIGHT_SIZE_MAX:
        data = _receive(connection, deadline)
        total += len(data)
        pending += data
        try:
            pending = pending[parser.read(False, pending, 0) :]
        except FormatError as error:
            raise RequestError("tls", "no TLS is spoken there") from error
        for message in parser.messages:
            if isinstance(message, TlsServerHello):
                hello = message
            elif isinstance(message, TlsCertificates) and hello is not None:
                return Shown(hello.version, hello.cipher, message.certificates, message.unreadable_count)
        parser.messages.clear()
        if not data:
            raise RequestError("tls", "closed without certificates" if hello else "closed without an answer")
    raise RequestError("tls", "the handshake hides its certificates")


def _receive(connection: socket.socket, deadline: Deadline) -> bytes:
    try:
        connection.settimeout(deadline.left("tls"))
        return connection.recv(64 << 10)
    except TimeoutError as error:
        raise deadline.over("tls") from error
    except OSError as error:
        raise RequestError("tls", error.strerror or str(error), error.errno or 0) from error


def _words(numbers: tuple[int, ...]) -> bytes:
    return struct.pack(f"!{len(numbers)}H", *numbers)


def _sized(data: bytes) -> bytes:
    return struct.pack("!H", len(data)) + data


def _extension(kind: int, data: bytes) -> bytes:
    return struct.pack("!H", kind) + _sized(data)
