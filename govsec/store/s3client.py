"""A botocore client that speaks to one host and to no other, in bounded time and memory.

botocore is given everything here, so nothing comes from the environment or from ``~/.aws``: no profile, no proxy, no
other endpoint, no metadata service. Its own retries are off: ``store/retry.py`` is the one place that retries. Requests
leave through :class:`_Transport`, which holds what botocore does not promise: redirects are never followed, every
answer has a size limit and every body a deadline, so a hostile server can neither send the program elsewhere (with
signed requests), nor fill its memory, nor feed it a byte a minute.

There is no switch that turns the verification of certificates off.
"""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import botocore.session
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.config import Config
from botocore.httpsession import URLLib3Session

from govsec.clock import Clock
from govsec.config import S3StoreConfig
from govsec.errors import LimitError, StoreError, StoreUnavailableError
from govsec.store.credentials import Credentials

#: Answers that are parsed as a whole. A page of 1,000 versions takes under 1 MiB.
_DOCUMENT_SIZE_MAX = 16 << 20
#: A body that comes slower than this for its whole length counts as a hang.
_RATE_MIN_BYTES_PER_S = 16 << 10
_PART_SIZE = 1 << 20
#: botocore's default leaves Nagle's algorithm on: 40 ms for every small put.
_SOCKET_OPTIONS = [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1), (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]

_core: botocore.session.Session | None = None


def make_client(config: S3StoreConfig, credentials: Credentials, clock: Clock) -> Any:
    """A new client with connections of its own. It must not be used in a process forked after the call."""
    client = _session().create_client(
        "s3",
        region_name=config.region,
        endpoint_url=config.endpoint,
        aws_access_key_id=credentials.access_key,
        aws_secret_access_key=credentials.secret_key,
        aws_session_token=credentials.session_token,
        verify=True,
        config=Config(
            signature_version="s3v4",
            s3={
                "addressing_style": "path" if config.path_style else "virtual",
                # A put is bound to its body by Content-MD5, which is signed and which both servers we know check; over
                # plain http too, a line that changes a byte makes the server refuse it. Signing SHA-256 of the body
                # beside it costs 40 % more of the client's processor time (64 MiB: 0.17 s against 0.12 s) and buys
                # nothing there: SeaweedFS 4.48 accepts a wrong one.
                "payload_signing_enabled": False,
            },
            retries={"total_max_attempts": 1, "mode": "standard"},
            # Checksum trailers make Ceph 16 answer 411 over https.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            parameter_validation=True,
            proxies={},
            ignore_configured_endpoint_urls=True,
        ),
    )
    transport = _Transport(config, clock)
    client.meta.events.register("before-send.s3", transport.send)
    client.meta.events.register("before-sign.s3", _drop_expect)
    return client


def _session() -> botocore.session.Session:
    # One session a process: it caches the parsed service description and holds no connection. Forked children may
    # go on using it.
    global _core
    if _core is None:
        session = botocore.session.Session(
            session_vars={
                # name: (key in the configuration file, environment variable, default, conversion)
                "profile": (None, None, None, None),
                "config_file": (None, None, os.devnull, None),
                "credentials_file": (None, None, os.devnull, None),
                "ca_bundle": (None, None, None, None),
            }
        )
        _core = session
    return _core


def _drop_expect(request: Any, **_: object) -> None:
    # "Expect: 100-continue" costs a second against a server that hangs, and botocore 1.44 reads for ever when the
    # connection ends after "100 Continue" (AWSConnection._consume_headers).
    if "Expect" in request.headers:
        del request.headers["Expect"]


class _Transport:
    """Sends what botocore has prepared and signed."""

    def __init__(self, config: S3StoreConfig, clock: Clock) -> None:
        self._origins = _origins(config)
        self._clock = clock
        self._read_timeout_s = config.read_timeout_s
        self._session = URLLib3Session(
            verify=str(config.ca_bundle) if config.ca_bundle else ssl.get_default_verify_paths().cafile or True,
            proxies={},
            timeout=(config.connect_timeout_s, config.read_timeout_s),
            max_pool_connections=config.connections_max,
            socket_options=_SOCKET_OPTIONS,
        )

    def send(self, request: AWSPreparedRequest, **_: object) -> AWSResponse:
        """The answer; registered as the event that replaces botocore's own sending."""
        url = urlsplit(request.url)
        if (url.scheme, url.hostname, url.port) not in self._origins:
            raise StoreError(f"refused to send a request to {url.hostname!r}: not the configured endpoint")
        is_document = not request.stream_output
        request.stream_output = True  # the body is read below, within limits
        response = self._session.send(request)
        body = _Body(response.raw, self._clock, self._read_timeout_s, _DOCUMENT_SIZE_MAX if is_document else None)
        if 300 <= response.status_code < 400 and response.status_code != 304:
            body.close()
            raise StoreError(f"the server redirects (HTTP {response.status_code}); redirects are not followed")
        return AWSResponse(response.url, response.status_code, response.headers, body)


def _origins(config: S3StoreConfig) -> frozenset[tuple[str, str | None, int | None]]:
    url = urlsplit(config.endpoint)
    # For an address botocore uses the path style whatever was asked for.
    hosts = {url.hostname} if config.path_style else {url.hostname, f"{config.bucket}.{url.hostname}"}
    return frozenset((url.scheme, host, url.port) for host in hosts)


class _Body:
    """An answer's body with a size limit and a deadline that grows with what has arrived."""

    def __init__(self, raw: Any, clock: Clock, patience_s: float, size_max: int | None) -> None:
        self._raw = raw
        self._clock = clock
        self._deadline_s = clock.monotonic() + patience_s
        self._size_max = size_max
        self._size_bytes = 0

    def read(self, size: int | None = None) -> bytes:
        """Up to ``size`` bytes, as soon as there are any; none at the end."""
        part: bytes = self._raw.read1(_PART_SIZE if size is None else min(size, _PART_SIZE))
        self._size_bytes += len(part)
        if self._size_max is not None and self._size_bytes > self._size_max:
            self.close()
            raise LimitError(f"the server's answer is longer than {self._size_max} bytes")
        if self._clock.monotonic() > self._deadline_s + self._size_bytes / _RATE_MIN_BYTES_PER_S:
            self.close()
            raise StoreUnavailableError(f"the server sent {self._size_bytes} bytes in the time allowed: too slow")
        return part

    def stream(self) -> Iterator[bytes]:
        """Everything, part by part."""
        while part := self.read():
            yield part

    def close(self) -> None:
        """Give the connection up: what is left in it belongs to this answer."""
        self._raw.close()
