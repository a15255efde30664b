"""TLS up to 1.3, and TLCP (GB/T 38636, version 0x0101): hellos and certificates, as far as they go in clear.

::

    record:    type (1) || version (2) || size (2) || fragment
    handshake: type (1) || size (3) || body, over as many records as it takes

A side is read until its hello and certificates are there, or until it changes to encryption. TLS 1.3 encrypts the
certificates. Nothing is decrypted or verified here; versions before SSL 3 are not read.

Source: RFC 5246 section 7.4, RFC 8446 section 4, RFC 6066 section 3 (server name), RFC 7301 (ALPN); GB/T 38636
section 6.
"""

from __future__ import annotations

from base64 import b64encode
from contextlib import suppress
from functools import lru_cache

from govsec.crypto.certificates import CertificateFacts, read_certificate
from govsec.dissect.fingerprints import ClientOffer, highest_version, ja3, ja4
from govsec.dissect.messages import FlowRef, TlsCertificates, TlsClientHello, TlsServerHello
from govsec.dissect.parsing import HEAD_SIZE, StreamParser
from govsec.dissect.wire import Cursor, show, u16_list
from govsec.errors import FormatError

TLCP = 0x0101
_CHANGE_CIPHER, _ALERT, _HANDSHAKE, _APPLICATION = 20, 21, 22, 23
_RECORD_MAX = (16 << 10) + 2048
_CLIENT_HELLO, _SERVER_HELLO, _CERTIFICATE, _SERVER_DONE, _CLIENT_KEYS = 1, 2, 11, 14, 16
_CERTIFICATES_MAX = 16
_NAMES_MAX = 16
_SERVER_NAME, _GROUPS, _POINTS, _SIGNATURES, _ALPN, _VERSIONS = 0, 10, 11, 13, 16, 43
_TLS13 = 0x0304
#: The random of a ServerHello that asks the client for another hello (RFC 8446, 4.1.3).
_RETRY = bytes.fromhex("cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c")


def is_tls(data: bytes) -> bool | None:
    """Whether a side's first bytes are a handshake record with a hello; None: too few to say."""
    if data[:1] != b"\x16":
        return False if data else None
    if len(data) < 6:
        return None
    return data[1:3] in (b"\3\0", b"\3\1", b"\3\2", b"\3\3", b"\1\1") and data[5] in (_CLIENT_HELLO, _SERVER_HELLO)


class TlsParser(StreamParser):
    """Hellos and certificates of one connection."""

    name = "tls"

    def __init__(self, flow: FlowRef) -> None:
        super().__init__(flow)
        self._handshake = {False: bytearray(), True: bytearray()}
        self._version = 0
        self._server_name: str | None = None

    def read(self, is_originator: bool, data: bytes, time_ns: int) -> int:
        at = 0
        while self.wants[is_originator] and len(data) - at >= 5:
            kind, size = data[at], data[at + 3] << 8 | data[at + 4]
            if data[at + 1] not in (3, 1) or not _CHANGE_CIPHER <= kind <= 24 or size > _RECORD_MAX:
                raise FormatError(f"no TLS record: type {kind}, version {data[at + 1]:x}, {size} bytes")
            if len(data) - at < 5 + size:
                break
            if kind == _HANDSHAKE:
                self._fragment(is_originator, data[at + 5 : at + 5 + size], time_ns)
                if len(self._handshake[is_originator]) > HEAD_SIZE:
                    raise FormatError(f"a TLS handshake message of more than {HEAD_SIZE} bytes")
            elif kind != _ALERT:  # from here on this side is encrypted
                self.wants[is_originator] = False
            at += 5 + size
        return at

    def end(self, is_originator: bool, data: bytes, time_ns: int) -> None:
        # A chain that goes past what is read: its first certificates, the leaf among them, are there.
        pending = self._handshake[is_originator]
        if self.wants[is_originator] and data[:1] == bytes([_HANDSHAKE]):
            with suppress(FormatError):  # what came before it is told
                self._fragment(is_originator, data[5:], time_ns)
        if self.wants[is_originator] and len(pending) > 4 and pending[0] == _CERTIFICATE:
            self._certificates(is_originator, bytes(pending[4:]), time_ns)
        self.wants[is_originator] = False

    def _fragment(self, is_originator: bool, fragment: bytes, time_ns: int) -> None:
        pending = self._handshake[is_originator]
        pending += fragment
        while self.wants[is_originator] and len(pending) >= 4:
            size = int.from_bytes(pending[1:4], "big")
            if len(pending) < 4 + size:
                break
            kind, body = pending[0], bytes(pending[4 : 4 + size])
            del pending[: 4 + size]
            self._message(is_originator, kind, body, time_ns)

    def _message(self, is_originator: bool, kind: int, body: bytes, time_ns: int) -> None:
        if kind == _CLIENT_HELLO:
            hello = client_hello(body, time_ns=time_ns, flow=self.flow, is_originator=is_originator)
            self._server_name = hello.server_name
            self.messages.append(hello)
            # A client's certificate comes behind the server's, in TLS 1.2 and before; that is all that is left to hear.
            self.wants[is_originator] = self._version < _TLS13
        elif kind == _SERVER_HELLO:
            self._server_hello(is_originator, body, time_ns)
        elif kind == _CERTIFICATE:
            self._certificates(is_originator, body, time_ns)
        elif kind in (_SERVER_DONE, _CLIENT_KEYS):
            self.wants[is_originator] = False

    def _server_hello(self, is_originator: bool, body: bytes, time_ns: int) -> None:
        cursor = Cursor(body)
        version, random = cursor.u16(), cursor.take(32)
        cursor.skip(cursor.u8())
        cipher = cursor.u16()
        cursor.skip(1)
        if cursor.left:
            extensions = cursor.part(cursor.u16())
            while extensions.left:
                kind, extension = extensions.u16(), extensions.part(extensions.u16())
                if kind == _VERSIONS:
                    version = extension.u16()
        if random == _RETRY:
            return
        self._version = version
        if version >= _TLS13:
            self.stop()
        self.messages.append(TlsServerHello(time_ns, self.flow, is_originator, version, cipher, self._server_name))

    def _certificates(self, is_originator: bool, body: bytes, time_ns: int) -> None:
        """The chain in ``body``; whatever is cut off at its end is left out."""
        found: list[CertificateFacts] = []
        unreadable_count = 0
        at = 3
        while at + 3 <= len(body) and len(found) + unreadable_count < _CERTIFICATES_MAX:
            size = int.from_bytes(body[at : at + 3], "big")
            at += 3
            if at + size > len(body):
                break
            facts = _facts(body[at : at + size])
            at += size
            if facts is None:
                unreadable_count += 1
            else:
                found.append(facts)
        self.wants[is_originator] = False
        if found or unreadable_count:
            self.messages.append(
                TlsCertificates(
                    time_ns, self.flow, is_originator, self._version, tuple(found), unreadable_count, self._server_name
                )
            )


def client_hello(
    body: bytes, *, time_ns: int, flow: FlowRef, is_originator: bool, is_quic: bool = False
) -> TlsClientHello:
    """The ClientHello whose handshake body is ``body``.

    Raises:
        FormatError: it is none.
    """
    cursor = Cursor(body)
    legacy_version = cursor.u16()
    if legacy_version >> 8 not in (1, 3):
        raise FormatError(f"a ClientHello of version {legacy_version:04x}")
    cursor.skip(32)
    cursor.skip(cursor.u8())
    ciphers = u16_list(cursor.take(cursor.u16()))
    cursor.skip(cursor.u8())
    lists = _Extensions(cursor.part(cursor.u16()) if cursor.left else cursor)
    offer = ClientOffer(
        legacy_version=legacy_version,
        ciphers=ciphers,
        extensions=tuple(lists.kinds),
        groups=lists.groups,
        point_formats=lists.points,
        versions=lists.versions,
        signatures=lists.signatures,
        alpn=lists.alpn,
        has_server_name=lists.has_server_name,
    )
    return TlsClientHello(
        time_ns=time_ns,
        flow=flow,
        is_originator=is_originator,
        version=highest_version(offer),
        server_name=lists.server_name,
        alpn=tuple(show(name) for name in lists.alpn),
        ja3=ja3(offer),
        ja4=ja4(offer, is_quic=is_quic),
        is_quic=is_quic,
    )


class _Extensions:
    """The extensions of a ClientHello; those that matter are read."""

    def __init__(self, cursor: Cursor) -> None:
        self.kinds: list[int] = []
        self.groups: tuple[int, ...] = ()
        self.points: tuple[int, ...] = ()
        self.versions: tuple[int, ...] = ()
        self.signatures: tuple[int, ...] = ()
        self.alpn: tuple[bytes, ...] = ()
        self.has_server_name = False
        self.server_name: str | None = None
        while cursor.left:
            kind = cursor.u16()
            self.kinds.append(kind)
            self._read(kind, cursor.part(cursor.u16()))

    def _read(self, kind: int, cursor: Cursor) -> None:
        if kind == _SERVER_NAME:
            self.has_server_name = True
            if cursor.left:
                names = cursor.part(cursor.u16())
                if names.u8() == 0:
                    self.server_name = show(names.take(names.u16())).lower()
        elif kind == _GROUPS:
            self.groups = u16_list(cursor.take(cursor.u16()))
        elif kind == _POINTS:
            self.points = tuple(cursor.take(cursor.u8()))
        elif kind == _SIGNATURES:
            self.signatures = u16_list(cursor.take(cursor.u16()))
        elif kind == _VERSIONS:
            self.versions = u16_list(cursor.take(cursor.u8()))
        elif kind == _ALPN:
            names = cursor.part(cursor.u16())
            found: list[bytes] = []
            while names.left and len(found) < _NAMES_MAX:
                found.append(names.take(names.u8()))
            self.alpn = tuple(found)


@lru_cache(maxsize=512)  # a server sends the same chain in every connection; each is at most a head's size
def _facts(der: bytes) -> CertificateFacts | None:
    lines = b64encode(der).decode("ascii")
    try:
        return read_certificate(f"-----BEGIN CERTIFICATE-----\n{lines}\n-----END CERTIFICATE-----\n")
    except FormatError:
        return None
