"""``account.disable``: nobody logs in as ``account`` any more, by password or by key, until it is taken back.

The system's own ``usermod`` writes: it locks the password (a mark before the hash, which stays) and lets the account
expire, so that it is refused with a key as well. Taking it back removes what was added and sets the expiry that was
there; the line is then the same to the byte, and that is checked. Sessions that stand go on: ``process.suspend`` stops
them, and can be taken back as well.

Source: shadow(5), usermod(8).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from govsec.errors import RefusedError
from govsec.localfile import read_bounded
from govsec.response.helper.api import Arguments, Before, run, text_of
from govsec.response.helper.processes import processes_of

_NAME = re.compile(r"[a-z_][a-z0-9_.-]{0,31}")
_FILE_MAX = 8 << 20
_EXPIRED = "1"
_LOCKED = ("!", "*")


class Accounts:
    """The verb; ``root`` holds ``etc/passwd``."""

    is_volatile = False

    def __init__(self, root: Path, never: Sequence[str], admin_groups: Sequence[str]) -> None:
        self._root = root
        self._never = frozenset(never)
        self._admin_groups = frozenset(admin_groups)

    def plan(self, arguments: Arguments, peer_pid: int) -> dict[str, Any]:
        account = _account(arguments)
        passwd = self._rows("passwd", 7)
        if account not in passwd:
            raise RefusedError(f"account {account}: there is none")
        uid = passwd[account][2]
        if uid == "0" or account in self._never:
            raise RefusedError(f"account {account} is never disabled")
        admins = self._admins(passwd)
        if account in admins and not self._able(passwd, admins - {account}):
            raise RefusedError(f"account {account} is the last administrator that can log in; it is never disabled")
        return {"account": account, "processes": len(self.processes(arguments)), "is_admin": account in admins}

    def before(self, arguments: Arguments) -> Before:
        row = self._row(arguments)
        line = hashlib.sha256(":".join(row).encode()).hexdigest()
        return {"was_locked": row[1].startswith("!"), "was_empty": not row[1], "expires": row[7], "line": line}

    def act(self, arguments: Arguments, before: Before, ttl_s: int, nonce: str) -> None:
        # An empty password that was locked could not be made empty again without a trace: there the expiry must do.
        self._usermod(arguments, *(() if before["was_empty"] else ("--lock",)), "--expiredate", _EXPIRED)

    def holds(self, arguments: Arguments, before: Before) -> bool:
        row = self._row(arguments)
        return (before["was_empty"] or row[1].startswith(_LOCKED)) and row[7] == _EXPIRED

    def undo(self, arguments: Arguments, before: Before) -> str:
        row = self._row(arguments)
        if row[1].startswith("!") and not before["was_locked"] and not before["was_empty"]:
            self._usermod(arguments, "--unlock")
        self._usermod(arguments, "--expiredate", before["expires"])
        is_same = hashlib.sha256(":".join(self._row(arguments)).encode()).hexdigest() == before["line"]
        return "" if is_same else "open again; somebody else has changed its line of shadow meanwhile"

    def processes(self, arguments: Arguments) -> list[int]:
        row = self._rows("passwd", 7).get(_account(arguments))
        return [] if row is None else processes_of(int(row[2]))

    def _admins(self, passwd: dict[str, list[str]]) -> set[str]:
        """Who is in a group of administrators, whether he can log in just now or not."""
        groups = [row for name, row in self._rows("group", 4).items() if name in self._admin_groups]
        numbers = {row[2] for row in groups}
        named = {member for row in groups for member in row[3].split(",") if member}
        return {name for name, row in passwd.items() if name in named or row[3] in numbers}

    def _able(self, passwd: dict[str, list[str]], names: set[str]) -> set[str]:
        """Of these, who can certainly log in and mend this: by a password, or by a key where the password is locked.

        An account that expires one day is not counted on.
        """
        shadow = self._rows("shadow", 9)
        found = set()
        for name in names & shadow.keys():
            password, expires = shadow[name][1], shadow[name][7]
            has_password = bool(password) and not password.startswith(_LOCKED)
            if not expires and (has_password or self._has_key(passwd[name][5])):
                found.add(name)
        return found

    def _has_key(self, home: str) -> bool:
        try:
            return (self._root / home.lstrip("/") / ".ssh" / "authorized_keys").stat().st_size > 0
        except OSError:
            return False

    def _row(self, arguments: Arguments) -> list[str]:
        row = self._rows("shadow", 9).get(_account(arguments))
        if row is None:
            raise RefusedError(f"account {_account(arguments)}: not in shadow")
        return row

    def _rows(self, file: str, fields_count: int) -> dict[str, list[str]]:
        text = read_bounded(self._root / "etc" / file, _FILE_MAX).decode("utf-8", "surrogateescape")
        rows = [line.split(":") for line in text.splitlines()]
        return {row[0]: row for row in rows if len(row) == fields_count}

    def _usermod(self, arguments: Arguments, *options: str) -> None:
        where = () if self._root == Path("/") else ("--prefix", str(self._root))
        run(["usermod", *where, *options, "--", _account(arguments)])


def _account(arguments: Arguments) -> str:
    account = text_of(arguments, "account")
    if not _NAME.fullmatch(account):
        raise RefusedError(f"argument account: {account[:60]!r} is no name of an account")
    return account
