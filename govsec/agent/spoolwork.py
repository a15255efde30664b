"""What happens to a spool within one transaction: entries get their places, room is made, losses are summed up.

The rule of room: the oldest of the lowest priority goes first, a higher one never for a lower one, and what tells of
losses last of all. Losses are summed up in the spool's state, and become a record when somebody is about to read.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter

from pydantic import JsonValue

from govsec import canonical
from govsec.agent.spoolrecord import NOTHING_BEFORE, Entry, Priority, digest_of, whole
from govsec.clock import Clock, format_time
from govsec.errors import IntegrityError, UsageError

#: Bytes of one body: a finding of 64 KB is larger than any that a person would read.
ENTRY_SIZE_MAX = 64 << 10
#: What SQLite and the chain add to a body, about.
_OVERHEAD_BYTES = 256
#: Room is made in steps of this share, so that a flood does not sort the whole file for each entry.
_EVICTED_SHARE = 0.1
#: Records ``lost`` that nobody has taken; beyond it losses are summed up in one, later.
_LOST_RECORDS_MAX = 1_000
#: Reasons that are told apart; they come from modules.
_REASONS_MAX = 64


class Work:
    """One transaction: bodies get their places, room is made, losses are summed up."""

    def __init__(self, connection: sqlite3.Connection, size_max_bytes: int, clock: Clock) -> None:
        self._connection = connection
        self._size_max_bytes = size_max_bytes
        self._clock = clock
        state = dict(connection.execute("SELECT name, value FROM state").fetchall())
        try:
            self._epoch = str(state["epoch"])
            self._head = whole(state["head_sequence"])
            self._digest = str(state["head_digest"]) or NOTHING_BEFORE
            self._size = whole(state["size"])
            self._acknowledged = whole(state["acknowledged"])
            self._lost_count = whole(state.get("lost_count", 0))
            self._losses: Counter[str] = Counter(json.loads(state.get("losses", "{}")))
        except (KeyError, ValueError, TypeError) as error:
            raise IntegrityError(f"the spool's own state cannot be read: {error}") from error

    def put(self, entry: Entry) -> None:
        """Keep it, or count it as lost when there is no room for its like."""
        body = canonical.dumps(entry.body)
        size = len(body) + _OVERHEAD_BYTES
        if len(body) > ENTRY_SIZE_MAX:
            self.lose(entry.priority, "too_large", 1)
            return
        if self._size + size > self._size_max_bytes:
            self._make_room(entry.priority, size)
        if self._size + size > self._size_max_bytes:
            self.lose(entry.priority, "quota", 1)
            return
        self._insert(entry, body, size)

    def lose(self, priority: Priority, reason: str, count: int) -> None:
        """Count entries that are not kept."""
        name = f"{priority.name.lower()}:{reason}"
        if name not in self._losses and len(self._losses) >= _REASONS_MAX:
            name = f"{priority.name.lower()}:other"
        self._losses[name] += count
        self._lost_count += count

    def settle(self) -> None:
        """Losses that nobody was told of become a record."""
        if not self._losses:
            return
        waiting = self._connection.execute("SELECT count(*) FROM record WHERE priority = ?", (int(Priority.LOST),))
        if waiting.fetchone()[0] >= _LOST_RECORDS_MAX:
            return
        counts: dict[str, JsonValue] = dict(sorted(self._losses.items()))
        body: dict[str, JsonValue] = {"lost": counts, "time": format_time(self._clock.now())}
        data = canonical.dumps(body)
        self._insert(Entry(Priority.LOST, body), data, len(data) + _OVERHEAD_BYTES)
        self._losses.clear()

    def acknowledge(self, sequence: int) -> int:
        """Let everything up to ``sequence`` go; how many. Raises ``UsageError`` when it lies behind the head."""
        if sequence > self._head:
            raise UsageError(f"record {sequence} cannot be acknowledged: the last one is {self._head}")
        freed, count = self._connection.execute(
            "SELECT coalesce(sum(size), 0), count(*) FROM record WHERE sequence <= ?", (sequence,)
        ).fetchone()
        self._connection.execute("DELETE FROM record WHERE sequence <= ?", (sequence,))
        self._size -= int(freed)
        self._acknowledged = max(self._acknowledged, sequence)
        self.finish()
        return int(count)

    def finish(self) -> int:
        """Write down where things stand; the head's sequence."""
        values = {
            "head_sequence": self._head,
            "head_digest": "" if self._digest == NOTHING_BEFORE else self._digest,
            "size": self._size,
            "acknowledged": self._acknowledged,
            "lost_count": self._lost_count,
            "losses": json.dumps(self._losses),
        }
        self._connection.executemany("INSERT OR REPLACE INTO state VALUES (?, ?)", values.items())
        return self._head

    def _insert(self, entry: Entry, body: bytes, size: int) -> None:
        sequence = self._head + 1
        digest = digest_of(self._epoch, sequence, entry.priority, entry.body, self._digest)
        self._connection.execute(
            "INSERT INTO record (sequence, epoch, priority, size, previous, digest, body) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (sequence, self._epoch, int(entry.priority), size, self._digest, digest, body),
        )
        self._head, self._digest, self._size = sequence, digest, self._size + size

    def _make_room(self, priority: Priority, size: int) -> None:
        """Let the oldest of the lowest priorities go, never one above ``priority`` and never what tells of losses."""
        wanted = max(size, int(self._size_max_bytes * _EVICTED_SHARE))
        highest = min(priority, Priority.FINDING)
        rows = self._connection.execute(
            "SELECT sequence, priority, size FROM record WHERE priority <= ? ORDER BY priority, sequence",
            (int(highest),),
        )
        gone: list[tuple[int]] = []
        freed = 0
        for sequence, found, length in rows:
            if freed >= wanted:
                break
            gone.append((int(sequence),))
            freed += int(length)
            self.lose(Priority(found), "quota", 1)
        rows.close()
        self._connection.executemany("DELETE FROM record WHERE sequence = ?", gone)
        self._size -= freed
