"""One connection: to one address, within one deadline, each phase measured; TLS always verified.

One idea: a deadline belongs to the whole request, not to a call, so a server that sends a byte now and then is not
waited for any longer than one that sends nothing.
"""

from __future__ import annotations

import errno
import io
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from govsec.clock import Clock
from govsec.errors import ConfigurationError, HostUnreachableError
from govsec.web.addresses import Address

#: This machine has no way there at all: that says nothing about the service.
NO_WAY = frozenset({errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})
_READ_SIZE = 64 << 10
#: A record of TLS (RFC 8446, 5.1): over TLS a timeout is for each of them, so each has what is left.
_WRITE_SIZE = 16 << 10


class RequestError(HostUnreachableError):
    """A request that came to nothing.

    ``phase``: resolve, connect, tls, send, answer; ``seen``: one English clause; ``errno``: of the system, where there
    is one; ``tls_code``: OpenSSL's number for what is wrong with the certificate, else 0.
    """

    def __init__(self, phase: str, seen: str, errno: int = 0, tls_code: int = 0) -> None:
        super().__init__(f"{phase}: {seen}")
        self.phase = phase
        self.seen = seen
        self.errno = errno
        self.tls_code = tls_code


class Deadline:
    """So long and no longer, over everything that is done until it ends."""

    def __init__(self, clock: Clock, timeout_s: float) -> None:
        self._clock = clock
        self.timeout_s = timeout_s
        self._end = clock.monotonic() + timeout_s

    def left(self, phase: str) -> float:
        """Seconds that are left, never 0.

        Raises:
            RequestError: none are.
        """
        left = self._end - self._clock.monotonic()
        if left <= 0:
            raise self.over(phase)
        return left

    def over(self, phase: str) -> RequestError:
        """What to say when the time is up."""
        return RequestError(phase, f"not done within {self.timeout_s:g} s", errno.ETIMEDOUT)


@dataclass(slots=True)
class Phases:
    """How long each part took, in seconds, summed over redirects: resolve, connect, tls, first_byte, whole."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def measured(self, name: str, clock: Clock) -> Iterator[None]:
        """Adds what the block takes."""
        begin = clock.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + clock.monotonic() - begin


def tls_context(ca_file: Path | None) -> ssl.SSLContext:
    """What servers are verified with: the system's authorities, or those of a file. There is no way to leave it out.

    Raises:
        ConfigurationError: the file cannot be used.
    """
    try:
        context = ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(f"{ca_file}: no file of authorities: {error}") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context


def connect(address: Address, port: int, deadline: Deadline) -> socket.socket:
    """A connected socket; whoever gets it closes it.

    Raises:
        RequestError: nobody answers there.
    """
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        connection = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise RequestError("connect", f"{error.strerror}", error.errno or 0) from error
    try:
        connection.settimeout(deadline.left("connect"))
        connection.connect((str(address), port))
    except TimeoutError as error:
        connection.close()
        raise deadline.over("connect") from error
    except OSError as error:
        connection.close()
        raise RequestError("connect", f"{address} port {port}: {error.strerror or error}", error.errno or 0) from error
    except RequestError:
        connection.close()
        raise
    return connection


def secure(connection: socket.socket, context: ssl.SSLContext, name: str, deadline: Deadline) -> ssl.SSLSocket:
    """The connection with verified TLS on it, for a server of that name. Closes the connection when it fails.

    Raises:
        RequestError: it is not that server, or no TLS is spoken there.
    """
    try:
        connection.settimeout(deadline.left("tls"))
        return context.wrap_socket(connection, server_hostname=name)
    except ssl.SSLCertVerificationError as error:
        connection.close()
        raise RequestError("tls", f"certificate: {error.verify_message}", tls_code=error.verify_code) from error
    except TimeoutError as error:
        connection.close()
        raise deadline.over("tls") from error
    except (OSError, ValueError) as error:  # SSLError is an OSError; ValueError: a name that cannot be asked for
        connection.close()
        raise RequestError("tls", _said(error)) from error
    except RequestError:
        connection.close()
        raise


class BoundedReader(io.RawIOBase):
    """A connection as a file that ends with its deadline, and after ``size_max`` bytes."""

    def __init__(self, connection: socket.socket, deadline: Deadline, size_max: int) -> None:
        super().__init__()
        self._connection = connection
        self._deadline = deadline
        self._left = size_max

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]  # what BufferedReader gives
        if self._left <= 0:
            raise RequestError("answer", "longer than its limit")
        self._connection.settimeout(self._deadline.left("answer"))
        view = memoryview(buffer)[: min(len(buffer), self._left, _READ_SIZE)]
        try:
            count = self._connection.recv_into(view)
        except TimeoutError as error:
            raise self._deadline.over("answer") from error
        except OSError as error:
            raise RequestError("answer", _said(error), error.errno or 0) from error
        self._left -= count
        return count


def send(connection: socket.socket, data: bytes, deadline: Deadline) -> None:
    """Send all of it.

    Raises:
        RequestError: the server did not take it.
    """
    view = memoryview(data)
    try:
        for begin in range(0, len(view), _WRITE_SIZE):
            connection.settimeout(deadline.left("send"))
            connection.sendall(view[begin : begin + _WRITE_SIZE])
    except TimeoutError as error:
        raise deadline.over("send") from error
    except OSError as error:
        raise RequestError("send", _said(error), error.errno or 0) from error


def _said(error: OSError | ValueError) -> str:
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.lower().replace("_", " ")
    return getattr(error, "strerror", None) or str(error)[:200]
