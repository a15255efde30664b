"""Protocols of lines in which people log in: FTP (RFC 959), SMTP (5321, 4954), POP3 (1939, 5034), IMAP (9051).

One idea: a client names a user and proves it in one line or several, and the server's next final answer says whether it
was let in. FTP tells every command and reply besides, for it is guessed at most. Passwords are passed over. Whatever
follows STARTTLS is encrypted, and what follows a message's or a file's beginning is not for us.
"""

from __future__ import annotations

import binascii
import re
from abc import abstractmethod
from base64 import b64decode

from govsec.dissect.messages import FlowRef, FtpCommand, FtpReply, LoginOutcome
from govsec.dissect.parsing import StreamParser
from govsec.dissect.wire import show
from govsec.errors import FormatError

_LINE_MAX = 4 << 10
_DEPTH = 64 << 10
_FTP_COMMANDS = frozenset(
    b"USER PASS ACCT AUTH FEAT SYST OPTS CLNT HOST PBSZ PROT CWD PWD XPWD TYPE PASV EPSV PORT EPRT LIST NLST MLSD MLST"
    b" RETR STOR APPE DELE SITE SIZE MDTM MKD RMD RNFR RNTO QUIT NOOP HELP STAT REST ABOR REIN ALLO STRU MODE".split()
)
_SECRET_COMMANDS = frozenset({"PASS", "ACCT", "ADAT"})
_SMTP_COMMANDS = frozenset({b"EHLO", b"HELO", b"LHLO"})
_WORD = re.compile(rb"([A-Za-z]{3,12})(?=[ \r\n])")
_FTP_REPLY = re.compile(rb"(\d{3})([ -])(.*)", re.DOTALL)
_IMAP_COMMAND = re.compile(rb"([A-Za-z0-9.+-]{1,32}) ([A-Za-z]{3,20})(?: (.*))?\Z", re.DOTALL)
_IMAP_USER = re.compile(rb'"((?:[^"\\]|\\.)*)"|([^ "{]+)')


def recognise_lines(client: bytes, server: bytes) -> type[StreamParser] | bool | None:
    """The parser for what both sides said first; False: none of these; None: too little was said to tell.

    FTP and SMTP greet alike, so the client's first command decides.
    """
    if server.startswith(b"* OK") or server.startswith(b"* PREAUTH"):
        return ImapParser
    if server.startswith(b"+OK"):
        return Pop3Parser
    greets = server[:4] in (b"220 ", b"220-", b"120 ")
    if not greets and (server or not client):
        short = any(word.startswith(server) for word in (b"* OK", b"* PREAUTH", b"+OK", b"220 ", b"220-", b"120 "))
        return None if short else False
    word = _WORD.match(client)
    command = word[1].upper() if word else b""
    if command in _SMTP_COMMANDS:
        return SmtpParser
    if command in _FTP_COMMANDS and (greets or command in (b"USER", b"FEAT")):
        return FtpParser
    if not client or (b"\n" not in client and len(client) < 16 and greets):
        return None
    return False


class _LineParser(StreamParser):
    """Cuts both sides into lines."""

    depth = _DEPTH

    def __init__(self, flow: FlowRef) -> None:
        super().__init__(flow)
        self._user: str | None = None
        self._is_proving = False

    def read(self, is_originator: bool, data: bytes, time_ns: int) -> int:
        at = 0
        while self.wants[is_originator] and not self.is_handed_over and (end := data.find(b"\n", at)) >= 0:
            self._line(is_originator, data[at : min(end, at + _LINE_MAX)].rstrip(b"\r"), time_ns)
            at = end + 1
        if len(data) - at > _LINE_MAX:
            raise FormatError(f"a line of {self.name} of more than {_LINE_MAX} bytes")
        return at

    def _line(self, is_originator: bool, line: bytes, time_ns: int) -> None:
        if is_originator:
            self._command(line, time_ns)
        else:
            self._reply(line, time_ns)

    @abstractmethod
    def _command(self, line: bytes, time_ns: int) -> None:
        """A line of the client."""

    @abstractmethod
    def _reply(self, line: bytes, time_ns: int) -> None:
        """A line of the server."""

    def _answer(self, time_ns: int, *, is_accepted: bool) -> None:
        self._is_proving = False
        self.messages.append(LoginOutcome(time_ns, self.flow, True, self.name, self._user, is_accepted))


class FtpParser(_LineParser):
    """Commands and replies of FTP's control connection."""

    name = "ftp"

    def __init__(self, flow: FlowRef) -> None:
        super().__init__(flow)
        self._last = ""
        self._replying = b""

    def _command(self, line: bytes, time_ns: int) -> None:
        word, _, argument = line.partition(b" ")
        command = show(word.strip(), 16).upper()
        if command == "USER":
            self._user = show(argument.strip())
        self._is_proving = command in ("USER", "PASS")
        self._last = command
        shown = "" if command in _SECRET_COMMANDS else show(argument.strip())
        self.messages.append(FtpCommand(time_ns, self.flow, True, command, shown))

    def _reply(self, line: bytes, time_ns: int) -> None:
        match = _FTP_REPLY.match(line)
        if self._replying and not line.startswith(self._replying + b" "):
            return  # inside a reply of several lines
        if match is None:
            if not line:
                return
            raise FormatError("a reply of FTP without a code")
        if match[2] == b"-":
            self._replying = match[1]
            return
        self._replying = b""
        code, command = int(match[1]), self._last
        self._last = ""
        self.messages.append(FtpReply(time_ns, self.flow, False, code, show(match[3]), command))
        if self._is_proving and code in (230, 530, 430, 421):
            self._answer(time_ns, is_accepted=code == 230)
        self.is_handed_over = command == "AUTH" and code == 234


class SmtpParser(_LineParser):
    """Log-ins to a mail server."""

    name = "smtp"

    def __init__(self, flow: FlowRef) -> None:
        super().__init__(flow)
        self._mechanism = ""
        self._is_starting_tls = False
        self._replying = b""

    def _command(self, line: bytes, time_ns: int) -> None:
        if self._is_proving:
            if self._mechanism == "LOGIN" and self._user is None:
                self._user = _user(line, whole=True)
            elif self._mechanism == "PLAIN" and self._user is None:
                self._user = _user(line, whole=False)
            return
        word, _, rest = line.partition(b" ")
        command = word.upper()
        if command == b"AUTH":
            mechanism, _, initial = rest.strip().partition(b" ")
            self._mechanism = show(mechanism.upper(), 20)
            self._user = _user(initial, whole=self._mechanism == "LOGIN") if initial else None
            self._is_proving = True
        elif command == b"STARTTLS":
            self._is_starting_tls = True
        elif command in (b"DATA", b"BDAT"):
            self.stop()

    def _reply(self, line: bytes, time_ns: int) -> None:
        match = _FTP_REPLY.match(line)
        if match is None:
            raise FormatError("a reply of SMTP without a code")
        if match[2] == b"-":
            return
        code = int(match[1])
        if self._is_starting_tls and code == 220:
            self.is_handed_over = True
        elif self._is_proving and code != 334:
            self._answer(time_ns, is_accepted=code == 235)
        self._is_starting_tls = False


class Pop3Parser(_LineParser):
    """Log-ins to a mail box by POP3."""

    name = "pop3"

    def __init__(self, flow: FlowRef) -> None:
        super().__init__(flow)
        self._last = b""

    def _command(self, line: bytes, time_ns: int) -> None:
        if self._is_proving and self._last == b"AUTH":
            self._user = self._user or _user(line, whole=False)
            return
        word, _, rest = line.partition(b" ")
        self._last = word.strip().upper()
        if self._last == b"USER":
            self._user = show(rest.strip())
        elif self._last == b"APOP":
            self._user = show(rest.strip().partition(b" ")[0])
        elif self._last == b"AUTH":
            _, _, initial = rest.strip().partition(b" ")
            self._user = _user(initial, whole=False) if initial else None
        self._is_proving = self._last in (b"PASS", b"APOP", b"AUTH")

    def _reply(self, line: bytes, time_ns: int) -> None:
        if self._is_proving and line[:3] in (b"+OK", b"-ER"):
            accepted = line.startswith(b"+OK")
            self._answer(time_ns, is_accepted=accepted)
            if accepted:
                self.stop()
        elif self._last == b"STLS" and line.startswith(b"+OK"):
            self.is_handed_over = True


class ImapParser(_LineParser):
    """Log-ins to a mail box by IMAP."""

    name = "imap"

    def __init__(self, flow: FlowRef) -> None:
        super().__init__(flow)
        self._tag = b""
        self._is_starting_tls = False

    def _command(self, line: bytes, time_ns: int) -> None:
        match = _IMAP_COMMAND.match(line)
        if match is None or (self._is_proving and match[2].upper() not in (b"LOGIN", b"AUTHENTICATE")):
            if self._is_proving and self._user is None:  # a literal, or the answer to a challenge
                self._user = _user(line, whole=False)
            return
        command = match[2].upper()
        self._tag = match[1]
        self._is_starting_tls = command == b"STARTTLS"
        self._is_proving = command in (b"LOGIN", b"AUTHENTICATE")
        self._user = None
        if command == b"LOGIN" and (user := _IMAP_USER.match(match[3] or b"")):
            self._user = show(user[1] or user[2] or b"")

    def _reply(self, line: bytes, time_ns: int) -> None:
        tag, _, rest = line.partition(b" ")
        if tag != self._tag or not tag:
            return
        if self._is_starting_tls and rest[:2].upper() == b"OK":
            self.is_handed_over = True
        elif self._is_proving:
            accepted = rest[:2].upper() == b"OK"
            self._answer(time_ns, is_accepted=accepted)
            if accepted:
                self.stop()


def _user(text: bytes, *, whole: bool) -> str | None:
    """The user in SASL's LOGIN (the ``whole`` answer) or PLAIN (between two null bytes); None when it is neither."""
    try:
        data = b64decode(text.strip()[:_LINE_MAX], validate=True)
    except (binascii.Error, ValueError):
        return None
    if whole:
        return show(data)
    parts = data.split(b"\0")
    return show(parts[1]) if len(parts) == 3 else None
