"""``process.suspend``: stop one process where it stands. It is not killed: what it holds in memory is evidence.

A process is its number and the moment it started; through a descriptor of it (pidfd) the signal reaches that process or
nobody, also when its number is taken by another.

Source: proc(5), pidfd_open(2), pidfd_send_signal(2).
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from govsec.errors import RefusedError
from govsec.response.helper.api import Arguments, Before, number_of

PROC = Path("/proc")
_KERNEL_THREADS = 2
_PROCESSES_MAX = 100_000
_STOPPED = ("T", "t")
#: How long a deed waits to see that the process stands: two seconds.
_STOPPING_LOOKS, _STOPPING_LOOK_S = 200, 0.01
_DELETED = " (deleted)"
#: Ours: the agent, the duty daemon and this helper run there, as a python that others run too.
_OWN_UNITS = "govsec-"


class Suspend:
    """The verb; ``never`` are paths of programs, or with ``/`` at the end of folders.

    What the kernel says is run counts, not what a process calls itself: that it chooses.
    """

    is_volatile = False

    def __init__(self, never: Sequence[str]) -> None:
        self._never = tuple(never)

    def plan(self, arguments: Arguments, peer_pid: int) -> dict[str, Any]:
        pid, status = number_of(arguments, "pid"), _status(arguments)
        if status is None:
            raise RefusedError(f"process {pid}: gone, or another one by now")
        name, _, parent, _ = status
        if pid in (1, _KERNEL_THREADS, os.getpid(), os.getppid(), peer_pid) or parent == _KERNEL_THREADS:
            raise RefusedError(f"process {pid} ({name}) is never suspended: the machine's, or our own")
        if not _is_whole(pid):
            raise RefusedError(f"process {pid} ({name}) is a thread; its process is what can be suspended")
        if (unit := _unit_of(pid)).startswith(_OWN_UNITS):
            raise RefusedError(f"process {pid} ({name}) is never suspended: it belongs to {unit}")
        program = program_of(pid)
        if any(program.startswith(each) if each.endswith("/") else program == each for each in self._never):
            raise RefusedError(f"process {pid} ({program}) is never suspended: named in the settings")
        return {"pid": pid, "name": name, "program": program}

    def before(self, arguments: Arguments) -> Before:
        status = _status(arguments)
        return {"was_stopped": status is not None and status[1] in _STOPPED}

    def act(self, arguments: Arguments, before: Before, ttl_s: int, nonce: str) -> None:
        if not _send(arguments, signal.SIGSTOP):
            raise RefusedError(f"process {arguments['pid']}: gone")
        # It stops when it next runs, on its own processor; one that waits for a disk stops later, and is seen then.
        for _ in range(_STOPPING_LOOKS):
            if self.holds(arguments, before):
                break
            select.select((), (), (), _STOPPING_LOOK_S)

    def holds(self, arguments: Arguments, before: Before) -> bool:
        status = _status(arguments)
        return status is not None and status[1] in _STOPPED

    def undo(self, arguments: Arguments, before: Before) -> str:
        is_there = before["was_stopped"] or _send(arguments, signal.SIGCONT)
        return "" if is_there else "gone"

    def processes(self, arguments: Arguments) -> list[int]:
        return [number_of(arguments, "pid")]


def status_of(pid: int) -> tuple[str, str, int, int] | None:
    """Name, state, parent and start (ticks since boot) of a process; None when there is none."""
    try:
        text = (PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The name may hold anything, brackets and spaces included; what follows its last bracket may not.
    name, rest = text.split("(", 1)[1].rsplit(")", 1)
    words = rest.split()
    return name, words[0], int(words[1]), int(words[19])


def program_of(pid: int) -> str:
    """The path of the program that a process runs, as the kernel says; empty when it cannot be had.

    Of one whose file was replaced by an upgrade, the path that it had.
    """
    try:
        path = os.fsencode((PROC / str(pid) / "exe").readlink()).decode("utf-8", "backslashreplace")
    except OSError:
        return ""
    return path.removesuffix(_DELETED)


def _is_whole(pid: int) -> bool:
    """Whether the number is that of a process, and not of one of its threads."""
    try:
        lines = (PROC / str(pid) / "status").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return False
    return f"Tgid:\t{pid}" in lines


def _unit_of(pid: int) -> str:
    """The unit of systemd that a process runs in; only root puts a process into one. Empty when there is none."""
    try:
        lines = (PROC / str(pid) / "cgroup").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    parts = [part for line in lines for part in line.partition("::")[2].split("/")]
    return next((part for part in parts if part.endswith(".service")), "")


def pids() -> list[int]:
    """Every process, the first 100,000."""
    return sorted(int(entry.name) for entry in os.scandir(PROC) if entry.name.isdigit())[:_PROCESSES_MAX]


def processes_of(uid: int) -> list[int]:
    """The processes of a user."""
    found = []
    for pid in pids():
        with contextlib.suppress(OSError):
            if (PROC / str(pid)).stat().st_uid == uid:
                found.append(pid)
    return found


def _status(arguments: Arguments) -> tuple[str, str, int, int] | None:
    status = status_of(number_of(arguments, "pid"))
    return status if status is not None and status[3] == number_of(arguments, "started") else None


def _send(arguments: Arguments, number: signal.Signals) -> bool:
    """Signal the process that is meant; False when it is gone."""
    try:
        descriptor = os.pidfd_open(number_of(arguments, "pid"))
    except OSError as error:
        if error.errno in (errno.ESRCH, errno.ENOENT, errno.EINVAL):
            return False  # gone, or by now the number of a thread
        raise
    try:
        # Looked at again behind the descriptor: what it stands for cannot change any more.
        if _status(arguments) is None:
            return False
        signal.pidfd_send_signal(descriptor, number)
        return True
    except ProcessLookupError:
        return False
    finally:
        os.close(descriptor)
