"""Cookies of one run: what a service sets is sent back to it, and forgotten when the run ends (RFC 6265).

A cookie goes to the host that set it, or, with a Domain, to hosts below that domain; requests go to configured hosts
only, so a cookie cannot leave them either.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from govsec.web.exchange import Answer

_COOKIES_MAX = 50
_COOKIE_SIZE_MAX = 4096


@dataclass(frozen=True, slots=True)
class _Cookie:
    domain: str
    is_host_only: bool
    path: str
    is_secure: bool
    value: str


class Cookies:
    """The cookies of a run; ``dropped_count``: those that were too many or too long."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str, str], _Cookie] = {}
        self.dropped_count = 0

    def take(self, url: str, answer: Answer) -> None:
        """Remember what an answer of ``url`` sets."""
        for name, value in answer.headers:
            if name == "set-cookie":
                self._set(url, value)

    def header(self, url: str) -> str | None:
        """The Cookie header for a request to ``url``."""
        parts = urlsplit(url)
        host, path = (parts.hostname or "").lower(), parts.path or "/"
        pairs = [
            f"{name}={cookie.value}"
            for (_, _, name), cookie in self._known.items()
            if _goes_to(cookie, host, path, is_secure=parts.scheme == "https")
        ]
        return "; ".join(pairs) or None

    def _set(self, url: str, text: str) -> None:
        parts = urlsplit(url)
        host = (parts.hostname or "").lower()
        pair, *rest = text.split(";")
        name, sep, value = (part.strip() for part in pair.partition("="))
        attributes = {key.strip().lower(): said.strip() for key, _, said in (part.partition("=") for part in rest)}
        domain = attributes.get("domain", "").lstrip(".").lower()
        is_host_only = not domain or domain == host
        if not is_host_only and not ("." in domain and host.endswith(f".{domain}")):
            return  # for another site: RFC 6265, 5.3, step 6
        path = attributes.get("path", "")
        path = path if path.startswith("/") else parts.path.rpartition("/")[0] or "/"
        key = (domain or host, path, name)
        if attributes.get("max-age", "").startswith(("0", "-")) or not value:
            self._known.pop(key, None)
        elif not sep or len(text) > _COOKIE_SIZE_MAX or (key not in self._known and len(self._known) >= _COOKIES_MAX):
            self.dropped_count += 1
        else:
            self._known[key] = _Cookie(domain or host, is_host_only, path, "secure" in attributes, value)


def _goes_to(cookie: _Cookie, host: str, path: str, *, is_secure: bool) -> bool:
    is_at_home = host == cookie.domain or (not cookie.is_host_only and host.endswith(f".{cookie.domain}"))
    is_below = path == cookie.path or path.startswith(cookie.path.rstrip("/") + "/")
    return is_at_home and is_below and (is_secure or not cookie.is_secure)
