"""What sshd, sudo, su, login and systemd-logind say when somebody comes, goes or is refused.

One idea: a name that a stranger typed stands in the middle of the line, so what is trusted is read from the ends: the
last ``from ADDRESS port NUMBER`` of a line of sshd is sshd's own. One attempt is one record: where a program says a
thing twice (``Invalid user``, then ``Failed password``; PAM's own line), one of the two is taken.

What a user can choose is not told apart where the program itself does not: a folder that is called like the rest of a
line of sudo makes that line ambiguous.

Source: the sources of OpenSSH 9 (auth.c, auth2.c, packet.c), sudo 1.9 (lib/eventlog), util-linux 2.38 and shadow 4.13
(su, login), systemd 252 (logind-session.c), Linux-PAM 1.5 (pam_unix).
"""

from __future__ import annotations

import re
from collections import OrderedDict
from dataclasses import dataclass

from govsec.host.events import LoginOutcome, LoginTool

#: What calls itself what.
TOOLS = {
    "sshd": LoginTool.SSHD,
    "sshd-session": LoginTool.SSHD,
    "sudo": LoginTool.SUDO,
    "su": LoginTool.SU,
    "su-l": LoginTool.SU,
    "login": LoginTool.LOGIN,
    "systemd-logind": LoginTool.LOGIND,
}
#: Connections, and sessions of logind, that are remembered at once.
_REMEMBERED_MAX = 4096
#: No account has a longer name (LOGIN_NAME_MAX); what a stranger typed is cut.
USER_MAX = 256
_COMMAND_MAX = 512

_ACCEPTED = re.compile(
    r"Accepted (?P<method>\S{1,40}) for (?P<user>\S{1,256}) from (?P<source>\S{1,255}) port \d{1,5}(?: ssh2)?"
    r"(?:: .*)?\Z",
    re.DOTALL,
)
_FAILED = re.compile(
    r"(?:error: )?Failed (?P<method>\S{1,40}) for (?P<invalid>invalid user |illegal user )?(?P<user>.*)"
    r" from (?P<source>\S{1,255}) port \d{1,5}(?: ssh2)?(?:: .*)?\Z",
    re.DOTALL,
)
_NOT_ALLOWED = re.compile(
    r"(?:ROOT LOGIN REFUSED|User (?P<user>.*)) (?:from|FROM) (?P<source>\S{1,255})"
    r"(?: not allowed .*| port \d{1,5}.*)\Z",
    re.DOTALL,
)
_ENDED = re.compile(
    r"(?:Connection (?:closed|reset) by|Disconnected from|Disconnecting) (?P<kind>authenticating|invalid) user"
    r" (?P<user>.*) (?P<source>[0-9a-fA-F.:%\w-]{2,255}) port \d{1,5}(?:: .*)?(?: \[preauth\])?\Z",
    re.DOTALL,
)
_SESSION = re.compile(
    r"pam_unix\((?P<service>[\w-]{1,40}):session\): session (?P<what>opened|closed) for user (?P<user>\S{1,256}?)"
    r"(?:\(uid=\d{1,10}\))?(?: by (?P<by>[^\s(]*)(?:\(uid=\d{1,10}\))?)?\s*\Z"
)
#: The beginning of what sudo says. What follows may hold folders, which a user names: :func:`_sudo_fields` reads it.
_SUDO = re.compile(
    r"\s*(?P<by>\S{1,256}) : (?:(?P<why>[^;=]{1,200}) ; )?(?:HOST=\S+ ; )?TTY=(?P<terminal>\S{1,64}) ; "
    r"(?=CHROOT=|PWD=)"
)
_SUDO_USER = re.compile(r"(?P<user>\S{1,256}+)(?: ; |\Z)")
_SUDO_TRIES = re.compile(r"(?P<count>\d{1,4}) incorrect password attempts?")
_SU = re.compile(
    r"(?P<failed>FAILED SU )?\(to (?P<user>\S{1,256})\) (?P<by>\S{1,256}) on (?P<terminal>\S{1,64})\Z"
    r"|(?P<word>Successful|FAILED) su for (?P<user2>\S{1,256}) by (?P<by2>\S{1,256})\Z",
    re.IGNORECASE,
)
_LOGIN = re.compile(
    r"FAILED LOGIN (?:SESSION )?\(?(?P<number>\d{1,4})?\)? ?(?:on|FROM) '?(?P<terminal>[^\s']{1,64})'?"
    r"(?: from '?(?P<source>[^\s']{1,255})'?)? FOR '?(?P<user>.*?)'?, [^,]*\Z"
    r"|(?P<root>ROOT )?LOGIN +ON '?(?P<terminal2>[^\s']{1,64})'?(?: BY '?(?P<user2>[^\s']{1,256})'?)?"
    r"(?: FROM '?(?P<source2>[^\s']{1,255})'?)?\Z",
    re.IGNORECASE | re.DOTALL,
)
_LOGIND_NEW = re.compile(
    r"New session '?(?P<session>[\w-]{1,40})'? of user '?(?P<user>[^'\s]{1,256}?)'?(?: with .*)?\.\Z"
)
_LOGIND_GONE = re.compile(r"Removed session (?P<session>[\w-]{1,40})\.\Z")


@dataclass(frozen=True, slots=True)
class Login:
    """What one message says."""

    tool: LoginTool
    outcome: LoginOutcome
    user: str
    source: str | None = None
    terminal: str | None = None
    method: str | None = None
    by_user: str | None = None
    command: str | None = None
    count: int = 1


class LoginParser:
    """Reads the messages of one log in their order; remembers connections that have not shown their end yet."""

    def __init__(self) -> None:
        #: Processes of sshd whose refusals were told already.
        self._refused: OrderedDict[int, None] = OrderedDict()
        self._sessions: OrderedDict[str, str] = OrderedDict()

    def parse(self, program: str, pid: int | None, message: str) -> Login | None:
        """What the message tells; ``None`` when nobody came, went or was refused by it."""
        tool = TOOLS.get(program)
        if tool is None:
            return None
        session = _SESSION.match(message) if message.startswith("pam_unix(") else None
        if session is not None:
            outcome = LoginOutcome.OPENED if session["what"] == "opened" else LoginOutcome.CLOSED
            return Login(tool, outcome, session["user"], by_user=session["by"] or None)
        if tool is LoginTool.SSHD:
            return self._sshd(pid, message)
        if tool is LoginTool.SUDO:
            return _sudo(message)
        if tool is LoginTool.SU:
            return _su(message)
        if tool is LoginTool.LOGIN:
            return _login(message)
        return self._logind(message)

    def _sshd(self, pid: int | None, message: str) -> Login | None:
        if found := _ACCEPTED.match(message):
            self._refused.pop(pid or 0, None)
            return Login(LoginTool.SSHD, LoginOutcome.SUCCESS, _user(found), found["source"], method=found["method"])
        if found := _FAILED.match(message):
            self._remember(pid)
            return Login(LoginTool.SSHD, LoginOutcome.FAILURE, _user(found), found["source"], method=found["method"])
        if found := _NOT_ALLOWED.match(message):
            self._remember(pid)
            user = _user(found) if found["user"] is not None else "root"
            return Login(LoginTool.SSHD, LoginOutcome.FAILURE, user, found["source"], method="not allowed")
        if found := _ENDED.match(message):
            # Refused without a word on it: a client that offered only keys, or went away when it was asked.
            if pid is not None and self._refused.pop(pid, 0) is None:
                return None
            method = "invalid user" if found["kind"] == "invalid" else "none"
            return Login(LoginTool.SSHD, LoginOutcome.FAILURE, _user(found), found["source"], method=method)
        return None

    def _remember(self, pid: int | None) -> None:
        if pid is None:
            return
        self._refused[pid] = None
        self._refused.move_to_end(pid)
        if len(self._refused) > _REMEMBERED_MAX:
            self._refused.popitem(last=False)

    def _logind(self, message: str) -> Login | None:
        if found := _LOGIND_NEW.match(message):
            self._sessions[found["session"]] = found["user"]
            if len(self._sessions) > _REMEMBERED_MAX:
                self._sessions.popitem(last=False)
            return Login(LoginTool.LOGIND, LoginOutcome.OPENED, found["user"])
        if (found := _LOGIND_GONE.match(message)) and (user := self._sessions.pop(found["session"], None)):
            return Login(LoginTool.LOGIND, LoginOutcome.CLOSED, user)
        return None


def _sudo(message: str) -> Login | None:
    found = _SUDO.match(message)
    if found is None or (fields := _sudo_fields(message, found.end())) is None:
        return None
    user, rest = fields
    why = found["why"]
    start = rest.find("COMMAND=")
    command = rest[start + 8 :][:_COMMAND_MAX] if start >= 0 else None
    tries = _SUDO_TRIES.match(why) if why is not None else None
    return Login(
        LoginTool.SUDO,
        LoginOutcome.FAILURE if why is not None else LoginOutcome.SUCCESS,
        user,
        terminal=found["terminal"] if found["terminal"] != "unknown" else None,
        method="password" if tries is not None else (why[:100] if why is not None else None),
        by_user=found["by"],
        command=command,
        count=max(1, int(tries["count"])) if tries is not None else 1,
    )


def _sudo_fields(message: str, at: int) -> tuple[str, str] | None:
    """Whom sudo is asked to be, and what it says after that; ``at``: where the folders begin.

    Anybody who may write to the system's log chooses these lines, so each mark is looked for once, from left to right:
    one pattern for all of them tries each with each, and takes a tenth of a second for 8 KB.
    """
    if message.startswith("CHROOT=", at):
        at = message.find(" ; PWD=", at + len("CHROOT="))
        if at < 0:
            return None
        at += len(" ; ")
    at = message.find(" ; USER=", at + len("PWD="))
    while at >= 0:
        start = at + len(" ; USER=")
        if found := _SUDO_USER.match(message, start):
            return found["user"], message[found.end() :]
        at = message.find(" ; USER=", start)
    return None


def _su(message: str) -> Login | None:
    found = _SU.match(message)
    if found is None:
        return None
    is_failed = bool(found["failed"]) or (found["word"] or "").upper() == "FAILED"
    return Login(
        LoginTool.SU,
        LoginOutcome.FAILURE if is_failed else LoginOutcome.SUCCESS,
        found["user"] or found["user2"],
        terminal=found["terminal"],
        by_user=found["by"] or found["by2"],
    )


def _login(message: str) -> Login | None:
    found = _LOGIN.match(message)
    if found is None:
        return None
    if found["terminal"] is not None:
        user = found["user"][:USER_MAX]
        return Login(LoginTool.LOGIN, LoginOutcome.FAILURE, user, found["source"], found["terminal"], "password")
    user = found["user2"] or "root"
    return Login(LoginTool.LOGIN, LoginOutcome.SUCCESS, user, found["source2"], found["terminal2"], "password")


def _user(found: re.Match[str]) -> str:
    return found["user"][:USER_MAX]
