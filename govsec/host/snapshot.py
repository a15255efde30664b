"""A snapshot of a machine: its tables at one moment, each read or ``Unavailable`` with the reason.

One idea: no table can spoil another. Each is read by its own function; what one raises becomes that table's reason and
nothing else. ``take`` reads once; a ``HostReader`` is kept by whoever reads again and again, and remembers where things
were found. The file system sweeps (set-id files, certificates) take seconds on a large disk: ask for them by name.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import TypeVar

from govsec.clock import Clock, to_ns
from govsec.errors import GovsecError
from govsec.host import accounts, disks, kernelmodules, machine
from govsec.host.certificatefiles import read_certificate_files
from govsec.host.listeners import SocketReader
from govsec.host.packages import read_packages
from govsec.host.privileged import read_privileged
from govsec.host.processes import ProcessReader
from govsec.host.servicelist import read_services
from govsec.host.settings import SweepSettings
from govsec.host.tables import HostSnapshot, Process, Rows, TableName, Unavailable
from govsec.host.tasks import read_tasks
from govsec.host.tree import Gaps, Tree, reason_of

#: All tables, and those that cost milliseconds.
ALL_TABLES = frozenset(TableName)
SWEPT_TABLES = frozenset((TableName.PRIVILEGED, TableName.CERTIFICATES))
QUICK_TABLES = ALL_TABLES - SWEPT_TABLES - {TableName.PACKAGES}
_NOT_ASKED = Unavailable("not asked for")
_SWEEPS = SweepSettings()
#: Their readers look at the processes too; these are shown only when they are asked for.
_NEED_PROCESSES = frozenset((TableName.PROCESSES, TableName.LISTENERS, TableName.SERVICES))

Value = TypeVar("Value")


def take(
    clock: Clock,
    tables: Collection[TableName] = ALL_TABLES,
    *,
    root: Path = Path("/"),
    sweeps: SweepSettings = _SWEEPS,
) -> HostSnapshot:
    """The machine whose tree is at ``root``, now; ``tables`` that are not named are ``Unavailable``."""
    return HostReader(root, sweeps).take(clock, tables)


def _go_on() -> None:
    """Between two folders of a sweep: nothing to wait for."""


class HostReader:
    """Reads snapshots of one machine again and again.

    ``pause`` is called often while files are swept; it may sleep.
    """

    def __init__(
        self, root: Path = Path("/"), sweeps: SweepSettings = _SWEEPS, pause: Callable[[], None] = _go_on
    ) -> None:
        self._root = root
        self._sweeps = sweeps
        self._pause = pause
        self._tree = Tree.at(root)
        self._sockets = SocketReader(self._tree)

    def take(self, clock: Clock, tables: Collection[TableName] = ALL_TABLES) -> HostSnapshot:
        """The machine now. Never raises for what the machine is: see the tables' reasons."""
        tree, gaps = Tree.at(self._root), Gaps()
        time_ns = to_ns(clock.now())

        def ask(name: TableName, read: Callable[[], Value]) -> Value | Unavailable:
            return _ask(read) if name in tables else _NOT_ASKED

        needs_processes = not _NEED_PROCESSES.isdisjoint(tables)
        processes: Rows[Process] = _ask(lambda: self._processes(tree, gaps)) if needs_processes else _NOT_ASKED
        return HostSnapshot(
            time_ns=time_ns,
            name=machine.read_name(tree),
            boot_id=machine.read_boot_id(tree),
            machine=machine.read_machine(tree),
            processes=processes if TableName.PROCESSES in tables else _NOT_ASKED,
            sockets=ask(TableName.SOCKETS, lambda: self._sockets.sockets(gaps)),
            listeners=ask(TableName.LISTENERS, lambda: self._sockets.listeners(processes, gaps)),
            accounts=ask(TableName.ACCOUNTS, lambda: accounts.read_accounts(tree, gaps)),
            logins=ask(TableName.LOGINS, lambda: accounts.read_logins(tree, gaps)),
            load=ask(TableName.LOAD, lambda: machine.read_load(tree)),
            memory=ask(TableName.MEMORY, lambda: machine.read_memory(tree)),
            disks=ask(TableName.DISKS, lambda: disks.read_disks(tree, gaps)),
            pressure=ask(TableName.PRESSURE, lambda: machine.read_pressure(tree)),
            traffic=ask(TableName.TRAFFIC, lambda: machine.read_traffic(tree, gaps)),
            services=ask(TableName.SERVICES, lambda: read_services(tree, processes, gaps)),
            modules=ask(TableName.MODULES, lambda: kernelmodules.read_kernel_modules(tree)),
            tasks=ask(TableName.TASKS, lambda: read_tasks(tree, gaps)),
            privileged=ask(
                TableName.PRIVILEGED,
                lambda: read_privileged(tree, gaps, self._sweeps.privileged_skipped, self._pause),
            ),
            packages=ask(TableName.PACKAGES, lambda: read_packages(tree, gaps)),
            certificates=ask(
                TableName.CERTIFICATES,
                lambda: read_certificate_files(tree, gaps, self._sweeps.certificate_folders, self._pause),
            ),
            gaps=gaps.rows(),
        )

    def _processes(self, tree: Tree, gaps: Gaps) -> tuple[Process, ...]:
        with ProcessReader(tree) as reader:
            return reader.read_all(gaps)


def _ask(read: Callable[[], Value]) -> Value | Unavailable:
    try:
        return read()
    except (OSError, GovsecError) as error:
        return Unavailable(reason_of(error))
