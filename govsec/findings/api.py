"""What judges have in common, whatever they look at: ``Detector``, ``Settings``, ``Seen``.

One idea: a detector is a fold over what was seen. It holds bounded state, reads time from what it is given, and gives
findings; it knows nothing of files, clocks or other detectors. Whatever it had to leave out it counts in ``state()``.
Rooms say what is seen (:mod:`govsec.detect` packets, flows and messages; :mod:`govsec.guard` a host's events).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol, TypeVar

from pydantic import Field

from govsec.config import Model
from govsec.records import Finding

SECOND_NS = 1_000_000_000


class Settings(Model):
    """What every detector can be told; each adds its thresholds, with the reason for each default."""

    enabled: bool = True
    cooldown_s: int = Field(
        default=3600, ge=0, description="the same pattern is told again after this long, of event time"
    )


class Seen(Protocol):
    """One batch of what was seen. ``time_ns``: event time at its end, never falling."""

    @property
    def time_ns(self) -> int: ...


SeenT_contra = TypeVar("SeenT_contra", bound=Seen, contravariant=True)


class Detector(Protocol[SeenT_contra]):
    """Looks for one kind of behaviour."""

    name: str
    #: Of event time; for as long a pattern that was told is not told again.
    cooldown_s: int

    def observe(self, observation: SeenT_contra, /) -> Iterable[Finding]:
        """Take one batch; gives what is now sure, with the pattern in ``facts``."""
        ...

    def finish(self, time_ns: int) -> Iterable[Finding]:
        """Nothing more comes; gives what is due."""
        ...

    def state(self) -> Mapping[str, int]:
        """Sizes of its tables and counts of what it had to leave out."""
        ...
