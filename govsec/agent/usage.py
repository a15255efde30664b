"""What a process and those below it use of the machine, from ``/proc``.

Looking costs: a stat and a children file a process each second, and PSS (which the kernel walks all pages for) only
when RSS, which is never less, is above what is allowed. Processes that vanish in mid-read count as nothing.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

#: Processes of one module that are looked at.
PROCESSES_MAX = 64
_READ_MAX = 64 << 10
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
#: Fields of /proc/PID/stat behind the name: proc(5), from field 3 (state) on.
_UTIME, _STIME, _CUTIME, _CSTIME, _RSS = 11, 12, 13, 14, 21


@dataclass(frozen=True, slots=True)
class Usage:
    """Of a whole tree of processes."""

    #: Since they began, with those below that have ended.
    cpu_s: float
    rss_bytes: int
    processes: tuple[int, ...]


def usage_of(pid: int, proc: Path = Path("/proc")) -> Usage:
    """What ``pid`` and the processes below it use now; of at most :data:`PROCESSES_MAX`."""
    waiting = [pid]
    seen: list[int] = []
    ticks = pages = 0
    while waiting and len(seen) < PROCESSES_MAX:
        number = waiting.pop()
        line = _read(proc / str(number) / "stat")
        if not line:
            continue
        fields = line.rpartition(b")")[2].split()
        seen.append(number)
        # What ended below a process is counted at it once it was waited for.
        ticks += sum(int(fields[place]) for place in (_UTIME, _STIME, _CUTIME, _CSTIME))
        pages += int(fields[_RSS])
        below = _read(proc / str(number) / "task" / str(number) / "children")
        waiting += [int(word) for word in below.split()[: PROCESSES_MAX - len(seen)]]
    return Usage(ticks / _TICKS_PER_S, pages * _PAGE_BYTES, tuple(seen))


def pss_of(pids: tuple[int, ...], proc: Path = Path("/proc")) -> int:
    """Bytes of memory that are theirs: what they share with others counts in part.

    All of it counts of a process whose maps may not be read (it changed its user, and nothing may trace it).
    """
    return sum(_pss(proc / str(pid)) for pid in pids)


def _pss(process: Path) -> int:
    for line in _read(process / "smaps_rollup").splitlines():
        if line.startswith(b"Pss:"):
            return int(line.split()[1]) * 1024
    fields = _read(process / "statm").split()
    return int(fields[1]) * _PAGE_BYTES if len(fields) > 1 else 0


def _read(path: Path) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return os.read(descriptor, _READ_MAX)
    except OSError:
        return b""
    finally:
        os.close(descriptor)
