"""Loaded kernel modules from several sides: the list that ``lsmod`` reads, ``/sys/module``, and the kernel's taint.

Built-in modules are below ``/sys/module`` too; those that were loaded have a file ``initstate`` there.

Source: proc(5); kernel documentation, "Tainted kernels" and ABI/stable/sysfs-module.
"""

from __future__ import annotations

from pathlib import Path

from govsec.guard.api import ModuleLook

_READ_MAX = 1 << 20
_NAMES_MAX = 10_000


class ModuleView:
    """Looks at modules below ``root``."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._list = root / "proc/modules"
        self._folder = root / "sys/module"
        self._taint = root / "proc/sys/kernel/tainted"

    def look(self, time_ns: int) -> ModuleLook | None:
        """The views; ``None`` where the kernel has no modules, or shows none of them."""
        listed = _read(self._list)
        if listed is None:
            return None
        names, letters = [], set()
        for line in listed.split("\n")[:_NAMES_MAX]:
            fields = line.split(" ")
            if fields[0]:
                names.append(fields[0])
                letters |= set(fields[-1]) if fields[-1].startswith("(") else set()
        # A module that has left one list since is asked for again at the next look.
        taint = (_read(self._taint) or "0").strip()
        return ModuleLook(
            time_ns=time_ns,
            listed=tuple(sorted(names)),
            present=tuple(sorted(self._present())),
            taint=int(taint) if taint.isdecimal() else 0,
            listed_taint="".join(sorted(letters - {"(", ")", "+", "-"})),
        )

    def _present(self) -> list[str]:
        try:
            entries = sorted(self._folder.iterdir())[:_NAMES_MAX]
        except OSError:
            return []
        return [entry.name for entry in entries if (entry / "initstate").exists()]


def _read(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return file.read(_READ_MAX).decode("utf-8", "surrogateescape")
    except OSError:
        return None
