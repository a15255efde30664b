"""The one place where notices leave over HTTP: a body to a configured URL, one answer, nothing followed.

The name is resolved once and the address checked where it is used: loopback, link-local and clouds' metadata services
are refused unless the configuration names them, because a URL in a configuration may come from somebody else than who
runs the machine. Private networks are where government services live, and are normal. Errors never hold a URL's path or
query: chat robots keep their key there.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote, urlsplit

from govsec.clock import Clock
from govsec.errors import ConfigurationError
from govsec.notice.api import DeliveryError, Reply
from govsec.web.addresses import Names, Resolve, system_resolve
from govsec.web.connection import Deadline, Phases, RequestError, secure, tls_context
from govsec.web.exchange import Request, exchange
from govsec.web.reach import reach

#: An outbox's lease is three minutes; a channel gives up well within it.
TIMEOUT_S = 30.0
_ANSWER_SIZE_MAX = 64 << 10
_RETRY_AFTER_MAX_S = 86_400.0
_PORTS = {"http": 80, "https": 443}


class HttpPoster:
    """Posts for channels. ``named``: networks that may be asked although they are not normal."""

    def __init__(
        self,
        clock: Clock,
        *,
        named: Sequence[str] = (),
        ca_file: Path | None = None,
        resolve: Resolve = system_resolve,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        """Raises ``ConfigurationError`` when the file of authorities cannot be used."""
        self._clock = clock
        self._named = tuple(named)
        self._resolve = resolve
        self._timeout_s = timeout_s
        self._context: ssl.SSLContext = tls_context(ca_file)

    def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Reply:
        """Send a body, give the answer. Raises as ``Poster.post``."""
        return self._ask("POST", url, body, headers)

    def get(self, url: str, headers: Mapping[str, str]) -> Reply:
        """Ask, give the answer. Raises as ``Poster.get``."""
        return self._ask("GET", url, None, headers)

    def _ask(self, method: str, url: str, body: bytes | None, headers: Mapping[str, str]) -> Reply:
        parts = urlsplit(url)
        host, scheme = (parts.hostname or "").lower(), parts.scheme
        # Resolved anew for each message: a robot's address changes over the months that a sender lives.
        names = Names(self._named, self._resolve, is_loopback_normal=False)
        deadline = Deadline(self._clock, self._timeout_s)
        try:
            asked = host if host.isascii() else host.encode("idna").decode("ascii")
            connection = reach(names, names.addresses(asked), parts.port or _PORTS[scheme], deadline)
            if scheme == "https":
                connection = secure(connection, self._context, asked, deadline)
            name = f"[{asked}]" if ":" in asked else asked
            authority = name if parts.port in (None, _PORTS[scheme]) else f"{name}:{parts.port}"
            target = quote(
                (parts.path or "/") + (f"?{parts.query}" if parts.query else ""), safe="/?#[]@!$&'()*+,;=:%-._~|"
            )
            with connection:
                request = Request(method, authority, target, {"User-Agent": "govsec", **headers}, body)
                answer = exchange(connection, request, deadline, _ANSWER_SIZE_MAX, Phases(), self._clock)
        except RequestError as error:
            raise DeliveryError(f"{scheme}://{host}: {error}", is_retryable=True) from error
        except (OSError, UnicodeError) as error:
            raise DeliveryError(f"{scheme}://{host}: resolve: {error}", is_retryable=True) from error
        return Reply(answer.status, answer.body, _seconds(answer.header("retry-after")))


def checked_url(url: str, where: str, *, is_plain_allowed: bool = False) -> str:
    """A URL of the configuration.

    Raises:
        ConfigurationError: it is no web address, holds a user and password, or is not HTTPS where it must be.
    """
    try:
        parts = urlsplit(url)
        has_port = parts.port is None or 0 < parts.port < 65536
    except ValueError as error:
        raise ConfigurationError(f"{where}: no web address") from error
    if parts.scheme not in _PORTS or not parts.hostname or not has_port or any(ord(mark) <= 32 for mark in url):
        raise ConfigurationError(f"{where}: no web address")
    if parts.username is not None or parts.password is not None:
        raise ConfigurationError(f"{where}: a user and password do not belong into an address")
    if parts.scheme == "http" and not is_plain_allowed:
        raise ConfigurationError(
            f"{where}: must be https (plain: true allows http, for a gateway on this machine's own net)"
        )
    return url


def _seconds(text: str | None) -> float | None:
    """``Retry-After`` as seconds; dates are passed over (RFC 9110, 10.2.3)."""
    if text is None or not text.strip().isascii() or not text.strip().isdigit():
        return None
    return min(float(text.strip()[:9]), _RETRY_AFTER_MAX_S)
