"""One request of a step with its redirects: where it may go, what it carries, what came back and how long it took.

A redirect is followed only to hosts and ports that the configuration names, never from HTTPS to HTTP, and is counted.
Everything is done by one deadline, over addresses of one family.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import quote, urljoin, urlsplit

from govsec.clock import Clock
from govsec.crypto.certificates import CertificateFacts, read_der
from govsec.errors import FormatError
from govsec.serviceentry import Family, ServiceConfig
from govsec.services.cookies import Cookies
from govsec.web.addresses import Address, Names
from govsec.web.connection import Deadline, Phases, RequestError, secure
from govsec.web.exchange import Answer, Request, exchange
from govsec.web.reach import reach

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_PORTS = {"http": 80, "https": 443}
USER_AGENT = "Mozilla/5.0 (compatible; govsec service probe)"


class NoAddress(RequestError):
    """The name has no address in this family."""


class RedirectRefused(RequestError):
    """The service sends its visitors where the configuration does not; ``target`` is where, without its query."""

    def __init__(self, target: str, why: str) -> None:
        super().__init__("redirect", f"to {target}, {why}")
        self.target = target


@dataclass(slots=True)
class Trace:
    """What is known of a request, also when it came to nothing."""

    phases: Phases = field(default_factory=Phases)
    #: Hosts and paths that were asked, in order; the first is the step's own.
    visited: list[str] = field(default_factory=list)
    address: str = ""
    #: Of the last server that spoke TLS.
    certificate: CertificateFacts | None = None
    tls_version: str = ""

    def note(self, address: Address) -> None:
        """This address is tried next."""
        self.address = str(address)


@dataclass(frozen=True, slots=True)
class Wanted:
    """A request as it is meant: URL and headers have their values."""

    url: str
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    redirects_max: int = 5
    size_bytes_max: int = 1 << 20


class Asker:
    """Requests of one service over one family, with the cookies of one run."""

    def __init__(
        self, config: ServiceConfig, family: Family, names: Names, context: ssl.SSLContext, clock: Clock
    ) -> None:
        self._family: Family = family
        self._names = names
        self._context = context
        self._clock = clock
        self._config = config
        self._timeout_s = config.timeout_s
        self._hosts = config.hosts_allowed()
        self._ports = {_place(url)[:2] for url in config.urls()}
        self._cookies = Cookies()

    def as_new_visitor(self) -> Asker:
        """The same without cookies: who hides a page from its owner goes by who was there before."""
        return Asker(self._config, self._family, self._names, self._context, self._clock)

    def ask(self, wanted: Wanted, trace: Trace) -> Answer:
        """The answer behind all redirects. ``trace`` is filled as it goes.

        Raises:
            RequestError: nobody answered, or not as HTTP is, or later than the service's limit.
        """
        deadline = Deadline(self._clock, self._timeout_s)
        with trace.phases.measured("whole", self._clock):
            for followed in range(wanted.redirects_max + 1):
                answer = self._once(wanted, trace, deadline)
                location = answer.header("location")
                if answer.status not in _REDIRECTS or location is None or wanted.redirects_max == 0:
                    return answer
                if followed == wanted.redirects_max:
                    break
                wanted = self._next(wanted, answer.status, location)
        raise RequestError("redirect", f"more than {wanted.redirects_max} redirects")

    def _once(self, wanted: Wanted, trace: Trace, deadline: Deadline) -> Answer:
        host, port, scheme = _place(wanted.url)
        parts = urlsplit(wanted.url)
        host = _as_asked(host)
        trace.visited.append(shown(wanted.url))
        with trace.phases.measured("resolve", self._clock):
            addresses = self._addresses(host)
        with trace.phases.measured("connect", self._clock):
            connection = reach(self._names, addresses, port, deadline, trace.note)
        if scheme == "https":
            with trace.phases.measured("tls", self._clock):
                secured = secure(connection, self._context, host, deadline)
            connection = secured
            trace.certificate, trace.tls_version = _leaf(secured), secured.version() or ""
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        headers = {"User-Agent": USER_AGENT, "Accept": "*/*", "Accept-Encoding": "identity", **wanted.headers}
        if cookie := self._cookies.header(wanted.url):
            headers["Cookie"] = cookie
        name = f"[{host}]" if ":" in host else host
        authority = name if port == _PORTS[scheme] else f"{name}:{port}"
        request = Request(wanted.method, authority, _ascii(target), headers, wanted.body)
        with connection:
            answer = exchange(connection, request, deadline, wanted.size_bytes_max, trace.phases, self._clock)
        self._cookies.take(wanted.url, answer)
        return answer

    def _addresses(self, host: str) -> tuple[Address, ...]:
        try:
            addresses = self._names.addresses(host, self._family)
        except OSError as error:
            raise RequestError("resolve", f"{host}: {error.strerror}") from error
        if not addresses:
            raise NoAddress("resolve", f"{host} has no {self._family} address")
        return addresses

    def _next(self, wanted: Wanted, status: int, location: str) -> Wanted:
        try:
            url = urljoin(wanted.url, location.strip()).partition("#")[0]
            host, port, scheme = _place(url)
        except ValueError as error:
            raise RequestError("redirect", "to something that is no URL") from error
        if scheme not in _PORTS:
            raise RedirectRefused(shown(url), "which is no web address")
        if host not in self._hosts or (port not in _PORTS.values() and (host, port) not in self._ports):
            raise RedirectRefused(shown(url), "a host or port that the configuration does not name")
        if scheme == "http" and wanted.url.startswith("https:"):
            raise RedirectRefused(shown(url), "from HTTPS to HTTP")
        is_same_host = host == _place(wanted.url)[0]
        headers = {
            name: value for name, value in wanted.headers.items() if is_same_host or name.lower() != "authorization"
        }
        becomes_get = status == 303 or (status in (301, 302) and wanted.method == "POST")
        method = "GET" if becomes_get and wanted.method != "HEAD" else wanted.method
        body = None if becomes_get else wanted.body
        if body is None:
            headers = {name: value for name, value in headers.items() if name.lower() != "content-type"}
        return Wanted(url, method, headers, body, wanted.redirects_max, wanted.size_bytes_max)


def shown(url: str) -> str:
    """A URL as reports print it: without query, which may hold what only the service may know."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"[:300]


def _place(url: str) -> tuple[str, int, str]:
    """Host in lower case, port and scheme. Raises ``ValueError`` for what is no URL."""
    parts = urlsplit(url)
    return (parts.hostname or "").lower(), parts.port or _PORTS.get(parts.scheme, 0), parts.scheme


def _as_asked(host: str) -> str:
    """A name as it goes over the wire (IDNA 2003, as the standard library has it)."""
    try:
        return host if host.isascii() else host.encode("idna").decode("ascii")
    except UnicodeError as error:
        raise RequestError("resolve", f"{host[:80]} is no name of a host") from error


def _ascii(target: str) -> str:
    """A path or query with what is not ASCII percent-encoded, and what already is encoded left alone."""
    return quote(target, safe="/?#[]@!$&'()*+,;=:%-._~|")


def _leaf(connection: ssl.SSLSocket) -> CertificateFacts | None:
    der = connection.getpeercert(binary_form=True)
    try:
        return read_der(der) if der else None
    except FormatError:  # OpenSSL takes it, our reader does not: the handshake's verdict stands
        return None
