"""Syslog over verified TLS to a log collector: RFC 5424 records with CEF inside, framed by their length (RFC 5425).

The protocol has no answer, and the receipt says so. The session is closed in order before that: a receiver that reads
one record after the other answers only when it has read them all, so one that dies on the way is noticed, and gets the
record again. Some receivers never answer; one that did before and does not any more has died. What a receiver loses out
of its own memory afterwards nobody can know here.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Sequence
from pathlib import Path

from govsec.clock import Clock
from govsec.notice.api import DeliveryError, Limits, Receipt, ReceiptState
from govsec.notice.channels.cef import framed, syslog_line
from govsec.notice.words import Wording
from govsec.records import Notice
from govsec.web.addresses import Names, Resolve, system_resolve
from govsec.web.connection import Deadline, RequestError, secure, send, tls_context
from govsec.web.reach import reach

TIMEOUT_S = 30.0


class Syslog:
    """One record a notice, each over a connection of its own."""

    def __init__(
        self,
        name: str,
        host: str,
        port: int,
        wording: Wording,
        clock: Clock,
        *,
        version: str,
        named: Sequence[str] = (),
        ca_file: Path | None = None,
        resolve: Resolve = system_resolve,
    ) -> None:
        """Raises ``ConfigurationError`` when the file of authorities cannot be used."""
        self.name = name
        self.limits = Limits()
        self._host, self._port = host, port
        self._wording = wording
        self._clock = clock
        self._version = version
        self._named, self._resolve = tuple(named), resolve
        self._context: ssl.SSLContext = tls_context(ca_file)
        self._context.set_alpn_protocols([])
        self._says_goodbye = False

    def send(self, notice: Notice) -> Receipt:
        """Send the record. Raises as ``Channel.send``."""
        line = framed(syslog_line(notice, self._wording(notice), socket.gethostname(), self._version))
        names = Names(self._named, self._resolve, is_loopback_normal=False)
        deadline = Deadline(self._clock, TIMEOUT_S)
        try:
            plain = reach(names, names.addresses(self._host), self._port, deadline)
            with secure(plain, self._context, self._host, deadline) as connection:
                send(connection, line, deadline)
                connection.settimeout(deadline.left("answer"))
                # What the receiver does now is what it does: after one failure it is taken for one that hangs up.
                was_answered, self._says_goodbye = self._says_goodbye, _say_goodbye(connection)
            if was_answered and not self._says_goodbye:
                raise RequestError("answer", "the receiver used to end sessions in order, and was gone")
        except RequestError as error:
            raise DeliveryError(f"channel {self.name}: {self._host}: {error}", is_retryable=True) from error
        except OSError as error:
            why = error.strerror or type(error).__name__
            raise DeliveryError(f"channel {self.name}: {self._host}: {why}", is_retryable=True) from error
        return Receipt(ReceiptState.UNKNOWN, self._clock.now())


def _say_goodbye(connection: ssl.SSLSocket) -> bool:
    """Close the TLS session in order; True when the receiver answered that it does, too.

    A connection that is reset is a failure: the far side went away with something unread, which may be the record.
    """
    try:
        connection.unwrap()
    except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
        return False
    return True
