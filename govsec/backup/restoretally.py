"""What a restore did so far, counted in each process and added up in the one that reports."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from govsec.backup.walk import Problem
from govsec.clock import Clock

PROBLEMS_MAX = 1000


@dataclass(slots=True)
class Tally:
    """Counts, problems, and the seconds by phase. Problems are kept up to a bound and all counted."""

    files: int = 0
    size_bytes: int = 0
    directories: int = 0
    others: int = 0
    skipped: int = 0
    deleted: int = 0
    verified: int = 0
    fallbacks: int = 0
    problems: list[Problem] = field(default_factory=list)
    problems_count: int = 0
    seconds: dict[str, float] = field(default_factory=dict)

    def note(self, path: bytes, what: str) -> None:
        """One problem."""
        self.problems_count += 1
        if len(self.problems) < PROBLEMS_MAX:
            self.problems.append(Problem(os.fsdecode(path), what))

    def add(self, other: Tally) -> None:
        """What another process did."""
        for name in ("files", "size_bytes", "directories", "others", "skipped", "deleted", "verified", "fallbacks"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.problems += other.problems[: PROBLEMS_MAX - len(self.problems)]
        self.problems_count += other.problems_count
        for name, seconds in other.seconds.items():
            self._spend(name, seconds)

    def take(self) -> Tally:
        """What was counted since the last time, to be added up elsewhere."""
        taken = replace(self)
        self.__init__()  # type: ignore[misc]  # the same object, at zero: others hold it
        return taken

    @contextmanager
    def phase(self, name: str, clock: Clock) -> Iterator[None]:
        """Time a part of the work; parts of one name add up."""
        before = clock.monotonic()
        try:
            yield
        finally:
            self._spend(name, clock.monotonic() - before)

    def _spend(self, name: str, seconds: float) -> None:
        self.seconds[name] = round(self.seconds.get(name, 0.0) + seconds, 6)
