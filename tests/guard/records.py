"""Rows and records of a machine that nobody read, and a guard of chosen detectors to judge them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from govsec.clock import to_ns
from govsec.findings.api import SECOND_NS
from govsec.findings.baseline import Baseline
from govsec.findings.engine import Engine
from govsec.guard.api import Actor, GuardRecord, Observation
from govsec.guard.registry import Site, build_detectors
from govsec.guard.watch import DEGRADED
from govsec.host.events import FileChange, FileOperation, LoginOutcome, LoginRecord, LoginTool
from govsec.host.tables import Account, HostSnapshot, Machine, Process, ProcessKey, Unavailable
from govsec.records import Finding

#: A Monday, 09:00 UTC.
MONDAY_NS = to_ns(datetime(2026, 3, 2, 9, tzinfo=UTC))
SECOND = SECOND_NS
HOUR = 3600 * SECOND
DAY = 24 * HOUR


def process(pid: int, name: str, parent: int = 1, **changes: Any) -> Process:
    """A process of somebody's session."""
    values: dict[str, Any] = {
        "key": ProcessKey(pid, pid * 10),
        "parent_pid": parent,
        "name": name,
        "executable": f"/usr/bin/{name}",
        "executable_deleted": False,
        "command": (name,),
        "uid": 1000,
        "gid": 1000,
        "login_uid": 1000,
        "terminal": None,
        "cgroup": "/user.slice/session-1.scope",
        "state": "S",
        "started_ns": MONDAY_NS,
        "cpu_s": 0.0,
        "rss_bytes": 0,
        "is_kernel_thread": False,
    }
    return Process(**(values | changes))


#: What one person's shell starts.
SHELL = process(100, "bash")
INIT = process(1, "systemd", parent=0, cgroup="/init.scope")


def actor(pid: int, name: str) -> Actor:
    """A child of the shell."""
    return Actor(process(pid, name, parent=100), (SHELL, INIT))


def change(
    second: float, path: str, operation: str = "modified", *, old: str | None = None, by: Actor | None = None
) -> FileChange:
    """Something done to a file so long after Monday morning."""
    return FileChange(
        time_ns=MONDAY_NS + int(second * SECOND),
        path=path,
        operation=FileOperation(operation),
        is_directory=False,
        old_path=old,
        pid=by.process.key.pid if by else None,
        process=by.process if by else None,
        ancestors=by.ancestors if by else (),
        size_bytes=None,
    )


def login(
    time_ns: int, user: str, source: str | None, outcome: str = "failure", tool: str = "sshd", **changes: Any
) -> LoginRecord:
    """One line about somebody who came or was refused."""
    values: dict[str, Any] = {
        "time_ns": time_ns,
        "tool": LoginTool(tool),
        "outcome": LoginOutcome(outcome),
        "user": user,
        "source": source,
        "terminal": None,
        "method": "password",
        "pid": 4711,
        "count": 1,
        "by_user": None,
        "command": None,
        "log": "/var/log/auth.log",
        "line": f"{tool}: {outcome} for {user} from {source}",
    }
    return LoginRecord(**(values | changes))


def account(name: str, uid: int, *, groups: Sequence[str] = (), home: str = "", shell: str = "/bin/bash") -> Account:
    """An account."""
    return Account(name, uid, uid, tuple(groups), home or f"/home/{name}", shell, False, True)


def snapshot(time_ns: int = MONDAY_NS, **tables: Any) -> HostSnapshot:
    """A machine with these tables; the others could not be read."""
    machine = Machine("6.1", "x86_64", "debian", "12", "bookworm", "Debian", MONDAY_NS, None)
    names = [
        field for field in HostSnapshot.__dataclass_fields__ if field not in ("time_ns", "name", "boot_id", "machine")
    ]
    values: dict[str, Any] = {name: Unavailable("not asked for") for name in names} | {"gaps": ()} | tables
    return HostSnapshot(time_ns=time_ns, name="web-1", boot_id="b", machine=machine, **values)


class Judge:
    """Chosen detectors under the engine, as a guard has them."""

    def __init__(self, *names: str, site: Site | None = None, **settings: dict[str, Any]) -> None:
        self.site = site or Site(habits=Baseline())
        detectors = [one for one in build_detectors(settings, self.site) if one.name in names]
        assert {one.name for one in detectors} == set(names)
        self.engine = Engine[Observation](detectors, degraded_kind=DEGRADED)

    def take(self, *records: GuardRecord) -> tuple[Finding, ...]:
        """What is sure after these records."""
        return self.engine.observe(Observation(max(record.time_ns for record in records), records))

    def each(self, records: Iterable[GuardRecord]) -> list[Finding]:
        """The same, one record after the other."""
        return [finding for record in records for finding in self.take(record)]


def kinds(findings: Iterable[Finding]) -> list[str]:
    """What was found."""
    return [finding.kind for finding in findings]
