"""The table of processes from several sides: who answers to signals, who is listed, whose folder tells the truth.

One idea: signal 0 asks the kernel whether a process is there and does nothing to it. Asking all numbers there can be
would take long, so each look asks a part of them in turn, up to the highest that was given out; besides, always,
members of control groups that are not listed, numbers with something mounted over them, and those that hid at the last
look. A thread answers too, and is in no listing: its folder says which process it belongs to.

Works for who may signal everybody (root, in its own namespace of processes) and sees all of ``/proc`` (no ``hidepid``).

Source: kill(2), proc(5), cgroups(7) (``cgroup.procs``).
"""

from __future__ import annotations

import os
from pathlib import Path

from govsec.guard.api import HiddenProcess, ProcessLook
from govsec.host.tables import Unavailable

#: Numbers a look asks; about 20 ms of a processor. A machine's first 32,768 are through in four looks.
SLICE_SIZE = 8192
_READ_MAX = 1 << 20
_GROUPS_MAX = 4096


class ProcessView:
    """Looks at processes; keep one, so that each look goes on where the last one ended."""

    def __init__(self, proc: Path = Path("/proc"), groups: Path = Path("/sys/fs/cgroup")) -> None:
        self._proc = proc
        self._groups = groups
        self._next = 1
        self._suspects: frozenset[int] = frozenset()

    def look(self, time_ns: int) -> ProcessLook:
        """Who hides among the numbers that are asked now."""
        reason = self._blind()
        if reason is not None:
            return ProcessLook(time_ns, Unavailable(reason))
        listed = self._listed()
        end = max(self._last_number(), *listed) + 1
        begin = self._next if self._next < end else 1
        asked_end = min(begin + SLICE_SIZE, end)
        self._next = asked_end
        members, covers = self._members(), self._covers()
        again = (members.keys() - listed) | covers.keys() | self._suspects
        hidden = []
        for pid in sorted({*range(begin, asked_end), *again}):
            how = self._how(pid, listed) if _answers(pid) else None
            # Asked again: it may have ended, or begun, since.
            if how is not None and (how := self._how(pid, self._listed())) is not None and _answers(pid):
                seen = [f"cgroup {members[pid]}"] if pid in members else []
                seen += [f"mount {covers[pid]}"] if pid in covers else []
                hidden.append(HiddenProcess(pid, how, tuple(seen)))
        self._suspects = frozenset(one.pid for one in hidden)
        return ProcessLook(time_ns, tuple(hidden), begin, asked_end, frozenset(again))

    def _how(self, pid: int, listed: frozenset[int]) -> str | None:
        """How a number that answers hides; ``None`` when it does not."""
        says = self._says(pid)
        if says is None:
            return "unreadable" if pid in listed or self._is_there(pid) else "unlisted"
        number, leader = says
        if number != pid:
            return "covered"
        # A thread is in no listing; its process is.
        return None if leader in listed or not _answers(leader) else "unlisted"

    def _says(self, pid: int) -> tuple[int, int] | None:
        """(Pid, Tgid) of its status, as it stands there."""
        text = _read(self._proc / str(pid) / "status")
        fields = dict(line.split(":\t", 1) for line in text.split("\n") if ":\t" in line)
        try:
            return int(fields["Pid"]), int(fields["Tgid"])
        except (KeyError, ValueError):
            return None

    def _is_there(self, pid: int) -> bool:
        return (self._proc / str(pid)).is_dir()

    def _listed(self) -> frozenset[int]:
        try:
            return frozenset(int(entry.name) for entry in self._proc.iterdir() if entry.name.isdecimal())
        except OSError:
            return frozenset()

    def _last_number(self) -> int:
        """The highest number that can have been given out: all of them once numbering has begun anew."""
        last = _read(self._proc / "loadavg").split(" ")[-1].strip()
        return int(last) if last.isdecimal() else 1

    def _members(self) -> dict[int, str]:
        """Members of control groups, and the group of each."""
        members: dict[int, str] = {}
        for count, (folder, _, names) in enumerate(os.walk(self._groups)):
            if count >= _GROUPS_MAX:
                break
            if "cgroup.procs" in names:
                for line in _read(Path(folder) / "cgroup.procs").split("\n"):
                    # 0 is a process of another namespace.
                    if line.isdecimal() and line != "0":
                        members[int(line)] = folder.removeprefix(str(self._groups)) or "/"
        return members

    def _covers(self) -> dict[int, str]:
        """Numbers whose folder something is mounted over."""
        covers: dict[int, str] = {}
        prefix = f"{self._proc}/"
        for line in _read(self._proc / "self/mountinfo").split("\n"):
            fields = line.split(" ")
            if len(fields) > 4 and fields[4].startswith(prefix):
                number = fields[4].removeprefix(prefix).split("/", 1)[0]
                if number.isdecimal():
                    covers[int(number)] = fields[4]
        return covers

    def _blind(self) -> str | None:
        """Why nothing can be said, when nothing can."""
        if os.geteuid() != 0:
            return "not root: signals are refused"
        for line in _read(self._proc / "self/mountinfo").split("\n"):
            fields = line.split(" ")
            if len(fields) > 4 and fields[4] == str(self._proc):
                options = fields[-1].split(",")
                if any(option.startswith("hidepid=") and option != "hidepid=0" for option in options):
                    return "/proc is mounted with hidepid"
        return None if self._listed() else "/proc lists nobody"


def _answers(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it is there, and not ours to signal
        return True
    return True


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_READ_MAX).decode("utf-8", "surrogateescape")
    except OSError:
        return ""
