"""Starts and ends of processes where the kernel tells none: look at all of them every few seconds, and compare.

What lives for less than a round is not seen, and that is said once. Rights: none, but ``CAP_SYS_PTRACE`` to see the
programs of other users.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from govsec.clock import Clock, to_ns
from govsec.host.api import SourceUnavailableError
from govsec.host.events import ProcessExited, ProcessStarted, Record, Stage, StartKind
from govsec.host.processtree import ProcessTree
from govsec.host.tables import Process

NAME = "process polling"


class ProcessPolling:
    """A source of starts and ends that are seen at most ``pause_s`` later; feeds ``tree``."""

    name = NAME
    stage = Stage.PROCESSES

    def __init__(
        self,
        tree: ProcessTree,
        read_all: Callable[[], Iterable[Process]],
        clock: Clock,
        *,
        pause_s: float = 5.0,
    ) -> None:
        self.pause_s = pause_s
        self._tree = tree
        self._read_all = read_all
        self._clock = clock
        self._counts = dict.fromkeys(("rounds", "starts", "exits"), 0)

    def open(self) -> None:
        try:
            self._tree.fill(self._read_all())
        except OSError as error:
            raise SourceUnavailableError(f"{NAME}: {error.strerror}") from error

    def descriptor(self) -> int | None:
        return None

    def read(self) -> Sequence[Record]:
        time_ns = to_ns(self._clock.now())
        try:
            new, gone = self._tree.fill(self._read_all())
        except OSError as error:
            raise SourceUnavailableError(f"{NAME}: {error.strerror}") from error
        self._counts["rounds"] += 1
        self._counts["starts"] += len(new)
        self._counts["exits"] += len(gone)
        exits = [ProcessExited(time_ns, node.process.key, None, None, node.process) for node in gone]
        starts = [
            ProcessStarted(node.process.started_ns or time_ns, node.process, node.ancestors, StartKind.FOUND, False)
            for node in new
        ]
        return [*exits, *starts]

    def counters(self) -> Mapping[str, int]:
        return {**self._counts, "tree": len(self._tree), "tree_evicted": self._tree.evicted_count}

    def close(self) -> None:
        """Nothing is held."""
