"""A row that proves a recovery: written into the database while it runs, looked for in what a drill recovers.

A new random value every so often, in a row of its own of the table ``govsec_nonce``, which keeps the last thousand. The
record remembers its digest with the place in the log behind it, which is known by the transaction's GTID when it comes
by. So what was recovered up to there has this row; what came from another server, an older base backup or without the
last part of the log has not.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Callable

from govsec.clock import Clock
from govsec.errors import ConfigurationError, SourceError
from govsec.mariadb.server import Server

TABLE = "govsec_nonce"
_NAME = re.compile(r"[A-Za-z0-9_$]{1,63}")
_KEPT = 1000
_NONCE_BYTES = 32


class NoncePlanter:
    """Writes the row when it is due, on a connection of its own. Without a database it does nothing."""

    def __init__(self, connect: Callable[[], Server], clock: Clock, database: str, every_s: float) -> None:
        if database and _NAME.fullmatch(database) is None:
            raise ConfigurationError(f"nonce_database: {database[:100]!r} is not the name of a database")
        self._connect = connect
        self._clock = clock
        self._database = database
        self._every_s = every_s
        self._due = clock.monotonic()

    def plant(self) -> tuple[str, str] | None:
        """GTID and digest of a nonce that was written just now; None when none is due.

        Raises:
            ConfigurationError, SourceError: the user may not write there. HostUnreachableError: nobody answers.
        """
        if not self._database or self._clock.monotonic() < self._due:
            return None
        self._due = self._clock.monotonic() + self._every_s
        nonce = secrets.token_hex(_NONCE_BYTES)
        table = f"`{self._database}`.`{TABLE}`"
        with self._connect() as server:
            server.query(
                f"CREATE TABLE IF NOT EXISTS {table} (id BIGINT AUTO_INCREMENT PRIMARY KEY, "
                "written DATETIME(6) NOT NULL, nonce CHAR(64) NOT NULL)"
            )
            server.query(f"DELETE FROM {table} WHERE id <= (SELECT MAX(id) FROM {table}) - {_KEPT}")  # noqa: S608
            server.query(f"INSERT INTO {table} (written, nonce) VALUES (UTC_TIMESTAMP(6), %s)", (nonce,))  # noqa: S608
            ((gtid,),) = server.query("SELECT @@last_gtid")
        if not gtid:
            raise SourceError("the row of the nonce is in no binary log: is sql_log_bin off for this user?")
        return str(gtid), digest_of(nonce)


def digest_of(nonce: str) -> str:
    """What the record keeps of a nonce."""
    return hashlib.sha256(nonce.encode()).hexdigest()


def planted_digests(server: Server) -> list[str]:
    """Digests of all nonces in any database of a server. Raises as :meth:`govsec.mariadb.server.Server.query`."""
    found = []
    for (schema,) in server.query("SELECT table_schema FROM information_schema.tables WHERE table_name = %s", (TABLE,)):
        if _NAME.fullmatch(str(schema)) is not None:
            rows = server.query(f"SELECT nonce FROM `{schema}`.`{TABLE}` ORDER BY id DESC LIMIT {_KEPT}")  # noqa: S608
            found += [digest_of(str(row[0])) for row in rows]
    return found
