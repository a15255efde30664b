"""The tables of a host: what is true of a machine at one moment, one frozen row a thing.

One idea: a table that could not be read is ``Unavailable`` with the reason, never an empty table, and what a table
lacks is counted beside it as a ``Gap``. Names and paths come from the machine and may be hostile: they are kept as they
were found, bytes that are no text as surrogates, and are made printable by whoever prints them. Reading is done
elsewhere (``snapshot.py``); nothing here touches the machine.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple, TypeVar, Union

Row = TypeVar("Row")


class TableName(StrEnum):
    """The tables of a snapshot, named as its attributes are."""

    PROCESSES = "processes"
    SOCKETS = "sockets"
    LISTENERS = "listeners"
    ACCOUNTS = "accounts"
    LOGINS = "logins"
    LOAD = "load"
    MEMORY = "memory"
    DISKS = "disks"
    PRESSURE = "pressure"
    TRAFFIC = "traffic"
    SERVICES = "services"
    MODULES = "modules"
    TASKS = "tasks"
    PRIVILEGED = "privileged"
    PACKAGES = "packages"
    CERTIFICATES = "certificates"


@dataclass(frozen=True, slots=True)
class Unavailable:
    """A table, or one value, that could not be read; ``reason`` is one English clause."""

    reason: str


#: The rows of one table, or why there are none.
Rows = Union[tuple[Row, ...], Unavailable]  # noqa: UP007  # a generic alias of X | Y cannot be subscripted by mypy


@dataclass(frozen=True, slots=True)
class Gap:
    """What a table that was read does not show: ``count`` things, for one ``reason``; 0 when nobody can count them."""

    table: TableName
    reason: str
    count: int


class ProcessKey(NamedTuple):
    """One process for ever: its number is given out again, its number and start are not.

    ``start_ticks``: since boot, in the kernel's clock ticks (field 22 of ``/proc/PID/stat``).
    """

    pid: int
    start_ticks: int


class Process(NamedTuple):
    """A running program. ``None`` is what this process may not tell us, never an empty value.

    A tuple, because there are hundreds and they are read every few seconds.
    """

    key: ProcessKey
    parent_pid: int
    #: What the process calls itself, at most 15 bytes; it can say anything.
    name: str
    #: The program's file; ``None`` of kernel threads, and where we may not look.
    executable: str | None
    #: The file is gone from its path, or was never on a path (memfd).
    executable_deleted: bool
    #: Arguments, cut to ``COMMAND_BYTES_MAX`` bytes in all; the process can rewrite them.
    command: tuple[str, ...]
    uid: int
    gid: int
    #: Who logged in, whatever the process became since; ``None`` without a log-in.
    login_uid: int | None
    #: The controlling terminal (``pts/3``, ``tty1``), ``None`` without one.
    terminal: str | None
    cgroup: str | None
    #: One letter, as in proc(5): R S D Z T t X I.
    state: str
    started_ns: int
    cpu_s: float
    rss_bytes: int
    is_kernel_thread: bool


class Socket(NamedTuple):
    """One TCP or UDP socket. A tuple, because there are many thousands and they are read every few seconds.

    ``protocol``: ``tcp`` or ``udp``; ``family``: 4 or 6; ``state`` as the kernel's documents say it, in lower case.
    """

    protocol: str
    family: int
    local_address: str
    local_port: int
    remote_address: str
    remote_port: int
    state: str
    #: 0 when no process holds it any more.
    inode: int
    uid: int


@dataclass(frozen=True, slots=True)
class Listener:
    """A socket that anybody may reach, and the process that holds it (the first, when several do).

    ``process`` is ``None`` where none could be found: we may not look, it is in another namespace, or it hides.
    """

    protocol: str
    family: int
    address: str
    port: int
    uid: int
    inode: int
    process: ProcessKey | None
    name: str | None
    executable: str | None

    @property
    def is_exposed(self) -> bool:
        """It listens on more than this machine's own loopback."""
        return not (self.address.startswith("127.") or self.address in ("::1", "::ffff:127.0.0.1"))


@dataclass(frozen=True, slots=True)
class Account:
    """An account of ``/etc/passwd``. Password hashes are never kept.

    ``is_locked``: no password opens it; ``has_password``: one is set. Both ``None`` where ``/etc/shadow`` may not be
    read.
    """

    name: str
    uid: int
    gid: int
    groups: tuple[str, ...]
    home: str
    shell: str
    is_locked: bool | None
    has_password: bool | None

    @property
    def can_log_in(self) -> bool:
        """Its shell is one that people work in."""
        return self.shell.rsplit("/", 1)[-1] not in ("nologin", "false", "sync", "halt", "shutdown", "")


@dataclass(frozen=True, slots=True)
class LoginSession:
    """Somebody who is logged in. ``source``: the host or address as recorded, ``None`` when local."""

    user: str
    terminal: str
    source: str | None
    started_ns: int
    pid: int | None


@dataclass(frozen=True, slots=True)
class Load:
    """How much work waits. Averages over 1, 5 and 15 minutes; ``cpu_busy_s``: of all cores together since boot."""

    average_1m: float
    average_5m: float
    average_15m: float
    cores: int
    cpu_busy_s: float
    cpu_total_s: float
    running_count: int
    process_count: int


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes of memory and swap; ``available_bytes`` is what new programs can have without swapping."""

    total_bytes: int
    available_bytes: int
    swap_total_bytes: int
    swap_free_bytes: int


@dataclass(frozen=True, slots=True)
class Disk:
    """A mounted file system on this machine's own devices."""

    mount: str
    device: str
    kind: str
    total_bytes: int
    #: What processes without privileges can still write.
    available_bytes: int
    files_total: int
    files_available: int
    is_read_only: bool


@dataclass(frozen=True, slots=True)
class Pressure:
    """How long work stood still for want of one resource (PSI). Shares are percent of the last 10, 60 and 300 seconds.

    ``full`` is when nothing at all got on; the kernel has none for ``cpu`` of the whole machine.
    """

    resource: str
    some_10s: float
    some_60s: float
    some_300s: float
    full_10s: float | None
    full_60s: float | None
    full_300s: float | None


@dataclass(frozen=True, slots=True)
class Traffic:
    """Counters of one network interface since it came up."""

    interface: str
    received_bytes: int
    sent_bytes: int
    received_dropped: int
    errors: int


@dataclass(frozen=True, slots=True)
class Service:
    """A service unit, or a script of ``/etc/init.d``.

    ``state``: active, inactive, failed, … as systemd says it; running or stopped as seen in the control groups when
    systemd cannot be asked; ``None`` unknown. ``enabled``: enabled, disabled, static, masked, …
    """

    name: str
    state: str | None
    enabled: str | None
    file: str | None
    #: The command lines that the file starts, as written there.
    commands: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class KernelModule:
    """A loaded kernel module. ``is_signed`` is ``None`` where the kernel does not check signatures.

    ``taint``: letters of the kernel's documents (O out of tree, E unsigned, P proprietary, F forced …).
    """

    name: str
    size_bytes: int
    used_by: tuple[str, ...]
    is_signed: bool | None
    taint: str


@dataclass(frozen=True, slots=True)
class ScheduledTask:
    """Something that runs by itself. ``kind``: ``cron``, ``periodic`` (a script in cron.daily …), ``timer``, ``at``.

    ``schedule`` is as written (``*/5 * * * *``, ``@reboot``, ``OnCalendar=daily``).
    """

    kind: str
    owner: str
    schedule: str
    command: str
    file: str


@dataclass(frozen=True, slots=True)
class PrivilegedFile:
    """A program that gives its caller more rights: set-id bits or file capabilities.

    ``capabilities``: names as in capabilities(7); ``digest``: SHA-256 in hex, ``None`` when not read or too large.
    """

    path: str
    mode: int
    uid: int
    gid: int
    capabilities: tuple[str, ...]
    size_bytes: int
    modified_ns: int
    digest: str | None


@dataclass(frozen=True, slots=True)
class Package:
    """An installed package. ``manager``: dpkg, rpm or apk; source package and its version are what advisories name."""

    name: str
    version: str
    architecture: str
    manager: str
    source: str
    source_version: str


@dataclass(frozen=True, slots=True)
class CertificateFile:
    """One certificate in a file; ``position`` counts from 0 within the file."""

    path: str
    position: int
    subject: str
    issuer: str
    serial: str
    not_before: datetime
    not_after: datetime
    names: tuple[str, ...]
    key: str
    is_authority: bool
    sha256: str


@dataclass(frozen=True, slots=True)
class Machine:
    """Which machine and system this is; empty strings where the system does not say.

    ``container``: the kind of container that we look from within (docker, lxc, kubernetes, …), ``None`` on a machine
    proper.
    """

    kernel: str
    architecture: str
    os_id: str
    os_version: str
    os_codename: str
    os_name: str
    booted_ns: int
    container: str | None


@dataclass(frozen=True, slots=True)
class HostSnapshot:
    """A machine at one moment. A table that was not asked for is ``Unavailable`` too."""

    time_ns: int
    name: str
    boot_id: str
    machine: Machine
    processes: Rows[Process]
    sockets: Rows[Socket]
    listeners: Rows[Listener]
    accounts: Rows[Account]
    logins: Rows[LoginSession]
    load: Load | Unavailable
    memory: Memory | Unavailable
    disks: Rows[Disk]
    pressure: Rows[Pressure]
    traffic: Rows[Traffic]
    services: Rows[Service]
    modules: Rows[KernelModule]
    tasks: Rows[ScheduledTask]
    privileged: Rows[PrivilegedFile]
    packages: Rows[Package]
    certificates: Rows[CertificateFile]
    gaps: tuple[Gap, ...]


#: No honest tree of processes is deeper; a longer way up is cut.
LINEAGE_MAX = 64


def by_key(processes: Iterable[Process]) -> dict[ProcessKey, Process]:
    """The processes by their key."""
    return {process.key: process for process in processes}


def lineage(processes: Mapping[int, Process], process: Process) -> tuple[Process, ...]:
    """``process`` and those it came from, nearest first, at most ``LINEAGE_MAX``; ``processes`` by number.

    A parent that began after its child has been given the number of one that is gone: the way ends there.
    """
    way = [process]
    seen = {process.key.pid}
    while len(way) < LINEAGE_MAX:
        parent = processes.get(way[-1].parent_pid)
        if parent is None or parent.key.pid in seen or parent.key.start_ticks > way[-1].key.start_ticks:
            break
        seen.add(parent.key.pid)
        way.append(parent)
    return tuple(way)
