"""A machine's tables beside plain psutil in one run: processes, sockets, listeners, and a whole quick snapshot.

    python -m bench.host [--processes 400] [--sockets 8000] [--rounds 9]

Makes as many processes and connections on the loopback as are missing, then asks both by turns for the same things:
of a process what a row of ours has (psutil is told to fetch just these), of sockets every TCP and UDP one. Prints
medians of wall time, processor time and the ratios.
"""

from __future__ import annotations

import argparse
import contextlib
import resource
import socket
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import psutil

from govsec.clock import SystemClock
from govsec.host.processes import ProcessReader
from govsec.host.snapshot import QUICK_TABLES, HostReader
from govsec.host.sockdiag import read_sockets
from govsec.host.tables import TableName
from govsec.host.tree import Gaps, Tree

_ATTRIBUTES = [
    "pid", "ppid", "name", "exe", "cmdline", "uids", "gids", "terminal", "status", "create_time", "cpu_times",
    "memory_info",
]  # fmt: skip
#: A connection on the loopback has two sockets here.
_BACKLOG = 1024


@dataclass
class Line:
    """One thing that is asked for, and how long it took, round by round."""

    name: str
    ask: Callable[[], int]
    count: int = 0

    def __post_init__(self) -> None:
        self.wall_ms: list[float] = []
        self.processor_ms: list[float] = []

    def measure(self) -> None:
        """Ask once."""
        wall, processor = time.perf_counter(), time.process_time()
        self.count = self.ask()
        self.wall_ms.append((time.perf_counter() - wall) * 1e3)
        self.processor_ms.append((time.process_time() - processor) * 1e3)

    def words(self) -> str:
        """A line of the table."""
        wall, processor = statistics.median(self.wall_ms), statistics.median(self.processor_ms)
        return f"{self.name:<46} {self.count:>7} {wall:>9.1f} {min(self.wall_ms):>9.1f} {processor:>9.1f}"


@contextlib.contextmanager
def crowd(processes_count: int, sockets_count: int) -> Iterator[None]:
    """At least so many processes and sockets on this machine."""
    with contextlib.ExitStack() as stack:
        for _ in range(max(0, processes_count - len(psutil.pids()))):
            child = subprocess.Popen(["/bin/sleep", "100000"])
            stack.callback(child.wait)
            stack.callback(child.kill)
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=_BACKLOG))
        for _ in range(max(0, sockets_count - len(read_sockets()[0])) // 2 + 1):
            stack.enter_context(socket.create_connection(server.getsockname()))
            stack.enter_context(server.accept()[0])
        yield


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--processes", type=int, default=400)
    parser.add_argument("--sockets", type=int, default=8000)
    parser.add_argument("--rounds", type=int, default=9)
    args = parser.parse_args()
    limit = args.sockets + 4096
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, max(limit, resource.getrlimit(resource.RLIMIT_NOFILE)[1])))
    clock, host = SystemClock(), HostReader()

    def listeners() -> int:
        rows = host.take(clock, [TableName.LISTENERS]).listeners
        return len(rows) if isinstance(rows, tuple) else 0

    with crowd(args.processes, args.sockets), ProcessReader(Tree.at()) as reader:
        lines = [
            Line("processes: govsec", lambda: len(reader.read_all(Gaps()))),
            Line("processes: psutil, the same attributes", lambda: len(list(psutil.process_iter(_ATTRIBUTES)))),
            Line("sockets: govsec", lambda: len(read_sockets()[0])),
            Line("sockets: psutil", lambda: len(psutil.net_connections("inet"))),
            Line("listeners with holders: govsec, from the start", lambda: _fresh_listeners(clock)),
            Line("listeners with holders: govsec, again", listeners),
            Line("a quick snapshot, all of it", lambda: len(host.take(clock, QUICK_TABLES).gaps)),
        ]
        for line in lines:  # what is read for the first time is not what an agent pays
            line.ask()
        for _ in range(args.rounds):
            for line in lines:
                line.measure()
    print(f"{'':<46} {'rows':>7} {'wall ms':>9} {'least':>9} {'cpu ms':>9}")
    for line in lines:
        print(line.words())
    for name, ours, theirs in (("processes", lines[0], lines[1]), ("sockets", lines[2], lines[3])):
        ratio = statistics.median(theirs.wall_ms) / statistics.median(ours.wall_ms)
        print(f"{name}: psutil takes {ratio:.1f} times as long")


def _fresh_listeners(clock: SystemClock) -> int:
    rows = HostReader().take(clock, [TableName.LISTENERS]).listeners
    return len(rows) if isinstance(rows, tuple) else 0


if __name__ == "__main__":
    main()
