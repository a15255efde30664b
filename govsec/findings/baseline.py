"""What is usual for a host at this hour of the week: sums by hour, kept for some weeks in a small SQLite database.

One idea: office traffic repeats by the week. A value is compared with those of the same hour of the week before (168
bins), by median and median absolute deviation, so one strange week does not become usual. Until there are enough
weeks, the same hour of all days stands in; until there are enough days, nothing is known, and the caller falls back to
fixed bounds.

A row holds one week of one metric of one subject: 168 single-precision numbers, those of unknown hours NaN. So an hour
costs four bytes. Everything is bounded: ``weeks_max`` weeks, ``subjects_max`` subjects, ``peers_max`` pairs of hosts,
``size_max`` bytes in all; when these are too many, the oldest week goes. It holds addresses and sums, nothing else. A
file is written once an hour in one transaction; after a crash the last hour is missing. One in memory is saved and
restored as bytes (:meth:`Baseline.dump`), by whoever may write files.
"""

from __future__ import annotations

import math
import sqlite3
from array import array
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from govsec.errors import FormatError, TryAgainError
from govsec.findings.api import SECOND_NS

HOUR_NS = 3600 * SECOND_NS
_HOURS_A_WEEK = 168
#: The first hour of the epoch was hour 72 of a week that began on Monday (1970-01-01 was a Thursday).
_EPOCH_HOUR = 72
_VERSION = 2
_HOUR_SIZE = 4
_UNKNOWN = array("f", [math.nan] * _HOURS_A_WEEK).tobytes()
_TABLES = {
    "weeks": "CREATE TABLE weeks (subject TEXT NOT NULL, metric TEXT NOT NULL, week INTEGER NOT NULL, "
    "hours BLOB NOT NULL, PRIMARY KEY (subject, metric, week)) WITHOUT ROWID",
    "peers": "CREATE TABLE peers (subject TEXT NOT NULL, peer TEXT NOT NULL, days INTEGER NOT NULL, "
    "day INTEGER NOT NULL, PRIMARY KEY (subject, peer)) WITHOUT ROWID",
}
#: Puts one hour's number into its place in the week.
_SET_HOUR = (
    "INSERT INTO weeks VALUES (:subject, :metric, :week, "
    "CAST(substr(:unknown, 1, :at) || :hour || substr(:unknown, :at + 5) AS BLOB)) "
    "ON CONFLICT (subject, metric, week) "
    "DO UPDATE SET hours = CAST(substr(hours, 1, :at) || :hour || substr(hours, :at + 5) AS BLOB)"
)
#: By rank, not by age: a clock that jumped years ahead for an hour must not make all else look old.
_FORGET_WEEKS = (
    "DELETE FROM weeks WHERE week <= :now AND week NOT IN "
    "(SELECT DISTINCT week FROM weeks WHERE week <= :now ORDER BY week DESC LIMIT :kept)"
)
_FORGET_DAYS = (
    "DELETE FROM peers WHERE day <= :now AND day NOT IN "
    "(SELECT DISTINCT day FROM peers WHERE day <= :now ORDER BY day DESC LIMIT :kept)"
)


def hour_of(time_ns: int) -> int:
    """Hours since 1970."""
    return time_ns // HOUR_NS


class Baseline:
    """Sums by subject, metric and hour. ``path`` None: in memory, for a capture that stands alone.

    ``dropped_count``: sums of subjects that were too many; ``weeks_dropped_count``: weeks that went before their time;
    ``peers_dropped_count``: pairs that went so. ``changes_count`` grows with everything that is learned.

    Raises:
        FormatError: the file is no baseline of ours.
        TryAgainError: the file cannot be written now (full, locked, read-only).
    """

    def __init__(
        self,
        path: Path | None = None,
        *,
        weeks_max: int = 8,
        subjects_max: int = 20_000,
        peers_max: int = 200_000,
        size_max: int = 64 << 20,
    ) -> None:
        self._weeks_max = weeks_max
        self._subjects_max = subjects_max
        self._peers_max = peers_max
        self._size_max = size_max
        self._where = "memory" if path is None else str(path)
        self.dropped_count = self.weeks_dropped_count = self.peers_dropped_count = self.changes_count = 0
        with self._translated():
            self._store = sqlite3.connect(":memory:" if path is None else path, isolation_level=None, timeout=5)
            self._prepare()

    def close(self) -> None:
        """Nothing more is asked or added."""
        self._store.close()

    def dump(self) -> bytes:
        """All that is known, for :meth:`restore`; the same as the bytes of a file."""
        with self._translated():
            return self._store.serialize()

    def restore(self, data: bytes) -> None:
        """Know what was dumped, in place of what is known in memory.

        Raises:
            FormatError: it is damaged, or no baseline of ours; what was known before is still known.
        """
        other = Baseline()
        other._where = "baseline"
        with other._translated():
            other._store.deserialize(data)
            other._check()
        self._store, other._store = other._store, self._store
        other.close()

    def add(self, hour: int, sums: Mapping[tuple[str, str], float]) -> None:
        """The sums of one whole hour, by subject and metric; those of a new subject are dropped when there are too
        many."""
        bin_, week = _place(hour)
        common = {"week": week, "unknown": _UNKNOWN, "at": bin_ * _HOUR_SIZE}
        with self._translated(), self._store:
            self._store.execute("BEGIN IMMEDIATE")
            known = {row[0] for row in self._store.execute("SELECT DISTINCT subject FROM weeks")}
            rows = []
            for (subject, metric), value in sorted(sums.items()):
                if subject in known or len(known) < self._subjects_max:
                    known.add(subject)
                    rows.append(common | {"subject": subject, "metric": metric, "hour": array("f", [value]).tobytes()})
                else:
                    self.dropped_count += 1
            self._store.executemany(_SET_HOUR, rows)
            self._store.execute(_FORGET_WEEKS, {"now": week, "kept": self._weeks_max})
        self.changes_count += 1
        self._shrink()

    def usual(self, subject: str, metric: str, hour: int, *, weeks_min: int, days_min: int) -> Sequence[float]:
        """Earlier values to compare this hour's with, oldest first; empty while too little is known."""
        bin_, week = _place(hour)
        with self._translated():
            found = self._store.execute(
                "SELECT week, hours FROM weeks WHERE subject = ? AND metric = ? AND week BETWEEN ? AND ? ORDER BY week",
                (subject, metric, week - self._weeks_max, week),
            ).fetchall()
        weeks = [(number, self._hours(hours)) for number, hours in found]
        values = [hours[bin_] for number, hours in weeks if number < week and not math.isnan(hours[bin_])]
        if len(values) >= weeks_min:
            return values
        same_time = range(bin_ % 24, _HOURS_A_WEEK, 24)
        values = [
            hours[each]
            for number, hours in weeks
            for each in same_time
            if (number, each) < (week, bin_) and not math.isnan(hours[each])
        ]
        return values if len(values) >= days_min else []

    def meet(self, hour: int, pairs: Mapping[tuple[str, str], None]) -> None:
        """Subjects had to do with peers in this hour: counted once a day. Of too many pairs, those seen last stay."""
        day = hour // 24
        statement = (
            "INSERT INTO peers VALUES (?, ?, 1, ?) ON CONFLICT (subject, peer) "
            "DO UPDATE SET days = days + (day <> excluded.day), day = excluded.day"
        )
        with self._translated(), self._store:
            self._store.execute("BEGIN IMMEDIATE")
            self._store.executemany(statement, [(*pair, day) for pair in sorted(pairs)])
            self._store.execute(_FORGET_DAYS, {"now": day, "kept": 7 * self._weeks_max})
            excess = self._count("SELECT count(*) FROM peers") - self._peers_max
            if excess > 0:
                # A pair of many days is a habit; what came up once goes first.
                self._store.execute(
                    "DELETE FROM peers WHERE (subject, peer) IN "
                    "(SELECT subject, peer FROM peers ORDER BY day, days, subject, peer LIMIT ?)",
                    (excess,),
                )
                self.peers_dropped_count += excess
        self.changes_count += 1

    def days_known(self, subject: str, peer: str) -> int:
        """On how many days the two had to do with each other."""
        with self._translated():
            row = self._store.execute(
                "SELECT days FROM peers WHERE subject = ? AND peer = ?", (subject, peer)
            ).fetchone()
        return 0 if row is None else int(row[0])

    def _prepare(self) -> None:
        if self._count("SELECT count(*) FROM sqlite_master") or self._count("PRAGMA user_version"):
            self._check()
            return
        for statement in _TABLES.values():
            self._store.execute(statement)
        self._store.execute(f"PRAGMA user_version = {_VERSION}")

    def _check(self) -> None:
        """Nothing but our tables, as we make them: no trigger, no view, no page out of place."""
        version = self._count("PRAGMA user_version")
        if version != _VERSION:
            raise FormatError(f"{self._where}: baseline of version {version}, expected {_VERSION}")
        found = dict(self._store.execute("SELECT name, sql FROM sqlite_master").fetchall())
        if found != _TABLES or self._store.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
            raise FormatError(f"{self._where}: no baseline: damaged, or not made by us")

    def _hours(self, data: object) -> array[float]:
        if not isinstance(data, bytes) or len(data) != len(_UNKNOWN):
            raise FormatError(f"{self._where}: no baseline: a week is not {_HOURS_A_WEEK} numbers")
        hours = array("f")
        hours.frombytes(data)
        return hours

    def _shrink(self) -> None:
        """Too large: the oldest week goes, but never the only one."""
        with self._translated():
            while self._used() > self._size_max and self._count("SELECT count(DISTINCT week) FROM weeks") > 1:
                self._store.execute("DELETE FROM weeks WHERE week = (SELECT min(week) FROM weeks)")
                self.weeks_dropped_count += 1

    def _used(self) -> int:
        pages = self._count("PRAGMA page_count") - self._count("PRAGMA freelist_count")
        return pages * self._count("PRAGMA page_size")

    def _count(self, statement: str) -> int:
        return int(self._store.execute(statement).fetchone()[0])

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            raise TryAgainError(f"{self._where}: {error}") from error
        except sqlite3.Error as error:
            raise FormatError(f"{self._where}: no baseline: {error}") from error


def _place(hour: int) -> tuple[int, int]:
    """Hour of the week (0: Monday, 0 h UTC) and number of the week."""
    since = hour + _EPOCH_HOUR
    return since % _HOURS_A_WEEK, since // _HOURS_A_WEEK
