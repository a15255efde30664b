"""What a program says of itself on standard error: a line a record, with its fields, and nothing that plays tricks."""

from __future__ import annotations

import logging
import os
import traceback
from pathlib import Path

from govsec.cli import texts

#: Of an exception; more are of the loops that it came through.
_PLACES_MAX = 8
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
#: Levels as the journal has them before a line. Source: sd-daemon(3).
_PRIORITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6), (0, 7))


class FieldFormatter(logging.Formatter):
    """``level logger: message name=value …``; for the journal with the level that it sorts by."""

    def __init__(self, *, is_for_journal: bool = False) -> None:
        super().__init__()
        self._is_for_journal = is_for_journal

    def format(self, record: logging.LogRecord) -> str:
        """The record in one line; of an exception what it says and where it came from, the innermost place first."""
        fields = {key: value for key, value in vars(record).items() if key not in _STANDARD}
        if record.exc_info and record.exc_info[1] is not None:
            places = traceback.extract_tb(record.exc_info[2])[: -_PLACES_MAX - 1 : -1]
            fields["error"] = repr(record.exc_info[1])
            fields["places"] = " < ".join(f"{Path(place.filename).name}:{place.lineno}" for place in places)
        said = " ".join(f"{key}={value}" for key, value in fields.items())
        line = f"{record.levelname.lower()} {record.name}: {record.getMessage()} {said}".rstrip()
        if not self._is_for_journal:
            return texts.printable(line)
        priority = next(priority for level, priority in _PRIORITIES if record.levelno >= level)
        return f"<{priority}>{texts.printable(line)}"


def log_as_service(level: int = logging.WARNING) -> None:
    """What is at ``level`` or worse goes to standard error, which is the log of a service."""
    handler = logging.StreamHandler()
    handler.setFormatter(FieldFormatter(is_for_journal="JOURNAL_STREAM" in os.environ))
    logging.basicConfig(level=level, handlers=[handler])
