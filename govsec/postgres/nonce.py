"""A row that proves a recovery: written into the database while it runs, looked for in what a drill recovers.

A new random value every so often, in a row of its own of the table ``govsec_nonce``, which keeps the last thousand. The
log's page remembers its digest with the position behind it; so a database that was recovered up to there has this row,
and one that was recovered from another server, from an older base backup or without the last part of the log has not.
(One row that is written again and again would not do: the log may end behind a write that the page does not know yet.)

A standby cannot be written to: there is no nonce then, and a drill says that it did not look.
"""

from __future__ import annotations

import hashlib
import secrets

from govsec.clock import Clock
from govsec.errors import SourceError
from govsec.postgres.connection import Connection, literal
from govsec.postgres.logbook import PlantedNonce
from govsec.postgres.wal import format_lsn, parse_lsn

TABLE = "public.govsec_nonce"
_CREATE = f"""CREATE TABLE IF NOT EXISTS {TABLE}
  (id bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY, written timestamptz NOT NULL, nonce text NOT NULL)"""
_KEPT = 1000
_NONCE_BYTES = 32


class NoncePlanter:
    """Writes the row when it is due. With an empty ``name`` of a database it does nothing."""

    def __init__(self, database: Connection, clock: Clock, name: str, every_s: float) -> None:
        self._database = database
        self._clock = clock
        self._name = name
        self._every_s = every_s
        self._next = clock.monotonic()
        self._is_made = False
        self._written: PlantedNonce | None = None

    def tend(self, position: int) -> PlantedNonce | None:
        """Write when it is due; gives the nonce once the log up to ``position`` holds it.

        Raises:
            ConfigurationError, SourceError: the user may not write there.
        """
        if not self._name:
            return None
        if self._written is None and self._clock.monotonic() >= self._next:
            self._next = self._clock.monotonic() + self._every_s
            if self._database.value("SELECT pg_is_in_recovery()") == "f":
                self._written = self._write()
        if self._written is not None and position >= parse_lsn(self._written.after):
            written, self._written = self._written, None
            return written
        return None

    def _write(self) -> PlantedNonce:
        if not self._is_made:
            self._database.rows(_CREATE)
            self._is_made = True
        written, nonce = self._clock.now(), secrets.token_hex(_NONCE_BYTES)
        row = self._database.value(
            f"INSERT INTO {TABLE} (written, nonce) VALUES (now(), {literal(nonce)}) RETURNING id"  # noqa: S608 - hex
        )
        if row is None or not row.isdigit():
            raise SourceError(f"{self._database.name}: {TABLE} takes no row")
        self._database.rows(f"DELETE FROM {TABLE} WHERE id <= {int(row) - _KEPT}")  # noqa: S608 - a number
        after = parse_lsn(self._database.value("SELECT pg_current_wal_flush_lsn()") or "0/0")
        digest = hashlib.sha256(nonce.encode()).hexdigest()
        return PlantedNonce(row=int(row), written=written, after=format_lsn(after), sha256=digest, database=self._name)


def query_of(nonce: PlantedNonce) -> str:
    """What asks for the row of a nonce; one row also when it is not there."""
    return f"SELECT coalesce((SELECT nonce FROM {TABLE} WHERE id = {nonce.row}), '')"  # noqa: S608 - a number
