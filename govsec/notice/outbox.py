"""The outbox: a notice is in it before anybody tries to send it, and leaves only with a receipt or a person's word.

Workers lease what is due; a worker that dies leaves a lease that runs out, and another takes over. So each notice is
sent at least once on each of its channels, and twice only when a worker died between the far side's yes and its own
note of it; the notice's key lets the far side tell. Failures that may pass are tried again, later each time, with some
chance in it so that a thousand do not knock at once; what does not pass becomes a dead letter that people see and can
send again.

Limits of channels are kept here, across workers and restarts: tries count, because robots count tries. Moments are of
the wall clock, which may be wrong by days for an hour: what was noted then counts for its own span from now, so that
limits are kept also when the clock is set back, and nothing waits for a date that was never near.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

from govsec.canonical import dumps
from govsec.clock import format_time, from_ns, parse_time, to_ns
from govsec.database import Database
from govsec.errors import RefusedError
from govsec.notice.api import Limits, Receipt, ReceiptState
from govsec.notice.outboxtables import BURY, DUE, JOINED, LAYOUT, LIST, MEND_ITEMS, STATES, UNRECORDED
from govsec.notice.parts import Part
from govsec.records import Notice

#: Longer than a channel may take; a send that outlives it is sent twice.
LEASE = timedelta(minutes=3)
FIRST_WAIT_S = 5.0
WAIT_MAX_S = 1800.0
#: With waits that double up to half an hour, a bit more than a day.
TRIES_MAX = 60
#: What a far side may ask for.
_PAUSE_MAX_S = 86_400.0
_ERROR_MAX = 500
#: Between a notice's key and the number of a part: a key that people or programs give has no such character.
_PART_MARK = "\x1f"
_SECOND_NS = 1_000_000_000
_MINUTE_NS, _DAY_NS = 60 * _SECOND_NS, 86_400 * _SECOND_NS
_LEASE_NS = LEASE // timedelta(microseconds=1) * 1000


class ItemState(StrEnum):
    """Where a notice stands on one channel. What is being sent waits: its next try is when the lease runs out."""

    WAITING = "waiting"
    DONE = "done"
    DEAD = "dead"


@dataclass(frozen=True, slots=True)
class Leased:
    """A notice that one worker may send on one channel now."""

    id: int
    channel: str
    notice: Notice
    owner: str
    tries: int
    #: The message of it that this is; None while the whole of it is to be sent.
    part: Part | None = None


@dataclass(frozen=True, slots=True)
class Item:
    """A notice on one channel, for people to look at."""

    id: int
    channel: str
    notice: Notice
    state: ItemState
    tries: int
    created_at: datetime
    next_at: datetime
    error: str
    receipt: Receipt | None
    part: Part | None = None


class Outbox:
    """Over one file. Not for two threads; several processes may have it open."""

    def __init__(self, path: Path) -> None:
        """Open or make the file. Raises as ``govsec.database.Database``."""
        self._database = Database(path, LAYOUT)

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def put(self, notices: Sequence[Notice], channels: Sequence[str], now: datetime) -> int:
        """Keep notices for these channels; on the disk when it returns. Gives how many were not there before.

        Raises:
            RefusedError: no channel is named: nobody would be told.
        """
        if not channels:
            raise RefusedError("a notice needs a channel; nobody would be told")
        now_ns = to_ns(now)
        rows = [
            (notice.key, channel, int(notice.severity), dumps(notice.canonical()), now_ns, now_ns)
            for notice in notices
            for channel in dict.fromkeys(channels)
        ]
        with self._database.transaction() as work:
            before = work.total_changes
            work.executemany(
                "INSERT OR IGNORE INTO items (key, channel, severity, body, state, tries, created_ns, next_ns, owner, "
                "error, receipt) VALUES (?, ?, ?, ?, 'waiting', 0, ?, ?, '', '', '')",
                rows,
            )
            return work.total_changes - before

    def lease(self, limits: Mapping[str, Limits], now: datetime, *, limit: int = 10) -> tuple[Leased, ...]:
        """What this worker may send now, the most severe first, within the limits of each channel named.

        Nobody else gets them for :data:`LEASE`. Each counts as a try on its channel.
        """
        now_ns = to_ns(now)
        owner = secrets.token_hex(8)
        leased: list[Leased] = []
        with self._database.transaction() as work:
            work.execute("DELETE FROM tries WHERE moment_ns < ?", (now_ns - _DAY_NS,))
            for channel, bounds in limits.items():
                _mend(work, channel, now_ns)
                work.execute(BURY, (channel, now_ns, TRIES_MAX))
                room = min(limit - len(leased), self._room(work, channel, bounds, now_ns))
                if room <= 0:
                    continue
                for item, _, _, body, tries, part in work.execute(DUE, (channel, now_ns, room)).fetchall():
                    leased.append(Leased(item, channel, _notice(body), owner, tries + 1, _part(part)))
                    work.execute("INSERT INTO tries VALUES (?, ?)", (channel, now_ns))
            work.executemany(
                "UPDATE items SET owner = ?, tries = tries + 1, next_ns = ? WHERE id = ?",
                [(owner, now_ns + _LEASE_NS, item.id) for item in leased],
            )
        return tuple(leased)

    def split(self, leased: Leased, parts: Sequence[Part], now: datetime) -> Leased | None:
        """What is leased is the first of these messages from now on, and the others wait beside it, each with tries and
        a receipt of its own. None when the lease has run out: somebody else has it.

        What they say is kept as it is now, so that a retry a day later sends the same bytes.
        """
        first, *others = [dumps(part.model_dump(mode="json", exclude_none=True)) for part in parts]
        key = leased.notice.key
        with self._database.transaction() as work:
            changed = work.execute(
                "UPDATE items SET part = ? WHERE id = ? AND owner = ? AND state = 'waiting' AND part = x''",
                (first, leased.id, leased.owner),
            )
            if not changed.rowcount:
                return None
            work.executemany(
                "INSERT OR IGNORE INTO items (key, channel, severity, body, state, tries, created_ns, next_ns, owner, "
                "error, receipt, part) SELECT ?, channel, severity, body, 'waiting', 0, created_ns, ?, '', '', '', ? "
                "FROM items WHERE id = ?",
                [
                    (f"{key}{_PART_MARK}{number}", to_ns(now), data, leased.id)
                    for number, data in enumerate(others, start=2)
                ],
            )
        return replace(leased, part=parts[0])

    def join(self, leased: Leased, now: datetime) -> tuple[Leased, ...]:
        """What is leased, and with it the other messages of its notice on its channel that are due, in their order.

        For what leaves as one message: it counts as one try on the channel, and as one of each of them.
        """
        now_ns = to_ns(now)
        with self._database.transaction() as work:
            rows = work.execute(JOINED, (*_keys(leased.notice.key), leased.channel, now_ns)).fetchall()
            work.executemany(
                "UPDATE items SET owner = ?, tries = tries + 1, next_ns = ? WHERE id = ?",
                [(leased.owner, now_ns + _LEASE_NS, row[0]) for row in rows],
            )
        others = [replace(leased, id=item, tries=tries + 1, part=_part(part)) for item, tries, part in rows]
        return tuple(sorted((leased, *others), key=lambda one: one.id))

    def has(self, key: str) -> bool:
        """True when a notice of that key was put in and is not forgotten."""
        with self._database.reading() as work:
            return work.execute("SELECT 1 FROM items WHERE key = ? LIMIT 1", (key,)).fetchone() is not None

    def is_undeliverable(self, key: str) -> bool:
        """True when a notice was put in, and is a dead letter on every channel that it was to go to, for each of its
        recipients and with each of its messages: nobody was reached, and nobody will be."""
        with self._database.reading() as work:
            states = {row[0] for row in work.execute(STATES, _keys(key)).fetchall()}
        return states == {ItemState.DEAD.value}

    def record(self, leased: Leased, receipt: Receipt) -> None:
        """The far side has it."""
        text = json.dumps(
            {
                "state": receipt.state.value,
                "time": format_time(receipt.time),
                "number": receipt.number[:200],
                "detail": receipt.detail[:_ERROR_MAX],
            },
            ensure_ascii=False,
        )
        with self._database.transaction() as work:
            # Also when the lease ran out meanwhile: it was delivered, whoever did it.
            work.execute(
                "UPDATE items SET state = 'done', owner = '', error = '', receipt = ? WHERE id = ?", (text, leased.id)
            )

    def fail(
        self, leased: Leased, error: str, now: datetime, *, is_retryable: bool, after_s: float | None = None
    ) -> ItemState:
        """It was not taken; gives whether it waits or is dead.

        ``after_s``, a day at most, also keeps the whole channel waiting.
        """
        if after_s is not None:
            after_s = min(after_s, _PAUSE_MAX_S)
        is_dead = not is_retryable or leased.tries >= TRIES_MAX
        state = ItemState.DEAD if is_dead else ItemState.WAITING
        # Whole microseconds, as moments have: what is due at a moment is due when that moment is said.
        wait_ns = int(max(_wait_s(leased), after_s or 0.0) * 1_000_000) * 1000
        now_ns = to_ns(now)
        with self._database.transaction() as work:
            # Only the holder of the lease may say so: another may have delivered it since.
            work.execute(
                "UPDATE items SET state = ?, owner = '', error = ?, next_ns = ? "
                "WHERE id = ? AND owner = ? AND state = 'waiting'",
                (state.value, error[:_ERROR_MAX], now_ns + wait_ns, leased.id, leased.owner),
            )
            if after_s is not None:
                until_ns = now_ns + int(after_s * 1_000_000) * 1000
                work.execute(
                    "INSERT INTO pauses VALUES (?, ?) ON CONFLICT (channel) DO UPDATE SET until_ns = "
                    "max(until_ns, excluded.until_ns)",
                    (leased.channel, until_ns),
                )
        return state

    def items(self, state: ItemState, *, after: int = 0, limit: int = 100) -> tuple[Item, ...]:
        """Notices in a state, oldest first, after the one of that id."""
        with self._database.reading() as work:
            rows = work.execute(LIST, (state.value, after, limit)).fetchall()
        return tuple(_item(row) for row in rows)

    def unrecorded(self, limit: int = 100) -> tuple[Item, ...]:
        """What was delivered or is a dead letter and is not yet in anybody's evidence, oldest first."""
        with self._database.reading() as work:
            rows = work.execute(UNRECORDED, (limit,)).fetchall()
        return tuple(_item(row) for row in rows)

    def mark_recorded(self, items: Sequence[int]) -> None:
        """Evidence of what became of these is kept elsewhere, durably."""
        with self._database.transaction() as work:
            work.executemany(
                "UPDATE items SET is_recorded = 1 WHERE id = ? AND state <> 'waiting'", [(item,) for item in items]
            )

    def retry(self, item_id: int, now: datetime) -> None:
        """Send a dead letter again, from the first try.

        Raises:
            RefusedError: there is no dead letter of that id.
        """
        with self._database.transaction() as work:
            changed = work.execute(
                "UPDATE items SET state = 'waiting', tries = 0, next_ns = ?, error = '', is_recorded = 0 "
                "WHERE id = ? AND state = 'dead'",
                (to_ns(now), item_id),
            )
            if not changed.rowcount:
                raise RefusedError(f"outbox: no dead letter {item_id}")

    def counters(self) -> dict[str, int]:
        """How many notices are in each state."""
        with self._database.reading() as work:
            found = dict(work.execute("SELECT state, count(*) FROM items GROUP BY state").fetchall())
        return {state.value: found.get(state.value, 0) for state in ItemState}

    def next_at(self, channels: Sequence[str]) -> datetime | None:
        """When the next try is due on one of these channels, limits left aside; None when nothing waits."""
        with self._database.reading() as work:
            rows = [
                work.execute(
                    "SELECT min(next_ns) FROM items WHERE state = 'waiting' AND channel = ?", (channel,)
                ).fetchone()
                for channel in channels
            ]
        moments = [row[0] for row in rows if row[0] is not None]
        return from_ns(min(moments)) if moments else None

    def forget(self, before: datetime) -> int:
        """Remove what was delivered before a moment; gives how many. What waits or is dead is never removed.

        By the end of its last lease: what lay here for months and was delivered yesterday is yesterday's.
        """
        with self._database.transaction() as work:
            return work.execute("DELETE FROM items WHERE state = 'done' AND next_ns < ?", (to_ns(before),)).rowcount

    @staticmethod
    def _room(work: sqlite3.Connection, channel: str, bounds: Limits, now_ns: int) -> int:
        paused = work.execute("SELECT until_ns FROM pauses WHERE channel = ?", (channel,)).fetchone()
        if paused is not None and paused[0] > now_ns:
            return 0
        room = 1 << 30
        for bound, span_ns in ((bounds.per_minute, _MINUTE_NS), (bounds.per_day, _DAY_NS)):
            if bound is not None:
                used = work.execute(
                    "SELECT count(*) FROM tries WHERE channel = ? AND moment_ns > ?", (channel, now_ns - span_ns)
                ).fetchone()[0]
                room = min(room, bound - used)
        return room


def _mend(work: sqlite3.Connection, channel: str, now_ns: int) -> None:
    """What lies so far ahead that the clock must have been wrong counts from now.

    A clock that was set back must not free what was used up: tries of the future are tries of now.
    """
    work.execute(MEND_ITEMS, (now_ns, _LEASE_NS, channel, now_ns + _DAY_NS))
    work.execute("UPDATE tries SET moment_ns = ? WHERE channel = ? AND moment_ns > ?", (now_ns, channel, now_ns))
    work.execute(
        "UPDATE pauses SET until_ns = ? WHERE channel = ? AND until_ns > ?",
        (now_ns + _DAY_NS, channel, now_ns + _DAY_NS),
    )


def _wait_s(leased: Leased) -> float:
    """Doubling, bounded, and up to a half more by chance: by that of the lease, so that what failed together is due
    together."""
    base = min(FIRST_WAIT_S * 2.0 ** min(leased.tries - 1, 20), WAIT_MAX_S)
    return base * (1 + int(leased.owner, 16) % 1000 / 2000)


def _keys(key: str) -> tuple[str, str, str]:
    """For ``STATES`` and ``JOINED``: the key, and the bounds between which its parts' keys lie."""
    return key, f"{key}{_PART_MARK}", f"{key}{chr(ord(_PART_MARK) + 1)}"


def _item(row: Sequence[Any]) -> Item:
    item, _, channel, body, tries, state, created_ns, next_ns, error, receipt, part = row
    return Item(
        id=item,
        channel=channel,
        notice=_notice(body),
        state=ItemState(state),
        tries=tries,
        created_at=from_ns(created_ns),
        next_at=from_ns(next_ns),
        error=error,
        receipt=_receipt(receipt) if receipt else None,
        part=_part(part),
    )


def _notice(body: bytes) -> Notice:
    return Notice.model_validate_json(body)


def _part(data: bytes) -> Part | None:
    return Part.model_validate_json(data) if data else None


def _receipt(text: str) -> Receipt:
    held = json.loads(text)
    return Receipt(ReceiptState(held["state"]), parse_time(held["time"]), held["number"], held["detail"])
