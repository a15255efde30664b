"""How far logs were read, kept over restarts: what came while nobody watched is read when somebody does again.

A place in a file is the file (device and inode), a position behind the last whole line, and the bytes before it; so a
file that was cut, written anew or replaced is not taken for the one that was read. Of the journal it is its cursor.

The places are saved after what was read has been judged, told, and is on the disk: who dies in between reads those
lines once more, and says a thing twice rather than never.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from govsec.clock import Clock
from govsec.errors import LimitError
from govsec.localfile import read_bounded
from govsec.privatefile import make_private_directory, write_private

log = logging.getLogger(__name__)

_SIZE_MAX = 1 << 20
_PLACES_MAX = 200
#: While logs grow they are saved no more often than this.
_SAVE_EVERY_S = 5.0


class LogPlace(BaseModel):
    """How far one file was read; ``mark`` is what stands right before ``position``, in hex."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    device: int = Field(ge=0)
    inode: int = Field(ge=0)
    position: int = Field(ge=0)
    mark: str = Field(pattern=r"^([0-9a-f]{2}){0,64}$")


class _Places(BaseModel):
    model_config = ConfigDict(extra="forbid")

    version: int = Field(default=1, ge=1, le=1)
    files: dict[str, LogPlace] = Field(default_factory=dict, max_length=_PLACES_MAX)
    cursor: Annotated[str, Field(max_length=512)] | None = None


class LogPlaces:
    """The places of one reader, in the file ``path``. What is damaged there counts as nothing; the log says so."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._saved_at_s = float("-inf")
        self._is_changed = False
        self._held = _Places()
        try:
            self._held = _Places.model_validate_json(read_bounded(path, _SIZE_MAX))
        except FileNotFoundError:
            pass
        except (OSError, LimitError, ValidationError) as error:
            reason = str(error)[:200]
            log.warning("places in logs cannot be read; logs are read from their ends", extra={"reason": reason})

    def of(self, path: Path) -> LogPlace | None:
        """How far a file was read."""
        return self._held.files.get(str(path))

    @property
    def cursor(self) -> str | None:
        """How far the journal was read."""
        return self._held.cursor

    def note(self, path: Path, place: LogPlace | None) -> None:
        """A file was read so far."""
        if place is not None and self._held.files.get(str(path)) != place:
            self._held.files[str(path)] = place
            self._is_changed = True

    def note_cursor(self, cursor: str | None) -> None:
        """The journal was read so far."""
        if cursor is not None and cursor != self._held.cursor:
            self._held.cursor = cursor
            self._is_changed = True

    def due(self, *, is_last: bool = False) -> bytes | None:
        """What was noted, to be given to :meth:`save`; every few seconds, or now. None when nothing is new."""
        now_s = self._clock.monotonic()
        if not self._is_changed or (not is_last and now_s - self._saved_at_s < _SAVE_EVERY_S):
            return None
        self._saved_at_s = now_s
        self._is_changed = False
        return self._held.model_dump_json().encode()

    def save(self, noted: bytes) -> None:
        """Keep it. A disk that refuses is told in the log."""
        try:
            make_private_directory(self._path.parent)
            write_private(self._path, noted)
        except OSError as error:
            self._is_changed = True
            log.warning("places in logs are not saved", extra={"path": str(self._path), "reason": error.strerror})
