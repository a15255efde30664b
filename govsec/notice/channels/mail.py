"""A notice as a mail: headers that cannot be broken into, text and HTML, one thread a group.

Source: RFC 5322, RFC 2045 to 2049 by the standard library's ``email`` package.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime

from govsec.errors import ConfigurationError
from govsec.notice.words import Words, cut, escaped_html
from govsec.records import Notice, Severity

_SUBJECT_SIZE = 300
#: X-Priority as mail programs read it: 1 highest, 3 normal.
_PRIORITIES = {Severity.CRITICAL: "1", Severity.HIGH: "2"}


def address_of(text: str, where: str) -> Address:
    """A mail address of the configuration.

    Raises:
        ConfigurationError: it is none.
    """
    try:
        return Address(addr_spec=text)
    except (ValueError, IndexError, MessageError) as error:
        raise ConfigurationError(f"{where}: {text[:100]!r} is no mail address") from error


def mail_of(notice: Notice, words: Words, sender: Address, recipients: Sequence[Address]) -> EmailMessage:
    """The mail. The same notice has the same Message-ID, so that a double can be told."""
    message = EmailMessage()
    message["From"] = sender
    message["To"] = tuple(recipients)
    message["Subject"] = cut(words.title, _SUBJECT_SIZE)
    message["Date"] = format_datetime(notice.time)
    message["Message-ID"] = f"<{_digest(notice.key)}@{_domain(sender)}>"
    thread = notice.key.partition("#")[0]
    message["References"] = f"<{_digest(thread)}@{_domain(sender)}>"
    message["Auto-Submitted"] = "auto-generated"
    message["X-Priority"] = _PRIORITIES.get(notice.severity, "3")
    message.set_content(words.text() + "\n")
    lines = "".join(f"<p>{escaped_html(line)}</p>" for line in words.lines)
    message.add_alternative(f"<html><body><h3>{escaped_html(words.title)}</h3>{lines}</body></html>", subtype="html")
    return message


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:40]


def _domain(sender: Address) -> str:
    return sender.domain.encode("idna").decode("ascii") if sender.domain else "govsec.invalid"
