"""How much of one thing a process tree did lately: a window of event time a tree, bounded."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from govsec.findings.tables import Recent
from govsec.guard.api import Actor

#: Of a tree, so many deeds are kept; more make it no worse.
_KEPT = 1024


@dataclass(frozen=True, slots=True)
class Deed:
    """One file that something was done to."""

    time_ns: int
    path: str
    actor: Actor | None


class Bursts:
    """Deeds by tree, of the last ``window_ns``; the tree that was longest quiet is forgotten first."""

    def __init__(self, *, window_ns: int, trees_max: int) -> None:
        self._window_ns = window_ns
        self._trees: Recent[str, deque[Deed]] = Recent(trees_max, lambda: deque(maxlen=_KEPT))

    def add(self, tree: str, deed: Deed) -> deque[Deed]:
        """Everything that the tree did within the window, this deed last."""
        deeds = self._trees.at(tree)
        deeds.append(deed)
        while deeds[0].time_ns < deed.time_ns - self._window_ns:
            deeds.popleft()
        return deeds

    def state(self) -> dict[str, int]:
        """How many trees are watched, and how many had to go."""
        return {"trees": len(self._trees), "trees_forgotten": self._trees.forgotten_count}


def folders_of(deeds: deque[Deed]) -> list[str]:
    """The folders that the deeds were in, each once."""
    return list(dict.fromkeys(deed.path.rsplit("/", 1)[0] or "/" for deed in deeds))
