"""What the room takes from others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Change:
    """One entry of a watched source that was made, changed, renamed or removed. Paths are absolute."""

    path: bytes
    is_directory: bool = False
    #: Where it was before, when it was renamed within the source.
    old_path: bytes | None = None


@dataclass(frozen=True, slots=True)
class Changes:
    """What happened since the last look. ``lost`` says why something may have happened that is not told here."""

    changes: Sequence[Change] = ()
    lost: str = ""


class ChangeSource(Protocol):
    """Tells of changes below the paths of a source, as the kernel gives them."""

    @property
    def name(self) -> str:
        """What people call it: fanotify, inotify, polling."""
        ...

    def open(self) -> None:
        """Begin to watch; what happens from now on is told. Opened again, it begins anew.

        Raises:
            SourceError: it cannot be watched, or is not there.
        """
        ...

    def wait(self, seconds: float) -> bool:
        """True as soon as there is something to read, False after ``seconds``."""
        ...

    def read(self) -> Changes:
        """What happened since the last call; never waits. A bounded number at once.

        Raises:
            SourceError: watching ended; open it again.
        """
        ...

    def trouble(self) -> str:
        """Why the source is not the one that was opened: a path is gone, replaced or unmounted; empty while it is."""
        ...

    def unwatched(self) -> str:
        """What of the source is not watched though it is there, and why; empty when all of it is."""
        ...

    def counters(self) -> Mapping[str, int]:
        """What was seen, left out and lost."""
        ...

    def close(self) -> None:
        """Stop watching; may be called twice."""
        ...
