"""Mail over SMTP with verified TLS: STARTTLS or from the first byte; never without.

A recipient that the server refuses fails the notice, and the others get it again with the next try: to be told twice is
better than not at all, and the Message-ID shows the double.

Source: RFC 5321, RFC 3207 (STARTTLS), RFC 8314 (TLS from the first byte), RFC 4954 (AUTH).
"""

from __future__ import annotations

import smtplib
import socket
import ssl
from collections.abc import Sequence
from email.headerregistry import Address
from pathlib import Path
from typing import Literal

from govsec.clock import Clock
from govsec.notice.api import DeliveryError, Limits, Receipt, ReceiptState
from govsec.notice.channels.mail import check_head, mail_of
from govsec.notice.words import Wording
from govsec.records import Notice
from govsec.web.addresses import Names, Resolve, system_resolve
from govsec.web.connection import Deadline, RequestError, secure, tls_context
from govsec.web.reach import reach

TIMEOUT_S = 50.0


class _Session(smtplib.SMTP):
    """A session over a connection that is open already; the name is what TLS verifies."""

    def __init__(self, connection: socket.socket, name: str) -> None:
        self._connection = connection
        super().__init__(timeout=TIMEOUT_S)
        self._host = name  # what starttls() asks the server to be
        code, said = self.connect(name, 25)
        if code != 220:
            raise smtplib.SMTPConnectError(code, said)

    def sendmail(  # type: ignore[override]  # what send_message() gives
        self, from_addr: str, to_addrs: Sequence[str], msg: bytes, *options: Sequence[str]
    ) -> dict[str, tuple[int, bytes]]:
        """The finished bytes come by here, whichever way the standard library wrote them."""
        check_head(msg)
        return super().sendmail(from_addr, to_addrs, msg, *options)

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        return self._connection


class Mail:
    """One mail a notice, to all recipients."""

    def __init__(
        self,
        name: str,
        host: str,
        port: int,
        tls: Literal["starttls", "implicit"],
        sender: Address,
        recipients: Sequence[Address],
        wording: Wording,
        clock: Clock,
        *,
        user: str = "",
        password: str = "",
        named: Sequence[str] = (),
        ca_file: Path | None = None,
        resolve: Resolve = system_resolve,
    ) -> None:
        """Raises ``ConfigurationError`` when the file of authorities cannot be used."""
        self.name = name
        self.limits = Limits(per_minute=60)
        self._host, self._port, self._tls = host, port, tls
        self._sender, self._recipients = sender, tuple(recipients)
        self._wording = wording
        self._clock = clock
        self._user, self._password = user, password
        self._named, self._resolve = tuple(named), resolve
        self._context: ssl.SSLContext = tls_context(ca_file)
        self._context.set_alpn_protocols([])

    def send(self, notice: Notice) -> Receipt:
        """Send the mail. Raises as ``Channel.send``."""
        message = mail_of(notice, self._wording(notice), self._sender, self._recipients)
        try:
            with self._session() as session:
                if self._user:
                    session.login(self._user, self._password)
                refused = session.send_message(message)
        except smtplib.SMTPRecipientsRefused as error:
            raise self._failed("recipients refused", min(code for code, _ in error.recipients.values())) from error
        except smtplib.SMTPAuthenticationError as error:
            # The server's words may quote what was sent: only the code is told.
            raise self._failed("the server refuses the user", error.smtp_code) from error
        except smtplib.SMTPResponseException as error:
            raise self._failed("the server refuses", error.smtp_code) from error
        except (smtplib.SMTPException, OSError, RequestError, UnicodeError) as error:
            why = str(error)[:200] if isinstance(error, RequestError) else type(error).__name__
            raise DeliveryError(f"channel {self.name}: {self._host}: {why}", is_retryable=True) from error
        if refused:
            raise self._failed(f"{len(refused)} of the recipients refused", min(code for code, _ in refused.values()))
        return Receipt(ReceiptState.ACCEPTED, self._clock.now(), str(message["Message-ID"]))

    def _session(self) -> _Session:
        names = Names(self._named, self._resolve, is_loopback_normal=False)
        deadline = Deadline(self._clock, TIMEOUT_S)
        connection = reach(names, names.addresses(self._host), self._port, deadline)
        if self._tls == "implicit":
            connection = secure(connection, self._context, self._host, deadline)
        connection.settimeout(deadline.left("send"))
        session = _Session(connection, self._host)
        if self._tls == "starttls":
            session.ehlo_or_helo_if_needed()
            if not session.has_extn("starttls"):
                session.close()
                raise RequestError("tls", "the server offers no STARTTLS; nothing is sent without TLS")
            session.starttls(context=self._context)
        return session

    def _failed(self, what: str, code: int) -> DeliveryError:
        # RFC 5321, 4.2.1: 4yz may pass, 5yz will not.
        return DeliveryError(f"channel {self.name}: {self._host}: {what} ({code})", is_retryable=400 <= code < 500)
