"""The helper's desk: which request is answered how. Trusts nobody who asks, only signatures, and keeps its own record.

A request is ``try`` (what would be hit; changes nothing), ``do`` (with approvals), ``check`` or ``undo`` (of what was
done under a number). A number is used once: asked to do the same order again, the desk says what became of it. What is
to be taken back is written down before the deed, so a crash at any place is mended by asking again. What has had its
time is taken back by the desk itself, whether anybody asks or not.

Record: SQLite, one row an order: number, order, state, what the verb needs to undo, facts, begin, end.
States: ``doing`` → ``done`` → ``undone`` | ``expired``; ``failed`` when the deed was refused after it began.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from govsec.clock import Clock, format_time, parse_time
from govsec.crypto.signing import TrustedKeys
from govsec.database import Database, Layout
from govsec.errors import GovsecError, RefusedError
from govsec.response.helper.api import Settings, Verb, number_of, refuse_writable
from govsec.response.helper.forensics import take_pack
from govsec.response.order import Order, open_approvals, read_order

_LAYOUT = Layout(
    "record of the helper",
    (
        "CREATE TABLE orders (nonce TEXT PRIMARY KEY, body TEXT NOT NULL, state TEXT NOT NULL, before TEXT NOT NULL,"
        " facts TEXT NOT NULL, began TEXT NOT NULL, ends TEXT NOT NULL) WITHOUT ROWID",
    ),
)
_CLOCKS_APART = timedelta(minutes=5)
#: An ended order is forgotten when its approval cannot be used any more, and some days later.
_KEPT = timedelta(days=7)
_ROWS_MAX = 20_000
_IN_FORCE = ("doing", "done")


@dataclass(slots=True)
class _Row:
    order: Order
    state: str
    before: dict[str, Any]
    facts: dict[str, Any]
    began: datetime
    ends: datetime


class HelperDesk:
    """Answers requests. Raises what ``Database`` raises when its record cannot be opened."""

    def __init__(self, settings: Settings, verbs: Mapping[str, Verb], clock: Clock) -> None:
        self._settings = settings
        self._verbs = verbs
        self._clock = clock
        self._store = Database(settings.state_dir / "helper.db", _LAYOUT)
        #: Numbers of what a restart of the machine may have swept away and is not put back yet; None: nobody looked.
        self._swept: set[str] | None = None

    def close(self) -> None:
        """Answer no more; what is in force stays, and is found again."""
        self._store.close()

    def answer(self, request: Mapping[str, Any], peer_pid: int) -> dict[str, Any]:
        """What became of a request.

        Raises:
            RefusedError: it may not be. ``IntegrityError``: not signed as it should be. ``TryAgainError``: not now.
        """
        step = request.get("step")
        if step == "try" and set(request) == {"step", "order"}:
            order = read_order(request["order"])
            return {"state": "tried", "facts": self._plan(order, peer_pid)}
        if step == "do" and set(request) == {"step", "approvals"} and isinstance(request["approvals"], list):
            documents = [str(each).encode("utf-8", "replace") for each in request["approvals"]]
            # Read each time: who is taken out of the roots cannot approve the next deed.
            refuse_writable(self._settings.roots_file)
            trusted = TrustedKeys.load(self._settings.roots_file)
            return self._do(*open_approvals(trusted, documents), peer_pid)
        if step in ("check", "undo") and set(request) == {"step", "nonce"}:
            row = self._row(str(request["nonce"])[:64])
            if row is None:
                raise RefusedError("nothing was done here under this number")
            if step == "undo" and row.state in _IN_FORCE:
                self._end(row, "undone")
            return self._told(row)
        raise RefusedError("request: try, do, check or undo, and what belongs to it")

    def tend(self) -> list[str]:
        """Take back what has had its time; the first time, put back what a restart of the machine has swept away.

        Gives what could not be taken back or put back, and why; it is tried again the next time.
        """
        problems, rows = [], self._rows(_IN_FORCE)
        if self._swept is None:
            self._swept = {row.order.nonce for row in rows if row.state == "done"}
        for row in rows:
            try:
                left_s = self._left_s(row)
                if left_s <= 0:
                    self._end(row, "expired")
                elif row.order.nonce in self._swept:
                    if self._verb(row.order).is_volatile:
                        self._verb(row.order).act(row.order.arguments, row.before, left_s, row.order.nonce)
                    self._swept.discard(row.order.nonce)
            except (GovsecError, OSError) as error:
                problems.append(f"{row.order.nonce}: {row.order.verb}: {error}")
        limit = self._clock.now() - _KEPT
        with self._store.transaction() as connection:
            connection.execute(
                "DELETE FROM orders WHERE state NOT IN ('doing', 'done') AND ends < ?", (format_time(limit),)
            )
        return problems

    def _do(self, order: Order, names: tuple[str, ...], peer_pid: int) -> dict[str, Any]:
        row = self._row(order.nonce)
        if row is not None and row.order.digest() != order.digest():
            raise RefusedError("the number of this order was used for another")
        if row is not None and row.state != "doing":
            return self._told(row)
        if row is None:
            row = self._begin(order, names, peer_pid)
        verb, left_s = self._verb(order), self._left_s(row)
        if left_s <= 0:
            self._end(row, "expired")
            return self._told(row)
        try:
            verb.act(order.arguments, row.before, left_s, order.nonce)
        except RefusedError:
            self._end(row, "failed")
            raise
        self._write(row, "done")
        return self._told(row)

    def _begin(self, order: Order, names: tuple[str, ...], peer_pid: int) -> _Row:
        now, needed = self._clock.now(), self._settings.approvals.get(order.verb, 1)
        if self._settings.dry_run:
            raise RefusedError("this helper only tries: dry_run is set in its settings")
        if order.host != self._settings.host:
            raise RefusedError(f"the order is for host {order.host!r}, this is {self._settings.host!r}")
        if now >= order.expires or order.made > now + _CLOCKS_APART:
            raise RefusedError(f"the order was to be begun between its making and {format_time(order.expires)}")
        if len(names) < max(1, needed):
            raise RefusedError(f"{order.verb} needs the approval of {needed} persons, not {len(names)}")
        facts = self._plan(order, peer_pid)
        self._limit(order, now)
        verb = self._verb(order)
        facts |= take_pack(
            self._settings.state_dir / "forensics",
            order.nonce,
            verb.processes(order.arguments),
            self._settings.logs,
            now,
        )
        ends = now + timedelta(seconds=number_of(order.arguments, "ttl_s"))
        # Another order for the same deed found it as it was before either of them.
        twins = self._twins(order)
        before = twins[0].before if twins else verb.before(order.arguments)
        row = _Row(order, "doing", before, facts | {"approved_by": list(names)}, now, ends)
        self._write(row, "doing")
        return row

    def _left_s(self, row: _Row) -> int:
        """Seconds that a deed has left; never more than it was begun with, or than root allows.

        A clock that stands before its beginning was set back: nobody can say any more when it ends, so it ends now.
        """
        now = self._clock.now()
        if now < row.began - _CLOCKS_APART:
            return 0
        # What root allows now, also for what was begun when it was more.
        lasting_s = min(number_of(row.order.arguments, "ttl_s"), self._settings.ttl_max_s)
        ends = min(row.ends, row.began + timedelta(seconds=lasting_s))
        return min(int((ends - now).total_seconds()), lasting_s)

    def _plan(self, order: Order, peer_pid: int) -> dict[str, Any]:
        verb, ttl_s = self._verb(order), number_of(order.arguments, "ttl_s")
        if ttl_s > self._settings.ttl_max_s:
            raise RefusedError(f"ttl_s {ttl_s} is more than the {self._settings.ttl_max_s} that are allowed here")
        return {**verb.plan(order.arguments, peer_pid), "ttl_s": ttl_s}

    def _limit(self, order: Order, now: datetime) -> None:
        with self._store.reading() as connection:
            total = int(connection.execute("SELECT count(*) FROM orders").fetchone()[0])
        if total >= _ROWS_MAX:
            raise RefusedError(f"more than {_ROWS_MAX} orders are on record; none is begun before some are forgotten")
        in_force = [row for row in self._rows(_IN_FORCE) if row.order.verb == order.verb]
        if len(in_force) >= self._settings.active_max:
            raise RefusedError(f"{order.verb}: {self._settings.active_max} are in force, and no more are allowed")
        # What lies ahead of a clock that was set back counts as well.
        fresh = self._rows((*_IN_FORCE, "undone", "expired"), since=now - timedelta(hours=1))
        if sum(row.order.verb == order.verb for row in fresh) >= self._settings.per_hour_max:
            raise RefusedError(
                f"{order.verb}: {self._settings.per_hour_max} were begun within an hour, and no more are"
            )

    def _end(self, row: _Row, state: str) -> None:
        verb = self._verb(row.order)
        if twins := self._twins(row.order):
            row.facts["kept_for"] = twins[0].order.nonce
        elif note := verb.undo(row.order.arguments, row.before):
            row.facts["note"] = note
        self._write(row, state)

    def _twins(self, order: Order) -> list[_Row]:
        """Other orders in force that want the same."""
        rows = self._rows(_IN_FORCE)
        return [row for row in rows if row.order.nonce != order.nonce and _deed(row.order) == _deed(order)]

    def _told(self, row: _Row) -> dict[str, Any]:
        holds = row.state in _IN_FORCE and self._verb(row.order).holds(row.order.arguments, row.before)
        return {"state": row.state, "facts": row.facts, "holds": holds, "ends": format_time(row.ends)}

    def _verb(self, order: Order) -> Verb:
        found = self._verbs.get(order.verb)
        if found is None:
            raise RefusedError(f"verb {order.verb}: there are {', '.join(sorted(self._verbs))}")
        return found

    def _row(self, nonce: str) -> _Row | None:
        with self._store.reading() as connection:
            found = connection.execute("SELECT * FROM orders WHERE nonce = ?", (nonce,)).fetchone()
        return None if found is None else _read(found)

    def _rows(self, states: tuple[str, ...], since: datetime | None = None) -> list[_Row]:
        marks = ", ".join("?" * len(states))
        bound = "" if since is None else format_time(since)
        query = f"SELECT * FROM orders WHERE state IN ({marks}) AND began > ?"  # noqa: S608 - marks only
        with self._store.reading() as connection:
            found = connection.execute(query, (*states, bound)).fetchall()
        return [_read(each) for each in found]

    def _write(self, row: _Row, state: str) -> None:
        row.state = state
        values = (
            row.order.nonce,
            json.dumps(row.order.body()),
            state,
            json.dumps(row.before),
            json.dumps(row.facts),
            format_time(row.began),
            format_time(row.ends),
        )
        with self._store.transaction() as connection:
            connection.execute("INSERT OR REPLACE INTO orders VALUES (?, ?, ?, ?, ?, ?, ?)", values)


def _deed(order: Order) -> tuple[object, ...]:
    """What is done, without for how long."""
    return order.verb, tuple(sorted((name, each) for name, each in order.arguments.items() if name != "ttl_s"))


def _read(found: tuple[str, ...]) -> _Row:
    _, body, state, before, facts, began, ends = found
    return _Row(
        read_order(json.loads(body)), state, json.loads(before), json.loads(facts), parse_time(began), parse_time(ends)
    )
