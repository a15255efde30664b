"""What keeps cases: the contract that every store passes (``govsec.testing.casesuite``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from govsec.incident.entries import Entry, Stage
from govsec.incident.levels import EventLevel


@dataclass(frozen=True, slots=True)
class Summary:
    """A case as one line of a list. ``next_due_at`` is the earliest limit of a report that is owed."""

    id: str
    title: str
    system: str
    stage: Stage
    #: The person's level; while there is none, or when facts have overtaken it, the one that the rules suggest.
    level: EventLevel
    #: True while a person's level stands and no facts have overtaken it.
    is_confirmed: bool
    opened_at: datetime
    updated_at: datetime
    next_due_at: datetime | None
    acknowledged_by: str
    assigned_to: str
    is_exercise: bool
    #: When to look at the case again at the latest, because time alone may have changed its line; None: at any time.
    look_again_at: datetime | None = None

    @property
    def is_open(self) -> bool:
        """True until it is closed."""
        return self.stage is not Stage.CLOSED


@dataclass(frozen=True, slots=True)
class Query:
    """Which cases are asked for; what is left out does not matter. Newest first, or what is due first."""

    is_open: bool | None = None
    stages: frozenset[Stage] = frozenset()
    level_min: EventLevel = EventLevel.GENERAL
    system: str | None = None
    is_acknowledged: bool | None = None
    due_before: datetime | None = None
    has_exercises: bool = True
    #: Only lines that are to be looked at again by this moment.
    look_again_by: datetime | None = None
    by_due: bool = False
    #: Cases after this one in the order asked for.
    after: str | None = None
    limit: int = 100


@dataclass(frozen=True, slots=True)
class Board:
    """What somebody on duty looks at first; exercises are left out. Open cases only."""

    by_stage: Mapping[Stage, int]
    by_level: Mapping[EventLevel, int]
    late_count: int
    unacknowledged_count: int
    oldest_unacknowledged_at: datetime | None
    next_due_at: datetime | None


class CaseStore(Protocol):
    """Cases and their entries. An entry is never changed or removed."""

    def create(self, day: str, entry: Entry, summary: Summary, *, origin: str = "") -> str:
        """Keep a new case with its first entry; gives its id, ``<day>-<number>`` with ``day`` as ``YYYYMMDD``.

        The summary's own id is not looked at. ``origin`` is what made a program open it: asked for the same origin
        again (after a crash, say) the case that was made then is given, and nothing is written.
        """
        ...

    def append(self, case_id: str, number: int, entries: Sequence[Entry], summary: Summary) -> None:
        """Add entries to a case that has ``number`` of them, all or none.

        Raises:
            RefusedError: no such case.
            TryAgainError: somebody else added some meanwhile: read again, decide again.
        """
        ...

    def refresh(self, summaries: Sequence[Summary]) -> None:
        """Replace lines of the list that changed by time alone; ids that are not there are passed over."""
        ...

    def entries(self, case_id: str) -> tuple[Entry, ...]:
        """All entries of a case, oldest first.

        Raises:
            RefusedError: no such case.
            IntegrityError: an entry was changed, removed or put in.
        """
        ...

    def line(self, case_id: str) -> Summary:
        """The line of one case, as the list has it.

        Raises:
            RefusedError: no such case.
        """
        ...

    def head(self, case_id: str) -> str:
        """The digest that stands for all entries of a case so far. Raises as :meth:`entries`."""
        ...

    def find(self, query: Query) -> tuple[Summary, ...]:
        """The cases asked for.

        Raises:
            RefusedError: ``after`` names no case.
        """
        ...

    def board(self, now: datetime) -> Board:
        """How things stand at ``now``."""
        ...
