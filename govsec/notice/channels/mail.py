"""A notice as a mail: headers that cannot be broken into, text and HTML, one thread a group.

The ``email`` package reads what it is given for a header as a mail's reader would: encoded words in it are decoded, and
real line breaks came out of them. So nothing that begins an encoded word is handed to it, and the head of the finished
bytes is looked at again before they leave.

Source: RFC 5322, RFC 2045 to 2049 by the standard library's ``email`` package.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime

from govsec.errors import ConfigurationError
from govsec.notice.api import DeliveryError
from govsec.notice.attached import File
from govsec.notice.words import Words, cut, escaped_html
from govsec.records import Notice, Severity

_SUBJECT_SIZE = 300
#: X-Priority as mail programs read it: 1 highest, 3 normal.
_PRIORITIES = {Severity.CRITICAL: "1", Severity.HIGH: "2"}

_NAMES = (
    "From", "To", "Subject", "Date", "Message-ID", "References", "Auto-Submitted", "X-Priority", "MIME-Version",
    "Content-Type",
)  # fmt: skip
_EXPECTED = sorted(name.lower().encode() for name in _NAMES)
#: How servers end a line: some take a carriage return alone.
_LINE_END = re.compile(rb"\r\n|\r|\n")


def address_of(text: str, where: str) -> Address:
    """A mail address of the configuration, its domain in ASCII: not every server takes another (RFC 6531).

    Raises:
        ConfigurationError: it is none.
    """
    try:
        address = Address(addr_spec=text)
        return Address(username=address.username, domain=address.domain.encode("idna").decode("ascii"))
    except (ValueError, IndexError, MessageError) as error:
        raise ConfigurationError(f"{where}: {text[:100]!r} is no mail address") from error


def mail_of(
    notice: Notice, words: Words, sender: Address, recipients: Sequence[Address], files: Sequence[File] = ()
) -> EmailMessage:
    """The mail. The same notice has the same Message-ID, so that a double can be told.

    Raises:
        DeliveryError: what it says cannot stand in a mail; no other try helps.
    """
    try:
        return _mail(notice, words, sender, recipients, files)
    except (MessageError, ValueError) as error:
        raise _refused(f"{type(error).__name__} while it was written") from error


def check_head(data: bytes) -> None:
    """Look at a finished mail: it must have the headers that we give it, each once, and no other.

    Raises:
        DeliveryError: it has not.
    """
    names = []
    for line in _LINE_END.split(data):
        if not line:
            break
        if b"\0" in line:
            raise _refused("a NUL")
        if not line.startswith((b" ", b"\t")):
            names.append(line.partition(b":")[0].lower())
    if sorted(names) != _EXPECTED:
        raise _refused("other headers than it should have")


def _refused(what: str) -> DeliveryError:
    return DeliveryError(f"mail: its head has {what}", is_retryable=False)


def _mail(
    notice: Notice, words: Words, sender: Address, recipients: Sequence[Address], files: Sequence[File]
) -> EmailMessage:
    message = EmailMessage()
    message["From"] = sender
    message["To"] = tuple(recipients)
    message["Subject"] = _unencoded(cut(words.title, _SUBJECT_SIZE))
    message["Date"] = format_datetime(notice.time)
    message["Message-ID"] = f"<{_digest(notice.key)}@{_domain(sender)}>"
    thread = notice.key.partition("#")[0]
    message["References"] = f"<{_digest(thread)}@{_domain(sender)}>"
    message["Auto-Submitted"] = "auto-generated"
    message["X-Priority"] = _PRIORITIES.get(notice.severity, "3")
    message.set_content(words.text() + "\n")
    lines = "".join(f"<p>{escaped_html(line)}</p>" for line in words.lines)
    message.add_alternative(f"<html><body><h3>{escaped_html(words.title)}</h3>{lines}</body></html>", subtype="html")
    for file in files:
        message.add_attachment(
            file.data, maintype="application", subtype="octet-stream", filename=_unencoded(file.name)
        )
    return message


def _unencoded(text: str) -> str:
    """``text`` with no encoded word in it (RFC 2047, 2), and on one line.

    Raises:
        DeliveryError: it has a line break or a NUL.
    """
    if any(mark in text for mark in "\r\n\0"):
        raise _refused("a line break or a NUL")
    return text.replace("=?", "= ?")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:40]


def _domain(sender: Address) -> str:
    return sender.domain.encode("idna").decode("ascii") if sender.domain else "govsec.invalid"
