"""What runs by itself: cron (crontab(5)), the folders of periodic scripts, systemd timers, and at.

One idea: every place that a scheduler of a common distribution reads is read, each row with its file. Lines are kept as
written; whether a schedule makes sense is not asked here. Of a job of at only the command is kept: the rest of its file
is the environment of whoever left it, with whatever secrets that has.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator
from pathlib import Path

from govsec.errors import GovsecError
from govsec.host.tables import ScheduledTask, TableName
from govsec.host.tree import Gaps, Tree
from govsec.host.units import Unit, read_units

TASKS_MAX = 20_000
_FILE_BYTES_MAX = 1 << 20
_COMMAND_LENGTH_MAX = 4096
_TABLES = ("/etc/crontab", "/etc/anacrontab")
_FRAGMENTS = ("/etc/cron.d",)
#: Of Debian, Red Hat, SUSE and Alpine; a name in it is whose table it is.
_SPOOLS = ("/var/spool/cron/crontabs", "/var/spool/cron", "/var/spool/cron/tabs", "/etc/crontabs")
_PERIODIC = {
    "hourly": ("/etc/cron.hourly", "/etc/periodic/hourly"),
    "daily": ("/etc/cron.daily", "/etc/periodic/daily"),
    "weekly": ("/etc/cron.weekly", "/etc/periodic/weekly"),
    "monthly": ("/etc/cron.monthly", "/etc/periodic/monthly"),
}
_AT = ("/var/spool/cron/atjobs", "/var/spool/at")
#: Queue, five digits of the job, eight of minutes since 1970.
_AT_NAME = re.compile(r"[a-zA-Z=]([0-9a-f]{5})([0-9a-f]{8})")
#: What editors and package managers leave; no scheduler reads it.
_LEFT_BEHIND = re.compile(r"^\.|~$|\.(?:dpkg|rpm|ucf)[a-z-]*$|,v$|^#.*#$")
_SETTING = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\s*=")
_WHEN = ("OnCalendar", "OnBootSec", "OnStartupSec", "OnActiveSec", "OnUnitActiveSec", "OnUnitInactiveSec")


def read_tasks(tree: Tree, gaps: Gaps) -> tuple[ScheduledTask, ...]:
    """Every scheduled task, by kind and file; places that a machine does not have are none.

    Raises:
        OSError: there is not even a folder ``/etc`` to look in.
    """
    tree.names("/etc")
    reader = _Reader(tree, gaps)
    rows: list[ScheduledTask] = []
    for row in (*reader.cron(), *reader.periodic(), *reader.at(), *reader.timers()):
        if len(rows) >= TASKS_MAX:
            gaps.add(TableName.TASKS, f"more than {TASKS_MAX} tasks")
            continue
        rows.append(row)
    return tuple(sorted(rows, key=lambda row: (row.kind, row.file, row.schedule, row.command)))


class _Reader:
    def __init__(self, tree: Tree, gaps: Gaps) -> None:
        self._tree = tree
        self._gaps = gaps

    def cron(self) -> Iterator[ScheduledTask]:
        """Tables of the system, whose lines name the user, and tables of users."""
        paths = [*_TABLES, *(f"{folder}/{name}" for folder in _FRAGMENTS for name in self._names(folder))]
        for path in paths:
            is_anacron = path.endswith("/anacrontab")
            for line in self._lines(path):
                row = _anacron(line, path) if is_anacron else _cron(line, path, owner=None)
                if row is not None:
                    yield row
        seen = set()
        for folder in _SPOOLS:
            for name in self._names(folder):
                path = f"{folder}/{name}"
                if name in seen or self._is_folder(path):
                    continue
                seen.add(name)
                for line in self._lines(path):
                    row = _cron(line, path, owner=name)
                    if row is not None:
                        yield row

    def periodic(self) -> Iterator[ScheduledTask]:
        """Programs in the folders that are run every hour, day, week and month."""
        for schedule, folders in _PERIODIC.items():
            for folder in folders:
                for name in self._names(folder):
                    path = f"{folder}/{name}"
                    try:
                        mode = Path(self._tree.place(path)).lstat().st_mode
                    except OSError:
                        continue
                    if stat.S_ISLNK(mode) or (stat.S_ISREG(mode) and mode & 0o111):
                        yield ScheduledTask("periodic", "root", schedule, path, path)

    def at(self) -> Iterator[ScheduledTask]:
        """Jobs of at(1) that wait."""
        for folder in _AT:
            for name in self._names(folder):
                match = _AT_NAME.fullmatch(name)
                path = f"{folder}/{name}"
                if match is None:
                    continue
                try:
                    owner = str(Path(self._tree.place(path)).lstat().st_uid)
                except OSError:
                    continue
                # The job's own commands follow the block that leaves when its folder is gone.
                command = "\n".join(self._lines(path)).rpartition("\n}\n")[2].strip()
                when = f"minute {int(match[2], 16)} since 1970"
                yield ScheduledTask("at", owner, when, command[:_COMMAND_LENGTH_MAX], path)

    def timers(self) -> Iterator[ScheduledTask]:
        """Timer units that are not masked, each with the commands of the service that it starts."""

        def count_gap(reason: str) -> None:
            self._gaps.add(TableName.TASKS, reason)

        try:
            timers = read_units(self._tree, ".timer", count_gap)
            wanted = {name for timer in timers.values() for name in _started_by(timer)}
            services = read_units(self._tree, ".service", count_gap, only=wanted)
        except (OSError, GovsecError):
            return
        for timer in timers.values():
            if timer.enabled != "masked" and not timer.name.endswith("@.timer"):
                yield _timer(timer, services)

    def _is_folder(self, path: str) -> bool:
        try:
            return stat.S_ISDIR(Path(self._tree.place(path)).lstat().st_mode)
        except OSError:
            return False

    def _names(self, folder: str) -> list[str]:
        try:
            return [name for name in self._tree.names(folder) if not _LEFT_BEHIND.search(name)]
        except FileNotFoundError:
            return []
        except NotADirectoryError:
            return []
        except (OSError, GovsecError):
            self._gaps.add(TableName.TASKS, "folder of tasks that cannot be read")
            return []

    def _lines(self, path: str) -> list[str]:
        try:
            return self._tree.read_text(self._tree.resolve(path), _FILE_BYTES_MAX).split("\n")
        except FileNotFoundError:
            return []
        except (OSError, GovsecError):
            self._gaps.add(TableName.TASKS, "file of tasks that cannot be read")
            return []


def _cron(line: str, path: str, owner: str | None) -> ScheduledTask | None:
    """A line of a crontab; in tables of the system the user stands before the command."""
    line = line.strip()
    if not line or line.startswith("#") or _SETTING.match(line):
        return None
    count = 1 if line.startswith("@") else 5
    fields = line.split(None, count if owner is not None else count + 1)
    if len(fields) < count + (1 if owner is not None else 2):
        return None
    user = owner if owner is not None else fields[count]
    return ScheduledTask("cron", user, " ".join(fields[:count]), fields[-1][:_COMMAND_LENGTH_MAX], path)


def _anacron(line: str, path: str) -> ScheduledTask | None:
    """Period in days, delay in minutes, name, command (anacrontab(5))."""
    line = line.strip()
    if not line or line.startswith("#") or _SETTING.match(line):
        return None
    fields = line.split(None, 3)
    if len(fields) < 4:
        return None
    return ScheduledTask("cron", "root", f"every {fields[0]} days", fields[3][:_COMMAND_LENGTH_MAX], path)


def _started_by(timer: Unit) -> tuple[str, ...]:
    """The service that a timer starts; of an instance, the template it is made of stands behind it."""
    named = timer.values("Timer", "Unit")
    name = named[-1] if named else timer.name.removesuffix(".timer") + ".service"
    return (name, name.partition("@")[0] + "@.service") if "@" in name else (name,)


def _timer(timer: Unit, services: dict[str, Unit]) -> ScheduledTask:
    names = _started_by(timer)
    service = next((services[name] for name in names if name in services), None)
    command = "; ".join(service.values("Service", "ExecStart")) if service else names[0]
    users = service.values("Service", "User") if service else ()
    schedule = "; ".join(f"{when}={value}" for when in _WHEN for value in timer.values("Timer", when))
    is_on = "" if timer.enabled == "enabled" else f" ({timer.enabled})"
    return ScheduledTask(
        "timer", users[-1] if users else "root", schedule + is_on, command[:_COMMAND_LENGTH_MAX], timer.file
    )
