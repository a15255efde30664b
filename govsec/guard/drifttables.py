"""The tables of a host that a baseline keeps: what names a row, what of it may not change, how bad it is if it does.

One idea: a row is kept without what changes by itself (states, sizes, process numbers), so that equal means nothing
happened. What is left of a row is a few attributes as plain values, the same in the signed document and in a finding's
``before`` and ``after``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import JsonValue

from govsec.findings.judgement import clean
from govsec.guard.forms import tidy
from govsec.host.tables import (
    Account,
    HostSnapshot,
    KernelModule,
    Listener,
    Package,
    PrivilegedFile,
    ScheduledTask,
    Service,
    TableName,
    Unavailable,
)
from govsec.records import Severity
from govsec.redact import redact

Row = dict[str, JsonValue]
#: Ports that the kernel gives to whoever asks for none (ip(7), ip_local_port_range): UDP sockets there are clients, and
#: listeners on loopback are parts of one program that talk to each other.
_EPHEMERAL_MIN = 32_768
#: How the name of a listener ends that only this machine can reach.
LOOPBACK = " loopback"
#: More rows of a table are not kept; a finding says so.
ROWS_MAX = 20_000


@dataclass(frozen=True, slots=True)
class Spec:
    """How one table is kept. ``severity``: of a row that is new, changed, gone; ``None``: not told."""

    kind: str
    attack: tuple[str, ...]
    rows: Callable[[Iterable[Any]], dict[str, Row]]
    added: Severity | None
    changed: Severity | None
    removed: Severity | None
    #: Snapshots in a row that must show it: what restarts is away for a moment.
    snapshots_min: int = 1


def rows_of(snapshot: HostSnapshot, table: TableName) -> dict[str, Row] | Unavailable:
    """The rows of a table as a baseline keeps them, by key."""
    found = getattr(snapshot, table.value)
    if isinstance(found, Unavailable):
        return found
    rows = SPECS[table].rows(found)
    return {key: rows[key] for key in sorted(rows)[:ROWS_MAX]}


def _accounts(accounts: Iterable[Account]) -> dict[str, Row]:
    return {
        clean(one.name): _row(
            uid=one.uid,
            gid=one.gid,
            groups=sorted(one.groups),
            home=one.home,
            login_shell=one.shell,
            locked=one.is_locked,
            password=one.has_password,
        )
        for one in accounts
    }


def _listeners(listeners: Iterable[Listener]) -> dict[str, Row]:
    """By protocol, port and whether others can reach it; IPv4 and IPv6 are one."""
    programs: dict[str, set[str]] = {}
    for one in listeners:
        if one.port >= _EPHEMERAL_MIN and (one.protocol == "udp" or not one.is_exposed):
            continue
        key = f"{one.protocol}/{one.port}" + (" exposed" if one.is_exposed else LOOPBACK)
        programs.setdefault(key, set())
        if (program := one.executable or one.name) is not None:
            programs[key].add(program)
    return {key: _row(programs=sorted(names) or None) for key, names in programs.items()}


def _services(services: Iterable[Service]) -> dict[str, Row]:
    return {
        clean(one.name): _row(enabled=one.enabled, file=one.file, commands=[_command(each) for each in one.commands])
        for one in services
    }


def _modules(modules: Iterable[KernelModule]) -> dict[str, Row]:
    return {clean(one.name): _row(signed=one.is_signed, taint=one.taint) for one in modules}


def _tasks(tasks: Iterable[ScheduledTask]) -> dict[str, Row]:
    """By what they are: a task that is changed is one gone and one new, and both are told."""
    return {
        clean(f"{one.kind} {one.file} {one.schedule} {_command(one.command)}"[:400]): _row(
            owner=one.owner, schedule=one.schedule, command=_command(one.command), file=one.file
        )
        for one in tasks
    }


def _privileged(files: Iterable[PrivilegedFile]) -> dict[str, Row]:
    return {
        clean(one.path): _row(
            mode=f"{one.mode & 0o7777:04o}",
            uid=one.uid,
            gid=one.gid,
            capabilities=list(one.capabilities),
            digest=one.digest,
        )
        for one in files
    }


def _packages(packages: Iterable[Package]) -> dict[str, Row]:
    return {clean(f"{one.name}:{one.architecture}"): _row(version=one.version, manager=one.manager) for one in packages}


def _command(text: str) -> str:
    """A command without the passwords in it, which would go into findings, notices and the baseline.

    Where something was cut, a mark of what stood there: 16 bits, enough to see that it became another, too few to
    guess it by.
    """
    cut = redact(text)
    return cut if cut == text else f"{cut} #{hashlib.sha256(text.encode('utf-8', 'surrogateescape')).hexdigest()[:4]}"


def _row(**values: object) -> Row:
    row: Row = {}
    for name, value in values.items():
        if isinstance(value, (list, tuple)):
            items: list[JsonValue] = [tidy(str(item)) for item in value]
            row[name] = items
        elif isinstance(value, (str, int)) or value is None:
            row[name] = tidy(value)
    return row


SPECS: Mapping[TableName, Spec] = {
    TableName.ACCOUNTS: Spec(
        "host.drift.account",
        ("T1136.001", "T1098"),
        _accounts,
        added=Severity.HIGH,
        changed=Severity.MEDIUM,
        removed=Severity.LOW,
    ),
    TableName.LISTENERS: Spec(
        "host.drift.listener",
        ("T1571", "T1205"),
        _listeners,
        added=Severity.MEDIUM,
        changed=Severity.HIGH,
        removed=Severity.LOW,
        snapshots_min=2,
    ),
    TableName.SERVICES: Spec(
        "host.drift.service",
        ("T1543.002",),
        _services,
        added=Severity.MEDIUM,
        changed=Severity.HIGH,
        removed=Severity.LOW,
    ),
    TableName.MODULES: Spec(
        "host.drift.module",
        ("T1547.006",),
        _modules,
        added=Severity.MEDIUM,
        changed=Severity.MEDIUM,
        removed=None,
        snapshots_min=2,
    ),
    TableName.TASKS: Spec(
        "host.drift.timer",
        ("T1053.003", "T1053.006"),
        _tasks,
        added=Severity.MEDIUM,
        changed=Severity.MEDIUM,
        removed=Severity.LOW,
    ),
    TableName.PRIVILEGED: Spec(
        "host.drift.setid",
        ("T1548.001",),
        _privileged,
        added=Severity.HIGH,
        changed=Severity.HIGH,
        removed=Severity.LOW,
    ),
    TableName.PACKAGES: Spec(
        "host.drift.package",
        ("T1072",),
        _packages,
        added=Severity.LOW,
        changed=Severity.INFO,
        removed=Severity.LOW,
    ),
}
