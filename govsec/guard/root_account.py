"""Another account with the rights of root (ATT&CK T1136.001, T1098): uid 0, or a group that may become root.

Idea: a system has one account with uid 0, and who may become root changes by a decision of people. A second one that
was not there at the baseline, or at the last look, is told at once, as is an account that came into such a group.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from pydantic import Field

from govsec.findings.api import Settings
from govsec.guard.api import Observation
from govsec.guard.forms import tell, text
from govsec.host.tables import Account, HostSnapshot, Unavailable
from govsec.records import Finding, Severity

KIND = "host.tamper.root_account"


class RootAccountSettings(Settings):
    """Accounts that are or become root."""

    groups: tuple[str, ...] = Field(
        default=("sudo", "wheel", "admin", "docker", "lxd", "disk", "shadow"),
        max_length=100,
        description="groups whose members can become root, or read and write everything",
    )


class RootAccount:
    """New accounts with uid 0, and new members of groups that come to the same.

    ``known``: names of such accounts in the baseline, ``name`` or ``name:group``; ``None`` without one.
    """

    name = "root_account"

    def __init__(self, settings: RootAccountSettings, known: Collection[str] | None = None) -> None:
        self._settings = settings
        self._known = set(known) if known is not None else None
        self.cooldown_s = settings.cooldown_s

    def observe(self, observation: Observation) -> Iterator[Finding]:
        for record in observation.records:
            if isinstance(record, HostSnapshot) and not isinstance(record.accounts, Unavailable):
                yield from self._take(record, record.accounts)

    def finish(self, time_ns: int) -> Iterator[Finding]:
        yield from ()

    def state(self) -> Mapping[str, int]:
        return {"accounts": len(self._known or ())}

    def _take(self, snapshot: HostSnapshot, accounts: tuple[Account, ...]) -> Iterator[Finding]:
        found: dict[str, tuple[Account, str]] = {}
        for account in accounts:
            if account.uid == 0:
                found[account.name] = (account, "")
            for group in sorted(set(account.groups) & set(self._settings.groups)):
                found[f"{account.name}:{group}"] = (account, group)
        is_first, before = self._known is None, self._known or set()
        for key in sorted(found.keys() - before):
            account, group = found[key]
            # Without a baseline, a second root that was there before us is told too; groups are taken as they are.
            if not is_first or (not group and account.name != "root"):
                yield self._finding(snapshot, account, group, sorted(before))
        # What went away is news when it comes back.
        self._known = set(found)

    def _finding(self, snapshot: HostSnapshot, account: Account, group: str, before: list[str]) -> Finding:
        what = f"came into the group {group}" if group else "has uid 0"
        return tell(
            kind=KIND,
            detector=self.name,
            severity=Severity.HIGH if group else Severity.CRITICAL,
            time_ns=snapshot.time_ns,
            subject=account.name,
            summary=f"The account {text(account.name)} {what} and so the rights of root (shell {text(account.shell)}).",
            pattern=(account.name, group),
            attack=("T1136.001", "T1098"),
            before={"accounts": list(before)},
            after={
                "name": account.name,
                "uid": account.uid,
                "groups": list(account.groups),
                "shell": account.shell,
                "home": account.home,
                "has_password": account.has_password if account.has_password is not None else "unknown",
            },
            facts={"how": "group" if group else "uid", "account": account.name, "group": group},
        )
