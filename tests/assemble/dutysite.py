"""A site for tests of the duty daemon: an agent's spool, findings, a file as the only channel."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from govsec.agent.spool import Spool
from govsec.agent.spoolrecord import Entry, Priority
from govsec.assemble.duty import Duty
from govsec.clock import Clock
from govsec.config import Config, load_config
from govsec.incident.api import Query
from govsec.incident.entries import FindingJoined
from govsec.notice.outbox import ItemState, Outbox
from govsec.records import Finding, Severity

NOW = datetime(2026, 11, 22, 1, 41, tzinfo=UTC)


def finding(
    kind: str = "host.ransomware.canary", subject: str = "/srv/share", severity: Severity = Severity.HIGH, **facts: Any
) -> Finding:
    """One that opens a case by itself."""
    return Finding(kind=kind, severity=severity, time=NOW, subject=subject, summary=f"{kind} at {subject}", facts=facts)


class Machine:
    """One machine with an agent."""

    def __init__(self, folder: Path, clock: Clock, **incident: Any) -> None:
        self.folder = folder
        self.clock = clock
        self.notices = folder / "notices.jsonl"
        self.path = folder / "govsec.yaml"
        self.write(incident)

    def write(self, incident: dict[str, Any], **more: Any) -> None:
        """The configuration; JSON is YAML."""
        value = {
            "version": 1,
            "state_dir": str(self.folder / "state"),
            "incident": incident,
            "notify": {
                "channels": {"file": {"kind": "file", "path": str(self.notices)}},
                "routes": [{"channels": ["file"]}],
            },
            **more,
        }
        self.path.write_text(json.dumps(value), encoding="utf-8")

    @property
    def config(self) -> Config:
        return load_config(self.path)

    def spool(self, findings: Sequence[Finding], agent: str = "host") -> None:
        """The agent finds something."""
        self.append([Entry(Priority.FINDING, {"finding": one.canonical()}) for one in findings], agent)

    def append(self, entries: Sequence[Entry], agent: str = "host") -> None:
        with Spool(self.folder / "state" / "agent" / agent / "spool.db", self.clock) as spool:
            spool.append(entries)

    def behind(self, agent: str = "host") -> int:
        """Records that nobody has taken."""
        with Spool(self.folder / "state" / "agent" / agent / "spool.db", self.clock) as spool:
            return spool.state().records_count

    def duty(self, *, has_ledger: bool = False) -> Duty:
        return Duty(self.config, self.clock, has_ledger=has_ledger)


def told(outbox: Outbox) -> Counter[tuple[str, str]]:
    """Kinds and subjects of all notices that were ever put."""
    items = [item for state in ItemState for item in outbox.items(state, limit=10_000)]
    return Counter((item.notice.kind, item.notice.subject) for item in items)


def joined(duty: Duty) -> list[tuple[str, str, str]]:
    """Case, kind and subject of each finding that joined a case, in the order in which they did."""
    found = []
    for line in reversed(duty.store.find(Query())):
        for entry in duty.store.entries(line.id):
            if isinstance(entry, FindingJoined):
                found.append((line.id, entry.finding, entry.subject))
    return found
