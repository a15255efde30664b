"""Mail over SMTP with verified TLS: STARTTLS or from the first byte; never without.

SMTP answers for each recipient, and so does this: one mail to all that wait for it, and each recipient taken, to be
tried again, or refused for itself. So a full mailbox sends nobody the mail twice. Every try says in its head the same
recipients, all of them: who is told sees who else is.

Source: RFC 5321, RFC 3207 (STARTTLS), RFC 8314 (TLS from the first byte), RFC 4954 (AUTH).
"""

from __future__ import annotations

import io
import smtplib
import socket
import ssl
from collections.abc import Sequence
from contextlib import closing, suppress
from email.headerregistry import Address
from email.message import EmailMessage
from pathlib import Path
from typing import Literal

from govsec.clock import Clock
from govsec.notice.api import DeliveryError, Limits, Receipt, ReceiptState
from govsec.notice.attached import attached
from govsec.notice.channels.mail import check_head, mail_of
from govsec.notice.parts import Part, numbered
from govsec.notice.words import Wording
from govsec.records import Notice
from govsec.web.addresses import Names, Resolve, system_resolve
from govsec.web.connection import BoundedReader, Deadline, RequestError, secure, send, tls_context
from govsec.web.reach import reach

#: The whole session; an outbox's lease is three minutes.
TIMEOUT_S = 50.0
#: Answers of a session, before and after STARTTLS each.
_ANSWERS_SIZE_MAX = 256 << 10
#: Service not available, closing (RFC 5321, 4.2.3).
_CLOSING = 421


class _Line:
    """A connection as ``smtplib`` uses one: every read and write takes what is left of one deadline."""

    def __init__(self, connection: socket.socket, deadline: Deadline) -> None:
        self._connection = connection
        self._deadline = deadline

    def secure(self, context: ssl.SSLContext, name: str) -> None:
        """Verified TLS from here on; what the far side sent before it is forgotten with the old reader."""
        self._connection = secure(self._connection, context, name, self._deadline)

    def makefile(self, _: str) -> io.BufferedReader:
        return io.BufferedReader(BoundedReader(self._connection, self._deadline, _ANSWERS_SIZE_MAX))

    def sendall(self, data: bytes) -> None:
        send(self._connection, data, self._deadline)

    def close(self) -> None:
        self._connection.close()

    def own_name(self) -> str:
        """This end's address as EHLO takes it (RFC 5321, 4.1.3): asking a resolver for it would have no deadline."""
        address = self._connection.getsockname()[0]
        return f"[IPv6:{address}]" if ":" in address else f"[{address}]"


class _Session(smtplib.SMTP):
    """A session over a line that is open already."""

    def __init__(self, line: _Line, name: str) -> None:
        self._line = line
        self._name = name
        super().__init__(local_hostname=line.own_name())
        code, said = self.connect(name, 25)
        if code != 220:
            raise smtplib.SMTPConnectError(code, said)

    def secure(self, context: ssl.SSLContext) -> None:
        """STARTTLS, for the server of the name. Raises as ``smtplib`` and ``connection.secure``."""
        self.ehlo_or_helo_if_needed()
        if not self.has_extn("starttls"):
            raise RequestError("tls", "the server offers no STARTTLS; nothing is sent without TLS")
        code, said = self.docmd("STARTTLS")
        if code != 220:
            raise smtplib.SMTPResponseException(code, said)
        self._line.secure(context, self._name)
        # RFC 3207, 4.2: what was learned before TLS is forgotten.
        self.file = None
        self.helo_resp = self.ehlo_resp = None
        self.esmtp_features = {}
        self.does_esmtp = False

    def sendmail(  # type: ignore[override]  # what send_message() gives
        self, from_addr: str, to_addrs: Sequence[str], msg: bytes, *options: Sequence[str]
    ) -> dict[str, tuple[int, bytes]]:
        """The finished bytes come by here, whichever way the standard library wrote them."""
        check_head(msg)
        return super().sendmail(from_addr, to_addrs, msg, *options)

    def say_goodbye(self) -> None:
        """What was taken is taken, whatever comes of this (RFC 5321, 4.1.1.10)."""
        with suppress(smtplib.SMTPException, RequestError, OSError):
            self.docmd("QUIT")

    def _get_socket(self, host: str, port: int, timeout: float) -> _Line:
        return self._line


class Mail:
    """One part a recipient; those that go together are one mail."""

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
        self._sender = sender
        self._recipients = tuple({address.addr_spec: address for address in recipients}.values())
        self._wording = wording
        self._clock = clock
        self._user, self._password = user, password
        self._named, self._resolve = tuple(named), resolve
        self._context: ssl.SSLContext = tls_context(ca_file)
        self._context.set_alpn_protocols([])

    def send(self, notice: Notice) -> Receipt:
        """Send the mail to all. Raises as ``Channel.send``, and names those whom the server refused."""
        parts = self.parts_of(notice)
        outcomes = self.send_parts(notice, parts)
        failed = {part.to: each for part, each in zip(parts, outcomes, strict=True) if isinstance(each, DeliveryError)}
        for error in failed.values():
            raise DeliveryError(f"{', '.join(failed)}: {error}", is_retryable=error.is_retryable) from error
        receipt = outcomes[0]
        assert isinstance(receipt, Receipt)  # none failed, and there is one recipient at least
        return receipt

    def parts_of(self, notice: Notice) -> tuple[Part, ...]:
        """The same words to each recipient."""
        return numbered([self._wording(notice)], recipients=[address.addr_spec for address in self._recipients])

    def send_part(self, notice: Notice, part: Part) -> Receipt:
        """Send the mail to one recipient. Raises as ``Channel.send``."""
        (outcome,) = self.send_parts(notice, [part])
        if isinstance(outcome, DeliveryError):
            raise outcome
        return outcome

    def send_parts(self, notice: Notice, parts: Sequence[Part]) -> tuple[Receipt | DeliveryError, ...]:
        """Send one mail to the recipients of these parts. Raises and gives as ``ForSeveral.send_parts``."""
        files, words = attached(notice.attachments, parts[0].words)
        message = mail_of(notice, words, self._sender, self._recipients, files)
        refused = self._refused(message, [part.to for part in parts])
        receipt = Receipt(ReceiptState.ACCEPTED, self._clock.now(), str(message["Message-ID"]))
        return tuple(
            self._failed("the server refuses the recipient", refused[part.to]) if part.to in refused else receipt
            for part in parts
        )

    def _refused(self, message: EmailMessage, recipients: Sequence[str]) -> dict[str, int]:
        """Whom the server did not take the mail for, with its answer to each. Raises as ``Channel.send``."""
        try:
            with closing(self._connected(Deadline(self._clock, TIMEOUT_S))) as line:
                session = _Session(line, self._host)
                if self._tls == "starttls":
                    session.secure(self._context)
                if self._user:
                    session.login(self._user, self._password)
                refused = session.send_message(message, to_addrs=recipients)
                session.say_goodbye()
        except smtplib.SMTPRecipientsRefused as error:
            # Nobody got it: whom it did not refuse waits with the others for a server that goes on.
            codes = {to: code for to, (code, _) in error.recipients.items()}
            return {to: codes.get(to, _CLOSING) for to in recipients}
        except smtplib.SMTPAuthenticationError as error:
            # The server's words may quote what was sent: only the code is told.
            raise self._failed("the server refuses the user", error.smtp_code) from error
        except smtplib.SMTPResponseException as error:
            raise self._failed("the server refuses", error.smtp_code) from error
        except (smtplib.SMTPException, OSError, RequestError, UnicodeError) as error:
            why = str(error)[:200] if isinstance(error, RequestError) else type(error).__name__
            raise DeliveryError(f"channel {self.name}: {self._host}: {why}", is_retryable=True) from error
        return {to: code for to, (code, _) in refused.items()}

    def _connected(self, deadline: Deadline) -> _Line:
        names = Names(self._named, self._resolve, is_loopback_normal=False)
        line = _Line(reach(names, names.addresses(self._host), self._port, deadline), deadline)
        if self._tls == "implicit":
            line.secure(self._context, self._host)
        return line

    def _failed(self, what: str, code: int) -> DeliveryError:
        # RFC 5321, 4.2.1: 5yz will not pass; what is no code at all is no refusal.
        return DeliveryError(f"channel {self.name}: {self._host}: {what} ({code})", is_retryable=not 500 <= code < 600)
