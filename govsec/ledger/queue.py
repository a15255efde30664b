"""Evidence on its way to the ledger: durable on this machine at once, signed into the chain when a center answers.

One idea: whoever has something to prove hands it over (:meth:`EvidenceQueue.record`) and goes on; a center that is
slow or gone holds nobody up. What waits is signed in batches, because each entry of the ledger costs requests to every
center: several pieces of evidence are one entry ``ledger.batch``. A batch stays the same until it is in the chain, so
that the ledger knows a repetition after a crash.

Room is bounded: beyond it nothing more is taken, and :meth:`EvidenceQueue.record` says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import JsonValue

from govsec.canonical import dumps
from govsec.database import Database, Layout
from govsec.errors import TryAgainError
from govsec.records import Evidence

BATCH_KIND = "ledger.batch"
#: Far below what an entry holds (4 MiB), so that one that waits is read in a moment.
BATCH_SIZE_MAX = 256 << 10
_BATCH_COUNT_MAX = 500
WAITING_MAX = 1_000_000
_LAYOUT = Layout(
    "evidence",
    (
        """
        CREATE TABLE items (id INTEGER PRIMARY KEY AUTOINCREMENT, body BLOB NOT NULL, batch INTEGER);
        CREATE INDEX items_batch ON items (batch) WHERE batch IS NOT NULL;
        CREATE TABLE marks (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
        INSERT INTO marks VALUES ('batch', 0), ('signed', 0)
        """,
    ),
)


class EvidenceQueue:
    """Over one file. Not for two threads; several processes may have it open."""

    def __init__(self, path: Path) -> None:
        """Open or make the file. Raises as ``govsec.database.Database``."""
        self._database = Database(path, _LAYOUT)

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def record(self, evidence: Evidence) -> None:
        """Keep a piece of evidence for the ledger; on the disk when it returns. Raises as :meth:`record_all`."""
        self.record_all([evidence])

    def record_all(self, evidence: Sequence[Evidence], marks: Mapping[str, int] | None = None) -> None:
        """Keep several, and with them how far their origin was read, all or none.

        Raises:
            TryAgainError: :data:`WAITING_MAX` wait; nothing was kept. Else as ``govsec.database.Database``.
        """
        with self._database.transaction() as work:
            waiting = work.execute("SELECT count(*) FROM items").fetchone()[0]
            if waiting + len(evidence) > WAITING_MAX:
                raise TryAgainError(f"{waiting} pieces of evidence wait for the ledger; no more are taken")
            work.executemany("INSERT INTO items (body) VALUES (?)", [(dumps(piece.canonical()),) for piece in evidence])
            work.executemany("INSERT OR REPLACE INTO marks VALUES (?, ?)", list((marks or {}).items()))

    def mark(self, name: str) -> int:
        """How far an origin was read, as :meth:`record_all` was told; 0 before that."""
        with self._database.reading() as work:
            row = work.execute("SELECT value FROM marks WHERE name = ?", (name,)).fetchone()
        return 0 if row is None else int(row[0])

    def waiting_count(self) -> int:
        """How many pieces wait."""
        with self._database.reading() as work:
            return int(work.execute("SELECT count(*) FROM items").fetchone()[0])

    def batch(self) -> Evidence | None:
        """What is to be signed next, the same until :meth:`signed` is told of it; None when nothing waits."""
        with self._database.transaction() as work:
            rows = work.execute("SELECT body FROM items WHERE batch IS NOT NULL ORDER BY id").fetchall()
            if not rows:
                rows = self._form(
                    work.execute("SELECT id, body FROM items ORDER BY id LIMIT ?", (_BATCH_COUNT_MAX,)).fetchall()
                )
                work.execute(
                    "UPDATE items SET batch = 1 WHERE id IN (SELECT id FROM items ORDER BY id LIMIT ?)", (len(rows),)
                )
        pieces = [Evidence.model_validate_json(body) for (body,) in rows]
        if len(pieces) <= 1:
            return pieces[0] if pieces else None
        records: list[JsonValue] = [piece.canonical() for piece in pieces]
        # Nothing of this moment is in it: made again it is the same, byte for byte.
        newest = max(piece.time for piece in pieces)
        subject = f"{len(pieces)} pieces of evidence"
        return Evidence(kind=BATCH_KIND, time=newest, subject=subject, facts={"evidence": records})

    def signed(self) -> None:
        """What :meth:`batch` gave is in the chain."""
        with self._database.transaction() as work:
            gone = work.execute("DELETE FROM items WHERE batch IS NOT NULL").rowcount
            work.execute("UPDATE marks SET value = value + ? WHERE name = 'signed'", (gone,))

    @staticmethod
    def _form(rows: Sequence[tuple[int, bytes]]) -> list[tuple[bytes]]:
        size, found = 0, list[tuple[bytes]]()
        for _, body in rows:
            size += len(body)
            if found and size > BATCH_SIZE_MAX:
                break
            found.append((body,))
        return found


def unpacked(evidence: Evidence) -> tuple[Evidence, ...]:
    """The pieces of a batch, or the evidence itself when it is none.

    Raises:
        ValidationError: it says that it is a batch, and is none; signed by us, it cannot be.
    """
    if evidence.kind != BATCH_KIND:
        return (evidence,)
    records = evidence.facts.get("evidence")
    return tuple(Evidence.model_validate(record) for record in records) if isinstance(records, list) else ()
