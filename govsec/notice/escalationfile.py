"""What escalation remembers: which matters wait for a person, how far each was called, how people changed rotas.

One SQLite file. A matter's line is changed by a call only after the call is in an outbox, so a crash in between gives
the same call with the same key again.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from govsec.clock import from_ns, to_ns
from govsec.database import Database, Layout
from govsec.errors import RefusedError
from govsec.notice.rota import Change

#: Changes that lie further back than anybody asks for are forgotten.
_CHANGES_MAX = 10_000
#: Of matters that are over, so many are remembered.
_ENDED_MAX = 50_000
_LAYOUT = Layout(
    "escalation",
    (
        """
        CREATE TABLE matters (
          key TEXT PRIMARY KEY, mark TEXT NOT NULL, state TEXT NOT NULL, severity INTEGER NOT NULL,
          level INTEGER NOT NULL, system TEXT NOT NULL, subject TEXT NOT NULL, summary TEXT NOT NULL,
          is_exercise INTEGER NOT NULL, opened_ns INTEGER NOT NULL, calls_count INTEGER NOT NULL,
          step INTEGER NOT NULL, step_ns INTEGER NOT NULL, next_ns INTEGER NOT NULL,
          acknowledged_by TEXT NOT NULL) WITHOUT ROWID;
        CREATE INDEX matters_due ON matters (next_ns) WHERE state = 'calling';
        CREATE TABLE changes (
          id INTEGER PRIMARY KEY, rota TEXT NOT NULL, gives TEXT NOT NULL, takes TEXT NOT NULL,
          starts_ns INTEGER NOT NULL, ends_ns INTEGER NOT NULL, by TEXT NOT NULL, reason TEXT NOT NULL,
          written_ns INTEGER NOT NULL, withdrawn_by TEXT NOT NULL)
        """,
        """
        ALTER TABLE matters ADD COLUMN call_key TEXT NOT NULL DEFAULT '';
        ALTER TABLE matters ADD COLUMN is_unreached INTEGER NOT NULL DEFAULT 0
        """,
        """
        ALTER TABLE matters ADD COLUMN old_words_count INTEGER NOT NULL DEFAULT 0
        """,
    ),
)
_LINE = """
    SELECT key, mark, state, severity, level, system, subject, summary, is_exercise, opened_ns, calls_count, step,
      step_ns, next_ns, acknowledged_by, call_key, is_unreached, old_words_count FROM matters"""
_ASKED = "(SELECT value FROM json_each(?))"
_BY_KEY = f"{_LINE} WHERE key IN {_ASKED}"
_BY_CALL = f"{_LINE} WHERE state = 'calling' AND call_key IN {_ASKED}"


class MatterState(StrEnum):
    """Whether somebody is still looked for."""

    CALLING = "calling"
    ACKNOWLEDGED = "acknowledged"
    #: Over. Kept so that one that comes back is called for anew, under keys that were not used.
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class Held:
    """A matter as it is remembered. ``step``: the level that was called last, -1 before the first call.

    ``opened_ns``: since when somebody is looked for; ``old_words_count``: how often it had been acknowledged by then,
    which does not count. ``mark``: what the matter's source looked like; while it is the same there is nothing new to
    learn. ``call_key``: of the last call's notice; ``is_unreached``: no channel took that one.
    """

    key: str
    mark: str
    state: MatterState
    severity: int
    level: int
    system: str
    subject: str
    summary: str
    is_exercise: bool
    opened_ns: int
    calls_count: int
    step: int
    step_ns: int
    next_ns: int
    acknowledged_by: str
    call_key: str = ""
    is_unreached: bool = False
    old_words_count: int = 0


class EscalationFile:
    """Over one file. Not for two threads; several processes may have it open."""

    def __init__(self, path: Path) -> None:
        """Open or make the file. Raises as ``govsec.database.Database``."""
        self._database = Database(path, _LAYOUT)

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def marks(self) -> dict[str, str]:
        """The marks of all matters that are not over, by key."""
        with self._database.reading() as work:
            return dict(work.execute("SELECT key, mark FROM matters WHERE state <> 'ended'").fetchall())

    def matters(self, keys: Sequence[str]) -> dict[str, Held]:
        """Those of these matters that are known, by key."""
        asked = json.dumps(list(keys))
        with self._database.reading() as work:
            rows = work.execute(_BY_KEY, (asked,)).fetchall()
        return {line.key: line for line in map(_held, rows)}

    def waiting_count(self) -> int:
        """How many matters wait for a person."""
        with self._database.reading() as work:
            return int(work.execute("SELECT count(*) FROM matters WHERE state = 'calling'").fetchone()[0])

    def last_calls(self) -> tuple[str, ...]:
        """Keys of the notices by which what still waits was called last."""
        with self._database.reading() as work:
            rows = work.execute("SELECT DISTINCT call_key FROM matters WHERE state = 'calling' AND call_key <> ''")
            return tuple(key for (key,) in rows.fetchall())

    def called_by(self, call_keys: Sequence[str]) -> list[Held]:
        """What still waits and was called last by one of these notices."""
        asked = json.dumps(list(call_keys))
        with self._database.reading() as work:
            rows = work.execute(_BY_CALL, (asked,)).fetchall()
        return [_held(row) for row in rows]

    def due(self, now_ns: int, ahead_max_ns: int, limit: int) -> list[Held]:
        """Matters that are to be called now, the worst first. What lies further ahead than any wait is of a wrong
        clock, and due."""
        with self._database.reading() as work:
            rows = work.execute(
                f"{_LINE} WHERE state = 'calling' AND (next_ns <= ? OR next_ns > ?) "
                "ORDER BY level DESC, severity DESC, opened_ns, key LIMIT ?",
                (now_ns, now_ns + ahead_max_ns, limit),
            ).fetchall()
        return [_held(row) for row in rows]

    def keep(self, matters: Sequence[Held]) -> None:
        """Put matters in, or in the place of what is there."""
        with self._database.transaction() as work:
            work.executemany(
                "INSERT OR REPLACE INTO matters VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [_row(matter) for matter in matters],
            )

    def called(self, lines: Sequence[tuple[Held, Held]]) -> None:
        """Note calls: each as the matter was before and after. What changed meanwhile (somebody acknowledged it, or it
        became worse) stays as it is."""
        with self._database.transaction() as work:
            work.executemany(
                "UPDATE matters SET calls_count = ?, step = ?, step_ns = ?, next_ns = ?, call_key = ?, "
                "is_unreached = ? WHERE key = ? AND state = 'calling' AND calls_count = ? AND step = ? AND step_ns = ?",
                [
                    (
                        *(after.calls_count, after.step, after.step_ns, after.next_ns),
                        *(after.call_key, int(after.is_unreached)),
                        *(before.key, before.calls_count, before.step, before.step_ns),
                    )
                    for before, after in lines
                ],
            )

    def end(self, keys: Sequence[str]) -> None:
        """These are over. Of what is over the newest are kept."""
        with self._database.transaction() as work:
            work.executemany(
                "UPDATE matters SET state = 'ended', call_key = '' WHERE key = ?", [(key,) for key in keys]
            )
            work.execute(
                "DELETE FROM matters WHERE state = 'ended' AND key IN "
                "(SELECT key FROM matters WHERE state = 'ended' ORDER BY opened_ns DESC, key LIMIT -1 OFFSET ?)",
                (_ENDED_MAX,),
            )

    def add_change(self, change: Change) -> int:
        """Write a change of a rota down; gives its id (that of ``change`` is not looked at)."""
        row = (
            change.rota, change.gives, json.dumps(change.takes), to_ns(change.starts_at), to_ns(change.ends_at),
            change.by, change.reason, to_ns(change.written_at),
        )  # fmt: skip
        with self._database.transaction() as work:
            work.execute(
                "INSERT INTO changes (rota, gives, takes, starts_ns, ends_ns, by, reason, written_ns, withdrawn_by) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, '')",
                row,
            )
            change_id = int(work.execute("SELECT last_insert_rowid()").fetchone()[0])
            work.execute("DELETE FROM changes WHERE id <= ?", (change_id - _CHANGES_MAX,))
        return change_id

    def withdraw(self, change_id: int, by: str) -> None:
        """A change counts no longer; that it was written, and who took it back, stays.

        Raises:
            RefusedError: there is no change of that id that counts.
        """
        with self._database.transaction() as work:
            changed = work.execute(
                "UPDATE changes SET withdrawn_by = ? WHERE id = ? AND withdrawn_by = ''", (by, change_id)
            )
            if not changed.rowcount:
                raise RefusedError(f"rota: no change {change_id} that counts")

    def changes(self, after: datetime) -> tuple[Change, ...]:
        """Changes that hold then or later, oldest first, without those that were taken back."""
        with self._database.reading() as work:
            rows = work.execute(
                "SELECT id, rota, gives, takes, starts_ns, ends_ns, by, reason, written_ns FROM changes "
                "WHERE ends_ns > ? AND withdrawn_by = '' ORDER BY id",
                (to_ns(after),),
            ).fetchall()
        return tuple(
            Change(
                change_id, rota, gives, tuple(json.loads(takes)), from_ns(starts), from_ns(ends), by, reason,
                from_ns(written),
            )
            for change_id, rota, gives, takes, starts, ends, by, reason, written in rows
        )  # fmt: skip


def _held(row: Sequence[Any]) -> Held:
    key, mark, state, severity, level, system, subject, summary, exercise, opened, calls, *rest = row
    step, since, due, by, call_key, is_unreached, old_words = rest
    return Held(
        str(key), str(mark), MatterState(state), int(severity), int(level), str(system), str(subject), str(summary),
        bool(exercise), int(opened), int(calls), int(step), int(since), int(due), str(by),
        str(call_key), bool(is_unreached), int(old_words),
    )  # fmt: skip


def _row(matter: Held) -> tuple[object, ...]:
    return (
        matter.key, matter.mark, matter.state.value, matter.severity, matter.level, matter.system, matter.subject,
        matter.summary, int(matter.is_exercise), matter.opened_ns, matter.calls_count, matter.step, matter.step_ns,
        matter.next_ns, matter.acknowledged_by, matter.call_key, int(matter.is_unreached), matter.old_words_count,
    )  # fmt: skip
