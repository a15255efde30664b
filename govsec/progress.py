"""How long work tells how far it is. The library reports, the command line prints."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Progress:
    """A moment of a long piece of work. Totals are None while they are not known."""

    phase: str
    done_bytes: int = 0
    total_bytes: int | None = None
    done_items: int = 0
    total_items: int | None = None
    current: str = ""


ProgressSink = Callable[[Progress], None]


def silent(_: Progress) -> None:
    """The sink that nobody reads."""
