"""Where runs of playbooks are kept: a row a run, a row a deed, its approvals, and every step in the order it happened.

A change of state and the step that tells of it are one transaction. Steps wait here until they were handed on, so that
none is missing in the ledger whatever dies when.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

from govsec import canonical
from govsec.clock import format_time, parse_time
from govsec.database import Database, Layout
from govsec.response.order import Order, read_order

_LAYOUT = Layout(
    "runs of playbooks",
    (
        """
        CREATE TABLE runs (
          id TEXT PRIMARY KEY, key TEXT NOT NULL UNIQUE, playbook TEXT NOT NULL, sha256 TEXT NOT NULL,
          kind TEXT NOT NULL, subject TEXT NOT NULL, case_id TEXT NOT NULL, by TEXT NOT NULL, finding TEXT NOT NULL,
          left_out TEXT NOT NULL, created TEXT NOT NULL);
        CREATE INDEX runs_again ON runs (playbook, kind, subject, created);
        CREATE TABLE deeds (
          nonce TEXT PRIMARY KEY, run TEXT NOT NULL REFERENCES runs (id), position INTEGER NOT NULL,
          body TEXT NOT NULL, approvals_needed INTEGER NOT NULL, state TEXT NOT NULL, tries INTEGER NOT NULL,
          next_at TEXT NOT NULL, ends TEXT NOT NULL, facts TEXT NOT NULL, error TEXT NOT NULL, what TEXT NOT NULL);
        CREATE INDEX deeds_state ON deeds (state);
        CREATE INDEX deeds_what ON deeds (what);
        CREATE INDEX deeds_run ON deeds (run, position);
        CREATE TABLE approvals (
          nonce TEXT NOT NULL REFERENCES deeds (nonce), name TEXT NOT NULL, document BLOB NOT NULL,
          PRIMARY KEY (nonce, name)) WITHOUT ROWID;
        CREATE TABLE steps (
          id INTEGER PRIMARY KEY, nonce TEXT NOT NULL REFERENCES deeds (nonce), step TEXT NOT NULL, time TEXT NOT NULL,
          by TEXT NOT NULL, facts TEXT NOT NULL, is_told INTEGER NOT NULL DEFAULT 0);
        CREATE INDEX steps_untold ON steps (id) WHERE is_told = 0;
        CREATE INDEX steps_nonce ON steps (nonce, id)
        """,
    ),
)
_WAIT_MAX = timedelta(days=2)
_DEEDS = "SELECT nonce, run, body, approvals_needed, state, tries, next_at, ends, facts, error FROM deeds"

_OVER = """
    SELECT id FROM runs WHERE created < ? AND NOT EXISTS (
      SELECT 1 FROM deeds WHERE deeds.run = runs.id AND (
        deeds.state NOT IN ('undone', 'expired', 'lapsed', 'tried', 'refused', 'failed')
        OR EXISTS (SELECT 1 FROM steps WHERE steps.nonce = deeds.nonce AND steps.is_told = 0))) LIMIT 1000"""
_FORGET = (
    "DELETE FROM steps WHERE nonce IN (SELECT nonce FROM deeds WHERE run = ?)",
    "DELETE FROM approvals WHERE nonce IN (SELECT nonce FROM deeds WHERE run = ?)",
    "DELETE FROM deeds WHERE run = ?",
    "DELETE FROM runs WHERE id = ?",
)


class State(StrEnum):
    """Where a deed stands."""

    PROPOSED = "proposed"
    APPROVED = "approved"
    DOING = "doing"
    #: Done, and not looked at yet.
    DONE = "done"
    #: Looked at, and in force.
    VERIFIED = "verified"
    UNDOING = "undoing"
    EXPIRING = "expiring"
    UNDONE = "undone"
    EXPIRED = "expired"
    #: Nobody approved it in time.
    LAPSED = "lapsed"
    #: Only tried: its verb is not live here.
    TRIED = "tried"
    REFUSED = "refused"
    FAILED = "failed"


OPEN = (
    State.PROPOSED,
    State.APPROVED,
    State.DOING,
    State.DONE,
    State.VERIFIED,
    State.UNDOING,
    State.EXPIRING,
)


@dataclass(frozen=True, slots=True)
class Run:
    """One playbook for one finding, or one deed that a person planned (``playbook`` is empty then)."""

    id: str
    playbook: str
    sha256: str
    kind: str
    subject: str
    case: str
    by: str
    finding: Mapping[str, Any]
    left_out: tuple[str, ...]
    created: datetime


@dataclass(frozen=True, slots=True)
class Deed:
    """One deed of a run."""

    order: Order
    run: str
    approvals_needed: int
    state: State
    tries: int
    next_at: datetime
    ends: datetime | None
    facts: Mapping[str, Any]
    error: str

    @property
    def nonce(self) -> str:
        """Its name."""
        return self.order.nonce


@dataclass(frozen=True, slots=True)
class Step:
    """Something that happened to a deed."""

    id: int
    nonce: str
    step: str
    time: datetime
    by: str
    facts: Mapping[str, Any]


class Runs:
    """The file. Raises as ``govsec.database.Database``."""

    def __init__(self, path: Path) -> None:
        self._store = Database(path, _LAYOUT)

    def close(self) -> None:
        """Close the file."""
        self._store.close()

    def begin(self, key: str, run: Run, deeds: Sequence[Deed]) -> bool:
        """A new run with its deeds as proposed; False when there is one of this key."""
        with self._store.transaction() as connection:
            if connection.execute("SELECT 1 FROM runs WHERE key = ?", (key,)).fetchone():
                return False
            connection.execute(
                "INSERT INTO runs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    run.id,
                    key,
                    run.playbook,
                    run.sha256,
                    run.kind,
                    run.subject,
                    run.case,
                    run.by,
                    json.dumps(run.finding),
                    json.dumps(run.left_out),
                    format_time(run.created),
                ),
            )
            for position, deed in enumerate(deeds):
                connection.execute(
                    "INSERT INTO deeds VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (
                        deed.nonce,
                        run.id,
                        position,
                        json.dumps(deed.order.body()),
                        deed.approvals_needed,
                        deed.state.value,
                        0,
                        format_time(deed.next_at),
                        "",
                        json.dumps(deed.facts),
                        "",
                        _what(deed.order.verb, deed.order.arguments),
                    ),
                )
                facts = {"playbook": run.playbook, "kind": run.kind, "approvals_needed": deed.approvals_needed}
                _add_step(connection, deed.nonce, "planned", run.created, run.by, facts)
        return True

    def move(
        self,
        deed: Deed,
        state: State,
        step: str,
        time: datetime,
        by: str,
        facts: Mapping[str, Any] | None = None,
        *,
        next_at: datetime | None = None,
        ends: datetime | None = None,
        error: str = "",
    ) -> bool:
        """Another state, and the step that tells of it, at once. ``facts`` are added to what is known of the deed;
        ``next_at`` says when it is to be looked at again (at once).

        False when it is in another state by now: somebody else was faster, and nothing was written.
        """
        with self._store.transaction() as connection:
            known = {**deed.facts, **(facts or {})}
            changed = connection.execute(
                "UPDATE deeds SET state = ?, tries = 0, next_at = ?, ends = CASE ? WHEN '' THEN ends ELSE ? END,"
                " facts = ?, error = ? WHERE nonce = ? AND state = ?",
                (
                    state.value,
                    format_time(next_at or time),
                    _text(ends),
                    _text(ends),
                    json.dumps(known),
                    error[:1000],
                    deed.nonce,
                    deed.state.value,
                ),
            )
            if changed.rowcount != 1:
                return False
            _add_step(connection, deed.nonce, step, time, by, dict(facts or {}) | ({"error": error} if error else {}))
        return True

    def put_off(self, deed: Deed, next_at: datetime, error: str) -> None:
        """It did not work, and is tried again later."""
        with self._store.transaction() as connection:
            connection.execute(
                "UPDATE deeds SET tries = tries + 1, next_at = ?, error = ? WHERE nonce = ? AND state = ?",
                (format_time(next_at), error[:1000], deed.nonce, deed.state.value),
            )

    def note(self, deed: Deed, step: str, facts: Mapping[str, Any], time: datetime, next_at: datetime) -> None:
        """What is known by now, without another state; it is looked at again at ``next_at``. ``step`` may be empty:
        nothing happened that anybody has to know. Nothing is written of a deed that is in another state by now."""
        with self._store.transaction() as connection:
            changed = connection.execute(
                "UPDATE deeds SET facts = ?, next_at = ?, error = '' WHERE nonce = ? AND state = ?",
                (json.dumps({**deed.facts, **facts}), format_time(next_at), deed.nonce, deed.state.value),
            )
            if step and changed.rowcount == 1:
                _add_step(connection, deed.nonce, step, time, "", facts)

    def approve(self, deed: Deed, name: str, document: bytes, time: datetime) -> int:
        """Keep an approval; gives how many persons have approved. One person's second changes nothing."""
        with self._store.transaction() as connection:
            added = connection.execute(
                "INSERT OR IGNORE INTO approvals VALUES (?, ?, ?)", (deed.nonce, name, document)
            ).rowcount
            if added:
                _add_step(connection, deed.nonce, "approved", time, name, {})
                # Whoever dies before looking whether these are enough leaves that to the next one.
                connection.execute("UPDATE deeds SET next_at = ? WHERE nonce = ?", (format_time(time), deed.nonce))
            found = connection.execute("SELECT count(*) FROM approvals WHERE nonce = ?", (deed.nonce,)).fetchone()
        return int(found[0])

    def approvals(self, nonce: str) -> list[tuple[str, bytes]]:
        """Who approved, with what they signed."""
        with self._store.reading() as connection:
            found = connection.execute("SELECT name, document FROM approvals WHERE nonce = ? ORDER BY name", (nonce,))
            return [(str(name), bytes(document)) for name, document in found.fetchall()]

    def deed(self, nonce: str) -> Deed | None:
        """The deed whose number begins so, when there is exactly one."""
        with self._store.reading() as connection:
            found = connection.execute(f"{_DEEDS} WHERE nonce = ?", (nonce,)).fetchall()
            if not found:
                query = f"{_DEEDS} WHERE substr(nonce, 1, length(?)) = ? LIMIT 2"
                found = connection.execute(query, (nonce, nonce)).fetchall()
        return _deed(found[0]) if len(found) == 1 and nonce else None

    def deeds(self, run: str) -> list[Deed]:
        """The deeds of a run, in order."""
        with self._store.reading() as connection:
            return [
                _deed(each)
                for each in connection.execute(f"{_DEEDS} WHERE run = ? ORDER BY position", (run,)).fetchall()
            ]

    def due(self, now: datetime, limit: int) -> list[Deed]:
        """Deeds that are to be looked at now, those that wait longest first.

        Nothing waits longer than a day: a later moment was written by a clock that was wrong, and is due.
        """
        marks = ", ".join("?" * len(OPEN))
        with self._store.reading() as connection:
            found = connection.execute(
                f"{_DEEDS} WHERE state IN ({marks}) AND (next_at <= ? OR next_at > ?) ORDER BY next_at, nonce LIMIT ?",
                (*(state.value for state in OPEN), format_time(now), format_time(now + _WAIT_MAX), limit),
            ).fetchall()
        return [_deed(each) for each in found]

    def has_open(self, verb: str, arguments: Mapping[str, str | int]) -> bool:
        """Whether the same is proposed, or in force, already."""
        marks = ", ".join("?" * len(OPEN))
        with self._store.reading() as connection:
            found = connection.execute(
                f"SELECT 1 FROM deeds WHERE what = ? AND state IN ({marks}) LIMIT 1",  # noqa: S608 - marks only
                (_what(verb, arguments), *(state.value for state in OPEN)),
            ).fetchone()
        return found is not None

    def of_state(self, state: State, limit: int) -> list[Deed]:
        """Deeds in a state, newest first."""
        with self._store.reading() as connection:
            found = connection.execute(
                f"{_DEEDS} WHERE state = ? ORDER BY next_at DESC, nonce LIMIT ?", (state.value, limit)
            ).fetchall()
        return [_deed(each) for each in found]

    def forget(self, before: datetime) -> int:
        """Let go of runs from before that have ended and were handed on in all; gives how many."""
        with self._store.transaction() as connection:
            found = connection.execute(_OVER, (format_time(before),)).fetchall()
            for statement in _FORGET:
                connection.executemany(statement, found)
        return len(found)

    def count_waiting(self, playbook: str) -> int:
        """How many deeds of a playbook wait for approval."""
        with self._store.reading() as connection:
            (found,) = connection.execute(
                "SELECT count(*) FROM deeds JOIN runs ON runs.id = deeds.run"
                " WHERE deeds.state = ? AND deeds.approvals_needed > 0 AND runs.playbook = ?",
                (State.PROPOSED.value, playbook),
            ).fetchone()
        return int(found)

    def unapproved_s(self, verb: str, since: datetime) -> int:
        """For how long deeds of a verb that nobody had to approve were planned since then, in all."""
        with self._store.reading() as connection:
            found = connection.execute(
                "SELECT body FROM deeds JOIN runs ON runs.id = deeds.run"
                " WHERE deeds.approvals_needed = 0 AND runs.created > ? AND deeds.state <> ?",
                (format_time(since), State.TRIED.value),
            ).fetchall()
        orders = [read_order(json.loads(body)) for (body,) in found]
        return sum(int(order.arguments.get("ttl_s", 0)) for order in orders if order.verb == verb)

    def run(self, run_id: str) -> Run | None:
        """The run of this id."""
        with self._store.reading() as connection:
            found = connection.execute("SELECT * FROM runs WHERE id = ?", (run_id,)).fetchone()
        return None if found is None else _run(found)

    def runs(self, limit: int) -> list[Run]:
        """Runs, newest first."""
        with self._store.reading() as connection:
            found = connection.execute("SELECT * FROM runs ORDER BY created DESC, id DESC LIMIT ?", (limit,)).fetchall()
        return [_run(each) for each in found]

    def newest_at(self, playbook: str, kind: str, subject: str) -> datetime | None:
        """When a playbook last ran for such a finding."""
        with self._store.reading() as connection:
            (found,) = connection.execute(
                "SELECT max(created) FROM runs WHERE playbook = ? AND kind = ? AND subject = ?",
                (playbook, kind, subject),
            ).fetchone()
        return None if found is None else parse_time(found)

    def steps(self, nonce: str) -> list[Step]:
        """What happened to a deed."""
        with self._store.reading() as connection:
            found = connection.execute(
                "SELECT id, nonce, step, time, by, facts FROM steps WHERE nonce = ? ORDER BY id", (nonce,)
            ).fetchall()
        return [_step(each) for each in found]

    def untold(self, limit: int) -> list[Step]:
        """Steps that were not handed on, oldest first."""
        with self._store.reading() as connection:
            found = connection.execute(
                "SELECT id, nonce, step, time, by, facts FROM steps WHERE is_told = 0 ORDER BY id LIMIT ?", (limit,)
            ).fetchall()
        return [_step(each) for each in found]

    def mark_told(self, step: Step) -> None:
        """It was handed on."""
        with self._store.transaction() as connection:
            connection.execute("UPDATE steps SET is_told = 1 WHERE id = ?", (step.id,))


def _add_step(
    connection: sqlite3.Connection, nonce: str, step: str, time: datetime, by: str, facts: Mapping[str, Any]
) -> None:
    connection.execute(
        "INSERT INTO steps (nonce, step, time, by, facts) VALUES (?, ?, ?, ?, ?)",
        (nonce, step, format_time(time), by, json.dumps(dict(facts))),
    )


def _what(verb: str, arguments: Mapping[str, str | int]) -> str:
    return canonical.dumps([verb, dict(arguments)]).decode()


def _text(moment: datetime | None) -> str:
    return "" if moment is None else format_time(moment)


def _run(row: Sequence[Any]) -> Run:
    run_id, _, playbook, sha256, kind, subject, case, by, finding, left_out, created = row
    return Run(
        run_id,
        playbook,
        sha256,
        kind,
        subject,
        case,
        by,
        json.loads(finding),
        tuple(json.loads(left_out)),
        parse_time(created),
    )


def _deed(row: Sequence[Any]) -> Deed:
    _, run, body, needed, state, tries, next_at, ends, facts, error = row
    return Deed(
        read_order(json.loads(body)),
        run,
        needed,
        State(state),
        tries,
        parse_time(next_at),
        parse_time(ends) if ends else None,
        json.loads(facts),
        error,
    )


def _step(row: Sequence[Any]) -> Step:
    step_id, nonce, step, time, by, facts = row
    return Step(step_id, nonce, step, parse_time(time), by, json.loads(facts))
