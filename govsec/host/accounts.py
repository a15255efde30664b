"""Accounts from the files of the system (passwd(5), group(5), shadow(5)), and who is logged in.

One idea: the files are read, not the name service: an LDAP server that does not answer would hold us, and accounts that
appear in the files are those that an intruder makes. Accounts of directories are therefore not in this table. Of a
password it is kept whether there is one, and whether it is locked; the hash never leaves the function that read it.
"""

from __future__ import annotations

import re

import psutil

from govsec.errors import GovsecError
from govsec.host.machine import psutil_at
from govsec.host.tables import Account, LoginSession, TableName
from govsec.host.tree import Gaps, Tree, reason_of

ACCOUNTS_MAX = 100_000
SESSIONS_MAX = 10_000
_FILE_BYTES_MAX = 32 << 20
_SESSION_BYTES_MAX = 64 << 10
_FIELDS_PASSWD = 7
#: The C library takes a line that ends after the group for an account all the same.
_FIELDS_NEEDED = 4
_NUMBER = re.compile(r"[ \t]*([+-]?[0-9]{1,20})[ \t]*")
_LOGIND = "/run/systemd/sessions"
_SECOND_NS = 1_000_000_000


def read_accounts(tree: Tree, gaps: Gaps) -> tuple[Account, ...]:
    """The accounts in the order of the file: two lines may bear one name, and both count.

    Raises:
        OSError, GovsecError: ``/etc/passwd`` cannot be read.
    """
    lines = tree.read_text("/etc/passwd", _FILE_BYTES_MAX).split("\n")
    groups, group_names = _groups(tree, gaps)
    passwords = _passwords(tree, gaps)
    rows: list[Account] = []
    for line in lines:
        fields = line.split(":")
        if not line.strip() or line.startswith("#"):
            continue
        fields += [""] * (_FIELDS_PASSWD - len(fields)) if len(fields) >= _FIELDS_NEEDED else []
        uid, gid = (_number(text) for text in fields[2:4]) if len(fields) >= _FIELDS_PASSWD else (None, None)
        if uid is None or gid is None or not fields[0]:
            # Lines of NIS (+::::::) and broken ones give no account, but one should know that they are there.
            gaps.add(TableName.ACCOUNTS, "line of /etc/passwd that is no account")
            continue
        if len(rows) >= ACCOUNTS_MAX:
            gaps.add(TableName.ACCOUNTS, f"more than {ACCOUNTS_MAX} accounts")
            continue
        name, in_passwd = fields[0], fields[1]
        first = (group_names[gid],) if gid in group_names else ()
        # "x" sends to shadow; anything else here is the password itself, an empty one too.
        in_force = passwords.get(name) if in_passwd == "x" else _password(in_passwd)  # noqa: S105
        has_password, is_locked = in_force if in_force is not None else (None, None)
        rows.append(
            Account(
                name,
                uid,
                gid,
                tuple(dict.fromkeys((*first, *groups.get(name, ())))),
                fields[5],
                fields[6],
                is_locked,
                has_password,
            )
        )
    return tuple(rows)


def _number(text: str) -> int | None:
    """A number as the C library reads it, blanks and signs included: a root account must not hide behind ``+0``."""
    found = _NUMBER.fullmatch(text)
    return int(found[1]) % (1 << 32) if found is not None else None


def _groups(tree: Tree, gaps: Gaps) -> tuple[dict[str, list[str]], dict[int, str]]:
    """Further groups of each account by name, and the name of every group by number."""
    try:
        lines = tree.read_text("/etc/group", _FILE_BYTES_MAX).split("\n")
    except (OSError, GovsecError) as error:
        gaps.add(TableName.ACCOUNTS, f"groups are not known: {reason_of(error)}", 0)
        return {}, {}
    members: dict[str, list[str]] = {}
    names: dict[int, str] = {}
    for line in lines:
        fields = line.split(":")
        if len(fields) < 4 or not fields[2].isdecimal():
            continue
        names.setdefault(int(fields[2]), fields[0])
        for member in fields[3].split(","):
            if member:
                members.setdefault(member.strip(), []).append(fields[0])
    return members, names


def _passwords(tree: Tree, gaps: Gaps) -> dict[str, tuple[bool, bool]]:
    """Whether each account has a password, and whether it is locked."""
    try:
        lines = tree.read_text("/etc/shadow", _FILE_BYTES_MAX).split("\n")
    except (OSError, GovsecError) as error:
        gaps.add(TableName.ACCOUNTS, f"whether passwords are set is not known: {reason_of(error)}", 0)
        return {}
    fields = (line.split(":", 2) for line in lines if ":" in line)
    return {field[0]: _password(field[1]) for field in fields}


def _password(field: str) -> tuple[bool, bool]:
    """Whether there is one, and whether it is locked: ``!`` and ``*`` are no hash of anything (shadow(5))."""
    is_locked = field.startswith(("!", "*"))
    return bool(field.strip("!*")), is_locked


def read_logins(tree: Tree, gaps: Gaps) -> tuple[LoginSession, ...]:
    """Who is logged in, oldest first: from utmp on the running system, else from what systemd-logind writes down.

    Raises:
        OSError, GovsecError: neither is there.
    """
    rows: list[LoginSession] = []
    if tree.is_running_system:
        with psutil_at(tree):
            rows = [
                LoginSession(
                    user.name, user.terminal or "", user.host or None, int(user.started) * _SECOND_NS, int(user.pid)
                )
                for user in psutil.users()
            ]
    # Systems after 2038 was thought of have no utmp any more.
    rows = rows or _sessions(tree, gaps, is_needed=not tree.is_running_system)
    if len(rows) > SESSIONS_MAX:
        gaps.add(TableName.LOGINS, f"more than {SESSIONS_MAX} sessions", len(rows) - SESSIONS_MAX)
    return tuple(sorted(rows, key=lambda row: (row.started_ns, row.terminal))[:SESSIONS_MAX])


def _sessions(tree: Tree, gaps: Gaps, *, is_needed: bool) -> list[LoginSession]:
    try:
        names = tree.names(_LOGIND)
    except (OSError, GovsecError):
        if is_needed:
            raise
        return []
    rows = []
    for name in names:
        if name.endswith(".ref"):
            continue
        try:
            text = tree.read_text(f"{_LOGIND}/{name}", _SESSION_BYTES_MAX)
        except FileNotFoundError:
            continue  # it ended
        except (OSError, GovsecError):
            gaps.add(TableName.LOGINS, "session that may not be read")
            continue
        pairs = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
        started, leader = pairs.get("REALTIME", ""), pairs.get("LEADER", "")
        if pairs.get("CLASS", "user") != "user" or not started.isdecimal():
            continue
        source = pairs.get("REMOTE_HOST") or None
        pid = int(leader) if leader.isdecimal() else None
        rows.append(LoginSession(pairs.get("USER", ""), pairs.get("TTY", ""), source, int(started) * 1000, pid))
    return rows
