"""The services of a machine: units of systemd, scripts of ``/etc/init.d``, and whether they run.

One idea: the files say what there is; who runs is asked from systemctl where systemd runs, with fixed arguments, no
shell and a limit. Where it cannot be asked, the control groups of the processes tell the same of whatever has one.
"""

from __future__ import annotations

import stat
import subprocess
from pathlib import Path

from govsec.errors import GovsecError
from govsec.host.tables import Process, Rows, Service, TableName, Unavailable
from govsec.host.tree import Gaps, Tree
from govsec.host.units import Unit, read_units

_SUFFIX = ".service"
_SYSTEMCTL = ("/usr/bin/systemctl", "/bin/systemctl")
_ARGUMENTS = ("list-units", "--type=service", "--all", "--full", "--plain", "--no-legend", "--no-pager")
#: systemd answers within milliseconds; a machine that is starting or stopping can take longer.
_TIMEOUT_S = 30
_OUTPUT_BYTES_MAX = 16 << 20
_STARTS = ("ExecStartPre", "ExecStart", "ExecStartPost")
#: Run levels of a machine in service (LSB 3.1).
_RUN_LEVELS = ("2", "3", "4", "5")


def read_services(tree: Tree, processes: Rows[Process], gaps: Gaps) -> tuple[Service, ...]:
    """Every service by name.

    Raises:
        OSError, GovsecError: the machine has neither units nor scripts.
    """
    try:
        units = read_units(tree, _SUFFIX, lambda reason: gaps.add(TableName.SERVICES, reason))
    except OSError:
        units = {}
        scripts = _scripts(tree)  # raises when there is neither
    else:
        try:
            scripts = _scripts(tree)
        except (OSError, GovsecError):
            scripts = {}
    states = _states(tree, processes, gaps)
    rows = [_of_unit(unit, states) for unit in units.values()]
    rows += [
        Service(name, _state(states, name + _SUFFIX), "enabled" if is_on else "disabled", f"/etc/init.d/{name}", ())
        for name, is_on in scripts.items()
        if name + _SUFFIX not in units
    ]
    known = {row.name if row.name.endswith(_SUFFIX) else row.name + _SUFFIX for row in rows}
    # What runs without a file: started by hand (systemd-run), or its file was removed since.
    rows += [Service(name, state, None, None, ()) for name, state in (states or {}).items() if name not in known]
    return tuple(sorted(rows, key=lambda row: row.name))


def _of_unit(unit: Unit, states: dict[str, str] | None) -> Service:
    return Service(unit.name, _state(states, unit.name), unit.enabled, unit.file, unit.values("Service", *_STARTS))


def _state(states: dict[str, str] | None, name: str) -> str | None:
    return None if states is None else states.get(name, "inactive")


def _states(tree: Tree, processes: Rows[Process], gaps: Gaps) -> dict[str, str] | None:
    """State of each service that runs or failed; ``None`` where nobody can say."""
    if tree.is_running_system and Path("/run/systemd/private").exists():
        asked = _ask_systemctl()
        if asked is not None:
            return asked
        gaps.add(TableName.SERVICES, "systemctl did not answer: states are those of the control groups", 0)
    if isinstance(processes, Unavailable):
        return None
    states = {}
    for process in processes:
        for part in (process.cgroup or "").split("/"):
            if part.endswith(_SUFFIX):
                states[part] = "active"
    return states or None


def _ask_systemctl() -> dict[str, str] | None:
    program = next((path for path in _SYSTEMCTL if Path(path).exists()), None)
    if program is None:
        return None
    try:
        answer = subprocess.run(
            [program, *_ARGUMENTS],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_TIMEOUT_S,
            check=True,
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C", "SYSTEMD_COLORS": "0"},
        )
    except (OSError, subprocess.SubprocessError):
        return None
    states = {}
    for line in answer.stdout[:_OUTPUT_BYTES_MAX].decode("utf-8", "surrogateescape").splitlines():
        fields = line.split(None, 3)
        # name, whether the file was found, the state, and a finer one
        if len(fields) >= 3 and fields[0].endswith(_SUFFIX) and fields[2] != "inactive":
            states[fields[0]] = fields[2]
    return states


def _scripts(tree: Tree) -> dict[str, bool]:
    """Scripts of ``/etc/init.d`` that can be run, and whether a run level starts them."""
    started = set()
    for level in _RUN_LEVELS:
        try:
            names = tree.names(f"/etc/rc{level}.d")
        except (OSError, GovsecError):
            continue
        started |= {name[3:] for name in names if name.startswith("S") and name[1:3].isdecimal()}
    scripts = {}
    for name in tree.names("/etc/init.d"):
        try:
            mode = Path(tree.place(f"/etc/init.d/{name}")).lstat().st_mode
        except OSError:
            continue
        if stat.S_ISREG(mode) and mode & 0o111:
            scripts[name] = name in started
    return scripts
