"""Cases in one SQLite file, for one machine; a center's PostgreSQL keeps the same contract later.

Two tables: entries, chained by digest, and one line a case for lists and the board, which is derived from the entries
and can be made again from them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from govsec.clock import from_ns, to_ns
from govsec.database import Database, Layout
from govsec.errors import RefusedError, TryAgainError
from govsec.incident.api import Board, Query, Summary
from govsec.incident.chain import link, verified, written_form
from govsec.incident.entries import Entry, Stage
from govsec.incident.levels import EventLevel

_LIMIT_MAX = 1_000
_LAYOUT = Layout(
    "cases",
    (
        """
        CREATE TABLE cases (
          id TEXT PRIMARY KEY, entries_count INTEGER NOT NULL, head TEXT NOT NULL,
          title TEXT NOT NULL, system TEXT NOT NULL, stage TEXT NOT NULL, is_open INTEGER NOT NULL,
          level INTEGER NOT NULL, is_confirmed INTEGER NOT NULL, opened_ns INTEGER NOT NULL,
          updated_ns INTEGER NOT NULL, next_due_ns INTEGER, acknowledged_by TEXT NOT NULL,
          assigned_to TEXT NOT NULL, is_exercise INTEGER NOT NULL) WITHOUT ROWID;
        CREATE INDEX cases_opened ON cases (opened_ns DESC, id DESC);
        CREATE INDEX cases_due ON cases (coalesce(next_due_ns, 9223372036854775807), id);
        CREATE INDEX cases_open ON cases (is_open, stage, level, is_exercise, acknowledged_by, next_due_ns, opened_ns);
        CREATE TABLE entries (
          case_id TEXT NOT NULL REFERENCES cases (id), number INTEGER NOT NULL, digest TEXT NOT NULL,
          body BLOB NOT NULL, PRIMARY KEY (case_id, number)) WITHOUT ROWID;
        CREATE TABLE days (day TEXT PRIMARY KEY, last INTEGER NOT NULL) WITHOUT ROWID
        """,
        """
        ALTER TABLE cases ADD COLUMN look_again_ns INTEGER
        """,
        """
        CREATE TABLE origins (origin TEXT PRIMARY KEY, case_id TEXT NOT NULL REFERENCES cases (id)) WITHOUT ROWID
        """,
    ),
)
# No RETURNING and no FILTER: the SQLite of some systems in use here is older than 3.35 and 3.30.
_NEXT_NUMBER = "INSERT INTO days VALUES (?, 1) ON CONFLICT (day) DO UPDATE SET last = last + 1"
_CREATE = """
    INSERT INTO cases VALUES (
      :id, 1, :head, :title, :system, :stage, :is_open, :level, :is_confirmed, :opened_ns, :updated_ns, :next_due_ns,
      :acknowledged_by, :assigned_to, :is_exercise, :look_again_ns)"""
_REFRESH = """
    UPDATE cases SET
      title = :title, system = :system, stage = :stage, is_open = :is_open, level = :level,
      is_confirmed = :is_confirmed, opened_ns = :opened_ns, updated_ns = :updated_ns, next_due_ns = :next_due_ns,
      acknowledged_by = :acknowledged_by, assigned_to = :assigned_to, is_exercise = :is_exercise,
      look_again_ns = :look_again_ns
    WHERE id = :id"""
_CONDITIONS = """
      (:is_open IS NULL OR is_open = :is_open) AND level >= :level_min
      AND (:stages IS NULL OR stage IN (SELECT value FROM json_each(:stages)))
      AND (:system IS NULL OR system = :system)
      AND (:is_acknowledged IS NULL OR (acknowledged_by <> '') = :is_acknowledged)
      AND (:due_before IS NULL OR next_due_ns < :due_before)
      AND (:look_again_by IS NULL OR coalesce(look_again_ns, 0) <= :look_again_by)
      AND (:has_exercises OR is_exercise = 0)"""
_LINE = """
    SELECT id, title, system, stage, level, is_confirmed, opened_ns, updated_ns, next_due_ns, acknowledged_by,
      assigned_to, is_exercise, look_again_ns
    FROM cases WHERE"""
_NEWEST_FIRST = f"""{_LINE} {_CONDITIONS}
      AND (:after IS NULL OR (opened_ns, id) < (:after_ns, :after))
    ORDER BY opened_ns DESC, id DESC LIMIT :limit"""
#: Cases without a limit come last: SQLite's greatest number stands for never.
_NEVER_NS = (1 << 63) - 1
_BY_DUE = f"""{_LINE} {_CONDITIONS}
      AND (:after IS NULL OR (coalesce(next_due_ns, 9223372036854775807), id) > (:after_ns, :after))
    ORDER BY coalesce(next_due_ns, 9223372036854775807), id LIMIT :limit"""
_BY_STAGE = "SELECT stage, count(*) FROM cases WHERE is_open = 1 AND is_exercise = 0 GROUP BY stage"
_BY_LEVEL = "SELECT level, count(*) FROM cases WHERE is_open = 1 AND is_exercise = 0 GROUP BY level"
_WAITING = "SELECT count(*), min(opened_ns) FROM cases WHERE is_open = 1 AND is_exercise = 0 AND acknowledged_by = ''"
_LATE = """
    SELECT count(CASE WHEN next_due_ns < :now THEN 1 END), min(CASE WHEN next_due_ns >= :now THEN next_due_ns END)
    FROM cases WHERE is_open = 1 AND is_exercise = 0"""


class CaseFile:
    """The store in one file. Not for two threads; several processes may have it open."""

    def __init__(self, path: Path) -> None:
        """Open or make the file. Raises as ``govsec.database.Database``."""
        self._database = Database(path, _LAYOUT)

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def create(self, day: str, entry: Entry, summary: Summary, *, origin: str = "") -> str:
        with self._database.transaction() as work:
            made = work.execute("SELECT case_id FROM origins WHERE origin = ?", (origin,)).fetchone()
            if made is not None:
                return str(made[0])
            work.execute(_NEXT_NUMBER, (day,))
            row = work.execute("SELECT last FROM days WHERE day = ?", (day,)).fetchone()
            case_id = f"{day}-{row[0]:04d}"
            data = written_form(entry)
            digest = link(case_id, 1, "", data)
            work.execute(_CREATE, {**_values(summary), "id": case_id, "head": digest})
            work.execute("INSERT INTO entries VALUES (?, 1, ?, ?)", (case_id, digest, data))
            if origin:
                work.execute("INSERT INTO origins VALUES (?, ?)", (origin, case_id))
        return case_id

    def append(self, case_id: str, number: int, entries: Sequence[Entry], summary: Summary) -> None:
        with self._database.transaction() as work:
            row = work.execute("SELECT entries_count, head FROM cases WHERE id = ?", (case_id,)).fetchone()
            if row is None:
                raise _missing(case_id)
            if row[0] != number:
                raise TryAgainError(f"case {case_id}: has {row[0]} entries by now, not {number}; look at it again")
            head = row[1]
            for position, entry in enumerate(entries, number + 1):
                data = written_form(entry)
                head = link(case_id, position, head, data)
                work.execute("INSERT INTO entries VALUES (?, ?, ?, ?)", (case_id, position, head, data))
            counted = (number + len(entries), head, case_id)
            work.execute("UPDATE cases SET entries_count = ?, head = ? WHERE id = ?", counted)
            work.execute(_REFRESH, {**_values(summary), "id": case_id})

    def refresh(self, summaries: Sequence[Summary]) -> None:
        with self._database.transaction() as work:
            work.executemany(_REFRESH, [{**_values(summary), "id": summary.id} for summary in summaries])

    def line(self, case_id: str) -> Summary:
        with self._database.reading() as work:
            row = work.execute(f"{_LINE} id = ?", (case_id,)).fetchone()
        if row is None:
            raise _missing(case_id)
        return _summary(row)

    def entries(self, case_id: str) -> tuple[Entry, ...]:
        return self._verified(case_id)[0]

    def head(self, case_id: str) -> str:
        return self._verified(case_id)[1]

    def _verified(self, case_id: str) -> tuple[tuple[Entry, ...], str]:
        with self._database.reading() as work:
            rows = work.execute(
                "SELECT number, digest, body FROM entries WHERE case_id = ? ORDER BY number", (case_id,)
            ).fetchall()
            held = work.execute("SELECT entries_count, head FROM cases WHERE id = ?", (case_id,)).fetchone()
        if held is None:
            raise _missing(case_id)
        return verified(case_id, rows, *held), str(held[1])

    def find(self, query: Query) -> tuple[Summary, ...]:
        values = _asked(query)
        with self._database.reading() as work:
            if query.after is not None:
                mark = work.execute("SELECT next_due_ns, opened_ns FROM cases WHERE id = ?", (query.after,)).fetchone()
                if mark is None:
                    raise _missing(query.after)
                due_ns = _NEVER_NS if mark[0] is None else mark[0]
                values |= {"after": query.after, "after_ns": due_ns if query.by_due else mark[1]}
            rows = work.execute(_BY_DUE if query.by_due else _NEWEST_FIRST, values).fetchall()
        return tuple(_summary(row) for row in rows)

    def board(self, now: datetime) -> Board:
        with self._database.reading() as work:
            stages = work.execute(_BY_STAGE).fetchall()
            levels = work.execute(_BY_LEVEL).fetchall()
            waiting = work.execute(_WAITING).fetchone()
            late, due = work.execute(_LATE, {"now": to_ns(now)}).fetchone()
        return Board(
            by_stage={Stage(name): count for name, count in stages},
            by_level={EventLevel(level): count for level, count in levels},
            late_count=late,
            unacknowledged_count=waiting[0],
            oldest_unacknowledged_at=None if waiting[1] is None else from_ns(waiting[1]),
            next_due_at=None if due is None else from_ns(due),
        )


def _missing(case_id: str) -> RefusedError:
    return RefusedError(f"case {case_id[:60]!r}: there is none")


def _asked(query: Query) -> dict[str, object]:
    return {
        "is_open": None if query.is_open is None else int(query.is_open),
        "level_min": int(query.level_min),
        "stages": json.dumps(sorted(query.stages)) if query.stages else None,
        "system": query.system,
        "is_acknowledged": None if query.is_acknowledged is None else int(query.is_acknowledged),
        "due_before": None if query.due_before is None else to_ns(query.due_before),
        "look_again_by": None if query.look_again_by is None else to_ns(query.look_again_by),
        "has_exercises": int(query.has_exercises),
        "after": None,
        "after_ns": None,
        "limit": min(max(query.limit, 0), _LIMIT_MAX),
    }


def _values(summary: Summary) -> dict[str, object]:
    return {
        "title": summary.title,
        "system": summary.system,
        "stage": summary.stage.value,
        "is_open": int(summary.is_open),
        "level": int(summary.level),
        "is_confirmed": int(summary.is_confirmed),
        "opened_ns": to_ns(summary.opened_at),
        "updated_ns": to_ns(summary.updated_at),
        "next_due_ns": None if summary.next_due_at is None else to_ns(summary.next_due_at),
        "acknowledged_by": summary.acknowledged_by,
        "assigned_to": summary.assigned_to,
        "is_exercise": int(summary.is_exercise),
        "look_again_ns": None if summary.look_again_at is None else to_ns(summary.look_again_at),
    }


def _summary(row: Sequence[Any]) -> Summary:
    case_id, title, system, stage, level, is_confirmed, opened, updated, due, acknowledged, assigned, *rest = row
    exercise, again = rest
    return Summary(
        id=str(case_id),
        title=str(title),
        system=str(system),
        stage=Stage(str(stage)),
        level=EventLevel(level),
        is_confirmed=bool(is_confirmed),
        opened_at=from_ns(opened),
        updated_at=from_ns(updated),
        next_due_at=None if due is None else from_ns(due),
        acknowledged_by=str(acknowledged),
        assigned_to=str(assigned),
        is_exercise=bool(exercise),
        look_again_at=None if again is None else from_ns(again),
    )
