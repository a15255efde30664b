"""The cases of a site as a service shows them: what is open, what is due, who is on duty; and taking one on.

::

    with IncidentBoard(config, SystemClock()) as board:
        print(board.board()["late_count"], board.on_duty())
        board.acknowledge("20261122-0001", by="张三")
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any, Self

from govsec.assemble.incident import build_desk, open_cases
from govsec.assemble.rota import on_duty
from govsec.clock import Clock
from govsec.config import Config
from govsec.errors import UsageError
from govsec.incident.api import Query
from govsec.incident.entries import Acknowledged
from govsec.incident.record import board_record, summary_record, view_record

_LIMIT_MAX = 1000
_NAME_MAX = 200


class IncidentBoard:
    """Over the file of cases; a context manager. Plain JSON values with stable names. Not for two threads."""

    def __init__(self, config: Config, clock: Clock) -> None:
        """Raises as ``govsec.database.Database``; ``ConfigurationError`` for a role that no rule knows."""
        self._config = config
        self._clock = clock
        with ExitStack() as stack:
            self._store = stack.enter_context(open_cases(config))
            self._desk = build_desk(config, self._store, clock)
            self._stack = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def board(self) -> dict[str, Any]:
        """How many cases are open, late, taken by nobody; by stage and level."""
        now = self._clock.now()
        return dict(board_record(self._store.board(now), now))

    def cases(self, *, limit: int = 100, by_due: bool = True) -> list[dict[str, Any]]:
        """Open cases as lines of a list, what is due soonest first, else the newest first."""
        query = Query(is_open=True, by_due=by_due, limit=max(0, min(limit, _LIMIT_MAX)))
        return [dict(summary_record(line)) for line in self._store.find(query)]

    def case(self, case_id: str) -> dict[str, Any]:
        """One case with its classification, its duties and its timeline.

        Raises:
            RefusedError: there is none. IntegrityError: it was changed behind our back.
        """
        return dict(view_record(self._desk.view(case_id), self._store.entries(case_id)))

    def on_duty(self) -> dict[str, list[str]]:
        """Who is on duty now, by rota; empty where there is no rota."""
        return {name: list(people) for name, people in on_duty(self._config, self._clock.now()).items()}

    def acknowledge(self, case_id: str, *, by: str) -> dict[str, Any]:
        """A named person takes a case on: calls for it end. Gives its line.

        Raises:
            UsageError: no name. RefusedError: no such case, or it is closed.
        """
        if not by.strip() or len(by) > _NAME_MAX:
            raise UsageError(f"whoever takes a case on says a name of 1 to {_NAME_MAX} characters")
        view = self._desk.add(case_id, Acknowledged(time=self._clock.now(), by=by.strip()))
        return dict(summary_record(view.summary()))
