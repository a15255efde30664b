"""Real servers for probes: HTTP and HTTPS on 127.0.0.1 and, at the same port, on ::1; and one that speaks by script."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.support.require import missing

HOST = "portal.example"
#: A probe that passes never depends on it: it is what a test machine that stands still may take.
PATIENT_S = 60


@dataclass(frozen=True)
class Asked:
    """A request as the portal saw it."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    family: str


Reply = tuple[int, Mapping[str, str], bytes]


@dataclass
class Portal:
    """What it answers, by path without query; ``asked`` in order."""

    port: int = 0
    routes: dict[str, Callable[[Asked], Reply] | Reply] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    families: tuple[str, ...] = ("127.0.0.1", "::1")

    def url(self, path: str = "/", scheme: str = "http") -> str:
        return f"{scheme}://{HOST}:{self.port}{path}"

    def page(self, path: str, text: str) -> None:
        self.routes[path] = (200, {"Content-Type": "text/html; charset=utf-8"}, text.encode())

    def resolve(self, host: str) -> Sequence[str]:
        """A resolver that knows this portal alone."""
        if host != HOST:
            raise OSError(-2, f"no such name: {host}")
        return self.families


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def _answer(self) -> None:
        size = int(self.headers.get("Content-Length") or 0)
        family = "ipv6" if ":" in self.client_address[0] else "ipv4"
        asked = Asked(self.command, self.path, dict(self.headers), self.rfile.read(size), family)
        self.server.portal.asked.append(asked)
        route = self.server.portal.routes.get(self.path.partition("?")[0], (404, {}, b"nothing here"))
        status, headers, body = route(asked) if callable(route) else route
        self.send_response(status)
        for name, value in headers.items():
            for each in value.split("\n"):
                self.send_header(name, each)
        if "Content-Length" not in headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        self.close_connection = True

    do_GET = do_POST = do_HEAD = do_PUT = _answer

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing on the terminal of the suite."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], family: int, portal: Portal) -> None:
        self.address_family = family
        self.portal = portal
        super().__init__(address, _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A probe that hangs up in the middle is what some tests are about."""


@contextmanager
def running(portal: Portal, context: ssl.SSLContext | None = None) -> Iterator[Portal]:
    """The portal on both families at one port."""
    with ExitStack() as stack:
        servers = _bound(portal)
        for server in servers:
            if context is not None:
                server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
            thread.start()
            stack.callback(thread.join, 60)
            stack.callback(server.server_close)
            stack.callback(server.shutdown)
        yield portal


def _bound(portal: Portal) -> list[_Server]:
    if not socket.has_ipv6:
        missing("ipv6", "this Python has no IPv6")
    for _ in range(50):
        first = _Server(("127.0.0.1", 0), socket.AF_INET, portal)
        portal.port = first.server_address[1]
        try:
            return [first, _Server(("::1", portal.port), socket.AF_INET6, portal)]
        except OSError as error:
            first.server_close()
            last = error
    missing("ipv6", f"nothing can listen on ::1: {last}")


@contextmanager
def speaking(script: Callable[[socket.socket], None]) -> Iterator[int]:
    """A server on 127.0.0.1 that does ``script`` with every connection; gives its port."""
    listener = socket.create_server(("127.0.0.1", 0))
    stopped = threading.Event()

    def serve() -> None:
        while not stopped.is_set():
            with suppress(OSError):
                connection, _ = listener.accept()
                if stopped.is_set():
                    connection.close()
                    return
                threading.Thread(target=one, args=(connection,), daemon=True).start()

    def one(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            script(connection)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        stopped.set()
        with suppress(OSError):
            socket.create_connection(listener.getsockname(), 5).close()
        thread.join(60)
        listener.close()


@dataclass(frozen=True)
class Keys:
    """An authority of one test, and what it signed."""

    ca_file: Path
    folder: Path
    key: ec.EllipticCurvePrivateKey
    name: x509.Name

    def context(
        self, *, names: Sequence[str] = (HOST,), days: float = 90, is_tls13_only: bool = False, is_signed: bool = True
    ) -> ssl.SSLContext:
        """A server's side with a certificate for ``names`` that ends in ``days``."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
        end = datetime.now(UTC) + timedelta(days=days)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name if is_signed else subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(end - timedelta(days=365))
            .not_valid_after(end)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .sign(self.key if is_signed else key, hashes.SHA256())
        )
        path = self.folder / f"{x509.random_serial_number():x}.pem"
        path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            + certificate.public_bytes(serialization.Encoding.PEM)
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        context.minimum_version = ssl.TLSVersion.TLSv1_3 if is_tls13_only else ssl.TLSVersion.TLSv1_2
        return context


def make_keys(folder: Path) -> Keys:
    """A fresh authority whose certificate lies in a file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority of a test")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=800))
        .not_valid_after(now + timedelta(days=800))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / "authority.pem"
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return Keys(path, folder, key, name)
