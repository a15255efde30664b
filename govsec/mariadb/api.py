"""What this room is handed by others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol


class Outcome(Protocol):
    """How a command ended; ``exit_code`` is None when it was stopped at its limit or could not be started."""

    @property
    def exit_code(self) -> int | None:
        """The program's own."""
        ...

    @property
    def output(self) -> bytes:
        """The end of what it wrote."""
        ...

    @property
    def note(self) -> str:
        """What else there is to say."""
        ...


class Cell(Protocol):
    """Where programs run that read a restored database: a drill's sandbox."""

    @property
    def tree(self) -> str:
        """The restored tree's path as programs there see it."""
        ...

    @property
    def reason(self) -> str:
        """Why there is no isolation; empty where there is."""
        ...

    def run(self, argv: Sequence[str], timeout_s: float) -> Outcome:
        """Run a program to its end."""
        ...

    def spawn(self, argv: Sequence[str]) -> str:
        """Start a program that stays; gives what is wrong, or nothing."""
        ...

    def call(self, function: Callable[[], dict[str, Any]], timeout_s: float) -> dict[str, Any]:
        """Run a function of ours in a child there; ``{"error": why}`` when it fails."""
        ...
