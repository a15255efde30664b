"""Which machine this is, and how busy: load, memory, pressure, interfaces.

psutil reads these well and knows the kernels' differences; only pressure (PSI, Documentation/accounting/psi.rst) it
does not know. It is pointed at the tree's own ``/proc`` for the time of one question.
"""

from __future__ import annotations

import platform
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import psutil

from govsec.errors import FormatError, GovsecError
from govsec.host.processes import booted_ns
from govsec.host.tables import Load, Machine, Memory, Pressure, TableName, Traffic
from govsec.host.tree import Gaps, Tree

_SMALL_FILE_BYTES_MAX = 64 << 10
#: A container host has some hundreds.
INTERFACES_MAX = 10_000
_PSUTIL = threading.Lock()
_RESOURCES = ("cpu", "memory", "io")


@contextmanager
def psutil_at(tree: Tree, folder: str = "/proc") -> Iterator[None]:
    """psutil takes the tree's ``folder`` for ``/proc`` inside; whatever it raises there becomes an error of ours.

    Raises:
        OSError: what is asked for is not there.
        FormatError: it is there, and psutil cannot make sense of it.
    """
    with _PSUTIL, warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a value that this kernel does not have is 0
        before = psutil.PROCFS_PATH
        psutil.PROCFS_PATH = tree.place(folder)
        try:
            yield
        except (psutil.Error, ValueError, KeyError, IndexError, AssertionError, RuntimeError, TypeError) as error:
            raise FormatError(f"psutil cannot read /proc here: {type(error).__name__}") from error
        finally:
            psutil.PROCFS_PATH = before


def read_machine(tree: Tree) -> Machine:
    """Kernel, system and container; what cannot be read is an empty string."""
    release = _os_release(tree)
    return Machine(
        kernel=_text(tree, "/proc/sys/kernel/osrelease"),
        architecture=platform.machine(),
        os_id=release.get("ID", ""),
        os_version=release.get("VERSION_ID", ""),
        os_codename=release.get("VERSION_CODENAME", ""),
        os_name=release.get("PRETTY_NAME", ""),
        booted_ns=_booted_ns(tree),
        container=_container(tree),
    )


def read_name(tree: Tree) -> str:
    """The machine's name; ``unknown`` where the kernel does not say."""
    return _text(tree, "/proc/sys/kernel/hostname") or _text(tree, "/etc/hostname") or "unknown"


def read_boot_id(tree: Tree) -> str:
    """The kernel's own name of this run; empty where there is none."""
    return _text(tree, "/proc/sys/kernel/random/boot_id")


def read_load(tree: Tree) -> Load:
    """Averages, cores and counts.

    Raises:
        OSError, GovsecError: they cannot be read.
    """
    fields = tree.read_text("/proc/loadavg", _SMALL_FILE_BYTES_MAX).split()
    with psutil_at(tree):
        times = psutil.cpu_times()
        cores = psutil.cpu_count() or 1
        average_1m, average_5m, average_15m = (float(field) for field in fields[:3])
        running, _, count = fields[3].partition("/")
        # Time of guests is counted in user and nice already.
        total_s = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
        idle_s = times.idle + getattr(times, "iowait", 0.0)
        return Load(average_1m, average_5m, average_15m, cores, total_s - idle_s, total_s, int(running), int(count))


def read_memory(tree: Tree) -> Memory:
    """Memory and swap.

    Raises:
        OSError, GovsecError: they cannot be read.
    """
    with psutil_at(tree):
        memory, swap = psutil.virtual_memory(), psutil.swap_memory()
        return Memory(memory.total, memory.available, swap.total, swap.free)


def read_traffic(tree: Tree, gaps: Gaps) -> tuple[Traffic, ...]:
    """Counters of every network interface.

    Raises:
        OSError, GovsecError: they cannot be read.
    """
    # In a tree elsewhere the machine's own interfaces are those of its first process, not of ours.
    with psutil_at(tree, "/proc" if tree.is_running_system else "/proc/1"):
        # Without nowrap psutil remembers every interface it ever saw.
        counters = cast("dict[str, object]", psutil.net_io_counters(pernic=True, nowrap=False) or {})
        rows = [
            Traffic(name, row.bytes_recv, row.bytes_sent, row.dropin, row.errin + row.errout)  # type: ignore[attr-defined]  # psutil names its rows differently a version
            for name, row in sorted(counters.items())
        ]
    if len(rows) > INTERFACES_MAX:
        gaps.add(TableName.TRAFFIC, f"more than {INTERFACES_MAX} interfaces", len(rows) - INTERFACES_MAX)
    return tuple(rows[:INTERFACES_MAX])


def read_pressure(tree: Tree) -> tuple[Pressure, ...]:
    """How long work stood still for want of processor, memory and storage.

    Raises:
        OSError: the kernel has no PSI.
        FormatError: its lines are not what a kernel writes.
    """
    rows = []
    for resource in _RESOURCES:
        shares: dict[str, dict[str, float]] = {}
        try:
            for line in tree.read_text(f"/proc/pressure/{resource}", _SMALL_FILE_BYTES_MAX).splitlines():
                kind, *pairs = line.split()
                shares[kind] = {name: float(value) for name, _, value in (pair.partition("=") for pair in pairs)}
            some, full = shares["some"], shares.get("full", {})
            rows.append(
                Pressure(
                    resource, some["avg10"], some["avg60"], some["avg300"],
                    full.get("avg10"), full.get("avg60"), full.get("avg300"),
                )
            )  # fmt: skip
        except (ValueError, KeyError) as error:
            raise FormatError(f"/proc/pressure/{resource}: no lines of a kernel") from error
    return tuple(rows)


def _booted_ns(tree: Tree) -> int:
    try:
        return booted_ns(tree)
    except (OSError, GovsecError):
        return 0


def _text(tree: Tree, path: str) -> str:
    try:
        return tree.read_text(path, _SMALL_FILE_BYTES_MAX).strip()
    except (OSError, GovsecError):
        return ""


def _os_release(tree: Tree) -> dict[str, str]:
    """os-release(5); the file in /etc is a link on most systems."""
    for path in ("/etc/os-release", "/usr/lib/os-release"):
        try:
            text = tree.read_text(tree.resolve(path), _SMALL_FILE_BYTES_MAX)
        except (OSError, GovsecError):
            continue
        pairs = (line.partition("=") for line in text.splitlines() if "=" in line and not line.startswith("#"))
        return {name.strip(): value.strip().strip("\"'") for name, _, value in pairs}
    return {}


def _container(tree: Tree) -> str | None:
    """What kind of container this is, from what container managers leave behind; systemd's own list of signs."""
    told = _text(tree, "/run/systemd/container")
    if told:
        return told
    for path, kind in (("/.dockerenv", "docker"), ("/run/.containerenv", "podman")):
        if Path(tree.place(path)).exists():
            return kind
    return None
