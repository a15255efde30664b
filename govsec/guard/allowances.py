"""What the configuration allows on a host: kinds of findings about named subjects, until a day."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase

from govsec.findings.quiet import Allowance
from govsec.guardentry import AllowOnHost
from govsec.records import Finding


def allowances_of(entries: Iterable[AllowOnHost]) -> list[Allowance]:
    """The entries, ready to be compared with findings."""
    return [HostAllowance(entry) for entry in entries]


class HostAllowance:
    """An entry of the configuration, ready to be compared."""

    def __init__(self, entry: AllowOnHost) -> None:
        self.name = entry.name
        self._entry = entry

    def covers(self, finding: Finding) -> bool:
        entry = self._entry
        return (
            finding.time.date() < entry.expires
            and finding.kind in entry.kinds
            and any(fnmatchcase(finding.subject, pattern) for pattern in entry.subjects)
        )
