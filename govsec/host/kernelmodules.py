"""The kernel modules that are loaded: ``/proc/modules`` (proc(5)) and ``/sys/module`` (admin-guide/tainted-kernels)."""

from __future__ import annotations

from pathlib import Path

from govsec.errors import FormatError, GovsecError
from govsec.host.tables import KernelModule
from govsec.host.tree import Tree

_LIST_BYTES_MAX = 4 << 20
_TAINT_BYTES_MAX = 256
#: There exactly when the kernel was built to check signatures.
_CHECKS_SIGNATURES = "/sys/module/module/parameters/sig_enforce"


def read_kernel_modules(tree: Tree) -> tuple[KernelModule, ...]:
    """Every loaded module, by name; none when the kernel was built without modules and says so by an empty list.

    Raises:
        OSError: the kernel has no list of modules, or we may not read it.
        FormatError: a line of it is none that a kernel writes.
    """
    is_checked = Path(tree.place(_CHECKS_SIGNATURES)).exists()
    rows = []
    for line in tree.read_text("/proc/modules", _LIST_BYTES_MAX).splitlines():
        fields = line.split()
        if len(fields) < 4 or not fields[1].isdecimal():
            raise FormatError("/proc/modules: a line that no kernel writes")
        taint = _taint(tree, fields[0])
        is_signed = False if "E" in taint else (True if is_checked else None)
        users = tuple(name for name in fields[3].split(",") if name not in ("", "-", "[permanent]"))
        rows.append(KernelModule(fields[0], int(fields[1]), users, is_signed, taint))
    return tuple(sorted(rows, key=lambda row: row.name))


def _taint(tree: Tree, name: str) -> str:
    try:
        return tree.read_text(f"/sys/module/{name}/taint", _TAINT_BYTES_MAX).strip()
    except (OSError, GovsecError):
        return ""
