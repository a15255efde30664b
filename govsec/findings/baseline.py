"""What is usual for a host at this hour of the week: sums by hour, kept for some weeks in a small SQLite file.

One idea: office traffic repeats by the week. A value is compared with those of the same hour of the week before (168
bins), by median and median absolute deviation, so one strange week does not become usual. Until there are enough
weeks, the same hour of all days stands in; until there are enough days, nothing is known, and the caller falls back to
fixed bounds.

The file is bounded: ``weeks_max`` weeks, ``subjects_max`` subjects. It holds addresses and sums, nothing else. It is
written once an hour in one transaction; after a crash the last hour is missing.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from govsec.errors import FormatError, TryAgainError
from govsec.findings.api import SECOND_NS

HOUR_NS = 3600 * SECOND_NS
_HOURS_A_WEEK = 168
#: The first hour of the epoch was hour 72 of a week that began on Monday (1970-01-01 was a Thursday).
_EPOCH_HOUR = 72
_VERSION = 1
_SCHEMA = """
CREATE TABLE IF NOT EXISTS sums (
  subject TEXT NOT NULL, metric TEXT NOT NULL, bin INTEGER NOT NULL, week INTEGER NOT NULL, value REAL NOT NULL,
  PRIMARY KEY (subject, metric, bin, week)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS peers (
  subject TEXT NOT NULL, peer TEXT NOT NULL, days INTEGER NOT NULL, day INTEGER NOT NULL,
  PRIMARY KEY (subject, peer)) WITHOUT ROWID;
"""


def hour_of(time_ns: int) -> int:
    """Hours since 1970."""
    return time_ns // HOUR_NS


class Baseline:
    """Sums by subject, metric and hour. ``path`` None: in memory, for a capture that stands alone.

    Raises:
        FormatError: the file is no baseline of ours.
        TryAgainError: the file cannot be written now (full, locked, read-only).
    """

    def __init__(self, path: Path | None = None, *, weeks_max: int = 8, subjects_max: int = 20_000) -> None:
        self._weeks_max = weeks_max
        self._subjects_max = subjects_max
        self._where = "memory" if path is None else str(path)
        with self._translated():
            self._store = sqlite3.connect(":memory:" if path is None else path, isolation_level=None, timeout=5)
            version = self._store.execute("PRAGMA user_version").fetchone()[0]
            if version not in (0, _VERSION):
                raise FormatError(f"{self._where}: baseline of version {version}, expected {_VERSION}")
            self._store.executescript(_SCHEMA)
            self._store.execute(f"PRAGMA user_version = {_VERSION}")
        self.dropped_count = 0

    def close(self) -> None:
        """Nothing more is asked or added."""
        self._store.close()

    def add(self, hour: int, sums: Mapping[tuple[str, str], float]) -> None:
        """The sums of one whole hour, by subject and metric; those of a new subject are dropped when there are too
        many."""
        bin_, week = _place(hour)
        with self._translated(), self._store:
            self._store.execute("BEGIN IMMEDIATE")
            known = {row[0] for row in self._store.execute("SELECT DISTINCT subject FROM sums")}
            rows = []
            for (subject, metric), value in sorted(sums.items()):
                if subject in known or len(known) < self._subjects_max:
                    known.add(subject)
                    rows.append((subject, metric, bin_, week, value))
                else:
                    self.dropped_count += 1
            self._store.executemany("INSERT OR REPLACE INTO sums VALUES (?, ?, ?, ?, ?)", rows)
            self._store.execute("DELETE FROM sums WHERE week <= ?", (week - self._weeks_max,))

    def usual(self, subject: str, metric: str, hour: int, *, weeks_min: int, days_min: int) -> Sequence[float]:
        """Earlier values to compare this hour's with, oldest first; empty while too little is known."""
        bin_, week = _place(hour)
        same_hour = "SELECT value FROM sums WHERE subject = ? AND metric = ? AND bin = ? AND week < ? ORDER BY week"
        same_time = (
            "SELECT value FROM sums WHERE subject = ? AND metric = ? AND bin % 24 = ? AND week * 168 + bin < ? "
            "ORDER BY week, bin"
        )
        with self._translated():
            values = [row[0] for row in self._store.execute(same_hour, (subject, metric, bin_, week))]
            if len(values) >= weeks_min:
                return values
            place = (subject, metric, bin_ % 24, week * _HOURS_A_WEEK + bin_)
            values = [row[0] for row in self._store.execute(same_time, place)]
        return values if len(values) >= days_min else []

    def meet(self, hour: int, pairs: Mapping[tuple[str, str], None]) -> None:
        """Subjects had to do with peers in this hour: counted once a day."""
        day = hour // 24
        statement = (
            "INSERT INTO peers VALUES (?, ?, 1, ?) ON CONFLICT (subject, peer) "
            "DO UPDATE SET days = days + (day <> excluded.day), day = excluded.day"
        )
        with self._translated(), self._store:
            self._store.execute("BEGIN IMMEDIATE")
            self._store.executemany(statement, [(*pair, day) for pair in sorted(pairs)])
            self._store.execute("DELETE FROM peers WHERE day <= ?", (day - 7 * self._weeks_max,))

    def days_known(self, subject: str, peer: str) -> int:
        """On how many days the two had to do with each other."""
        with self._translated():
            row = self._store.execute(
                "SELECT days FROM peers WHERE subject = ? AND peer = ?", (subject, peer)
            ).fetchone()
        return 0 if row is None else int(row[0])

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
