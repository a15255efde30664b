"""What the room's sources of events have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from govsec.errors import GovsecError
from govsec.host.events import Record, Stage


class SourceUnavailableError(GovsecError):
    """A source of events cannot be had here: a right, a feature of the kernel or a file is missing. Another may do."""

    exit_code = 4


class Source(Protocol):
    """Where events come from. Opened while the process may still do everything; reading needs no more than it says.

    ``name`` is for people. ``pause_s``: how long to let events gather between two reads; a source without a descriptor
    is read as often as that.
    """

    @property
    def name(self) -> str: ...

    @property
    def stage(self) -> Stage: ...

    @property
    def pause_s(self) -> float: ...

    def open(self) -> None:
        """Begin to watch.

        Raises:
            SourceUnavailableError: not possible here, with the reason; nothing is left open.
        """
        ...

    def descriptor(self) -> int | None:
        """What becomes readable when there is something; ``None`` of a source that has to be asked."""
        ...

    def read(self) -> Sequence[Record]:
        """What happened since the last call, in order; never waits for more. A bounded number at once."""
        ...

    def counters(self) -> Mapping[str, int]:
        """What was seen, left out and lost since ``open``; each only grows."""
        ...

    def close(self) -> None:
        """Stop watching; may be called twice."""
        ...
