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
from govsec.host.listeners import SocketReader
from govsec.host.processes import ProcessReader
from govsec.host.tables import HostSnapshot, Process, Rows, TableName, Unavailable
from govsec.host.tree import Gaps, Tree, reason_of

#: All tables, and those that cost milliseconds.
ALL_TABLES = frozenset(TableName)
SWEPT_TABLES = frozenset((TableName.PRIVILEGED, TableName.CERTIFICATES))
QUICK_TABLES = ALL_TABLES - SWEPT_TABLES - {TableName.PACKAGES}
_NOT_ASKED = Unavailable("not asked for")

Value = TypeVar("Value")


def take(clock: Clock, tables: Collection[TableName] = ALL_TABLES, *, root: Path = Path("/")) -> HostSnapshot:
    """The machine whose tree is at ``root``, now; ``tables`` that are not named are ``Unavailable``."""
    return HostReader(root).take(clock, tables)


class HostReader:
    """Reads snapshots of one machine again and again."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root
        self._tree = Tree.at(root)
        self._sockets = SocketReader(self._tree)

    def take(self, clock: Clock, tables: Collection[TableName] = ALL_TABLES) -> HostSnapshot:
        """The machine now. Never raises for what the machine is: see the tables' reasons."""
        tree, gaps = Tree.at(self._root), Gaps()
        time_ns = to_ns(clock.now())

        def ask(name: TableName, read: Callable[[], Value]) -> Value | Unavailable:
            return _ask(read) if name in tables else _NOT_ASKED

        # Holders of listeners are processes, so these are read for them too, and shown only when asked for.
        needs = {TableName.PROCESSES, TableName.LISTENERS} & set(tables)
        processes: Rows[Process] = _ask(lambda: self._processes(tree, gaps)) if needs else _NOT_ASKED
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
            services=_NOT_ASKED,
            modules=ask(TableName.MODULES, lambda: kernelmodules.read_kernel_modules(tree)),
            tasks=_NOT_ASKED,
            privileged=_NOT_ASKED,
            packages=_NOT_ASKED,
            certificates=_NOT_ASKED,
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
