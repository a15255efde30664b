"""A module as an agent wires it: what the agents' lists of modules are made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from govsec.agent.api import Budget, Run


@dataclass(frozen=True, slots=True)
class Wired:
    """One module. ``parts``: of the configuration, what it is made from besides its settings.

    ``try_out`` imports and builds what ``run`` will need, and raises ``GovsecError``; it opens and changes nothing.
    """

    name: str
    run: Run
    budget: Budget
    try_out: Callable[[], None]
    #: Under which its budget and settings stand in the configuration; several modules may share one.
    entry: str = ""
    parts: Sequence[str] = ()
