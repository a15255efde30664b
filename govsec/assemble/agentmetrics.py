"""The module ``metrics`` of the host agent: load, memory, disks, pressure and traffic, as numbers for a dashboard."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from govsec.agent.api import Context
from govsec.config import Model

if TYPE_CHECKING:  # the supervisor reads this module, and needs no psutil
    from govsec.host.tables import Disk, HostSnapshot, Load, Memory, Pressure, Traffic


class MetricsSettings(Model):
    """How often the machine is measured."""

    every_s: float = Field(default=15, ge=5, le=3600)
    each_max: int = Field(default=16, ge=1, le=24, description="file systems, and interfaces, that are told apart")


def try_metrics() -> None:
    """Import what the module needs."""
    import govsec.host.snapshot  # noqa: F401 - to see that it can be


def run_metrics(settings: MetricsSettings, context: Context) -> None:
    """Measure until told to end."""
    from govsec.host.snapshot import HostReader
    from govsec.host.tables import TableName

    tables = (TableName.LOAD, TableName.MEMORY, TableName.DISKS, TableName.PRESSURE, TableName.TRAFFIC)
    reader = HostReader()
    while True:
        measure_host(reader.take(context.clock, tables), settings, context)
        if context.wait(settings.every_s):
            return


def measure_host(snapshot: HostSnapshot, settings: MetricsSettings, context: Context) -> None:
    """What the snapshot holds, as metrics; a table that could not be read is counted under its name."""
    from govsec.host.tables import Unavailable

    for name in ("load", "memory"):
        table = getattr(snapshot, name)
        if isinstance(table, Unavailable):
            context.lost("host", name, 1)
        elif name == "load":
            _load(table, context)
        else:
            _memory(table, context)
    for name, measure in (("disks", _disk), ("pressure", _pressure), ("traffic", _traffic)):
        rows = getattr(snapshot, name)
        if isinstance(rows, Unavailable):
            context.lost("host", name, 1)
            continue
        for row in rows[: settings.each_max]:
            measure(row, context)
        if len(rows) > settings.each_max:
            context.lost("host", f"{name}_left_out", len(rows) - settings.each_max)


def _load(load: Load, context: Context) -> None:
    context.metric("host_load_average", load.average_1m, minutes="1")
    context.metric("host_load_average", load.average_15m, minutes="15")
    context.metric("host_cores", load.cores)
    context.metric("host_cpu_busy_seconds_total", load.cpu_busy_s)
    context.metric("host_processes", load.process_count)


def _memory(memory: Memory, context: Context) -> None:
    context.metric("host_memory_bytes", memory.total_bytes)
    context.metric("host_memory_available_bytes", memory.available_bytes)
    context.metric("host_swap_bytes", memory.swap_total_bytes)
    context.metric("host_swap_free_bytes", memory.swap_free_bytes)


def _disk(disk: Disk, context: Context) -> None:
    context.metric("host_disk_bytes", disk.total_bytes, mount=disk.mount)
    context.metric("host_disk_available_bytes", disk.available_bytes, mount=disk.mount)
    context.metric("host_disk_files_available", disk.files_available, mount=disk.mount)
    context.metric("host_disk_read_only", disk.is_read_only, mount=disk.mount)


def _pressure(pressure: Pressure, context: Context) -> None:
    context.metric("host_pressure_percent", pressure.some_60s, resource=pressure.resource, share="some")
    if pressure.full_60s is not None:
        context.metric("host_pressure_percent", pressure.full_60s, resource=pressure.resource, share="full")


def _traffic(traffic: Traffic, context: Context) -> None:
    context.metric("host_received_bytes_total", traffic.received_bytes, interface=traffic.interface)
    context.metric("host_sent_bytes_total", traffic.sent_bytes, interface=traffic.interface)
    context.metric("host_received_dropped_total", traffic.received_dropped, interface=traffic.interface)
