"""The library's way in to a machine's tables: a snapshot in one call."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from govsec.clock import Clock, SystemClock
from govsec.errors import ConfigurationError
from govsec.host.settings import SweepSettings
from govsec.host.snapshot import ALL_TABLES, QUICK_TABLES, take
from govsec.host.tables import HostSnapshot, TableName


def host_snapshot(
    tables: Collection[str] | None = None,
    *,
    root: Path = Path("/"),
    sweeps: SweepSettings | None = None,
    clock: Clock | None = None,
) -> HostSnapshot:
    """What runs, listens and is installed on this machine, or on the one whose files are at ``root``, now.

    ``tables``: names as in ``TableName``; by default those that cost milliseconds, and packages. The sweeps over files
    (``privileged``, ``certificates``) are asked for by name, and can take minutes on a large disk.

    Raises:
        ConfigurationError: there is no such table, or no folder at ``root``.
    """
    if not root.is_dir():
        raise ConfigurationError(f"{root}: no folder with a machine's files")
    asked = QUICK_TABLES | {TableName.PACKAGES} if tables is None else {_table(name) for name in tables}
    return take(clock or SystemClock(), asked, root=root, sweeps=sweeps or SweepSettings())


def _table(name: str) -> TableName:
    try:
        return TableName(name)
    except ValueError as error:
        raise ConfigurationError(f"{name}: no table; there are {', '.join(sorted(ALL_TABLES))}") from error
