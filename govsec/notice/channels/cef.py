"""A notice as one line for a log collector: RFC 5424 with an ArcSight CEF record as its message.

Sources: RFC 5424 (6, header and PRI), RFC 5425 (4.3, octet counting), ArcSight Common Event Format, revision 25.
"""

from __future__ import annotations

import re

from govsec.clock import format_time
from govsec.notice.words import Words, visible
from govsec.records import Notice, Severity

#: local0; security collectors sort by CEF's own severity.
_FACILITY = 16
#: RFC 5424, table 2: 2 critical, 3 error, 4 warning, 5 notice, 6 informational.
_SYSLOG = {Severity.CRITICAL: 2, Severity.HIGH: 3, Severity.MEDIUM: 4, Severity.LOW: 5, Severity.INFO: 6}
#: CEF counts 0 to 10; 9 and 10 are "very high".
_CEF = {Severity.CRITICAL: 10, Severity.HIGH: 8, Severity.MEDIUM: 5, Severity.LOW: 3, Severity.INFO: 1}
#: What RFC 5425 says a receiver should take.
LINE_SIZE_MAX = 8192
_HEAD_MAX = 512
_NOT_PRINTUSASCII = re.compile(r"[^\x21-\x7e]")


def syslog_line(notice: Notice, words: Words, host: str, version: str) -> bytes:
    """The line without framing, cut to what every receiver takes."""
    priority = _FACILITY * 8 + _SYSLOG[notice.severity]
    name = _NOT_PRINTUSASCII.sub("-", host)[:255] or "-"
    head = f"<{priority}>1 {format_time(notice.time)} {name} govsec - {notice.kind[:32]} - "
    # The byte order mark says that the message is UTF-8 (RFC 5424, 6.4).
    line = head.encode("ascii") + b"\xef\xbb\xbf" + cef(notice, words, version).encode("utf-8")
    if len(line) <= LINE_SIZE_MAX:
        return line
    kept = line[:LINE_SIZE_MAX].decode("utf-8", "ignore").encode("utf-8")
    # An escape that was cut in two would end in a bare backslash.
    return kept[:-1] if (len(kept) - len(kept.rstrip(b"\\"))) % 2 else kept


def framed(line: bytes) -> bytes:
    """The line with its length before it."""
    return b"%d %s" % (len(line), line)


def cef(notice: Notice, words: Words, version: str) -> str:
    """The record. Fields of the header and of the extension have escapes of their own."""
    head = ("govsec", "govsec", version, notice.kind, words.title)
    extension = {
        "rt": format_time(notice.time),
        "externalId": notice.key,
        "msg": " / ".join(words.lines)[:1023],
        "cs1Label": "subject",
        "cs1": notice.subject,
        "cs2Label": "system",
        "cs2": notice.system,
    }
    fields = " ".join(f"{name}={_value(value)}" for name, value in extension.items() if value)
    return f"CEF:0|{'|'.join(_head(text) for text in head)}|{_CEF[notice.severity]}|{fields}"


def _head(text: str) -> str:
    # Cut first: half an escape would take the bar behind it along.
    return _flat(text)[:_HEAD_MAX].replace("\\", "\\\\").replace("|", "\\|")


def _value(text: str) -> str:
    return _flat(text).replace("\\", "\\\\").replace("=", "\\=")


def _flat(text: str) -> str:
    return visible(" ".join(text.split()))
