"""Who started whom, also when they are gone: the running processes and the last that ended, by number.

One idea: a process is looked at once, when it begins a program, and what was seen is kept with those it came from. So a
shell that lived for two milliseconds is still named as the parent of what it started, and a change of a file that is
read of 20 ms late still finds its author. Both tables are bounded; a process carries at most 16 ancestors, so nothing
grows with the length of a line of daemons.

The tree asks for a process through one function and reads no time; ``processes.read_process`` is that function.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from govsec.host.tables import Process, ProcessKey

#: Kept of the way up to the first process. A longer one is a loop of daemons that start each other.
ANCESTORS_MAX = 16
RUNNING_MAX = 65_536
GONE_MAX = 16_384


@dataclass(slots=True)
class Node:
    """One process and those it came from, nearest first."""

    process: Process
    ancestors: tuple[Process, ...]
    #: Its start was told to others, so its end must be.
    is_announced: bool = False
    #: It has been looked at since it last began a program.
    is_seen: bool = False


class ProcessTree:
    """Fed by the proc connector, or, without one (``is_fed`` false), by whoever asks about a process."""

    def __init__(
        self,
        read: Callable[[int], Process | None],
        *,
        running_max: int = RUNNING_MAX,
        gone_max: int = GONE_MAX,
    ) -> None:
        self._read = read
        self._running: dict[int, Node] = {}
        self._gone: OrderedDict[int, Node] = OrderedDict()
        self._running_max = running_max
        self._gone_max = gone_max
        #: Somebody tells it of every start and end.
        self.is_fed = False
        #: Running processes that had to be forgotten for want of room.
        self.evicted_count = 0

    def __len__(self) -> int:
        return len(self._running)

    def fill(self, processes: Iterable[Process]) -> tuple[list[Node], list[Node]]:
        """Take over what runs now; gives what is new, and what is no longer there."""
        found = {process.key.pid: process for process in processes}
        gone = [node for pid, node in self._running.items() if pid not in found or found[pid].key != node.process.key]
        for node in gone:
            self._bury(node.process.key.pid)
        new = []
        for process in found.values():
            known = self._running.get(process.key.pid)
            if known is not None:
                known.process, known.is_seen = process, True
                continue
            node = Node(process, (), is_seen=True)
            self._keep(node)
            new.append(node)
        for node in new:
            node.ancestors = self._ancestors_of(node.process)
        return new, gone

    def forked(self, pid: int, parent_pid: int, start_ticks: int) -> Node:
        """``pid`` is a copy of ``parent_pid`` since ``start_ticks``; what is known of the parent is true of it too."""
        parent = self.known(parent_pid) or self._look(parent_pid)
        key = ProcessKey(pid, start_ticks)
        if parent is None:
            node = Node(unknown_process(key, parent_pid), ())
        else:
            process = parent.process._replace(key=key, parent_pid=parent_pid, cpu_s=0.0)
            node = Node(process, (parent.process, *parent.ancestors)[:ANCESTORS_MAX])
        self._bury(pid)
        self._keep(node)
        return node

    def executed(self, pid: int, start_ticks: int) -> Node:
        """``pid`` began a program just now: look at it. ``is_seen`` is false of one that is gone already."""
        node = self._running.get(pid)
        process = self._read(pid)
        if node is None:
            node = Node(process or unknown_process(ProcessKey(pid, start_ticks), 0), ())
            node.ancestors = self._ancestors_of(node.process)
            self._keep(node)
        if process is not None:
            node.process = process
            node.is_seen = process.executable is not None or bool(process.command)
        else:
            # What it was before it began this program is true of it no longer.
            node.process = node.process._replace(name="", executable=None, executable_deleted=False, command=())
            node.is_seen = False
        return node

    def exited(self, pid: int) -> Node | None:
        """``pid`` ended; what was known of it."""
        return self._bury(pid)

    def find(self, pid: int) -> Node | None:
        """The process of this number that runs, or ran last."""
        if self.is_fed:
            node = self.known(pid)
            if node is not None:
                return node
        return self._look(pid)

    def running(self, pid: int) -> Node | None:
        """What is known of ``pid`` without looking."""
        return self._running.get(pid)

    def known(self, pid: int) -> Node | None:
        """What is known of ``pid``, or of who had the number last, without looking."""
        return self._running.get(pid) or self._gone.get(pid)

    def refresh(self, node: Node) -> None:
        """Look again at a process that is known; one that is gone stays as it was."""
        process = self._read(node.process.key.pid)
        node.is_seen = process is not None
        if process is not None:
            node.process = process

    def _look(self, pid: int) -> Node | None:
        """Ask the system, for a process that nobody told of; those above it too, where they are not known."""
        node = self._refreshed(pid)
        if node is not None and not node.ancestors:
            parent_pid = node.process.parent_pid
            for _ in range(ANCESTORS_MAX):
                if parent_pid <= 0 or parent_pid in self._running:
                    break
                parent = self._refreshed(parent_pid)
                if parent is None:
                    break
                parent_pid = parent.process.parent_pid
            node.ancestors = self._ancestors_of(node.process)
        return node

    def _refreshed(self, pid: int) -> Node | None:
        process = self._read(pid) if pid > 0 else None
        known = self._running.get(pid)
        if process is None:
            self._bury(pid)
            return self._gone.get(pid)
        if known is not None and known.process.key == process.key:
            known.process = process
            return known
        node = Node(process, (), is_seen=True)
        self._bury(pid)
        self._keep(node)
        return node

    def _ancestors_of(self, process: Process) -> tuple[Process, ...]:
        """Those above a process that was found running, as far as they are known."""
        way: list[Process] = []
        while len(way) < ANCESTORS_MAX:
            below = way[-1] if way else process
            parent = self._running.get(below.parent_pid)
            # A parent that began after its child has been given the number of one that is gone.
            if parent is None or parent.process is below or parent.process.key.start_ticks > below.key.start_ticks:
                break
            way.append(parent.process)
            if parent.ancestors:
                return (*way, *parent.ancestors)[:ANCESTORS_MAX]
        return tuple(way)

    def _keep(self, node: Node) -> None:
        self._running[node.process.key.pid] = node
        if len(self._running) > self._running_max:
            del self._running[next(iter(self._running))]
            self.evicted_count += 1

    def _bury(self, pid: int) -> Node | None:
        node = self._running.pop(pid, None)
        if node is not None:
            self._gone[pid] = node
            self._gone.move_to_end(pid)
            if len(self._gone) > self._gone_max:
                self._gone.popitem(last=False)
        return node


def unknown_process(key: ProcessKey, parent_pid: int) -> Process:
    """A process of which nothing but its number could be learned."""
    return Process(
        key=key, parent_pid=parent_pid, name="", executable=None, executable_deleted=False, command=(), uid=-1, gid=-1,
        login_uid=None, terminal=None, cgroup=None, state="", started_ns=0, cpu_s=0.0, rss_bytes=0,
        is_kernel_thread=False,
    )  # fmt: skip
